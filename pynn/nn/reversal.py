"""Gradient reversal, for training against a domain classifier."""

import pynn.functional as F
from pynn.nn.module import Module


class GradientReversal(Module):
    """y = x, whose gradient comes back times -scale; `scale` may be changed between steps.

    Ganin and Lempitsky 2015, arXiv:1409.7495.
    """

    shown = ("scale",)

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        return F.gradient_reversal(x, self.scale)
