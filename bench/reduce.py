"""Reductions of rows and of columns.

bytes  (rows C + results) sizeof(T), and of a maximum 4 a result for where it was
FLOPs  1 an element                                      bound: memory
"""

from bench.case import Case, named, normal

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
        yield _case("mean_all", lambda F, x: x.mean(), rows, C, 1)


def _torch_max(F, x):
    return x.amax(-1)


def _case(op, run, rows, C, results, torch=None):
    return Case(
        op=op,
        shape=named(rows, C),
        run=run,
        torch=torch,
        inputs=lambda: [normal(rows, C)],
        elements={"forward": rows * C + results},
        fixed={"forward": 4 * results if op.startswith("max") else 0},
        flops={"forward": rows * C},
        labels={"n": C} if rows * C == 1 << 24 else {},
    )
