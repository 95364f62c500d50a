"""pynn: neural networks from Python on CUDA kernels written by hand.

    import pynn
    from pynn import nn, optim
    import pynn.functional as F

The parts: `tensor` and `autograd` (arrays and gradients), `functional` (every op), `nn` (layers),
`optim`, `data`, `train` (the loop, checkpoints, plots), `recipes` (networks that train on real
data), `backend` (what runs where), `cli` (the command `pynn`).
"""

import importlib as _importlib

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
from pynn.creation import (
    arange,
    empty,
    eye,
    from_dlpack,
    from_numpy,
    full,
    linspace,
    ones,
    ones_like,
    rand,
    randint,
    randn,
    randperm,
    zeros,
    zeros_like,
)
from pynn.dtypes import bfloat16, bool_, float16, float32, float64, int8, int16, int32, int64, uint8
from pynn.functional import cat, einsum, matmul, maximum, minimum, stack, tril, triu, where
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
