"""Convolution and its adjoint on NHWC images with KRSC weights, in one and two dimensions.

    y[n, p, q, k] = b[k] + sum over r, s, c of  x[n, h, w, c] weight[k, r, s, c],
    h = p stride_h + r dilation_h - pad_h,  w = q stride_w + s dilation_w - pad_w

fprop is a matrix product (N P Q, R S C) times (R S C, K), whose left matrix has a window of x in
each row. It is R S times as large as x, so it is made and used in blocks that stay in the cache and
is never kept: wgrad makes it again. dgrad multiplies dy by one tap of the weight at a time and adds
the product to the pixels that the tap reads. The kernels, in csrc/kernels/conv/, never make it.
Chellapilla, Puri, Simard 2006, "High performance convolutional neural networks for document
processing".
"""

import numpy as np

from pynn.autograd import Function
from pynn.backend import array_module, widen
from pynn.functional.broadcast import sum_to_native
from pynn.functional.convolve import dgrad_native, fprop_native, wgrad_native
from pynn.functional.linear import as_rows, check_dtypes, column_sums
from pynn.functional.window import (
    Geometry,
    NativeLine,
    add_taps,
    as_pair,
    blocks,
    check_fits,
    check_images,
    padded,
    pair,
    windows,
)

_FEW_CHANNELS = (
    4  # up to which the matrix is made tap by tap: a window's rows are too short to copy
)


class _Convolution(Function):
    """What Conv2d and ConvTranspose2d share: they differ in which of fprop and dgrad is forward."""

    def __init__(self, stride, padding, dilation, groups):
        self.geometry, self.groups = Geometry(stride, padding, dilation), groups

    def forward(self, x, w, b=None):
        self.x, self.w = x, w
        y = self.product(widen(x), widen(w))
        if b is not None and y.size:
            rows = y.reshape(y.shape[0] * y.shape[1], -1)  # longer than K: a longer inner loop
            rows += array_module(y).tile(widen(b), y.shape[2])
        return y.astype(x.dtype, copy=False)

    def backward(self, dy):
        need_x, need_w, *need_b = self.needs
        x, w, wide = self.x, self.w, widen(dy)
        dx = self.gradient_x(wide, widen(w)).astype(x.dtype, copy=False) if need_x else None
        dw = self.gradient_w(widen(x), wide).astype(w.dtype, copy=False) if need_w else None
        if not need_b:
            return dx, dw
        db = column_sums(as_rows(wide)).astype(w.dtype, copy=False) if need_b[0] else None
        return dx, dw, db

    def forward_native(self, x, w, b=None):
        self.x, self.w = x, w
        return self.product_native(x, w, b)

    def backward_native(self, dy):
        need_x, need_w, *need_b = self.needs
        dx = self.gradient_x_native(dy) if need_x else None
        dw = self.gradient_w_native(dy) if need_w else None
        if not need_b:
            return dx, dw
        return dx, dw, sum_to_native(as_rows(dy), dy.shape[-1:]) if need_b[0] else None


class Conv2d(_Convolution):
    """y = b + x * w (cross-correlation);  dx = dgrad(dy, w), dw = wgrad(x, dy), db = dy summed over
    all but its last axis.

    x (N, H, W, C), w (K, R, S, C / groups), b (K,) or left out, y (N, P, Q, K).
    """

    def product(self, x, w):
        size = self.geometry.output_size(x.shape[1:3], w.shape[1:3])
        return fprop(x, w, size, self.geometry, self.groups)

    def gradient_x(self, dy, w):
        return dgrad(dy, w, self.x.shape, self.geometry, self.groups)

    def gradient_w(self, x, dy):
        return wgrad(x, dy, self.w.shape, self.geometry, self.groups)

    def product_native(self, x, w, b):
        size = self.geometry.output_size(x.shape[1:3], w.shape[1:3])
        y = array_module(x).empty((x.shape[0], *size, w.shape[0]), x.dtype)
        fprop_native(x, w, b, y, self.geometry)
        return y

    def gradient_x_native(self, dy):
        dx = array_module(dy).empty_like(self.x)
        dgrad_native(dy, self.w, None, dx, self.geometry)
        return dx

    def gradient_w_native(self, dy):
        dw = array_module(dy).empty_like(self.w)
        wgrad_native(self.x, dy, dw, self.geometry)
        return dw


