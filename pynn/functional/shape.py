"""Shape, order and selection: reshape, transpose, index, pad, join, split, gather, where.

Over 400 lines: 9 ops and the 26 functions that are written with them; those that pick by a key
stand in pick.py. What NumPy gives as a view is a view here: the output shares the input's memory.
"""

import numpy as np

from pynn import backend, dtypes
from pynn.autograd import Function, is_grad_enabled, touch
from pynn.backend import array_module, native, sum_to
from pynn.functional.arithmetic import astype, operands
from pynn.functional.broadcast import meet, sum_to_native
from pynn.functional.pick import Gather, Index
from pynn.tensor import Tensor


class _Mover(Function):
    """An op that moves elements, of any dtype and strides: by views, and csrc/kernels/copy/."""

    strided = True

    def takes_native(self, arrays):
        return all(a.ndim <= 8 for a in arrays)

    def forward_native(self, x):
        return self.forward(x)

    def backward_native(self, dy):
        return self.backward(dy)


class Reshape(_Mover):
    """y = the elements of x, in order, in another shape."""

    view = True

    def __init__(self, shape):
        self.shape = shape

    def forward(self, x):
        self.from_shape = x.shape
        return x.reshape(self.shape)

    def backward(self, dy):
        return dy.reshape(self.from_shape)

    def forward_native(self, x):
        self.from_shape = x.shape
        return _reshaped(x, self.shape)

    def backward_native(self, dy):
        return _reshaped(dy, self.from_shape)


def _reshaped(x, shape):
    """A view where there is one, else a copy by a kernel."""
    try:
        return x.reshape(shape, copy=False)
    except ValueError:
        return backend.contiguous([x])[0].reshape(shape)


class Contiguous(_Mover):
    """y = x in C order."""

    def forward(self, x):
        return array_module(x).ascontiguousarray(x)

    def backward(self, dy):
        return dy

    def forward_native(self, x):
        return backend.contiguous([x])[0]


class Transpose(_Mover):
    """y[i_axes] = x[i]: the axes in another order."""

    view = True

    def __init__(self, axes):
        self.axes = axes

    def forward(self, x):
        return x.transpose(self.axes)

    def backward(self, dy):
        return dy.transpose(np.argsort(self.axes))


class Expand(_Mover):
    """y = x repeated along axes of length 1, without copying;  dx = dy summed over them."""

    view = True

    def __init__(self, shape):
        self.shape = shape

    def takes_native(self, arrays):
        return Function.takes_native(self, arrays)  # the sums ask for it

    def forward(self, x):
        self.from_shape = x.shape
        return array_module(x).broadcast_to(x, self.shape)

    def backward(self, dy):
        return sum_to(dy, self.from_shape)

    def backward_native(self, dy):
        return sum_to_native(backend.contiguous([dy])[0], self.from_shape)


class Flip(_Mover):
    """y = x with the order along axes reversed."""

    view = True

    def __init__(self, axes):
        self.axes = axes

    def forward(self, x):
        return array_module(x).flip(x, self.axes)

    def backward(self, dy):
        return array_module(dy).flip(dy, self.axes)


class Pad(_Mover):
    """y = x with `value` around it;  dx = the inner part of dy."""

    def __init__(self, widths, value):
        self.widths, self.value = widths, value
        self.inner = (*(slice(w[0], -w[1] or None) for w in widths), Ellipsis)

    def forward(self, x):
        y = self.border(x)
        y[self.inner] = x
        return y

    def backward(self, dy):
        return dy[self.inner]

    def forward_native(self, x):
        y = self.border(x)
        native.copy_strided(x, y[self.inner])
        return y

    def border(self, x):
        """y without x in it."""
        shape = [n + sum(width) for n, width in zip(x.shape, self.widths, strict=True)]
        return array_module(x).full(shape, self.value, x.dtype)


class Cat(_Mover):
    """y = the inputs one after another along an axis;  each gradient is its part of dy."""

    def __init__(self, axis):
        self.axis = axis

    def forward(self, *xs):
        self.ends = np.cumsum([x.shape[self.axis] for x in xs])
        return array_module(xs[0]).concatenate(xs, axis=self.axis)

    def backward(self, dy):
        return tuple(
            array_module(dy).split(dy, [int(end) for end in self.ends[:-1]], axis=self.axis)
        )

    def forward_native(self, *xs):
        self.ends = np.cumsum([x.shape[self.axis] for x in xs])
        shape = list(xs[0].shape)
        shape[self.axis] = int(self.ends[-1])
        y = array_module(xs[0]).empty(shape, xs[0].dtype)
        for x, part in zip(xs, self.backward(y), strict=True):
            native.copy_strided(x, part)
        return y


