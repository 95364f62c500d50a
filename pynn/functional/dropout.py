"""Dropout: elements or channels set to zero at random. Masks are drawn again, never stored.

The kernels stand in csrc/kernels/dropout/.
"""

import math

import numpy as np

from pynn import random
from pynn.autograd import Function
from pynn.backend import array_module, native, widen
from pynn.functional.activation import Selu, float_input


class Dropout(Function):
    """y = keep x / (1 - p), keep 1 with probability 1 - p, else 0;  dx = keep dy / (1 - p).

    Element i of `shape`, which broadcasts against x, is kept if number i of the Philox stream
    (seed, offset) is at least p: the backward draws the numbers again. What is dropped is 0, were
    it NaN or infinite.  Srivastava et al. 2014, JMLR 15.
    """

    def __init__(self, p, seed, offset, shape):
        self.p, self.seed, self.offset, self.shape = p, seed, offset, shape

    def keep(self, xp):
        """The mask, as bool."""
        numbers = random.uniform(self.seed, self.offset, math.prod(self.shape), xp)
        return (numbers >= np.float32(self.p)).reshape(self.shape)

    def forward(self, x):
        xp, wide = array_module(x), widen(x)
        y = xp.where(self.keep(xp), wide * wide.dtype.type(self.scale()), wide.dtype.type(0))
        return y.astype(x.dtype, copy=False)

    def backward(self, dy):
        return self.forward(dy)

    def scale(self):
        return 1 / (1 - self.p) if self.p < 1 else 0.0

    def takes_native(self, arrays):
        shape = arrays[0].shape
        channels = (*shape[:1], *(1,) * (len(shape) - 2), *shape[-1:])
        return super().takes_native(arrays) and self.shape in (shape, channels)

    def forward_native(self, x):
        return self.drop_native(x, self.scale())

    def backward_native(self, dy):
        return self.drop_native(dy, self.scale())

    def drop_native(self, x, scale, shift=-0.0, dropped=0.0):
        """scale x + shift, and `dropped` where the mask says so; -0 shifts no zero's sign."""
        y = array_module(x).empty_like(x)
        seed = self.seed - (self.seed >> 63 << 64)  # the kernels take 64 bits with a sign
        numbers = self.p, seed, self.offset, scale, shift, dropped
        if self.shape == x.shape:
            native.dropout_fwd(x, y, *numbers)
        else:
            images = (x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1])
            native.dropout_channels_fwd(x.reshape(images), y.reshape(images), *numbers)
        return y


class AlphaDropout(Dropout):
    """y = a (keep x + (1 - keep) low) + b,  dx = a keep dy,  low = -scale alpha of SELU.

    a = ((1 - p) (1 + p low^2))^-1/2 and b = -a p low keep mean 0 and variance 1.
    Klambauer et al. 2017, arXiv:1706.02515.
    """

    low = -Selu.scale * Selu.alpha

    def __init__(self, p, seed, offset, shape):
        super().__init__(p, seed, offset, shape)
        self.a = ((1 - p) * (1 + p * self.low**2)) ** -0.5 if p < 1 else 0.0
        self.b = -self.a * p * self.low

    def forward(self, x):
        xp, wide = array_module(x), widen(x)
        dropped = wide.dtype.type(self.a * self.low + self.b)
        y = xp.where(self.keep(xp), wide * self.a + self.b, dropped)
        return y.astype(x.dtype, copy=False)

    def backward(self, dy):
        xp, wide = array_module(dy), widen(dy)
        dx = xp.where(self.keep(xp), wide * self.a, wide.dtype.type(0))
        return dx.astype(dy.dtype, copy=False)

    def forward_native(self, x):
        return self.drop_native(x, self.a, self.b, self.a * self.low + self.b)

    def backward_native(self, dy):
        return self.drop_native(dy, self.a)


# ------------------------------------------------------------------ public functions


def dropout(x, p=0.5, training=True):
    """x with each element zero with probability p, the others divided by 1 - p.

    x         any shape, any float
    p         in [0, 1]; 1 gives zeros
    training  False returns x itself, as p = 0 does

    Draws x.size numbers from pynn's stream (`manual_seed`): the same seed gives the same bits on
    every backend. Raises ValueError for another p, TypeError unless x is a float.
    Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting".
    """
    return _drop("dropout", Dropout, x, p, training, x.shape)


def dropout2d(x, p=0.5, training=True):
    """x with each channel of each sample zero with probability p, the others divided by 1 - p.

    x  (N, ..., C)  any float, channels last: images (N, H, W, C), sequences (N, L, C)

    Otherwise as `dropout`; draws N C numbers. Raises ValueError for fewer than 2 axes too.
    Tompson et al. 2014, arXiv:1411.4280.
    """
    if x.ndim < 2:
        raise ValueError(f"[dropout2d] x: expected shape (N, ..., C), got {x.shape}")
    shape = (x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1])
    return _drop("dropout2d", Dropout, x, p, training, shape)


def alpha_dropout(x, p=0.5, training=True):
    """x with elements set to SELU's lower limit with probability p, then shifted and scaled so that
    mean 0 and variance 1 stay so.

    x  any shape, any float

    Otherwise as `dropout`. Klambauer et al. 2017, arXiv:1706.02515.
    """
    return _drop("alpha_dropout", AlphaDropout, x, p, training, x.shape)


def _drop(name, op, x, p, training, shape):
    float_input(name, x)
    if not 0 <= p <= 1:
        raise ValueError(f"[{name}] p: expected a probability in [0, 1], got {p}")
    if not training or p == 0:
        return x
    return op(float(p), *random.reserve(math.prod(shape)), shape)(x)
