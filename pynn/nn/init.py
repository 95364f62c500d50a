"""Initial values, drawn from pynn's stream, so that `pynn.manual_seed` governs them.

Each function fills a tensor in place, whatever its dtype and device, and returns it. A fan counts
the terms of a sum: for a weight (K, R, S, C) or (K, C), fan_in = R S C and fan_out = K R S.
"""

import math

import numpy as np

from pynn import autograd, backend, dtypes, random


def _fill(tensor, values, how):
    values = np.asarray(values).astype(tensor.dtype, copy=False)
    tensor.data[...] = backend.to_device(values, tensor.device)
    autograd.touch(tensor, how)
    return tensor


def _drawn_in(tensor):
    """The dtype in which numbers for the tensor are drawn."""
    return dtypes.float64 if tensor.dtype == dtypes.float64 else dtypes.float32


def uniform_(tensor, a=0.0, b=1.0):
    """Uniform numbers in [a, b). Raises ValueError if a > b."""
    if not a <= b:
        raise ValueError(f"[uniform_] expected a <= b, got {a} > {b}")
    numbers = random.generator().random(tensor.shape, _drawn_in(tensor))
    return _fill(tensor, a + (b - a) * numbers, "uniform_")


def normal_(tensor, mean=0.0, std=1.0):
    """Normal numbers. Raises ValueError if std < 0."""
    if not std >= 0:
        raise ValueError(f"[normal_] std: expected a number >= 0, got {std}")
    numbers = random.generator().standard_normal(tensor.shape, _drawn_in(tensor))
    return _fill(tensor, mean + std * numbers, "normal_")


def trunc_normal_(tensor, mean=0.0, std=1.0, a=-2.0, b=2.0):
    """Normal numbers, drawn again until they lie in [a, b].

    Raises ValueError if a >= b, std <= 0, or [a, b] holds less than a thousandth of them.
    """
    if not a < b or not std > 0:
        raise ValueError(f"[trunc_normal_] expected a < b and std > 0, got {a}, {b} and {std}")
    held = (
        math.erf((b - mean) / std / math.sqrt(2)) - math.erf((a - mean) / std / math.sqrt(2))
    ) / 2
    if held < 1e-3:
        raise ValueError(
            f"[trunc_normal_] expected [a, b] to hold 0.1 % of the distribution, got {held:.2g}"
        )
    generator, dtype = random.generator(), _drawn_in(tensor)
    numbers = mean + std * generator.standard_normal(tensor.size, dtype)
    outside = np.flatnonzero((numbers < a) | (numbers > b))
    while outside.size:
        numbers[outside] = mean + std * generator.standard_normal(outside.size, dtype)
        outside = outside[(numbers[outside] < a) | (numbers[outside] > b)]
    return _fill(tensor, numbers.reshape(tensor.shape), "trunc_normal_")


def constant_(tensor, value):
    """One value everywhere."""
    return _fill(tensor, np.full(tensor.shape, value), "constant_")


def zeros_(tensor):
    """Zeros."""
    return constant_(tensor, 0)


def ones_(tensor):
    """Ones."""
    return constant_(tensor, 1)


def xavier_uniform_(tensor, gain=1.0):
    """Uniform with variance 2 gain^2 / (fan_in + fan_out).  Glorot, Bengio 2010, AISTATS."""
    bound = gain * math.sqrt(6 / max(1, sum(fans(tensor))))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor, gain=1.0):
    """Normal with variance 2 gain^2 / (fan_in + fan_out).  Glorot, Bengio 2010, AISTATS."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / max(1, sum(fans(tensor)))))


def kaiming_uniform_(tensor, a=0.0, mode="fan_in", nonlinearity="leaky_relu"):
    """Uniform with variance gain^2 / fan.  He et al. 2015, arXiv:1502.01852.

    a             the slope of leaky_relu below 0
    mode          "fan_in" keeps the variance in the forward, "fan_out" in the backward
    nonlinearity  what follows: see `calculate_gain`
    """
    bound = math.sqrt(3) * _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor, a=0.0, mode="fan_in", nonlinearity="leaky_relu"):
    """Normal with variance gain^2 / fan; the arguments of `kaiming_uniform_`."""
    return normal_(tensor, 0.0, _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity))


def _kaiming_std(how, tensor, a, mode, nonlinearity):
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"[{how}] mode: expected 'fan_in' or 'fan_out', got {mode!r}")
    fan = fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(max(1, fan))


def orthogonal_(tensor, gain=1.0):
    """Rows (or columns, if there are fewer) that are orthogonal and of length gain.

    A tensor of more than two dimensions counts as the matrix (first, all others).
    Saxe, McClelland, Ganguli 2014, arXiv:1312.6120. Raises ValueError below two dimensions.
    """
    if tensor.ndim < 2:
        raise ValueError(f"[orthogonal_] expected at least 2 dimensions, got shape {tensor.shape}")
    if not tensor.size:
        return tensor
    rows = tensor.shape[0]
    columns = tensor.size // rows
    numbers = random.generator().standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(numbers)
    q *= np.where(np.diagonal(r) < 0, -1.0, 1.0)  # makes the distribution uniform
    q = q if rows >= columns else q.T
    return _fill(tensor, gain * q.reshape(tensor.shape), "orthogonal_")


def calculate_gain(nonlinearity, param=None) -> float:
    """What a nonlinearity asks its weights' standard deviation to be multiplied by.

    1 for linear, conv1d, conv2d and sigmoid; tanh 5/3; relu sqrt 2; leaky_relu sqrt(2 / (1 + a^2)),
    a = param or 0.01; selu 3/4. Raises ValueError for another name.
    """
    if nonlinearity in ("linear", "conv1d", "conv2d", "sigmoid"):
        return 1.0
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2 / (1 + slope**2))
    gains = {"tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}
    if nonlinearity not in gains:
        names = ["linear", "conv1d", "conv2d", "sigmoid", "leaky_relu", *gains]
        raise ValueError(f"[calculate_gain] expected one of {names}, got {nonlinearity!r}")
    return gains[nonlinearity]


def fans(tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight. Raises ValueError below two dimensions."""
    if tensor.ndim < 2:
        raise ValueError(f"[init] fan: expected at least 2 dimensions, got shape {tensor.shape}")
    return math.prod(tensor.shape[1:]), math.prod(tensor.shape[:-1])


def default_(weight, bias=None, fan_in=None):
    """PyTorch's initial values of Linear and convolutions: uniform in +-1 / sqrt(fan_in), both.

    It is kaiming_uniform_ with a = sqrt 5.
    """
    bound = 1 / math.sqrt(max(1, fans(weight)[0] if fan_in is None else fan_in))
    uniform_(weight, -bound, bound)
    if bias is not None:
        uniform_(bias, -bound, bound)
