"""Row kernels at their ends: rows of 1 and of 262,144 elements, in 16-byte steps or not, and values
that are hard to sum. Softmax, cross entropy and the norms have theirs in test_kernels_rows.py.
"""

import numpy as np
import pytest

from pynn import backend, testing
from pynn.functional import reduce
from pynn.functional.cross_entropy import MultiMarginLoss, SoftCrossEntropy
from pynn.functional.distance import Length

INF, NAN = np.inf, np.nan

pytestmark = pytest.mark.skipif(
    backend.kernel_module("sim") is None, reason="pynn was built without the simulator"
)

REDUCTIONS = {
    "sum": lambda: reduce.Sum((1,), False),
    "mean": lambda: reduce.Mean((1,), False),
    "max": lambda: reduce.Extreme((1,), False, "max"),
    "min": lambda: reduce.Extreme((1,), False, "min"),
    "logsumexp": lambda: reduce.Logsumexp((1,), False),
    "cumsum": lambda: reduce.Cumsum(1),
    "length": Length,
}
# one; below, at and past a warp's and a CTA's vectors; a row cut in splits, with and without a rest
LENGTHS = [1, 2, 31, 32, 33, 255, 257, 1023, 1025, 4099]
LONG = [262_144, 262_147]


def normal(shape, dtype="float32", seed=0):
    return (2 * np.random.default_rng(seed).standard_normal(shape)).astype(dtype)


def agrees(op, *arrays):
    """Whether the kernels err at most twice as much as the reference, forward and backward."""
    exact = [testing.cast(a, np.dtype("float64")) for a in arrays]
    (y,), node = testing.forward(op, arrays, native=True)
    (peer,), of_peer = testing.forward(op, arrays)
    (truth,), of_truth = testing.forward(op, exact)
    where = f"{op().name} {arrays[0].shape}"
    testing.at_most_twice(f"{where}: forward", [y], [peer], [truth])
    dy = normal(y.shape, y.dtype, 5)
    dxs = testing.backward(node, [dy], native=True)
    truths = testing.backward(of_truth, [dy.astype(np.float64)])
    testing.at_most_twice(f"{where}: backward", dxs, testing.backward(of_peer, [dy]), truths)


