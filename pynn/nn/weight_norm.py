"""Modules whose weight is computed before each forward: weight and spectral normalization.

Names are those of `torch.nn.utils.weight_norm` and `torch.nn.utils.spectral_norm`, so that their
state dicts load: weight_g and weight_v; weight_orig, weight_u and weight_v.
"""

import numpy as np

import pynn.functional as F
from pynn import backend, random
from pynn.functional.weight_norm import SpectralNorm, as_matrix, power_iteration
from pynn.nn.conv import ConvTranspose1d, ConvTranspose2d
from pynn.nn.linear import check_sizes
from pynn.nn.parameter import Parameter
from pynn.tensor import Tensor


class _Reparametrized:
    """Hooks of one module: before the forward the weight is computed, after it its history goes."""

    def __init__(self, name, dim):
        self.name, self.dim = name, dim

    def before(self, module, inputs):
        setattr(module, self.name, self.weight(module))

    def after(self, module, inputs, output):
        setattr(module, self.name, getattr(module, self.name).detach())

    def install(self, module):
        module.register_forward_pre_hook(self.before)
        module.register_forward_hook(self.after)
        setattr(module, self.name, self.weight(module).detach())
        return module

    def remove(self, module):
        """An ordinary parameter with the present weight."""
        weight = self.weight(module).detach().data
        for key, (_, hook) in list(module._hooks.items()):
            if getattr(hook, "__self__", None) is self:
                del module._hooks[key]
        delattr(module, self.name)
        for end in self.ends:
            delattr(module, self.name + end)
        setattr(module, self.name, Parameter(weight))
        return module


class _WeightNorm(_Reparametrized):
    ends = ("_g", "_v")

    def weight(self, module):
        g, v = (getattr(module, self.name + end) for end in self.ends)
        return F.weight_norm(v, g, self.dim)


class _SpectralNorm(_Reparametrized):
    ends = ("_orig", "_u", "_v")

    def __init__(self, name, dim, steps, eps):
        super().__init__(name, dim)
        self.steps, self.eps = steps, eps

    def weight(self, module):
        w, u, v = (getattr(module, self.name + end) for end in self.ends)
        if module.training:
            self.improve(module, self.steps)
            u, v = (getattr(module, self.name + end) for end in self.ends[1:])
        return SpectralNorm(u.data, v.data, self.dim, self.eps)(w)

    def improve(self, module, steps):
        """Power iterations; new buffers, so that graphs not yet walked keep the old ones."""
        w, u, v = (getattr(module, self.name + end) for end in self.ends)
        found = power_iteration(w.data, u.data, v.data, self.dim, steps, self.eps)
        for end, array in zip(self.ends[1:], found, strict=True):
            setattr(module, self.name + end, Tensor(array.astype(w.dtype, copy=False)))


def weight_norm(module, name="weight", dim=0):
    """Train a weight's direction weight_v and length weight_g apart:  weight = g v / |v|.

    dim  the axis of the outputs, each with a length of its own; None: one length for all

    Changes the module and returns it. Raises ValueError unless `name` is a parameter of it.
    Salimans and Kingma 2016, arXiv:1602.07868.
    """
    weight = _parameter("weight_norm", module, name)
    if dim is not None and not -weight.ndim <= dim < weight.ndim:
        raise ValueError(f"[weight_norm] dim: expected an axis of {weight.shape}, got {dim}")
    dim = None if dim is None else dim % weight.ndim
    array = backend.widen(weight.data)
    axes = tuple(i for i in range(array.ndim) if i != dim)
    lengths = backend.array_module(array).sqrt((array * array).sum(axis=axes, keepdims=True))
    delattr(module, name)
    setattr(module, f"{name}_g", Parameter(lengths.astype(weight.dtype)))
    setattr(module, f"{name}_v", Parameter(weight.data))
    return _WeightNorm(name, dim).install(module)


def spectral_norm(module, name="weight", n_power_iterations=1, eps=1e-12, dim=None):
    """Divide a weight by its greatest gain, the first singular value, found by power iteration.

    n_power_iterations  steps before each forward in training; there are 15 at first
    dim                 the axis of the outputs; None: the last of a transposed convolution, else 0

    The trained parameter is weight_orig; weight_u and weight_v, buffers, are about the singular
    vectors. Changes the module and returns it. Raises ValueError unless `name` is a parameter of
    at least two dimensions.  Miyato et al. 2018, arXiv:1802.05957.
    """
    weight = _parameter("spectral_norm", module, name)
    check_sizes("spectral_norm", n_power_iterations=n_power_iterations)
    if weight.ndim < 2:
        raise ValueError(
            f"[spectral_norm] {name}: expected at least 2 dimensions, got shape {weight.shape}"
        )
    if dim is None:
        dim = -1 if isinstance(module, (ConvTranspose1d, ConvTranspose2d)) else 0
    dim %= weight.ndim
    delattr(module, name)
    setattr(module, f"{name}_orig", Parameter(weight.data))
    generator = random.generator()
    for end, count in zip(("_u", "_v"), as_matrix(weight.data, dim).shape, strict=True):
        numbers = generator.standard_normal(count)
        numbers = (numbers / np.linalg.norm(numbers)).astype(weight.dtype)
        module.register_buffer(name + end, Tensor(numbers, device=weight.device))
    norm = _SpectralNorm(name, dim, n_power_iterations, eps)
    norm.improve(module, 15)
    return norm.install(module)


def remove_weight_norm(module, name="weight"):
    """Make the weight an ordinary parameter again; returns the module."""
    return _remove("remove_weight_norm", _WeightNorm, module, name)


def remove_spectral_norm(module, name="weight"):
    """Make the weight an ordinary parameter again; returns the module."""
    return _remove("remove_spectral_norm", _SpectralNorm, module, name)


def _parameter(op, module, name):
    held = dict(module.named_parameters(recurse=False))
    if name not in held:
        raise ValueError(
            f"[{op}] name: expected a parameter of {type(module).__name__}, {list(held)}, "
            f"got {name!r}"
        )
    return held[name]


def _remove(op, kind, module, name):
    for _, hook in (module._hooks or {}).values():
        owner = getattr(hook, "__self__", None)
        if isinstance(owner, kind) and owner.name == name:
            return owner.remove(module)
    raise ValueError(f"[{op}] expected a module with a normalized {name!r}, got none")
