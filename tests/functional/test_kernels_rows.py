"""Row kernels where they change: at the edges of a warp, a team and a chunk, on misaligned memory,
on one huge row, and in every order of threads.

Over 400 lines: reductions, softmax and norms share their shapes and their comparison.
"""

import numpy as np
import pytest

import pynn
from pynn import backend, dtypes, testing
from pynn.functional import reduce
from pynn.functional.channel_norm import BatchNorm, BatchNormEval, GroupNorm, InstanceNorm
from pynn.functional.cross_entropy import CrossEntropy
from pynn.functional.row_norm import AddLayerNorm, AddRMSNorm, LayerNorm, RMSNorm
from pynn.functional.softmax import LogSoftmax, Softmax

FLOATS = ("float32", "float16", "bfloat16")
INF = np.inf

pytestmark = pytest.mark.skipif(
    backend.kernel_module("sim") is None, reason="pynn was built without the simulator"
)


@pytest.fixture(autouse=True)
def ascending_again():
    yield
    backend.kernel_module("sim").set_schedule("ascending")


def misaligned(array):
    """The same values one element past an address of 16 bytes, so that no vector access fits."""
    room = np.empty(array.size + 17, array.dtype)
    start = -(room.ctypes.data // array.itemsize) % (16 // array.itemsize) + 1
    view = room[start : start + array.size].reshape(array.shape)
    view[...] = array
    assert view.ctypes.data % 16 == array.itemsize
    return view


def agrees(op, *arrays, gradient=True):
    """Whether the kernels err at most twice as much as the reference; returns what they gave."""
    exact = [a.astype(np.float64) if a.dtype in dtypes.FLOATS else a for a in arrays]
    ys, node = testing.forward(op, arrays, native=True)
    peers, peer = testing.forward(op, arrays)
    truths, truth = testing.forward(op, exact)
    where = f"{op().name} {arrays[0].dtype} {arrays[0].shape}"
    testing.at_most_twice(f"{where}: forward", ys, peers, truths)
    if not gradient:
        return ys
    rng = np.random.default_rng(5)
    dys = [rng.standard_normal(y.shape).astype(y.dtype) for y in ys]
    dxs = testing.backward(node, dys, native=True)
    exact_dxs = testing.backward(truth, [dy.astype(np.float64) for dy in dys])
    testing.at_most_twice(f"{where}: backward", dxs, testing.backward(peer, dys), exact_dxs)
    return ys + [dx for dx in dxs if dx is not None]


def normal(shape, dtype, scale=2.0, seed=0):
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(
        dtypes.as_dtype(dtype)
    )


def same_in_every_order(run):
    """The same bits whichever thread runs first."""
    bits = set()
    for order, seed in [("ascending", 1), ("descending", 1), ("random", 2), ("random", 3)]:
        backend.kernel_module("sim").set_schedule(order, seed=seed)
        bits.add(b"".join(np.ascontiguousarray(a).tobytes() for a in run()))
    assert len(bits) == 1


SOFTMAX = [lambda: Softmax(-1), lambda: LogSoftmax(-1)]
# a part of a warp, a warp, 128, 512 and 1024 threads with vectors; then without; then long rows
LENGTHS = [1, 2, 8, 31, 32, 33, 127, 128, 129, 513, 1023, 1024, 1025, 2052, 4104]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", SOFTMAX)
def test_softmax_of_rows_of_every_length(op, dtype):
    for n in LENGTHS:
        agrees(op, normal((3, n), dtype))
    agrees(op, misaligned(normal((5, 64), dtype)))
    agrees(op, misaligned(normal((2, 2064), dtype)))


# on chip; by a CTA alone, scalars; by clusters of 2 (gradient: 4) and 4 (8) CTAs; by 8 forward and
# by a CTA alone back; by a CTA alone
LONG = [("float32", 12_288), ("float32", 2051), ("float32", 40_000), ("bfloat16", 131_072)]
LONG += [("float16", 262_144), ("float32", 262_148)]


@pytest.mark.parametrize("dtype, n", LONG)
@pytest.mark.parametrize("op", SOFTMAX)
def test_softmax_of_a_long_row(op, dtype, n):
    agrees(op, normal((1, n), dtype))


@pytest.mark.parametrize("op", SOFTMAX)
@pytest.mark.parametrize("n", [7, 2056])
def test_softmax_is_the_same_in_every_order_of_threads(op, n):
    x = normal((3, n), "float32")
    same_in_every_order(lambda: agrees(op, x))


@pytest.mark.parametrize("n", [4, 5, 2100, 40000])
def test_softmax_of_masked_rows(n):
    x = np.zeros((4, n), np.float32)
    x[0] = -INF
    x[1, 1:] = -INF
    x[2, n - 1] = INF
    x[3, 0] = np.nan
    for op, masked, alone in [(SOFTMAX[0], 0.0, 1.0), (SOFTMAX[1], -INF, 0.0)]:
        (y,), node = testing.forward(op, [x], native=True)
        np.testing.assert_array_equal(y[0], masked)
        assert y[1, 0] == alone and (y[1, 1:] == masked).all()
        assert np.isnan(y[2:]).all()
        (dx,) = testing.backward(node, [np.ones_like(x)], native=True)
        np.testing.assert_array_equal(dx[0], 0)
        assert np.isfinite(dx[1]).all()


def test_softmax_along_another_axis_stays_on_the_reference():
    x = normal((3, 4), "float32")
    assert Softmax(1).takes_native([x]) and Softmax(-1).takes_native([x])
    assert not Softmax(0).takes_native([x])


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0,)])
def test_softmax_of_nothing(shape):
    x = np.zeros(shape, np.float32)
    (y,), node = testing.forward(SOFTMAX[0], [x], native=True)
    assert y.shape == shape
    assert testing.backward(node, [y], native=True)[0].shape == shape


