"""Elementwise arithmetic with broadcasting, by reference and by kernel.

The kernels stand in csrc/kernels/elementwise/. Over 400 lines: 20 ops, a class and a function each.

Operands are tensors, arrays or Python numbers, at least one a tensor. Dtypes meet as in
`pynn.dtypes.promote`; shapes broadcast as in NumPy. Shapes that do not broadcast raise ValueError.
"""

import math

import numpy as np

from pynn import backend, dtypes
from pynn.autograd import Function
from pynn.backend import array_module, native, sum_to, widen
from pynn.functional.broadcast import meet, sum_to_native
from pynn.tensor import Tensor


class _Binary(Function):
    """An elementwise op of two arrays; gradients are summed over the axes that were broadcast.

    The kernel of the forward is <op's name>_fwd(a, b, y).
    """

    def forward(self, a, b):
        self.a, self.b = a, b
        return self.compute(array_module(a), a, b)

    def forward_native(self, a, b):
        self.a, self.b = a, b
        return meet(getattr(native, self.name + "_fwd"), a, b)

    def backward_native(self, dy):
        need_a, need_b = self.needs
        return (
            sum_to_native(self.grad_a_native(dy), self.a.shape) if need_a else None,
            sum_to_native(self.grad_b_native(dy), self.b.shape) if need_b else None,
        )

    def backward(self, dy):
        need_a, need_b = self.needs
        return (
            sum_to(self.grad_a(dy), self.a.shape) if need_a else None,
            sum_to(self.grad_b(dy), self.b.shape) if need_b else None,
        )


class Add(Function):
    """y = a + b;  da = dy, db = dy."""

    def forward(self, a, b):
        self.shapes = a.shape, b.shape
        return a + b

    def backward(self, dy):
        a, b = self.shapes
        return sum_to(dy, a), sum_to(dy, b)

    def forward_native(self, a, b):
        self.shapes = a.shape, b.shape
        return meet(native.add_fwd, a, b)

    def backward_native(self, dy):
        a, b = self.shapes
        return (
            sum_to_native(dy, a) if self.needs[0] else None,
            sum_to_native(dy, b) if self.needs[1] else None,
        )


class Sub(Function):
    """y = a - b;  da = dy, db = -dy."""

    def forward(self, a, b):
        self.shapes = a.shape, b.shape
        return a - b

    def backward(self, dy):
        a, b = self.shapes
        return sum_to(dy, a), sum_to(-dy, b) if self.needs[1] else None

    def forward_native(self, a, b):
        self.shapes = a.shape, b.shape
        return meet(native.sub_fwd, a, b)

    def backward_native(self, dy):
        a, b = self.shapes
        return (
            sum_to_native(dy, a) if self.needs[0] else None,
            meet(native.neg_fwd, sum_to_native(dy, b)) if self.needs[1] else None,
        )


class Mul(_Binary):
    """y = a b;  da = dy b, db = dy a."""

    def forward(self, a, b):
        self.a, self.b = a, b
        return a * b

    def backward_native(self, dy):
        if not (all(self.needs) and dy.ndim and self.a.shape == self.b.shape):
            return super().backward_native(dy)
        da, db = (array_module(dy).empty_like(dy) for _ in range(2))
        native.mul_bwd(dy, self.a, self.b, da, db)
        return da, db

    def grad_a(self, dy):
        return dy * self.b

    def grad_b(self, dy):
        return dy * self.a

    def grad_a_native(self, dy):
        return meet(native.mul_fwd, dy, self.b)

    def grad_b_native(self, dy):
        return meet(native.mul_fwd, dy, self.a)


class Div(_Binary):
    """y = a / b;  da = dy / b, db = -dy a / b^2."""

    def compute(self, xp, a, b):
        return (widen(a) / widen(b)).astype(a.dtype, copy=False)

    def grad_a(self, dy):
        return dy / self.b

    def grad_b(self, dy):
        b = widen(self.b)
        return (-widen(dy) * (self.a / b) / b).astype(dy.dtype, copy=False)

    def grad_a_native(self, dy):
        return meet(native.div_fwd, dy, self.b)

    def grad_b_native(self, dy):
        return meet(native.div_bwd_b, dy, self.a, self.b)


