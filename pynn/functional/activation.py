"""Activations, each with its derivative, by reference and by kernel.

The kernels stand in csrc/kernels/elementwise/. Over 400 lines, since 18 ops have a class and a
function each; none is longer than a screen.
"""

import math

import numpy as np

from pynn import dtypes
from pynn.autograd import Function
from pynn.backend import array_module, native, sum_to, widen, zero_where
from pynn.functional.broadcast import sum_to_native

_SQRT_HALF = math.sqrt(0.5)
_SQRT_2_PI = math.sqrt(2 / math.pi)
_INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)


class _Activation(Function):
    """y = value(x);  dx = dy slope(x), elementwise, in float32 or wider, rounded once.

    `kernel` names the launchers kernel_fwd(x, y, *parameters) and kernel_bwd(x, dy, dx,
    *parameters).
    """

    kernel = ""
    parameters = ()  # the hyper-parameters, in the order the kernels take them

    def forward(self, x):
        self.x = x
        return self.value(array_module(x), widen(x)).astype(x.dtype, copy=False)

    def backward(self, dy):
        slope = self.slope(array_module(dy), widen(self.x))
        return (widen(dy) * slope).astype(dy.dtype, copy=False)

    def forward_native(self, x):
        self.x = x
        y = array_module(x).empty_like(x)
        getattr(native, self.kernel + "_fwd")(x, y, *self.parameters)
        return y

    def backward_native(self, dy):
        dx = array_module(dy).empty_like(dy)
        getattr(native, self.kernel + "_bwd")(self.x, dy, dx, *self.parameters)
        return dx


class _SavesOutput(_Activation):
    """As _Activation, with the slope written in y, so that y is kept and x is not; kernel_bwd takes
    (y, dy, dx).
    """

    def forward(self, x):
        self.y = self.value(array_module(x), widen(x)).astype(x.dtype, copy=False)
        return self.y

    def backward(self, dy):
        slope = self.slope(array_module(dy), widen(self.y))
        return (widen(dy) * slope).astype(dy.dtype, copy=False)

    def forward_native(self, x):
        self.y = array_module(x).empty_like(x)
        getattr(native, self.kernel + "_fwd")(x, self.y, *self.parameters)
        return self.y

    def backward_native(self, dy):
        dx = array_module(dy).empty_like(dy)
        getattr(native, self.kernel + "_bwd")(self.y, dy, dx, *self.parameters)
        return dx


class Relu(_SavesOutput):
    """y = max(x, 0);  dx = 0 where y <= 0, else dy."""

    kernel = "relu"

    def forward(self, x):
        self.y = array_module(x).maximum(x, x.dtype.type(0))
        return self.y

    def backward(self, dy):
        return zero_where(dy, self.y <= 0)


class LeakyRelu(_Activation):
    """y = x where x > 0, else slope x;  dx = dy or slope dy."""

    kernel = "leaky_relu"

    def __init__(self, slope):
        self.parameters = (slope,)

    def value(self, xp, x):
        return xp.where(x > 0, x, x * x.dtype.type(self.parameters[0]))

    def slope(self, xp, x):
        return xp.where(x > 0, x.dtype.type(1), x.dtype.type(self.parameters[0]))


class Prelu(Function):
    """y = x where x > 0, else w x, w learnt (one, or one for each channel, the last axis);  dw =
    sum of dy x where x <= 0.

    He et al. 2015, arXiv:1502.01852.
    """

    def forward(self, x, w):
        self.x, self.w = x, w
        return array_module(x).where(x > 0, x, x * w)

    def backward(self, dy):
        xp = array_module(dy)
        positive = self.x > 0
        dx = xp.where(positive, dy, dy * self.w)
        dw = xp.where(positive, 0, widen(dy) * widen(self.x))
        return dx, sum_to(dw, self.w.shape).astype(self.w.dtype, copy=False)

    def forward_native(self, x, w):
        self.x, self.w = x, w
        y = array_module(x).empty_like(x)
        x, y_rows = self.rows(x), self.rows(y)
        native.prelu_fwd(x, w.reshape(-1), y_rows)
        return y

    def backward_native(self, dy):
        xp, x, w = array_module(dy), self.rows(self.x), self.w.reshape(-1)
        (R, C), (need_x, need_w) = x.shape, self.needs
        dx = xp.empty(self.x.shape if need_x else (0, C), dy.dtype)
        splits = max(1, min(R // 128, (1 << 17) // max(C, 1), 1024))
        partial = xp.zeros((splits, C), np.float32)
        native.prelu_bwd(x, w, self.rows(dy), self.rows(dx), partial)
        dw = sum_to_native(partial, w.shape, w.dtype).reshape(self.w.shape)
        return dx if need_x else None, dw if need_w else None

    def rows(self, x):
        """x as (rows, channels); under a single w in rows of any length."""
        C = x.shape[-1] if self.w.size > 1 else math.gcd(x.size, 1024)
        return x.reshape(x.size // C if C else 0, C)


class Elu(_Activation):
    """y = x where x > 0, else alpha (e^x - 1);  dx = dy or dy alpha e^x.

    Clevert et al. 2015, arXiv:1511.07289.
    """

    kernel = "elu"

    def __init__(self, alpha):
        self.parameters = (alpha,)

    def value(self, xp, x):
        (alpha,) = self.parameters
        return xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0)))

    def slope(self, xp, x):
        (alpha,) = self.parameters
        return xp.where(x > 0, 1, alpha * xp.exp(xp.minimum(x, 0)))