def test_softmax_launchers_say_what_is_wrong():
    sim = backend.kernel_module("sim")
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(
        ValueError, match=r"\[softmax_fwd\] x: expected at least one dimension, got"
    ):
        sim.softmax_fwd(np.zeros(()), np.zeros(()))
    with pytest.raises(
        ValueError, match=r"\[softmax_bwd\] dy: expected shape \(2, 3\), got \(3, 2\)"
    ):
        sim.softmax_bwd(x, x.reshape(3, 2), x.copy())
    with pytest.raises(TypeError, match=r"\[softmax_fwd\] y: expected float32, got float16"):
        sim.softmax_fwd(x, np.zeros((2, 3), np.float16))


# ------------------------------------------------------------------ reductions


def over(op, axes):
    """The op over axes, without keepdims."""
    name = {"sum": reduce.Sum, "mean": reduce.Mean}.get(op)
    return lambda: name(axes, False) if name else reduce.Extreme(axes, False, op)


# of (outer, n, inner): rows by teams of 8, 32 and 256 threads; columns; n cut into parts
REDUCED = [(3, n, 1) for n in (1, 31, 32, 33, 64, 129, 1023, 1024, 1025, 4096)]
REDUCED += [(2, n, inner) for n in (1, 7, 33, 130) for inner in (3, 8, 33, 264)]
REDUCED += [(1, 50_000, 1), (2, 20_008, 1), (1, 6000, 5), (1, 2100, 64)]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", ["sum", "mean", "max", "min"])
def test_reductions_of_every_shape(op, dtype):
    for shape in REDUCED:
        agrees(over(op, (1,)), normal(shape, dtype))
    for shape in [(3, 64), (2, 2064), (5, 16, 24)]:
        agrees(over(op, (1,)), misaligned(normal(shape, dtype)))


@pytest.mark.parametrize("op", ["sum", "max"])
def test_reductions_are_the_same_in_every_order_of_threads(op):
    for shape in [(2, 300, 1), (1, 3000, 5), (1, 9000, 1)]:
        x = normal(shape, "float32")
        same_in_every_order(lambda x=x: agrees(over(op, (1,)), x))


