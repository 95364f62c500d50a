"""Softmax, its logarithm, and cross entropy of rows of logits.

bytes  softmax, log_softmax  forward 2 n sizeof(T), backward 3 n sizeof(T)
                             csrc/kernels/softmax/softmax.cu, rows that stay on chip; longer
                             ones are read once more, and the share of the peak shows it
       cross_entropy         forward n sizeof(T), and 24 a row: label, max, sum, loss, weight;
                             the sum of the losses takes a launch of its own, 8 a row and 8;
                             backward 2 n and 24 a row, of a graph that is kept: its first is the
                             gradient that the forward wrote, and is part of the step below
       cross_entropy step    both, from a loss whose gradient is 1: 2 n and 24 a row; besides, the
                             sum of the weights and of the losses, 16 a row and 20
                             csrc/kernels/softmax/cross_entropy.cu
       soft_cross_entropy    of rows of probabilities: forward 2 n and 16 a row; their mean by a
                             launch of its own, 4 a row and 4; gradient of the logits 3 n, 12 a row
                             and 4        csrc/kernels/softmax/soft_cross_entropy.cu
FLOPs  4 n                                               bound: memory
"""

import dataclasses

from bench.case import Case, integers, named, normal

ROWS = {
    "full": [(65536, 256), (16384, 1024), (8192, 4096), (1024, 32768), (256, 131072), (64, 262144)],
    "quick": [(4096, 64), (1024, 1024), (16, 65536)],
    "tiny": [(16, 256), (4, 2048)],
}
LOGITS = {
    "full": [(8192, 50257), (4096, 32000), (2048, 128256), (1024, 1000)],
    "quick": [(128, 10), (256, 5000)],
    "tiny": [(16, 1000)],
}


def cases(scale):
    for rows, C in ROWS[scale]:
        yield _rows("softmax", lambda F, x: F.softmax(x, -1), rows, C)
        yield _rows("log_softmax", lambda F, x: F.log_softmax(x, -1), rows, C)
    for rows, C in LOGITS[scale]:
        yield _cross_entropy(rows, C)
        yield _cross_entropy_step(rows, C)
        yield _soft_cross_entropy(rows, C)


def _rows(op, run, rows, C):
    n = rows * C
    return Case(
        op=op,
        shape=named(rows, C),
        run=run,
        inputs=lambda: [normal(rows, C, scale=2.0)],
        elements={"forward": 2 * n, "backward": 3 * n},
        flops={"forward": 4 * n, "backward": 4 * n},
        labels={"n": C},
    )


class Kept(Case):
    """The second backward of a graph and those after it, which begin from the logits."""

    def prepare(self, library, direction, sets, dys):
        calls = super().prepare(library, direction, sets, dys)
        if direction == "backward":
            for call in calls:
                call()
        return calls


def _cross_entropy(rows, C):
    n = rows * C
    return Kept(
        op="cross_entropy",
        shape=named(rows, C),
        run=lambda F, x, labels: F.cross_entropy(x, labels),
        inputs=lambda: [normal(rows, C, scale=2.0), integers(C, rows)],
        elements={"forward": n, "backward": 2 * n},
        fixed={"forward": 24 * rows, "backward": 16 * rows + 4},
        extra={"forward": (0, 8 * rows + 8), "backward": (0, 4)},
        flops={"forward": 4 * n, "backward": 4 * n},
        labels={"n": C},
    )


def _soft_cross_entropy(rows, C):
    n = rows * C
    return Case(
        op="soft_cross_entropy",
        shape=named(rows, C),
        run=lambda F, x, t: F.cross_entropy(x, t.detach()),
        inputs=lambda: [normal(rows, C, scale=2.0), abs(normal(rows, C, start=5)) / C],
        elements={"forward": 2 * n, "dgrad": 3 * n},
        fixed={"forward": 16 * rows + 4, "dgrad": 12 * rows + 4},
        extra={"forward": (0, 4 * rows)},
        flops={"forward": 6 * n, "dgrad": 5 * n},
        labels={"n": C},
    )


class Step(Case):
    """Loss and gradient together, as a training step asks for them."""

    def prepare(self, library, direction, sets, dys):
        function = library.function(self)
        return [self._prepare(library, function, arrays) for arrays in sets]

    def _prepare(self, library, function, arrays):
        x, labels = library.tensor(arrays[0], requires_grad=True), library.tensor(arrays[1])
        return lambda: library.grad(function(x, labels), [x], None)


def _cross_entropy_step(rows, C):
    case = _cross_entropy(rows, C)
    n = rows * C
    return Step(
        **{f.name: getattr(case, f.name) for f in dataclasses.fields(case)}
        | {
            "op": "cross_entropy_step",
            "elements": {"step": 2 * n},
            "fixed": {"step": 24 * rows},
            "extra": {"step": (0, 16 * rows + 20)},
            "flops": {"step": 8 * n},
        }
    )
