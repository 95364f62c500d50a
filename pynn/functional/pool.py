"""Pooling over windows of NHWC images: maximum and mean, in one and two dimensions. Each pass goes
over one tap of all windows at once, since NumPy is slow along short axes.

The kernels stand in csrc/kernels/pool/. Over 400 lines: eight ops, nine functions, one geometry.
"""

import functools
import itertools
import math

import numpy as np

from pynn.autograd import Function
from pynn.backend import array_module, device_of, native, to_device, widen, zero_where
from pynn.functional.reduce import mean
from pynn.functional.window import (
    Geometry,
    NativeLine,
    add_taps,
    as_pair,
    check_fits,
    check_images,
    padded,
    pair,
    windows,
)


class MaxPool2d(Function):
    """y = the greatest x of each window, NaN if one is there;  dx = dy at that pixel, else 0.

    Of equal values the first in row-major order gets the gradient, of several NaN the last, as in
    PyTorch. x (N, H, W, C), y (N, P, Q, C); size is (P, Q), kernel (R, S).
    """

    def __init__(self, size, kernel, stride, padding, dilation):
        self.size, self.kernel = size, kernel
        self.geometry = Geometry(stride, padding, dilation)

    def forward(self, x):
        xp = array_module(x)
        self.shape = x.shape
        image = padded(widen(x), self.geometry.padding, value=-np.inf)
        taps = self.taps(image)
        y = taps[0]
        tap = None
        for i, other in enumerate(taps[1:], 1):
            if True in self.needs:
                tap = _later(xp, tap, other > y, i)
            y = xp.maximum(y, other, out=None if i == 1 else y)
        if tap is not None and (y != y).any():
            for i, other in enumerate(taps):
                tap = _later(xp, tap, other != other, i)
        self.tap = (
            tap  # (N, P, Q, C): which tap of each window is the greatest; None if there is one
        )
        return y.astype(x.dtype, copy=len(taps) == 1)

    def backward(self, dy):
        xp = array_module(dy)
        (R, S), (H, W), (P, Q) = self.kernel, self.shape[1:3], self.size
        wide = widen(dy)
        if self.geometry == ((R, S), ((0, 0), (0, 0)), (1, 1)):  # the windows do not overlap
            dx = (xp.empty if (H, W) == (P * R, Q * S) else xp.zeros)(self.shape, wide.dtype)
            for i, pixels in enumerate(self.taps(dx)):
                if self.tap is None:
                    pixels[...] = wide
                else:
                    zero_where(wide, self.tap != i, out=pixels)
        else:
            dx = xp.zeros(self.shape, wide.dtype)
            products = (
                wide if self.tap is None else zero_where(wide, self.tap != i) for i in range(R * S)
            )
            add_taps(dx, slice(None), slice(0, P), products, self.kernel, self.geometry)
        return dx.astype(dy.dtype, copy=False)

    def forward_native(self, x):
        self.shape = x.shape
        y, xp = _outputs(self, x), array_module(x)
        self.tap = xp.empty(y.shape, np.uint8 if math.prod(self.kernel) <= 256 else np.int32)
        native.max_pool_fwd(x, y, self.tap, *self.numbers_native())
        return y

    def backward_native(self, dy):
        xp = array_module(dy)
        dx = xp.empty(self.shape, dy.dtype)
        tap = xp.zeros(dy.shape, np.uint8) if self.tap is None else self.tap
        native.max_pool_bwd(tap, dy, dx, *self.numbers_native())
        return dx

    def numbers_native(self):
        """Kernel, stride, padding before the image and dilation, each (height, width)."""
        stride, ((top, _), (left, _)), dilation = self.geometry
        return self.kernel, stride, (top, left), dilation

    def taps(self, image):
        """For each tap in row-major order, the view (N, P, Q, C) of the pixels that it reads."""
        view = windows(image, self.size, self.kernel, self.geometry)
        return [view[:, :, :, r, s] for r, s in np.ndindex(*self.kernel)]


def _later(xp, tap, mask, i):
    """The indices `tap` with i, no less than any of them, where the mask says so."""
    dtype = np.uint8 if i < 256 else np.int32
    marked = mask.view(np.uint8) * dtype(i)
    return marked if tap is None else xp.maximum(tap, marked)


