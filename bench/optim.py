"""Optimizers: one step over the parameter list of GPT-2, and what is done with all gradients.

bytes  float32: p and each slot in and out, the gradient in: Adam 7 n, rules with one slot 5 n
       16 bits: the gradient in and p out, besides a float32 master copy and the slots in and
       out: Adam 4 n + 24 n bytes, rules with one slot 4 n + 16 n
       grad_norm  n: the norm is below what it is clipped to; the kernels' own: two sums for each
       16,384 elements of an array, out and in, norm and clip, and the clip again
       zero_grad  n
FLOPs  counted as 4 an element and slot                  bound: memory
"""

import dataclasses
import math

from bench.case import Case, normal

RULES = {  # name: (rule, options, slots)
    "plain_sgd": ("SGD", {"lr": 1.0}, 0),
    "sgd": ("SGD", {"lr": 1.0, "momentum": 0.9}, 1),
    "adam": ("Adam", {"lr": 1.0}, 2),
    "amsgrad": ("Adam", {"lr": 1.0, "amsgrad": True}, 3),
    "adamw": ("AdamW", {"lr": 1.0, "weight_decay": 0.1}, 2),
    "lion": ("Lion", {"lr": 1.0}, 1),
    "rmsprop": ("RMSprop", {"lr": 1.0}, 1),
    "adagrad": ("Adagrad", {"lr": 1.0}, 1),
}
GPT2 = {  # layers, width, vocabulary, context
    "full": (12, 768, 50257, 1024),
    "quick": (2, 128, 1000, 64),
    "tiny": (1, 32, 100, 16),
}


def gpt2(layers, width, vocabulary, context):
    """Shapes of GPT-2's parameters, the output layer tied to the embedding."""
    block = [(width,)] * 2 + [(3 * width, width), (3 * width,), (width, width), (width,)]
    block += [(width,)] * 2 + [(4 * width, width), (4 * width,), (width, 4 * width), (width,)]
    return [(vocabulary, width), (context, width)] + block * layers + [(width,)] * 2


@dataclasses.dataclass(frozen=True)
class Step(Case):
    """A rule's step, in place; one set of parameters is far larger than any cache, or small enough
    to stay there in training, too.
    """

    rule: str = ""
    options: dict = dataclasses.field(default_factory=dict)
    slots: int = 1
    size: int = 0

    def bytes(self, direction, itemsize):
        state = 8 * self.slots * self.size
        if itemsize == 2:
            return (4 + 8) * self.size + state
        return itemsize * self.size * (3 + 2 * self.slots)

    def prepare(self, library, direction, sets, dys):
        return [self._prepare(library, arrays) for arrays in sets[:1]]

    def _prepare(self, library, arrays):
        half = len(arrays) // 2
        params = [library.tensor(a.copy(), requires_grad=True) for a in arrays[:half]]
        for p, g in zip(params, arrays[half:], strict=True):
            p.grad = library.tensor(g)
        return self._call(library, params)

    def _call(self, library, params):
        optimizer = library.optimizer(self.rule, params, self.options)

        def call():
            optimizer.step()
            return params

        return call


class GradNorm(Step):
    """The norm of all gradients, of which the clip makes nothing."""

    def bytes(self, direction, itemsize):
        return itemsize * self.size

    def _call(self, library, params):
        return lambda: [library.clip_grad_norm(params, 1e9)]


class ZeroGrad(GradNorm):
    """Zeros in place of all gradients, where they lie."""

    def _call(self, library, params):
        optimizer = library.optimizer(self.rule, params, self.options)

        def call():
            optimizer.zero_grad(set_to_none=False)
            return [p.grad for p in params]

        return call


def cases(scale):
    shapes = gpt2(*GPT2[scale])
    n = sum(map(math.prod, shapes))
    steps = {op: (Step, *how) for op, how in RULES.items()}
    steps["grad_norm"] = (GradNorm, "SGD", {"lr": 1.0}, 0)
    steps["zero_grad"] = (ZeroGrad, "SGD", {"lr": 1.0}, 0)
    parts = sum(-(-math.prod(s) // 16384) for s in shapes)
    for op, (kind, rule, options, slots) in steps.items():
        yield kind(
            op=op,
            shape=f"{len(shapes)} arrays, {n / 1e6:.3g} M",
            run=None,
            inputs=lambda: [normal(*s, start=k) for k in (0, 17) for s in shapes],
            elements={"step": 0},
            extra={"step": (0, 16 * parts + 12)} if op == "grad_norm" else {},
            flops={"step": 4 * slots * n},
            rule=rule,
            options=options,
            slots=slots,
            size=n,
        )
