"""A matrix product whose D, and whose A, have more than 2^31 elements: the last tile of it, in
memory that is mapped where it is touched.
"""

import ctypes
import mmap

import numpy as np
import pytest
from sim import harness

pytestmark = [
    pytest.mark.skipif(bool(harness.missing()), reason=harness.missing()),
    pytest.mark.skipif(harness.VARIANT == "gpu", reason="its arrays are not all in memory"),
]


def mapped(*shape):
    """Zeros in float32 that take up addresses, and memory only where they are written."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
    memory = mmap.mmap(-1, 4 * int(np.prod(shape)), flags=flags)
    return np.frombuffer(memory, np.float32).reshape(shape)


@pytest.mark.parametrize(
    ("batch", "M", "N", "K"), [(1, 70_000, 40_001, 3), (3, 30_001, 40_000, 20), (1, 2**29, 5, 9)]
)
def test_the_last_tile_of_a_large_product(batch, M, N, K):
    rng = np.random.default_rng(0)
    a, b, d = mapped(batch, M, K), mapped(batch, N, K), mapped(batch, M, N)
    assert d.size > 2**31
    rows, columns = (M - 1) % 64 + 1, (N - 1) % 64 + 1
    a[-1, M - rows :] = rng.integers(-4, 5, (rows, K))
    b[-1, N - columns :] = rng.integers(-4, 5, (columns, K))
    bias = rng.integers(1, 9, N).astype(np.float32)
    size = [ctypes.c_int64(n) for n in (batch, M, N, K)]
    harness.library("gemm_far_tile").call("last_tile", a, b, bias, d, *size)
    near = d[-1, M - rows - 64 :, N - columns - 64 if N > 64 else 0 :]
    wanted = np.zeros_like(near)
    exact = a[-1, M - rows :] @ b[-1, N - columns :].T + bias[N - columns :]
    wanted[64:, -columns:] = exact
    np.testing.assert_array_equal(near, wanted)
    assert not d[0, 0].any()
    assert not d[0, :64, :64].any()
