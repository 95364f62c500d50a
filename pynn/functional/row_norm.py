"""Normalization of rows, the last axes: layer and root mean square, also of a sum of two arrays.

The kernels stand in csrc/kernels/norm/row_norm*.cu.
"""

import math

import numpy as np

from pynn.backend import array_module, native, widen
from pynn.functional.standardize import (
    WORKSPACE,
    Affine,
    beside,
    dots,
    in_range,
    mean_square,
    minus_mean,
    quiet,
    sums,
)


class LayerNorm(Affine):
    """y = f(z),  z = (x - mean) rstd w + b,  rstd = 1 / sqrt(var + eps), over the last `axes` axes.

    x is seen as (R, C), mean and rstd are (R,). With dz = dy f'(z) and g = dz w:
    dx = rstd (g - sum g / C - xhat sum(g xhat) / C),  dw = sum dz xhat,  db = sum dz.
    Ba, Kiros, Hinton 2016, arXiv:1607.06450.
    """

    def __init__(self, axes, eps, has_weight, has_bias, activation=None):
        super().__init__(eps, has_weight, has_bias, activation)
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

    @quiet
    def forward(self, x, *affine):
        b = self.keep(x, affine)
        d, delta = self.moments(self.view(widen(x)))
        if not in_range(self.var + self.eps):
            self.x = x.astype(np.float64)
            d, delta = self.moments(self.view(self.x))
        self.rstd = 1 / array_module(x).sqrt(self.var + self.eps)
        d *= beside(self.rstd, d)
        d += beside(-delta * self.rstd, d)
        if self.w is not None:
            d *= self.w
        if b is not None:
            d += b.reshape(-1)
        return self.activate(d).reshape(x.shape).astype(x.dtype, copy=False)

    def moments(self, x):
        """Leaves mean and var; returns d = x - mean, rounded, and what the mean of d still is."""
        n = max(1, x.shape[1])
        mean = sums(x.T) / n
        d, _ = minus_mean(x, mean)
        delta = sums(d.T) / n
        self.mean = mean.astype(x.dtype).astype(np.float64) + delta
        self.var = array_module(x).maximum(sums((d * d).T) / n - delta * delta, 0)
        return d, delta

    @quiet
    def backward(self, dy, dsum=None):
        d, low = minus_mean(self.view(widen(self.x)), self.mean)
        rstd, n = self.rstd, max(1, d.shape[1])
        dy = self.before_activation(self.view(widen(dy)), lambda: self.affine(d, low))
        dy = dy.astype(d.dtype, copy=False)
        product = dy * d
        dw = db = dx = None
        if self.has_weight:
            scale = rstd.astype(d.dtype, copy=False)
            dw = self.shaped(scale @ product - (rstd * low).astype(d.dtype, copy=False) @ dy)
        if self.has_bias:
            db = self.shaped(sums(dy))
        if self.needs_dx:
            sum_g = dots(dy, self.w)
            sum_g_xhat = (dots(product, self.w) - low * sum_g) * rstd
            slope = rstd * sum_g_xhat / n
            g = dy if self.w is None else array_module(dy).multiply(dy, self.w, out=product)
            d *= beside(-slope, d)
            d += g
            d += beside(low * slope - sum_g / n, d)
            d *= beside(rstd, d)
            dx = self.plus(d, dsum)
        return self.gradients(dx, dw, db)

    def affine(self, d, low):
        """z, of d - low = x - mean."""
        z = d * beside(self.rstd, d) - beside(low * self.rstd, d)
        z = z if self.w is None else z * widen(self.w)
        return z if self.b is None else z + widen(self.b).reshape(-1)

    def plus(self, dx, dsum):
        """dx (R, C) in x's shape, and what came to the sum by another way."""
        if dsum is not None:
            dx += self.view(widen(dsum))
        return dx.reshape(self.shape)

    def forward_native(self, x, *affine):
        none = array_module(x).empty(0, x.dtype)
        return self.normalize(x, none, none, affine)

    def normalize(self, x, residual, total, affine):
        """y by the kernel; with a residual, `total` takes x + residual."""
        xp, y = array_module(x), array_module(x).empty_like(x)
        weight, bias = self.split_native(x, affine)
        rows = self.rows(x, residual)
        self.mean, self.rstd = xp.empty(len(rows[0])), xp.empty(len(rows[0]))
        outputs = *self.rows(y, total), self.mean, self.rstd
        how = self.eps, self.activation_code
        native.layer_norm_fwd(*rows, weight, bias, *outputs, *how)
        return y

    def rows(self, *arrays):
        """Each as a matrix (R, C); what is left out stays empty."""
        return [self.view(a) if a.shape == self.shape else a for a in arrays]

    def backward_native(self, dy, dsum=None):
        x, *affine = self.kept_native()
        dx, dw, db = self.empty_gradients(x, self.view(x).shape[1])
        dsum = array_module(x).empty(0, x.dtype) if dsum is None else dsum
        inputs = *self.rows(x, dy, dsum), *(a.reshape(-1) for a in affine), self.mean, self.rstd
        workspace = self.workspace(x, dw.size + db.size)
        gradients = [*self.rows(dx), dw, db]
        native.layer_norm_bwd(*inputs, gradients, workspace, self.activation_code)
        return self.gradients(dx, *(self.shaped(g) if g.size else g for g in (dw, db)))

    def workspace(self, x, sums):
        """Room for parts of the sums over rows, if there are such."""
        R, C = self.view(x).shape
        room = max(2 * C, min(WORKSPACE, 2 * C * (R // 4)))
        return array_module(x).empty(room if sums else 0, np.float32)


class RMSNorm(LayerNorm):
    """y = x rstd w,  rstd = 1 / sqrt(mean(x^2) + eps), over the last `axes` axes.

    dx = rstd (g - xhat sum(g xhat) / C),  g = dy w,  xhat = x rstd;  dw = sum dy xhat.
    Zhang and Sennrich 2019, arXiv:1910.07467.
    """

    def __init__(self, axes, eps, has_weight):
        super().__init__(axes, eps, has_weight, False)

    @quiet
    def forward(self, x, *affine):
        self.keep(x, affine)
        wide = self.view(widen(x))
        square = mean_square(wide)
        if not in_range(square + self.eps):
            self.x = x.astype(np.float64)
            wide = self.view(self.x)
            square = mean_square(wide)
        self.rstd = 1 / array_module(x).sqrt(square + self.eps)
        y = wide * beside(self.rstd, wide)
        if self.w is not None:
            y *= self.w
        return y.reshape(x.shape).astype(x.dtype, copy=False)

    @quiet
    def backward(self, dy, dsum=None):
        x = self.view(widen(self.x))
        dy = self.view(widen(dy)).astype(x.dtype, copy=False)
        rstd, n = self.rstd, max(1, x.shape[1])
        product = dy * x
        dw = dx = None
        if self.has_weight:
            dw = self.shaped(rstd.astype(x.dtype, copy=False) @ product)
        if self.needs_dx:
            slope = rstd * rstd * dots(product, self.w) / n
            dx = x * beside(-slope, x)
            dx += dy if self.w is None else array_module(dy).multiply(dy, self.w, out=product)
            dx *= beside(rstd, x)
            dx = self.plus(dx, dsum)
        return self.gradients(dx, dw, None)

    def normalize(self, x, residual, total, affine):
        y = array_module(x).empty_like(x)
        weight, _ = self.split_native(x, affine)
        rows = self.rows(x, residual)
        self.rstd = array_module(x).empty(len(rows[0]))
        native.rms_norm_fwd(*rows, weight, *self.rows(y, total), self.rstd, self.eps)
        return y

    def backward_native(self, dy, dsum=None):
        x, w, _ = self.kept_native()
        dx, dw, _ = self.empty_gradients(x, self.view(x).shape[1])
        dsum = array_module(x).empty(0, x.dtype) if dsum is None else dsum
        rows = *self.rows(x, dy, dsum), w, self.rstd
        native.rms_norm_bwd(*rows, *self.rows(dx), dw, self.workspace(x, dw.size))
        return self.gradients(dx, self.shaped(dw) if dw.size else dw, None)


class _OfSum:
    """Before a normalization of rows: that of x + residual. The sum is kept, rounded.

    prenorm  whether the sum is an output, too, to which the next residual is added: its gradient
             dsum joins dx, which is both inputs'
    """

    summands = 2

    def __init__(self, prenorm, *how):
        super().__init__(*how)
        self.prenorm = prenorm

    def forward(self, x, residual, *affine):
        total = widen(x) + widen(residual)
        y = super().forward(total, *affine).astype(x.dtype, copy=False)
        total = total.astype(x.dtype, copy=False)
        self.x = total.astype(np.float64) if self.x.dtype == np.float64 else total
        self.dtype = x.dtype
        return (y, total) if self.prenorm else y

    def forward_native(self, x, residual, *affine):
        total = array_module(x).empty_like(x)
        y = self.normalize(x, residual, total, affine)
        self.x = total
        return (y, total) if self.prenorm else y


class AddLayerNorm(_OfSum, LayerNorm):
    """LayerNorm of x + residual."""


class AddRMSNorm(_OfSum, RMSNorm):
    """RMSNorm of x + residual."""