class AvgPool2d(Function):
    """y = the sum of each window / its count;  dx = the sum over windows of dy / count.

    x (N, H, W, C), y (N, P, Q, C); size is (P, Q), kernel (R, S); counts are two lists whose
    product is the count of the window at (p, q).
    """

    def __init__(self, size, kernel, stride, padding, counts):
        self.size, self.kernel, self.counts = size, kernel, counts
        self.geometry = Geometry(stride, padding, (1, 1))

    def forward(self, x):
        xp = array_module(x)
        self.shape = x.shape
        image = padded(widen(x), self.geometry.padding)
        view = windows(image, self.size, self.kernel, self.geometry)
        y = view[:, :, :, 0, 0].copy()
        for r, s in itertools.islice(np.ndindex(*self.kernel), 1, None):
            y += view[:, :, :, r, s]
        y /= self.divisor(xp, y.dtype)
        return y.astype(x.dtype, copy=False)

    def backward(self, dy):
        xp = array_module(dy)
        shares = widen(dy)
        shares = shares / self.divisor(xp, shares.dtype)
        dx = xp.zeros(self.shape, shares.dtype)
        products = itertools.repeat(shares, self.kernel[0] * self.kernel[1])
        add_taps(dx, slice(None), slice(0, self.size[0]), products, self.kernel, self.geometry)
        return dx.astype(dy.dtype, copy=False)

    def forward_native(self, x):
        self.shape = x.shape
        y = _outputs(self, x)
        native.avg_pool_fwd(x, *self.counts_native(x), y, *self.numbers_native())
        return y

    def backward_native(self, dy):
        dx = array_module(dy).empty(self.shape, dy.dtype)
        native.avg_pool_bwd(dy, *self.counts_native(dy), dx, *self.numbers_native())
        return dx

    def counts_native(self, like):
        return [_counts(tuple(counts), device_of(like)) for counts in self.counts]

    def numbers_native(self):
        """Kernel, stride and padding before the image, each (height, width)."""
        stride, ((top, _), (left, _)), _ = self.geometry
        return self.kernel, stride, (top, left)

    def divisor(self, xp, dtype):
        """The counts (P, Q, 1), or a number where all are equal."""
        rows, columns = self.counts
        if min(rows) == max(rows) and min(columns) == max(columns):
            return dtype.type(rows[0] * columns[0])
        return xp.asarray(np.outer(rows, columns)[:, :, None], dtype)


def _outputs(op, x):
    """An empty y (N, P, Q, C)."""
    return array_module(x).empty((x.shape[0], *op.size, x.shape[3]), x.dtype)


@functools.lru_cache(256)
def _counts(counts, device):
    """The counts in float32 on a device, copied there once."""
    return to_device(np.array(counts, np.float32), device)


class AdaptiveAvgPool2d(Function):
    """y = the mean over rows floor(p H / P) to ceil((p + 1) H / P), columns likewise;  dx = dy over
    the number of pixels, summed. First along the rows, then along the columns.

    x (N, H, W, C), y (N, P, Q, C); size is (P, Q).
    """

    def __init__(self, size):
        self.size = size

    def forward(self, x):
        xp = array_module(x)
        self.shape = x.shape
        wide = widen(x)
        for axis, count in enumerate(self.size, 1):
            cells = [
                part.sum(axis=axis, keepdims=True) / wide.dtype.type(part.shape[axis])
                for part in (_along(wide, axis, *cell) for cell in _cells(x.shape[axis], count))
            ]
            wide = cells[0] if count == 1 else xp.concatenate(cells, axis=axis)
        return wide.astype(x.dtype, copy=False)

    def backward(self, dy):
        xp = array_module(dy)
        wide = widen(dy)
        for axis in (2, 1):
            shape = (*wide.shape[:axis], self.shape[axis], *wide.shape[axis + 1 :])
            dx = xp.zeros(shape, wide.dtype)
            for i, (start, stop) in enumerate(_cells(shape[axis], self.size[axis - 1])):
                pixels = _along(dx, axis, start, stop)
                pixels += _along(wide, axis, i, i + 1) / wide.dtype.type(stop - start)
            wide = dx
        return wide.astype(dy.dtype, copy=False)

    def forward_native(self, x):
        self.shape = x.shape
        y = _outputs(self, x)
        native.adaptive_avg_pool_fwd(x, y)
        return y

    def backward_native(self, dy):
        dx = array_module(dy).empty(self.shape, dy.dtype)
        native.adaptive_avg_pool_bwd(dy, dx)
        return dx


