"""Activations: one pass over memory.

bytes  forward 2 n sizeof(T), backward 3 n sizeof(T)     csrc/kernels/elementwise/activation.cuh
FLOPs  counted as 1 an element                           bound: memory
"""

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
}


def cases(scale):
    for op, run in OPS.items():
        for shape in SIZES[scale]:
            yield of(op, run, shape)
    if scale == "full":
        for n in SWEEP:
            yield of("gelu", OPS["gelu"], (n,), {"n": n})


def of(op, run, shape, labels=None):
    """The case of an op of one array."""
    n = math.prod(shape)
    return Case(
        op=op,
        shape=named(*shape),
        run=run,
        inputs=lambda: [normal(*shape, scale=2.0)],
        elements={"forward": 2 * n, "backward": 3 * n},
        flops={"forward": n, "backward": n},
        labels=labels or {},
    )
