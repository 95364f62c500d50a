"""Losses of two arrays, reduced to their mean.

bytes  forward 2 n sizeof(T): predictions and targets; backward 3 n: both again, and the gradient;
       the loss, or its gradient, 4; the kernels' own: 16 for the sum of each 8 KB of predictions,
       of at most 1056 parts      csrc/kernels/loss/loss.cu
FLOPs  2 an element                                      bound: memory
"""

import math

from bench.case import Case, named, normal

SIZES = {"full": [(8192, 3072), (8192, 12288)], "quick": [(1024, 768)], "tiny": [(64, 128)]}
OPS = ("mse_loss", "l1_loss", "huber_loss", "binary_cross_entropy_with_logits")


def cases(scale):
    for op in OPS:
        for shape in SIZES[scale]:
            n = math.prod(shape)
            yield Case(
                op=op,
                shape=named(*shape),
                run=lambda F, x, t, op=op: getattr(F, op)(x, t.detach()),
                inputs=lambda shape=shape: [normal(*shape), normal(*shape, start=5)],
                elements={"forward": 2 * n, "dgrad": 3 * n},
                fixed={"forward": 4, "dgrad": 4},
                extra={"forward": (n // 512, 0)},
                flops={"forward": 2 * n, "dgrad": 2 * n},
            )
