"""A training run whose kernels run in the simulator is the reference's, but for rounding."""

import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn import backend, optim, recipes

pytestmark = pytest.mark.skipif(
    backend.kernel_module("sim") is None, reason="pynn._sim was not built"
)


def losses(kernels, steps=4):
    """The losses of the first steps of digits-cnn, narrow and without dropout."""
    pynn.manual_seed(0)
    recipe = recipes.load("digits-cnn")(batch_size=8, width=4, dropout=0.0)
    batches, _, _ = recipe.data()
    model = recipe.model()
    optimizer = optim.AdamW(model.parameters(), lr=3e-3)
    found = []
    with pynn.use_kernels(kernels), backend.trace() as trace:
        for (images, labels), _ in zip(batches, range(steps), strict=False):
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
    return found, trace


def test_the_losses_are_the_references_within_rounding():
    pytest.importorskip("sklearn", reason="the digits are scikit-learn's")
    wanted, _ = losses("reference")
    got, trace = losses("sim")
    assert len(set(wanted)) == 4
    np.testing.assert_allclose(got, wanted, rtol=2e-4)
    assert {path for _, path in trace.counts} == {"native"}, trace
