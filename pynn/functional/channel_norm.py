"""Normalization of channels, which stand on the last axis: batch, group, instance.

The kernels stand in csrc/kernels/norm/group*.cu.
"""

import math

import numpy as np

from pynn.backend import array_module, native, widen
from pynn.functional.linear import as_rows
from pynn.functional.standardize import (
    Affine,
    beside,
    in_range,
    minus_mean,
    quiet,
    room,
    scale_and_shift,
    sums,
)


class GroupNorm(Affine):
    """y = f((x - mean) rstd w + b),  rstd = 1 / sqrt(var + eps), over space and some channels.

    x is seen as (N, L, C), mean and rstd are (N, groups), n = L C / groups. With g = dz w:
    dx = rstd (g - sum g / n - xhat sum(g xhat) / n),  dw = sum dz xhat,  db = sum dz,
    xhat = (x - mean) rstd,  dz = dy f'(z).  Wu and He 2018, arXiv:1803.08494.

    Where an op `adds`, its last input is a residual like x, added before f, whose gradient is dz; f
    is None or "relu" then.
    """

    adds = False
    residual = None  # kept where dz is not dy

    def __init__(self, groups, eps, has_weight, has_bias, activation=None):
        super().__init__(eps, has_weight, has_bias, activation)
        self.groups = groups

    def without_residual(self, rest):
        """(residual or None, the other inputs after x); keeps the residual where f needs it."""
        residual, affine = (rest[-1], rest[:-1]) if self.adds else (None, rest)
        self.residual = None if self.activation is None else residual
        return residual, affine

    def normalized(self, x, d, rstd, delta, affine, residual):
        """f((d - delta) rstd w + b + residual), in d's memory, as x is."""
        w, b = affine
        z = scale_and_shift(d, rstd, delta, w, b)
        if residual is not None:
            z += self.view(residual)
        return self.activate(z).reshape(x.shape).astype(x.dtype, copy=False)

    def to_dz(self, dy, d, rstd, delta):
        """dz from dy; d is left as it is."""

        def z():
            z = scale_and_shift(d.copy(), rstd, delta, self.w, self.b)
            if self.residual is not None:
                z += self.view(self.residual)
            return z

        return self.before_activation(dy, z)

    def with_residual(self, gradients, dz):
        """The gradients and, behind them, the residual's: dz like x, or None."""
        if not self.adds:
            return gradients
        wanted = self.needs[-1]
        dz = dz.reshape(self.shape).astype(self.dtype, copy=False) if wanted else None
        return *gradients, dz

    def view(self, x):
        return x.reshape(x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1])

    def fold(self, sums):
        """(N, C) summed over each group's channels: (N, groups)."""
        N, C = sums.shape
        return sums.reshape(N, self.groups, C // max(1, self.groups)).sum(axis=2)

    def spread(self, statistic):
        """(N, groups) as (N, C)."""
        return array_module(statistic).repeat(statistic, self.members, axis=1)

    @quiet
    def forward(self, x, *rest):
        self.x, self.dtype, self.shape = x, x.dtype, x.shape
        self.members = x.shape[-1] // max(1, self.groups)
        residual, affine = self.without_residual(rest)
        self.w, b = self.split(affine)
        d, delta = self.moments(self.view(widen(x)))
        if not in_range(self.var + self.eps):
            self.x = x.astype(np.float64)
            d, delta = self.moments(self.view(self.x))
        self.rstd = 1 / array_module(x).sqrt(self.var + self.eps)
        self.observe(d.shape[1])
        how = self.spread(self.rstd), self.spread(delta), (self.w, b)
        return self.normalized(x, d, *how, residual)

    def moments(self, x):
        """Leaves mean and var; returns d = x - mean, rounded, and what the mean of d still is."""
        n = max(1, x.shape[1] * self.members)
        mean = self.fold(sums(x)) / n
        d, _ = minus_mean(x, self.spread(mean))
        delta = self.fold(sums(d)) / n
        self.mean = mean.astype(x.dtype).astype(np.float64) + delta
        self.var = array_module(x).maximum(self.fold(sums(d * d)) / n - delta * delta, 0)
        return d, delta

    def observe(self, count):
        """Called once mean and var, of `count` rows, are known."""

    @quiet
    def backward(self, dy):
        d, low = minus_mean(self.view(widen(self.x)), self.spread(self.mean))
        dy = self.view(widen(dy)).astype(d.dtype, copy=False)
        rstd = self.spread(self.rstd)
        dz = dy = self.to_dz(dy, d, rstd, low)
        product = dy * d
        sum_dy = sums(dy)
        sum_dy_xhat = (sums(product) - low * sum_dy) * rstd
        dx = None
        if self.needs[0]:
            n = max(1, d.shape[1] * self.members)
            w = 1 if self.w is None else self.w
            mean_g = self.spread(self.fold(sum_dy * w) / n)
            slope = rstd * rstd * self.spread(self.fold(sum_dy_xhat * w) / n)
            d *= beside(-slope, d)
            d += beside(low * slope - rstd * mean_g, d)
            d += array_module(dy).multiply(dy, beside(rstd * w, d), out=product)
            dx = d.reshape(self.shape)
        gradients = self.gradients(dx, sum_dy_xhat.sum(axis=0), sum_dy.sum(axis=0))
        return self.with_residual(gradients, dz)

    running, momentum = None, 0.0

    def forward_native(self, x, *rest):
        xp, seen = array_module(x), self.view(x)
        (N, _, C), G = seen.shape, self.groups
        self.members = C // max(1, G)
        self.mean, self.rstd = xp.empty((N, G)), xp.empty((N, G))
        none = xp.empty(0, np.float32)
        mean, var = self.running or (none, none)
        self.running = None
        parts, self.parts = self.parts, None
        how = self.mean, self.rstd, mean, var
        if parts is None:
            workspace = xp.empty(room(4 * N * C, x), np.float32)
            native.group_moments(seen, *how, workspace, self.eps, self.momentum)
        else:
            native.group_statistics(seen, parts, *how, self.eps, self.momentum)
        return self.apply_native(x, rest)

    def apply_native(self, x, rest):
        y = array_module(x).empty_like(x)
        residual, affine = self.without_residual(rest)
        affine = self.split_native(x, affine)
        residual = self.view_or_nothing(x, residual)
        inputs = self.view(x), self.mean, self.rstd, *affine, residual
        native.group_apply(*inputs, self.view(y), self.activation_code)
        return y

    def view_or_nothing(self, x, like_x):
        return array_module(x).empty(0, x.dtype) if like_x is None else self.view(like_x)

    parts = None  # of the moments of x, where who made it left them
    constant = False  # whether mean and rstd do not depend on x

    def backward_native(self, dy):
        x, *affine = self.kept_native()
        seen = self.view(x)
        N, _, C = seen.shape
        dx, *sums = self.empty_gradients(x, C)
        workspace = array_module(x).empty(
            4 * N * (C + self.mean.shape[1]) + room(4 * N * C, x), np.float32
        )
        dz = None if self.residual is None else array_module(x).empty_like(x)
        gradients = [self.view(dx) if self.needs_dx else dx, *sums, self.view_or_nothing(x, dz)]
        affine.append(self.view_or_nothing(x, self.residual))
        inputs = seen, self.view(dy), *affine, self.mean, self.rstd
        native.group_norm_bwd(*inputs, gradients, workspace, self.activation_code, self.constant)
        return self.with_residual(self.gradients(dx, *sums), dy if dz is None else dz)


class InstanceNorm(GroupNorm):
    """As GroupNorm with one channel in a group.  Ulyanov et al. 2016, arXiv:1607.08022."""


class BatchNorm(GroupNorm):
    """y = f((x - mean) rstd w + b),  rstd = 1 / sqrt(var + eps), over all axes but the last.

    `running` (mean, var) arrays move towards the batch's in place, by `momentum` of the way, with
    the variance over n - 1; an empty batch leaves them. Gradients as in GroupNorm; what the
    statistics depend on counts. Kernels take the moments from `parts`, if x came with some, and not
    from x.  Ioffe and Szegedy 2015, arXiv:1502.03167.
    """

    def __init__(
        self,
        channels,
        eps,
        has_weight,
        has_bias,
        running=None,
        momentum=0.1,
        activation=None,
        adds=False,
        parts=None,
    ):
        super().__init__(channels, eps, has_weight, has_bias, activation)
        self.running, self.momentum, self.adds, self.parts = running, momentum, adds, parts

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


class BatchNormEval(GroupNorm):
    """y = f((x - mean) rstd w + b) with a given mean and variance, constants to the gradient.

    dx = dz rstd w,  dw = sum dz xhat,  db = sum dz,  dz = dy f'(z).
    """

    constant = True

    @quiet
    def __init__(self, running, eps, has_weight, has_bias, activation=None, adds=False):
        self.mean, var = (a.astype(np.float64)[None] for a in running)
        super().__init__(self.mean.shape[1], eps, has_weight, has_bias, activation)
        self.adds = adds
        self.rstd = 1 / array_module(var).sqrt(var + eps)

    def view(self, x):
        return as_rows(x)[None]

    @quiet
    def forward(self, x, *rest):
        self.x, self.dtype, self.shape = x, x.dtype, x.shape
        residual, affine = self.without_residual(rest)
        self.w, b = self.split(affine)
        d, low = minus_mean(self.view(widen(x)), self.mean)
        return self.normalized(x, d, self.rstd, low, (self.w, b), residual)

    @quiet
    def backward(self, dy):
        dy = self.view(widen(dy))
        dx = sum_dy_xhat = sum_dy = None
        if self.activation or any(self.needs[1:]):
            d, low = minus_mean(self.view(widen(self.x)), self.mean)
            dy = self.to_dz(dy, d, self.rstd, low)
        if any(self.needs[1:]):
            sum_dy = sums(dy)
            sum_dy_xhat = ((sums(dy * d) - low * sum_dy) * self.rstd)[0]
            sum_dy = sum_dy[0]
        if self.needs[0]:
            scale = self.rstd if self.w is None else self.rstd * self.w
            dx = (dy * beside(scale, dy)).reshape(self.shape)
        return self.with_residual(self.gradients(dx, sum_dy_xhat, sum_dy), dy)

    def forward_native(self, x, *rest):
        return self.apply_native(x, rest)
