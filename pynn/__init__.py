"""pynn: neural networks from Python on CUDA kernels written by hand.

    import pynn
    from pynn import nn, optim
    import pynn.functional as F

The parts: `tensor` and `autograd` (arrays and gradients), `functional` (every op), `nn` (layers),
`optim`, `data`, `train` (the loop, checkpoints, plots), `recipes` (networks that train on real
data), `backend` (what runs where), `cli` (the command `pynn`).
"""

import importlib as _importlib

import numpy as _np

from pynn import backend, dtypes, kernels, random
from pynn import functional as functional
from pynn.anomaly import anomaly_mode
from pynn.autograd import (
    Function,
    enable_grad,
    grad,
    is_grad_enabled,
    no_grad,
)
from pynn.backend import cuda_available, use_kernels
from pynn.checkpoint import checkpoint
from pynn.dtypes import bfloat16, bool_, float16, float32, float64, int8, int16, int32, int64, uint8
from pynn.functional import cat, matmul, stack, where
from pynn.kernels import get_float32_matmul_precision, set_float32_matmul_precision
from pynn.random import manual_seed
from pynn.tensor import Tensor, tensor

__version__ = "0.1.0"


def __getattr__(name):
    """pynn.nn, optim, data, train and profile, imported when first asked for."""
    if name == "profile":
        return _importlib.import_module("pynn.profiler").profile
    if name in ("nn", "optim", "data", "train"):
        return _importlib.import_module(f"pynn.{name}")
    raise AttributeError(f"module 'pynn' has no attribute {name!r}")


def from_numpy(array) -> Tensor:
    """A tensor that shares the NumPy array's memory."""
    return Tensor(array)


def from_dlpack(source) -> Tensor:
    """A tensor that shares the memory of anything with `__dlpack__`: PyTorch, CuPy, JAX."""
    kind = source.__dlpack_device__()[0]
    return Tensor((backend.cupy() if kind == 2 else _np).from_dlpack(source))


def _filled(name):
    def create(*shape, dtype=float, device="cpu", requires_grad=False):
        shape = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        return Tensor(
            getattr(_np, name)(shape, dtypes.as_dtype(dtype)),
            requires_grad=requires_grad,
            device=device,
        )

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f"A tensor of {name} of that shape; float32 on the CPU unless said otherwise."
    return create


zeros = _filled("zeros")
ones = _filled("ones")


def full(shape, value, dtype=float, device="cpu") -> Tensor:
    """A tensor filled with one value."""
    return Tensor(_np.full(shape, value, dtypes.as_dtype(dtype)), device=device)


def arange(start, stop=None, step=1, dtype=None, device="cpu") -> Tensor:
    """start, start + step, ... below stop, as `range`; int64 for ints, float32 for floats."""
    start, stop = (0, start) if stop is None else (start, stop)
    floats = any(isinstance(v, float) for v in (start, stop, step))
    return Tensor(
        _np.arange(start, stop, step, dtypes.as_dtype(dtype or (float if floats else int))),
        device=device,
    )


def zeros_like(x) -> Tensor:
    """Zeros of x's shape, dtype and device."""
    return Tensor(backend.array_module(x.data).zeros_like(x.data))


def ones_like(x) -> Tensor:
    """Ones of x's shape, dtype and device."""
    return Tensor(backend.array_module(x.data).ones_like(x.data))


def randn(*shape, dtype=float, device="cpu", requires_grad=False) -> Tensor:
    """Normal numbers, mean 0 and variance 1, from pynn's stream (`manual_seed`)."""
    shape = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    numbers = random.generator().standard_normal(shape).astype(dtypes.as_dtype(dtype))
    return Tensor(numbers, requires_grad=requires_grad, device=device)


def rand(*shape, dtype=float, device="cpu", requires_grad=False) -> Tensor:
    """Uniform numbers in [0, 1) from pynn's stream (`manual_seed`)."""
    shape = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    numbers = random.generator().random(shape).astype(dtypes.as_dtype(dtype))
    return Tensor(numbers, requires_grad=requires_grad, device=device)
