"""Activations as modules. `inplace`, where PyTorch has it, is accepted and changes nothing."""

import numpy as np

import pynn.functional as F
from pynn.nn.linear import check_sizes
from pynn.nn.module import Module
from pynn.nn.parameter import Parameter


class ReLU(Module):
    """max(x, 0)."""

    def __init__(self, inplace=False):
        super().__init__()

    def forward(self, x):
        return F.relu(x)


class LeakyReLU(Module):
    """x, or negative_slope x below 0."""

    shown = ("negative_slope",)

    def __init__(self, negative_slope=0.01, inplace=False):
        super().__init__()
        self.negative_slope = negative_slope

    def forward(self, x):
        return F.leaky_relu(x, self.negative_slope)


class PReLU(Module):
    """x, or weight x below 0, with one trained slope or one for each channel (the last axis).

    He et al. 2015, arXiv:1502.01852.
    """

    shown = ("num_parameters",)

    def __init__(self, num_parameters=1, init=0.25):
        super().__init__()
        check_sizes("PReLU", num_parameters=num_parameters)
        self.num_parameters = num_parameters
        self.weight = Parameter(np.full(num_parameters, init, np.float32))

    def forward(self, x):
        return F.prelu(x, self.weight)


class ELU(Module):
    """x, or alpha (e^x - 1) below 0.  Clevert, Unterthiner, Hochreiter 2015, arXiv:1511.07289."""

    shown = ("alpha",)

    def __init__(self, alpha=1.0, inplace=False):
        super().__init__()
        self.alpha = alpha

    def forward(self, x):
        return F.elu(x, self.alpha)


class SELU(Module):
    """ELU scaled so that activations normalize themselves.  Klambauer et al. 2017, 1706.02515."""

    def __init__(self, inplace=False):
        super().__init__()

    def forward(self, x):
        return F.selu(x)


class GELU(Module):
    """x Phi(x), exactly ("none") or by the tanh formula.  Hendrycks, Gimpel 2016, 1606.08415."""

    shown = ("approximate",)

    def __init__(self, approximate="none"):
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f"[GELU] approximate: expected 'none' or 'tanh', got {approximate!r}")
        self.approximate = approximate

    def forward(self, x):
        return F.gelu(x, self.approximate)


class SiLU(Module):
    """x sigmoid(x)."""

    def __init__(self, inplace=False):
        super().__init__()

    def forward(self, x):
        return F.silu(x)


class Mish(Module):
    """x tanh(softplus(x)).  Misra 2019, arXiv:1908.08681."""

    def __init__(self, inplace=False):
        super().__init__()

    def forward(self, x):
        return F.mish(x)


class Softplus(Module):
    """log(1 + e^(beta x)) / beta; x itself where beta x > threshold."""

    shown = ("beta", "threshold")

    def __init__(self, beta=1.0, threshold=20.0):
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, x):
        return F.softplus(x, self.beta, self.threshold)


class Sigmoid(Module):
    """1 / (1 + e^-x)."""

    def forward(self, x):
        return F.sigmoid(x)


class Tanh(Module):
    """tanh x."""

    def forward(self, x):
        return F.tanh(x)


class Arctan(Module):
    """arctan x."""

    def forward(self, x):
        return F.arctan(x)


class Hardtanh(Module):
    """x clipped to [min_val, max_val]."""

    shown = ("min_val", "max_val")

    def __init__(self, min_val=-1.0, max_val=1.0, inplace=False):
        super().__init__()
        self.min_val, self.max_val = min_val, max_val

    def forward(self, x):
        return F.hardtanh(x, self.min_val, self.max_val)


class Hardswish(Module):
    """x clip(x + 3, 0, 6) / 6.  Howard et al. 2019, arXiv:1905.02244."""

    def __init__(self, inplace=False):
        super().__init__()

    def forward(self, x):
        return F.hardswish(x)


class Step(Module):
    """1 above 0, else 0; its gradient is 0."""

    def forward(self, x):
        return F.step(x)


class Softmax(Module):
    """e^x over its sum along the axis `dim`."""

    shown = ("dim",)

    def __init__(self, dim=-1):
        super().__init__()
        self.dim = dim

    def forward(self, x):
        return F.softmax(x, self.dim)


class LogSoftmax(Module):
    """The logarithm of Softmax, without overflow."""

    shown = ("dim",)

    def __init__(self, dim=-1):
        super().__init__()
        self.dim = dim

    def forward(self, x):
        return F.log_softmax(x, self.dim)
