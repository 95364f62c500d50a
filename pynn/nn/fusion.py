"""Layers joined for evaluation. Names are PyTorch's (`torch.nn.utils.fusion`)."""

import copy

import numpy as np

from pynn.nn.parameter import Parameter


def fuse_conv_bn_eval(conv, bn, activation=None):
    """A convolution that does what a convolution and the batch norm behind it do in evaluation:

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
