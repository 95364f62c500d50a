"""The loss kernels in the simulator, beyond what `check` asks: totals in parts, misaligned rows,
targets of other dtypes, what overflows, and what is no number of the loss.
"""

import ml_dtypes
import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn import backend
from pynn.functional import loss as ops
from pynn.functional.cross_entropy import NllLoss
from pynn.testing import check

sim = backend.kernel_module("sim")
pytestmark = pytest.mark.skipif(sim is None, reason="pynn was built without pynn._sim")

inf, nan = np.inf, np.nan
NONE = np.empty(0, np.float32)


def total(x, t, parts, which=0, divisor=1.0):
    y = np.full(1, nan, np.float32)
    sim.loss_fwd(x, t, NONE, NONE, y, np.empty(parts), which, 1.0, divisor)
    return y[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_a_total_is_exact_on_integers_however_it_is_cut(dtype):
    rng = np.random.default_rng(0)
    for n in (0, 1, 7, 4095, 4097, 30_000):
        room = rng.integers(-4, 5, (2, n + 16)).astype(dtype)
        for by in (0, 1):
            x, t = room[0, by : by + n].copy(), room[1, by : by + n]
            wanted = ((x.astype(float) - t.astype(float)) ** 2).sum()
            for parts, order in [(1, "ascending"), (3, "random"), (1056, "descending")]:
                sim.set_schedule(order)
                assert total(x, t, parts) == wanted
    sim.set_schedule()


def test_squares_overflow_only_where_the_result_does():
    x, t = np.full(4, 1e30, np.float32), np.zeros(4, np.float32)
    assert total(x, t, 8, divisor=1e30) == np.float32(4e30)
    assert total(x, t, 8, which=4, divisor=4.0) == np.float32(1e30)  # rmse
    assert total(x, t, 8) == inf


def test_extreme_arguments():
    x, t = np.array([nan, inf, 1.0, -inf]), np.array([0.0, 0.0, inf, -1.0])
    none = {"types": ("float32", "bfloat16")}
    mse = np.array([nan, inf, inf, inf]), (np.array([nan, inf, -inf, -inf]), None)
    check(lambda: ops.MseLoss("none"), extremes=[([x, t], *mse)], **none)
    huber = np.array([nan, inf, inf, inf]), (np.array([nan, 1, -1, -1]), None)
    check(lambda: ops.HuberLoss(1.0, 1.0, "none"), extremes=[([x, t], *huber)], **none)
    half_pi = np.pi / 2
    bounded = np.array([nan, half_pi, half_pi, half_pi]), (np.array([nan, 0, 0, 0]), None)
    check(lambda: ops.ArctanLoss("none"), extremes=[([x, t], *bounded)], **none)
    x, t = np.array([inf, -inf, nan, 0.0]), np.array([1.0, 0.0, 1.0, 0.0])
    logits = np.array([0, 0, nan, np.log(2)]), (np.array([0, 0, nan, 0.5]), None)
    check(lambda: ops.BinaryCrossEntropyWithLogits("none"), extremes=[([x, t], *logits)], **none)
    x, t = np.array([-inf, 3.0, nan]), np.array([0.0, 0.0, 0.0])
    check(lambda: ops.KlDiv("none"), extremes=[([x, t], np.zeros(3), None)], **none)


def test_what_is_no_number_of_the_loss_gives_nan():
    x, t = np.array([1.5, 0.5], np.float32), np.array([1, 1], np.float32)
    assert np.isnan(total(x, t, 1, which=5))  # a probability above 1
    assert np.isnan(total(x, 2 * t, 1, which=9))  # hinge with target 2
    losses = np.empty((2, 3), np.float32)
    sim.nll_fwd(np.ones((3, 2), np.float32), np.array([1, 2, -7]), NONE, losses, -7)
    np.testing.assert_array_equal(losses, [[-1, nan, 0], [1, nan, 0]])


@pytest.mark.parametrize("target", [np.int64, bool, np.float32, ml_dtypes.bfloat16])
def test_targets_of_any_dtype_run_on_kernels_alone(target, monkeypatch):
    monkeypatch.setenv("PYNN_STRICT", "1")
    values = np.random.default_rng(1).standard_normal((4, 9)).astype(ml_dtypes.bfloat16)
    t = (values.astype(np.float32) > 0).astype(target)
    results = []
    for kernels in ("reference", "sim"):
        x = pynn.Tensor(values, requires_grad=True)
        with pynn.use_kernels(kernels), backend.trace() as trace:
            y = F.binary_cross_entropy_with_logits(x, t, weight=np.arange(9.0), pos_weight=2.0)
            y.backward()
        results.append((y.numpy(), x.grad.numpy().astype(np.float32)))
    assert {path for _, path in trace.counts} == {"native"}
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6 if a.ndim == 0 else 2**-7)


def test_labels_are_ignored_weighted_and_answered():
    label = np.array([[4, -1], [0, 4]])
    for weight in (None, np.array([0.0, 1, 2, 3, 0.5])):
        for reduction in ("mean", "sum", "none"):
            check(
                lambda w=weight, how=reduction: NllLoss(label, w, -1, how),
                (np.random.default_rng(2).standard_normal((2, 2, 5)),),
                types=("float64", "float32"),  # of halves the loss is float32
            )


def test_the_launcher_names_what_was_expected():
    f = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match=r"\[loss_fwd\] which: expected 0 to 9, got 10"):
        total(f, f, 1, which=10)
    with pytest.raises(TypeError, match=r"\[loss_fwd\] t: expected float32, got float16"):
        total(f, f.astype("f2"), 1)
    with pytest.raises(ValueError, match=r"\[nll_fwd\] losses: expected shape \(2, 3\), got \(3,"):
        sim.nll_fwd(np.zeros((3, 2), "f4"), np.zeros(3, int), NONE, f, -1)
