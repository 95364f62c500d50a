"""Reductions of rows and of columns, and running sums.

bytes  (rows C + results) sizeof(T), and of a maximum 4 a result for where it was; backward twice
       that, for x and its gradient, of a sum the gradient alone
       argmax, argmin  8 a result; length, in f32, a row's norm
       logsumexp  a result in f32 for the backward, which in f32 is the result itself
       cumsum  2 rows C sizeof(T) both ways
       csrc/kernels/reduce/*.cu
FLOPs  1 an element                                      bound: memory
"""

from bench.case import Case, named, normal
from pynn.functional.distance import Length

SHAPES = {
    "full": [(8192, 3072), (65536, 256), (1024, 65536), (64, 262144)],
    "quick": [(1024, 768), (16, 65536)],
    "tiny": [(64, 256)],
}


def cases(scale):
    for rows, C in SHAPES[scale]:
        yield _case("sum_rows", lambda F, x: x.sum(-1), rows, C, rows)
        yield _case("sum_columns", lambda F, x: x.sum(0), rows, C, C)
        yield _case("max_rows", lambda F, x: x.max(-1), rows, C, rows, _torch_max)
        yield _case("min_rows", lambda F, x: x.min(-1), rows, C, rows, _torch_min)
        yield _case("mean_all", lambda F, x: x.mean(), rows, C, 1)
        yield _case("argmax_rows", lambda F, x: x.argmax(-1), rows, C, rows)
        yield _case("argmin_rows", lambda F, x: x.argmin(-1), rows, C, rows)
        yield _case("logsumexp_rows", lambda F, x: x.logsumexp(-1), rows, C, rows)
        yield _case("length", lambda F, x: Length()(x), rows, C, rows, lambda F, x: x.norm(dim=-1))
        yield _case("cumsum", lambda F, x: x.cumsum(-1), rows, C, rows * C)


def _torch_max(F, x):
    return x.amax(-1)


def _torch_min(F, x):
    return x.amin(-1)


def _case(op, run, rows, C, results, torch=None):
    n = rows * C
    backward = {"sum": n + results, "mean": n + results, "cumsum": 2 * n}
    elements = {"forward": n + results, "backward": 2 * n + 2 * results}
    fixed, extra = 0, {}
    kind = op.partition("_")[0]
    if kind in ("max", "min"):
        fixed = 4 * results
    elif kind in ("argmax", "argmin"):
        elements, fixed = {"forward": n}, 8 * results
    elif kind == "logsumexp":
        elements["backward"] = 2 * n + results
        extra = {"forward": (-4 * results, 16 * results), "backward": (0, 4 * results)}
    elif kind in backward:
        elements["backward"] = backward[kind]
    return Case(
        op=op,
        shape=named(rows, C),
        run=run,
        torch=torch,
        inputs=lambda: [normal(rows, C)],
        elements=elements,
        fixed=dict.fromkeys(elements, fixed),
        extra=extra,
        flops=dict.fromkeys(elements, n),
        labels={"n": C} if n == 1 << 24 else {},
    )