class Where(Function):
    """y = a where the condition holds, else b."""

    def __init__(self, condition):
        self.condition = condition

    def forward(self, a, b):
        self.shapes = a.shape, b.shape
        return array_module(a).where(self.condition, a, b)

    def backward(self, dy):
        xp = array_module(dy)
        zero = dy.dtype.type(0)
        a, b = self.shapes
        need_a, need_b = self.needs
        return (
            sum_to(xp.where(self.condition, dy, zero), a) if need_a else None,
            sum_to(xp.where(self.condition, zero, dy), b) if need_b else None,
        )

    def forward_native(self, a, b):
        self.shapes = a.shape, b.shape
        (self.condition,) = backend.contiguous([self.condition])
        return meet(native.where_fwd, self.condition, a, b)

    def backward_native(self, dy):
        return tuple(
            sum_to_native(self.taken_native(dy, i == 0), self.shapes[i]) if need else None
            for i, need in enumerate(self.needs)
        )

    def taken_native(self, dy, taken):
        """dy where the condition is `taken`, else 0."""
        (condition,) = backend.contiguous([self.condition])
        dx = array_module(dy).empty_like(dy)
        native.where_bwd(condition, dy, dx, taken)
        return dx


# ------------------------------------------------------------------ public functions


def _shape_args(shape):
    return (
        tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else tuple(shape)
    )


def reshape(x, *shape):
    """The elements in another shape; one length may be -1.

    Raises ValueError if the sizes differ.
    """
    shape = _shape_args(shape)
    known = int(np.prod([n for n in shape if n != -1]))
    if shape.count(-1) > 1 or (
        x.size != known if -1 not in shape else known == 0 or x.size % known
    ):
        raise ValueError(
            f"[reshape] expected a shape of {x.size} elements, got {shape} for {x.shape}"
        )
    return Reshape(shape)(x)


def contiguous(x):
    """The elements in C order in memory: itself if they are, else a copy."""
    return x if x.data.flags.c_contiguous else Contiguous()(x)


def flatten(x, start=0, end=-1):
    """Axes start..end (inclusive) as one."""
    start, end = _axis(x, start, "flatten"), _axis(x, end, "flatten")
    if start > end:
        raise ValueError(f"[flatten] expected start <= end, got {start} and {end}")
    length = int(np.prod(x.shape[start : end + 1]))
    return Reshape((*x.shape[:start], length, *x.shape[end + 1 :]))(x)


def permute(x, *axes):
    """The axes in the given order. Raises ValueError unless each is named once."""
    axes = _shape_args(axes)
    if sorted(a % x.ndim if -x.ndim <= a < x.ndim else -1 for a in axes) != list(range(x.ndim)):
        raise ValueError(f"[permute] expected each of {x.ndim} axes once, got {axes}")
    return Transpose(tuple(a % x.ndim for a in axes))(x)


def transpose(x, *axes):
    """Two axes swapped, `transpose(x, 0, 1)`; without axes, all in reverse order."""
    if not axes:
        return Transpose(tuple(reversed(range(x.ndim))))(x)
    if len(axes) != 2:
        raise ValueError(
            f"[transpose] expected two axes or none, got {axes}; for a full order use permute"
        )
    a, b = (_axis(x, axis, "transpose") for axis in axes)
    order = list(range(x.ndim))
    order[a], order[b] = b, a
    return Transpose(tuple(order))(x)


def squeeze(x, axis=None):
    """Without the axes of length 1, or without the given ones.

    Raises ValueError for an axis of another length.
    """
    if axis is None:
        return Reshape(tuple(n for n in x.shape if n != 1))(x)
    axes = {_axis(x, a, "squeeze") for a in ((axis,) if isinstance(axis, int) else axis)}
    if any(x.shape[a] != 1 for a in axes):
        raise ValueError(f"[squeeze] expected length 1 along axis {axis}, got shape {x.shape}")
    return Reshape(tuple(n for i, n in enumerate(x.shape) if i not in axes))(x)


def unsqueeze(x, axis):
    """With a new axis of length 1 at that place of the result."""
    ndim = x.ndim + 1
    if not -ndim <= axis < ndim:
        raise ValueError(f"[unsqueeze] expected an axis in [{-ndim}, {ndim}), got {axis}")
    axis %= ndim
    return Reshape((*x.shape[:axis], 1, *x.shape[axis:]))(x)


