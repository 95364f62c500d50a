"""Row kernels where they change: at the edges of a warp, a team and a chunk, on misaligned memory,
on one huge row, and in every order of threads."""

import numpy as np
import pytest

from pynn import backend, dtypes, testing
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


@pytest.mark.parametrize("dtype, n", [("float32", 12288), ("float32", 2051), ("float16", 262144)])
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