def test_axes_that_are_neighbours_and_axes_that_are_not():
    x = normal((2, 3, 1, 4, 5), "float32")
    for axes in [(0,), (1, 3), (1, 2, 3), (3, 4), (0, 1, 2, 3, 4), (2,), ()]:
        assert over("sum", axes)().takes_native([x])
        agrees(over("sum", axes), x)
        agrees(over("max", axes), x)
    for axes in [(0, 3), (1, 3)]:
        agrees(over("sum", axes), x)
        agrees(over("max", axes), x)
    assert not reduce.Sum((0,), False).takes_native([x.astype(np.int32)])


@pytest.mark.parametrize("shape", [(4, 70, 1), (2, 600, 3), (1, 30_000, 1), (1, 1, 7)])
def test_ties_nan_and_the_first_of_several(shape):
    x = np.random.default_rng(0).integers(-2, 3, shape).astype(np.float32)
    x[0, shape[1] // 2, 0] = np.nan
    x[-1, :, -1] = -INF if shape[0] > 1 else x[-1, :, -1]
    for which in ("max", "min"):
        (y,), node = testing.forward(over(which, (1,)), [x], native=True)
        np.testing.assert_array_equal(y, getattr(x, which)(axis=1))
        (dx,) = testing.backward(node, [np.ones_like(y)], native=True)
        (peer,) = testing.backward(testing.forward(over(which, (1,)), [x])[1], [np.ones_like(y)])
        np.testing.assert_array_equal(dx, peer)
        op = lambda w=which: reduce.ExtremeIndex((1,), False, "arg" + w)  # noqa: E731
        np.testing.assert_array_equal(
            testing.forward(op, [x], native=True)[0][0], getattr(x, "arg" + which)(axis=1)
        )


def test_argmax_runs_its_kernel_and_has_no_gradient():
    x = pynn.Tensor(normal((3, 40), "float32"), requires_grad=True)
    with pynn.use_kernels("sim"), backend.trace() as trace:
        for axis, keepdims in [(1, False), (0, True), (None, False), (None, True)]:
            y = x.argmax(axis=axis, keepdims=keepdims)
            np.testing.assert_array_equal(y.data, x.data.argmax(axis=axis, keepdims=keepdims))
            assert y.dtype == np.int64 and not y.requires_grad
    assert trace.counts == {("extreme_index", "native"): 4}
    with pytest.raises(ValueError, match=r"\[argmax\] expected one axis or None, got \(0, 1\)"):
        x.argmax(axis=(0, 1))


@pytest.mark.parametrize("shape", [(3, 0, 2), (0, 3, 2), (3, 2, 0)])
def test_reductions_of_nothing(shape):
    x = np.zeros(shape, np.float32)
    for op in ("sum", "mean"):
        agrees(over(op, (1,)), x)
    if shape[1]:
        agrees(over("max", (1,)), x)


def test_reduction_launchers_say_what_is_wrong():
    sim = backend.kernel_module("sim")
    x, y, none = (
        np.zeros((2, 3, 1), np.float32),
        np.zeros((2, 1), np.float32),
        np.zeros(0, np.float32),
    )
    with pytest.raises(ValueError, match=r"\[sum_fwd\] y: expected shape \(2, 1\), got \(2, 3\)"):
        sim.sum_fwd(x, x[..., 0].copy(), none, 1.0)
    with pytest.raises(ValueError, match=r"\[max_fwd\] x: expected at least one element along"):
        sim.max_fwd(np.zeros((2, 0, 1), np.float32), y, y.copy(), none)
    with pytest.raises(TypeError, match=r"\[argmax_fwd\] y: expected int64, got float32"):
        sim.argmax_fwd(x, y, none)


# ------------------------------------------------------------------ cross entropy


def loss(labels, classes, weighted=False, smoothing=0.0, reduction="mean"):
    weight = np.random.default_rng(9).uniform(0, 2, classes) if weighted else None
    return lambda: CrossEntropy(labels, weight, -100, smoothing, reduction)


def some_labels(rows, classes):
    labels = np.random.default_rng(3).integers(0, classes, rows)
    labels[::4] = -100
    return labels


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "weighted, smoothing", [(False, 0.0), (True, 0.0), (True, 0.2), (False, 0.2)]
)
def test_cross_entropy_of_rows_of_every_length(dtype, weighted, smoothing):
    for C in [1, 2, 10, 31, 32, 33, 128, 129, 1000, 1025, 2100]:
        for reduction in ("mean", "none"):
            op = loss(some_labels(6, C), C, weighted, smoothing, reduction)
            agrees(op, normal((6, C), dtype))
            agrees(op, misaligned(normal((6, C), dtype)))


