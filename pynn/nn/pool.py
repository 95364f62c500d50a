"""Pooling of images (N, H, W, C) and sequences (N, L, C)."""

import pynn.functional as F
from pynn.nn.module import Module


class _MaxPool(Module):
    shown = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")

    def __init__(self, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation, self.ceil_mode = padding, dilation, ceil_mode

    def forward(self, x):
        return self.op(
            x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode
        )


class MaxPool2d(_MaxPool):
    """The greatest pixel of each window: see `F.max_pool2d`. stride None means kernel_size."""

    def op(self, *args):
        return F.max_pool2d(*args)


class MaxPool1d(_MaxPool):
    """MaxPool2d on sequences."""

    def op(self, *args):
        return F.max_pool1d(*args)


class _AvgPool(Module):
    shown = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")

    def __init__(
        self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True
    ):
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, x):
        return self.op(
            x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        )


class AvgPool2d(_AvgPool):
    """The mean of each window: see `F.avg_pool2d`. stride None means kernel_size."""

    def op(self, *args):
        return F.avg_pool2d(*args)


class AvgPool1d(_AvgPool):
    """AvgPool2d on sequences."""

    def op(self, *args):
        return F.avg_pool1d(*args)


class _AdaptivePool(Module):
    shown = ("output_size",)

    def __init__(self, output_size):
        super().__init__()
        self.output_size = output_size

    def forward(self, x):
        return self.op(x, self.output_size)


class AdaptiveAvgPool2d(_AdaptivePool):
    """The means of cells that cut the image into output_size: see `F.adaptive_avg_pool2d`."""

    def op(self, *args):
        return F.adaptive_avg_pool2d(*args)


class AdaptiveAvgPool1d(_AdaptivePool):
    """AdaptiveAvgPool2d on sequences."""

    def op(self, *args):
        return F.adaptive_avg_pool1d(*args)


class AdaptiveMaxPool2d(_AdaptivePool):
    """The maxima of cells that cut the image into output_size: see `F.adaptive_max_pool2d`."""

    def op(self, *args):
        return F.adaptive_max_pool2d(*args)


class AdaptiveMaxPool1d(_AdaptivePool):
    """AdaptiveMaxPool2d on sequences."""

    def op(self, *args):
        return F.adaptive_max_pool1d(*args)


class GlobalAvgPool2d(Module):
    """The mean of each channel: see `F.global_avg_pool2d`."""

    def forward(self, x):
        return F.global_avg_pool2d(x)
