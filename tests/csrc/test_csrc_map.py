"""common/map.cuh in the simulator: every size around a vector and a tile, every misalignment, and
not one byte written beside the output.
"""

import ml_dtypes
import numpy as np
import pytest

from pynn import backend

_sim = backend.kernel_module("sim")
pytestmark = pytest.mark.skipif(_sim is None, reason="pynn was built without pynn._sim")

DTYPES = [np.float32, np.float16, ml_dtypes.bfloat16]
CANARY = 77
GUARD = 64  # elements on either side


def guarded(n, offset, dtype):
    """n elements that begin `offset` elements after a 16-byte boundary, and the memory around."""
    whole = np.full(n + 2 * GUARD + 8, CANARY, dtype)
    start = GUARD + (-whole.ctypes.data // whole.itemsize) % (16 // whole.itemsize) + offset
    return whole[start : start + n], whole


def sizes(dtype):
    width = 16 // np.dtype(dtype).itemsize
    tile = 256 * 2 * width
    around = [0, width, 32, tile // 2, tile, 2 * tile]
    return sorted(
        {n + d for n in around for d in (-1, 0, 1) if n + d >= 0} | {1, 127, 3 * tile // 2}
    )


def signs(n, dtype):
    return np.random.default_rng(n).choice([-1.5, 2.5], n).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("offsets", [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (3, 3, 3)])
def test_every_size_and_alignment(dtype, offsets):
    for n in sizes(dtype):
        (x, _), (dy, _), (out, around) = (guarded(n, offset, dtype) for offset in offsets)
        x[...] = signs(n, dtype)
        dy[...] = np.arange(n) % 100

        _sim.leaky_relu_fwd(x, out, 0.5)
        np.testing.assert_array_equal(out, np.where(x > 0, x, x * dtype(0.5)), err_msg=f"n = {n}")
        _sim.leaky_relu_bwd(x, dy, out, 0.5)
        np.testing.assert_array_equal(out, np.where(x > 0, dy, dy * dtype(0.5)), err_msg=f"n = {n}")
        assert np.count_nonzero(around != CANARY) == np.count_nonzero(out != CANARY)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
def test_output_may_be_the_input(dtype):
    for n in (1, 31, 5000):
        x = signs(n, dtype)
        expected = np.empty_like(x)
        _sim.leaky_relu_fwd(x, expected, 0.5)
        _sim.leaky_relu_fwd(x, x, 0.5)
        np.testing.assert_array_equal(x, expected)


def test_a_read_only_output_is_refused():
    x, y = np.ones(4, np.float32), np.ones(4, np.float32)
    y.flags.writeable = False
    with pytest.raises(ValueError, match="expected a writeable array, got a read-only one"):
        _sim.relu_fwd(x, y)
    _sim.relu_fwd(y, x)


def test_only_numpy_arrays_without_gaps():
    x = np.ones((4, 4), np.float32)
    with pytest.raises(ValueError, match="x: expected a C-contiguous array, got strides that skip"):
        _sim.relu_fwd(x[:, ::2], x)
    with pytest.raises(TypeError, match=r"x: expected a \w+ array, got list"):
        _sim.relu_fwd([1.0], x)