def expand(x, *shape):
    """x repeated along axes of length 1 to that shape, sharing memory; -1 keeps a length."""
    shape = _shape_args(shape)
    lead = len(shape) - x.ndim
    full = tuple(x.shape[i - lead] if n == -1 and i >= lead else n for i, n in enumerate(shape))
    fits = (
        lead >= 0
        and all(m in (1, n) for m, n in zip(x.shape, full[lead:], strict=True))
        and -1 not in full
    )
    if not fits:
        raise ValueError(f"[expand] expected a shape that {x.shape} broadcasts to, got {shape}")
    return Expand(full)(x)


def flip(x, axis):
    """The order along one axis or several reversed."""
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    return Flip(tuple(_axis(x, a, "flip") for a in axes))(x)


def index(x, key):
    """x[key]: ints, slices, None, ..., integer arrays and bool masks, as in NumPy.

    Raises IndexError out of range.
    """
    return Index(_raw_key(key))(x)


def _raw_key(key):
    if isinstance(key, tuple):
        return tuple(_raw_key(part) for part in key)
    return key.data if isinstance(key, Tensor) else key


def assign(x, key, value):
    """x[key] = value, in place and outside the graph.

    Raises RuntimeError while a graph would have to record it.
    """
    needs = x.requires_grad or (isinstance(value, Tensor) and value.requires_grad)
    if needs and is_grad_enabled():
        raise RuntimeError(
            "[assign] expected tensors without gradient, got one that requires it: in-place "
            "assignment is not recorded; use F.where or F.cat, or wrap it in no_grad()"
        )
    x.data[_raw_key(key)] = value.data if isinstance(value, Tensor) else value
    touch(x, "assign")


