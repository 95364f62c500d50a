"""Convolution, batch norm, residual and ReLU as one: the moments that the kernels leave, and that
the pattern is the ops by themselves, in training and evaluation.
"""

import ml_dtypes
import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn import backend, kernels
from pynn.functional.conv import Conv1dMoments, Conv2dMoments
from pynn.functional.norm import normalize_batch
from pynn.functional.window import Geometry
from pynn.testing import at_most_twice, check, gradcheck

_sim = backend.kernel_module("sim")
needs_sim = pytest.mark.skipif(_sim is None, reason="pynn was built without pynn._sim")
BF16 = ml_dtypes.bfloat16
VARIANTS = kernels.variants("conv")

# N, H, W, C, K, kernel, stride, groups
CASES = {
    "tiles and a part of one": (2, 9, 9, 8, 136, (3, 3), 1, 1),
    "1x1": (1, 20, 21, 16, 24, (1, 1), 1, 1),
    "groups": (1, 11, 10, 128, 128, (3, 3), 2, 2),
    "depthwise": (2, 9, 7, 16, 16, (3, 3), 1, 16),
    "channels off 8": (1, 13, 9, 3, 5, (3, 3), 1, 1),
    "one pixel": (1, 1, 1, 8, 8, (1, 1), 1, 1),
    "a long sum": (1, 4, 4, 136, 16, (3, 3), 1, 1),
}


