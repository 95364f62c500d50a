"""What the normalizations share: weight, bias and activation, and sums that lose no digits.

All take mean and variance in two passes, the second over d = x - mean and corrected by what the
mean was off (Chan, Golub, LeVeque 1983, "Algorithms for computing the sample variance"), so a mean
of 1e4 beside a spread of 1e-3 costs no digits in float32. Where squares would leave float32's
range, the pass is run again in float64: values of 1e30 are normalized like any others. In float64
the squares overflow from 1e154 on, and the result is 0.
"""

import numpy as np

from pynn.autograd import Function
from pynn.backend import array_module, widen
from pynn.functional.activation import Gelu, Relu

quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore")
WORKSPACE = (
    1 << 22
)  # floats, for the kernels' sums over rows: beyond, they would only be read again
_BLOCK = 256  # rows summed in x's dtype; the blocks' sums are added in float64


class Affine(Function):
    """y = f(z), z = xhat w + b: inputs x, then the weight and the bias if there are such.

    f is None, "relu" or "gelu", of z before it is rounded; the backward works z out again.
    """

    activations = {"relu": Relu, "gelu": Gelu}
    summands = 1  # the inputs that share dx: x alone, or x and what is added to it

    def __init__(self, eps, has_weight, has_bias, activation=None):
        self.eps, self.has_weight, self.has_bias = eps, has_weight, has_bias
        self.activation = activation

    @property
    def needs_dx(self):
        return any(self.needs[: self.summands])

    def split(self, affine):
        """(weight, bias) out of the inputs after x, in float32 or wider; None where left out."""
        affine = [widen(a) for a in affine]
        w, b = affine[0] if self.has_weight else None, affine[-1] if self.has_bias else None
        self.b = None if self.activation is None else b
        return w, b

    def activate(self, z):
        return z if self.activation is None else self.activations[self.activation]().forward(z)

    def before_activation(self, dy, z):
        """The gradient of z() from that of f(z())."""
        if self.activation is None:
            return dy
        f = self.activations[self.activation]()
        f.x = f.y = z()
        return f.backward(dy)

    def gradients(self, dx, dw, db):
        """The gradients of the inputs there are, in their dtype."""
        given = [dx] * self.summands + [dw] * self.has_weight + [db] * self.has_bias
        return tuple(
            g.astype(self.dtype, copy=False) if need else None
            for g, need in zip(given, self.needs[: len(given)], strict=True)
        )

    def split_native(self, x, affine):
        """Keeps x and the weight; (weight, bias) as rows of x's dtype, empty where left out."""
        self.x, self.dtype, self.shape = x, x.dtype, x.shape
        none = array_module(x).empty(0, x.dtype)
        self.w = affine[0].reshape(-1) if self.has_weight else None
        bias = affine[-1].reshape(-1) if self.has_bias else none
        self.b = bias if self.activation and self.has_bias else None
        return none if self.w is None else self.w, bias

    def kept_native(self):
        """x, weight and bias as the kernels take them, whichever forward ran."""
        x = self.x.astype(self.dtype, copy=False)
        none = array_module(x).empty(0, x.dtype)
        return x, *(none if a is None else a.astype(x.dtype, copy=False) for a in (self.w, self.b))

    @property
    def activation_code(self):
        """The activation's number in csrc/kernels/norm/norm.cuh."""
        return (None, *self.activations).index(self.activation)

    def empty_gradients(self, x, C):
        """dx, dw and db to be filled, empty where not wanted."""
        xp, needs = array_module(x), self.needs
        first = self.summands
        dw = self.has_weight and needs[first]
        db = self.has_bias and needs[first + self.has_weight]
        return (
            xp.empty(x.shape if self.needs_dx else 0, x.dtype),
            xp.empty(C if dw else 0, x.dtype),
            xp.empty(C if db else 0, x.dtype),
        )


# ------------------------------------------------------------------ sums


def sums(x):
    """Sums over the last axis but one, (..., L, C) -> (..., C), in float64.

    Blocks of rows are summed by products with ones, several times faster than `sum` in NumPy.
    """
    xp = array_module(x)
    L, C = x.shape[-2:]
    whole = L // _BLOCK * _BLOCK
    rest = xp.matmul(xp.ones((1, L - whole), x.dtype), x[..., whole:, :])[..., 0, :]
    rest = rest.astype(np.float64, copy=False)
    if not whole:
        return rest
    blocks = x[..., :whole, :].reshape(*x.shape[:-2], L // _BLOCK, _BLOCK, C)
    sums = xp.matmul(xp.ones((1, _BLOCK), x.dtype), blocks)[..., 0, :]
    return sums.sum(axis=-2, dtype=np.float64) + rest


def dots(x, w):
    """The products of x's rows with w, or with ones, in float64."""
    return sums(x.T) if w is None else (x @ w.astype(x.dtype, copy=False)).astype(np.float64)


def mean_square(x):
    return sums((x * x).T) / max(1, x.shape[1])


def room(least, x):
    """Floats for the kernels' parts of sums down the columns of x, of which one takes `least`."""
    return least * max(1, min(1024, WORKSPACE // max(1, least), x.size // (16 * max(1, least))))


def in_range(variance):
    """Whether float32 held the squares that made the variance, and will hold rstd^2."""
    return bool(((variance > 1e-30) & (variance < 1e30)).all())


def beside(statistic, x):
    """(N, C) to broadcast against (N, L, C), or (R,) against (R, C), in x's dtype."""
    return statistic.astype(x.dtype, copy=False)[:, None]


def minus_mean(x, mean):
    """d = x - mean rounded to x's dtype, and the part of the mean (float64) that rounding left."""
    high = mean.astype(x.dtype)
    return x - beside(high, x), mean - high


def scale_and_shift(d, rstd, delta, w, b):
    """(d - delta) rstd w + b for (N, L, C), in d's memory; the rest is (N, C)."""
    scale = rstd if w is None else rstd * w
    shift = -delta * scale
    d *= beside(scale, d)
    d += beside(shift if b is None else shift + b, d)
    return d
