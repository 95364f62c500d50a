"""Softmax and its logarithm along an axis."""

from pynn.autograd import Function
from pynn.backend import array_module, native, widen
from pynn.functional.activation import float_input


class _OfLastAxis(Function):
    """Kernels for the last axis: kernel_fwd(x, y) and kernel_bwd(y, dy, dx)."""

    kernel = ""

    def __init__(self, axis):
        self.axis = axis

    def takes_native(self, arrays):
        return super().takes_native(arrays) and self.axis in (-1, arrays[0].ndim - 1)

    def forward_native(self, x):
        self.y = array_module(x).empty_like(x)
        getattr(native, self.kernel + "_fwd")(x, self.y)
        return self.y

    def backward_native(self, dy):
        dx = array_module(dy).empty_like(dy)
        getattr(native, self.kernel + "_bwd")(self.y, dy, dx)
        return dx


class Softmax(_OfLastAxis):
    """y_i = e^(x_i) / sum_j e^(x_j) along an axis;  dx = y (dy - sum_j dy_j y_j).

    A row of -inf gives zeros.
    """

    kernel = "softmax"

    def forward(self, x):
        xp = array_module(x)
        wide = widen(x)
        y = xp.exp(wide - _finite_peak(xp, wide, self.axis))
        total = y.sum(axis=self.axis, keepdims=True)
        y /= xp.where(total == 0, 1, total)
        self.y = y.astype(x.dtype, copy=False)
        return self.y

    def backward(self, dy):
        y, dy_wide = widen(self.y), widen(dy)
        dot = (dy_wide * y).sum(axis=self.axis, keepdims=True)
        return (y * (dy_wide - dot)).astype(dy.dtype, copy=False)


class LogSoftmax(_OfLastAxis):
    """y_i = x_i - log sum_j e^(x_j) along an axis;  dx = dy - e^y sum_j dy_j.

    A row of -inf stays so, without gradient.
    """

    kernel = "log_softmax"

    def forward(self, x):
        xp = array_module(x)
        wide = widen(x)
        peak = _finite_peak(xp, wide, self.axis)
        shifted = wide - peak
        total = xp.exp(shifted).sum(axis=self.axis, keepdims=True)
        y = shifted - xp.log(xp.where(total == 0, 1, total))
        self.y = y.astype(x.dtype, copy=False)
        return self.y

    def backward(self, dy):
        xp = array_module(dy)
        wide = widen(dy)
        y = widen(self.y)
        dx = wide - xp.exp(y) * wide.sum(axis=self.axis, keepdims=True)
        empty = xp.isneginf(y).all(axis=self.axis, keepdims=True)
        return xp.where(empty, 0, dx).astype(dy.dtype, copy=False)


def _finite_peak(xp, x, axis):
    """The greatest element along an axis, 0 where it is -inf, so that x minus it is never inf - inf
    on a masked row.
    """
    if x.shape[axis] == 0:
        return 0
    peak = x.max(axis=axis, keepdims=True)
    return xp.where(xp.isneginf(peak), 0, peak)


def softmax(x, axis=-1):
    """e^x normalised to sum 1 along an axis; a row of -inf gives zeros and zero gradients."""
    return Softmax(axis)(float_input("softmax", x))


def log_softmax(x, axis=-1):
    """The logarithm of softmax, without overflow."""
    return LogSoftmax(axis)(float_input("log_softmax", x))
