"""Reductions over axes: sum, mean, variance, extrema, norm.

axis is None (all), an int or a tuple; sums are float32 or wider.
"""

import builtins

import numpy as np

from pynn import dtypes
from pynn.autograd import Function
from pynn.backend import array_module, widen
from pynn.functional.arithmetic import astype, sqrt, square, untracked


def _axes(x, axis, op):
    """axis as a tuple of non-negative ints, each at most once. Raises ValueError otherwise."""
    ndim = x.ndim
    if axis is None:
        return tuple(range(ndim))
    axes = (axis,) if isinstance(axis, (int, np.integer)) else tuple(axis)
    if not builtins.all(-ndim <= a < ndim for a in axes) or len({a % ndim for a in axes}) != len(
        axes
    ):
        raise ValueError(f"[{op}] expected distinct axes in [{-ndim}, {ndim}), got {axis}")
    return tuple(a % ndim for a in axes)


class _Reduction(Function):
    def __init__(self, axes, keepdims):
        self.axes, self.keepdims = axes, keepdims

    def spread(self, reduced):
        """A reduced array with length 1 in place of the reduced axes, so that it broadcasts against
        x.
        """
        if self.keepdims:
            return reduced
        return reduced.reshape([1 if i in self.axes else n for i, n in enumerate(self.shape)])


class Sum(_Reduction):
    """y = sum of x over axes;  dx = dy, broadcast."""

    def forward(self, x):
        self.shape = x.shape
        return widen(x).sum(axis=self.axes, keepdims=self.keepdims).astype(x.dtype, copy=False)

    def backward(self, dy):
        return array_module(dy).broadcast_to(self.spread(dy), self.shape)


class Mean(_Reduction):
    """y = sum of x over axes / their number n;  dx = dy / n, broadcast.

    The mean of nothing is NaN.
    """

    def forward(self, x):
        self.shape = x.shape
        n = self.count()
        total = widen(x).sum(axis=self.axes, keepdims=self.keepdims)
        return (total / total.dtype.type(n) if n else total + np.nan).astype(x.dtype, copy=False)

    def count(self):
        n = 1
        for axis in self.axes:
            n *= self.shape[axis]
        return n

    def backward(self, dy):
        n = self.count() or 1
        return array_module(dy).broadcast_to(
            self.spread((widen(dy) / n).astype(dy.dtype, copy=False)), self.shape
        )


class Extreme(_Reduction):
    """y = max or min of x over axes, NaN if one is there;  dx = dy, shared equally among the
    elements equal to y.
    """

    def __init__(self, axes, keepdims, which):
        super().__init__(axes, keepdims)
        self.which = which

    def forward(self, x):
        self.x, self.shape = x, x.shape
        self.y = getattr(x, self.which)(axis=self.axes, keepdims=self.keepdims)
        return self.y

    def backward(self, dy):
        y = self.spread(self.y)
        hit = (self.x == y) | ((self.x != self.x) & (y != y))
        share = widen(self.spread(dy)) / hit.sum(axis=self.axes, keepdims=True).astype(np.float32)
        return (share * hit).astype(dy.dtype, copy=False)


class Cumsum(Function):
    """y[i] = x[0] + ... + x[i] along an axis;  dx[i] = dy[i] + dy[i+1] + ..."""

    def __init__(self, axis):
        self.axis = axis

    def forward(self, x):
        return widen(x).cumsum(axis=self.axis).astype(x.dtype, copy=False)

    def backward(self, dy):
        xp = array_module(dy)
        back = xp.flip(widen(xp.flip(dy, self.axis)).cumsum(axis=self.axis), self.axis)
        return xp.ascontiguousarray(back).astype(dy.dtype, copy=False)


