"""A convolution, the batch norm behind it, a residual and ReLU as one pattern.

    y = x * weight + bias,  z = f((y - mean) / sqrt(var + eps) norm_weight + norm_bias + residual)

                 passes over arrays of y's size, by kernels in training
    forward      the convolution writes y and leaves the moments of its channels; one pass: z
    backward     one for dz = dz f', its sums and the residual's gradient; one for dy; then dgrad
                 and wgrad

The statistics are those of y as it is stored, rounded to its dtype, as if the two ran one by one.
"""

from pynn.functional.conv import Conv1d, Conv1dMoments, Conv2d, Conv2dMoments, check_conv
from pynn.functional.norm import normalize_batch


def conv2d_batch_norm(
    x,
    weight,
    running_mean,
    running_var,
    norm_weight=None,
    norm_bias=None,
    bias=None,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
    training=False,
    momentum=0.1,
    eps=1e-5,
    activation=None,
    residual=None,
):
    """batch_norm(conv2d(x, weight, bias)) + residual, activated, in fewer passes over memory.

    x, weight, bias, stride, padding, dilation, groups   as in conv2d
    running_mean, running_var, training, momentum, eps   as in batch_norm
    norm_weight, norm_bias   (K,)          those of the batch norm: dtype of x, or None
    residual                 (N, P, Q, K)  dtype of x, added before the activation, or None
    activation               None, "relu", or without a residual "gelu"
    returns                  (N, P, Q, K)  dtype of x

    Raises what conv2d and batch_norm raise.
    """
    conv = x, weight, bias, stride, padding, dilation, groups
    affine = norm_weight, norm_bias, residual
    how = training, momentum, eps, activation
    ops = Conv2d, Conv2dMoments
    return _conv_batch_norm("conv2d", ops, 2, conv, (running_mean, running_var), affine, how)


def conv1d_batch_norm(
    x,
    weight,
    running_mean,
    running_var,
    norm_weight=None,
    norm_bias=None,
    bias=None,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
    training=False,
    momentum=0.1,
    eps=1e-5,
    activation=None,
    residual=None,
):
    """As conv2d_batch_norm on sequences:  x (N, L, C), weight (K, R, C / groups), to (N, P, K)."""
    conv = x, weight, bias, stride, padding, dilation, groups
    affine = norm_weight, norm_bias, residual
    how = training, momentum, eps, activation
    ops = Conv1d, Conv1dMoments
    return _conv_batch_norm("conv1d", ops, 1, conv, (running_mean, running_var), affine, how)


def _conv_batch_norm(op, ops, dims, conv, running, affine, how):
    x, weight, bias, *numbers = conv
    geometry = check_conv(op, dims, x, weight, bias, *numbers)
    inputs = (x, weight) if bias is None else (x, weight, bias)
    training, groups = how[0], numbers[-1]
    node = ops[bool(training)](*geometry, groups)
    y = node(*inputs)
    parts = node.take_parts() if training else None
    return normalize_batch(y, parts, running, affine, *how)
