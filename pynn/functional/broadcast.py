"""Broadcasting by kernels: arrays that meet, and sums over axes along which one was repeated."""

import math

import numpy as np

from pynn.backend import array_module, native

_CTAS = 1056  # enough to fill a GPU of 132 multiprocessors; the same everywhere, for the same bits


def meet(launch, *arrays, dtype=None):
    """y of the shape that the arrays broadcast to and of the last one's dtype, or another, written
    by launch(*arrays, y).
    """
    # NumPy's reference may have saved a scalar where the input had no axes
    arrays = [np.asarray(a) if isinstance(a, np.generic) else a for a in arrays]
    shape = arrays[0].shape
    if any(a.shape != shape for a in arrays):
        shape = np.broadcast_shapes(*(a.shape for a in arrays))
    y = array_module(arrays[0]).empty(shape, dtype or arrays[-1].dtype)
    launch(*arrays, y)
    return y


def sum_to_native(array, shape, dtype=None):
    """`backend.sum_to` by kernels, in another float dtype if given: one group of neighbouring axes
    after another, innermost first, with float32 between.
    """
    dtype = dtype or array.dtype
    if array.shape == shape and array.dtype == dtype:
        return array
    groups = []  # [length, whether it is summed], neighbours of a kind as one
    kept = (1,) * (array.ndim - len(shape)) + tuple(shape)
    for n, own in zip(array.shape, kept, strict=True):
        if n == 1:
            continue
        if groups and groups[-1][1] == (own == 1):
            groups[-1][0] *= n
        else:
            groups.append([n, own == 1])
    left = sum(summed for _, summed in groups)
    for i in reversed(range(len(groups))):
        if groups[i][1]:
            lengths = [n for n, _ in groups]
            left -= 1
            array = _sum(
                array.reshape(math.prod(lengths[:i]), lengths[i], math.prod(lengths[i + 1 :])),
                np.dtype(np.float32) if left else dtype,
            )
            del groups[i]
    if array.dtype != dtype:  # nothing was summed
        array = _sum(array.reshape(1, 1, -1), dtype)
    return array.reshape(shape)


def _sum(x, dtype):
    """x (B, R, K) summed over R, by one launch, or by two where the sums are few and long."""
    B, R, K = x.shape
    if K == 1:
        parts = min(-(-R // 4096), _CTAS // max(B, 1)) if R > 16384 else 1
        launch, x = native.sum_rows, x.reshape(B, R)
    else:
        parts = min(-(-R // 128), _CTAS // max(B * -(-K // 256), 1))
        launch = native.sum_columns
    xp = array_module(x)
    if parts > 1:
        y = xp.empty((B, parts, *x.shape[2:]), np.float32)
        launch(x, y)
        x = y
    y = xp.empty((B, 1, *x.shape[2:]), dtype)
    launch(x, y)
    return y
