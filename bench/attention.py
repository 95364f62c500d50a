"""Scaled dot-product attention, causal.

q, k, v, y (N, heads, T, D)
bytes  forward 4 N heads T D sizeof(T) and 4 a row for the logarithm of the sum, backward 8
FLOPs  forward 2 products of 2 N heads T^2 D, half of them masked; backward 5 of them
bound: compute where T is large
"""

import math

from bench.case import Case, named, normal

SHAPES = {
    "full": [(16, 12, 1024, 64), (8, 25, 1024, 64), (4, 32, 2048, 128), (1, 16, 8192, 128)],
    "quick": [(2, 4, 128, 32)],
    "tiny": [(1, 2, 32, 16)],
}


def cases(scale):
    for shape in SHAPES[scale]:
        n, rows, T = math.prod(shape), math.prod(shape[:3]), shape[2]
        yield Case(
            op="attention_causal",
            shape=named(*shape),
            run=lambda F, q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
            inputs=lambda shape=shape: [normal(*shape, start=i) for i in (0, 3, 7)],
            elements={"forward": 4 * n, "backward": 8 * n},
            fixed={"forward": 4 * rows, "backward": 4 * rows},
            flops={"forward": 2 * n * T, "backward": 5 * n * T},
            matrix=True,
            labels={"n": T},
        )
