"""Convolution and its adjoint on NHWC images with KRSC weights, in one and two dimensions.

    y[n, p, q, k] = b[k] + sum over r, s, c of  x[n, h, w, c] weight[k, r, s, c],
    h = p stride_h + r dilation_h - pad_h,  w = q stride_w + s dilation_w - pad_w

The reference stands in im2col.py, the kernels in csrc/kernels/conv/.

Over 400 lines: half of them say what a public function takes, and check it.
"""

import math

import numpy as np

from pynn.autograd import Function
from pynn.backend import array_module, widen
from pynn.functional.broadcast import sum_to_native
from pynn.functional.convolve import (
    dgrad_native,
    fprop_activate_native,
    fprop_moments_native,
    fprop_native,
    wgrad_native,
)
from pynn.functional.im2col import dgrad, fprop, wgrad
from pynn.functional.linear import (
    LinearActivation,
    as_rows,
    check_activation,
    check_dtypes,
    column_sums,
)
from pynn.functional.window import (
    Geometry,
    NativeLine,
    as_pair,
    check_fits,
    check_images,
    pair,
)


class _Convolution(Function):
    """What Conv2d and ConvTranspose2d share: they differ in which of fprop and dgrad is forward."""

    def __init__(self, stride, padding, dilation, groups):
        self.geometry, self.groups = Geometry(stride, padding, dilation), groups

    def forward(self, x, w, b=None):
        return self.sums(x, w, b).astype(x.dtype, copy=False)

    def sums(self, x, w, b):
        self.x, self.w = x, w
        y = self.product(widen(x), widen(w))
        if b is not None and y.size:
            rows = y.reshape(y.shape[0] * y.shape[1], -1)  # longer than K: a longer inner loop
            rows += array_module(y).tile(widen(b), y.shape[2])
        return y

    def backward(self, dy):
        return self.gradients(dy, self.needs)

    def gradients(self, dy, needs):
        need_x, need_w, *need_b = needs
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
        return self.gradients_native(dy, self.needs)

    def gradients_native(self, dy, needs):
        need_x, need_w, *need_b = needs
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
        y = self.empty_output(x, w)
        fprop_native(x, w, b, y, self.geometry)
        return y

    def empty_output(self, x, w):
        size = self.geometry.output_size(x.shape[1:3], w.shape[1:3])
        return array_module(x).empty((x.shape[0], *size, w.shape[0]), x.dtype)

    def gradient_x_native(self, dy):
        dx = array_module(dy).empty_like(self.x)
        dgrad_native(dy, self.w, None, dx, self.geometry)
        return dx

    def gradient_w_native(self, dy):
        dw = array_module(dy).empty_like(self.w)
        wgrad_native(self.x, dy, dw, self.geometry)
        return dw


