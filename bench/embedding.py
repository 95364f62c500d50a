"""Embedding: rows gathered by index; in the backward, added up by index.

bytes  forward 2 tokens C sizeof(T) and the indices; backward (tokens + V) C: the gradient of
       the whole table is written, zeros where no index points
FLOPs  1 an element in the backward                      bound: memory
"""

from bench.case import Case, integers, normal

SIZES = {  # tokens, rows of the table, columns
    "full": [(8192, 50257, 768), (8192, 50257, 1600), (16384, 32000, 4096)],
    "quick": [(1024, 5000, 128)],
    "tiny": [(64, 100, 64)],
}


def cases(scale):
    for tokens, V, C in SIZES[scale]:
        yield Case(
            op="embedding",
            shape=f"{tokens} of {V}x{C}",
            run=lambda F, index, w: F.embedding(index, w),
            inputs=lambda tokens=tokens, V=V, C=C: [integers(V, tokens), normal(V, C)],
            elements={"forward": 2 * tokens * C, "backward": (tokens + V) * C},
            fixed={"forward": 8 * tokens, "backward": 8 * tokens},
            flops={"forward": 0, "backward": tokens * C},
        )
