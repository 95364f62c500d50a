"""Matrix products: linear (a layer's y = x W^T + b, or f of it), two of them, and matmul.

The kernels stand in csrc/kernels/gemm/.
"""

import math

import numpy as np

from pynn.autograd import Function
from pynn.backend import array_module, sum_to, widen
from pynn.functional.activation import Gelu, GeluTanh, Relu, Silu
from pynn.functional.arithmetic import operands
from pynn.functional.broadcast import sum_to_native
from pynn.functional.product import (
    NN,
    NT,
    TN,
    Batches,
    multiply,
    multiply_activate,
    multiply_differentiate,
    multiply_sum,
    multiply_to,
)


class Linear(Function):
    """y = x W^T + b;  dx = dy W,  dW = dy^T x,  db = the column sums of dy.

    x (..., I), W (O, I), b (O,) or left out, y (..., O). The NT, NN and TN forms of one matrix
    product.
    """

    def forward(self, x, w, b=None):
        self.x, self.w = x, w
        return _affine(x, w, b).astype(x.dtype, copy=False)

    def backward(self, dy):
        need_x, need_w, *need_b = self.needs
        x, w = self.x, self.w
        rows, drows = as_rows(widen(x)), as_rows(widen(dy))
        dx = (drows @ widen(w)).reshape(x.shape).astype(x.dtype, copy=False) if need_x else None
        dw = (drows.T @ rows).astype(w.dtype, copy=False) if need_w else None
        if not need_b:
            return dx, dw
        return dx, dw, column_sums(drows).astype(w.dtype, copy=False) if need_b[0] else None

    def forward_native(self, x, w, b=None):
        self.x, self.w = x, w
        y = _output(x, w)
        multiply(as_rows(x), w, as_rows(y), NT, b)
        return y

    def backward_native(self, dy):
        need_x, need_w, *need_b = self.needs
        xp = array_module(dy)
        x, w = self.x, self.w
        drows = as_rows(dy)
        dx = dw = None
        if need_x:
            dx = xp.empty_like(x)
            multiply(drows, w, as_rows(dx), NN)
        if need_w:
            dw = xp.empty_like(w)
            if any(need_b):
                db = xp.empty(w.shape[:1], w.dtype)
                multiply_sum(drows, as_rows(x), dw, db)
                return dx, dw, db
            multiply(drows, as_rows(x), dw, TN)
        if not need_b:
            return dx, dw
        return dx, dw, sum_to_native(drows, w.shape[:1]) if need_b[0] else None


class LinearActivation(Linear):
    """y = f(z), z = x W^T + b;  dz = dy f'(z), and from it dx, dW, db as Linear's.

    f is relu, gelu, gelu_tanh or silu, of the sums before they are rounded. What the backward needs
    is kept in x's dtype: z, or of relu y. The kernel applies f where the product leaves its
    registers.
    """

    functions = {"relu": Relu, "gelu": Gelu, "gelu_tanh": GeluTanh, "silu": Silu}

    def __init__(self, activation):
        self.activation = activation

    def forward(self, x, w, b=None):
        self.x, self.w = x, w
        z = _affine(x, w, b)
        y = self.functions[self.activation]().forward(z).astype(x.dtype, copy=False)
        self.kept = y if self.activation == "relu" else z.astype(x.dtype, copy=False)
        return y

    def backward(self, dy):
        return super().backward(self.function.backward(dy))

    def forward_native(self, x, w, b=None):
        self.x, self.w = x, w
        y = _output(x, w)
        keep = self.activation != "relu" and any(self.needs)
        self.kept = array_module(x).empty_like(y) if keep else y
        z = as_rows(self.kept) if keep else None
        multiply_activate(as_rows(x), w, z, as_rows(y), NT, self.activation, b)
        return y

    def backward_native(self, dy):
        return super().backward_native(self.function.backward_native(dy))

    @property
    def function(self):
        """The activation, as after its own forward."""
        f = self.functions[self.activation]()
        f.x = f.y = self.kept
        return f


class FeedForward(Function):
    """y = h W2^T + b2,  h = f(z),  z = x W1^T + b1;
    dz = (dy W2) f'(z),  dx = dz W1,  dW1 = dz^T x,  db1 = the column sums of dz,  dW2 = dy^T h.

    x (..., I), W1 (H, I), W2 (O, H), and both of b1 (H,), b2 (O,) or neither; y (..., O). f as
    LinearActivation's. h and z are kept in x's dtype, of relu h alone; the gradient of h never is
    in memory: the kernel multiplies it by f'(z) where it leaves its registers.
    """

    def __init__(self, activation):
        self.activation = activation

    def forward(self, x, w1, w2, b1=None, b2=None):
        self.first = first = LinearActivation(self.activation)
        self.w2, self.h = w2, first.forward(x, w1, b1)
        return _affine(self.h, w2, b2).astype(x.dtype, copy=False)

    def backward(self, dy):
        need_h, second = self._divide_needs()
        dz = None
        if need_h:
            dh = (as_rows(widen(dy)) @ widen(self.w2)).reshape(self.h.shape)
            dz = self.first.function.backward(dh).astype(dy.dtype, copy=False)
        return self._gradients(need_h and Linear.backward(self.first, dz), second.backward(dy))

    def forward_native(self, x, w1, w2, b1=None, b2=None):
        self.first = first = LinearActivation(self.activation)
        first.needs = self.needs
        self.w2, self.h = w2, first.forward_native(x, w1, b1)
        y = _output(self.h, w2)
        multiply(as_rows(self.h), w2, as_rows(y), NT, b2)
        return y

    def backward_native(self, dy):
        need_h, second = self._divide_needs()
        dz = None
        if need_h:
            dz = array_module(dy).empty_like(self.h)
            multiply_differentiate(
                as_rows(dy), self.w2, as_rows(self.first.kept), as_rows(dz), NN, self.activation
            )
        return self._gradients(
            need_h and Linear.backward_native(self.first, dz), second.backward_native(dy)
        )

    def _divide_needs(self):
        """Whether the first linear needs a gradient, and the second as an op that gives W2's and
        b2's alone.
        """
        need_x, need_w1, need_w2, *need_b = self.needs
        self.first.needs = [need_x, need_w1, *need_b[:1]]
        second = Linear()
        second.x, second.w, second.needs = self.h, self.w2, [False, need_w2, *need_b[1:]]
        return any(self.first.needs), second

    def _gradients(self, first, second):
        dx, dw1, *db1 = first or [None] * len(self.first.needs)
        _, dw2, *db2 = second
        return dx, dw1, dw2, *db1, *db2