class Conv2dMoments(Conv2d):
    """Conv2d whose kernels also leave the moments of y's channels, for the batch norm behind it, as
    `parts`: (S, K, 4) float32, of the rounded y.
    """

    parts = None

    def product_native(self, x, w, b):
        y = self.empty_output(x, w)
        count = -(-math.prod(y.shape[:3]) // 64)
        self.parts = array_module(x).empty((count, w.shape[0], 4), np.float32)
        fprop_moments_native(x, w, b, y, self.parts, self.geometry)
        return y

    def take_parts(self):
        """The parts, None where the reference ran; the graph does not keep them."""
        parts, self.parts = self.parts, None
        return parts


class Conv2dActivation(Conv2d):
    """y = f(z), z = b + x * w + residual;  dz = dy f'(z), and from it dx, dw, db as Conv2d's;
    the residual's gradient is dz.

    x, w, b or left out as of Conv2d, residual like y or left out: it comes last where `adds` says
    there is one. f is relu, gelu, gelu_tanh, silu or None, of the sums before they are rounded, as
    in LinearActivation.
    """

    functions, function = LinearActivation.functions, LinearActivation.function

    def __init__(self, activation, adds, *numbers):
        super().__init__(*numbers)
        self.activation, self.adds = activation, adds

    def split(self, rest):
        """Bias and residual of what follows x and w."""
        residual = rest[-1] if self.adds else None
        b = rest[0] if len(rest) > self.adds else None
        return b, residual

    def forward(self, x, w, *rest):
        b, residual = self.split(rest)
        z = self.sums(x, w, b)
        if residual is not None:
            z += residual
        if self.activation is None:
            return z.astype(x.dtype, copy=False)
        y = self.functions[self.activation]().forward(z).astype(x.dtype, copy=False)
        self.kept = y if self.activation == "relu" else z.astype(x.dtype, copy=False)
        return y

    def backward(self, dy):
        dz = self.function.backward(dy) if self.activation else dy
        return self.with_residual(self.gradients, dz)

    def forward_native(self, x, w, *rest):
        self.x, self.w = x, w
        b, residual = self.split(rest)
        y = self.empty_output(x, w)
        keep = self.activation not in ("relu", None) and any(self.needs)
        self.kept = array_module(x).empty_like(y) if keep else y
        z = self.kept if keep else None
        activation = self.activation or "none"
        fprop_activate_native(x, w, b, residual, z, y, activation, self.geometry)
        return y

    def backward_native(self, dy):
        dz = self.function.backward_native(dy) if self.activation else dy
        return self.with_residual(self.gradients_native, dz)

    def with_residual(self, gradients, dz):
        if not self.adds:
            return gradients(dz, self.needs)
        *needs, wanted = self.needs
        return (*gradients(dz, needs), dz if wanted else None)


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


class Conv1dActivation(NativeLine, Conv2dActivation):
    """Conv2dActivation of height 1: x (N, L, C), w (K, R, C / groups), residual (N, P, K)."""


class Conv1dMoments(NativeLine, Conv2dMoments):
    """Conv2dMoments of height 1: x (N, L, C), w (K, R, C / groups)."""


class ConvTranspose1d(NativeLine, ConvTranspose2d):
    """ConvTranspose2d of height 1: x (N, P, K), w (K, R, C / groups), b (C,), y (N, L, C)."""


# ------------------------------------------------------------------ public functions


def conv2d(
    x,
    weight,
    bias=None,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
    activation=None,
    residual=None,
):
    """Cross-correlate images with a set of kernels.

    x           (N, H, W, C)           any float
    weight      (K, R, S, C / groups)  dtype of x
    bias        (K,)                   dtype of x, or None
    stride, dilation                   int or (height, width), at least 1
    padding                            zeros around the image: int, (height, width), "valid" for
                                       none, or "same" for P, Q = H, W, with an odd one below and to
                                       the right; stride 1 only
    groups                             kernel k sees only the input channels of its group
    residual    (N, P, Q, K)           dtype of x, added before the activation, or None
    activation  None, "relu", "gelu", "gelu_tanh" or "silu": applied to the sums before they are
                rounded, without another pass over memory
    returns     (N, P, Q, K)           dtype of x; sums in float32 or wider
                                       P = (H + 2 padding - dilation (R - 1) - 1) // stride + 1

    Raises ValueError if a shape or a number does not fit, TypeError if a dtype does not.
    """
    numbers = stride, padding, dilation, groups
    ops = Conv2d, Conv2dActivation
    return _conv("conv2d", ops, 2, x, weight, bias, numbers, activation, residual)


def conv1d(
    x,
    weight,
    bias=None,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
    activation=None,
    residual=None,
):
    """As conv2d on sequences:  x (N, L, C), weight (K, R, C / groups), bias (K,), gives (N, P, K).

    Raises ValueError if a shape or a number does not fit, TypeError if a dtype does not.
    """
    numbers = stride, padding, dilation, groups
    ops = Conv1d, Conv1dActivation
    return _conv("conv1d", ops, 1, x, weight, bias, numbers, activation, residual)


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


def _conv(op, ops, dims, x, weight, bias, numbers, activation, residual):
    geometry = check_conv(op, dims, x, weight, bias, *numbers)
    groups = numbers[3]
    inputs = (x, weight) if bias is None else (x, weight, bias)
    plain, fused = ops
    if activation is None and residual is None:
        return plain(*geometry, groups)(*inputs)
    if activation is not None:
        check_activation(op, activation, " or None")
    if residual is None:
        return fused(activation, False, *geometry, groups)(*inputs)
    size = geometry.output_size(as_pair(x.shape[1:-1]), as_pair(weight.shape[1:-1]))
    shape = (x.shape[0], *size[-dims:], weight.shape[0])
    if residual.shape != shape:
        raise ValueError(f"[{op}] residual: expected shape {shape}, got {residual.shape}")
    check_dtypes(op, x, residual=residual)
    return fused(activation, True, *geometry, groups)(*inputs, residual)


def check_conv(op, dims, x, weight, bias, stride, padding, dilation, groups):
    """The geometry of a convolution, once everything about it is checked."""
    _check_arrays(op, dims, x, weight, bias)
    _check_groups(op, groups, weight)
    stride = pair(op, "stride", stride, dims, 1)
    dilation = pair(op, "dilation", dilation, dims, 1)
    kernel = as_pair(weight.shape[1:-1])
    padding = _pads(op, padding, dims, kernel, stride, dilation)
    K, C = weight.shape[0], weight.shape[-1] * groups
    _check_channels(op, x, C, weight, groups)
    _check_bias(op, bias, K)
    geometry = Geometry(stride, padding, dilation)
    check_fits(op, dims, as_pair(x.shape[1:-1]), kernel, geometry)
    return geometry


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
