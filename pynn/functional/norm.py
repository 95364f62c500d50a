"""Normalizations: batch, group, instance (channels last), layer and root mean square (last axes).

All take mean and variance in two passes, the second over d = x - mean and corrected by what the
mean was off (Chan, Golub, LeVeque 1983, "Algorithms for computing the sample variance"), so a mean
of 1e4 beside a spread of 1e-3 costs no digits in float32. Where squares would leave float32's
range, the pass is run again in float64: values of 1e30 are normalized like any others. In float64
the squares overflow from 1e154 on, and the result is 0.

Over 400 lines because the six ops share their sums and their checks.
"""

import math

import numpy as np

from pynn import dtypes
from pynn.autograd import Function, touch
from pynn.backend import array_module, native, widen
from pynn.functional.activation import float_input
from pynn.functional.linear import as_rows, check_dtypes

_quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore")
_WORKSPACE = (
    1 << 22
)  # floats, for the kernels' sums over rows: beyond, they would only be read again
_BLOCK = 256  # rows summed in x's dtype; the blocks' sums are added in float64


class _Affine(Function):
    """A normalization whose inputs are x, then the weight and the bias if there are such."""

    def __init__(self, eps, has_weight, has_bias):
        self.eps, self.has_weight, self.has_bias = eps, has_weight, has_bias

    def split(self, affine):
        """(weight, bias) out of the inputs after x, in float32 or wider; None where left out."""
        affine = [widen(a) for a in affine]
        return (
            affine[0] if self.has_weight else None,
            affine[-1] if self.has_bias else None,
        )

    def gradients(self, dx, dw, db):
        """The gradients of the inputs there are, in their dtype."""
        given = [dx] + [dw] * self.has_weight + [db] * self.has_bias
        return tuple(
            g.astype(self.dtype, copy=False) if need else None
            for g, need in zip(given, self.needs, strict=True)
        )

    def split_native(self, x, affine):
        """Keeps x and the weight; (weight, bias) as rows of x's dtype, empty where left out."""
        self.x, self.dtype, self.shape = x, x.dtype, x.shape
        none = array_module(x).empty(0, x.dtype)
        self.w = affine[0].reshape(-1) if self.has_weight else None
        bias = affine[-1].reshape(-1) if self.has_bias else none
        return none if self.w is None else self.w, bias

    def kept_native(self):
        """x and the weight as the kernels take them, whichever forward ran."""
        x = self.x.astype(self.dtype, copy=False)
        if self.w is None:
            return x, array_module(x).empty(0, x.dtype)
        return x, self.w.astype(self.dtype, copy=False)

    def empty_gradients(self, x, C):
        """dx, dw and db to be filled, empty where not wanted."""
        xp, needs = array_module(x), self.needs
        dw, db = self.has_weight and needs[1], self.has_bias and needs[-1]
        return (
            xp.empty(x.shape if needs[0] else 0, x.dtype),
            xp.empty(C if dw else 0, x.dtype),
            xp.empty(C if db else 0, x.dtype),
        )