class Selu(_Activation):
    """y = scale elu(x, alpha), with constants that keep mean 0 and variance 1.

    Klambauer et al. 2017, arXiv:1706.02515.
    """

    kernel = "selu"
    scale, alpha = 1.0507009873554805, 1.6732632423543772

    def value(self, xp, x):
        return self.scale * xp.where(x > 0, x, self.alpha * xp.expm1(xp.minimum(x, 0)))

    def slope(self, xp, x):
        return self.scale * xp.where(x > 0, 1, self.alpha * xp.exp(xp.minimum(x, 0)))


class Gelu(_Activation):
    """y = x Phi(x), Phi the normal distribution;  dx = dy (Phi(x) + x phi(x)).

    Hendrycks and Gimpel 2016, arXiv:1606.08415.
    """

    kernel = "gelu"

    def value(self, xp, x):
        return xp.maximum(x, -_HUGE) * _phi(xp, x)

    def slope(self, xp, x):
        with np.errstate(over="ignore"):
            density = xp.exp(-0.5 * x * x) * _INV_SQRT_2PI
        return _phi(xp, x) + xp.clip(x, -_HUGE, _HUGE) * density


class GeluTanh(_Activation):
    """y = x/2 (1 + tanh u),  u = sqrt(2/pi) (x + 0.044715 x^3).

    Hendrycks and Gimpel 2016, arXiv:1606.08415.
    """

    kernel = "gelu_tanh"

    def inner(self, xp, x):
        x = xp.clip(x, -1e10, 1e10)  # x^3 stays finite; tanh has long been at its limit
        return xp.tanh(_SQRT_2_PI * (x + 0.044715 * x * x * x))

    def value(self, xp, x):
        return xp.maximum(x, -_HUGE) * (0.5 * (1 + self.inner(xp, x)))

    def slope(self, xp, x):
        t = self.inner(xp, x)
        bounded = xp.clip(x, -1e10, 1e10)
        du = _SQRT_2_PI * (1 + 3 * 0.044715 * bounded * bounded)
        return 0.5 * (1 + t) + 0.5 * bounded * (1 - t * t) * du


class Silu(_Activation):
    """y = x s, s = 1 / (1 + e^-x);  dx = dy s (1 + x (1 - s)).

    Elfwing et al. 2017, arXiv:1702.03118.
    """

    kernel = "silu"

    def value(self, xp, x):
        return xp.maximum(x, -_HUGE) * _sigmoid(xp, x)

    def slope(self, xp, x):
        s = _sigmoid(xp, x)
        return s * (1 + xp.clip(x, -_HUGE, _HUGE) * (1 - s))


class Mish(_Activation):
    """y = x tanh(softplus(x));  dx = dy (t + x (1 - t^2) s), s the sigmoid.

    Misra 2019, arXiv:1908.08681.
    """

    kernel = "mish"

    def value(self, xp, x):
        return xp.maximum(x, -_HUGE) * xp.tanh(_softplus(xp, x))

    def slope(self, xp, x):
        t = xp.tanh(_softplus(xp, x))
        return t + xp.clip(x, -_HUGE, _HUGE) * ((1 - t * t) * _sigmoid(xp, x))


