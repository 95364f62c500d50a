"""The copy kernels in the simulator: arrays of any strides, and the ops that move by them."""

import itertools

import ml_dtypes
import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn import backend
from pynn.functional import pick, shape
from pynn.testing import check

sim = backend.kernel_module("sim")
pytestmark = pytest.mark.skipif(sim is None, reason="pynn was built without pynn._sim")

TYPES = ["u1", "f2", "f4", "f8"]
VIEWS = {  # of an array (6, 40, 72)
    "as it is": lambda a: a,
    "reversed axes": lambda a: a.T,
    "rows and columns": lambda a: a.transpose(0, 2, 1),
    "images, channels first": lambda a: a[:4].reshape(4, 8, 5, 72).transpose(0, 3, 1, 2),
    "odd lengths": lambda a: a[:, :39, :71].transpose(0, 2, 1),
    "an odd pitch": lambda a: a.reshape(-1)[: 6 * 45 * 64].reshape(6, 45, 64)[:, 1:33].T,
    "a slice of rows": lambda a: a[1:3],
    "a slice of columns": lambda a: a[..., 8:24],
    "an odd slice": lambda a: a[:, 3:20:2, 1:70:3],
    "flipped": lambda a: a[::-1, :, ::-1],
    "flipped and turned": lambda a: a[:, ::-1, ::2].transpose(2, 0, 1),
    "repeated": lambda a: np.broadcast_to(a[:, None, :1], (6, 5, 40, 72)),
    "pixels from channels": lambda a: a.reshape(6, 10, 4, 18, 2, 2).transpose(0, 1, 4, 2, 5, 3),
    "eight axes": lambda a: a.reshape(2, 3, 2, 4, 5, 2, 6, 6).transpose(7, 0, 5, 2, 4, 1, 6, 3),
    "two long axes between": lambda a: a.reshape(6, 2, 20, 72).transpose(3, 0, 2, 1),
    "one element": lambda a: a[2:3, 3:4, 4],
    "none": lambda a: a[:, :0],
}


def numbered(shape, dtype, by=0):
    """Distinct values, as far as the dtype goes, `by` elements past a 16-byte boundary."""
    size = int(np.prod(shape))
    room = np.zeros(size + 32, dtype)
    start = -room.ctypes.data % 16 // room.itemsize + by
    room[start : start + size] = np.arange(size) % 251
    return room[start : start + size].reshape(shape)


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("dtype", TYPES)
def test_any_view_is_put_in_order_and_back(name, dtype):
    for order, by in [("ascending", 0), ("random", 1)]:
        sim.set_schedule(order)
        x = VIEWS[name](numbered((6, 40, 72), dtype, by))
        y = np.full(x.shape, 255 if dtype == "u1" else 999, dtype)
        sim.copy_strided(x, y)
        assert y.tobytes() == x.tobytes()  # x.tobytes() is in C order
        if name == "repeated":
            continue
        room = np.full((6, 40, 72), 252, dtype)
        wanted = room.copy()
        VIEWS[name](wanted)[...] = y
        sim.copy_strided(y, VIEWS[name](room))  # nothing beside the view is written
        assert room.tobytes() == wanted.tobytes()
    sim.set_schedule()


def test_lengths_around_a_tile():
    for rows, columns in itertools.product((7, 8, 16, 24, 31, 32, 33, 64, 72), (8, 9, 32, 40, 96)):
        for dtype in ("f2", "f4"):
            x = numbered((2, rows, columns), dtype).transpose(0, 2, 1)
            y = np.empty(x.shape, dtype)
            sim.copy_strided(x, y)
            assert y.tobytes() == x.tobytes(), (rows, columns, dtype)


def test_the_launcher_names_what_was_expected():
    x, y = np.zeros((2, 3)), np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"\[copy_strided\] y: expected shape \(2, 3\), got \(3,"):
        sim.copy_strided(x, y.T)
    with pytest.raises(TypeError, match="y: expected float64, got float32"):
        sim.copy_strided(x, y.astype("f4"))
    twice = np.lib.stride_tricks.as_strided(y, (2, 3), (0, 8))
    with pytest.raises(ValueError, match="expected an array that does not repeat, got a stride of"):
        sim.copy_strided(x, twice)


