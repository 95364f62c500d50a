"""Long short-term memory over trees: cells that compose children, and whole forests by height.

Gates stand one under another in the weights: i, f, g, o.
Tai, Socher, Manning 2015, arXiv:1503.00075.
"""

import math

import numpy as np

import pynn.functional as F
from pynn.nn import init
from pynn.nn.linear import check_sizes, empty
from pynn.nn.module import Module
from pynn.tensor import Tensor


class _Cell(Module):
    shown = ("input_size", "hidden_size")

    def __init__(self, input_size, hidden_size):
        super().__init__()
        check_sizes(type(self).__name__, input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size = input_size, hidden_size

    def reset_parameters(self):
        """All uniform in +-1 / sqrt(hidden_size)."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def forward(self, x, h, c):
        """(h, c) of the parents: x (N, input_size), h and c of their children (N, K, hidden_size),
        0 for a child that is not there.
        """
        if x.ndim != 2 or x.shape[1] != self.input_size:
            raise ValueError(
                f"[{type(self).__name__}] x: expected shape (N, {self.input_size}), got {x.shape}"
            )
        K = self.children or (h.shape[1] if h.ndim == 3 else 0)
        wanted = (x.shape[0], K, self.hidden_size)
        for name, state in (("h", h), ("c", c)):
            if state.shape != wanted:
                raise ValueError(
                    f"[{type(self).__name__}] {name}: expected shape {wanted}, got {state.shape}"
                )
        return self.compose(self.read(x), h, c)

    def read(self, x):
        """What the inputs say to the four gates, (N, 4 H)."""
        return F.linear(x, self.weight_ih, self.bias)


class ChildSumTreeLSTMCell(_Cell):
    """Any number of children, in no order: their h are summed, each c has its own forget gate.

    i, g, o from W x + U sum_k h_k + b;  f_k = sigmoid(W_f x + U_f h_k + b_f)
    c = i g + sum_k f_k c_k,  h = o tanh(c)

    weight_ih (4 H, input_size), weight_hh (4 H, H), bias (4 H,)
    """

    children = None

    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        H = hidden_size
        self.weight_ih, self.weight_hh = empty(4 * H, input_size), empty(4 * H, H)
        self.bias = empty(4 * H)
        self.reset_parameters()

    def compose(self, z, h, c):
        """(h, c) from `read`'s result and the children's states."""
        H, w = self.hidden_size, self.weight_hh
        summed = F.linear(h.sum(1), w)
        i = F.sigmoid(z[:, :H] + summed[:, :H])
        g = F.tanh(z[:, 2 * H : 3 * H] + summed[:, 2 * H : 3 * H])
        o = F.sigmoid(z[:, 3 * H :] + summed[:, 3 * H :])
        f = F.sigmoid(z[:, H : 2 * H].unsqueeze(1) + F.linear(h, w[H : 2 * H]))
        c = i * g + (f * c).sum(1)
        return o * F.tanh(c), c


class NaryTreeLSTMCell(_Cell):
    """`arity` children in order, 2 for binary trees: every gate sees all, each with weights of its
    own.

    weight_ih (4 H, input_size), bias (4 H,), the children's forget gates sharing f's
    weight_hh ((3 + arity) H, arity H), rows i, f_1 .. f_arity, g, o, columns h_1 .. h_arity
    """

    shown = ("input_size", "hidden_size", "arity")

    def __init__(self, input_size, hidden_size, arity=2):
        super().__init__(input_size, hidden_size)
        check_sizes("NaryTreeLSTMCell", arity=arity)
        H, self.arity, self.children = hidden_size, arity, arity
        self.weight_ih = empty(4 * H, input_size)
        self.weight_hh = empty((3 + arity) * H, arity * H)
        self.bias = empty(4 * H)
        self.reset_parameters()

    def compose(self, z, h, c):
        """(h, c) from `read`'s result and the children's states."""
        H, K, N = self.hidden_size, self.arity, z.shape[0]
        past = F.linear(h.reshape(N, K * H), self.weight_hh)
        i = F.sigmoid(z[:, :H] + past[:, :H])
        f = z[:, H : 2 * H].unsqueeze(1) + past[:, H : (K + 1) * H].reshape(N, K, H)
        g = F.tanh(z[:, 2 * H : 3 * H] + past[:, (K + 1) * H : (K + 2) * H])
        o = F.sigmoid(z[:, 3 * H :] + past[:, (K + 2) * H :])
        c = i * g + (F.sigmoid(f) * c).sum(1)
        return o * F.tanh(c), c


class TreeLSTM(Module):
    """A cell over the nodes of a forest, all of one height at once: so a batch of trees is one
    forest, and costs as many steps as its tallest tree.

    cell  ChildSumTreeLSTMCell or NaryTreeLSTMCell
    """

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, x, children):
        """(h, c) of all nodes, (M, hidden_size) each.

        x         (M, input_size)  the nodes' inputs, in any order
        children  (M, K)           the numbers of each node's children, -1 for none

        Raises ValueError for shapes or a cycle, IndexError for a number outside [-1, M).
        """
        children = children.numpy() if isinstance(children, Tensor) else np.asarray(children)
        M, K = len(x), self.cell.children
        K = K or (children.shape[1] if children.ndim == 2 else 0)
        if children.shape != (M, K):
            raise ValueError(f"[TreeLSTM] children: expected shape {(M, K)}, got {children.shape}")
        heights = heights_of(children)
        order = np.argsort(heights, kind="stable")
        place = np.empty(M + 1, np.int64)  # where a node's state lies; 0 is nobody's, of zeros
        place[order], place[-1] = np.arange(1, M + 1), 0
        z = self.cell.read(x)
        nobody = Tensor(np.zeros((1, self.cell.hidden_size)), dtype=x.dtype, device=x.device)
        hs = cs = nobody
        start = 0
        for count in np.bincount(heights) if M else ():
            nodes = order[start : start + count]
            below = Tensor(place[children[nodes]], device=x.device)
            said = F.embedding(Tensor(nodes, device=x.device), z)
            h, c = self.cell.compose(said, F.embedding(below, hs), F.embedding(below, cs))
            hs, cs = F.cat([hs, h]), F.cat([cs, c])
            start += count
        places = Tensor(place[:-1], device=x.device)
        return F.embedding(places, hs), F.embedding(places, cs)


def heights_of(children):
    """The height of each node over its leaves, 0 for a leaf."""
    M = len(children)
    if children.dtype.kind not in "iu" and children.size:
        raise TypeError(f"[TreeLSTM] children: expected integers, got {children.dtype}")
    children = children.astype(np.int64)
    wrong = (children < -1) | (children >= M)
    if wrong.any():
        raise IndexError(
            f"[TreeLSTM] children: expected numbers in [-1, {M}), got {children[wrong][0]}"
        )
    heights = np.zeros(M + 1, np.int64)
    heights[-1] = -1  # of a child that is not there
    for _ in range(M + 1):
        higher = heights[children].max(axis=1, initial=-1) + 1
        if (higher == heights[:-1]).all():
            return higher
        heights[:-1] = higher
    raise ValueError("[TreeLSTM] children: expected trees, got a node that is its own descendant")