class Logsumexp(_Reduction):
    """y = log sum e^x over axes, stable;  dx = dy e^(x - y).

    A row of -inf gives -inf and no gradient.
    """

    def forward(self, x):
        xp = array_module(x)
        self.x, self.shape = x, x.shape
        wide = widen(x)
        peak = wide.max(axis=self.axes, keepdims=True)
        peak = xp.where(xp.isfinite(peak), peak, 0)
        with np.errstate(divide="ignore"):
            total = xp.log(xp.exp(wide - peak).sum(axis=self.axes, keepdims=True)) + peak
        self.lse = total
        return (total if self.keepdims else total.reshape(self._reduced())).astype(
            x.dtype, copy=False
        )

    def _reduced(self):
        return [n for i, n in enumerate(self.shape) if i not in self.axes]

    def backward(self, dy):
        xp = array_module(dy)
        lse = xp.where(xp.isneginf(self.lse), 0, self.lse)
        return (widen(self.spread(dy)) * xp.exp(widen(self.x) - lse)).astype(dy.dtype, copy=False)


def sum(x, axis=None, keepdims=False):
    """Sum over axes. bool sums as int64."""
    if x.data.dtype == dtypes.bool_:
        x = astype(x, dtypes.int64)
    return Sum(_axes(x, axis, "sum"), keepdims)(x)


def mean(x, axis=None, keepdims=False):
    """Mean over axes; NaN over nothing. Integers give float32."""
    if x.data.dtype not in dtypes.FLOATS:
        x = astype(x, dtypes.float32)
    return Mean(_axes(x, axis, "mean"), keepdims)(x)


def var(x, axis=None, keepdims=False, correction=1):
    """Variance over axes in two passes: sum (x - mean)^2 / (n - correction)."""
    axes = _axes(x, axis, "var")
    n = int(np.prod([x.shape[a] for a in axes]))
    centred = square(x - mean(x, axes, keepdims=True))
    return (
        sum(centred, axes, keepdims) / float(n - correction)
        if n > correction
        else mean(centred, axes, keepdims) * float("nan")
    )


def std(x, axis=None, keepdims=False, correction=1):
    """Standard deviation: the root of `var`."""
    return sqrt(var(x, axis, keepdims, correction))


def _extreme(x, axis, keepdims, which):
    axes = _axes(x, axis, which)
    if builtins.any(x.shape[a] == 0 for a in axes):
        raise ValueError(
            f"[{which}] expected at least one element along axes {axes}, got shape {x.shape}"
        )
    return Extreme(axes, keepdims, which)(x)


def max(x, axis=None, keepdims=False):
    """Greatest element over axes; NaN if one is there. Raises ValueError over nothing."""
    return _extreme(x, axis, keepdims, "max")


def min(x, axis=None, keepdims=False):
    """Least element over axes; NaN if one is there. Raises ValueError over nothing."""
    return _extreme(x, axis, keepdims, "min")


def argmax(x, axis=None, keepdims=False):
    """Index of the greatest element along an axis (int64), the first of several; a NaN counts as
    greatest.
    """
    _extreme_check(x, axis, "argmax")
    return untracked(x.data.argmax(axis=axis, keepdims=keepdims))


def argmin(x, axis=None, keepdims=False):
    """Index of the least element along an axis (int64), the first of several; a NaN counts as
    least.
    """
    _extreme_check(x, axis, "argmin")
    return untracked(x.data.argmin(axis=axis, keepdims=keepdims))


def _extreme_check(x, axis, op):
    axes = _axes(x, axis, op)
    if builtins.any(x.shape[a] == 0 for a in axes):
        raise ValueError(
            f"[{op}] expected at least one element along axis {axis}, got shape {x.shape}"
        )


def all(x, axis=None, keepdims=False):
    """Whether every element over the axes is non-zero."""
    return untracked(x.data.all(axis=axis, keepdims=keepdims))


def any(x, axis=None, keepdims=False):
    """Whether some element over the axes is non-zero."""
    return untracked(x.data.any(axis=axis, keepdims=keepdims))


def cumsum(x, axis):
    """Running sum along an axis."""
    return Cumsum(_axes(x, axis, "cumsum")[0])(x)


def logsumexp(x, axis=None, keepdims=False):
    """log(sum(exp(x))) over axes without overflow."""
    return Logsumexp(_axes(x, axis, "logsumexp"), keepdims)(x)


def norm(x, axis=None, keepdims=False):
    """Euclidean norm over axes: sqrt(sum x^2)."""
    return sqrt(sum(square(x), axis, keepdims))
