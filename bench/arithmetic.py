"""Arithmetic of one or two arrays: one pass over memory.

bytes  forward (inputs + 1) n sizeof(T); backward of a product 5 n: a, b and dy in, da and db out;
       the kernels take dy twice, in a launch for each of the two
       a gradient that is dy itself, as that of a sum, moves nothing and is not timed
FLOPs  counted as 1 an element                           bound: memory
"""

import math

from bench.case import Case, named, normal

SIZES = {"full": [(8192, 3072), (8192, 12288)], "quick": [(1024, 768)], "tiny": [(64, 128)]}


def cases(scale):
    for shape in SIZES[scale]:
        n = math.prod(shape)
        yield _binary("add", lambda F, x, y: x + y, shape, {"forward": 3 * n})
        both = {"forward": 3 * n, "backward": 5 * n}
        yield _binary("mul", lambda F, x, y: x * y, shape, both, {"backward": (n, 0)})
        yield _unary("exp", lambda F, x: x.exp(), shape)
        yield _unary("sin", lambda F, x: x.sin(), shape)
        yield _bias(shape)


def _binary(op, run, shape, elements, extra=None):
    return Case(
        op=op,
        shape=named(*shape),
        run=run,
        inputs=lambda: [normal(*shape), normal(*shape, start=5)],
        elements=elements,
        extra=extra or {},
        flops=dict.fromkeys(elements, math.prod(shape)),
    )


def _unary(op, run, shape):
    n = math.prod(shape)
    return Case(
        op=op,
        shape=named(*shape),
        run=run,
        inputs=lambda: [normal(*shape)],
        elements={"forward": 2 * n, "backward": 3 * n},
        flops={"forward": n, "backward": n},
    )


def _bias(shape):
    """A row added to each row: the backward sums the columns of dy; dx is dy itself."""
    n, C = math.prod(shape), shape[-1]
    return Case(
        op="add_row",
        shape=named(*shape),
        run=lambda F, x, b: x + b,
        inputs=lambda: [normal(*shape), normal(C, start=5)],
        elements={"forward": 2 * n + C, "wgrad": n + C},
        flops={"forward": n, "wgrad": n},
    )
