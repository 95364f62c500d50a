"""Binds the functions to Tensor as methods and operators: tensor.py knows no op."""

from pynn import autograd
from pynn.functional import arithmetic, reduce, shape
from pynn.functional.linear import matmul
from pynn.tensor import Tensor


def _reversed(function):
    return lambda x, y: function(y, x)


def _in_place(function, name):
    """x += y: in place where no graph is recorded, else a new tensor (Python rebinds the name)."""

    def update(x, y):
        other = y if isinstance(y, Tensor) else None
        if autograd.is_grad_enabled() and (x.requires_grad or (other is not None and other.requires_grad)):
            if x.creator is None and x.requires_grad:
                raise RuntimeError(f"[{name}] expected no gradient, got a leaf that requires it: use no_grad()")
            return function(x, y)
        x.data[...] = function(x.detach(), y).data
        autograd.touch(x, name)
        return x

    return update


def _bind():
    for name in ("add", "sub", "mul", "div", "pow", "matmul"):
        function = matmul if name == "matmul" else getattr(arithmetic, name)
        python = "truediv" if name == "div" else name
        setattr(Tensor, f"__{python}__", function)
        setattr(Tensor, f"__r{python}__", _reversed(function))
        setattr(Tensor, f"__i{python}__", _in_place(function, python))
    operators = {
        "eq": "equal",
        "ne": "not_equal",
        "lt": "less",
        "le": "less_equal",
        "gt": "greater",
        "ge": "greater_equal",
        "and": "logical_and",
        "or": "logical_or",
        "invert": "logical_not",
        "mod": "remainder",
        "floordiv": "floor_divide",
        "neg": "neg",
        "abs": "abs",
    }
    for python, name in operators.items():
        setattr(Tensor, f"__{python}__", getattr(arithmetic, name))
    for name in (
        "add sub mul div pow neg exp log log1p sqrt rsqrt square sin cos abs clip maximum minimum astype to "
        "isnan isinf isfinite sign floor ceil round"
    ).split():
        setattr(Tensor, name, getattr(arithmetic, name))
    for name in "sum mean var std max min argmax argmin all any cumsum logsumexp norm".split():
        setattr(Tensor, name, getattr(reduce, name))
    for name in (
        "reshape flatten permute transpose squeeze unsqueeze expand flip split chunk masked_fill gather take tril"
    ).split():
        setattr(Tensor, name, getattr(shape, name))
    Tensor.view = shape.reshape
    Tensor.matmul = matmul
    Tensor.__getitem__ = shape.index
    Tensor.__setitem__ = shape.assign
    Tensor.T = property(shape.transpose)
    Tensor.backward = autograd.backward
    Tensor.register_hook = autograd.register_hook
    Tensor.clone = lambda x: arithmetic.add(x, 0) if x.requires_grad else Tensor.wrap(x.data.copy())


_bind()