class AdaptiveMaxPool2d(Function):
    """y = the greatest x of each of AdaptiveAvgPool2d's windows, NaN if one is there;  dx = dy at
    that pixel, of equal ones the first in row-major order.

    x (N, H, W, C), y (N, P, Q, C); size is (P, Q).
    """

    def __init__(self, size):
        self.size = size

    def forward(self, x):
        xp = array_module(x)
        self.shape = x.shape
        N, _, _, C = x.shape
        wide = widen(x)
        y = xp.empty((N, *self.size, C), wide.dtype)
        self.pixel = xp.empty(y.shape, np.int64)  # of each window, which one is the greatest
        for p, q, h, w in self.cells():
            part = wide[:, h, w].reshape(N, (h.stop - h.start) * (w.stop - w.start), C)
            self.pixel[:, p, q] = part.argmax(axis=1)
            y[:, p, q] = part.max(axis=1)
        return y.astype(x.dtype, copy=False)

    def backward(self, dy):
        xp = array_module(dy)
        wide = widen(dy)
        dx = xp.zeros(self.shape, wide.dtype)
        for p, q, h, w in self.cells():
            pixels = dx[:, h, w]
            which = xp.arange(pixels.shape[1] * pixels.shape[2]).reshape(*pixels.shape[1:3], 1)
            others = which != self.pixel[:, p, q, None, None]
            pixels += zero_where(xp.broadcast_to(wide[:, p, q, None, None], others.shape), others)
        return dx.astype(dy.dtype, copy=False)

    def forward_native(self, x):
        self.shape = x.shape
        y = _outputs(self, x)
        self.pixel = array_module(x).empty(y.shape, np.int32)
        native.adaptive_max_pool_fwd(x, y, self.pixel)
        return y

    def backward_native(self, dy):
        dx = array_module(dy).empty(self.shape, dy.dtype)
        native.adaptive_max_pool_bwd(self.pixel.astype(np.int32, copy=False), dy, dx)
        return dx

    def cells(self):
        (_, H, W, _), (P, Q) = self.shape, self.size
        for p, (top, bottom) in enumerate(_cells(H, P)):
            for q, (left, right) in enumerate(_cells(W, Q)):
                yield p, q, slice(top, bottom), slice(left, right)


def _cells(size, count):
    """The half-open intervals of `count` windows that cover `size` pixels; they may overlap."""
    return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def _along(array, axis, start, stop):
    return array[(slice(None),) * axis + (slice(start, stop),)]


class MaxPool1d(NativeLine, MaxPool2d):
    """MaxPool2d of height 1: x (N, L, C), y (N, P, C)."""


class AvgPool1d(NativeLine, AvgPool2d):
    """AvgPool2d of height 1: x (N, L, C), y (N, P, C)."""


class AdaptiveAvgPool1d(NativeLine, AdaptiveAvgPool2d):
    """AdaptiveAvgPool2d of height 1: x (N, L, C), y (N, P, C)."""


class AdaptiveMaxPool1d(NativeLine, AdaptiveMaxPool2d):
    """AdaptiveMaxPool2d of height 1: x (N, L, C), y (N, P, C)."""


# ------------------------------------------------------------------ public functions


def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """The greatest value of each window; NaN if one is there.

    x                                    (N, H, W, C)  any float
    kernel_size, stride, dilation        int or (height, width); without a stride, the kernel's size
    padding                              of -inf around the image, at most half the kernel
    ceil_mode                            keep a last window that hangs over the edge
    returns                              (N, P, Q, C)  dtype of x
                                         P = (H + 2 padding - dilation (R - 1) - 1) // stride + 1

    Of equal values the first in row-major order gets the gradient.
    Raises ValueError if a shape or a number does not fit, TypeError unless x is a float.
    """
    return _max_pool(
        "max_pool2d", MaxPool2d, 2, x, kernel_size, stride, padding, dilation, ceil_mode
    )


def max_pool1d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """As max_pool2d on sequences:  x (N, L, C), returns (N, P, C).

    Raises ValueError if a shape or a number does not fit, TypeError unless x is a float.
    """
    return _max_pool(
        "max_pool1d", MaxPool1d, 1, x, kernel_size, stride, padding, dilation, ceil_mode
    )


def avg_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """The mean of each window.

    x                    (N, H, W, C)  any float
    kernel_size, stride  int or (height, width); without a stride, the kernel's size
    padding              of zeros around the image, at most half the kernel
    ceil_mode            keep a last window that hangs over the edge; what hangs over is not counted
    count_include_pad    whether the padding counts as pixels of value 0, or not at all
    returns              (N, P, Q, C)  dtype of x; sums in float32 or wider
                         P = (H + 2 padding - R) // stride + 1

    Raises ValueError if a shape or a number does not fit, TypeError unless x is a float.
    """
    numbers = kernel_size, stride, padding, ceil_mode, count_include_pad
    return _avg_pool("avg_pool2d", AvgPool2d, 2, x, *numbers)


def avg_pool1d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """As avg_pool2d on sequences:  x (N, L, C), returns (N, P, C).

    Raises ValueError if a shape or a number does not fit, TypeError unless x is a float.
    """
    numbers = kernel_size, stride, padding, ceil_mode, count_include_pad
    return _avg_pool("avg_pool1d", AvgPool1d, 1, x, *numbers)


def adaptive_avg_pool2d(x, output_size):
    """The mean of P x Q windows that cover an image of any size: rows floor(p H / P) to
    ceil((p + 1) H / P), and columns likewise.

    x            (N, H, W, C)  any float
    output_size  int or (P, Q); None keeps the input's
    returns      (N, P, Q, C)  dtype of x; sums in float32 or wider

    Raises ValueError if a shape or a number does not fit, TypeError unless x is a float.
    """
    return _adaptive("adaptive_avg_pool2d", AdaptiveAvgPool2d, 2, x, output_size)


