"""Clipping of gradients, in place. The kernels stand in csrc/kernels/optim/grads.cu."""

import math

import numpy as np

from pynn import backend, dtypes
from pynn.tensor import Tensor


def clip_grad_norm_(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False) -> Tensor:
    """Scale all gradients so that the norm of all together is at most max_norm.

    parameters  tensors; those without a gradient take no part
    norm_type   p of the p-norm; inf for the largest magnitude
    returns     () the norm before, f32, or f64 if any gradient is. Squares that overflow float32
                are summed again scaled, so it is right for gradients of 1e30 too

    Raises ValueError for max_norm < 0 or norm_type <= 0, RuntimeError if the norm is inf or NaN and
    error_if_nonfinite is set; without it such gradients become NaN or 0, as in PyTorch.
    Pascanu, Mikolov, Bengio 2012, arXiv:1211.5063.
    """
    if not max_norm >= 0:
        raise ValueError(f"[clip_grad_norm_] max_norm: expected a number >= 0, got {max_norm}")
    if not norm_type > 0:
        raise ValueError(f"[clip_grad_norm_] norm_type: expected a number > 0, got {norm_type}")
    tensors = _with_gradient(parameters)
    if not tensors:
        return Tensor(0.0)
    grads = [t._grad for t in tensors]
    if norm_type == 2 and backend.runs_native(_ClipNorm, grads):
        return Tensor(_ClipNorm.forward_native(grads, float(max_norm), error_if_nonfinite))
    total = _norm(grads, float(norm_type))
    xp = backend.array_module(total)
    if error_if_nonfinite:
        _check_finite(xp, total)
    scale = xp.minimum(max_norm / (total + 1e-6), 1)
    if xp is np and scale == 1:  # on a GPU the answer would have to be waited for
        return Tensor(total)
    for t in tensors:
        grad = t._grad
        if grad.dtype in dtypes.HALVES:
            t._grad = (backend.widen(grad) * scale).astype(grad.dtype)
        else:
            xp.multiply(grad, scale, out=grad, casting="same_kind")
    return Tensor(total)


def clip_grad_value_(parameters, clip_value):
    """Clip each element of the gradients to [-clip_value, clip_value].

    Raises ValueError for clip_value < 0.
    """
    if not clip_value >= 0:
        raise ValueError(f"[clip_grad_value_] expected a number >= 0, got {clip_value}")
    for t in _with_gradient(parameters):
        grad = t._grad
        xp = backend.array_module(grad)
        if grad.dtype in dtypes.HALVES:
            wide = backend.widen(grad)
            t._grad = xp.clip(wide, -clip_value, clip_value).astype(grad.dtype)
        else:
            xp.clip(grad, -clip_value, clip_value, out=grad)


class _ClipNorm:
    """The clip by the Euclidean norm in three launches, with nothing to wait for: what
    `backend.runs_native` asks of an op.
    """

    name = "clip_grad_norm_"

    @staticmethod
    def takes_native(arrays):
        dtype = arrays[0].dtype
        return dtype.name in ("float32", "float16", "bfloat16") and all(
            a.dtype == dtype and a.flags.c_contiguous for a in arrays
        )

    @staticmethod
    def forward_native(grads, max_norm, error_if_nonfinite):
        """Scale the gradients; the norm before, 0-d."""
        xp = backend.array_module(grads[0])
        partial = xp.empty((sum(-(-g.size // 16384) for g in grads), 2), np.float32)
        norm_and_clip = xp.empty(2, np.float32)
        backend.native.grad_norm(grads, partial, norm_and_clip, max_norm)
        total = norm_and_clip[:1].reshape(())
        if error_if_nonfinite:
            _check_finite(xp, total)
        backend.native.scale_grads(grads, norm_and_clip[1:])
        return total


def _check_finite(xp, total):
    if not bool(xp.isfinite(total)):
        raise RuntimeError(f"[clip_grad_norm_] expected a finite norm, got {float(total)}")


def _with_gradient(parameters):
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p for p in parameters if p._grad is not None]


def _norm(grads, p):
    """The p-norm of all gradients together, a 0-d array of float32 or wider."""
    xp = backend.array_module(grads[0])
    wide = dtypes.float64 if any(g.dtype == dtypes.float64 for g in grads) else dtypes.float32
    grads = [backend.widen(g).reshape(-1) for g in grads if g.size]
    if not grads:
        return xp.zeros((), wide)
    with np.errstate(over="ignore", invalid="ignore"):
        total = (
            _power_sum(xp, grads, p, None) ** (1 / p) if p != math.inf and xp is np else math.nan
        )
        if not math.isfinite(total):
            largest = xp.stack([xp.abs(g).max() for g in grads]).max()
            total = largest
            if p != math.inf:
                unit = xp.maximum(largest, 2.0**-126)
                total = xp.where(
                    xp.isfinite(largest), unit * _power_sum(xp, grads, p, unit) ** (1 / p), largest
                )
    return xp.asarray(total, wide)


def _power_sum(xp, grads, p, unit):
    """The sum of |g / unit|^p (None: 1), in a gradient's dtype within it, in float64 over all."""
    grads = grads if unit is None else [g / unit for g in grads]
    sums = [xp.dot(g, g) if p == 2 else (xp.abs(g) ** p).sum() for g in grads]
    return xp.stack(sums).astype(dtypes.float64).sum()
