"""Sorting: sort, argsort, topk. The indices carry no gradient, the values do."""

import numpy as np

from pynn.autograd import Function
from pynn.backend import array_module, widen
from pynn.functional.shape import gather, index


def argsort(x, axis=-1, descending=False):
    """The indices that sort x along an axis, int64; equal elements stay in order, NaN comes last
    (descending: first).
    """
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"[argsort] expected an axis in [{-x.ndim}, {x.ndim}), got {axis}")
    return Argsort(axis, descending)(x.detach())


class Argsort(Function):
    """y = the indices that sort x along an axis, stably."""

    no_kernel = "a sort, not one pass over memory"

    def __init__(self, axis, descending):
        self.axis, self.descending = axis, descending

    def forward(self, x):
        xp, axis = array_module(x), self.axis
        if not self.descending:
            return xp.argsort(widen(x), axis=axis, kind="stable").astype(np.int64)
        # of the reversed line, back to front: equal elements stay in order
        last = x.shape[axis] - 1
        flipped = xp.argsort(widen(xp.flip(x, axis)), axis=axis, kind="stable")
        return last - xp.flip(flipped, axis).astype(np.int64)


def sort(x, axis=-1, descending=False):
    """x sorted along an axis, and where each element stood: (values, indices).

    values   x's shape and dtype; its gradient goes back to where the values stood
    indices  int64; equal elements stay in order, NaN comes last (descending: first)
    """
    indices = argsort(x, axis, descending)
    return gather(x, axis, indices), indices


def topk(x, k, axis=-1, largest=True):
    """The k largest (or smallest) elements along an axis, in order: (values, indices).

    Raises ValueError unless 0 <= k <= the axis's length.
    """
    n = x.shape[axis] if -x.ndim <= axis < x.ndim else None
    if n is not None and not 0 <= k <= n:
        raise ValueError(f"[topk] expected 0 <= k <= {n}, got {k}")
    first = (slice(None),) * (axis % x.ndim if x.ndim else 0) + (slice(0, k),)
    indices = index(argsort(x, axis, descending=largest), first)
    return gather(x, axis, indices), indices