class Softplus(_Activation):
    """y = log(1 + e^(beta x)) / beta, x itself where beta x > threshold;  dx = dy / (1 + e^(-beta
    x)), or dy.
    """

    kernel = "softplus"

    def __init__(self, beta, threshold):
        self.parameters = (beta, threshold)

    def value(self, xp, x):
        beta, threshold = self.parameters
        return xp.where(beta * x > threshold, x, _softplus(xp, beta * x) / beta)

    def slope(self, xp, x):
        beta, threshold = self.parameters
        return xp.where(beta * x > threshold, 1, _sigmoid(xp, beta * x))


class Sigmoid(_SavesOutput):
    """y = 1 / (1 + e^-x);  dx = dy y (1 - y)."""

    kernel = "sigmoid"

    def value(self, xp, x):
        return _sigmoid(xp, x)

    def slope(self, xp, y):
        return y * (1 - y)


class Tanh(_SavesOutput):
    """y = tanh x;  dx = dy (1 - y^2)."""

    kernel = "tanh"

    def value(self, xp, x):
        return xp.tanh(x)

    def slope(self, xp, y):
        return 1 - y * y


class Arctan(_Activation):
    """y = arctan x;  dx = dy / (1 + x^2)."""

    kernel = "arctan"

    def value(self, xp, x):
        return xp.arctan(x)

    def slope(self, xp, x):
        with np.errstate(over="ignore"):
            return 1 / (1 + x * x)


class Hardtanh(_Activation):
    """y = min(max(x, low), high);  dx = dy where low < x < high, else 0."""

    kernel = "hardtanh"

    def __init__(self, low, high):
        self.parameters = (low, high)

    def value(self, xp, x):
        return xp.clip(x, *self.parameters)

    def backward(self, dy):
        low, high = self.parameters
        return array_module(dy).where((self.x > low) & (self.x < high), dy, dy.dtype.type(0))


class Hardswish(_Activation):
    """y = x min(max(x + 3, 0), 6) / 6;  dx = dy times 0 below -3, 1 above 3, (2x + 3) / 6 between.

    Howard et al. 2019, arXiv:1905.02244.
    """

    kernel = "hardswish"

    def value(self, xp, x):
        return xp.maximum(x, -_HUGE) * (xp.clip(x + 3, 0, 6) / 6)

    def slope(self, xp, x):
        return xp.where(x <= -3, 0, xp.where(x >= 3, 1, (2 * x + 3) / 6))


class Step(_Activation):
    """y = 1 where x >= 0, else 0: the perceptron's threshold. No gradient.  Rosenblatt 1958."""

    kernel = "step"

    def value(self, xp, x):
        return xp.where(x != x, x, (x >= 0).astype(x.dtype))


# ------------------------------------------------------------------ mathematics

_HUGE = (
    1e30  # stands for infinity where a factor of 0 would make inf * 0 = NaN of a limit that is 0
)


def _sigmoid(xp, x):
    """1 / (1 + e^-x) without overflow: e^-|x| is at most 1."""
    e = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, x.dtype.type(1), e) / (1 + e)


def _softplus(xp, x):
    """log(1 + e^x) = max(x, 0) + log(1 + e^-|x|)."""
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))


def _phi(xp, x):
    """The normal distribution function, 1/2 erfc(-x / sqrt 2)."""
    return 0.5 * erfc(xp, x * x.dtype.type(-_SQRT_HALF))


# log(erfc(z) e^(z^2) / t) = sum_k c_k T_k(y),  t = 2 / (2 + z),  y = 4t - 2;  interpolated at 80
# Chebyshev nodes in 40 digits.
_ERFC_SERIES = (
    -0.6513268598908547,
    0.6419697923564902,
    0.019476473204185836,
    -0.009561514786808632,
    -0.0009465953444820369,
    0.00036683949785276145,
    4.252332480690777e-05,
    -2.0278578112534242e-05,
    -1.6242900046470256e-06,
    1.3036558355805232e-06,
    1.5626441722066142e-08,
    -8.523809591492654e-08,
    6.5290544390988515e-09,
    5.059343495551469e-09,
    -9.91364156493033e-10,
    -2.273651222931836e-10,
    9.646791102015527e-11,
    2.3940380830391146e-12,
    -6.886027526497553e-12,
    8.944879273090725e-13,
    3.130921399342958e-13,
    -1.1270822361367252e-13,
    3.810905255189232e-16,
    7.106097613609237e-15,
    -1.5230282014571043e-15,
    -9.457494571291233e-17,
    1.210237189224279e-16,
    -2.816663087747177e-17,
)