def pad(x, widths, value=0.0):
    """x with `value` around it. widths is one (before, after) for each axis, from the last
    backwards as in PyTorch if flat.

    pad(x, ((0, 0), (1, 1)))   for each axis
    pad(x, (1, 1))             the last axis only;  (1, 1, 2, 2) the last, then the one before it
    """
    widths = list(widths)
    if widths and not isinstance(widths[0], (tuple, list)):
        if len(widths) % 2 or len(widths) // 2 > x.ndim:
            raise ValueError(
                f"[pad] expected (before, after) for up to {x.ndim} axes, got {widths}"
            )
        pairs = [(widths[i], widths[i + 1]) for i in range(0, len(widths), 2)]
        widths = [(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1]
    if len(widths) != x.ndim or min(min(pair) for pair in widths) < 0:
        raise ValueError(
            f"[pad] expected non-negative (before, after) for each of {x.ndim} axes, got {widths}"
        )
    return Pad(tuple(tuple(pair) for pair in widths), value)(x)


def cat(tensors, axis=0):
    """The tensors one after another along an axis. Raises ValueError if other lengths differ."""
    tensors = list(tensors)
    if not tensors:
        raise ValueError("[cat] expected at least one tensor, got none")
    first = tensors[0]
    axis = _axis(first, axis, "cat")
    dtype = first.dtype
    for t in tensors[1:]:
        same = t.ndim == first.ndim and all(
            m == n for i, (m, n) in enumerate(zip(t.shape, first.shape, strict=True)) if i != axis
        )
        if not same:
            raise ValueError(
                f"[cat] expected shapes equal but for axis {axis}, got {first.shape} and {t.shape}"
            )
        dtype = dtypes.promote(dtype, t.dtype)
    return Cat(axis)(*(astype(t, dtype) for t in tensors))


concatenate = cat


def stack(tensors, axis=0):
    """The tensors along a new axis. Raises ValueError if shapes differ."""
    tensors = list(tensors)
    if len({t.shape for t in tensors}) > 1:
        raise ValueError(f"[stack] expected equal shapes, got {sorted({t.shape for t in tensors})}")
    return cat([unsqueeze(t, axis) for t in tensors], axis)


def split(x, sizes, axis=0):
    """A tuple of parts along an axis: of `sizes` each (the last may be shorter) if an int, else of
    the lengths listed.
    """
    axis = _axis(x, axis, "split")
    n = x.shape[axis]
    if isinstance(sizes, int):
        if sizes <= 0:
            raise ValueError(f"[split] expected a positive size, got {sizes}")
        sizes = [min(sizes, n - start) for start in range(0, n, sizes)] or [0]
    elif sum(sizes) != n:
        raise ValueError(f"[split] expected sizes that add up to {n}, got {list(sizes)}")
    ends = np.cumsum(sizes)
    before = (slice(None),) * axis
    return tuple(
        index(x, (*before, slice(int(end - size), int(end))))
        for size, end in zip(sizes, ends, strict=True)
    )


def chunk(x, chunks, axis=0):
    """A tuple of `chunks` parts along an axis, as equal as can be, the last ones shorter."""
    n = x.shape[_axis(x, axis, "chunk")]
    return split(x, max(1, -(-n // chunks)), axis)


def where(condition, x, y):
    """x where the condition holds, else y; all broadcast."""
    condition = condition.data if isinstance(condition, Tensor) else condition
    if not isinstance(x, Tensor) and not isinstance(y, Tensor):
        x = Tensor(x)
    return Where(condition.astype(bool))(*operands(x, y))


def masked_fill(x, mask, value):
    """x with `value` where the mask holds."""
    return where(mask, Tensor.wrap(array_module(x.data).asarray(value, x.dtype)), x)


def gather(x, axis, index):
    """Elements of x picked along an axis by an integer tensor of the result's shape.

    Raises IndexError if an index is out of range, ValueError if the shapes do not fit.
    """
    axis = _axis(x, axis, "gather")
    picked = index.data if isinstance(index, Tensor) else index
    fits = picked.ndim == x.ndim and all(
        m == n for i, (m, n) in enumerate(zip(picked.shape, x.shape, strict=True)) if i != axis
    )
    if not fits:
        raise ValueError(
            f"[gather] expected an index of shape {x.shape} but for axis {axis}, got {picked.shape}"
        )
    _check_index(picked, x.shape[axis], "gather")
    return Gather(picked, axis)(x)


def take(x, index, axis=0):
    """x[index] along one axis, by an integer tensor of any shape."""
    axis = _axis(x, axis, "take")
    picked = index.data if isinstance(index, Tensor) else np.asarray(index)
    _check_index(picked, x.shape[axis], "take")
    return Index((slice(None),) * axis + (picked,))(x)


def _check_index(index, length, op):
    if index.dtype not in dtypes.INTEGERS:
        raise TypeError(f"[{op}] expected an integer index, got {index.dtype}")
    low, high = (int(index.min()), int(index.max())) if index.size else (0, -1)
    if low < -length or high >= length:
        raise IndexError(f"[{op}] expected indices in [{-length}, {length}), got {low} to {high}")


def _axis(x, axis, op):
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"[{op}] expected an axis in [{-x.ndim}, {x.ndim}), got {axis}")
    return axis % x.ndim


def tril(x, k=0):
    """x with zeros above the k-th diagonal of the last two axes."""
    return where(_below(x, k), x, 0)


def triu(x, k=0):
    """x with zeros below the k-th diagonal of the last two axes."""
    return where(~_below(x, k - 1), x, 0)


def _below(x, k):
    """Where the last two axes are on the k-th diagonal or below it."""
    if x.ndim < 2:
        raise ValueError(f"[tril] expected at least 2 dimensions, got shape {x.shape}")
    return array_module(x.data).tri(*x.shape[-2:], k, dtype=bool)


def unbind(x, axis=0):
    """A tuple of the slices along an axis, without it."""
    before = (slice(None),) * _axis(x, axis, "unbind")
    return tuple(index(x, (*before, i)) for i in range(x.shape[axis]))


def tile(x, *counts):
    """x repeated as a whole, `counts` times along each axis, new axes first: PyTorch's repeat.

    Raises ValueError unless there is a count of 0 or more for each axis.
    """
    counts = _shape_args(counts)
    if len(counts) < x.ndim or min(counts, default=0) < 0:
        raise ValueError(f"[tile] expected {x.ndim} or more counts >= 0, got {counts}")
    shape = (1,) * (len(counts) - x.ndim) + x.shape
    pairs = [n for count, length in zip(counts, shape, strict=True) for n in (count, length)]
    ones = [n for length in shape for n in (1, length)]
    full = [count * length for count, length in zip(counts, shape, strict=True)]
    return reshape(expand(reshape(x, *ones), *pairs), *full)


def roll(x, shift, axis):
    """x moved along an axis by `shift`; what leaves at one end comes in at the other."""
    axis = _axis(x, axis, "roll")
    shift %= max(x.shape[axis], 1)
    before = (slice(None),) * axis
    cut = x.shape[axis] - shift
    return cat([index(x, (*before, slice(cut, None))), index(x, (*before, slice(0, cut)))], axis)
