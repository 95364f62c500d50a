"""Elements picked by a key: slices as views, integer arrays and masks as rows of a table.

Where the picked elements lie is worked out by array text, on integers; the elements themselves are
moved by csrc/kernels/copy/ and csrc/kernels/embedding/.
"""

import math

import numpy as np

from pynn import dtypes
from pynn.autograd import Function
from pynn.backend import array_module, contiguous, native, widen
from pynn.functional.embedding import add_rows_native, rows_native


class Index(Function):
    """y = x[key];  dx = 0 but for dx[key] += dy (an element taken twice gets both gradients)."""

    strided = True

    def __init__(self, key):
        self.key = key
        self.parts = key if isinstance(key, tuple) else (key,)
        # True and False are integers in Python but masks in NumPy
        self.view = all(
            part is None
            or part is Ellipsis
            or isinstance(part, slice)
            or (isinstance(part, (int, np.integer)) and not isinstance(part, (bool, np.bool_)))
            for part in self.parts
        )

    def forward(self, x):
        self.shape = x.shape
        return x[self.key]

    def backward(self, dy):
        xp = array_module(dy)
        if self.view:
            dx = xp.zeros(self.shape, dy.dtype)
            dx[self.key] = dy
            return dx
        dx = xp.zeros(self.shape, widen(dy[:0] if dy.ndim else dy).dtype)
        xp.add.at(dx, self.key, widen(dy))
        return dx.astype(dy.dtype, copy=False)

    def takes_native(self, arrays):
        if self.view:
            return True
        no_axis = any(part is True or part is False for part in self.parts)
        return super().takes_native(arrays) and not no_axis

    def forward_native(self, x):
        if self.view:
            return self.forward(x)
        self.shape = x.shape
        return Pick(self.parts, x).take(x)

    def backward_native(self, dy):
        if not self.view:
            (dy,) = contiguous([dy])
            dx = array_module(dy).empty(self.shape, dy.dtype)
            return Pick(self.parts, dx).give(dy)
        dx = array_module(dy).zeros(self.shape, dy.dtype)
        parts = self.parts if Ellipsis in self.parts else (*self.parts, Ellipsis)
        native.copy_strided(dy, dx[parts])  # with an Ellipsis even one element is a view
        return dx


class Pick:
    """A key with integer arrays in it, as NumPy reads it:  x[key] = part[.., positions, ..].

    part is x cut by the key's slices, the axes that arrays index side by side (in front of the
    others, if something stands between them) and taken as one: (outer, n, inner).
    """

    def __init__(self, parts, x):
        self.shape = x.shape
        arrays, self.basic, self.order = _split(parts, x)
        self.cut = x[self.basic].transpose(self.order).shape
        first = self.order.index(min(arrays))
        behind = first + len(arrays)
        lengths = self.cut[first:behind]
        self.outer, self.inner = math.prod(self.cut[:first]), math.prod(self.cut[behind:])
        self.n = math.prod(lengths)
        positions = 0
        for array, length in zip(arrays.values(), lengths, strict=True):
            positions = positions * length + _from_start(array, length)
        self.picked = (*self.cut[:first], *positions.shape, *self.cut[behind:])
        starts = array_module(x).arange(self.outer, dtype=np.int64)[:, None] * self.n
        self.rows = (starts + positions.reshape(-1)).reshape(-1)

    def take(self, x):
        (part,) = contiguous([x[self.basic].transpose(self.order)])
        table = part.reshape(self.outer * self.n, self.inner)
        return rows_native(table, self.rows).reshape(self.picked)

    def give(self, dy):
        """x's gradient."""
        rows = dy.reshape(self.rows.size, self.inner)
        part = add_rows_native(rows, self.rows, self.outer * self.n).reshape(self.cut)
        part = part.transpose(np.argsort(self.order))
        if all(isinstance(cut, slice) and cut == slice(None) for cut in self.basic):
            return part
        dx = array_module(dy).zeros(self.shape, dy.dtype)
        native.copy_strided(part, dx[self.basic])
        return dx