KEYS = [  # of an array (5, 6, 7)
    np.array([3, 0, 3, -1]),
    [1, 4],
    (slice(None), np.array([[2, 0], [5, 2]])),
    (slice(1, None, 2), np.array([0, 0, 1]), slice(None, None, -1)),
    (np.array([0, 4, 4]), slice(2, 4), np.array([6, 0, 6])),  # apart: they come first
    (np.array([[0], [1]]), np.array([5, 5, 2])),
    (slice(None), 1, np.array([3, 3])),
    (0, slice(None), np.array([3, -3])),
    (None, np.array([1, 1]), ..., None),
    (..., np.array([2, 2, 6])),
    (slice(None), np.array([1]), ..., np.array([2])),
    np.arange(5) % 2 == 0,
    np.arange(30).reshape(5, 6) % 7 == 0,
    (slice(None), np.arange(42).reshape(6, 7) % 5 == 0),
    (np.arange(5) > 2, np.array([1, 4])),
    np.zeros(5, bool),
    np.zeros((2, 0), int),
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_a_key_picks_what_numpy_picks_and_gives_it_back(key):
    x = np.random.default_rng(0).integers(-9, 10, (5, 6, 7)).astype(np.float32)
    op = pick.Index(key)
    y = op.forward_native(x)
    np.testing.assert_array_equal(y, x[key])
    dy = np.random.default_rng(1).integers(-9, 10, y.shape).astype(np.float32)
    wanted = np.zeros_like(x)
    np.add.at(wanted, key, dy)
    np.testing.assert_array_equal(op.backward_native(dy), wanted)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (np.array([1, 5]), r"\[index\] expected integers in \[-5, 5\), got 5"),
        (np.ones(4, bool), r"\[index\] mask: expected shape \(5,\), got \(4,\)"),
        ((np.arange(2), np.arange(3)), r"expected arrays that broadcast, got \(2,\) and \(3,\)"),
    ],
)
def test_a_wrong_key_is_named(key, message):
    with pytest.raises(IndexError, match=message):
        pick.Index(key).forward_native(np.zeros((5, 6), np.float32))


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16, np.float64, np.int64, bool])
def test_movers_run_on_kernels_alone_in_every_dtype(dtype, monkeypatch):
    monkeypatch.setenv("PYNN_STRICT", "1")
    values = numbered((3, 8, 10), np.float32).astype(dtype)
    floats = dtype not in (np.int64, bool)

    def moved():
        x = pynn.Tensor(values, requires_grad=floats)
        y = x.permute(2, 0, 1)[1:-1].flip(1).reshape(4, -1)
        y = F.cat([y, F.pad(y[:, ::3], ((0, 0), (1, 2)), 1), y.contiguous()], 1)
        y = F.stack(y.split(2), 1).T.squeeze()
        if floats:
            y.backward((np.arange(y.size) % 5).reshape(y.shape).astype(dtype))
        return y.numpy(), x.grad.numpy() if floats else y.numpy()

    wanted = moved()
    with pynn.use_kernels("sim"), backend.trace() as trace:
        got = moved()
    # a sum of gradients is made by the array library
    assert {path for _, path in trace.counts} == {"native"}
    for a, b in zip(got, wanted, strict=True):
        assert a.tobytes() == b.tobytes()


def test_cat_along_every_axis():
    rng = np.random.default_rng(1)
    cases = [
        (0, [(2, 3), (4, 3)]),
        (1, [(2, 3), (2, 1), (2, 0)]),
        (1, [(3, 4, 8), (3, 2, 8)]),
        (2, [(2, 3, 8), (2, 3, 16)]),
        (0, [(5,), (7,), (1,)]),
        (1, [(0, 2), (0, 3)]),
    ]
    for axis, shapes in cases:
        check(
            lambda axis=axis: shape.Cat(axis),
            tuple(rng.standard_normal(lengths) for lengths in shapes),
            truth=lambda *xs, axis=axis: np.concatenate(xs, axis),
        )