class GroupNorm(_Affine):
    """y = (x - mean) rstd w + b,  rstd = 1 / sqrt(var + eps), over space and a group of channels.

    x is seen as (N, L, C), mean and rstd are (N, groups), n = L C / groups. With g = dy w:
    dx = rstd (g - sum g / n - xhat sum(g xhat) / n),  dw = sum dy xhat,  db = sum dy,
    xhat = (x - mean) rstd.  Wu and He 2018, arXiv:1803.08494.
    """

    def __init__(self, groups, eps, has_weight, has_bias):
        super().__init__(eps, has_weight, has_bias)
        self.groups = groups

    def view(self, x):
        return x.reshape(x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1])

    def fold(self, sums):
        """(N, C) summed over each group's channels: (N, groups)."""
        N, C = sums.shape
        return sums.reshape(N, self.groups, C // max(1, self.groups)).sum(axis=2)

    def spread(self, statistic):
        """(N, groups) as (N, C)."""
        return array_module(statistic).repeat(statistic, self.members, axis=1)

    @_quiet
    def forward(self, x, *affine):
        self.x, self.dtype, self.shape = x, x.dtype, x.shape
        self.members = x.shape[-1] // max(1, self.groups)
        self.w, b = self.split(affine)
        d, delta = self.moments(self.view(widen(x)))
        if not _in_range(self.var + self.eps):
            self.x = x.astype(np.float64)
            d, delta = self.moments(self.view(self.x))
        self.rstd = 1 / array_module(x).sqrt(self.var + self.eps)
        self.observe(d.shape[1])
        y = _scale_and_shift(d, self.spread(self.rstd), self.spread(delta), self.w, b)
        return y.reshape(x.shape).astype(x.dtype, copy=False)

    def moments(self, x):
        """Leaves mean and var; returns d = x - mean, rounded, and what the mean of d still is."""
        n = max(1, x.shape[1] * self.members)
        mean = self.fold(_sums(x)) / n
        d, _ = _minus_mean(x, self.spread(mean))
        delta = self.fold(_sums(d)) / n
        self.mean = mean.astype(x.dtype).astype(np.float64) + delta
        self.var = array_module(x).maximum(self.fold(_sums(d * d)) / n - delta * delta, 0)
        return d, delta

    def observe(self, count):
        """Called once mean and var, of `count` rows, are known."""

    @_quiet
    def backward(self, dy):
        d, low = _minus_mean(self.view(widen(self.x)), self.spread(self.mean))
        dy = self.view(widen(dy)).astype(d.dtype, copy=False)
        rstd = self.spread(self.rstd)
        product = dy * d
        sum_dy = _sums(dy)
        sum_dy_xhat = (_sums(product) - low * sum_dy) * rstd
        dx = None
        if self.needs[0]:
            n = max(1, d.shape[1] * self.members)
            w = 1 if self.w is None else self.w
            mean_g = self.spread(self.fold(sum_dy * w) / n)
            slope = rstd * rstd * self.spread(self.fold(sum_dy_xhat * w) / n)
            d *= _beside(-slope, d)
            d += _beside(low * slope - rstd * mean_g, d)
            d += array_module(dy).multiply(dy, _beside(rstd * w, d), out=product)
            dx = d.reshape(self.shape)
        return self.gradients(dx, sum_dy_xhat.sum(axis=0), sum_dy.sum(axis=0))

    running, momentum = None, 0.0

    def forward_native(self, x, *affine):
        xp, seen, y = array_module(x), self.view(x), array_module(x).empty_like(x)
        (N, _, C), G = seen.shape, self.groups
        self.members = C // max(1, G)
        weight, bias = self.split_native(x, affine)
        self.mean, self.rstd = xp.empty((N, G)), xp.empty((N, G))
        none = xp.empty(0, np.float32)
        mean, var = self.running or (none, none)
        self.running = None
        workspace = xp.empty(_room(6 * N * C, x), np.float32)
        native.group_moments(
            seen, self.mean, self.rstd, mean, var, workspace, self.eps, self.momentum
        )
        native.group_apply(seen, self.mean, self.rstd, weight, bias, self.view(y))
        return y

    def backward_native(self, dy):
        x, w = self.kept_native()
        seen = self.view(x)
        N, _, C = seen.shape
        dx, dw, db = self.empty_gradients(x, C)
        workspace = array_module(x).empty(
            4 * N * (C + self.mean.shape[1]) + _room(4 * N * C, x), np.float32
        )
        flat = self.view(dx) if self.needs[0] else dx
        native.group_norm_bwd(seen, self.view(dy), w, self.mean, self.rstd, flat, dw, db, workspace)
        return self.gradients(dx, dw, db)


class InstanceNorm(GroupNorm):
    """As GroupNorm with one channel in a group.  Ulyanov et al. 2016, arXiv:1607.08022."""


class BatchNorm(GroupNorm):
    """y = (x - mean) rstd w + b,  rstd = 1 / sqrt(var + eps), over all axes but the last.

    `running` (mean, var) arrays move towards the batch's in place, by `momentum` of the way, with
    the variance over n - 1; an empty batch leaves them. Gradients as in GroupNorm; what the
    statistics depend on counts.  Ioffe and Szegedy 2015, arXiv:1502.03167.
    """

    def __init__(self, channels, eps, has_weight, has_bias, running=None, momentum=0.1):
        super().__init__(channels, eps, has_weight, has_bias)
        self.running, self.momentum = running, momentum

    def view(self, x):
        return as_rows(x)[None]

    def observe(self, count):
        running, self.running = self.running, None  # the backward does not need it
        if running is None or not count:
            return
        batch = self.mean[0], self.var[0] * (count / max(1, count - 1))
        for old, new in zip(running, batch, strict=True):
            old[...] = (1 - self.momentum) * widen(old) + self.momentum * new

    def takes_native(self, arrays):
        kept = self.running or ()
        return super().takes_native(arrays) and all(
            a.dtype == np.float32 and a.flags.c_contiguous for a in kept
        )


class BatchNormEval(_Affine):
    """y = (x - mean) rstd w + b with a given mean and variance, constants to the gradient.

    dx = dy rstd w,  dw = sum dy xhat,  db = sum dy.
    """

    @_quiet
    def __init__(self, running, eps, has_weight, has_bias):
        super().__init__(eps, has_weight, has_bias)
        self.mean, var = (a.astype(np.float64)[None] for a in running)
        self.rstd = 1 / array_module(var).sqrt(var + eps)

    def view(self, x):
        return as_rows(x)[None]

    @_quiet
    def forward(self, x, *affine):
        self.x, self.dtype, self.shape = x, x.dtype, x.shape
        self.w, b = self.split(affine)
        d, low = _minus_mean(self.view(widen(x)), self.mean)
        y = _scale_and_shift(d, self.rstd, low, self.w, b)
        return y.reshape(x.shape).astype(x.dtype, copy=False)

    @_quiet
    def backward(self, dy):
        dy = self.view(widen(dy))
        dx = sum_dy_xhat = sum_dy = None
        if any(self.needs[1:]):
            d, low = _minus_mean(self.view(widen(self.x)), self.mean)
            sum_dy = _sums(dy)
            sum_dy_xhat = ((_sums(dy * d) - low * sum_dy) * self.rstd)[0]
            sum_dy = sum_dy[0]
        if self.needs[0]:
            scale = self.rstd if self.w is None else self.rstd * self.w
            dx = (dy * _beside(scale, dy)).reshape(self.shape)
        return self.gradients(dx, sum_dy_xhat, sum_dy)

    def forward_native(self, x, *affine):
        y = array_module(x).empty_like(x)
        weight, bias = self.split_native(x, affine)
        native.group_apply(self.view(x), self.mean, self.rstd, weight, bias, self.view(y))
        return y

    def backward_native(self, dy):
        xp, (x, w) = array_module(dy), self.kept_native()
        seen, C = self.view(x), x.shape[-1]
        dx, dw, db = self.empty_gradients(x, C)
        none = xp.empty(0, x.dtype)
        if self.needs[0]:  # dy rstd w is what normalizes dy about a mean of 0
            zero = xp.zeros_like(self.mean)
            native.group_apply(self.view(dy), zero, self.rstd, w, none, self.view(dx))
        if dw.size or db.size:
            workspace = xp.empty(8 * C + _room(4 * C, x), np.float32)
            native.group_norm_bwd(
                seen, self.view(dy), w, self.mean, self.rstd, none, dw, db, workspace
            )
        return self.gradients(dx, dw, db)


class LayerNorm(_Affine):
    """y = (x - mean) rstd w + b,  rstd = 1 / sqrt(var + eps), over the last `axes` axes.

    x is seen as (R, C), mean and rstd are (R,). With g = dy w:
    dx = rstd (g - sum g / C - xhat sum(g xhat) / C),  dw = sum dy xhat,  db = sum dy.
    Ba, Kiros, Hinton 2016, arXiv:1607.06450.
    """

    def __init__(self, axes, eps, has_weight, has_bias):
        super().__init__(eps, has_weight, has_bias)
        self.axes = axes

    def view(self, x):
        cut = x.ndim - self.axes
        return x.reshape(math.prod(x.shape[:cut]), math.prod(x.shape[cut:]))

    def keep(self, x, affine):
        self.x, self.dtype, self.shape = x, x.dtype, x.shape
        w, b = self.split(affine)
        self.w = None if w is None else w.reshape(-1)
        return b

    def shaped(self, gradient):
        return gradient.reshape(self.shape[len(self.shape) - self.axes :])

    @_quiet
    def forward(self, x, *affine):
        b = self.keep(x, affine)
        d, delta = self.moments(self.view(widen(x)))
        if not _in_range(self.var + self.eps):
            self.x = x.astype(np.float64)
            d, delta = self.moments(self.view(self.x))
        self.rstd = 1 / array_module(x).sqrt(self.var + self.eps)
        d *= _beside(self.rstd, d)
        d += _beside(-delta * self.rstd, d)
        if self.w is not None:
            d *= self.w
        if b is not None:
            d += b.reshape(-1)
        return d.reshape(x.shape).astype(x.dtype, copy=False)

    def moments(self, x):
        """Leaves mean and var; returns d = x - mean, rounded, and what the mean of d still is."""
        n = max(1, x.shape[1])
        mean = _sums(x.T) / n
        d, _ = _minus_mean(x, mean)
        delta = _sums(d.T) / n
        self.mean = mean.astype(x.dtype).astype(np.float64) + delta
        self.var = array_module(x).maximum(_sums((d * d).T) / n - delta * delta, 0)
        return d, delta

    @_quiet
    def backward(self, dy):
        d, low = _minus_mean(self.view(widen(self.x)), self.mean)
        dy = self.view(widen(dy)).astype(d.dtype, copy=False)
        rstd, n = self.rstd, max(1, d.shape[1])
        product = dy * d
        dw = db = dx = None
        if self.has_weight:
            scale = rstd.astype(d.dtype, copy=False)
            dw = self.shaped(scale @ product - (rstd * low).astype(d.dtype, copy=False) @ dy)
        if self.has_bias:
            db = self.shaped(_sums(dy))
        if self.needs[0]:
            sum_g = _dots(dy, self.w)
            sum_g_xhat = (_dots(product, self.w) - low * sum_g) * rstd
            slope = rstd * sum_g_xhat / n
            g = dy if self.w is None else array_module(dy).multiply(dy, self.w, out=product)
            d *= _beside(-slope, d)
            d += g
            d += _beside(low * slope - sum_g / n, d)
            d *= _beside(rstd, d)
            dx = d.reshape(self.shape)
        return self.gradients(dx, dw, db)

    def forward_native(self, x, *affine):
        xp, rows, y = array_module(x), self.view(x), array_module(x).empty_like(x)
        weight, bias = self.split_native(x, affine)
        self.mean, self.rstd = xp.empty(len(rows)), xp.empty(len(rows))
        native.layer_norm_fwd(rows, weight, bias, self.view(y), self.mean, self.rstd, self.eps)
        return y

    def backward_native(self, dy):
        x, w = self.kept_native()
        dx, dw, db = self.empty_gradients(x, self.view(x).shape[1])
        rows = self.view(x), self.view(dy), w, self.mean, self.rstd
        flat = self.view(dx) if self.needs[0] else dx
        native.layer_norm_bwd(*rows, flat, dw, db, self.workspace(x, dw.size + db.size))
        return self.gradients(dx, *(self.shaped(g) if g.size else g for g in (dw, db)))

    def workspace(self, x, sums):
        """Room for parts of the sums over rows, if there are such."""
        R, C = self.view(x).shape
        room = max(2 * C, min(_WORKSPACE, 2 * C * (R // 4)))
        return array_module(x).empty(room if sums else 0, np.float32)


class RMSNorm(LayerNorm):
    """y = x rstd w,  rstd = 1 / sqrt(mean(x^2) + eps), over the last `axes` axes.

    dx = rstd (g - xhat sum(g xhat) / C),  g = dy w,  xhat = x rstd;  dw = sum dy xhat.
    Zhang and Sennrich 2019, arXiv:1910.07467.
    """

    def __init__(self, axes, eps, has_weight):
        super().__init__(axes, eps, has_weight, False)

    @_quiet
    def forward(self, x, *affine):
        self.keep(x, affine)
        wide = self.view(widen(x))
        square = _mean_square(wide)
        if not _in_range(square + self.eps):
            self.x = x.astype(np.float64)
            wide = self.view(self.x)
            square = _mean_square(wide)
        self.rstd = 1 / array_module(x).sqrt(square + self.eps)
        y = wide * _beside(self.rstd, wide)
        if self.w is not None:
            y *= self.w
        return y.reshape(x.shape).astype(x.dtype, copy=False)

    @_quiet
    def backward(self, dy):
        x = self.view(widen(self.x))
        dy = self.view(widen(dy)).astype(x.dtype, copy=False)
        rstd, n = self.rstd, max(1, x.shape[1])
        product = dy * x
        dw = dx = None
        if self.has_weight:
            dw = self.shaped(rstd.astype(x.dtype, copy=False) @ product)
        if self.needs[0]:
            slope = rstd * rstd * _dots(product, self.w) / n
            dx = x * _beside(-slope, x)
            dx += dy if self.w is None else array_module(dy).multiply(dy, self.w, out=product)
            dx *= _beside(rstd, x)
            dx = dx.reshape(self.shape)
        return self.gradients(dx, dw, None)

    def forward_native(self, x, *affine):
        rows, y = self.view(x), array_module(x).empty_like(x)
        weight, _ = self.split_native(x, affine)
        self.rstd = array_module(x).empty(len(rows))
        native.rms_norm_fwd(rows, weight, self.view(y), self.rstd, self.eps)
        return y

    def backward_native(self, dy):
        x, w = self.kept_native()
        dx, dw, _ = self.empty_gradients(x, self.view(x).shape[1])
        flat = self.view(dx) if self.needs[0] else dx
        rows = self.view(x), self.view(dy), w, self.rstd
        native.rms_norm_bwd(*rows, flat, dw, self.workspace(x, dw.size))
        return self.gradients(dx, self.shaped(dw) if dw.size else dw, None)


# ------------------------------------------------------------------ sums


def _sums(x):
    """Sums over the last axis but one, (..., L, C) -> (..., C), in float64.

    Blocks of rows are summed by products with ones, several times faster than `sum` in NumPy.
    """
    xp = array_module(x)
    L, C = x.shape[-2:]
    whole = L // _BLOCK * _BLOCK
    rest = xp.matmul(xp.ones((1, L - whole), x.dtype), x[..., whole:, :])[..., 0, :]
    rest = rest.astype(np.float64, copy=False)
    if not whole:
        return rest
    blocks = x[..., :whole, :].reshape(*x.shape[:-2], L // _BLOCK, _BLOCK, C)
    sums = xp.matmul(xp.ones((1, _BLOCK), x.dtype), blocks)[..., 0, :]
    return sums.sum(axis=-2, dtype=np.float64) + rest


def _dots(x, w):
    """The products of x's rows with w, or with ones, in float64."""
    return _sums(x.T) if w is None else (x @ w.astype(x.dtype, copy=False)).astype(np.float64)


def _mean_square(x):
    return _sums((x * x).T) / max(1, x.shape[1])


def _room(least, x):
    """Floats for the kernels' parts of sums down the columns of x, of which one takes `least`."""
    return least * max(1, min(1024, _WORKSPACE // max(1, least), x.size // (16 * max(1, least))))


def _in_range(variance):
    """Whether float32 held the squares that made the variance, and will hold rstd^2."""
    return bool(((variance > 1e-30) & (variance < 1e30)).all())


def _beside(statistic, x):
    """(N, C) to broadcast against (N, L, C), or (R,) against (R, C), in x's dtype."""
    return statistic.astype(x.dtype, copy=False)[:, None]


def _minus_mean(x, mean):
    """d = x - mean rounded to x's dtype, and the part of the mean (float64) that rounding left."""
    high = mean.astype(x.dtype)
    return x - _beside(high, x), mean - high


def _scale_and_shift(d, rstd, delta, w, b):
    """(d - delta) rstd w + b for (N, L, C), in d's memory; the rest is (N, C)."""
    scale = rstd if w is None else rstd * w
    shift = -delta * scale
    d *= _beside(scale, d)
    d += _beside(shift if b is None else shift + b, d)
    return d


# ------------------------------------------------------------------ public functions


def batch_norm(
    x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
):
    """Normalize each channel over the batch:  y = (x - mean) / sqrt(var + eps) * weight + bias.

    x             (..., C)  any float, channels last: (N, C), (N, L, C), (N, H, W, C), ...
    running_mean  (C,)      float tensors without gradient; None and None if not kept
    running_var   (C,)
    weight, bias  (C,)      dtype of x, or None
    training      take mean and variance of the batch, and move the running ones towards them in
                  place: running = (1 - momentum) running + momentum batch, the variance over n - 1;
                  an empty batch leaves them. Otherwise take the running ones.
    returns (..., C)  dtype of x; statistics and sums are f32 or wider

    Raises ValueError for shapes that do not fit, one value per channel in training, or running
    statistics missing outside of it; TypeError for dtypes.
    Ioffe and Szegedy 2015, arXiv:1502.03167.
    """
    op = "batch_norm"
    _check(op, x, 2, weight=weight, bias=bias)
    _check_eps(op, eps)
    kept = [t for t in (running_mean, running_var) if t is not None]
    for name, t in zip(("running_mean", "running_var"), (running_mean, running_var), strict=True):
        if len(kept) == 1 or (t is None and not training):
            raise ValueError(
                f"[{op}] {name}: expected running_mean and running_var"
                f"{', or neither in training' if training else ''}, got {len(kept)} of them"
            )
        if t is not None:
            _check_shape(op, x, name, t, x.shape[-1:])
            float_input(op, t)
    running = tuple(t.data for t in kept) or None
    affine = [t for t in (weight, bias) if t is not None]
    has = weight is not None, bias is not None
    if not training:
        return BatchNormEval(running, eps, *has)(x, *affine)
    if math.prod(x.shape[:-1]) == 1:
        raise ValueError(
            f"[{op}] x: expected more than one value per channel in training, got shape {x.shape}"
        )
    y = BatchNorm(x.shape[-1], eps, *has, running, momentum)(x, *affine)
    for t in kept:
        touch(t, op)
    return y


def group_norm(x, num_groups, weight=None, bias=None, eps=1e-5):
    """Normalize each sample over space and a group of channels.

    x             (N, ..., C)  any float, channels last
    num_groups    divides C
    weight, bias  (C,)         dtype of x, or None
    returns (N, ..., C)  dtype of x; statistics and sums are f32 or wider

    Raises ValueError for shapes that do not fit, TypeError for dtypes.
    Wu and He 2018, arXiv:1803.08494.
    """
    _check("group_norm", x, 2, weight=weight, bias=bias)
    _check_eps("group_norm", eps)
    if num_groups < 1 or x.shape[-1] % num_groups:
        raise ValueError(
            f"[group_norm] num_groups: expected a divisor of the {x.shape[-1]} channels, "
            f"got {num_groups}"
        )
    op = GroupNorm(num_groups, eps, weight is not None, bias is not None)
    return op(x, *(t for t in (weight, bias) if t is not None))


def instance_norm(x, weight=None, bias=None, eps=1e-5):
    """Normalize each channel of each sample over space.

    x             (N, ..., C)  any float, channels last, at least one axis between
    weight, bias  (C,)         dtype of x, or None
    returns (N, ..., C)  dtype of x; statistics and sums are f32 or wider

    Raises ValueError for shapes that do not fit, TypeError for dtypes.
    Ulyanov, Vedaldi, Lempitsky 2016, arXiv:1607.08022.
    """
    _check("instance_norm", x, 3, weight=weight, bias=bias)
    _check_eps("instance_norm", eps)
    op = InstanceNorm(x.shape[-1], eps, weight is not None, bias is not None)
    return op(x, *(t for t in (weight, bias) if t is not None))


def layer_norm(x, weight=None, bias=None, eps=1e-5, axes=1):
    """Normalize over the last axis:  y = (x - mean) / sqrt(var + eps) * weight + bias.

    x             (..., C)  any float
    weight, bias  (C,)      dtype of x, or None
    axes          how many trailing axes are normalized together; weight and bias have their shape
    returns (..., C)  dtype of x; mean, rstd and sums are f32 or wider

    Raises ValueError if weight or bias is not (C,), TypeError for dtypes.
    Ba, Kiros, Hinton 2016, arXiv:1607.06450.
    """
    _check("layer_norm", x, axes, axes=axes, weight=weight, bias=bias)
    _check_eps("layer_norm", eps)
    op = LayerNorm(axes, eps, weight is not None, bias is not None)
    return op(x, *(t for t in (weight, bias) if t is not None))


def rms_norm(x, weight=None, eps=None, axes=1):
    """Divide by the root mean square of the last axis:  y = x / sqrt(mean(x^2) + eps) * weight.

    x       (..., C)  any float
    weight  (C,)      dtype of x, or None
    eps     None means the epsilon of the dtype that is computed in: 1.2e-7 up to float32
    axes    how many trailing axes are normalized together; weight has their shape
    returns (..., C)  dtype of x; the mean and sums are f32 or wider

    Raises ValueError if weight is not (C,), TypeError for dtypes.
    Zhang and Sennrich 2019, arXiv:1910.07467.
    """
    _check("rms_norm", x, axes, axes=axes, weight=weight)
    if eps is None:
        eps = float(np.finfo(np.float64 if x.dtype == dtypes.float64 else np.float32).eps)
    _check_eps("rms_norm", eps)
    op = RMSNorm(axes, eps, weight is not None)
    return op(x) if weight is None else op(x, weight)


def _check(op, x, ndim, axes=1, **affine):
    float_input(op, x)
    if axes < 1:
        raise ValueError(f"[{op}] axes: expected at least 1, got {axes}")
    if x.ndim < ndim:
        raise ValueError(f"[{op}] x: expected at least {ndim} axes, got shape {x.shape}")
    for name, t in affine.items():
        if t is not None:
            _check_shape(op, x, name, t, x.shape[x.ndim - axes :])
    check_dtypes(op, x, **affine)


def _check_shape(op, x, name, t, shape):
    if t.shape != shape:
        hint = " (images are NHWC)" if x.ndim == 4 and t.shape == x.shape[1:2] else ""
        raise ValueError(f"[{op}] {name}: expected shape {shape}, got {t.shape}{hint}")


def _check_eps(op, eps):
    if not eps >= 0:
        raise ValueError(f"[{op}] eps: expected a number >= 0, got {eps}")