class Pow(_Binary):
    """y = a^b;  da = dy b a^(b-1), db = dy a^b log a (0 where a = 0)."""

    def compute(self, xp, a, b):
        return (widen(a) ** widen(b)).astype(a.dtype, copy=False)

    def grad_a(self, dy):
        a, b = widen(self.a), widen(self.b)
        xp = array_module(a)
        slope = xp.where(b == 0, 0, b * a ** xp.where(b == 0, 1, b - 1))
        return (dy * slope).astype(dy.dtype, copy=False)

    def grad_b(self, dy):
        a, b = widen(self.a), widen(self.b)
        xp = array_module(a)
        slope = xp.where((a == 0) & (b >= 0), 0, a**b * xp.log(xp.where(a == 0, 1, a)))
        return (dy * slope).astype(dy.dtype, copy=False)

    def grad_a_native(self, dy):
        return meet(native.pow_bwd_a, dy, self.a, self.b)

    def grad_b_native(self, dy):
        return meet(native.pow_bwd_b, dy, self.a, self.b)


class _Extremum(_Binary):
    """Ties share the gradient equally, as in PyTorch; NaN in either operand gives NaN."""

    def grad_a(self, dy):
        return self.share(dy, self.a, self.b)

    def grad_b(self, dy):
        return self.share(dy, self.b, self.a)

    def share(self, dy, mine, other):
        xp = array_module(dy)
        half = dy * dy.dtype.type(0.5)
        return xp.where(
            mine == other, half, xp.where(self.wins(mine, other), dy, xp.zeros_like(dy))
        )

    def grad_a_native(self, dy):
        return meet(getattr(native, self.name + "_bwd"), self.a, self.b, dy)

    def grad_b_native(self, dy):
        return meet(getattr(native, self.name + "_bwd"), self.b, self.a, dy)


class Maximum(_Extremum):
    """y = max(a, b)."""

    def compute(self, xp, a, b):
        return xp.maximum(a, b)

    def wins(self, mine, other):
        return (mine > other) | (mine != mine)


class Minimum(_Extremum):
    """y = min(a, b)."""

    def compute(self, xp, a, b):
        return xp.minimum(a, b)

    def wins(self, mine, other):
        return (mine < other) | (mine != mine)


class Neg(Function):
    """y = -x;  dx = -dy."""

    def forward(self, x):
        return -x

    def backward(self, dy):
        return -dy

    def forward_native(self, x):
        return meet(native.neg_fwd, x)

    backward_native = forward_native


class _Unary(Function):
    """y = f(x);  dx = dy f'(x), with `slope` written in x or in y, computed in float32 or wider.

    The kernels are <op's name>_fwd(x, y) and <op's name>_bwd(saved, dy, dx), saved as `saves` says.
    """

    saves = "x"

    def forward(self, x):
        self.x = x
        self.y = y = self.compute(array_module(x), widen(x)).astype(x.dtype, copy=False)
        return y

    def backward(self, dy):
        slope = self.slope(array_module(dy), widen(self.x), widen(self.y))
        return (widen(dy) * slope).astype(dy.dtype, copy=False)

    def forward_native(self, x):
        self.x = x
        self.y = meet(getattr(native, self.name + "_fwd"), x)
        return self.y

    def backward_native(self, dy):
        return meet(getattr(native, self.name + "_bwd"), getattr(self, self.saves), dy)


class Exp(_Unary):
    """y = e^x;  dx = dy y."""

    saves = "y"

    def compute(self, xp, x):
        return xp.exp(x)

    def slope(self, xp, x, y):
        return y


class Log(_Unary):
    """y = log x;  dx = dy / x."""

    def compute(self, xp, x):
        return xp.log(x)

    def slope(self, xp, x, y):
        return 1 / x


class Log1p(_Unary):
    """y = log(1 + x);  dx = dy / (1 + x)."""

    def compute(self, xp, x):
        return xp.log1p(x)

    def slope(self, xp, x, y):
        return 1 / (1 + x)