class ConvTranspose2d(_Convolution):
    """The adjoint of the Conv2d that has the same weight: y = b + dgrad(x, w);  dx = fprop(dy, w),
    dw = wgrad(dy, x), db = dy summed over all but its last axis.

    x (N, P, Q, K), w (K, R, S, C / groups), b (C,) or left out, y (N, H, W, C); size is (H, W).
    """

    def __init__(self, size, stride, padding, dilation, groups):
        super().__init__(stride, padding, dilation, groups)
        self.size = size

    def product(self, x, w):
        shape = (x.shape[0], *self.size, w.shape[3] * self.groups)
        return dgrad(x, w, shape, self.geometry, self.groups)

    def gradient_x(self, dy, w):
        return fprop(dy, w, self.x.shape[1:3], self.geometry, self.groups)

    def gradient_w(self, x, dy):
        return wgrad(dy, x, self.w.shape, self.geometry, self.groups)

    def product_native(self, x, w, b):
        shape = (x.shape[0], *self.size, w.shape[3] * self.groups)
        y = array_module(x).empty(shape, x.dtype)
        dgrad_native(x, w, b, y, self.geometry)
        return y

    def gradient_x_native(self, dy):
        dx = array_module(dy).empty_like(self.x)
        fprop_native(dy, self.w, None, dx, self.geometry)
        return dx

    def gradient_w_native(self, dy):
        dw = array_module(dy).empty_like(self.w)
        wgrad_native(dy, self.x, dw, self.geometry)
        return dw


class Conv1d(NativeLine, Conv2d):
    """Conv2d of height 1: x (N, L, C), w (K, R, C / groups), b (K,) or left out, y (N, P, K)."""


class ConvTranspose1d(NativeLine, ConvTranspose2d):
    """ConvTranspose2d of height 1: x (N, P, K), w (K, R, C / groups), b (C,), y (N, L, C)."""


# ------------------------------------------------------------------ fprop, dgrad, wgrad


