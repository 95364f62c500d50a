"""Normalizations: batch, group, instance (channels last), layer and root mean square (last axes).

The ops stand in channel_norm.py and row_norm.py.
"""

import math

import numpy as np

from pynn import dtypes
from pynn.autograd import touch
from pynn.functional.activation import float_input
from pynn.functional.channel_norm import BatchNorm, BatchNormEval, GroupNorm, InstanceNorm
from pynn.functional.linear import check_dtypes
from pynn.functional.row_norm import AddLayerNorm, AddRMSNorm, LayerNorm, RMSNorm


def batch_norm(
    x,
    running_mean,
    running_var,
    weight=None,
    bias=None,
    training=False,
    momentum=0.1,
    eps=1e-5,
    activation=None,
    residual=None,
):
    """Normalize each channel over the batch:
    y = f((x - mean) / sqrt(var + eps) * weight + bias + residual).

    x             (..., C)  any float, channels last: (N, C), (N, L, C), (N, H, W, C), ...
    running_mean  (C,)      float tensors without gradient; None and None if not kept
    running_var   (C,)
    weight, bias  (C,)      dtype of x, or None
    training      take mean and variance of the batch, and move the running ones towards them in
                  place: running = (1 - momentum) running + momentum batch, the variance over n - 1;
                  an empty batch leaves them. Otherwise take the running ones.
    activation    None, "relu" or "gelu": f, applied in the same pass over memory
    residual      like x, added in that pass, or None; f is None or "relu" then
    returns (..., C)  dtype of x; statistics and sums are f32 or wider

    Raises ValueError for shapes that do not fit, one value per channel in training, running
    statistics missing outside of it, or another activation; TypeError for dtypes.
    Ioffe and Szegedy 2015, arXiv:1502.03167.
    """
    affine = weight, bias, residual
    how = training, momentum, eps, activation
    return normalize_batch(x, None, (running_mean, running_var), affine, *how)


def normalize_batch(x, parts, running, affine, training, momentum, eps, activation):
    """batch_norm with `running` mean and variance and `affine` weight, bias and residual; `parts`
    are those that whoever made x left of its moments, or None.
    """
    op = "batch_norm"
    running_mean, running_var = running
    weight, bias, residual = affine
    _check(op, x, 2, weight=weight, bias=bias)
    _check_how(op, eps, activation)
    if residual is not None:
        _check_sum(op, x, residual)
        if activation == "gelu":
            raise ValueError(
                f"[{op}] activation: expected None or 'relu' with a residual, got 'gelu'"
            )
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
    if training and math.prod(x.shape[:-1]) == 1:
        raise ValueError(
            f"[{op}] x: expected more than one value per channel in training, got shape {x.shape}"
        )
    running = tuple(t.data for t in kept) or None
    inputs = [t for t in (weight, bias, residual) if t is not None]
    has = weight is not None, bias is not None
    adds = residual is not None
    if not training:
        return BatchNormEval(running, eps, *has, activation, adds)(x, *inputs)
    how = running, momentum, activation, adds, parts
    y = BatchNorm(x.shape[-1], eps, *has, *how)(x, *inputs)
    for t in kept:
        touch(t, op)
    return y


def group_norm(x, num_groups, weight=None, bias=None, eps=1e-5, activation=None):
    """Normalize each sample over space and a group of channels.

    x             (N, ..., C)  any float, channels last
    num_groups    divides C
    weight, bias  (C,)         dtype of x, or None
    activation    None, "relu" or "gelu", applied to the result in the same pass over memory
    returns (N, ..., C)  dtype of x; statistics and sums are f32 or wider

    Raises ValueError for shapes that do not fit, TypeError for dtypes.
    Wu and He 2018, arXiv:1803.08494.
    """
    _check("group_norm", x, 2, weight=weight, bias=bias)
    _check_how("group_norm", eps, activation)
    if num_groups < 1 or x.shape[-1] % num_groups:
        raise ValueError(
            f"[group_norm] num_groups: expected a divisor of the {x.shape[-1]} channels, "
            f"got {num_groups}"
        )
    op = GroupNorm(num_groups, eps, weight is not None, bias is not None, activation)
    return op(x, *(t for t in (weight, bias) if t is not None))


