"""Convolutions: images NHWC, sequences NLC, weights with the channels last."""

import pynn.functional as F
from pynn.nn import init
from pynn.nn.linear import check_sizes, empty
from pynn.nn.module import Module


class _Conv(Module):
    """What convolutions share: arguments, parameters, initial values."""

    dims = 2
    transposed = False
    convolves = True

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        bias=True,
        activation=None,
    ):
        super().__init__()
        layer = type(self).__name__
        kernel_size = (
            (kernel_size,) * self.dims if isinstance(kernel_size, int) else tuple(kernel_size)
        )
        if len(kernel_size) != self.dims:
            raise ValueError(
                f"[{layer}] kernel_size: expected an int or {self.dims} of them, got {kernel_size}"
            )
        check_sizes(
            layer,
            in_channels=in_channels,
            out_channels=out_channels,
            groups=groups,
            **{f"kernel_size[{i}]": size for i, size in enumerate(kernel_size)},
        )
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"[{layer}] groups: expected a divisor of {in_channels} and {out_channels}, "
                f"the channels, got {groups}"
            )
        self.in_channels, self.out_channels, self.kernel_size = (
            in_channels,
            out_channels,
            kernel_size,
        )
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self.activation = activation
        first, last = (
            (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        )
        self.weight = empty(first, *kernel_size, last // groups)
        self.register_parameter("bias", empty(out_channels) if bias else None)
        self.reset_parameters()

    def reset_parameters(self):
        """Draw initial values again."""
        init.default_(self.weight, self.bias)

    def extra_repr(self):
        parts = [f"{self.in_channels}, {self.out_channels}", f"kernel_size={self.kernel_size}"]
        for name, usual in (("stride", 1), ("padding", 0), ("dilation", 1), ("groups", 1)):
            value = getattr(self, name)
            if value != usual:
                parts.append(f"{name}={value!r}")
        parts += ["bias=False"] * (self.bias is None)
        parts += [f"activation={self.activation!r}"] * (self.activation is not None)
        return ", ".join(parts)

    def numbers(self):
        return self.stride, self.padding, self.dilation, self.groups


class Conv2d(_Conv):
    """y = b + x * w (cross-correlation) on images.

    x       (N, H, W, in_channels) to (N, P, Q, out_channels)
    weight  (out_channels, R, S, in_channels / groups), bias (out_channels,): both uniform in
            +-1 / sqrt(R S in_channels / groups)

    stride, padding, dilation, groups, activation and, when called, residual are those of
    `F.conv2d`.
    """

    def forward(self, x, residual=None):
        how = *self.numbers(), self.activation, residual
        return F.conv2d(x, self.weight, self.bias, *how)


class Conv1d(_Conv):
    """Conv2d on sequences (N, L, in_channels); weight (out_channels, R, in_channels / groups)."""

    dims = 1

    def forward(self, x, residual=None):
        how = *self.numbers(), self.activation, residual
        return F.conv1d(x, self.weight, self.bias, *how)


class _ConvTranspose(_Conv):
    transposed = True

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        output_padding=0,
        groups=1,
        bias=True,
        dilation=1,
    ):
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias
        )
        self.output_padding = output_padding

    def forward(self, x):
        op = F.conv_transpose2d if self.dims == 2 else F.conv_transpose1d
        return op(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
        )

    def extra_repr(self):
        tail = f", output_padding={self.output_padding!r}" if self.output_padding else ""
        return super().extra_repr() + tail


class ConvTranspose2d(_ConvTranspose):
    """The adjoint of the Conv2d from out_channels to in_channels: images grow by the stride.

    x       (N, P, Q, in_channels) to (N, H, W, out_channels)
    weight  (in_channels, R, S, out_channels / groups), bias (out_channels,): both uniform in
            +-1 / sqrt(R S out_channels / groups)
    """


class ConvTranspose1d(_ConvTranspose):
    """ConvTranspose2d on sequences: x (N, P, in_channels) to (N, L, out_channels)."""

    dims = 1
