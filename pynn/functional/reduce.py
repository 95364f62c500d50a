"""Reductions over axes: sum, mean, variance, extrema, norm.

axis is None (all), an int or a tuple; sums are float32 or wider. Kernels take neighbouring axes as
one: (2, 3, 4, 5) over (1, 2) is (outer, n, inner) = (2, 12, 5). Others are first brought together
by a copy.
"""

import builtins
import math

import numpy as np

from pynn import backend, dtypes
from pynn.autograd import Function
from pynn.backend import array_module, native, widen
from pynn.functional.arithmetic import as_float, astype, sqrt, square


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
        return reduced.reshape(self.spread_shape())

    def for_kernel(self, x, dtype):
        """x as (outer, n, inner), an empty y (outer, inner), and the workspace of sums in parts."""
        xp = array_module(x)
        x = self.three(x)
        y = xp.empty((x.shape[0], x.shape[2]), dtype)
        return x, y, xp.empty(builtins.min(x.size // 16, _WORKSPACE), np.float32)

    def three(self, x):
        """x as (outer, n, inner)."""
        order = _together(x.shape, self.axes)
        if order is not None:
            (x,) = backend.contiguous([x.transpose(order)])
        return x.reshape(self.three_axes())

    def three_axes(self):
        order = _together(self.shape, self.axes)
        if order is None:
            return _three_axes(self.shape, self.axes)
        kept = len(order) - len(self.axes)
        lengths = [self.shape[axis] for axis in order]
        return math.prod(lengths[:kept]), math.prod(lengths[kept:]), 1

    def from_three(self, dx):
        """A gradient (outer, n, inner) in x's shape."""
        order = _together(self.shape, self.axes)
        if order is None:
            return dx.reshape(self.shape)
        return dx.reshape([self.shape[axis] for axis in order]).transpose(np.argsort(order))

    def shaped(self, y):
        """(outer, inner) in the shape of the result."""
        return y.reshape(self.spread_shape() if self.keepdims else self.kept_shape())

    def kept_shape(self):
        return [n for i, n in enumerate(self.shape) if i not in self.axes]

    def spread_shape(self):
        return [1 if i in self.axes else n for i, n in enumerate(self.shape)]


_WORKSPACE = 1 << 19  # floats; more parts than fit would be too small to be worth a kernel


def _three_axes(shape, axes):
    """(outer, n, inner) where the axes are neighbours, axes of length 1 aside."""
    long = [a for a in sorted(axes) if shape[a] != 1]
    if not long:
        return math.prod(shape), 1, 1
    first, last = long[0], long[-1] + 1
    return math.prod(shape[:first]), math.prod(shape[first:last]), math.prod(shape[last:])


def _together(shape, axes):
    """The order that puts the axes last where others stand between them; None where none do."""
    long = [a for a in axes if shape[a] != 1]
    between = range(builtins.min(long, default=0), builtins.max(long, default=0))
    if builtins.all(shape[a] == 1 or a in axes for a in between):
        return None
    return [*(a for a in range(len(shape)) if a not in axes), *sorted(axes)]


class _Total(_Reduction):
    """The kernels of sums, divided by `count()`."""

    def count(self):
        return 1

    def forward_native(self, x):
        self.shape = x.shape
        x, y, workspace = self.for_kernel(x, x.dtype)
        native.sum_fwd(x, y, workspace, float(self.count()))
        return self.shaped(y)

    def backward_native(self, dy):
        outer, n, inner = self.three_axes()
        dx = array_module(dy).empty((outer, n, inner), dy.dtype)
        native.sum_bwd(dy.reshape(outer, inner), dx, float(self.count() or 1))
        return self.from_three(dx)


class Sum(_Total):
    """y = sum of x over axes;  dx = dy, broadcast."""

    def forward(self, x):
        self.shape = x.shape
        return widen(x).sum(axis=self.axes, keepdims=self.keepdims).astype(x.dtype, copy=False)

    def backward(self, dy):
        return array_module(dy).broadcast_to(self.spread(dy), self.shape)


class Mean(_Total):
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

    ties = None  # how many elements equal y, where the kernel counted them

    def forward_native(self, x):
        self.x, self.shape = x, x.shape
        x, y, workspace = self.for_kernel(x, x.dtype)
        self.ties = array_module(x).empty(y.shape, np.float32)
        getattr(native, self.which + "_fwd")(x, y, self.ties, workspace)
        self.y = self.shaped(y)
        return self.y

    def backward_native(self, dy):
        if self.ties is None:
            self.forward_native(self.x)
        x = self.three(self.x)
        dx = array_module(dy).empty_like(x)
        y, dy = (a.reshape(self.ties.shape) for a in (self.y, dy))
        native.extreme_bwd(x, y, self.ties, dy, dx)
        return self.from_three(dx)


class ExtremeIndex(_Reduction):
    """y = index of the first greatest or least element of x along axes, NaN before all others."""

    def __init__(self, axes, keepdims, which):
        super().__init__(axes, keepdims)
        self.which = which

    def forward(self, x):
        axis = None if len(self.axes) == x.ndim else self.axes[0]
        return getattr(x, self.which)(axis=axis, keepdims=self.keepdims)

    def forward_native(self, x):
        self.shape = x.shape
        x, y, workspace = self.for_kernel(x, np.int64)
        getattr(native, self.which + "_fwd")(x, y, workspace)
        return self.shaped(y)


class Truth(_Reduction):
    """y = whether all or any of x over axes is not zero;  bool."""

    no_kernel = "an answer to the host, not part of a training step"

    def __init__(self, axes, keepdims, which):
        super().__init__(axes, keepdims)
        self.which = which

    def forward(self, x):
        return getattr(x, self.which)(axis=self.axes, keepdims=self.keepdims)


class Cumsum(Function):
    """y[i] = x[0] + ... + x[i] along an axis;  dx[i] = dy[i] + dy[i+1] + ..."""

    strided = True

    def __init__(self, axis):
        self.axis = axis

    def forward(self, x):
        return widen(x).cumsum(axis=self.axis).astype(x.dtype, copy=False)

    def backward(self, dy):
        xp = array_module(dy)
        back = xp.flip(widen(xp.flip(dy, self.axis)).cumsum(axis=self.axis), self.axis)
        return xp.ascontiguousarray(back).astype(dy.dtype, copy=False)

    def forward_native(self, x):
        return self.scan(x, False)

    def backward_native(self, dy):
        return self.scan(dy, True)

    def scan(self, x, reverse):
        """Running sums of rows: the axis is brought to the end first."""
        xp = array_module(x)
        (x,) = backend.contiguous([x.swapaxes(self.axis, -1)])
        rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        y = xp.empty_like(rows)
        native.scan(rows, y, xp.empty(_SPLITS if rows.size > _SPLITS else 0, np.float64), reverse)
        return y.reshape(x.shape).swapaxes(self.axis, -1)


_SPLITS = 1 << 11  # of rows that are cut; twice what fills a GPU


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
        return (total if self.keepdims else total.reshape(self.kept_shape())).astype(
            x.dtype, copy=False
        )

    def backward(self, dy):
        xp = array_module(dy)
        lse = xp.where(xp.isneginf(self.lse), 0, self.lse)
        return (widen(self.spread(dy)) * xp.exp(widen(self.x) - lse)).astype(dy.dtype, copy=False)

    def forward_native(self, x):
        self.x, self.shape = x, x.shape
        rows, y, workspace = self.for_kernel(x, np.float32)
        native.logsumexp_fwd(rows, y, workspace)
        self.lse = y.reshape(self.spread_shape())
        return as_float(self.shaped(y), x.dtype)

    def backward_native(self, dy):
        x = self.three(self.x)
        dx = array_module(dy).empty_like(x)
        outputs = x.shape[0], x.shape[2]
        native.logsumexp_bwd(x, self.lse.reshape(outputs), dy.reshape(outputs), dx)
        return self.from_three(dx)


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
    return _extreme_index(x, axis, keepdims, "argmax")


def argmin(x, axis=None, keepdims=False):
    """Index of the least element along an axis (int64), the first of several; a NaN counts as
    least.
    """
    return _extreme_index(x, axis, keepdims, "argmin")


def _extreme_index(x, axis, keepdims, op):
    axes = _axes(x, axis, op)
    if axis is not None and len(axes) != 1:
        raise ValueError(f"[{op}] expected one axis or None, got {axis}")
    if builtins.any(x.shape[a] == 0 for a in axes):
        raise ValueError(
            f"[{op}] expected at least one element along axis {axis}, got shape {x.shape}"
        )
    return ExtremeIndex(axes, keepdims, op)(x.detach())


def all(x, axis=None, keepdims=False):
    """Whether every element over the axes is non-zero."""
    return Truth(_axes(x, axis, "all"), keepdims, "all")(x.detach())


def any(x, axis=None, keepdims=False):
    """Whether some element over the axes is non-zero."""
    return Truth(_axes(x, axis, "any"), keepdims, "any")(x.detach())


def cumsum(x, axis):
    """Running sum along an axis."""
    return Cumsum(_axes(x, axis, "cumsum")[0])(x)


def logsumexp(x, axis=None, keepdims=False):
    """log(sum(exp(x))) over axes without overflow."""
    return Logsumexp(_axes(x, axis, "logsumexp"), keepdims)(x)


def norm(x, axis=None, keepdims=False):
    """Euclidean norm over axes: sqrt(sum x^2)."""
    return sqrt(sum(square(x), axis, keepdims))
