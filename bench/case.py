"""Case: one op on inputs of one shape, what it must move and compute, and how PyTorch says it.

A family is a file bench/<family>.py with `cases(scale)`, which yields its cases; scale is "full"
(the shapes of real networks, for a GPU), "quick" (for a CPU) or "tiny" (for the simulator, where
the bytes of these formulae are compared with those that the kernels ask for).
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from pynn import backend

SCALES = ("full", "quick", "tiny")
WANTED = {"backward": None, "dgrad": 0, "wgrad": 1}  # pass -> the one input with a gradient
_device = "cpu"  # where numbers are drawn


@dataclasses.dataclass(frozen=True)
class Case:
    """One op, run as run(F, *tensors) with pynn.functional as F.

    elements  {pass: numbers of the row's dtype that have to be read or written at least once};
              a pass is forward, backward, or dgrad and wgrad: the gradient of the first or the
              second input alone
    flops     {pass: FLOPs}, a multiply-add as two
    inputs    () -> arrays; floats are cast to the row's dtype and get a gradient, others stay
    torch     as run, with torch.nn.functional; without it `run` serves both
    fixed     {pass: bytes of other types, whatever the row's dtype}
    extra     {pass: (numbers, bytes)} that pynn's kernels move on top: partial results, and what
              one launch leaves for the next; counted against them, so no part of `bytes`
    matrix    whether tensor cores do the arithmetic, so that FLOPs bound it, too
    random    whether two libraries need not agree
    labels    words for plots: {"n": ...} puts the case into a sweep over n
    """

    op: str
    shape: str
    run: Callable
    inputs: Callable
    elements: dict
    flops: dict
    torch: Callable | None = None
    fixed: dict = dataclasses.field(default_factory=dict)
    extra: dict = dataclasses.field(default_factory=dict)
    matrix: bool = False
    random: bool = False
    labels: dict = dataclasses.field(default_factory=dict)

    @property
    def passes(self):
        return tuple(self.elements)

    def bytes(self, direction, itemsize) -> int:
        """The least that the pass must move through memory in a dtype of that many bytes."""
        return self.elements[direction] * itemsize + self.fixed.get(direction, 0)

    def moved(self, direction, itemsize) -> int:
        """What pynn's kernels move for the pass, if caches hold all that a launch asks for twice;
        what the kernels' headers say.
        """
        numbers, others = self.extra.get(direction, (0, 0))
        return self.bytes(direction, itemsize) + numbers * itemsize + others

    def prepare(self, library, direction, sets, dys):
        """Functions, one for each set of inputs, that run the pass once and give its results.

        sets  lists of arrays on the library's device; dys  one for each set, for the backward
        """
        function = library.function(self)
        return [
            _forward(library, function, arrays)
            if direction == "forward"
            else _backward(library, function, arrays, dy, WANTED[direction])
            for arrays, dy in zip(sets, dys, strict=True)
        ]


def _forward(library, function, arrays):
    tensors = [library.tensor(a) for a in arrays]

    def call():
        with library.no_grad():
            return [function(*tensors)]

    return call


def _backward(library, function, arrays, dy, wanted):
    tensors = [
        library.tensor(a, requires_grad=wanted is None or i == wanted) for i, a in enumerate(arrays)
    ]
    leaves = [t for t in tensors if t.requires_grad]
    y, dy = function(*tensors), library.tensor(dy)

    def call():
        return library.grad(y, leaves, dy)

    return call


# ------------------------------------------------------------------ data


@contextlib.contextmanager
def drawn_on(device):
    """Let `normal` give arrays on that device: a host takes seconds for what a GPU times in
    microseconds.
    """
    global _device
    former, _device = _device, device
    try:
        yield
    finally:
        _device = former


@functools.cache
def _pool(device):
    numbers = np.random.default_rng(0).standard_normal(1_000_003).astype(np.float32)
    return backend.to_device(numbers, device)


def normal(*shape, scale=1.0, start=0):
    """Normal numbers, out of a million drawn once: a fast draw of any size. `start` shifts them."""
    size = int(np.prod(shape, dtype=np.int64))
    pool = _pool(_device)
    xp = backend.array_module(pool)
    numbers = xp.tile(xp.roll(pool, -start), -(-size // pool.size))[:size].reshape(shape)
    return numbers if scale == 1.0 else numbers * np.float32(scale)


def integers(high, *shape):
    """Integers in [0, high), int64."""
    return np.random.default_rng(1).integers(0, high, shape)


def named(*shape):
    """A shape as rows show it: 64x1024."""
    return "x".join(map(str, shape))
