"""Images of another size, channels last."""

import pynn.functional as F
from pynn.nn.module import Module


class Upsample(Module):
    """Interpolation to `size` or by `scale_factor`: see `F.interpolate`.

    x  (N, H, W, C), or (N, L, C)
    """

    shown = ("size", "scale_factor", "mode", "align_corners")

    def __init__(self, size=None, scale_factor=None, mode="nearest", align_corners=False):
        super().__init__()
        self.size, self.scale_factor = size, scale_factor
        self.mode, self.align_corners = mode, align_corners

    def forward(self, x):
        return F.interpolate(x, self.size, self.scale_factor, self.mode, self.align_corners)


class PixelShuffle(Module):
    """(N, H, W, C r^2) to (N, r H, r W, C): see `F.pixel_shuffle`.

    Shi et al. 2016, arXiv:1609.05158.
    """

    shown = ("upscale_factor",)

    def __init__(self, upscale_factor):
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, x):
        return F.pixel_shuffle(x, self.upscale_factor)


class PixelUnshuffle(Module):
    """(N, r H, r W, C) to (N, H, W, C r^2): the inverse of PixelShuffle."""

    shown = ("downscale_factor",)

    def __init__(self, downscale_factor):
        super().__init__()
        self.downscale_factor = downscale_factor

    def forward(self, x):
        return F.pixel_unshuffle(x, self.downscale_factor)
