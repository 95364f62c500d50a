"""Elements moved: a transpose, images with their channels first, a slice of columns, a joint.

bytes  2 n sizeof(T) for n elements moved
FLOPs  none                                              bound: memory
"""

import math

from bench.case import Case, named, normal

SIZES = {
    "full": {
        "transpose": [(8192, 8192), (65536, 768)],
        "to_channels_first": [(256, 56, 56, 256), (64, 224, 224, 3)],
        "slice": [(8192, 12288)],
        "cat": [(8192, 4096)],
    },
    "quick": {"transpose": [(1024, 768)], "to_channels_first": [(8, 28, 28, 64)]},
    "tiny": {
        "transpose": [(64, 128)],
        "to_channels_first": [(2, 8, 8, 16)],
        "slice": [(64, 128)],
        "cat": [(64, 64)],
    },
}


def cases(scale):
    for op, shapes in SIZES[scale].items():
        for shape in shapes:
            n = math.prod(shape)
            part = 2 * n if op == "cat" else n // 2 if op == "slice" else n
            yield Case(
                op=op,
                shape=named(*shape),
                run=_RUN[op],
                inputs=lambda shape=shape, op=op: [
                    normal(*shape, start=i) for i in range(2 if op == "cat" else 1)
                ],
                elements={"forward": 2 * part},
                flops={"forward": 0},
            )


_RUN = {
    "transpose": lambda F, x: x.transpose(0, 1).contiguous(),
    "to_channels_first": lambda F, x: x.permute(0, 3, 1, 2).contiguous(),
    "slice": lambda F, x: x[:, : x.shape[1] // 2].contiguous(),
    "cat": lambda F, x, y: _cat(F)([x, y], 1),
}


def _cat(F):
    """PyTorch's functional has none."""
    if hasattr(F, "cat"):
        return F.cat
    import torch

    return torch.cat
