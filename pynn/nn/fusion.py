"""A convolution and the batch norm behind it as one, in training and for evaluation."""

import copy

import numpy as np

import pynn.functional as F
from pynn.nn.conv import Conv1d, Conv2d
from pynn.nn.module import Module
from pynn.nn.norm import BatchNorm1d, BatchNorm2d
from pynn.nn.parameter import Parameter


class ConvBatchNorm2d(Module):
    """f(norm(conv(x)) + residual) in fewer passes over memory (F.conv2d_batch_norm).

    x           (N, H, W, in_channels) to (N, P, Q, out_channels); residual like the latter
    activation  None, "relu", or without a residual "gelu"

    `conv` is a Conv2d without bias and `norm` a BatchNorm2d: stride ... groups and eps, momentum,
    activation are theirs, and so is the layer's state. In training they are not called, so hooks of
    theirs do not run. For evaluation alone, fuse_conv_bn_eval(layer.conv, layer.norm) is one
    convolution that is called alike.
    """

    Conv, Norm = Conv2d, BatchNorm2d
    op = staticmethod(F.conv2d_batch_norm)

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        activation=None,
        eps=1e-5,
        momentum=0.1,
    ):
        super().__init__()
        numbers = stride, padding, dilation, groups
        self.conv = self.Conv(in_channels, out_channels, kernel_size, *numbers, bias=False)
        self.norm = self.Norm(out_channels, eps, momentum, activation=activation)

    def forward(self, x, residual=None):
        conv, norm = self.conv, self.norm
        if not self.training:
            return norm(conv(x), residual)
        weight, bias, *mode = norm.affine_and_mode()
        state = conv.weight, norm.running_mean, norm.running_var, weight, bias
        mode = *mode, norm.eps, norm.activation, residual
        y = self.op(x, *state, None, *conv.numbers(), *mode)
        norm.count_batch(y)
        return y


class ConvBatchNorm1d(ConvBatchNorm2d):
    """ConvBatchNorm2d on sequences (N, L, in_channels)."""

    Conv, Norm = Conv1d, BatchNorm1d
    op = staticmethod(F.conv1d_batch_norm)


def fuse_conv_bn_eval(conv, bn, activation=None):
    """A convolution that does what a convolution and the batch norm behind it do in evaluation
    (`torch.nn.utils.fusion`):

        y = f(bn(conv(x))) = f(x * w' + b'),  w' = w scale,  b' = (b - mean) scale + bias,
        scale = weight / sqrt(var + eps)

    conv        a Conv2d or Conv1d with no activation of its own
    bn          a BatchNorm2d or BatchNorm1d with running statistics
    activation  None for that of the batch norm, if it has one, "relu", "gelu", "gelu_tanh" or
                "silu"; called with a residual, the convolution adds it before the activation
    returns     a copy of conv in its dtype; w' and b' are worked out in float64 and rounded once

    Raises ValueError in training, without running statistics, or if channels or activations do not
    fit.
    """
    op = "fuse_conv_bn_eval"
    if conv.training or bn.training:
        raise ValueError(f"[{op}] expected layers in evaluation, by .eval(), got some in training")
    if not bn.track_running_stats:
        raise ValueError(f"[{op}] bn: expected running statistics, got none")
    if conv.out_channels != bn.num_features:
        raise ValueError(f"[{op}] bn: expected {conv.out_channels} features, got {bn.num_features}")
    own = getattr(bn, "activation", None)
    if conv.activation is not None or (activation and own):
        raise ValueError(
            f"[{op}] activation: expected one, after the batch norm, got {conv.activation!r} of "
            f"conv, {own!r} of bn and {activation!r}"
        )
    w, mean, var = (
        t.data.astype(np.float64) for t in (conv.weight, bn.running_mean, bn.running_var)
    )
    scale = (var + bn.eps) ** -0.5
    if bn.weight is not None:
        scale = scale * bn.weight.data
    b = -mean if conv.bias is None else conv.bias.data - mean
    b = b * scale
    if bn.bias is not None:
        b = b + bn.bias.data
    fused = copy.deepcopy(conv)
    dtype = conv.weight.data.dtype
    fused.weight.data = (w * scale.reshape(-1, *[1] * (w.ndim - 1))).astype(dtype)
    fused.bias = Parameter(b.astype(dtype))
    fused.activation = activation or own
    return fused
