"""Distances and angles between vectors, which lie along the last axis, and losses of them.

Results are float32, or float64 for float64 inputs; float16 and bfloat16 are widened first.
"""

import math

import numpy as np

from pynn import dtypes
from pynn.autograd import Function
from pynn.backend import array_module, native
from pynn.functional import reduce
from pynn.functional.activation import relu
from pynn.functional.arithmetic import abs as absolute
from pynn.functional.arithmetic import astype, maximum, minimum, pow
from pynn.functional.loss import one_of, pair, quiet, safe_scale
from pynn.functional.shape import permute
from pynn.tensor import Tensor


class Length(Function):
    """y = sqrt(sum x^2) over the last axis;  dx = dy x / y, 0 where y = 0.

    Each row is divided by its greatest element before it is squared: no overflow, no underflow.
    """

    @quiet
    def forward(self, x):
        xp = array_module(x)
        self.x = x
        if not x.shape[-1]:
            self.y = xp.zeros(x.shape[:-1], x.dtype)
            return self.y
        scale = safe_scale(xp, xp.abs(x).max(axis=-1, keepdims=True))
        scaled = x / scale
        self.y = xp.sqrt((scaled * scaled).sum(axis=-1)) * scale[..., 0]
        return self.y

    @quiet
    def backward(self, dy):
        y = array_module(dy).where(self.y == 0, 1, self.y).astype(dy.dtype, copy=False)
        return dy[..., None] * (self.x / y[..., None])

    native_dtypes = ("float32",)

    def forward_native(self, x):
        self.x = x
        xp, rows = array_module(x), self.rows(x)
        self.y = xp.empty(x.shape[:-1], np.float32)
        native.length_fwd(rows, self.y.reshape(-1, 1), xp.empty(x.size // 16, np.float32))
        return self.y

    def backward_native(self, dy):
        dx = array_module(dy).empty_like(self.x)
        y, dy = (a.reshape(-1, 1) for a in (self.y, dy))
        native.length_bwd(self.rows(self.x), y, dy, self.rows(dx))
        return dx

    def rows(self, x):
        return x.reshape(math.prod(x.shape[:-1]), x.shape[-1], 1)


def pairwise_distance(x, y, p=2.0, eps=1e-6):
    """The p-norm of x - y + eps over the last axis.

    x, y    (..., C)  any float
    returns (...)     f32 or wider

    Raises ValueError if the shapes differ or unless p >= 1, TypeError for dtypes.
    """
    if not p >= 1:
        raise ValueError(f"[pairwise_distance] p: expected a number >= 1, got {p}")
    x, y = pair("pairwise_distance", x, y, 1, "y")
    d = _wide(x) - _wide(y) + eps
    if p == 2:
        return Length()(d)
    d = absolute(d)
    return reduce.sum(d, -1) if p == 1 else pow(reduce.sum(pow(d, p), -1), 1 / p)


def triplet_margin_loss(
    anchor, positive, negative, margin=1.0, p=2.0, eps=1e-6, swap=False, reduction="mean"
):
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), d the pairwise_distance.

    anchor, positive, negative  (..., C)  any float
    swap  take the distance of positive and negative where it is the shorter
    returns () or (...), f32 or wider

    Raises ValueError if the shapes differ or unless margin > 0, TypeError for dtypes.
    Schroff et al. 2015, arXiv:1503.03832; swap: Balntas et al. 2016.
    """
    op = "triplet_margin_loss"
    if not margin > 0:
        raise ValueError(f"[{op}] margin: expected a positive number, got {margin}")
    for name, other in (("positive", positive), ("negative", negative)):
        pair(op, anchor, other, 1, name)
    near = pairwise_distance(anchor, positive, p, eps)
    far = pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = minimum(far, pairwise_distance(positive, negative, p, eps))
    return _reduced(op, relu(near - far + margin), reduction)


def cosine_similarity(x, y, dim=-1, eps=1e-8):
    """The cosine of the angle between the vectors of x and y along an axis, lengths no less than
    eps. By default that is the last one, where PyTorch takes axis 1.

    x, y    (..., C)  any float
    returns (...)     f32 or wider; 0 for a zero vector

    Raises ValueError if the shapes differ or have no such axis, TypeError for dtypes.
    """
    op = "cosine_similarity"
    x, y = pair(op, x, y, 1, "y")
    if not -x.ndim <= dim < x.ndim:
        raise ValueError(f"[{op}] dim: expected an axis of {x.shape}, got {dim}")
    if dim % x.ndim != x.ndim - 1:
        others = [axis for axis in range(x.ndim) if axis != dim % x.ndim]
        x, y = (permute(t, *others, dim) for t in (x, y))
    x, y = _wide(x), _wide(y)
    x, y = (t / maximum(Length()(t), eps).unsqueeze(-1) for t in (x, y))
    return reduce.sum(x * y, -1)


def cosine_embedding_loss(x, y, target, margin=0.0, reduction="mean"):
    """1 - cos where the target is 1, max(0, cos - margin) where it is -1.

    x, y    (..., C)  any float
    target  (...)     -1 or 1, integers or floats
    returns () or (...), f32 or wider

    Raises ValueError for other targets or shapes that do not fit, TypeError for dtypes.
    """
    cosine = cosine_similarity(x, y)
    _, target = pair("cosine_embedding_loss", cosine, target)
    t = target.data.astype(cosine.dtype)
    if not (array_module(t).abs(t) == 1).all():
        raise ValueError(f"[cosine_embedding_loss] target: expected -1 or 1, got {_one_wrong(t)}")
    losses = (1 - cosine) * Tensor.wrap((t + 1) / 2) + relu(cosine - margin) * Tensor.wrap(
        (1 - t) / 2
    )
    return _reduced("cosine_embedding_loss", losses, reduction)


def _wide(x):
    return astype(x, dtypes.float32) if x.dtype in dtypes.HALVES else x


def _reduced(op, values, reduction):
    if one_of(op, reduction) == "none":
        return values
    total = reduce.sum(values)
    return total / max(1, values.size) if reduction == "mean" else total


def _one_wrong(t):
    return t[abs(t) != 1].reshape(-1)[0]
