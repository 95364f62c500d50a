"""Convolutions whose images and outputs have more than 2^31 elements: their last tile, by itself.

The arrays are mapped without being there; only the pages that the tile reads and writes come to
exist.
"""

import mmap

import numpy as np
import pytest
from sim import harness

from pynn.functional.im2col import dgrad, fprop, wgrad
from pynn.functional.window import Geometry

pytestmark = pytest.mark.skipif(bool(harness.missing()), reason=harness.missing() or "-")
TILE = 64


def vast(shape, dtype=np.float16):
    """Zeros that take no memory until they are touched."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    NORESERVE = 0x4000  # Linux; this Python has no name for it
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE)
    return np.frombuffer(pages, dtype).reshape(shape)


def integers(*shape):
    return np.random.default_rng(len(shape)).integers(-2, 3, shape).astype(np.float16)


@pytest.mark.parametrize("sm80", [0, 1], ids=["simt", "sm80"])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_last_tile(stride, sm80):
    N, H, W, C, K, R = 4 * stride**2, 4099 + stride, 4199 + stride, 40, 48, 3
    how = Geometry((stride, stride), ((0, 0), (0, 0)), (1, 1))
    P, Q = how.output_size((H, W), (R, R))
    x, dy, w = vast((N, H, W, C)), vast((N, P, Q, K)), integers(K, R, R, C)
    assert min(x.size, dy.size) > 2**31
    corner = 9, 201  # of the last image, with whole windows
    size = how.output_size(corner, (R, R))
    x_end, dy_end = (a[-1:, -h:, -v:] for a, (h, v) in ((x, corner), (dy, size)))
    x_end[...], dy_end[...] = integers(*x_end.shape), integers(*dy_end.shape)
    x_end, dy_end, wide = (a.astype(np.float64) for a in (x_end, dy_end, w))
    numbers = [N, H, W, C, P, Q, K, R, R, stride, 0]
    call = harness.library("far_conv").call

    y = vast(dy.shape)
    call("far_conv", 0, sm80, x, w, y, np.array([*numbers, 1]))
    own = (N * P * Q - 1) % TILE + 1  # windows of the last tile
    wanted = fprop(x_end, wide, size, how, 1)
    np.testing.assert_array_equal(y[-1, -1, -own:], wanted[0, -1, -own:])
    assert y[-1, -1, -own:].any()

    dx = vast(x.shape)
    call("far_conv", 1, sm80, dy, w, dx, np.array([*numbers, 1]))
    own = (N * (H // stride) * (W // stride) - 1) % TILE + 1  # of every stride-th pixel
    wanted = dgrad(dy_end, wide, x_end.shape, how, 1)
    last = np.s_[0, -stride, -stride::-stride]
    np.testing.assert_array_equal(dx[-1:][last][:own], wanted[last][:own])
    assert dx[-1:][last][:own].any()

    stage = 32 if sm80 else 16
    stages = -(-N * P * Q // stage)
    splits = stages // 4
    parts = vast((splits, K, R * R * C), np.float32)
    call("far_conv", 2, sm80, dy, x, parts, np.array([*numbers, splits]))
    own = N * P * Q - stages * (splits - 1) // splits * stage  # windows of the last split
    only = np.zeros_like(dy_end)
    only[0, -1, -own:] = dy_end[0, -1, -own:]
    wanted = wgrad(x_end, only, w.shape, how, 1).reshape(K, -1)
    column = (R * R * C - 1) // TILE * TILE  # of the last tile of dw
    np.testing.assert_array_equal(parts[-1, :, column:], wanted[:, column:])
    assert parts[-1].any()
