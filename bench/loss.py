"""Losses of two arrays, and of labels beside log-probabilities, reduced to their mean.

bytes  forward 2 n sizeof(T): predictions and targets; backward 3 n: both again, and the gradient;
       the loss, or its gradient, 4; the kernels' own: 16 for the sum of each 8 KB of predictions,
       of at most 1056 parts      csrc/kernels/loss/loss.cu
       nll_loss  forward an element and 8 a row, the label; backward 8 a row and the gradient; 4 as
       above; the kernels' own: loss and weight of each row, out and in, 16 a row, and 4; the sum of
       the weights again, 4       csrc/kernels/loss/nll.cu
       multi_margin_loss  forward n sizeof(T) and 8 a row, 4 as above; backward 2 n and that; the
       kernels' own: the loss of each row, out and in, 8 a row  csrc/kernels/loss/multi_margin.cu
       ctc_loss  of N samples, T steps, C classes, S labels: a class said at a step is read once,
       8 a state and step for the backward, which reads both and writes the gradient; 8 a label and
       24 a sample, 4; the kernels' own: loss and its gradient, 8 a sample  csrc/kernels/loss/ctc.cu
FLOPs  2 an element                                      bound: memory
"""

import math

import numpy as np

from bench.case import Case, integers, named, normal

SIZES = {"full": [(8192, 3072), (8192, 12288)], "quick": [(1024, 768)], "tiny": [(64, 128)]}
LOGITS = {"full": [(8192, 50257), (65536, 1000)], "quick": [(256, 5000)], "tiny": [(16, 1000)]}
SPOKEN = {  # steps, samples, classes, labels
    "full": [(1000, 32, 64, 120), (1600, 16, 1024, 200)],
    "quick": [(100, 8, 30, 20)],
    "tiny": [(9, 2, 5, 3)],
}
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
    for rows, C in LOGITS[scale]:
        yield Case(
            op="nll_loss",
            shape=named(rows, C),
            run=lambda F, x, labels: F.nll_loss(x, labels),
            inputs=lambda rows=rows, C=C: [normal(rows, C), integers(C, rows)],
            elements={"forward": rows, "backward": rows * C},
            fixed={"forward": 8 * rows + 4, "backward": 8 * rows + 4},
            extra={"forward": (0, 16 * rows + 4), "backward": (0, 4)},
            flops={"forward": rows, "backward": rows},
        )
        n = rows * C
        yield Case(
            op="multi_margin_loss",
            shape=named(rows, C),
            run=lambda F, x, labels: F.multi_margin_loss(x, labels),
            inputs=lambda rows=rows, C=C: [normal(rows, C), integers(C, rows)],
            elements={"forward": n, "backward": 2 * n},
            fixed={"forward": 8 * rows + 4, "backward": 8 * rows + 4},
            extra={"forward": (0, 8 * rows)},
            flops={"forward": 3 * n, "backward": 3 * n},
        )
    for T, N, C, S in SPOKEN[scale]:
        yield _ctc(T, N, C, S)


def _ctc(T, N, C, S):
    """All classes are said; every label is another than the one before."""
    states, labels = 2 * S + 1, np.arange(N * S).reshape(N, S) % (C - 1) + 1
    said = T * N * min(C, S + 1)
    return Case(
        op="ctc_loss",
        shape=f"{named(T, N, C)} of {S}",
        run=lambda F, x: F.ctc_loss(x, labels, reduction="sum", batch_first=False),
        torch=lambda F, x: F.ctc_loss(
            x, _on(x, labels), _on(x, [T] * N), _on(x, [S] * N), reduction="sum"
        ),
        inputs=lambda: [-abs(normal(T, N, C))],
        elements={"forward": said, "backward": said + T * N * C},
        fixed=dict.fromkeys(("forward", "backward"), 8 * T * N * states + 8 * N * (S + 3) + 4),
        extra=dict.fromkeys(("forward", "backward"), (0, 8 * N)),
        flops={"forward": 5 * T * N * states, "backward": 5 * T * N * states},
    )


def _on(x, numbers):
    import torch

    return torch.as_tensor(numbers, device=x.device)
