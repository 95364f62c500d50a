"""Layers that are matrix products, or do nothing."""

import numpy as np

import pynn.functional as F
from pynn.nn import init
from pynn.nn.module import Module
from pynn.nn.parameter import Parameter


class Linear(Module):
    """y = f(x W^T + b).

    weight      (out_features, in_features), bias (out_features,): both uniform in
                +-1 / sqrt(in_features)
    activation  f: None, "relu", "gelu", "gelu_tanh" or "silu", without another pass over memory
    x           (..., in_features)
    """

    def __init__(self, in_features, out_features, bias=True, activation=None):
        super().__init__()
        check_sizes("Linear", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.activation = activation
        self.weight = empty(out_features, in_features)
        self.register_parameter("bias", empty(out_features) if bias else None)
        self.reset_parameters()

    def reset_parameters(self):
        """Draw initial values again."""
        init.default_(self.weight, self.bias)

    def forward(self, x):
        return F.linear(x, self.weight, self.bias, self.activation)

    def extra_repr(self):
        shown = f"in_features={self.in_features}, out_features={self.out_features}, "
        shown += f"bias={self.bias is not None}"
        return shown + f", activation={self.activation!r}" * (self.activation is not None)


class Bilinear(Module):
    """y[o] = x1^T W[o] x2 + b[o].

    weight  (out_features, in1_features, in2_features), bias (out_features,): uniform in
            +-1 / sqrt(in1_features)
    x1, x2  (..., in1_features) and (..., in2_features)
    """

    def __init__(self, in1_features, in2_features, out_features, bias=True):
        super().__init__()
        check_sizes(
            "Bilinear",
            in1_features=in1_features,
            in2_features=in2_features,
            out_features=out_features,
        )
        self.in1_features, self.in2_features = in1_features, in2_features
        self.out_features = out_features
        self.weight = empty(out_features, in1_features, in2_features)
        self.register_parameter("bias", empty(out_features) if bias else None)
        self.reset_parameters()

    def reset_parameters(self):
        """Draw initial values again."""
        init.default_(self.weight, self.bias, fan_in=self.in1_features)

    def forward(self, x1, x2):
        expected = (*x1.shape[:-1], self.in1_features), (*x1.shape[:-1], self.in2_features)
        if (x1.shape, x2.shape) != expected:
            raise ValueError(
                f"[Bilinear] expected shapes {expected[0]} and {expected[1]}, "
                f"got {x1.shape} and {x2.shape}"
            )
        rows = x1.size // max(1, self.in1_features)
        weight = self.weight.permute(1, 0, 2).reshape(self.in1_features, -1)  # (I1, O I2)
        left = F.matmul(x1.reshape(rows, self.in1_features), weight)
        left = left.reshape(rows, self.out_features, self.in2_features)
        y = F.matmul(left, x2.reshape(rows, self.in2_features, 1))
        y = y.reshape(*x1.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias

    def extra_repr(self):
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )


class Identity(Module):
    """y = x, whatever the arguments were."""

    def __init__(self, *args, **options):
        super().__init__()

    def forward(self, x):
        return x


class Flatten(Module):
    """The axes start_dim to end_dim as one. Images come out in the order (H, W, C)."""

    shown = ("start_dim", "end_dim")

    def __init__(self, start_dim=1, end_dim=-1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x):
        return F.flatten(x, self.start_dim, self.end_dim)


class Unflatten(Module):
    """The axis `dim` split into `unflattened_size`: what follows a Linear that makes images."""

    shown = ("dim", "unflattened_size")

    def __init__(self, dim, unflattened_size):
        super().__init__()
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def forward(self, x):
        dim = self.dim % x.ndim
        return x.reshape(*x.shape[:dim], *self.unflattened_size, *x.shape[dim + 1 :])


def empty(*shape) -> Parameter:
    """A float32 parameter on the CPU whose values are not yet set."""
    return Parameter(np.empty(shape, np.float32))


def check_sizes(layer, **sizes):
    """Raise ValueError unless every size given by name is an int of at least 1."""
    for name, size in sizes.items():
        if not isinstance(size, (int, np.integer)) or isinstance(size, bool) or size < 1:
            raise ValueError(f"[{layer}] {name}: expected an int of at least 1, got {size!r}")