def arrays_of(name, dtype, seed=0, most=2):
    N, H, W, C, K, kernel, stride, groups = CASES[name]
    pads = tuple((k // 2, k // 2) for k in kernel)
    how = Geometry((stride, stride), pads, (1, 1))
    draw = np.random.default_rng(seed).integers
    shapes = (N, H, W, C), (K, *kernel, C // groups), (K,)
    return how, groups, *(draw(-most, most + 1, s).astype(dtype) for s in shapes)


def moments(how, x, w, b, variant, room=0):
    """y of the launcher, and mean, sum of squares and count in each part."""
    P, Q = how.output_size(x.shape[1:3], w.shape[1:3])
    y = np.full((len(x), P, Q, len(w)), np.nan, x.dtype)
    parts = np.full((-(-y[..., 0].size // 64), len(w), 4), np.nan, np.float32)
    pads = tuple(before for before, _ in how.padding)
    number = kernels._VARIANTS["conv"][variant] if variant else 0
    room = np.full(room, np.nan, np.float32)
    _sim.conv_fprop_moments(x, w, b, y, parts, room, how.stride, pads, how.dilation, number, False)
    return y, parts[..., :2].copy().view(np.float64)[..., 0], parts[..., 2], parts[..., 3]


@needs_sim
@pytest.mark.parametrize("dtype", [np.float32, BF16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("variant", [None, *VARIANTS])
def test_parts_are_the_moments_of_64_rows(variant, dtype):
    """Integers, so that the sums of squares about the first row are exact; of what y holds."""
    for name in CASES:
        how, _, x, w, b = arrays_of(name, dtype)
        y, mean, squares, count = moments(how, x, w, b, variant)
        rows = y.reshape(-1, y.shape[-1]).astype(np.float64)
        for i in range(len(count)):
            part = rows[64 * i : 64 * i + 64]
            truth = part.mean(0)
            np.testing.assert_array_equal(count[i], len(part))
            np.testing.assert_allclose(mean[i], truth, rtol=1e-14, atol=1e-13)
            wanted = ((part - truth) ** 2).sum(0)
            np.testing.assert_allclose(squares[i], wanted, rtol=1e-6, atol=1e-4)


@needs_sim
def test_parts_behind_split_k():
    how, _, x, w, b = arrays_of("a long sum", BF16)
    whole = moments(how, x, w, b, "sm80")
    _sim.reset_counters()
    cut = moments(how, x, w, b, "sm80", room=1 << 12)
    assert _sim.counters()["launches"] == 3  # parts of K, their sums, the moments
    np.testing.assert_array_equal(cut[0], whole[0])
    np.testing.assert_allclose(cut[1], whole[1], rtol=1e-14, atol=1e-13)


@needs_sim
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_mean_far_from_zero_beside_a_small_spread(variant):
    """1e4 and 1e-3: E[x^2] - E[x]^2 would lose every digit."""
    dtype = np.float16 if "sm" in variant else np.float32
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 9, 9, 8)).astype(dtype)
    w = (1e-3 * rng.standard_normal((16, 1, 1, 8))).astype(dtype)
    b = np.full(16, 1e4 if dtype == np.float32 else 1.0, dtype)
    with pynn.use_kernels("sim"), kernels.prefer("conv", variant):
        how = Geometry((1, 1), ((0, 0), (0, 0)), (1, 1))
        node = Conv2dMoments(*how, 1)
        y = node(*(pynn.Tensor(a) for a in (x, w, b)))
        running = [pynn.Tensor(np.zeros(16, np.float32)) for _ in range(2)]
        normalize_batch(y, node.take_parts(), running, (None,) * 3, True, 1.0, 0.0, None)
    rows = y.numpy().reshape(-1, 16).astype(np.float64)
    np.testing.assert_allclose(running[0].numpy(), rows.mean(0), rtol=1e-7)
    np.testing.assert_allclose(running[1].numpy(), rows.var(0, ddof=1), rtol=1e-6)


@needs_sim
@pytest.mark.parametrize("schedule", [("descending", "late"), ("random", "random")])
def test_every_schedule_gives_the_same_bits(schedule):
    for variant in VARIANTS:
        how, _, x, w, b = arrays_of("tiles and a part of one", BF16)
        wanted = moments(how, x, w, b, variant)
        _sim.set_schedule(*schedule, 3)
        try:
            got = moments(how, x, w, b, variant)
        finally:
            _sim.set_schedule("ascending", "now", 1)
        for g, r in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(g, r)


def test_six_questions():
    rng = np.random.default_rng(0)
    how = Geometry((2, 1), ((1, 1), (0, 1)), (1, 2))
    x, w, b = (rng.standard_normal(s) for s in ((2, 5, 6, 8), (6, 3, 2, 4), (6,)))
    check(lambda: Conv2dMoments(*how, 2), (x, w), (x, w, b))
    line = Geometry((1, 2), ((0, 0), (1, 1)), (1, 1))
    x, w, b = (rng.standard_normal(s) for s in ((2, 11, 5), (6, 3, 5), (6,)))
    check(lambda: Conv1dMoments(*line, 1), (x, w, b))


# ------------------------------------------------------------------ the pattern


def case(dims=2, dtype=np.float64, seed=0):
    """x, weight, norm_weight, norm_bias, bias, residual; running mean and variance."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, *[7] * dims, 16))
    w = rng.standard_normal((8, *[3] * dims, 8)) / 8
    rest = (rng.standard_normal(8) for _ in range(3))
    residual = rng.standard_normal((2, *[4] * dims, 8))
    inputs = [a.astype(dtype) for a in (x, w, *rest, residual)]
    return inputs, [np.linspace(-1, 1, 8, dtype=np.float32), np.linspace(1, 2, 8, dtype=np.float32)]


def run(kind, inputs, running, training, f, adds):
    """z, the gradients and the running statistics; `kind` fused or not."""
    x, w, gamma, beta, b, residual = (pynn.Tensor(a, requires_grad=True) for a in inputs)
    mean, var = (pynn.Tensor(a.copy()) for a in running)
    numbers = dict(stride=2, padding=1, groups=2)
    given = residual if adds else None
    dims = x.ndim - 2
    if kind == "fused":
        how = dict(training=training, activation=f, residual=given, **numbers)
        z = getattr(F, f"conv{dims}d_batch_norm")(x, w, mean, var, gamma, beta, b, **how)
    else:
        y = getattr(F, f"conv{dims}d")(x, w, b, **numbers)
        z = F.batch_norm(y, mean, var, gamma, beta, training)
        z = z if given is None else z + given
        z = F.relu(z) if f else z
    dz = np.random.default_rng(9).standard_normal(z.shape)
    z.backward(pynn.Tensor(dz.astype(z.dtype)))
    leaves = x, w, gamma, beta, b, *([residual] if adds else [])
    return [t.numpy() for t in (z, *(t.grad for t in leaves), mean, var)]


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("f, adds", [(None, False), ("relu", False), ("relu", True), (None, True)])
def test_it_is_the_ops_by_themselves(f, adds, training, dims):
    inputs, running = case(dims)
    fused, apart = (run(kind, inputs, running, training, f, adds) for kind in ("fused", "apart"))
    for got, wanted in zip(fused, apart, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-12)


@needs_sim
@pytest.mark.parametrize("dtype", [np.float32, np.float16, BF16], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("training", [True, False])
def test_kernels_are_as_right_as_the_reference(training, dtype, monkeypatch):
    """At most twice the error of the ops by themselves, by the reference, against float64."""
    monkeypatch.setenv("PYNN_STRICT", "1")
    low, running = case(dtype=dtype)

    def results(kind, which, inputs):
        with pynn.use_kernels(which):
            return run(kind, inputs, running, training, "relu", True)

    def exact(inputs):
        return results("apart", "reference", [a.astype(np.float64) for a in inputs])

    def nearby():
        """Errors of the reference on inputs that differ in the last place."""
        rng = np.random.default_rng(4)
        eps = float(pynn.dtypes.finfo(dtype).eps)
        errors = []
        for _ in range(8):
            moved = [
                (a.astype(np.float64) * (1 + eps * rng.choice([-1, 0, 1], a.shape))).astype(dtype)
                for a in low
            ]
            pairs = zip(results("apart", "reference", moved), exact(moved), strict=True)
            errors.append([np.abs(a.astype(np.float64) - t).max() for a, t in pairs])
        return np.max(errors, axis=0)

    got, reference = results("fused", "sim", low), results("apart", "reference", low)
    at_most_twice("fused", got, reference, exact(low), nearby)


def test_gradcheck():
    inputs, running = case(dims=1)
    inputs = [pynn.Tensor(a, requires_grad=True) for a in inputs]

    def pattern(x, w, gamma, beta, b, residual):
        mean, var = (pynn.Tensor(a.copy()) for a in running)
        how = dict(stride=2, padding=1, groups=2, training=True, activation="relu")
        return F.conv1d_batch_norm(x, w, mean, var, gamma, beta, b, residual=residual, **how)

    gradcheck(pattern, *inputs)


@needs_sim
def test_passes_over_memory():
    """Forward: the convolution, the statistics out of its parts, one pass."""
    inputs, running = case(dtype=np.float32)
    x, w, gamma, beta, b, residual = (pynn.Tensor(a) for a in inputs)
    mean, var = (pynn.Tensor(a.copy()) for a in running)
    how = dict(stride=2, padding=1, groups=2, activation="relu", residual=residual)
    for training, launches in ((True, 3), (False, 2)):
        with pynn.use_kernels("sim"):
            _sim.reset_counters()
            F.conv2d_batch_norm(x, w, mean, var, gamma, beta, b, training=training, **how)
        assert _sim.counters()["launches"] == launches


def test_empty_batch_leaves_the_statistics():
    inputs, running = case(dtype=np.float32)
    for which in ("reference", "sim") if _sim else ("reference",):
        with pynn.use_kernels(which):
            cut = [inputs[0][:0], *inputs[1:5], inputs[5][:0]]
            z, *_, mean, var = run("fused", cut, running, True, "relu", True)
        assert z.shape == (0, 4, 4, 8)
        np.testing.assert_array_equal(mean, running[0])
        np.testing.assert_array_equal(var, running[1])


def test_bad_input():
    inputs, running = case(dtype=np.float32)
    x, w, gamma, beta, b, residual = (pynn.Tensor(a) for a in inputs)
    mean, var = (pynn.Tensor(a) for a in running)
    op = F.conv2d_batch_norm
    numbers = dict(stride=2, padding=1, groups=2)
    for call, text in (
        (lambda: op(x, w, mean, var), r"\[conv2d\] x: expected 8 channels"),
        (lambda: op(x, w, None, None, **numbers), r"\[batch_norm\] running_mean: expected"),
        (lambda: op(x, w, mean, var[:5], **numbers), r"running_var: expected shape \(8,\), got"),
        (lambda: op(x, w, mean, var, gamma[:3], **numbers), r"weight: expected shape \(8,\), got"),
        (lambda: op(x, w, mean, var, residual=x, **numbers), r"residual: expected shape \(2, 4, 4"),
        (lambda: op(x, w, mean, var, activation="silu", **numbers), r"activation: expected None"),
    ):
        with pytest.raises(ValueError, match=text):
            call()


@needs_sim
def test_launchers_say_what_is_wrong():
    how, _, x, w, b = arrays_of("channels off 8", np.float32)
    y, parts, none = np.empty((1, 13, 9, 5), "f4"), np.empty((2, 5, 4), "f4"), np.empty(0, "f4")
    numbers = how.stride, (1, 1), how.dilation, 0, False
    _sim.conv_fprop_moments(x, w, b, y, parts, none, *numbers)
    with pytest.raises(ValueError, match=r"\[conv_fprop_moments\] parts: expected shape \(2, 5, 4"):
        _sim.conv_fprop_moments(x, w, b, y, parts[:1], none, *numbers)
    rows, statistics = y.reshape(1, -1, 5), [np.empty((1, 5)) for _ in range(2)]
    rest = none, none.copy(), 1e-5, 0.1
    for x, found, text in (
        (rows, parts[:, :4].copy(), r"parts: expected shape \(2, 5, 4\), got \(2, 4, 4\)"),
        (rows.reshape(9, 13, 5), parts, r"mean: expected shape \(9, 5\), got \(1, 5\)"),
    ):
        with pytest.raises(ValueError, match=r"\[group_statistics\] " + text):
            _sim.group_statistics(x, found, *statistics, *rest)


@pytest.mark.oracle
@pytest.mark.parametrize("kernels_of", ["reference", "sim"])
@pytest.mark.parametrize("training", [True, False])
def test_agrees_with_pytorch(torch, training, kernels_of):
    if kernels_of == "sim" and _sim is None:
        pytest.skip("pynn was built without pynn._sim")
    dtype = np.float32 if kernels_of == "sim" else np.float64
    inputs, running = case(dtype=dtype)
    with pynn.use_kernels(kernels_of):
        ours = run("fused", inputs, running, training, "relu", True)
    theirs = [torch.tensor(a, requires_grad=True) for a in inputs]
    x, w, gamma, beta, b, residual = theirs
    x, w, residual = (t.movedim(-1, 1) for t in (x, w, residual))
    mean, var = (torch.tensor(a.astype(dtype)) for a in running)
    nn = torch.nn.functional
    y = nn.conv2d(x, w, b, stride=2, padding=1, groups=2)
    z = nn.relu(nn.batch_norm(y, mean, var, gamma, beta, training) + residual)
    dz = np.random.default_rng(9).standard_normal((2, 4, 4, 8)).astype(dtype)
    z.backward(torch.tensor(dz).movedim(-1, 1))
    wanted = [z.movedim(1, -1), *(t.grad for t in theirs), mean, var]
    eps = float(np.finfo(dtype).eps)
    for got, t in zip(ours, wanted, strict=True):
        t = t.detach().numpy()
        bound = 64 * max(eps, float(np.finfo(got.dtype).eps))
        scale = max(1, np.abs(t).max())
        np.testing.assert_allclose(got, t, rtol=bound, atol=bound * scale)