def erfc(xp, x):
    """1 - erf(x), of x's dtype, computed in float64: relative error below 1e-7 in float32 and 3e-14
    in float64.

    CuPy has it, NumPy has not: there a Chebyshev series gives erfc(z) e^(z^2) for z = |x|, and
    erfc(-z) = 2 - erfc(z).
    """
    if xp is not np:
        from cupyx.scipy.special import erfc as cupy_erfc

        return cupy_erfc(x)
    flat = np.ascontiguousarray(x).reshape(-1)
    out = np.empty_like(flat)
    for start in range(0, flat.size, _ERFC_BLOCK):
        part = slice(start, start + _ERFC_BLOCK)
        out[part] = _erfc_block(flat[part])
    return out.reshape(x.shape)


_ERFC_BLOCK = 1 << 13  # elements at a time, so that the recurrence stays in the cache


def _erfc_block(x):
    """erfc of a NumPy vector, in float64."""
    z = np.abs(x, dtype=np.float64)
    t = 2 / (2 + z)
    y = 4 * t - 2
    b0, b1, b2 = np.zeros((3, x.size))
    for c in _ERFC_SERIES[: None if x.dtype == np.float64 else 14][:0:-1]:  # Clenshaw's recurrence
        np.multiply(y, b0, out=b2)
        b2 -= b1
        b2 += c
        b0, b1, b2 = b2, b0, b1
    value = t * np.exp(_ERFC_SERIES[0] + 0.5 * y * b0 - b1 - z * z)
    return np.where(x < 0, 2 - value, value)


# ------------------------------------------------------------------ public functions


def float_input(op, x):
    if x.data.dtype not in dtypes.FLOATS:
        raise TypeError(f"[{op}] expected a float dtype, got {x.data.dtype}")
    return x


def relu(x):
    """max(x, 0); NaN stays NaN."""
    return Relu()(x)


def leaky_relu(x, negative_slope=0.01):
    """x where positive, else negative_slope * x."""
    return LeakyRelu(float(negative_slope))(float_input("leaky_relu", x))


def prelu(x, weight):
    """x where positive, else weight * x.

    x       (..., C)
    weight  (1,) or (C,), dtype of x

    Raises ValueError for another weight.
    """
    if weight.shape not in ((1,), x.shape[-1:]):
        raise ValueError(
            f"[prelu] weight: expected shape (1,) or {x.shape[-1:]}, got {weight.shape}"
        )
    return Prelu()(float_input("prelu", x), weight)


def elu(x, alpha=1.0):
    """x where positive, else alpha (e^x - 1)."""
    return Elu(float(alpha))(float_input("elu", x))


def selu(x):
    """Scaled ELU with fixed constants."""
    return Selu()(float_input("selu", x))


def gelu(x, approximate="none"):
    """x times the normal distribution function of x, exact or, with approximate="tanh", by the tanh
    formula.
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f'[gelu] approximate: expected "none" or "tanh", got {approximate!r}')
    return (GeluTanh if approximate == "tanh" else Gelu)()(float_input("gelu", x))


def silu(x):
    """x sigmoid(x), also called swish."""
    return Silu()(float_input("silu", x))


def mish(x):
    """x tanh(softplus(x))."""
    return Mish()(float_input("mish", x))


def softplus(x, beta=1.0, threshold=20.0):
    """log(1 + e^(beta x)) / beta; x itself where beta x > threshold.

    Raises ValueError unless beta > 0.
    """
    if not beta > 0:
        raise ValueError(f"[softplus] beta: expected a positive number, got {beta}")
    return Softplus(float(beta), float(threshold))(float_input("softplus", x))


def sigmoid(x):
    """1 / (1 + e^-x)."""
    return Sigmoid()(float_input("sigmoid", x))


def tanh(x):
    """Hyperbolic tangent."""
    return Tanh()(float_input("tanh", x))


def arctan(x):
    """Inverse tangent, in radians."""
    return Arctan()(float_input("arctan", x))


def hardtanh(x, min_val=-1.0, max_val=1.0):
    """x limited to [min_val, max_val]. Raises ValueError unless min_val < max_val."""
    if not min_val < max_val:
        raise ValueError(f"[hardtanh] expected min_val < max_val, got {min_val} and {max_val}")
    return Hardtanh(float(min_val), float(max_val))(float_input("hardtanh", x))


def hardswish(x):
    """x min(max(x + 3, 0), 6) / 6."""
    return Hardswish()(float_input("hardswish", x))


def step(x):
    """1 where x >= 0, else 0; NaN stays NaN. Without gradient: Rosenblatt's rule needs none."""
    return Step()(float_input("step", x).detach())
