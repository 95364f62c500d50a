"""Convolutions by kernels: the arguments of the conv family. x (N, H, W, C), w (K, R, S,
C / groups), y (N, P, Q, K), all of one dtype; geometry: stride, padding, dilation (window.py).
"""

import math

import numpy as np

from pynn import kernels
from pynn.backend import array_module, native
from pynn.functional.product import ACTIVATIONS, nothing

_ROOM = 132 * 128 * 128  # elements of a result that fill a GPU by themselves; the same everywhere


def fprop_native(x, w, b, y, geometry):
    """y = x * w + b, b (K,) or None."""
    b = nothing_of(x) if b is None else b
    terms = math.prod(w.shape[1:])
    native.conv_fprop(x, w, b, y, _workspace(y, terms), *_numbers(geometry))


def fprop_moments_native(x, w, b, y, parts, geometry):
    """fprop_native, and parts of the moments of y's channels: (ceil(N P Q / 64), K, 4)."""
    b = nothing_of(x) if b is None else b
    terms = math.prod(w.shape[1:])
    native.conv_fprop_moments(x, w, b, y, parts, _workspace(y, terms), *_numbers(geometry))


def fprop_activate_native(x, w, b, residual, z, y, activation, geometry):
    """z = x * w + b + residual, kept unless z is None, and y = f(z), f one of ACTIVATIONS."""
    b, residual, z = (nothing_of(x) if a is None else a for a in (b, residual, z))
    stride, padding, dilation, *how = _numbers(geometry)
    native.conv_fprop_act(
        x, w, b, residual, z, y, _workspace(y, math.prod(w.shape[1:])),
        stride, padding, dilation, ACTIVATIONS.index(activation), *how,
    )  # fmt: skip


def dgrad_native(dy, w, b, dx, geometry):
    """dx = the gradient of fprop's x, plus b (C,) or None."""
    b = nothing_of(dy) if b is None else b
    terms = math.prod(w.shape[1:3]) * w.shape[0]
    native.conv_dgrad(dy, w, b, dx, _workspace(dx, terms), *_numbers(geometry))


def wgrad_native(x, dy, dw, geometry):
    """dw = the gradient of fprop's w."""
    terms = math.prod(dy.shape[:3])
    depthwise = dw.shape[3] == 1 and dw.shape[0] == x.shape[3]
    room = _workspace(dw, terms, least=int(depthwise))
    native.conv_wgrad(x, dy, dw, room, *_numbers(geometry))


def nothing_of(x):
    """What a launcher takes for an array left out."""
    return nothing(array_module(x))


def _numbers(geometry):
    """Padding is that above and left: what lies below and right follows from the shapes."""
    (top, _), (left, _) = geometry.padding
    tf32 = kernels.get_float32_matmul_precision() == "tf32"
    return geometry.stride, (top, left), geometry.dilation, kernels.preferred("conv"), tf32


def _workspace(d, terms, least=0):
    """Room for several times d in float32, at least `least`, where d alone would leave the GPU idle
    and its sums are of many terms; the launcher takes of it what it needs.
    """
    parts = min(terms // 512, _ROOM // max(d.size, 1))
    parts = max(parts if parts > 1 else 0, least)
    xp = array_module(d)
    return xp.empty(parts * d.size, np.float32) if parts else nothing(xp)
