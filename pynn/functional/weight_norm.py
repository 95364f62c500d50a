"""Weights of a set length or a set gain: weight normalization and spectral normalization."""

import numpy as np

from pynn.autograd import Function
from pynn.backend import array_module, widen
from pynn.functional.linear import check_dtypes


class WeightNorm(Function):
    """w = g v / |v|, the length taken over all axes but `dim`, or over all for dim None.

    dg = sum dw v / |v|,  dv = g / |v| (dw - v (sum dw v) / |v|^2); 0 where |v| = 0.
    Salimans and Kingma 2016, arXiv:1602.07868.
    """

    no_kernel = "once a step, over one weight"

    def __init__(self, dim):
        self.dim = dim

    def forward(self, v, g):
        self.v, self.g = v, g
        direction, _ = self.direction()
        return (direction * widen(g)).astype(v.dtype, copy=False)

    def direction(self):
        """v / |v|, 0 where |v| is, and |v|, in g's shape; v is scaled first against overflow."""
        xp, v = array_module(self.v), widen(self.v)
        axes = tuple(i for i in range(v.ndim) if i != self.dim)
        peak = xp.abs(v).max(axis=axes, keepdims=True)
        peak = xp.where(peak == 0, 1, peak)
        scaled = v / peak
        length = xp.sqrt((scaled * scaled).sum(axis=axes, keepdims=True))
        return scaled / xp.where(length == 0, 1, length), length * peak

    def backward(self, dw):
        xp, wide = array_module(dw), widen(dw)
        direction, length = self.direction()
        axes = tuple(i for i in range(dw.ndim) if i != self.dim)
        along = (wide * direction).sum(axis=axes, keepdims=True)
        dv = dg = None
        if self.needs[0]:
            slope = xp.where(length == 0, 0, widen(self.g) / xp.where(length == 0, 1, length))
            dv = ((wide - direction * along) * slope).astype(self.v.dtype, copy=False)
        if self.needs[1]:
            dg = along.astype(self.g.dtype, copy=False)
        return dv, dg


class SpectralNorm(Function):
    """y = w / s,  s = u^T W v no less than eps, W (O, I) the matrix of w with `dim` first.

    u and v are constants, about W's first singular vectors, so that s is about its greatest gain;
    dW = (dY - (sum dY Y) u v^T) / s.  Miyato et al. 2018, arXiv:1802.05957.
    """

    no_kernel = "once a step, over one weight"

    def __init__(self, u, v, dim, eps):
        self.u, self.v, self.dim, self.eps = u, v, dim, eps

    def forward(self, w):
        self.w = w
        return (widen(w) / self.sigma(w)).astype(w.dtype, copy=False)

    def sigma(self, w):
        matrix = widen(as_matrix(w, self.dim))
        u, v = (a.astype(matrix.dtype) for a in (self.u, self.v))
        return np.maximum(u @ (matrix @ v), matrix.dtype.type(self.eps))

    def backward(self, dy):
        xp, wide = array_module(dy), widen(dy)
        s = self.sigma(self.w)
        dw = wide / s
        if float(s) > self.eps:
            along = (wide * (widen(self.w) / s)).sum()
            u, v = (a.astype(wide.dtype) for a in (self.u, self.v))
            first = xp.moveaxis(dw, self.dim, 0).shape
            outer = (u[:, None] * v).reshape(first)
            dw -= along / s * xp.moveaxis(outer, 0, self.dim)
        return dw.astype(self.w.dtype, copy=False)


def as_matrix(w, dim):
    """w as (O, I), the axis `dim` first."""
    w = array_module(w).moveaxis(w, dim, 0)
    return w.reshape(w.shape[0], -1)


def power_iteration(w, u, v, dim, steps, eps):
    """u and v of length 1, nearer to the first singular vectors of the matrix of w: raw arrays."""
    xp, matrix = array_module(w), widen(as_matrix(w, dim))
    u, v = (a.astype(matrix.dtype) for a in (u, v))
    for _ in range(steps):
        v = u @ matrix
        v = v / np.maximum(xp.sqrt((v * v).sum()), eps)
        u = matrix @ v
        u = u / np.maximum(xp.sqrt((u * u).sum()), eps)
    return u, v


# ------------------------------------------------------------------ public functions


def weight_norm(v, g, dim=0):
    """g v / |v|: weights whose direction and length are learnt apart.

    v    any shape, any float
    g    v's shape with 1 for every axis but `dim`; () or all 1 for dim None
    dim  the axis of the outputs, each with a length of its own; None: one length for all
    returns v's shape and dtype

    Raises ValueError for another g or dim, TypeError for dtypes.
    Salimans and Kingma 2016, arXiv:1602.07868.
    """
    if dim is not None and not -v.ndim <= dim < v.ndim:
        raise ValueError(f"[weight_norm] dim: expected an axis of {v.shape}, got {dim}")
    dim = None if dim is None else dim % v.ndim
    wanted = tuple(n if i == dim else 1 for i, n in enumerate(v.shape))
    if g.shape != wanted:
        raise ValueError(f"[weight_norm] g: expected shape {wanted}, got {g.shape}")
    check_dtypes("weight_norm", v, g=g)
    return WeightNorm(dim)(v, g)
