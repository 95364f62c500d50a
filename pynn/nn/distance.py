"""How far apart two vectors are, and by what angle."""

import pynn.functional as F
from pynn.nn.module import Module


class PairwiseDistance(Module):
    """The p-norm of x - y + eps over the last axis: see `F.pairwise_distance`."""

    shown = ("p", "eps")

    def __init__(self, p=2.0, eps=1e-6):
        super().__init__()
        self.p, self.eps = p, eps

    def forward(self, x, y):
        return F.pairwise_distance(x, y, self.p, self.eps)


class CosineSimilarity(Module):
    """The cosine of the angle between x and y along an axis: see `F.cosine_similarity`."""

    shown = ("dim", "eps")

    def __init__(self, dim=-1, eps=1e-8):
        super().__init__()
        self.dim, self.eps = dim, eps

    def forward(self, x, y):
        return F.cosine_similarity(x, y, self.dim, self.eps)
