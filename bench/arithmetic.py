"""Arithmetic of one or two arrays, a choice of two, comparisons: one pass over memory.

bytes  forward (inputs + 1) n sizeof(T); backward of two 5 n: a, b and dy in, da and db out;
       but for mul the kernels take what both gradients need twice, in a launch for each
       less  2 n and a byte each; isnan  n and that; round  2 n
       where: forward 3 n and a byte each, backward 3 n and that; the kernels take dy and the
       condition twice
       a gradient that is dy itself, as that of a sum, moves nothing and is not timed
FLOPs  counted as 1 an element                           bound: memory
"""

import math

import numpy as np

from bench.case import Case, named, normal

SIZES = {"full": [(8192, 3072), (8192, 12288)], "quick": [(1024, 768)], "tiny": [(64, 128)]}


def cases(scale):
    for shape in SIZES[scale]:
        n = math.prod(shape)
        yield _binary("add", lambda F, x, y: x + y, shape, {"forward": 3 * n})
        yield _binary("sub", lambda F, x, y: x - y, shape, {"forward": 3 * n, "wgrad": 2 * n})
        for op, (run, again) in BINARY.items():
            both = {"forward": 3 * n, "backward": 5 * n}
            yield _binary(op, run, shape, both, {"backward": (again * n, 0)})
        for op, run in UNARY.items():
            yield _unary(op, run, shape, 2 if op == "neg" else 3)
        for op, (run, inputs, elements, answers) in WITHOUT_GRADIENT.items():
            yield _answer(op, run, inputs, shape, elements * n, answers * n)
        yield _where(shape)
        yield _repeated("add_row", shape, (shape[-1],))
        yield _repeated("add_column", shape, (shape[0], 1))


UNARY = {
    "exp": lambda F, x: x.exp(),
    "log": lambda F, x: x.log(),
    "log1p": lambda F, x: x.log1p(),
    "sqrt": lambda F, x: x.sqrt(),
    "rsqrt": lambda F, x: x.rsqrt(),
    "square": lambda F, x: x.square(),
    "sin": lambda F, x: x.sin(),
    "cos": lambda F, x: x.cos(),
    "abs": lambda F, x: x.abs(),
    "neg": lambda F, x: -x,
    "clip": lambda F, x: x.clip(0.5, 1.5),
}
BINARY = {  # op: (run, arrays that a second launch of the backward takes again)
    "mul": (lambda F, x, y: x * y, 0),
    "div": (lambda F, x, y: x / y, 2),
    "pow": (lambda F, x, y: x**y, 3),
    "maximum": (lambda F, x, y: x.maximum(y), 3),
    "minimum": (lambda F, x, y: x.minimum(y), 3),
}

WITHOUT_GRADIENT = {  # op: (run, inputs, numbers moved, bytes of answers)
    "less": (lambda F, x, y: x < y, 2, 2, 1),
    "isnan": (lambda F, x: x.isnan(), 1, 1, 1),
    "round": (lambda F, x: x.round(), 1, 2, 0),
}


def _answer(op, run, inputs, shape, elements, answers):
    return Case(
        op=op,
        shape=named(*shape),
        run=run,
        inputs=lambda: [normal(*shape, start=5 * i) for i in range(inputs)],
        elements={"forward": elements},
        fixed={"forward": answers},
        flops={"forward": math.prod(shape)},
    )


def _positive(*shape, start=0):
    """Within the domain of every op here."""
    return abs(normal(*shape, start=start)) + np.float32(0.25)


def _binary(op, run, shape, elements, extra=None):
    return Case(
        op=op,
        shape=named(*shape),
        run=run,
        inputs=lambda: [_positive(*shape), _positive(*shape, start=5)],
        elements=elements,
        extra=extra or {},
        flops=dict.fromkeys(elements, math.prod(shape)),
    )


def _unary(op, run, shape, backward):
    n = math.prod(shape)
    return Case(
        op=op,
        shape=named(*shape),
        run=run,
        inputs=lambda: [_positive(*shape)],
        elements={"forward": 2 * n, "backward": backward * n},
        flops={"forward": n, "backward": n},
    )


def _where(shape):
    n = math.prod(shape)
    return Case(
        op="where",
        shape=named(*shape),
        run=lambda F, condition, x, y: F.where(condition, x, y),
        torch=lambda F, condition, x, y: x.where(condition, y),
        inputs=lambda: [normal(*shape, start=9) > 0, normal(*shape), normal(*shape, start=5)],
        elements={"forward": 3 * n, "backward": 3 * n},
        fixed={"forward": n, "backward": n},
        extra={"backward": (n, n)},
        flops={"forward": n, "backward": n},
    )


def _repeated(op, shape, second):
    """A row or a column added to each: the backward sums dy; dx is dy itself."""
    n, m = math.prod(shape), math.prod(second)
    return Case(
        op=op,
        shape=named(*shape),
        run=lambda F, x, b: x + b,
        inputs=lambda: [normal(*shape), normal(*second, start=5)],
        elements={"forward": 2 * n + m, "wgrad": n + m},
        flops={"forward": n, "wgrad": n},
    )
