"""Dropout of elements, and of channels: the mask is drawn in the kernel, and in the backward again.

bytes  2 n sizeof(T), forward and backward
FLOPs  counted as 1 an element; Philox takes integers    bound: memory
"""

import math

from bench.case import Case, named, normal

SIZES = {"full": [(8192, 768), (8192, 3072), (8192, 12288)], "quick": [(1024, 768)]}
SIZES["tiny"] = [(64, 128)]
IMAGES = {"full": [(256, 28, 28, 512)], "quick": [(16, 28, 28, 64)], "tiny": [(2, 8, 8, 32)]}


def cases(scale):
    for shape in SIZES[scale]:
        yield _case("dropout", lambda F, x: F.dropout(x, 0.1), shape)
    for shape in IMAGES[scale]:
        yield _case("dropout2d", lambda F, x: F.dropout2d(x, 0.1), shape, _torch_dropout2d)


def _torch_dropout2d(F, x):
    return F.dropout2d(x.permute(0, 3, 1, 2), 0.1).permute(0, 2, 3, 1)


def _case(op, run, shape, torch=None):
    n = math.prod(shape)
    return Case(
        op=op,
        shape=named(*shape),
        run=run,
        torch=torch,
        inputs=lambda: [normal(*shape)],
        elements={"forward": 2 * n, "backward": 2 * n},
        flops={"forward": n, "backward": n},
        random=True,
    )