# clusters of 2 and 8 CTAs; a CTA alone for what is not in 16-byte steps, and for longer rows
@pytest.mark.parametrize(
    "dtype, C",
    [("float32", 33_000), ("float32", 12_001), ("bfloat16", 262_144), ("float32", 262_148)],
)
def test_cross_entropy_of_a_long_row(dtype, C):
    agrees(loss(np.array([C - 1]), C), normal((1, C), dtype))
    agrees(loss(np.array([7]), C, True, 0.1), normal((1, C), dtype))


def test_clusters_give_the_same_bits_in_every_order_of_threads():
    x, residual = normal((2, 66_000), "float32"), normal((2, 66_000), "float32", 1, 4)
    same_in_every_order(lambda: agrees(loss(np.array([5, 65_000]), 66_000), x))
    same_in_every_order(lambda: agrees(SOFTMAX[1], x))
    same_in_every_order(
        lambda: agrees(lambda: AddLayerNorm(True, 1, EPS, False, False), x, residual)
    )


def test_the_gradient_comes_out_of_the_forward_pass():
    """And is right for any dy, and once more where the graph is kept."""
    labels, x = some_labels(6, 40), normal((6, 40), "float32")
    for reduction, dy in [("mean", 1.0), ("mean", -2.5), ("sum", 1.0), ("none", None)]:
        dy = np.float32(dy) if dy else normal(6, "float32")
        (y,), node = testing.forward(loss(labels, 40, reduction=reduction), [x], native=True)
        assert node.dx is not None
        (wanted,) = testing.backward(
            testing.forward(loss(labels, 40, reduction=reduction), [x])[1], [np.asarray(dy)]
        )
        for _ in range(2):
            (dx,) = testing.backward(node, [np.asarray(dy)], native=True)
            np.testing.assert_allclose(dx, wanted, rtol=2e-6, atol=1e-7)
    node = loss(labels, 40)()
    node.forward_native(x)  # without a gradient
    assert node.dx is None


def test_a_gradient_in_float16_waits_for_the_scale_of_the_loss():
    x = normal((64, 3000), "float16")
    (_,), node = testing.forward(loss(some_labels(64, 3000), 3000), [x], native=True)
    assert node.dx is None
    (dx,) = testing.backward(node, [np.float32(2.0**14).reshape(())], native=True)
    assert (dx != 0)[1].all()


def test_cross_entropy_is_the_same_in_every_order_of_threads():
    x = normal((9, 700), "float32")
    same_in_every_order(lambda: agrees(loss(some_labels(9, 700), 700, True, 0.1), x))


@pytest.mark.parametrize("C", [5, 40, 2100])
def test_cross_entropy_of_special_rows(C):
    x = np.zeros((4, C), np.float32)
    x[0] = -INF
    x[1, 1:] = -INF
    x[2, 0] = np.nan
    for labels in ([0, 0, 0, -100], [1, 0, 1, -100]):
        op = loss(np.array(labels), C, reduction="none")
        (y,), node = testing.forward(op, [x], native=True)
        np.testing.assert_array_equal(y, [INF, 0, np.nan, 0])
        (dx,) = testing.backward(node, [np.ones_like(y)], native=True)
        np.testing.assert_array_equal(dx[[0, 1, 3]], 0)
        assert np.isnan(dx[2]).all()


