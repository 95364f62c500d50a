"""Images of another size, channels last: interpolation, and pixels from channels and back.

Every mode works along one axis at a time: y[j] = sum over two taps of weight times x[tap]. Nearest
has one tap. The backward adds the same products at the taps, output by output, so sums have one
order.
"""

import math

import numpy as np

from pynn.autograd import Function
from pynn.backend import array_module, native, widen
from pynn.functional.activation import float_input
from pynn.functional.shape import permute, reshape

_DIMS = {"nearest": (1, 2), "linear": (1,), "bilinear": (2,)}


class Interpolate(Function):
    """y[j] = sum_m w_m[j] x[i_m[j]] along each axis in turn;  dx[i] = sum of w_m[j] dy[j] over the
    (m, j) with i_m[j] = i.

    taps  {axis: [(i_m, w_m), ..]}, i_m integers and w_m float64 weights on the host, or None for 1
    """

    def __init__(self, taps):
        self.taps = taps

    def forward(self, x):
        self.shape, self.dtype = x.shape, x.dtype
        y = widen(x)
        for axis, taps in self.taps.items():
            y = sum(_weighed(_taken(y, axis, at), axis, weight) for at, weight in taps)
        return y.astype(x.dtype, copy=False)

    def backward(self, dy):
        xp = array_module(dy)
        dx = widen(dy)
        for axis, taps in reversed(self.taps.items()):
            d, lead = dx, (slice(None),) * axis
            dx = xp.zeros((*d.shape[:axis], self.shape[axis], *d.shape[axis + 1 :]), d.dtype)
            for at, weight in taps:
                for j, i in enumerate(at.tolist()):
                    part = d[*lead, j]
                    dx[*lead, i] += part if weight is None else part * d.dtype.type(weight[j])
        return dx.astype(self.dtype, copy=False)

    def forward_native(self, x):
        self.shape, self.dtype = x.shape, x.dtype
        shape = [
            len(self.taps[axis][0][0]) if axis in self.taps else n for axis, n in enumerate(x.shape)
        ]
        y = array_module(x).empty(shape, x.dtype)
        native.interpolate_fwd(_image(x), *self.tables(x, lambda at, axis: at), _image(y))
        return y

    def backward_native(self, dy):
        dx = array_module(dy).empty(self.shape, dy.dtype)

        def first(at, axis):  # the outputs of each pixel: from first[i] to first[i + 1]
            length = self.shape[axis] if axis else 1
            return np.searchsorted(at, np.arange(length + 1))

        native.interpolate_bwd(_image(dy), *self.tables(dy, first), _image(dx))
        return dx

    def tables(self, like, numbers):
        """For rows, then columns: numbers(at, axis) of each tap, and the taps' weights."""
        xp = array_module(like)
        for axis in range(len(self.shape) - 3, len(self.shape) - 1):
            taps = self.taps[axis] if axis else [(np.zeros(1, np.int64), None)]  # of a line
            pixels = [numbers(at, axis) for at, _ in taps]
            weights = [np.ones(len(at)) if weight is None else weight for at, weight in taps]
            yield xp.asarray(np.stack(pixels).astype(np.int32))
            yield xp.asarray(np.stack(weights).astype(np.float32))


def _image(x):
    """(N, L, C) as an image of one row."""
    return x if x.ndim == 4 else x[:, None]


def _taken(x, axis, at):
    return x.take(array_module(x).asarray(at), axis=axis)


def _weighed(x, axis, weight):
    if weight is None:
        return x
    shape = (-1,) + (1,) * (x.ndim - axis - 1)
    return x * array_module(x).asarray(weight.reshape(shape), dtype=x.dtype)


def _nearest(length, size, step):
    """The pixel under each output's first corner: exact, where PyTorch rounds in float32."""
    j = np.arange(size)
    at = j * length // size if step is None else np.floor(j * step).astype(np.int64)
    return [(np.minimum(at, length - 1), None)]


def _linear(length, size, step, align_corners):
    """The two pixels about each output's centre."""
    j = np.arange(size, dtype=np.float64)
    if align_corners:
        at = j * ((length - 1) / (size - 1) if size > 1 else 0.0)
    else:
        at = np.maximum((j + 0.5) * (length / size if step is None else step) - 0.5, 0)
    low = np.minimum(at.astype(np.int64), length - 1)
    high = np.minimum(low + 1, length - 1)
    share = np.clip(at - low, 0, 1)
    return [(low, 1 - share), (high, share)]


