"""Windows over images, for convolution and pooling: where they lie, a view of them, their numbers.

Along each axis, tap r of output p reads the pixel  p stride + r dilation - pad.  Images are NHWC; a
pair is (height, width); a sequence (N, L, C) is an image of height 1.
"""

from typing import NamedTuple

import numpy as np

from pynn import dtypes
from pynn.backend import array_module

_BLOCK = 1 << 19  # elements of a block: 2 MB of float32, about a core's cache
_BLOCK_ON_GPU = 1 << 28
_BLOCK_ROWS = 512  # outputs of a block: with fewer, what is done once for each block would show


class Geometry(NamedTuple):
    """Stride, padding (before and after the image) and dilation, for height and width."""

    stride: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int]

    def output_size(self, size, kernel):
        """(P, Q) for images of size (H, W) and a kernel (R, S)."""
        P, Q = (
            (n + sum(pad) - dilation * (taps - 1) - 1) // stride + 1
            for n, taps, stride, pad, dilation in zip(size, kernel, *self, strict=True)
        )
        return P, Q

    def reach(self, axis, tap, size, start, stop):
        """The outputs from start to stop whose tap lies inside an image of that size: their slice,
        counted from start, and the slice of the pixels they read.
        """
        stride = self.stride[axis]
        offset = tap * self.dilation[axis] - self.padding[axis][0]
        first = min(stop, max(start, -(offset // stride)))
        last = max(first, min(stop, (size - 1 - offset) // stride + 1))
        begin = first * stride + offset
        end = (last - 1) * stride + offset + 1 if last > first else begin
        return slice(first - start, last - start), slice(begin, end, stride)


class Line:
    """Mixed into an op on images: lines (N, L, C) and weights (K, R, C) become images and kernels
    of height 1.
    """

    def forward(self, *arrays):
        return super().forward(*_as_images(arrays))[:, 0]

    def backward(self, dy):
        return _as_lines(super().backward(dy[:, None]))


class NativeLine(Line):
    """Line, and the same for the kernels."""

    def forward_native(self, *arrays):
        return super().forward_native(*_as_images(arrays))[:, 0]

    def backward_native(self, dy):
        return _as_lines(super().backward_native(dy[:, None]))


def _as_images(arrays):
    return (a[:, None] if a.ndim == 3 else a for a in arrays)


def _as_lines(gradients):
    if gradients.__class__ is not tuple:
        gradients = (gradients,)
    return tuple(d[:, 0] if d is not None and d.ndim == 4 else d for d in gradients)


def padded(x, padding, value=0):
    """x (N, H, W, C) with a border of that value; x itself where there is none."""
    (top, bottom), (left, right) = padding
    if not (top or bottom or left or right):
        return x
    N, H, W, C = x.shape
    xp = array_module(x)
    shape = (N, H + top + bottom, W + left + right, C)
    out = xp.full(shape, value, x.dtype) if value else xp.zeros(shape, x.dtype)
    out[:, top : top + H, left : left + W] = x
    return out


def windows(x, size, kernel, geometry):
    """A view (N, P, Q, R, S, C) of a padded x in which each output has its window to itself."""
    N, _, _, C = x.shape
    in_n, in_h, in_w, in_c = x.strides
    (stride_h, stride_w), _, (dilation_h, dilation_w) = geometry
    strides = in_h * stride_h, in_w * stride_w, in_h * dilation_h, in_w * dilation_w
    as_strided = array_module(x).lib.stride_tricks.as_strided
    return as_strided(x, (N, *size, *kernel, C), (in_n, *strides, in_c))


def add_taps(dx, n, p, products, kernel, geometry):
    """Add to images n of dx (N, H, W, C), for each tap of the kernel, its product (images, rows,
    Q, C) with the output rows p, at the pixels that the tap reads.
    """
    part = dx[n]
    for i, product in enumerate(products):
        r, s = divmod(i, kernel[1])
        rows, h = geometry.reach(0, r, dx.shape[1], p.start, p.stop)
        columns, w = geometry.reach(1, s, dx.shape[2], 0, product.shape[2])
        pixels = part[:, h, w]
        pixels += product[:, rows, columns]


def blocks(xp, N, P, Q, each):
    """Cuts N images of P x Q outputs into blocks that stay in the cache: slices of the images, of
    the rows of outputs, and of the outputs counted through all images.

    each  elements that one output takes
    """
    size = max(_BLOCK if xp is np else _BLOCK_ON_GPU, _BLOCK_ROWS * each)
    at_once = max(1, size // max(1, Q * each))  # rows of outputs
    if at_once >= P:
        images = max(1, at_once // max(1, P))
        for n in range(0, N, images):
            stop = min(N, n + images)
            yield slice(n, stop), slice(0, P), slice(n * P * Q, stop * P * Q)
        return
    for n in range(N):
        for p in range(0, P, at_once):
            stop = min(P, p + at_once)
            yield slice(n, n + 1), slice(p, stop), slice((n * P + p) * Q, (n * P + stop) * Q)


# ------------------------------------------------------------------ checks


def check_images(op, dims, x):
    """Raise unless x is a float tensor (N, H, W, C), or (N, L, C) where dims is 1."""
    if x.ndim != dims + 2:
        layout = "(N, H, W, C)" if dims == 2 else "(N, L, C)"
        raise ValueError(f"[{op}] x: expected shape {layout}, got {x.shape}")
    if x.data.dtype not in dtypes.FLOATS:
        raise TypeError(f"[{op}] x: expected a float dtype, got {x.data.dtype}")


def check_fits(op, dims, size, kernel, geometry):
    """Raise ValueError if the kernel is larger than the padded image in some direction."""
    around = [n + sum(pad) for n, pad in zip(size, geometry.padding, strict=True)]
    for n, taps, dilation in zip(around, kernel, geometry.dilation, strict=True):
        if n < dilation * (taps - 1) + 1:
            spread = f" with dilation {geometry.dilation[-dims:]}" if dilation > 1 else ""
            raise ValueError(
                f"[{op}] expected a kernel that fits into the padded input "
                f"{tuple(around[-dims:])}, got kernel {tuple(kernel[-dims:])}{spread}"
            )


def pair(op, name, value, dims, least, fill=1):
    """An int, or one for each of `dims` dimensions, as (height, width); a sequence's height is
    `fill`. Raises ValueError unless they are ints of at least `least`, one for each dimension.
    """
    if value.__class__ is int and value >= least:
        return (value if dims == 2 else fill), value
    values = (value,) * dims if isinstance(value, (int, np.integer)) else value
    fits = isinstance(values, (tuple, list)) and len(values) == dims
    if fits and all(isinstance(v, (int, np.integer)) and v >= least for v in values):
        return as_pair((int(v) for v in values), fill)
    wanted = f"an int of at least {least}" + (" or a pair of them" if dims == 2 else "")
    raise ValueError(f"[{op}] {name}: expected {wanted}, got {value!r}")


def as_pair(values, fill=1):
    """(height, width) from two values, or from one after `fill`."""
    values = tuple(values)
    return values if len(values) == 2 else (fill, *values)