def test_a_label_out_of_range():
    sim = backend.kernel_module("sim")
    x, labels, none = np.zeros((3, 4), np.float32), np.array([4, -1, 2]), np.zeros(0, np.float32)
    losses, stats = np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)
    sim.cross_entropy_fwd(x, labels, none, none, none, losses, stats, none, -100, 0.0)
    np.testing.assert_allclose(losses[0], [np.nan, np.nan, np.log(4)], rtol=1e-6)
    dx = np.zeros_like(x)
    sim.cross_entropy_bwd(x, labels, none, none, stats, np.ones(1, np.float32), none, dx, -100, 0.0)
    assert np.isnan(dx[:2]).all() and np.isfinite(dx[2]).all()
    with pytest.raises(IndexError, match=r"\[cross_entropy\] target: expected labels in \[0, 4\)"):
        testing.forward(loss(labels, 4), [x], native=True)


def test_cross_entropy_launchers_say_what_is_wrong():
    sim = backend.kernel_module("sim")
    x, none = np.zeros((3, 4), np.float32), np.zeros(0, np.float32)
    outs, labels = (np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)), np.zeros(3, int)
    with pytest.raises(
        ValueError, match=r"\[cross_entropy_fwd\] labels: expected shape \(3,\), got"
    ):
        sim.cross_entropy_fwd(x, labels[:2], none, none, none, *outs, none, -100, 0.0)
    with pytest.raises(ValueError, match=r"smoothing: expected a number in \[0, 1\], got 2"):
        sim.cross_entropy_fwd(x, labels, none, none, none, *outs, none, -100, 2.0)
    with pytest.raises(
        TypeError, match=r"\[cross_entropy_fwd\] labels: expected int64, got float32"
    ):
        sim.cross_entropy_fwd(x, x[:, 0].copy(), none, none, none, *outs, none, -100, 0.0)


# ------------------------------------------------------------------ normalizations of rows

EPS = 1e-5
ROW_NORMS = {
    "layer": lambda: LayerNorm(1, EPS, True, True),
    "layer, plain": lambda: LayerNorm(1, EPS, False, False),
    "rms": lambda: RMSNorm(1, EPS, True),
    "add layer": lambda: AddLayerNorm(True, 1, EPS, True, True),
    "add layer alone": lambda: AddLayerNorm(False, 1, EPS, False, True),
    "add rms": lambda: AddRMSNorm(True, 1, EPS, True),
    "layer, gelu": lambda: LayerNorm(1, EPS, True, True, "gelu"),
    "add layer, relu": lambda: AddLayerNorm(True, 1, EPS, True, True, "relu"),
}


def inputs_of(name, shape, dtype, make=normal):
    """x, what is added to it, and a weight and a bias, as many as the op has."""
    C = shape[-1]
    w, b = 1 + normal(C, dtype, 1, 1), normal(C, dtype, 1, 2)
    affine = {"layer, plain": [], "rms": [w], "add layer alone": [b], "add rms": [w]}
    residual = [normal(shape, dtype, 1, 4)] if "add" in name else []
    return [make(shape, dtype), *residual, *affine.get(name, [w, b])]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ROW_NORMS)
def test_row_norms_of_every_length(name, dtype):
    for C in [5, 31, 32, 33, 128, 520, 1023, 1025, 2064]:
        agrees(ROW_NORMS[name], *inputs_of(name, (5, C), dtype))
    for shape in [(9, 64), (5, 2064), (3, 130)]:
        x, *affine = inputs_of(name, shape, dtype)
        agrees(ROW_NORMS[name], misaligned(x), *(misaligned(a) for a in affine))