# ------------------------------------------------------------------ public functions


def interpolate(x, size=None, scale_factor=None, mode="nearest", align_corners=False):
    """x (N, H, W, C) or (N, L, C) with other lengths of its spatial axes.

    size           the new lengths, an int or one for each axis; or
    scale_factor   what the lengths are multiplied by, rounded down, likewise
    mode           "nearest"; "linear" for (N, L, C), "bilinear" for (N, H, W, C)
    align_corners  the first and last pixels' centres lie on each other, else the images' corners
    returns (N, H', W', C) or (N, L', C)  dtype of x

    Raises ValueError for other shapes, sizes or modes, TypeError unless x is a float.
    """
    op = "interpolate"
    float_input(op, x)
    dims = x.ndim - 2
    if mode not in _DIMS:
        raise ValueError(f"[{op}] mode: expected one of {tuple(_DIMS)}, got {mode!r}")
    if dims not in _DIMS[mode]:
        wanted = " or ".join({1: "(N, L, C)", 2: "(N, H, W, C)"}[d] for d in _DIMS[mode])
        raise ValueError(f"[{op}] x: expected shape {wanted} for mode {mode!r}, got {x.shape}")
    if (size is None) == (scale_factor is None):
        raise ValueError(
            f"[{op}] expected either size or scale_factor, got {size} and {scale_factor}"
        )
    lengths, steps = x.shape[1:-1], (None,) * dims
    if size is not None:
        sizes = _each(op, "size", size, dims)
    else:
        factors = _each(op, "scale_factor", scale_factor, dims)
        sizes = [math.floor(n * f) for n, f in zip(lengths, factors, strict=True)]
        steps = [1 / f for f in factors]
    if min(sizes) < 1 or min(lengths) < 1:
        raise ValueError(
            f"[{op}] expected lengths of at least 1, got {tuple(lengths)} to {tuple(sizes)}"
        )
    taps = {}
    for axis, (length, new, step) in enumerate(zip(lengths, sizes, steps, strict=True), 1):
        if mode == "nearest":
            taps[axis] = _nearest(length, new, step)
        else:
            taps[axis] = _linear(length, new, step, align_corners)
    return Interpolate(taps)(x)


def _each(op, name, value, dims):
    """One number for each axis."""
    values = [value] * dims if isinstance(value, (int, float, np.number)) else list(value)
    if len(values) != dims or not all(v > 0 for v in values):
        raise ValueError(f"[{op}] {name}: expected {dims} positive numbers, got {value}")
    return [int(v) for v in values] if name == "size" else [float(v) for v in values]


def pixel_shuffle(x, upscale_factor):
    """(N, H, W, C r^2) to (N, r H, r W, C): channel c r^2 + r i + j is pixel (i, j) of an r x r
    block of channel c, as in PyTorch.

    Raises ValueError unless r divides the channels so.  Shi et al. 2016, arXiv:1609.05158.
    """
    r = _factor("pixel_shuffle", "upscale_factor", upscale_factor)
    if x.ndim != 4 or x.shape[3] % (r * r):
        raise ValueError(
            f"[pixel_shuffle] x: expected shape (N, H, W, C r^2) for r = {r}, got {x.shape}"
        )
    N, H, W, C = *x.shape[:3], x.shape[3] // (r * r)
    y = permute(reshape(x, N, H, W, C, r, r), 0, 1, 4, 2, 5, 3)
    return reshape(y, N, H * r, W * r, C)


def pixel_unshuffle(x, downscale_factor):
    """(N, r H, r W, C) to (N, H, W, C r^2): the inverse of `pixel_shuffle`.

    Raises ValueError unless r divides both lengths.
    """
    r = _factor("pixel_unshuffle", "downscale_factor", downscale_factor)
    if x.ndim != 4 or x.shape[1] % r or x.shape[2] % r:
        raise ValueError(
            f"[pixel_unshuffle] x: expected shape (N, r H, r W, C) for r = {r}, got {x.shape}"
        )
    N, H, W, C = x.shape[0], x.shape[1] // r, x.shape[2] // r, x.shape[3]
    y = permute(reshape(x, N, H, r, W, r, C), 0, 1, 3, 5, 2, 4)
    return reshape(y, N, H, W, C * r * r)


def _factor(op, name, value):
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"[{op}] {name}: expected an int of at least 1, got {value!r}")
    return int(value)