def adaptive_avg_pool1d(x, output_size):
    """As adaptive_avg_pool2d on sequences:  x (N, L, C), returns (N, P, C).

    Raises ValueError if a shape or a number does not fit, TypeError unless x is a float.
    """
    return _adaptive("adaptive_avg_pool1d", AdaptiveAvgPool1d, 1, x, output_size)


def adaptive_max_pool2d(x, output_size):
    """The greatest value of each of adaptive_avg_pool2d's windows; NaN if one is there.

    Raises ValueError if a shape or a number does not fit, TypeError unless x is a float.
    """
    return _adaptive("adaptive_max_pool2d", AdaptiveMaxPool2d, 2, x, output_size)


def adaptive_max_pool1d(x, output_size):
    """As adaptive_max_pool2d on sequences:  x (N, L, C), returns (N, P, C).

    Raises ValueError if a shape or a number does not fit, TypeError unless x is a float.
    """
    return _adaptive("adaptive_max_pool1d", AdaptiveMaxPool1d, 1, x, output_size)


def global_avg_pool2d(x):
    """The mean of each channel over the whole image:  x (N, H, W, C), returns (N, C).

    Raises ValueError unless x has that shape, TypeError unless it is a float.
    """
    check_images("global_avg_pool2d", 2, x)
    return mean(x, axis=(1, 2))


def _max_pool(op, Op, dims, x, kernel, stride, padding, dilation, ceil_mode):
    dilation = pair(op, "dilation", dilation, dims, 1)
    numbers = _numbers(op, dims, x, kernel, stride, padding, dilation, ceil_mode)
    return Op(*numbers, dilation)(x)


def _avg_pool(op, Op, dims, x, kernel, stride, padding, ceil_mode, count_include_pad):
    size, kernel, stride, hanging = _numbers(
        op, dims, x, kernel, stride, padding, (1, 1), ceil_mode
    )
    counts = []
    for n, P, R, step, pads in zip(
        as_pair(x.shape[1:-1]), size, kernel, stride, hanging, strict=True
    ):
        pad = pads[0]
        first, last = (-pad, n + pad) if count_include_pad else (0, n)
        starts = [p * step - pad for p in range(P)]
        counts.append([min(start + R, last) - max(start, first) for start in starts])
    return Op(size, kernel, stride, hanging, counts)(x)


def _numbers(op, dims, x, kernel, stride, padding, dilation, ceil_mode):
    """What pooling was asked for, checked, in pairs: output size, kernel, stride, padding. The
    padding behind is as large as the last window needs it.
    """
    check_images(op, dims, x)
    kernel = pair(op, "kernel_size", kernel, dims, 1)
    stride = kernel if stride is None else pair(op, "stride", stride, dims, 1)
    pads = pair(op, "padding", padding, dims, 0, fill=0)
    spans = [d * (taps - 1) + 1 for taps, d in zip(kernel, dilation, strict=True)]
    if any(pad > span // 2 for pad, span in zip(pads, spans, strict=True)):
        raise ValueError(
            f"[{op}] padding: expected at most half the kernel {tuple(spans[-dims:])}, "
            f"got {pads[-dims:]}"
        )
    sizes = as_pair(x.shape[1:-1])
    geometry = Geometry(stride, tuple((pad, pad) for pad in pads), dilation)
    check_fits(op, dims, sizes, kernel, geometry)
    if not ceil_mode:
        return geometry.output_size(sizes, kernel), kernel, stride, geometry.padding
    outputs, hanging = [], []
    for n, span, step, pad in zip(sizes, spans, stride, pads, strict=True):
        count = -(-(n + 2 * pad - span) // step) + 1
        if (count - 1) * step >= n + pad:  # the last window would start behind the image
            count -= 1
        outputs.append(count)
        hanging.append((pad, max(pad, (count - 1) * step + span - n - pad)))
    return tuple(outputs), kernel, stride, tuple(hanging)


def _adaptive(op, Op, dims, x, output_size):
    check_images(op, dims, x)
    sizes = x.shape[1:-1]
    if output_size is None or isinstance(output_size, (int, np.integer)):
        output_size = (output_size,) * dims
    if isinstance(output_size, (tuple, list)) and len(output_size) == dims:
        output_size = tuple(
            n if wanted is None else wanted for n, wanted in zip(sizes, output_size, strict=True)
        )
    size = pair(op, "output_size", output_size, dims, 1)
    if 0 in sizes:
        raise ValueError(f"[{op}] x: expected at least one pixel, got {x.shape}")
    return Op(size)(x)
