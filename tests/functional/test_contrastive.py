"""The contrastive loss and gradient reversal: values, gradients, equal vectors, errors."""

import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn.functional.reversal import GradientReversal
from pynn.testing import check, gradcheck
from pynn.testing import vectors as cases


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


def test_six_questions_of_reversal():
    """Of scale -1, whose gradient is that of the identity; the test above has the others."""
    special = np.array([np.nan, np.inf, -np.inf, 0.0])
    check(
        lambda: GradientReversal(-1.0),
        *cases(),
        truth=lambda x: x,
        extremes=[((special,), special, (np.ones(4),))],
    )
    for name in ("float64", "float32", "float16", "bfloat16"):
        x = pynn.zeros(3, dtype=name, requires_grad=True)
        F.gradient_reversal(x, 0.5).backward(pynn.tensor([1.0, -3.0, 0.0], dtype=name))
        assert x.grad.dtype == name and x.grad.numpy().tolist() == [-0.5, 1.5, 0.0]


@pytest.mark.oracle
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_contrastive_loss_as_pytorch(torch, reduction):
    """PyTorch has the distance but not the loss, which is written out here."""
    t = np.array([1, 0, 1, 0, 0, 1])
    ours = [pynn.tensor(vectors(6, 3, seed=i), requires_grad=True) for i in (0, 1)]
    theirs = [torch.tensor(x.numpy(), requires_grad=True) for x in ours]
    d, alike = torch.linalg.vector_norm(theirs[0] - theirs[1], dim=-1), torch.tensor(t)
    wanted = (alike * d**2 + (1 - alike) * torch.clamp(2.5 - d, min=0) ** 2) / 2
    wanted = wanted if reduction == "none" else getattr(wanted, reduction)()
    got = F.contrastive_loss(*ours, t, 2.5, reduction)
    np.testing.assert_allclose(got.numpy(), wanted.detach().numpy(), rtol=1e-12)
    got.sum().backward()
    wanted.sum().backward()
    for x, y in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-10, atol=1e-14)


@pytest.mark.oracle
def test_reversal_as_pytorch(torch):
    class Reversal(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.view_as(x)

        @staticmethod
        def backward(ctx, dy):
            return -0.25 * dy

    for shape in ((4, 3), (0, 3), ()):
        ours = pynn.tensor(vectors(*shape), requires_grad=True)
        theirs = torch.tensor(ours.numpy(), requires_grad=True)
        got, wanted = F.gradient_reversal(ours.tanh(), 0.25), Reversal.apply(torch.tanh(theirs))
        np.testing.assert_allclose(got.numpy(), wanted.detach().numpy(), rtol=1e-14)
        (got * got).sum().backward()
        (wanted * wanted).sum().backward()
        np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-12)


def test_errors_name_what_was_expected_and_got():
    x = pynn.zeros(2, 3)
    with pytest.raises(ValueError, match=r"\[contrastive_loss\] target: expected 0 or 1, got -1"):
        F.contrastive_loss(x, x, [1, -1])
    with pytest.raises(ValueError, match=r"\[contrastive_loss\] target: expected x's shape \(2,\)"):
        F.contrastive_loss(x, x, [1])
    with pytest.raises(ValueError, match=r"\[contrastive_loss\] margin: expected a number >= 0"):
        F.contrastive_loss(x, x, [1, 0], margin=-1)
    with pytest.raises(TypeError, match=r"\[gradient_reversal\] expected a float dtype, got int64"):
        F.gradient_reversal(pynn.tensor([1]))