@pytest.mark.parametrize("name", ROW_NORMS)
@pytest.mark.parametrize(
    "dtype, C",
    [("float32", 12_000), ("float32", 9001), ("bfloat16", 40_000), ("float16", 262_144)],
)
def test_row_norms_of_a_long_row(name, dtype, C):
    agrees(ROW_NORMS[name], *inputs_of(name, (2 if C < 20_000 else 1, C), dtype))


@pytest.mark.parametrize("rows", [1, 7, 130])
def test_row_norms_with_many_rows(rows):
    for name in ROW_NORMS:
        agrees(ROW_NORMS[name], *inputs_of(name, (rows, 24), "float32"))


@pytest.mark.parametrize("C", [24, 600])
def test_row_norms_are_the_same_in_every_order_of_threads(C):
    for name in ROW_NORMS:
        inputs = inputs_of(name, (9, C), "float32")
        same_in_every_order(lambda name=name, inputs=inputs: agrees(ROW_NORMS[name], *inputs))


@pytest.mark.parametrize("C", [40, 1030, 2051, 20_000])
def test_row_norms_of_hard_numbers(C):
    def offset(shape, dtype):
        return (1e4 + 1e-3 * normal(shape, "float64", 1)).astype(dtype)

    def scaled(scale):
        return lambda shape, dtype: (scale * normal(shape, "float64", 1)).astype(dtype)

    for name in ("layer", "layer, plain", "rms"):
        for make in (offset, scaled(1e30), scaled(3e37), scaled(1e18), scaled(1e-20)):
            x, *affine = inputs_of(name, (3, C), "float32", make)
            (y,), node = testing.forward(ROW_NORMS[name], [x, *affine], native=True)
            wide = [a.astype(np.float64) for a in (x, *affine)]
            (truth,), peer = testing.forward(ROW_NORMS[name], wide)
            assert np.abs(y - truth).max() <= 2e-6 * np.abs(truth).max() + 1e-30
            dy = normal(x.shape, "float32", 1, 7)
            dxs = testing.backward(node, [dy], native=True)
            for dx, exact in zip(dxs, testing.backward(peer, [dy.astype(float)]), strict=True):
                assert np.abs(dx - exact).max() <= 4e-6 * np.abs(exact).max() + 1e-44


def test_row_norms_of_nothing_and_of_one_axis():
    for name in ROW_NORMS:
        for shape in [(0, 5), (4, 0), (33,)]:
            agrees(ROW_NORMS[name], *inputs_of(name, shape, "float32"))


def test_row_norms_give_the_gradients_asked_for():
    x, w, b = inputs_of("layer", (6, 40), "float32")
    for needs in [(True, False, False), (False, True, False), (False, False, True)]:
        node = ROW_NORMS["layer"]()
        node.needs = needs
        node.forward_native(x, w, b)
        given = node.backward_native(np.ones_like(x))
        assert [g is not None for g in given] == list(needs)
    for i in range(4):
        node = ROW_NORMS["add layer"]()
        node.needs = [k == i for k in range(4)]
        node.forward_native(x, x, w, b)
        given = node.backward_native(np.ones_like(x), np.ones_like(x))
        assert [g is not None for g in given] == node.needs


def test_row_norm_launchers_say_what_is_wrong():
    sim = backend.kernel_module("sim")
    x, none, stats = np.zeros((3, 4), np.float32), np.zeros(0, np.float32), np.zeros(3)
    with pytest.raises(ValueError, match=r"\[layer_norm_fwd\] weight: expected shape \(4,\), got"):
        outs = x.copy(), none.copy(), stats, stats.copy()
        sim.layer_norm_fwd(x, none, np.zeros(3, np.float32), none, *outs, 1e-5, 0)
    with pytest.raises(ValueError, match=r"\[layer_norm_fwd\] sum: expected shape \(3, 4\), got"):
        sim.layer_norm_fwd(x, x, none, none, *outs, 1e-5, 0)
    with pytest.raises(ValueError, match=r"\[rms_norm_bwd\] workspace: expected at least 8 floats"):
        sim.rms_norm_bwd(x, x, none, none, stats, x.copy(), np.zeros(4, np.float32), none)
    with pytest.raises(TypeError, match=r"\[rms_norm_fwd\] rstd: expected float64, got float32"):
        sim.rms_norm_fwd(x, none, none, x.copy(), none.copy(), np.zeros(3, np.float32), 1e-5)