class Sqrt(_Unary):
    """y = sqrt x;  dx = dy / (2 y)."""

    saves = "y"

    def compute(self, xp, x):
        return xp.sqrt(x)

    def slope(self, xp, x, y):
        return 0.5 / y


class Rsqrt(_Unary):
    """y = 1 / sqrt x;  dx = -dy y^3 / 2."""

    saves = "y"

    def compute(self, xp, x):
        return 1 / xp.sqrt(x)

    def slope(self, xp, x, y):
        return -0.5 * y * y * y


class Square(_Unary):
    """y = x^2;  dx = 2 dy x."""

    def compute(self, xp, x):
        return x * x

    def slope(self, xp, x, y):
        return 2 * x


class Sin(_Unary):
    """y = sin x;  dx = dy cos x."""

    def compute(self, xp, x):
        return xp.sin(x)

    def slope(self, xp, x, y):
        return xp.cos(x)


class Cos(_Unary):
    """y = cos x;  dx = -dy sin x."""

    def compute(self, xp, x):
        return xp.cos(x)

    def slope(self, xp, x, y):
        return -xp.sin(x)


class Abs(_Unary):
    """y = |x|;  dx = dy sign x, 0 at 0."""

    def compute(self, xp, x):
        return xp.abs(x)

    def slope(self, xp, x, y):
        return xp.sign(x)


class Clip(Function):
    """y = min(max(x, low), high);  dx = dy where low <= x <= high, else 0."""

    def __init__(self, low, high):
        self.low, self.high = low, high

    def forward(self, x):
        self.x = x
        y = array_module(x).clip(widen(x), self.low, self.high)
        return y.astype(x.dtype, copy=False)

    def backward(self, dy):
        inside = True
        if self.low is not None:
            inside = self.x >= self.low
        if self.high is not None:
            inside = inside & (self.x <= self.high)
        return dy * inside

    def forward_native(self, x):
        self.x = x
        y = array_module(x).empty_like(x)
        native.clip_fwd(x, y, *self.bounds())
        return y

    def backward_native(self, dy):
        dx = array_module(dy).empty_like(dy)
        native.clip_bwd(self.x, dy, dx, *self.bounds())
        return dx

    def bounds(self):
        low = -math.inf if self.low is None else self.low
        return low, math.inf if self.high is None else self.high


class Astype(Function):
    """y = x in another dtype;  dx = dy in x's."""

    def __init__(self, dtype):
        self.dtype = dtype

    def forward(self, x):
        self.from_dtype = x.dtype
        return x.astype(self.dtype)

    def backward(self, dy):
        return dy.astype(self.from_dtype)

    def takes_native(self, arrays):
        return super().takes_native(arrays) and self.dtype.name in self.native_dtypes

    def forward_native(self, x):
        self.from_dtype = x.dtype
        return as_float(x, self.dtype)

    def backward_native(self, dy):
        return as_float(dy, self.from_dtype)


def as_float(array, dtype=dtypes.float32):
    """The array in a float dtype, itself if it has it; between floats by a kernel."""
    if array.dtype == dtype:
        return array
    if array.dtype not in dtypes.FLOATS:
        return array.astype(dtype)
    y = array_module(array).empty(array.shape, dtype)
    native.cast(array, y)
    return y


class ToDevice(Function):
    """y = x on another device;  dx = dy on x's."""

    no_kernel = "a copy between host and device"

    def __init__(self, device):
        self.device = device

    def forward(self, x):
        self.from_device = backend.device_of(x)
        return backend.to_device(x, self.device)

    def backward(self, dy):
        return backend.to_device(dy, self.from_device)


# ------------------------------------------------------------------ public functions


def operands(x, y):
    """x and y as tensors of one dtype. One of them may be a number or an array."""
    if not isinstance(x, Tensor):
        x = _beside(x, y)
    elif not isinstance(y, Tensor):
        y = _beside(y, x)
    if x.data.dtype is not y.data.dtype and x.data.dtype != y.data.dtype:
        dtype = dtypes.promote(x.data.dtype, y.data.dtype)
        x, y = astype(x, dtype), astype(y, dtype)
    return x, y


