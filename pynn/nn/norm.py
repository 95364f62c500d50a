"""Normalizations. Channels are the last axis, so one batch norm serves every number of dimensions.

Running statistics stay float32 when the model goes to a 16-bit dtype.
"""

import math

import pynn.functional as F
from pynn.nn import init
from pynn.nn.linear import check_sizes, empty
from pynn.nn.module import Module
from pynn.tensor import tensor


class _BatchNorm(Module):
    shown = ("num_features", "eps", "momentum", "affine", "track_running_stats")
    wide = ("running_mean", "running_var")
    dims = ()  # how many dimensions x may have

    def __init__(
        self,
        num_features,
        eps=1e-5,
        momentum=0.1,
        affine=True,
        track_running_stats=True,
        activation=None,
    ):
        super().__init__()
        check_sizes(type(self).__name__, num_features=num_features)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.activation = activation
        self.register_parameter("weight", empty(num_features) if affine else None)
        self.register_parameter("bias", empty(num_features) if affine else None)
        kept = track_running_stats
        self.register_buffer("running_mean", tensor([0.0] * num_features) if kept else None)
        self.register_buffer("running_var", tensor([1.0] * num_features) if kept else None)
        self.register_buffer("num_batches_tracked", tensor(0) if kept else None)
        self.reset_parameters()

    def reset_parameters(self):
        """weight 1, bias 0, running mean 0 and variance 1."""
        if self.affine:
            init.ones_(self.weight)
            init.zeros_(self.bias)
        if self.track_running_stats:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            init.zeros_(self.num_batches_tracked)

    def forward(self, x, residual=None):
        if x.ndim not in self.dims:
            raise ValueError(
                f"[{type(self).__name__}] x: expected {' or '.join(map(str, self.dims))} "
                f"dimensions, channels last, got shape {x.shape}"
            )
        how = *self.affine_and_mode(), self.eps, self.activation, residual
        y = F.batch_norm(x, self.running_mean, self.running_var, *how)
        self.count_batch(x)
        return y

    def affine_and_mode(self):
        """weight, bias, training and momentum of this batch, as F.batch_norm takes them."""
        momentum = self.momentum
        if self.follows and momentum is None:
            momentum = 1 / (int(self.num_batches_tracked) + 1)
        return self.weight, self.bias, self.training or not self.track_running_stats, momentum

    @property
    def follows(self):
        """Whether the running statistics follow the batches."""
        return self.training and self.track_running_stats

    def count_batch(self, x):
        """One more batch has been followed; an empty one leaves the statistics."""
        if self.follows and x.size:
            self.num_batches_tracked.data += 1


class BatchNorm1d(_BatchNorm):
    """y = (x - mean) / sqrt(var + eps) * weight + bias for each channel of (N, C) or (N, L, C).

    momentum  how far the running statistics move to a batch's; None averages all batches alike
    affine    whether there are a weight, at first 1, and a bias, at first 0: (num_features,)
    track_running_stats  whether evaluation uses running statistics; else each batch's own
    activation  None, "relu" or "gelu": applied to y in the same pass over memory

    Called with a residual like x, it adds that before the activation, which is not "gelu" then.
    Ioffe, Szegedy 2015, arXiv:1502.03167.
    """

    dims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """BatchNorm1d for images (N, H, W, C)."""

    dims = (4,)