def _affine(x, w, b):
    """x W^T + b in float32 or wider."""
    y = as_rows(widen(x)) @ widen(w).T
    if b is not None:
        y += b
    return y.reshape(*x.shape[:-1], w.shape[0])


def _output(x, w):
    return array_module(x).empty((*x.shape[:-1], w.shape[0]), x.dtype)


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

    def forward_native(self, a, b):
        self.a, self.b = a, b
        batches = Batches(a, b)
        y = array_module(a).empty((*batches.shape, a.shape[-2], b.shape[-1]), a.dtype)
        if batches.only_a:
            multiply(as_rows(a), as_rows(b), as_rows(y), NN)
        else:
            multiply(batches.a, batches.b, batches.split(y), NN)
        return y

    def backward_native(self, dy):
        need_a, need_b = self.needs
        a, b = self.a, self.b
        xp = array_module(dy)
        batches = Batches(a, b)
        da = db = None
        if batches.only_a:
            drows = as_rows(dy)
            if need_a:
                da = xp.empty_like(a)
                multiply(drows, as_rows(b), as_rows(da), NT)
            if need_b:
                db = xp.empty_like(b)
                multiply(as_rows(a), drows, as_rows(db), TN)
            return da, db
        dy = batches.split(dy)
        if need_a:
            da = multiply_to(dy, batches.b, batches.shape, NT, a)
        if need_b:
            db = multiply_to(batches.a, dy, batches.shape, TN, b)
        return da, db


def linear(x, weight, bias=None, activation=None):
    """y = f(x W^T + b).

    x           (..., I)  any float
    weight      (O, I)    dtype of x
    bias        (O,)      dtype of x, or None
    activation  None, "relu", "gelu", "gelu_tanh" or "silu": f, applied to the sums before they are
                rounded, without another pass over memory
    returns     (..., O)  dtype of x; sums in float32 or wider

    Raises ValueError if the shapes do not fit or for another activation, TypeError if the dtypes
    differ.
    """
    if weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"[linear] x: expected shape (..., I) for weight (O, I) = {weight.shape}, got {x.shape}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"[linear] bias: expected shape {weight.shape[:1]}, got {bias.shape}")
    if activation is not None:
        check_activation("linear", activation, " or None")
    check_dtypes("linear", x, weight=weight, bias=bias)
    op = Linear() if activation is None else LinearActivation(activation)
    return op(x, weight) if bias is None else op(x, weight, bias)


def feed_forward(x, weight1, bias1, weight2, bias2, activation="relu"):
    """y = f(x W1^T + b1) W2^T + b2: two linears with f between, and one gradient for both.

    x           (..., I)  any float
    weight1     (H, I)    dtype of x, as all that follow
    bias1       (H,), or None with bias2
    weight2     (O, H)
    bias2       (O,), or None with bias1
    activation  "relu", "gelu", "gelu_tanh" or "silu": f, as in `linear`
    returns     (..., O)  dtype of x; sums in float32 or wider

    In the backward f's gradient is applied inside the matrix product that makes it, which saves a
    pass over the (..., H) array. Raises ValueError if the shapes do not fit, for one bias alone or
    for another activation, TypeError if the dtypes differ.
    """
    if weight1.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight1.shape[1]:
        raise ValueError(
            "[feed_forward] x: expected shape (..., I) for weight1 (H, I) = "
            f"{weight1.shape}, got {x.shape}"
        )
    if weight2.ndim != 2 or weight2.shape[1] != weight1.shape[0]:
        raise ValueError(
            "[feed_forward] weight2: expected shape (O, H) for weight1 (H, I) = "
            f"{weight1.shape}, got {weight2.shape}"
        )
    if (bias1 is None) != (bias2 is None):
        raise ValueError("[feed_forward] expected both biases or neither, got one")
    for name, bias, weight in (("bias1", bias1, weight1), ("bias2", bias2, weight2)):
        if bias is not None and bias.shape != weight.shape[:1]:
            raise ValueError(
                f"[feed_forward] {name}: expected shape {weight.shape[:1]}, got {bias.shape}"
            )
    check_activation("feed_forward", activation)
    check_dtypes("feed_forward", x, weight1=weight1, bias1=bias1, weight2=weight2, bias2=bias2)
    biases = () if bias1 is None else (bias1, bias2)
    return FeedForward(activation)(x, weight1, weight2, *biases)


def check_activation(op, activation, other=""):
    names = ", ".join(f'"{name}"' for name in LinearActivation.functions)
    if activation not in LinearActivation.functions:
        raise ValueError(f"[{op}] activation: expected {names}{other}, got {activation!r}")


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