def _beside(value, tensor):
    """The value as a tensor on the other's device; Python numbers take its dtype if they can."""
    data = tensor.data
    if isinstance(value, (bool, int, float)):
        return Tensor.wrap(array_module(data).asarray(value, dtypes.of_number(value, data.dtype)))
    return Tensor(value, device=tensor.device)


def _float_operands(x, y):
    """As `operands`, integers as float32."""
    x, y = operands(x, y)
    if x.data.dtype not in dtypes.FLOATS:
        x, y = astype(x, dtypes.float32), astype(y, dtypes.float32)
    return x, y


def _float(x):
    return x if x.data.dtype in dtypes.FLOATS else astype(x, dtypes.float32)


def add(x, y):
    """x + y."""
    if x.__class__ is not y.__class__ or x.data.dtype is not y.data.dtype:
        x, y = operands(x, y)
    return Add()(x, y)


def sub(x, y):
    """x - y."""
    return Sub()(*operands(x, y))


def mul(x, y):
    """x * y."""
    return Mul()(*operands(x, y))


def div(x, y):
    """x / y; integers divide as float32."""
    return Div()(*_float_operands(x, y))


def pow(x, y):
    """x ** y. A number for y costs no gradient of y."""
    if isinstance(x, Tensor) and isinstance(y, (int, float)) and y == 2:
        return square(x)
    return Pow()(*operands(x, y))


def maximum(x, y):
    """The greater of x and y; NaN if either is NaN."""
    return Maximum()(*operands(x, y))


def minimum(x, y):
    """The lesser of x and y; NaN if either is NaN."""
    return Minimum()(*operands(x, y))


def neg(x):
    """-x."""
    return Neg()(x)


def exp(x):
    """e^x."""
    return Exp()(_float(x))


def log(x):
    """Natural logarithm; -inf at 0, NaN below."""
    return Log()(_float(x))


def log1p(x):
    """log(1 + x), exact for small x."""
    return Log1p()(_float(x))


def sqrt(x):
    """Square root; NaN below 0."""
    return Sqrt()(_float(x))


def rsqrt(x):
    """1 / sqrt(x)."""
    return Rsqrt()(_float(x))


def square(x):
    """x * x."""
    return Square()(x)


def sin(x):
    """Sine of x in radians."""
    return Sin()(_float(x))


def cos(x):
    """Cosine of x in radians."""
    return Cos()(_float(x))


def abs(x):
    """|x|."""
    return Abs()(x)


def clip(x, low=None, high=None):
    """x limited to [low, high]; either may be None.

    NaN stays NaN. Raises ValueError if both are None or low > high.
    """
    if low is None and high is None:
        raise ValueError("[clip] expected low, high or both, got neither")
    if low is not None and high is not None and low > high:
        raise ValueError(f"[clip] expected low <= high, got {low} > {high}")
    return Clip(low, high)(x)


def untracked(array):
    """A tensor without history; NumPy scalars become 0-d arrays."""
    return Tensor.wrap(np.asarray(array) if isinstance(array, np.generic) else array)


def astype(x, dtype):
    """x in another dtype; itself if it has it. Gradients pass between floats."""
    dtype = dtypes.as_dtype(dtype)
    if x.data.dtype == dtype:
        return x
    if dtype in dtypes.FLOATS and x.data.dtype in dtypes.FLOATS:
        return Astype(dtype)(x)
    return Tensor.wrap(x.data.astype(dtype))


def clone(x):
    """A copy; gradients pass through."""
    return add(x, 0) if x.requires_grad else Tensor.wrap(x.data.copy())


def to(x, *args, dtype=None, device=None):
    """x on a device ("cpu", "cuda:0") or in a dtype or both, in any order; itself if nothing
    changes.
    """
    for arg in args:
        if isinstance(arg, str) and arg.partition(":")[0] in ("cpu", "cuda"):
            device = arg
        else:
            dtype = arg
    if dtype is not None:
        x = astype(x, dtype)
    if device is not None and device not in (x.device, x.device.partition(":")[0]):
        x = ToDevice(device)(x)
    return x
