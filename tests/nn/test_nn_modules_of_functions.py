"""Modules that call one function: their arguments arrive, and they are shown."""

import numpy as np

import pynn
import pynn.functional as F
from pynn import nn


def test_sizes_reversal_and_losses_pass_their_arguments_on():
    x = pynn.randn(2, 3, 4, 8)
    cases = [
        (nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)(x),
         F.interpolate(x, None, 2, "bilinear", True)),
        (nn.Upsample((5, 6))(x), F.interpolate(x, (5, 6))),
        (nn.PixelShuffle(2)(x), F.pixel_shuffle(x, 2)),
        (nn.PixelUnshuffle(2)(x[:, :2]), F.pixel_unshuffle(x[:, :2], 2)),
    ]  # fmt: skip
    a, b = pynn.randn(3, 4), pynn.randn(3, 4)
    cases += [
        (nn.ContrastiveLoss(3.0, "none")(a, b, [1, 0, 1]),
         F.contrastive_loss(a, b, [1, 0, 1], 3.0, "none")),
        (nn.PairwiseDistance(1.0, 1e-3)(a, b), F.pairwise_distance(a, b, 1.0, 1e-3)),
        (nn.CosineSimilarity(0, 2.0)(a, b), F.cosine_similarity(a, b, 0, 2.0)),
    ]  # fmt: skip
    p = F.log_softmax(pynn.randn(5, 2, 4))
    cases += [
        (nn.CTCLoss(3, "sum", True, False)(p, [[0, 1], [2, 2]], [5, 2], [2, 2]),
         F.ctc_loss(p, [[0, 1], [2, 2]], [5, 2], [2, 2], 3, "sum", True, False)),
    ]  # fmt: skip
    for got, wanted in cases:
        np.testing.assert_array_equal(got.numpy(), wanted.numpy())
        assert np.isfinite(got.numpy()).all()
    x = pynn.ones(2, requires_grad=True)
    nn.GradientReversal(0.5)(x).sum().backward()
    assert x.grad.tolist() == [-0.5, -0.5]
    assert repr(nn.Upsample(4)) == (
        "Upsample(size=4, scale_factor=None, mode='nearest', align_corners=False)"
    )