def fprop(x, w, size, geometry, groups=1):
    """y (N, P, Q, K) of that size, (P, Q), from x (N, H, W, C) and w (K, R, S, C / groups)."""
    xp = array_module(x)
    K, R, S, C = w.shape
    if groups > 1 and C != 1:
        parts = zip(xp.split(x, groups, 3), xp.split(w, groups, 0), strict=True)
        return xp.concatenate(
            [fprop(part, kernels, size, geometry) for part, kernels in parts], axis=3
        )
    N, (P, Q) = x.shape[0], size
    y = xp.empty((N, P, Q, K), x.dtype)
    view = windows(padded(x, geometry.padding), (P, Q), (R, S), geometry)
    if groups == 1:
        matrix, out = w.reshape(K, R * S * C).T, as_rows(y)
        for outputs, columns in _columns(xp, view):
            xp.matmul(columns, matrix, out=out[outputs])
        return y
    taps = _depthwise_taps(w, groups)
    split = y.reshape(N, P, Q, groups, K // groups)
    for n, p, _ in blocks(xp, N, P, Q, K):
        out = split[n, p]
        for i, tap in enumerate(taps):
            product = xp.multiply(
                view[n, p, :, *divmod(i, S), :, None], tap, out=None if i else out
            )
            if i:
                out += product
    return y


def dgrad(dy, w, shape, geometry, groups=1):
    """dx of that shape, (N, H, W, C), from dy (N, P, Q, K) and w (K, R, S, C / groups)."""
    xp = array_module(dy)
    K, R, S, C = w.shape
    N, H, W, _ = shape
    P, Q = dy.shape[1:3]
    if groups > 1 and C != 1:
        parts = zip(xp.split(dy, groups, 3), xp.split(w, groups, 0), strict=True)
        of_part = N, H, W, C
        return xp.concatenate(
            [dgrad(d, kernels, of_part, geometry) for d, kernels in parts], axis=3
        )
    if R == S == 1 and groups == 1 and (P, Q) == (H, W) and geometry.padding == ((0, 0), (0, 0)):
        return (as_rows(dy) @ w.reshape(K, C)).reshape(shape)
    dx = xp.zeros(shape, dy.dtype)
    if groups == 1:
        taps = xp.ascontiguousarray(w.transpose(1, 2, 0, 3)).reshape(R * S, K, C)
        drows = as_rows(dy)
        for n, p, outputs in blocks(xp, N, P, Q, C):
            d = drows[outputs]
            space = xp.empty((n.stop - n.start, p.stop - p.start, Q, C), dy.dtype)
            product = as_rows(space)
            products = (xp.matmul(d, tap, out=product).reshape(space.shape) for tap in taps)
            add_taps(dx, n, p, products, (R, S), geometry)
        return dx
    taps = _depthwise_taps(w, groups)
    split = dy.reshape(N, P, Q, groups, K // groups)
    for n, p, _ in blocks(xp, N, P, Q, K):
        d = split[n, p]
        add_taps(dx, n, p, ((d * tap).sum(axis=-1) for tap in taps), (R, S), geometry)
    return dx


def wgrad(x, dy, shape, geometry, groups=1):
    """dw of that shape, (K, R, S, C / groups), from x (N, H, W, C) and dy (N, P, Q, K)."""
    xp = array_module(x)
    K, R, S, C = shape
    N, P, Q, _ = dy.shape
    if groups > 1 and C != 1:
        parts = zip(xp.split(x, groups, 3), xp.split(dy, groups, 3), strict=True)
        of_part = K // groups, R, S, C
        return xp.concatenate([wgrad(part, d, of_part, geometry) for part, d in parts], axis=0)
    dw = xp.zeros(shape, x.dtype)
    view = windows(padded(x, geometry.padding), (P, Q), (R, S), geometry)
    if groups == 1:
        drows, out = as_rows(dy), dw.reshape(K, R * S * C)
        for outputs, columns in _columns(xp, view):
            if outputs.start:
                out += drows[outputs].T @ columns
            else:
                xp.matmul(drows[outputs].T, columns, out=out)
        return dw
    split = dy.reshape(N, P, Q, groups, K // groups)
    for n, p, _ in blocks(xp, N, P, Q, K):
        for r in range(R):
            for s in range(S):
                product = view[n, p, :, r, s, :, None] * split[n, p]
                dw[:, r, s, 0] += column_sums(product.reshape(-1, K))
    return dw


def _columns(xp, view):
    """The windows (N, P, Q, R, S, C) as a matrix (N P Q, R S C), block by block: the slice of the
    outputs, and their rows, in a buffer that the next block overwrites.
    """
    N, P, Q, R, S, C = view.shape
    buffer = None
    for n, p, outputs in blocks(xp, N, P, Q, R * S * C):
        block = view[n, p]
        shape = outputs.stop - outputs.start, R * S * C
        if R == S == 1:
            yield outputs, block.reshape(shape)
            continue
        if buffer is None:
            buffer = xp.empty(block.size, view.dtype)
        space = buffer[: block.size]
        if C > _FEW_CHANNELS:
            space.reshape(block.shape)[...] = block
            yield outputs, space.reshape(shape)
        else:
            block = block.transpose(3, 4, 5, 0, 1, 2)
            space.reshape(block.shape)[...] = block
            yield outputs, space.reshape(shape[::-1]).T


def _depthwise_taps(w, groups):
    """w (K, R, S, 1) as (R S, groups, K / groups): for each tap, the factors of each channel."""
    K, R, S, _ = w.shape
    return w.reshape(groups, K // groups, R * S).transpose(2, 0, 1)


# ------------------------------------------------------------------ public functions


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Cross-correlate images with a set of kernels.

    x        (N, H, W, C)           any float
    weight   (K, R, S, C / groups)  dtype of x
    bias     (K,)                   dtype of x, or None
    stride, dilation                int or (height, width), at least 1
    padding                         zeros around the image: int, (height, width), "valid" for none,
                                    or "same" for P, Q = H, W, with an odd one below and to the
                                    right; stride 1 only
    groups                          kernel k sees only the input channels of its group
    returns  (N, P, Q, K)           dtype of x; sums in float32 or wider
                                    P = (H + 2 padding - dilation (R - 1) - 1) // stride + 1

    Raises ValueError if a shape or a number does not fit, TypeError if a dtype does not.
    """
    return _conv("conv2d", Conv2d, 2, x, weight, bias, stride, padding, dilation, groups)


def conv1d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """As conv2d on sequences:  x (N, L, C), weight (K, R, C / groups), bias (K,), gives (N, P, K).

    Raises ValueError if a shape or a number does not fit, TypeError if a dtype does not.
    """
    return _conv("conv1d", Conv1d, 1, x, weight, bias, stride, padding, dilation, groups)


def conv_transpose2d(
    x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    """The adjoint of conv2d with the same weight, stride, padding and dilation: from the shape of
    that op's output back to the shape of its input.

    x        (N, P, Q, K)           any float
    weight   (K, R, S, C / groups)  dtype of x; the conv2d's weight, so K is the channels of x;
                                    PyTorch's (K, C / groups, R, S) permuted by (0, 2, 3, 1)
    bias     (C,)                   dtype of x, or None
    stride, dilation                int or (height, width), at least 1
    padding                         int or (height, width)
    output_padding                  which of the sizes that the stride leaves open, less than stride
                                    or dilation
    returns  (N, H, W, C)           dtype of x; sums in float32 or wider
                                    H = (P - 1) stride - 2 padding + dilation (R - 1) + 1
                                    + output_padding

    Raises ValueError if a shape or a number does not fit, TypeError if a dtype does not.
    """
    numbers = stride, padding, output_padding, groups, dilation
    return _conv_transpose("conv_transpose2d", ConvTranspose2d, 2, x, weight, bias, *numbers)


def conv_transpose1d(
    x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    """As conv_transpose2d on sequences:  x (N, P, K), weight (K, R, C / groups), gives (N, L, C).

    Raises ValueError if a shape or a number does not fit, TypeError if a dtype does not.
    """
    numbers = stride, padding, output_padding, groups, dilation
    return _conv_transpose("conv_transpose1d", ConvTranspose1d, 1, x, weight, bias, *numbers)


def _conv(op, Op, dims, x, weight, bias, stride, padding, dilation, groups):
    _check_arrays(op, dims, x, weight, bias)
    _check_groups(op, groups, weight)
    stride = pair(op, "stride", stride, dims, 1)
    dilation = pair(op, "dilation", dilation, dims, 1)
    kernel = as_pair(weight.shape[1:-1])
    padding = _pads(op, padding, dims, kernel, stride, dilation)
    K, C = weight.shape[0], weight.shape[-1] * groups
    _check_channels(op, x, C, weight, groups)
    _check_bias(op, bias, K)
    check_fits(op, dims, as_pair(x.shape[1:-1]), kernel, Geometry(stride, padding, dilation))
    node = Op(stride, padding, dilation, groups)
    return node(x, weight) if bias is None else node(x, weight, bias)


def _conv_transpose(op, Op, dims, x, weight, bias, stride, padding, extra, groups, dilation):
    _check_arrays(op, dims, x, weight, bias)
    _check_groups(op, groups, weight)
    stride = pair(op, "stride", stride, dims, 1)
    dilation = pair(op, "dilation", dilation, dims, 1)
    padding = tuple((n, n) for n in pair(op, "padding", padding, dims, 0, fill=0))
    extra = pair(op, "output_padding", extra, dims, 0, fill=0)
    if any(n >= max(s, d) for n, s, d in zip(extra, stride, dilation, strict=True)):
        raise ValueError(
            f"[{op}] output_padding: expected less than stride {stride[-dims:]} or dilation "
            f"{dilation[-dims:]}, got {extra[-dims:]}"
        )
    K, C = weight.shape[0], weight.shape[-1] * groups
    _check_channels(op, x, K, weight, groups)
    _check_bias(op, bias, C)
    lengths = as_pair(x.shape[1:-1]), as_pair(weight.shape[1:-1]), stride, padding, dilation, extra
    size = tuple(
        (n - 1) * step - sum(pad) + apart * (taps - 1) + 1 + more
        for n, taps, step, pad, apart, more in zip(*lengths, strict=True)
    )
    if min(size) < 1:
        raise ValueError(
            f"[{op}] expected an output of at least one pixel, got size {size[-dims:]} from input "
            f"{x.shape} and kernel {weight.shape[1:-1]}"
        )
    node = Op(size, stride, padding, dilation, groups)
    return node(x, weight) if bias is None else node(x, weight, bias)


# ------------------------------------------------------------------ checks


def _pads(op, padding, dims, kernel, stride, dilation):
    """The padding before and after each dimension."""
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        if max(stride) > 1:
            raise ValueError(f'[{op}] padding "same": expected stride 1, got {stride[-dims:]}')
        totals = [apart * (taps - 1) for taps, apart in zip(kernel, dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    if isinstance(padding, str):
        raise ValueError(
            f'[{op}] padding: expected an int, a pair, "same" or "valid", got {padding!r}'
        )
    return tuple((n, n) for n in pair(op, "padding", padding, dims, 0, fill=0))


def _check_arrays(op, dims, x, weight, bias):
    check_images(op, dims, x)
    if weight.ndim != dims + 2 or 0 in weight.shape[1:-1]:
        layout = "(K, R, S, C / groups)" if dims == 2 else "(K, R, C / groups)"
        raise ValueError(f"[{op}] weight: expected shape {layout} with a tap, got {weight.shape}")
    check_dtypes(op, x, weight=weight, bias=bias)


def _check_groups(op, groups, weight):
    if not isinstance(groups, (int, np.integer)) or groups < 1 or weight.shape[0] % groups:
        kernels = weight.shape[0]
        raise ValueError(
            f"[{op}] groups: expected a divisor of the {kernels} kernels, got {groups}"
        )


def _check_channels(op, x, channels, weight, groups):
    if x.shape[-1] == channels:
        return
    hint = ""
    if x.shape[1] == channels:
        names = ("NCHW", "NHWC", "0, 2, 3, 1") if x.ndim == 4 else ("NCL", "NLC", "0, 2, 1")
        hint = ", which looks like {}; pynn is {}: x.permute({})".format(*names)
    raise ValueError(
        f"[{op}] x: expected {channels} channels on the last axis for weight {weight.shape}"
        f"{f' and groups {groups}' if groups > 1 else ''}, got {x.shape}{hint}"
    )


def _check_bias(op, bias, channels):
    if bias is not None and bias.shape != (channels,):
        raise ValueError(f"[{op}] bias: expected shape ({channels},), got {bias.shape}")
