"""Rows of a table by their number: embedding, and one-hot vectors.

The kernels stand in csrc/kernels/embedding/.
"""

import numpy as np

from pynn import dtypes
from pynn.autograd import Function
from pynn.backend import array_module, contiguous, device_of, native, widen
from pynn.functional.activation import float_input
from pynn.tensor import Tensor


class Embedding(Function):
    """y[i] = w[index[i]];  dw[k] = sum of dy[i] over the i with index[i] = k, 0 for padding_idx.

    The sums are taken in one order: the same bits each time.
    """

    def __init__(self, index, padding_idx=None):
        self.index, self.padding_idx = index, padding_idx

    def forward(self, w):
        self.shape = w.shape
        check_range("embedding", self.index, w.shape[0])
        return w[self.index]

    def backward(self, dy):
        V, D = self.shape
        index, rows = self.index.reshape(-1), widen(dy).reshape(self.index.size, D)
        dw = (_add_rows if isinstance(dy, np.ndarray) else _add_sorted)(index, rows, V)
        if self.padding_idx is not None:
            dw[self.padding_idx] = 0
        return dw.astype(dy.dtype, copy=False)

    def forward_native(self, w):
        self.shape = w.shape
        check_range("embedding", self.index, w.shape[0])
        (index,) = contiguous([self.index])
        return rows_native(w, index.reshape(-1)).reshape(*index.shape, w.shape[1])

    def backward_native(self, dy):
        V, D = self.shape
        padding = -1 if self.padding_idx is None else self.padding_idx
        index = self.index.reshape(-1)
        return add_rows_native(dy.reshape(index.size, D), index, V, padding=padding)


def rows_native(table, index):
    """table[index] of a matrix, by a kernel; the index is not checked."""
    y = array_module(table).empty((index.size, table.shape[1]), table.dtype)
    native.embedding_fwd(table, index, y)
    return y


def add_rows_native(rows, index, count, once=False, padding=-1):
    """A matrix of `count` rows whose row k is the sum of rows[i] with index[i] = k, by a kernel.

    once     whether no index comes twice, so that none need be sorted
    padding  the row that stays 0, or -1
    """
    xp = array_module(rows)
    order = xp.arange(index.size) if once else xp.argsort(index, kind="stable")
    dw = xp.zeros((count, rows.shape[1]), rows.dtype)
    partial = xp.empty((-(-index.size // 16), 2, rows.shape[1]), np.float32)
    native.embedding_bwd(rows, order, index if once else index[order], partial, dw, padding)
    return dw


def _add_rows(index, rows, count):
    """Row k of the result is the sum of rows[i] with index[i] = k, in order.

    As one add over single elements, for which NumPy has a fast path that whole rows lack.
    """
    D = rows.shape[1]
    out = np.zeros(count * D, rows.dtype)
    at = index[:, None] * D + np.arange(D)
    np.add.at(out, at.reshape(-1), rows.reshape(-1))
    return out.reshape(count, D)


def _add_sorted(index, rows, count):
    """The same on CuPy, whose scatter-add has no order: rows are sorted by index, and neighbours
    with the same index are added in pairs until there are none.
    """
    xp = array_module(rows)
    order = xp.argsort(index, kind="stable")
    index, rows = index[order], rows[order]
    while True:
        place = xp.arange(index.size) - xp.searchsorted(index, index)  # within its run
        odd = place % 2 == 1
        at = xp.flatnonzero(odd)
        if not at.size:
            break
        rows[at - 1] += rows[at]
        index, rows = index[~odd], rows[~odd]
    out = xp.zeros((count, rows.shape[1]), rows.dtype)
    out[index] = rows
    return out


class OneHot(Function):
    """y[..., c] = 1 where c is the index, else 0."""

    native_dtypes = ("int64",)

    def __init__(self, classes, dtype):
        self.classes, self.dtype = classes, dtype

    def forward(self, index):
        xp = array_module(index)
        out = xp.zeros((index.size, self.classes), self.dtype)
        out[xp.arange(index.size), index.reshape(-1)] = 1
        return out.reshape(*index.shape, self.classes)

    def forward_native(self, index):
        y = array_module(index).empty((index.size, self.classes), self.dtype)
        native.one_hot(index.reshape(-1), y)
        return y.reshape(*index.shape, self.classes)


def check_range(op, index, count):
    """Raise IndexError, with the first offender, unless all of index is in [0, count)."""
    outside = (index < 0) | (index >= count)
    if outside.any():
        at = int(outside.reshape(-1).argmax())
        got = int(index.reshape(-1)[at])
        raise IndexError(f"[{op}] index: expected integers in [0, {count}), got {got}")


def integers(op, name, value, like):
    """The raw int64 array of an integer tensor, array or list, on the device of array `like`."""
    if not isinstance(value, Tensor):
        value = Tensor(value, device=device_of(like))
    array = value.data
    if array.dtype not in dtypes.INTEGERS and array.size:  # an empty list is float32
        raise TypeError(f"[{op}] {name}: expected integers, got {array.dtype}")
    if device_of(array) != device_of(like):
        raise ValueError(
            f"[{op}] {name}: expected device {device_of(like)}, got {device_of(array)}"
        )
    return array.astype(np.int64, copy=False)


# ------------------------------------------------------------------ public functions


def embedding(index, weight, padding_idx=None):
    """The rows of weight that index names.

    index        (...)     integers, a tensor, array or list
    weight       (V, D)    any float
    padding_idx  a row that gets no gradient, or None; negative counts from the end
    returns (..., D)  dtype of weight

    Raises IndexError for an index outside [0, V), naming it; ValueError unless weight is a matrix;
    TypeError for dtypes.
    """
    float_input("embedding", weight)
    if weight.ndim != 2:
        raise ValueError(f"[embedding] weight: expected shape (V, D), got {weight.shape}")
    V = weight.shape[0]
    if padding_idx is not None:
        if not -V <= padding_idx < V:
            raise ValueError(f"[embedding] padding_idx: expected in [{-V}, {V}), got {padding_idx}")
        padding_idx %= V
    return Embedding(integers("embedding", "index", index, weight.data), padding_idx)(weight)


def one_hot(index, num_classes=-1, dtype="int64"):
    """Vectors of zeros with a one at index.

    index        (...)     integers, a tensor, array or list
    num_classes  C; -1 takes the greatest index plus one
    returns (..., C)  int64 unless another dtype is given

    Raises IndexError for an index outside [0, C), ValueError if C must be guessed from nothing.
    """
    array = integers(
        "one_hot", "index", index, index.data if isinstance(index, Tensor) else np.empty(0)
    )
    if num_classes == -1:
        if not array.size:
            raise ValueError("[one_hot] num_classes: expected a number for an empty index, got -1")
        num_classes = int(array.max()) + 1
    check_range("one_hot", array, num_classes)
    return OneHot(num_classes, dtypes.as_dtype(dtype))(Tensor.wrap(array))
