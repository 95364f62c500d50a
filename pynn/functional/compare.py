"""Comparisons, logic and rounding: elementwise, without gradient."""

from pynn import dtypes
from pynn.autograd import Function
from pynn.backend import array_module, native
from pynn.functional.arithmetic import operands
from pynn.functional.broadcast import meet
from pynn.functional.loss import quiet

_COMPARISONS = (  # in the order of the kernel's numbers, as in the two below
    ("equal", "=="),
    ("not_equal", "!="),
    ("less", "<"),
    ("less_equal", "<="),
    ("greater", ">"),
    ("greater_equal", ">="),
    ("logical_and", "and"),
    ("logical_or", "or"),
)
_CLASSES = ("logical_not", "isnan", "isinf", "isfinite")
_ROUNDINGS = ("sign", "floor", "ceil", "rint")


class _OfNumbers(Function):
    """y = NumPy's function of that name, of one array or two."""

    def __init__(self, kind):
        self.kind = kind

    @property
    def name(self):
        return self.kind

    @quiet
    def forward(self, x, *y):
        return getattr(array_module(x), self.kind)(x, *y)


class Compare(_OfNumbers):
    """y = a ? b for one of the comparisons, or a and b, a or b;  bool."""

    native_dtypes = (*Function.native_dtypes, "bool", "int32", "int64")

    def forward_native(self, a, b):
        kind = [name for name, _ in _COMPARISONS].index(self.kind)
        return meet(lambda a, b, y: native.compare(a, b, y, kind), a, b, dtype=dtypes.bool_)


class Classify(_OfNumbers):
    """y = whether x is zero, NaN, infinite or finite;  bool."""

    native_dtypes = (*Function.native_dtypes, "bool")

    def forward_native(self, x):
        y = array_module(x).empty(x.shape, dtypes.bool_)
        native.classify(x, y, _CLASSES.index(self.kind))
        return y


class Rounded(_OfNumbers):
    """y = an integer near x, or its sign, in x's dtype."""

    def forward_native(self, x):
        y = array_module(x).empty_like(x)
        native.rounded(x, y, _ROUNDINGS.index(self.kind))
        return y


class Quotient(_OfNumbers):
    """y = the integer below a / b, or what it leaves of a."""

    no_kernel = "of counts and positions, not of a training step"


def _of_two(op, name, symbol):
    def function(x, y):
        x, y = operands(x, y)
        return op(name)(x.detach(), y.detach())

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"x {symbol} y, elementwise, without gradient."
    return function


def _of_one(op, name, text):
    def function(x):
        return op(name)(x.detach())

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{text}, elementwise, without gradient."
    return function


equal, not_equal, less, less_equal, greater, greater_equal, logical_and, logical_or = (
    _of_two(Compare, name, symbol) for name, symbol in _COMPARISONS
)
remainder = _of_two(Quotient, "remainder", "modulo")
floor_divide = _of_two(Quotient, "floor_divide", "//")

logical_not = _of_one(Classify, "logical_not", "Whether x is zero")
isnan = _of_one(Classify, "isnan", "Whether x is NaN")
isinf = _of_one(Classify, "isinf", "Whether x is infinite")
isfinite = _of_one(Classify, "isfinite", "Whether x is neither NaN nor infinite")
sign = _of_one(Rounded, "sign", "-1, 0 or 1")
floor = _of_one(Rounded, "floor", "The greatest integer not above x")
ceil = _of_one(Rounded, "ceil", "The least integer not below x")
round = _of_one(Rounded, "rint", "The nearest integer, ties to even")