def instance_norm(x, weight=None, bias=None, eps=1e-5, activation=None):
    """Normalize each channel of each sample over space.

    x             (N, ..., C)  any float, channels last, at least one axis between
    weight, bias  (C,)         dtype of x, or None
    activation    None, "relu" or "gelu", applied to the result in the same pass over memory
    returns (N, ..., C)  dtype of x; statistics and sums are f32 or wider

    Raises ValueError for shapes that do not fit, TypeError for dtypes.
    Ulyanov, Vedaldi, Lempitsky 2016, arXiv:1607.08022.
    """
    _check("instance_norm", x, 3, weight=weight, bias=bias)
    _check_how("instance_norm", eps, activation)
    op = InstanceNorm(x.shape[-1], eps, weight is not None, bias is not None, activation)
    return op(x, *(t for t in (weight, bias) if t is not None))


def layer_norm(x, weight=None, bias=None, eps=1e-5, axes=1, activation=None):
    """Normalize over the last axis:  y = f((x - mean) / sqrt(var + eps) * weight + bias).

    x             (..., C)  any float
    weight, bias  (C,)      dtype of x, or None
    axes          how many trailing axes are normalized together; weight and bias have their shape
    activation    f: None, "relu" or "gelu", in the same pass over memory
    returns (..., C)  dtype of x; mean, rstd and sums are f32 or wider

    Raises ValueError if weight or bias is not (C,), TypeError for dtypes.
    Ba, Kiros, Hinton 2016, arXiv:1607.06450.
    """
    _check("layer_norm", x, axes, axes=axes, weight=weight, bias=bias)
    _check_how("layer_norm", eps, activation)
    op = LayerNorm(axes, eps, weight is not None, bias is not None, activation)
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
    eps = _eps_of(x) if eps is None else eps
    _check_how("rms_norm", eps)
    op = RMSNorm(axes, eps, weight is not None)
    return op(x) if weight is None else op(x, weight)


def add_layer_norm(
    x, residual, weight=None, bias=None, eps=1e-5, axes=1, prenorm=True, activation=None
):
    """layer_norm of x + residual, in one pass over memory: the "add & norm" of a transformer.

    x, residual   (..., C)  any float, one dtype and shape
    weight, bias  (C,)      dtype of x, or None
    axes          how many trailing axes are normalized together; weight and bias have their shape
    prenorm       also return the sum, which the next residual is added to
    activation    None, "relu" or "gelu", applied to y alone
    returns y, or (y, x + residual)  (..., C)  dtype of x

    Raises ValueError for shapes that do not fit, TypeError for dtypes.
    """
    _check_sum("add_layer_norm", x, residual)
    _check("add_layer_norm", x, axes, axes=axes, weight=weight, bias=bias)
    _check_how("add_layer_norm", eps, activation)
    op = AddLayerNorm(prenorm, axes, eps, weight is not None, bias is not None, activation)
    return op(x, residual, *(t for t in (weight, bias) if t is not None))


def add_rms_norm(x, residual, weight=None, eps=None, axes=1, prenorm=True):
    """rms_norm of x + residual, in one pass over memory; arguments as in add_layer_norm."""
    _check_sum("add_rms_norm", x, residual)
    _check("add_rms_norm", x, axes, axes=axes, weight=weight)
    eps = _eps_of(x) if eps is None else eps
    _check_how("add_rms_norm", eps)
    op = AddRMSNorm(prenorm, axes, eps, weight is not None)
    return op(x, residual) if weight is None else op(x, residual, weight)


def _eps_of(x):
    """The epsilon of the dtype that is computed in."""
    return float(np.finfo(np.float64 if x.dtype == dtypes.float64 else np.float32).eps)


def _check_sum(op, x, residual):
    float_input(op, x)
    if residual.shape != x.shape:
        raise ValueError(f"[{op}] residual: expected shape {x.shape}, got {residual.shape}")
    check_dtypes(op, x, residual=residual)


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


def _check_how(op, eps, activation=None):
    if not eps >= 0:
        raise ValueError(f"[{op}] eps: expected a number >= 0, got {eps}")
    if activation not in (None, *GroupNorm.activations):
        raise ValueError(f"[{op}] activation: expected None, 'relu' or 'gelu', got {activation!r}")
