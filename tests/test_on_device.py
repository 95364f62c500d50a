"""The stand-in that lets tests of the simulator run on a GPU, here around the simulator itself."""

import numpy as np
import pytest

from pynn import backend
from pynn.on_device import ALIGNED, GUARD, OnDevice

sim = backend.kernel_module("sim")
pytestmark = pytest.mark.skipif(sim is None, reason="pynn was built without pynn._sim")


class Recording:
    """A module of launchers that keeps what it was called with."""

    def double(self, x, y, by):
        self.seen = x, y, by
        y[...] = by * x

    def overrun(self, x):
        base = x.base.base if x.base.base is not None else x.base
        start = x.ctypes.data - base.ctypes.data
        base[start + x.nbytes] = 1

    def lists(self, xs, ys):
        for x, y in zip(xs, ys, strict=True):
            y[...] = x + 1


def odd(n, dtype=np.float32, by=1):
    room = np.zeros(n + 64, dtype)
    return room[by : by + n]


def test_arrays_travel_as_misaligned_as_they_are_and_back():
    module = Recording()
    x, y = odd(5, by=3), odd(5, by=1)
    x[...] = np.arange(5)
    OnDevice(module, np).double(x, y, 2)
    there = module.seen
    for here, array in ((x, there[0]), (y, there[1])):
        assert array is not here and not np.shares_memory(array, here)
        assert array.ctypes.data % ALIGNED == here.ctypes.data % ALIGNED
    assert there[2] == 2
    np.testing.assert_array_equal(y, 2 * np.arange(5))


def test_an_output_may_be_an_input_and_lists_are_lists():
    x = np.arange(6, dtype=np.float32)
    OnDevice(Recording(), np).double(x, x, 3)
    np.testing.assert_array_equal(x, 3 * np.arange(6))
    whole = np.arange(8, dtype=np.float64)
    OnDevice(Recording(), np).lists([whole[:4], whole[4:]], [whole[4:], whole[:4]])
    np.testing.assert_array_equal(whole, [2, 3, 4, 5, 1, 2, 3, 4])


def test_what_is_written_beyond_an_array_is_found():
    assert GUARD % ALIGNED == 0
    with pytest.raises(RuntimeError, match=r"\[overrun\] expected nothing written .* got 1 bytes"):
        OnDevice(Recording(), np).overrun(np.zeros(7, np.uint8))


def test_kernels_give_the_same_bits_through_it(monkeypatch):
    x = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    wanted, got = np.empty_like(x), np.empty_like(x)
    sim.gelu_fwd(x, wanted)
    monkeypatch.setitem(backend._modules, "sim", OnDevice(sim, np))
    backend.native.gelu_fwd(x, got)
    assert got.tobytes() == wanted.tobytes()
    with pytest.raises(ValueError, match="strides that skip"):
        backend.native.gelu_fwd(x.reshape(100, 10)[:, ::2], got)


def test_arrays_of_other_strides_travel_with_what_they_skip(monkeypatch):
    x, y = np.arange(60).reshape(6, 10), np.full((5, 12), -1)
    wanted = y.copy()
    wanted[::-1, ::2] = x[:, ::2].T
    monkeypatch.setitem(backend._modules, "sim", OnDevice(sim, np))
    backend.native.copy_strided(x[:, ::2].T, y[::-1, ::2])
    np.testing.assert_array_equal(y, wanted)
