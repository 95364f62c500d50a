"""Dropout: the mask is drawn in the kernel, and drawn again in the backward.

bytes  2 n sizeof(T), forward and backward
FLOPs  counted as 1 an element; Philox takes integers    bound: memory
"""

import math

from bench.case import Case, named, normal

SIZES = {"full": [(8192, 768), (8192, 3072), (8192, 12288)], "quick": [(1024, 768)]}
SIZES["tiny"] = [(64, 128)]


def cases(scale):
    for shape in SIZES[scale]:
        n = math.prod(shape)
        yield Case(
            op="dropout",
            shape=named(*shape),
            run=lambda F, x: F.dropout(x, 0.1),
            inputs=lambda shape=shape: [normal(*shape)],
            elements={"forward": 2 * n, "backward": 2 * n},
            flops={"forward": n, "backward": n},
            random=True,
        )