def _split(parts, x):
    """The key in two, and the order in which axes lie afterwards:
    {axis: integer array} of one shape, and slices that leave those axes whole.
    """
    xp = array_module(x)
    parts = [part if _is_basic(part) else _as_index(xp, part) for part in parts]
    if not any(part is Ellipsis for part in parts):
        parts.append(Ellipsis)
    taken = sum(part.ndim if _is_mask(part) else 1 for part in parts if part is not None) - 1
    arrays, basic, places, at = {}, [], [], 0  # at: the axis of x
    for place, part in enumerate(parts):
        if part is Ellipsis:
            basic += [slice(None)] * (x.ndim - taken)
            at += x.ndim - taken
        elif _is_basic(part):
            basic.append(part)
            at += part is not None
        else:
            if _is_mask(part) and part.shape != x.shape[at : at + part.ndim]:
                raise IndexError(
                    f"[index] mask: expected shape {x.shape[at : at + part.ndim]}, got {part.shape}"
                )
            for array in part.nonzero() if _is_mask(part) else (part,):
                arrays[len(basic)] = array
                basic.append(slice(None))
                places.append(place)
                at += 1
    try:
        arrays = dict(zip(arrays, xp.broadcast_arrays(*arrays.values()), strict=True))
    except ValueError:
        shapes = " and ".join(str(array.shape) for array in arrays.values())
        raise IndexError(f"[index] expected arrays that broadcast, got {shapes}") from None
    order = list(range(len(basic)))
    if places[-1] - places[0] >= len(set(places)):  # not neighbours
        order = [*arrays, *(axis for axis in order if axis not in arrays)]
    return arrays, tuple(basic), order


def _is_basic(part):
    return part is None or part is Ellipsis or isinstance(part, slice)


def _is_mask(part):
    return getattr(part, "dtype", None) == dtypes.bool_


def _as_index(xp, part):
    """An int, a list or an array as an int64 array or a mask."""
    array = xp.asarray(part)
    if array.dtype == bool or array.dtype.kind not in "iu" and array.size:
        return array
    return array.astype(np.int64, copy=False)


def _from_start(index, length):
    """The index with negative ones counted from the start; IndexError outside."""
    outside = (index < -length) | (index >= length)
    if outside.any():
        got = int(index.reshape(-1)[int(outside.reshape(-1).argmax())])
        raise IndexError(f"[index] expected integers in [{-length}, {length}), got {got}")
    return array_module(index).where(index < 0, index + length, index)


class Gather(Function):
    """y[i, j, k] = x[i, index[i, j, k], k] (for axis 1);  dx adds each dy to where it was read."""

    def __init__(self, index, axis):
        self.index, self.axis = index, axis

    def forward(self, x):
        self.shape = x.shape
        return array_module(x).take_along_axis(x, self.index, axis=self.axis)

    def backward(self, dy):
        xp = array_module(dy)
        dx = xp.zeros(self.shape, widen(dy.reshape(-1)[:0]).dtype)
        key = list(
            xp.meshgrid(*(xp.arange(n) for n in self.index.shape), indexing="ij", sparse=True)
        )
        key[self.axis] = self.index
        xp.add.at(dx, tuple(key), widen(dy))
        return dx.astype(dy.dtype, copy=False)

    def forward_native(self, x):
        self.shape = x.shape
        return rows_native(x.reshape(-1, 1), self.places()).reshape(self.index.shape)

    def backward_native(self, dy):
        once = self.index.shape[self.axis] == 1
        size = math.prod(self.shape)
        return add_rows_native(dy.reshape(-1, 1), self.places(), size, once).reshape(self.shape)

    def places(self):
        """Where in x each element of y lies, all axes as one."""
        xp, n = array_module(self.index), self.shape[self.axis]
        outer, inner = math.prod(self.shape[: self.axis]), math.prod(self.shape[self.axis + 1 :])
        index = self.index.reshape(outer, -1, inner)
        index = xp.where(index < 0, index + n, index)
        starts = xp.arange(outer, dtype=np.int64)[:, None, None] * n
        return ((starts + index) * inner + xp.arange(inner)).reshape(-1)
