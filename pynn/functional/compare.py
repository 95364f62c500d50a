"""Comparisons, logic and rounding: elementwise, without gradient."""

from pynn.backend import array_module
from pynn.functional.arithmetic import operands, untracked


def _compare(name, symbol):
    def compare(x, y):
        x, y = operands(x, y)
        return untracked(getattr(array_module(x.data), name)(x.data, y.data))

    compare.__name__ = compare.__qualname__ = name
    compare.__doc__ = f"x {symbol} y, elementwise, without gradient."
    return compare


equal = _compare("equal", "==")
not_equal = _compare("not_equal", "!=")
less = _compare("less", "<")
less_equal = _compare("less_equal", "<=")
greater = _compare("greater", ">")
greater_equal = _compare("greater_equal", ">=")
logical_and = _compare("logical_and", "and")
logical_or = _compare("logical_or", "or")
remainder = _compare("remainder", "modulo")
floor_divide = _compare("floor_divide", "//")


def _pointwise(name, text):
    def function(x):
        return untracked(getattr(array_module(x.data), name)(x.data))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{text}, elementwise, without gradient."
    return function


logical_not = _pointwise("logical_not", "Whether x is zero")
isnan = _pointwise("isnan", "Whether x is NaN")
isinf = _pointwise("isinf", "Whether x is infinite")
isfinite = _pointwise("isfinite", "Whether x is neither NaN nor infinite")
sign = _pointwise("sign", "-1, 0 or 1")
floor = _pointwise("floor", "The greatest integer not above x")
ceil = _pointwise("ceil", "The least integer not below x")
round = _pointwise("rint", "The nearest integer, ties to even")
