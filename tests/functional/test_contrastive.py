"""The contrastive loss and gradient reversal: values, gradients, equal vectors, errors."""

import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn.testing import gradcheck


def vectors(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def test_contrastive_loss_by_its_definition():
    x, y, t = vectors(6, 3), vectors(6, 3, seed=1), np.array([1, 0, 1, 0, 0, 1])
    d = np.sqrt(((x - y) ** 2).sum(-1))
    wanted = np.where(t == 1, d**2, np.maximum(0, 2.5 - d) ** 2) / 2
    for target in (t, t.astype(bool), t.tolist(), pynn.tensor(t.astype(float))):
        got = F.contrastive_loss(pynn.tensor(x), pynn.tensor(y), target, 2.5, "none")
        np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-12)
    args = pynn.tensor(x), pynn.tensor(y), t, 2.5
    np.testing.assert_allclose(F.contrastive_loss(*args).item(), wanted.mean(), rtol=1e-12)
    np.testing.assert_allclose(
        F.contrastive_loss(*args, reduction="sum").item(), wanted.sum(), rtol=1e-12
    )
    gradcheck(lambda x, y: F.contrastive_loss(x, y, t, 2.5), *args[:2])


def test_equal_vectors_and_empty_batches():
    x = pynn.ones(2, 3, requires_grad=True)
    F.contrastive_loss(x, pynn.ones(2, 3), [0, 1]).backward()
    assert not x.grad.numpy().any()
    assert F.contrastive_loss(pynn.zeros(0, 3), pynn.zeros(0, 3), []).item() == 0


def test_reversal_is_the_identity_with_a_turned_gradient():
    for scale in (1.0, 0.25):
        x = pynn.tensor(vectors(4, 3), requires_grad=True)
        y = F.gradient_reversal(x * 1.0, scale)
        np.testing.assert_array_equal(y.numpy(), x.numpy())
        dy = vectors(4, 3, seed=2)
        y.backward(pynn.tensor(dy))
        np.testing.assert_array_equal(x.grad.numpy(), -scale * dy)


def test_errors_name_what_was_expected_and_got():
    x = pynn.zeros(2, 3)
    with pytest.raises(ValueError, match=r"\[contrastive_loss\] target: expected 0 or 1, got -1"):
        F.contrastive_loss(x, x, [1, -1])
    with pytest.raises(ValueError, match=r"\[contrastive_loss\] target: expected x's shape \(2,\)"):
        F.contrastive_loss(x, x, [1])
    with pytest.raises(TypeError, match=r"\[gradient_reversal\] expected a float dtype, got int64"):
        F.gradient_reversal(pynn.tensor([1]))