# ------------------------------------------------------------------ normalizations of channels


def channel_norm(name, C):
    running = np.linspace(-1, 1, C), np.linspace(0.5, 2, C)
    return {
        "batch": lambda: BatchNorm(C, EPS, True, True),
        "batch, plain": lambda: BatchNorm(C, EPS, False, False),
        "eval": lambda: BatchNormEval(running, EPS, True, True),
        "batch, relu": lambda: BatchNorm(C, EPS, True, True, activation="relu"),
        "eval, gelu": lambda: BatchNormEval(running, EPS, True, True, "gelu"),
        "group": lambda: GroupNorm(max(1, C // 4), EPS, True, True),
        "group, gelu": lambda: GroupNorm(max(1, C // 4), EPS, True, True, "gelu"),
        "instance, relu, plain": lambda: InstanceNorm(C, EPS, False, False, "relu"),
        "instance": lambda: InstanceNorm(C, EPS, True, True),
    }[name]


def channels_of(name, shape, dtype, make=normal):
    x, *affine = inputs_of("layer", shape, dtype, make)
    return [x] if "plain" in name else [x, *affine]


CHANNEL_NORMS = ["batch", "batch, plain", "eval", "group", "instance"]
ACTIVATED = ["batch, relu", "eval, gelu", "group, gelu", "instance, relu, plain"]
# (N, L, C): one tile of scalars, of vectors, several tiles; few and many rows; several splits
IMAGES = [(2, 7, 1), (2, 9, 4), (3, 33, 8), (2, 130, 20), (2, 31, 264), (1, 3000, 4), (2, 1500, 12)]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", CHANNEL_NORMS + ACTIVATED)
def test_channel_norms_of_every_shape(name, dtype):
    for shape in IMAGES[2:6] if name in ACTIVATED else IMAGES:
        agrees(channel_norm(name, shape[-1]), *channels_of(name, shape, dtype))
    x, *affine = channels_of(name, (2, 40, 16), dtype)
    agrees(channel_norm(name, 16), misaligned(x), *(misaligned(a) for a in affine))


@pytest.mark.parametrize("name", CHANNEL_NORMS)
def test_channel_norms_are_the_same_in_every_order_of_threads(name):
    inputs = channels_of(name, (2, 1100, 8), "float32")
    same_in_every_order(lambda: agrees(channel_norm(name, 8), *inputs))


@pytest.mark.parametrize("shape", [(2, 40, 8), (1, 3000, 4)])
def test_channel_norms_of_hard_numbers(shape):
    def offset(shape, dtype):
        x = 1e4 + 1e-3 * normal(shape, "float64", 1)
        return x.astype(dtype)

    def scaled(scale):
        return lambda shape, dtype: (scale * normal(shape, "float64", 1)).astype(dtype)

    for name in ("batch", "group", "instance"):
        for make in (offset, scaled(1e30), scaled(1e18), scaled(1e-20)):
            inputs = channels_of(name, shape, "float32", make)
            op = channel_norm(name, shape[-1])
            (y,), node = testing.forward(op, inputs, native=True)
            (truth,), peer = testing.forward(op, [a.astype(np.float64) for a in inputs])
            assert np.abs(y - truth).max() <= 2e-6 * np.abs(truth).max() + 1e-30
            dy = normal(shape, "float32", 1, 7)
            dxs = testing.backward(node, [dy], native=True)
            for dx, exact in zip(dxs, testing.backward(peer, [dy.astype(float)]), strict=True):
                assert np.abs(dx - exact).max() <= 4e-6 * np.abs(exact).max() + 1e-44


def test_nan_and_inf_behind_a_constant_mean():
    x = np.array([[np.nan, np.inf, -np.inf, 1.0]] * 2, np.float32)
    for name, value in [("eval", [np.nan, INF, -INF]), ("eval, gelu", [np.nan, INF, 0])]:
        op, (_, w, b) = channel_norm(name, 4), channels_of("eval", (2, 4), "float32")
        w = np.abs(w)
        for native in (False, True):
            (y,), node = testing.forward(op, [x, w, b], native=native)
            np.testing.assert_array_equal(y[0, :3], value)
            node.needs = (True, False, False)
            dx = testing.backward(node, [np.ones_like(y)], native=native)[0]
            slope = w / np.sqrt(np.linspace(0.5, 2, 4) + EPS)
            wanted = slope if name == "eval" else [np.nan, slope[1], 0]
            np.testing.assert_allclose(dx[0, :3], wanted[:3], rtol=1e-6)


def test_an_outlier_in_the_first_row_costs_no_digits():
    x = (1e4 + 1e-3 * normal((1, 4000, 4), "float64", 1)).astype(np.float32)
    x[0, 0] = 0
    op = channel_norm("batch, plain", 4)
    (y,), _ = testing.forward(op, [x], native=True)
    (truth,), _ = testing.forward(op, [x.astype(np.float64)])
    assert np.abs(y - truth)[0, 1:].max() <= 2e-6 * np.abs(truth).max()


def test_running_statistics_move_in_the_kernel():
    x = normal((50, 6), "float32")
    kept = [(np.zeros(6, np.float32), np.ones(6, np.float32)) for _ in range(2)]
    for running, native in zip(kept, (False, True), strict=True):
        op = lambda r=running: BatchNorm(6, EPS, False, False, r, 0.3)  # noqa: E731
        assert op().takes_native([x])
        testing.forward(op, [x], native=native)
    for reference, kernel in zip(*kept, strict=True):
        np.testing.assert_allclose(kernel, reference, rtol=1e-6, atol=1e-9)
    before = [a.copy() for a in kept[1]]
    testing.forward(lambda: BatchNorm(6, EPS, False, False, kept[1]), [x[:0]], native=True)
    for a, b in zip(kept[1], before, strict=True):
        np.testing.assert_array_equal(a, b)
    halves = tuple(a.astype(np.float16) for a in kept[1])
    assert not BatchNorm(6, EPS, False, False, halves).takes_native([x])


def test_channel_norms_of_nothing():
    for name in CHANNEL_NORMS:
        for shape in [(0, 5, 4), (2, 0, 4), (2, 5, 0)]:
            if shape[-1] or name in ("batch", "eval", "instance"):
                agrees(channel_norm(name, shape[-1]), *channels_of(name, shape, "float32"))


def test_channel_norm_launchers_say_what_is_wrong():
    sim = backend.kernel_module("sim")
    x, none = np.zeros((2, 5, 4), np.float32), np.zeros(0, np.float32)
    stats = np.zeros((2, 2))
    with pytest.raises(
        ValueError, match=r"\[group_moments\] workspace: expected at least 32 floats"
    ):
        sim.group_moments(x, stats, stats.copy(), none, none.copy(), none.copy(), 1e-5, 0.1)
    with pytest.raises(ValueError, match=r"\[group_apply\] mean: expected a number of groups that"):
        sim.group_apply(x, np.zeros((2, 3)), np.zeros((2, 3)), *[none] * 3, x.copy(), 0)
    with pytest.raises(ValueError, match=r"\[group_apply\] activation: expected 0 \(none\), 1"):
        sim.group_apply(x, stats, stats, *[none] * 3, x.copy(), 3)
    with pytest.raises(ValueError, match=r"\[group_norm_bwd\] dy: expected shape \(2, 5, 4\), got"):
        outs = [x.copy(), none, none, none], none.copy(), 0, False
        sim.group_norm_bwd(x, x[:1], none, none, none, stats, stats, *outs)
