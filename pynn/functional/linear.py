"""Matrix products: linear (a layer's y = x W^T + b) and matmul."""

import math

import numpy as np

from pynn.autograd import Function
from pynn.backend import array_module, sum_to, widen
from pynn.functional.arithmetic import operands


class Linear(Function):
    """y = x W^T + b;  dx = dy W,  dW = dy^T x,  db = the column sums of dy.

    x (..., I), W (O, I), b (O,) or left out, y (..., O). The NT, NN and TN forms of one matrix
    product.
    """

    def forward(self, x, w, b=None):
        self.x, self.w = x, w
        rows = as_rows(widen(x))
        y = rows @ widen(w).T
        if b is not None:
            y += b
        return y.reshape(*x.shape[:-1], w.shape[0]).astype(x.dtype, copy=False)

    def backward(self, dy):
        need_x, need_w, *need_b = self.needs
        x, w = self.x, self.w
        rows, drows = as_rows(widen(x)), as_rows(widen(dy))
        dx = (drows @ widen(w)).reshape(x.shape).astype(x.dtype, copy=False) if need_x else None
        dw = (drows.T @ rows).astype(w.dtype, copy=False) if need_w else None
        if not need_b:
            return dx, dw
        return dx, dw, column_sums(drows).astype(w.dtype, copy=False) if need_b[0] else None


def as_rows(array):
    """(..., C) as a matrix (rows, C); works for C = 0, which -1 does not."""
    return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])


def column_sums(matrix):
    """The sums of the columns of a matrix, as a product with ones: several times faster than `sum`
    in NumPy.
    """
    xp = array_module(matrix)
    return xp.ones(matrix.shape[0], matrix.dtype) @ matrix


class Matmul(Function):
    """y = a b over the last two axes, the others broadcast;  da = dy b^T, db = a^T dy."""

    def forward(self, a, b):
        self.a, self.b = a, b
        return array_module(a).matmul(widen(a), widen(b)).astype(a.dtype, copy=False)

    def backward(self, dy):
        a, b, dy = widen(self.a), widen(self.b), widen(dy)
        xp = array_module(dy)
        need_a, need_b = self.needs
        da = sum_to(xp.matmul(dy, b.swapaxes(-1, -2)), a.shape) if need_a else None
        db = sum_to(xp.matmul(a.swapaxes(-1, -2), dy), b.shape) if need_b else None
        return (
            None if da is None else da.astype(self.a.dtype, copy=False),
            None if db is None else db.astype(self.b.dtype, copy=False),
        )


def linear(x, weight, bias=None):
    """y = x W^T + b.

    x       (..., I)  any float
    weight  (O, I)    dtype of x
    bias    (O,)      dtype of x, or None
    returns (..., O)  dtype of x; sums in float32 or wider

    Raises ValueError if the shapes do not fit, TypeError if the dtypes differ.
    """
    if weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"[linear] x: expected shape (..., I) for weight (O, I) = {weight.shape}, got {x.shape}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"[linear] bias: expected shape {weight.shape[:1]}, got {bias.shape}")
    check_dtypes("linear", x, weight=weight, bias=bias)
    return Linear()(x, weight) if bias is None else Linear()(x, weight, bias)


def check_dtypes(op, x, **others):
    """Raise TypeError unless the tensors given by name have x's dtype."""
    for name, other in others.items():
        if (
            other is not None
            and other.data.dtype is not x.data.dtype
            and other.data.dtype != x.data.dtype
        ):
            raise TypeError(
                f"[{op}] {name}: expected x's dtype {x.data.dtype}, got {other.data.dtype}"
            )


def matmul(a, b):
    """The matrix product over the last two axes; leading axes broadcast; a vector is a row (left)
    or a column (right).

    Raises ValueError if the inner lengths differ or an operand is 0-d.
    """
    a, b = operands(a, b)
    if not a.ndim or not b.ndim or a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ValueError(f"[matmul] expected inner lengths that agree, got {a.shape} and {b.shape}")
    row, column = a.ndim == 1, b.ndim == 1
    a = a.reshape(1, -1) if row else a
    b = b.reshape(-1, 1) if column else b
    try:
        np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ValueError(
            f"[matmul] expected leading axes that broadcast, got {a.shape} and {b.shape}"
        ) from None
    y = Matmul()(a, b)
    if row or column:
        y = y.reshape(
            *y.shape[:-2], *(() if row else y.shape[-2:-1]), *(() if column else y.shape[-1:])
        )
    return y
