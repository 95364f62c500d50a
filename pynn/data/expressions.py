"""Arithmetic expressions as trees, drawn at random, with the value of every node."""

import numpy as np

from pynn.data._draw import generator
from pynn.data.dataset import ArrayDataset

MODULUS = 5
SYMBOLS = (" ", "0", "1", "2", "3", "4", "+", "-", "*")  # 0 is no node: it fills up short rows
UNCOUNTED = -100  # the value of no node

_VALUES = {"+": np.add, "-": np.subtract, "*": np.multiply}


def expressions(count: int, depths: range | list[int], seed: int = 0) -> ArrayDataset:
    """Trees over +, - and * of the digits 0 to 4; values are what is left on division by 5.

    count   trees, each of a depth drawn from `depths`, at least 1: operations from root to deepest
            leaf; one side of an operation is as deep as can be, the other of any depth below
    returns symbols   (count, M) int64, places in SYMBOLS, a row's nodes in preorder, the root first
            children  (count, M, 2) int64, the places in the row of left and right; -1 for none
            values    (count, M) int64, of the subtree below each node, UNCOUNTED where none is

    Raises ValueError for a depth below 1.
    """
    depths = list(depths)
    if not depths or min(depths) < 1:
        raise ValueError(f"[expressions] depths: expected numbers of at least 1, got {depths}")
    rng = generator(seed)
    trees = [_grown(rng, depths[int(rng.integers(len(depths)))]) for _ in range(count)]
    M = max((len(tree) for tree in trees), default=1)
    symbols = np.zeros((count, M), np.int64)
    children = np.full((count, M, 2), -1, np.int64)
    values = np.full((count, M), UNCOUNTED, np.int64)
    for i, tree in enumerate(trees):
        for j, (symbol, below, value) in enumerate(tree):
            symbols[i, j], children[i, j], values[i, j] = SYMBOLS.index(symbol), below, value
    return ArrayDataset(symbols, children, values)


def _grown(rng, depth, first=0):
    """[(symbol, (left, right), value)] of a tree in preorder; its root has place `first`."""
    if depth == 0:
        digit = int(rng.integers(MODULUS))
        return [(str(digit), (-1, -1), digit)]
    sides = [depth - 1, int(rng.integers(depth))]
    if rng.integers(2):
        sides.reverse()
    symbol = "+-*"[int(rng.integers(3))]
    left = _grown(rng, sides[0], first + 1)
    right = _grown(rng, sides[1], first + 1 + len(left))
    value = int(_VALUES[symbol](left[0][2], right[0][2])) % MODULUS
    return [(symbol, (first + 1, first + 1 + len(left)), value), *left, *right]


def written(symbols: np.ndarray, children: np.ndarray, node: int = 0) -> str:
    """One row of `expressions` as text: "((1 + 2) * 4)"."""
    left, right = children[node]
    if left < 0:
        return SYMBOLS[symbols[node]]
    sides = (written(symbols, children, int(side)) for side in (left, right))
    return f"({f' {SYMBOLS[symbols[node]]} '.join(sides)})"
