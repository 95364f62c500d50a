"""Embedding: rows gathered by index; in the backward, added up by index.

bytes  forward (tokens + rows hit) C sizeof(T) and the indices; backward (tokens + V) C: the
       gradient of the whole table is written, zeros where no index points
       csrc/kernels/embedding/embedding.cu
       the kernels' own, in the backward: sorted indices and their order instead of the indices,
       rows hit after the zeros, which are no kernel's, and pieces of runs that are cut
FLOPs  1 an element in the backward                      bound: memory
"""

import numpy as np

from bench.case import Case, integers, normal

SIZES = {  # tokens, rows of the table, columns
    "full": [(8192, 50257, 768), (8192, 50257, 1600), (16384, 32000, 4096)],
    "quick": [(1024, 5000, 128)],
    "tiny": [(64, 100, 64)],
}
PART = 16  # positions that one thread adds up, as in the kernel


def cases(scale):
    for tokens, V, C in SIZES[scale]:
        index = integers(V, tokens)
        hit = np.unique(index).size
        yield Case(
            op="embedding",
            shape=f"{tokens} of {V}x{C}",
            run=lambda F, index, w: F.embedding(index, w),
            inputs=lambda index=index, V=V, C=C: [index, normal(V, C)],
            elements={"forward": (tokens + hit) * C, "backward": (tokens + V) * C},
            fixed={"forward": 8 * tokens, "backward": 8 * tokens},
            extra={"backward": ((hit - V) * C, 8 * tokens + _pieces(np.sort(index), C))},
            flops={"forward": 0, "backward": tokens * C},
        )


def _pieces(index, C):
    """Bytes for the runs of equal indices that go over several parts: a piece for each part, out
    and in again, and the two indices at each cut.
    """
    cuts = np.arange(PART, index.size, PART)
    cut = index[cuts] == index[cuts - 1]
    begins = cut & ~np.concatenate([[False], cut[:-1] & (index[cuts[1:]] == index[cuts[:-1]])])
    return 8 * C * int(cut.sum() + begins.sum()) + 16 * cuts.size
