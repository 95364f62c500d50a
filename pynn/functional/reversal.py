"""Gradient reversal: what follows learns to tell domains apart, what precedes to hide them."""

from pynn.autograd import Function
from pynn.backend import array_module, native
from pynn.functional.activation import float_input
from pynn.functional.broadcast import meet


class GradientReversal(Function):
    """y = x;  dx = -scale dy."""

    view = True

    def __init__(self, scale):
        self.scale = scale

    def forward(self, x):
        return x

    def backward(self, dy):
        return dy * dy.dtype.type(-self.scale)

    def forward_native(self, x):
        return x

    def backward_native(self, dy):
        return meet(native.mul_fwd, array_module(dy).asarray(-self.scale, dy.dtype), dy)


def gradient_reversal(x, scale=1.0):
    """x itself, whose gradient comes back times -scale.

    x  any shape, any float; the result shares its memory

    Raises TypeError unless x is a float.  Ganin and Lempitsky 2015, arXiv:1409.7495.
    """
    return GradientReversal(float(scale))(float_input("gradient_reversal", x))
