"""Binds the functions to Tensor as methods and operators: tensor.py knows no op."""

from pynn import autograd
from pynn.functional import activation, arithmetic, compare, order, reduce, shape
from pynn.functional import softmax as softmax_family
from pynn.functional.linear import matmul
from pynn.tensor import Tensor


def _reversed(function):
    return lambda x, y: function(y, x)


def _in_place(function, name):
    """x += y: in place where no graph is recorded, else a new tensor (Python rebinds the name)."""

    def update(x, y):
        other = y if isinstance(y, Tensor) else None
        if autograd.is_grad_enabled() and (
            x.requires_grad or (other is not None and other.requires_grad)
        ):
            if x.creator is None and x.requires_grad:
                raise RuntimeError(
                    f"[{name}] expected no gradient, got a leaf that requires it: use no_grad()"
                )
            return function(x, y)
        x.data[...] = function(x.detach(), y).data
        autograd.touch(x, name)
        return x

    return update


def _moved(where):
    """x.cpu(), x.float() ...: `to` with that argument."""

    def move(x):
        return arithmetic.to(x, where)

    move.__doc__ = f"to({str(where)!r})."
    return move


def _contiguous(x):
    """x in rows without gaps; itself where it is already."""
    return x if x.data.flags.c_contiguous else arithmetic.clone(x)


OPERATORS = {
    "__eq__": compare.equal,
    "__ne__": compare.not_equal,
    "__lt__": compare.less,
    "__le__": compare.less_equal,
    "__gt__": compare.greater,
    "__ge__": compare.greater_equal,
    "__and__": compare.logical_and,
    "__or__": compare.logical_or,
    "__invert__": compare.logical_not,
    "__mod__": compare.remainder,
    "__floordiv__": compare.floor_divide,
    "__neg__": arithmetic.neg,
    "__abs__": arithmetic.abs,
    "__getitem__": shape.index,
    "__setitem__": shape.assign,
    "backward": autograd.backward,
    "register_hook": autograd.register_hook,
    "matmul": matmul,
    "view": shape.reshape,
    "T": property(shape.transpose),
    "t": shape.transpose,
    "repeat": shape.tile,
    "contiguous": _contiguous,
    "cpu": _moved("cpu"),
    "cuda": _moved("cuda"),
    "half": _moved("float16"),
    "bfloat16": _moved("bfloat16"),
    "float": _moved("float32"),
    "double": _moved("float64"),
    "int": _moved("int32"),
    "long": _moved("int64"),
    "bool": _moved("bool"),
}
BINARY = {
    "add": arithmetic.add,
    "sub": arithmetic.sub,
    "mul": arithmetic.mul,
    "truediv": arithmetic.div,
    "pow": arithmetic.pow,
    "matmul": matmul,
}
METHODS = {
    arithmetic: """add sub mul div pow neg exp log log1p sqrt rsqrt square sin cos abs clip maximum
        minimum astype to clone""",
    compare: "isnan isinf isfinite sign floor ceil round",
    reduce: "sum mean var std max min argmax argmin all any cumsum logsumexp norm",
    shape: """reshape flatten permute transpose squeeze unsqueeze expand flip split chunk
        contiguous masked_fill gather take tril triu unbind roll pad""",
    order: "sort argsort topk",
    activation: "relu sigmoid tanh",
    softmax_family: "softmax log_softmax",
}


def _bind():
    for name, function in OPERATORS.items():
        setattr(Tensor, name, function)
    for name, function in BINARY.items():
        setattr(Tensor, f"__{name}__", function)
        setattr(Tensor, f"__r{name}__", _reversed(function))
        setattr(Tensor, f"__i{name}__", _in_place(function, name))
    for family, names in METHODS.items():
        for name in names.split():
            setattr(Tensor, name, getattr(family, name))


_bind()