def one_past(array):
    """The same values one element past 16 bytes."""
    room = np.empty(array.size + 9, array.dtype)
    start = -(room.ctypes.data // array.itemsize) % 4 + 1
    view = room[start : start + array.size].reshape(array.shape)
    view[...] = array
    return view


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_of_rows_of_every_length(name):
    for n in LENGTHS:
        agrees(REDUCTIONS[name], normal((3, n)))
    agrees(REDUCTIONS[name], one_past(normal((3, 64))))
    agrees(REDUCTIONS[name], normal((0, 7)))
    for n in LONG:
        agrees(REDUCTIONS[name], normal((1, n)))


@pytest.mark.parametrize("n", [1, 70, 262_144])
def test_the_first_greatest_of_a_row(n):
    x = np.random.default_rng(0).integers(-9, 9, (1, n)).astype(np.float32)
    for which in ("argmax", "argmin"):
        op = lambda which=which: reduce.ExtremeIndex((1,), False, which)  # noqa: E731
        assert testing.forward(op, [x], native=True)[0][0] == getattr(x, which)()


@pytest.mark.parametrize("C", [1, 2, 33, 127, 128, 1024, 1025, 2052, 8200, *LONG])
def test_losses_of_rows_of_every_length(C):
    rows = 3 if C < 5000 else 1
    x, t = normal((rows, C)), np.random.default_rng(1).dirichlet(np.ones(C), rows)
    agrees(lambda: SoftCrossEntropy(None, 0.0, "mean"), x, t.astype(np.float32))
    labels = np.arange(rows) * 7 % C
    agrees(lambda: MultiMarginLoss(labels, 2, 1.0, None, "mean"), x)
    if C == 1024:
        agrees(lambda: SoftCrossEntropy(None, 0.0, "none"), one_past(x), t.astype(np.float32))
        agrees(lambda: MultiMarginLoss(labels, 1, 1.0, None, "none"), one_past(x))


# ------------------------------------------------------------------ hard values


@pytest.mark.parametrize("n", [5, 64, 3000])
def test_what_is_not_finite_goes_where_the_mathematics_sends_it(n):
    """Rows: inf, -inf, both, NaN, and all -inf."""
    x = np.zeros((5, n), np.float32)
    x[0, 1], x[1, 2], x[2, :2], x[3, n - 1], x[4] = INF, -INF, (INF, -INF), NAN, -INF
    wanted = {
        "sum": [INF, -INF, NAN, NAN, -INF],
        "mean": [INF, -INF, NAN, NAN, -INF],
        "max": [INF, 0, INF, NAN, -INF],
        "min": [0, -INF, -INF, NAN, -INF],
        "logsumexp": [INF, np.log(n - 1), INF, NAN, -INF],
    }
    for name, values in wanted.items():
        for native in (False, True):
            (y,), node = testing.forward(REDUCTIONS[name], [x], native)
            np.testing.assert_allclose(y, np.float32(values), rtol=1e-6, err_msg=name)
            (dx,) = testing.backward(node, [np.ones_like(y)], native)
            if name == "logsumexp":
                np.testing.assert_array_equal(dx[4], 0)
                assert dx[1, 2] == 0 and np.isnan(dx[3, n - 1])
    ends = np.abs(x[:4]).max(axis=1)
    for native in (False, True):
        (y,), _ = testing.forward(Length, [x[:2]], native)
        np.testing.assert_array_equal(y, ends[:2])
        (y,), _ = testing.forward(Length, [x[3:4]], native)
        assert np.isnan(y).all()
        (y,), _ = testing.forward(REDUCTIONS["cumsum"], [x[:1]], native)
        np.testing.assert_array_equal(y[0], [0] + [INF] * (n - 1))


@pytest.mark.parametrize("n", [40, 3001, 20_000])
def test_large_values_and_a_mean_far_from_zero_cost_no_digits(n):
    for x in (1e4 + 1e-3 * normal((2, n), float), 1e30 * normal((2, n), float)):
        for op in REDUCTIONS.values():
            agrees(op, x.astype(np.float32))


@pytest.mark.parametrize("n", [5, 64, 3000])
def test_losses_of_rows_that_are_masked(n):
    """Rows: all -inf; all but one -inf, and the rest is likely; -inf where it is; NaN."""
    x = np.zeros((4, n), np.float32)
    t = np.zeros((4, n), np.float32)
    x[0], x[1, 1:], x[2, 0], x[3, 1] = -INF, -INF, -INF, NAN
    t[:, 0] = 1
    op = lambda: SoftCrossEntropy(None, 0.0, "none")  # noqa: E731
    for native in (False, True):
        (y,), node = testing.forward(op, [x, t], native)
        np.testing.assert_array_equal(y, [INF, 0, INF, NAN])
        dx, dt = testing.backward(node, [np.ones_like(y)], native)
        np.testing.assert_array_equal(dx[:2], 0)
        np.testing.assert_array_equal(dt[0], 0)
        assert np.isnan(dx[3]).all()
    labels = np.zeros(4, np.int64)
    margin = lambda: MultiMarginLoss(labels, 2, 1.0, None, "none")  # noqa: E731
    wanted = testing.forward(margin, [x])[0][0]
    np.testing.assert_array_equal(testing.forward(margin, [x], native=True)[0][0], wanted)


def test_a_label_that_is_no_class_gives_nan():
    sim = backend.kernel_module("sim")
    x, losses = np.zeros((3, 4), np.float32), np.zeros(3, np.float32)
    sim.multi_margin_fwd(x, np.array([0, -1, 4]), x[0, :0], losses, 1.0, False)
    np.testing.assert_array_equal(losses, [0.75, NAN, NAN])
    with pytest.raises(ValueError, match=r"\[multi_margin_fwd\] labels: expected shape \(3,\)"):
        sim.multi_margin_fwd(x, np.zeros(2, np.int64), x[0, :0], losses, 1.0, False)
    with pytest.raises(ValueError, match=r"\[soft_cross_entropy_fwd\] t: expected shape \(3, 4\)"):
        stats = np.zeros((3, 3), np.float32)
        sim.soft_cross_entropy_fwd(x, x[:2], x[0, :0], losses, stats, 0.0)
