"""Gradient checkpointing: memory for time."""

import numpy as np

from pynn import random
from pynn.autograd import Function, enable_grad, is_grad_enabled, no_grad, run_backward
from pynn.tensor import Tensor


class _Checkpoint(Function):
    """Runs fn without a graph, and once more with one when the gradient is asked for."""

    def __init__(self, fn, args):
        self.fn, self.args = fn, args
        self.random_state = random.get_state()

    def forward(self, _, *arrays):
        with no_grad():
            out = self.fn(*self.args)
        return tuple(t.data for t in out) if isinstance(out, tuple) else out.data

    def backward(self, *dys):
        now = random.get_state()
        random.set_state(self.random_state)
        args = [
            a.detach().requires_grad_(a.requires_grad) if isinstance(a, Tensor) else a
            for a in self.args
        ]
        with enable_grad():
            outs = self.fn(*args)
        random.set_state(now)
        outs = outs if isinstance(outs, tuple) else (outs,)
        pairs = [(t, dy) for t, dy in zip(outs, dys, strict=True) if t.requires_grad]
        run_backward([t for t, _ in pairs], [dy for _, dy in pairs], retain_graph=False)
        return (None, *(a._grad for a in args if isinstance(a, Tensor)))


def checkpoint(fn, *args):
    """fn(*args) without keeping what its ops save: they run again in the backward. Memory for time.

    Random ops draw the same numbers both times. Gradients of parameters that fn uses by itself go
    to their `grad`. Chen et al. 2016, arXiv:1604.06174.
    """
    if not is_grad_enabled():
        return fn(*args)
    anchor = Tensor(
        np.zeros((), np.float32), requires_grad=True
    )  # so that the node exists whatever args require
    return _Checkpoint(fn, args)(anchor, *(a for a in args if isinstance(a, Tensor)))
