"""Dropout: in training some elements become 0, in evaluation x passes unchanged."""

import pynn.functional as F
from pynn.nn.module import Module


class _Dropout(Module):
    shown = ("p",)

    def __init__(self, p=0.5, inplace=False):
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(
                f"[{type(self).__name__}] p: expected a probability in [0, 1], got {p}"
            )
        self.p = p


class Dropout(_Dropout):
    """Each element 0 with probability p, the others divided by 1 - p.

    Srivastava et al. 2014, JMLR 15.
    """

    def forward(self, x):
        return F.dropout(x, self.p, self.training)


class Dropout2d(_Dropout):
    """As Dropout for whole channels of (N, H, W, C).  Tompson et al. 2014, arXiv:1411.4280."""

    def forward(self, x):
        return F.dropout2d(x, self.p, self.training)


class AlphaDropout(_Dropout):
    """Dropout that keeps mean and variance, for SELU.  Klambauer et al. 2017, arXiv:1706.02515."""

    def forward(self, x):
        return F.alpha_dropout(x, self.p, self.training)
