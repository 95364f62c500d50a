"""Normalizations: of rows (layer, RMS), and of the channels of a batch of images.

bytes  layer_norm, rms_norm  forward (2 n + weights) sizeof(T), backward 3 n and the weights and
                             their gradients
       layer_norm_gelu       the same, and the bias again in the backward
       add_layer_norm        of x + residual, and the sum is kept: forward 4 n, backward 3 n
       batch_norm (N 1, G C) with relu or without: forward 3 n, the statistics take a pass of their
                             own; backward 5 n
       statistics            8 bytes each
       group_norm            the same, with statistics of each of N samples and G groups
       the kernels' own      partial sums of dw and db, 16 P C, P teams;  down columns, of one
                             split: moments 32 N C and statistics again 16 N G, backward sums
                             32 N C, means and statistics again 48 N G, and w again, or with relu w
                             three times and b twice
                             csrc/kernels/norm/row_norm_*.cu, group_*.cu
FLOPs  5 an element forward, 8 backward                  bound: memory
"""

import dataclasses
import math

from bench.case import Case, named, normal

ROWS = {
    "full": [
        (65536, 256),
        (8192, 768),
        (8192, 1600),
        (4096, 4096),
        (2048, 8192),
        (512, 65536),
        (64, 262144),
    ],
    "quick": [(1024, 256), (1024, 768)],
    "tiny": [(16, 256)],
}
IMAGES = {
    "full": [(256, 56, 56, 64), (256, 28, 28, 512), (256, 14, 14, 1024), (256, 7, 7, 2048)],
    "quick": [(16, 28, 28, 64)],
    "tiny": [(4, 8, 8, 32)],
}
GROUPED = {  # image, groups
    "full": [((32, 64, 64, 320), 32), ((32, 16, 16, 1280), 32)],  # of a diffusion network
    "quick": [((4, 28, 28, 64), 8)],
    "tiny": [((4, 8, 8, 32), 8)],
}


def cases(scale):
    for rows, C in ROWS[scale]:
        yield _layer_norm(rows, C)
        yield _layer_norm_gelu(rows, C)
        yield _rms_norm(rows, C)
        yield _add_layer_norm(rows, C)
    for shape in IMAGES[scale]:
        yield _batch_norm(shape)
        yield _batch_norm(shape, "relu")
    for shape, groups in GROUPED[scale]:
        yield _group_norm(shape, groups)


def _layer_norm(rows, C):
    n = rows * C
    return Case(
        op="layer_norm",
        shape=named(rows, C),
        run=lambda F, x, w, b: F.layer_norm(x, w, b),
        torch=lambda F, x, w, b: F.layer_norm(x, (C,), w, b),
        inputs=lambda: [normal(rows, C), 1 + normal(C, scale=0.1), normal(C, scale=0.1, start=3)],
        elements={"forward": 2 * n + 2 * C, "backward": 3 * n + 3 * C},
        fixed={"forward": 16 * rows, "backward": 16 * rows},
        extra={"backward": (0, _parts(rows, C))},
        flops={"forward": 5 * n, "backward": 8 * n},
        labels={"n": C},
    )


def _layer_norm_gelu(rows, C):
    plain = _layer_norm(rows, C)
    return dataclasses.replace(
        plain,
        op="layer_norm_gelu",
        run=lambda F, x, w, b: F.layer_norm(x, w, b, activation="gelu"),
        torch=lambda F, x, w, b: F.gelu(plain.torch(F, x, w, b)),
        elements=plain.elements | {"backward": plain.elements["backward"] + C},
    )


def _parts(rows, C):
    """Bytes of the partial sums, out of the first kernel and into the second."""
    return 16 * C * min(max(1, rows // 4), 2048 if C <= 512 else 512 if C <= 2048 else 256)


def _rms_norm(rows, C):
    n = rows * C
    return Case(
        op="rms_norm",
        shape=named(rows, C),
        run=lambda F, x, w: F.rms_norm(x, w, 1e-5),
        torch=lambda F, x, w: F.rms_norm(x, (C,), w, 1e-5),
        inputs=lambda: [normal(rows, C), 1 + normal(C, scale=0.1)],
        elements={"forward": 2 * n + C, "backward": 3 * n + 2 * C},
        fixed={"forward": 8 * rows, "backward": 8 * rows},
        extra={"backward": (0, _parts(rows, C))},
        flops={"forward": 5 * n, "backward": 8 * n},
        labels={"n": C},
    )


def _add_layer_norm(rows, C):
    n = rows * C
    return Case(
        op="add_layer_norm",
        shape=named(rows, C),
        run=lambda F, x, r, w, b: F.add_layer_norm(x, r, w, b, prenorm=False),
        torch=lambda F, x, r, w, b: F.layer_norm(x + r, (C,), w, b),
        inputs=lambda: [
            normal(rows, C),
            normal(rows, C, start=5),
            1 + normal(C, scale=0.1),
            normal(C, scale=0.1, start=3),
        ],
        elements={"forward": 4 * n + 2 * C, "backward": 3 * n + 3 * C},
        fixed={"forward": 16 * rows, "backward": 16 * rows},
        extra={"backward": (0, _parts(rows, C))},
        flops={"forward": 6 * n, "backward": 8 * n},
        labels={"n": C},
    )


def _batch_norm(shape, activation=None):
    def torch(F, x, w, b):
        y = F.batch_norm(x, None, None, w, b, training=True)
        return F.relu(y) if activation else y

    C = shape[-1]
    return _columns(
        "batch_norm_relu" if activation else "batch_norm",
        shape,
        named(*shape),
        lambda F, x, w, b: F.batch_norm(x, None, None, w, b, training=True, activation=activation),
        torch,
        samples=1,
        groups=C,
        activation=activation,
    )


def _group_norm(shape, groups):
    return _columns(
        "group_norm",
        shape,
        f"{named(*shape)} g{groups}",
        lambda F, x, w, b: F.group_norm(x, groups, w, b),
        lambda F, x, w, b: F.group_norm(x, groups, w, b),
        samples=shape[0],
        groups=groups,
    )


def _columns(op, shape, words, run, torch, samples, groups, activation=None):
    """Statistics of each sample and group, down the columns of (samples, ..., C)."""
    n, C = math.prod(shape), shape[-1]
    statistics, columns = samples * groups, samples * C
    return Case(
        op=op,
        shape=words,
        run=run,
        torch=lambda F, x, w, b: torch(F, x.permute(0, 3, 1, 2), w, b).permute(0, 2, 3, 1),
        inputs=lambda: [normal(*shape), 1 + normal(C, scale=0.1), normal(C, scale=0.1, start=3)],
        elements={"forward": 3 * n + 2 * C, "backward": 5 * n + 3 * C},
        fixed={"forward": 16 * statistics, "backward": 16 * statistics},
        extra={
            "forward": (0, 32 * columns + 16 * statistics),
            "backward": (4 * C if activation else C, 32 * columns + 48 * statistics),
        },
        flops={"forward": 5 * n, "backward": 8 * n},
    )
