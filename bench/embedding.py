"""Embedding: rows gathered by index; in the backward, added up by index. One-hot rows, rotations.

bytes  forward (tokens + rows hit) C sizeof(T) and the indices; backward (tokens + V) C: the
       gradient of the whole table is written, zeros where no index points
       csrc/kernels/embedding/embedding.cu
       the kernels' own, in the backward: sorted indices and their order instead of the indices,
       rows hit after the zeros, which are no kernel's, and pieces of runs that are cut
       one_hot  8 of each number out, and the indices     csrc/kernels/embedding/one_hot.cu
       rotary  2 n sizeof(T) both ways and 8 an angle, T D / 2 of them for (N, heads, T, D)
                                                         csrc/kernels/elementwise/rotary.cu
FLOPs  1 an element in the backward                      bound: memory
"""

import math

import numpy as np

from bench.case import Case, integers, named, normal

SIZES = {  # tokens, rows of the table, columns
    "full": [(8192, 50257, 768), (8192, 50257, 1600), (16384, 32000, 4096)],
    "quick": [(1024, 5000, 128)],
    "tiny": [(64, 100, 64)],
}
HEADS = {  # samples, heads, positions, channels
    "full": [(8, 32, 2048, 128), (16, 12, 1024, 64)],
    "quick": [(2, 4, 128, 32)],
    "tiny": [(2, 3, 9, 16)],
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
    for tokens, V in dict.fromkeys(size[:2] for size in SIZES[scale]):
        yield Case(
            op="one_hot",
            shape=f"{tokens} of {V}",
            run=lambda F, index, V=V: F.one_hot(index, V),
            inputs=lambda tokens=tokens, V=V: [integers(V, tokens)],
            elements={"forward": 0},
            fixed={"forward": 8 * tokens * (V + 1)},
            flops={"forward": 0},
        )
    for shape in HEADS[scale]:
        n, (T, D) = math.prod(shape), shape[2:]
        yield Case(
            op="rotary",
            shape=named(*shape),
            run=lambda F, x: F.rotary_embedding(x),
            torch=_torch_rotary,
            inputs=lambda shape=shape: [normal(*shape)],
            elements={"forward": 2 * n, "backward": 2 * n},
            fixed={"forward": 4 * T * D, "backward": 4 * T * D},
            flops={"forward": 3 * n, "backward": 3 * n},
        )


def _torch_rotary(F, x):
    import torch

    T, D = x.shape[2:]
    rates = 10000.0 ** (-torch.arange(0, D, 2, device=x.device, dtype=torch.float64) / D)
    angles = torch.arange(T, device=x.device)[:, None] * rates
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def _pieces(index, C):
    """Bytes for the runs of equal indices that go over several parts: a piece for each part, out
    and in again, and the two indices at each cut.
    """
    cuts = np.arange(PART, index.size, PART)
    cut = index[cuts] == index[cuts - 1]
    begins = cut & ~np.concatenate([[False], cut[:-1] & (index[cuts[1:]] == index[cuts[:-1]])])
    return 8 * C * int(cut.sum() + begins.sum()) + 16 * cuts.size