class LayerNorm(Module):
    """Normalize over the last axes, of shape `normalized_shape`; weight and bias have that shape.

    activation  None, "relu" or "gelu": applied to the result in the same pass over memory

    weight is 1 and bias 0 at first. Ba, Kiros, Hinton 2016, arXiv:1607.06450.
    """

    shown = ("normalized_shape", "eps", "elementwise_affine")

    def __init__(
        self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True, activation=None
    ):
        super().__init__()
        self.normalized_shape = _shape("LayerNorm", normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self.activation = activation
        shape = self.normalized_shape
        self.register_parameter("weight", empty(*shape) if elementwise_affine else None)
        self.register_parameter("bias", empty(*shape) if elementwise_affine and bias else None)
        self.reset_parameters()

    def reset_parameters(self):
        """weight 1, bias 0."""
        _one_and_zero(self)

    def forward(self, x, residual=None, prenorm=False):
        """x, or with a residual x + residual, normalized; with prenorm also the sum."""
        _check_tail("LayerNorm", x, self.normalized_shape)
        how = self.weight, self.bias, self.eps, len(self.normalized_shape)
        if residual is None:
            return F.layer_norm(x, *how, self.activation)
        return F.add_layer_norm(x, residual, *how, prenorm, self.activation)


class RMSNorm(Module):
    """Divide by the root mean square of the last axes, of shape `normalized_shape`.

    weight has that shape and is 1 at first; eps None means the dtype's epsilon.
    Zhang, Sennrich 2019, arXiv:1910.07467.
    """

    shown = ("normalized_shape", "eps", "elementwise_affine")

    def __init__(self, normalized_shape, eps=None, elementwise_affine=True):
        super().__init__()
        self.normalized_shape = _shape("RMSNorm", normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        affine = empty(*self.normalized_shape) if elementwise_affine else None
        self.register_parameter("weight", affine)
        self.reset_parameters()

    def reset_parameters(self):
        """weight 1."""
        if self.elementwise_affine:
            init.ones_(self.weight)

    def forward(self, x, residual=None, prenorm=False):
        """x, or with a residual x + residual, normalized; with prenorm also the sum."""
        _check_tail("RMSNorm", x, self.normalized_shape)
        how = self.weight, self.eps, len(self.normalized_shape)
        if residual is None:
            return F.rms_norm(x, *how)
        return F.add_rms_norm(x, residual, *how, prenorm)


class GroupNorm(Module):
    """Normalize each sample of (N, ..., C) over space and a group of channels.

    activation  None, "relu" or "gelu": applied to the result in the same pass over memory

    weight (C,) is 1 and bias (C,) 0 at first. Wu, He 2018, arXiv:1803.08494.
    """

    shown = ("num_groups", "num_channels", "eps", "affine")

    def __init__(self, num_groups, num_channels, eps=1e-5, affine=True, activation=None):
        super().__init__()
        check_sizes("GroupNorm", num_groups=num_groups, num_channels=num_channels)
        if num_channels % num_groups:
            raise ValueError(
                f"[GroupNorm] num_groups: expected a divisor of {num_channels} channels, "
                f"got {num_groups}"
            )
        self.num_groups, self.num_channels = num_groups, num_channels
        self.eps, self.affine, self.activation = eps, affine, activation
        self.register_parameter("weight", empty(num_channels) if affine else None)
        self.register_parameter("bias", empty(num_channels) if affine else None)
        self.reset_parameters()

    def reset_parameters(self):
        """weight 1, bias 0."""
        _one_and_zero(self)

    def forward(self, x):
        _check_tail("GroupNorm", x, (self.num_channels,))
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps, self.activation)


class InstanceNorm2d(Module):
    """Normalize each channel of each image (N, H, W, C) over space.

    With `affine` there are a weight (C,), at first 1, and a bias (C,), at first 0. `activation`,
    None, "relu" or "gelu", is applied to the result in the same pass over memory.
    Ulyanov, Vedaldi, Lempitsky 2016, arXiv:1607.08022.
    """

    shown = ("num_features", "eps", "affine")

    def __init__(self, num_features, eps=1e-5, affine=False, activation=None):
        super().__init__()
        check_sizes("InstanceNorm2d", num_features=num_features)
        self.num_features, self.eps, self.affine = num_features, eps, affine
        self.activation = activation
        self.register_parameter("weight", empty(num_features) if affine else None)
        self.register_parameter("bias", empty(num_features) if affine else None)
        self.reset_parameters()

    def reset_parameters(self):
        """weight 1, bias 0."""
        _one_and_zero(self)

    def forward(self, x):
        if x.ndim != 4:
            raise ValueError(
                f"[InstanceNorm2d] x: expected 4 dimensions, NHWC, got shape {x.shape}"
            )
        _check_tail("InstanceNorm2d", x, (self.num_features,))
        return F.instance_norm(x, self.weight, self.bias, self.eps, self.activation)


def _one_and_zero(layer):
    if layer.weight is not None:
        init.ones_(layer.weight)
    if layer.bias is not None:
        init.zeros_(layer.bias)


def _shape(layer, shape):
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    check_sizes(layer, **{f"normalized_shape[{i}]": n for i, n in enumerate(shape)})
    if not math.prod(shape) or not shape:
        raise ValueError(f"[{layer}] normalized_shape: expected at least one axis, got {shape}")
    return shape


def _check_tail(layer, x, shape):
    if x.shape[-len(shape) :] != shape:
        raise ValueError(
            f"[{layer}] x: expected shape (..., {', '.join(map(str, shape))}), got {x.shape}"
        )
