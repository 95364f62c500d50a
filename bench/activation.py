"""Activations: one pass over memory.

bytes  forward 2 n sizeof(T), backward 3 n sizeof(T)     csrc/kernels/elementwise/activation.cuh
       prelu moves its slopes besides, and dw in the backward; the kernels' own: the sums of splits
       of 128 rows or more, 4 C each, out and in          csrc/kernels/elementwise/prelu.cu
FLOPs  counted as 1 an element                           bound: memory
"""

import dataclasses
import math

from bench.case import Case, named, normal

SIZES = {
    "full": [(8192, 3072)],
    "quick": [(1024, 768)],
    "tiny": [(64, 128)],
}
SWEEP = [1 << k for k in (14, 17, 20, 23, 26, 28)]


OPS = {
    "relu": lambda F, x: F.relu(x),
    "gelu": lambda F, x: F.gelu(x),
    "gelu_tanh": lambda F, x: F.gelu(x, approximate="tanh"),
    "silu": lambda F, x: F.silu(x),
    "sigmoid": lambda F, x: F.sigmoid(x),
    "tanh": lambda F, x: F.tanh(x),
    "elu": lambda F, x: F.elu(x),
    "mish": lambda F, x: F.mish(x),
    "softplus": lambda F, x: F.softplus(x),
    "hardswish": lambda F, x: F.hardswish(x),
    "leaky_relu": lambda F, x: F.leaky_relu(x, 0.1),
    "selu": lambda F, x: F.selu(x),
    "hardtanh": lambda F, x: F.hardtanh(x, -1.0, 1.0),
}


def cases(scale):
    for shape in SIZES[scale]:
        for op, run in OPS.items():
            yield of(op, run, shape)
        yield of("arctan", lambda F, x: F.arctan(x), shape, torch=lambda F, x: x.arctan())
        yield _step(shape)
        yield _prelu(shape if scale != "tiny" else (256, 256))  # rows for two splits
    if scale == "full":
        for n in SWEEP:
            yield of("gelu", OPS["gelu"], (n,), {"n": n})


def of(op, run, shape, labels=None, torch=None):
    """The case of an op of one array."""
    n = math.prod(shape)
    return Case(
        op=op,
        shape=named(*shape),
        run=run,
        torch=torch,
        inputs=lambda: [normal(*shape, scale=2.0)],
        elements={"forward": 2 * n, "backward": 3 * n},
        flops={"forward": n, "backward": n},
        labels=labels or {},
    )


def _step(shape):
    """Without a gradient."""
    case = of("step", lambda F, x: F.step(x), shape, torch=lambda F, x: (x >= 0).to(x.dtype))
    return dataclasses.replace(case, elements={"forward": 2 * math.prod(shape)})


def _prelu(shape):
    n, C = math.prod(shape), shape[-1]
    splits = max(1, min(n // C // 128, (1 << 17) // C, 1024))
    return Case(
        op="prelu",
        shape=named(*shape),
        run=lambda F, x, w: F.prelu(x, w),
        inputs=lambda: [normal(*shape, scale=2.0), normal(C, scale=0.1, start=5)],
        elements={"forward": 2 * n + C, "backward": 3 * n + 2 * C},
        extra={"backward": (0, 8 * splits * C)},
        flops={"forward": n, "backward": n},
    )
