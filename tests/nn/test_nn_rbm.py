"""The restricted Boltzmann machine against sums over all its states."""

import itertools

import numpy as np
import pytest

import pynn
from pynn import nn, optim
from pynn.nn.rbm import bernoulli


def machine(V=4, H=3, scale=1.0):
    rbm = nn.RBM(V, H).double()
    rng = np.random.default_rng(0)
    for p in rbm.parameters():
        p.data[...] = scale * rng.standard_normal(p.shape)
    return rbm


def states(n):
    return np.array(list(itertools.product([0.0, 1.0], repeat=n)))


def joint(rbm):
    """p(v, h) of all states, by the energy."""
    v, h = states(rbm.num_visible), states(rbm.num_hidden)
    W, b, c = (p.numpy() for p in (rbm.weight, rbm.visible_bias, rbm.hidden_bias))
    p = np.exp((v @ b)[:, None] + h @ c + v @ W.T @ h.T)
    return v, h, p / p.sum()


def test_probabilities_and_free_energy_are_those_of_all_states():
    rbm = machine()
    v, h, p = joint(rbm)
    energy = rbm.free_energy(pynn.tensor(v)).numpy()
    marginal = np.exp(-energy)
    np.testing.assert_allclose(marginal / marginal.sum(), p.sum(1), rtol=1e-10)
    conditional = (p / p.sum(1, keepdims=True)) @ h
    np.testing.assert_allclose(rbm(pynn.tensor(v)).numpy(), conditional, rtol=1e-10)
    conditional = (p / p.sum(0)).T @ v
    np.testing.assert_allclose(
        rbm.visible_probabilities(pynn.tensor(h)).numpy(), conditional, rtol=1e-10
    )


def test_gibbs_sampling_reaches_the_distribution():
    rbm = machine(3, 2)
    v, _, p = joint(rbm)
    drawn = rbm.gibbs(pynn.zeros(20000, 3, dtype="float64"), 20).numpy()
    assert set(np.unique(drawn)) <= {0.0, 1.0}
    share = (drawn[:, None] == v).all(-1).mean(0)
    assert np.abs(share - p.sum(1)).max() < 0.02  # six standard deviations
    fantasies = rbm.sample(20000, 20).numpy().mean(0)
    np.testing.assert_allclose(fantasies, p.sum(1) @ v, atol=0.02)


def test_the_gradient_is_that_of_contrastive_divergence():
    rbm = machine()
    data = pynn.tensor(states(4)[[1, 3, 3, 12, 15]])
    for k in (1, 3):
        rbm.zero_grad()
        loss, sampled = rbm.contrastive_divergence(data, k)
        loss.backward()
        assert sampled.shape == data.shape and not sampled.requires_grad
        a, b = data.numpy(), sampled.numpy()
        ha, hb = rbm(data).numpy(), rbm(sampled).numpy()
        for p, wanted in [
            (rbm.weight, (hb.T @ b - ha.T @ a) / 5),
            (rbm.visible_bias, (b - a).mean(0)),
            (rbm.hidden_bias, (hb - ha).mean(0)),
        ]:
            np.testing.assert_allclose(p.grad.numpy(), wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("persistent", [False, True])
def test_training_makes_the_data_likely(persistent):
    rbm = nn.RBM(4, 4).double()
    data = np.array([[1.0, 1, 0, 0], [0, 0, 1, 1]]).repeat(10, 0)
    rule = optim.SGD(rbm.parameters(), 0.3)

    def likelihood():
        v, _, p = joint(rbm)
        return sum(p.sum(1)[(v == row).all(1)].item() for row in data[::10])

    before, chain = likelihood(), None
    for _ in range(300):
        loss, sampled = rbm.contrastive_divergence(pynn.tensor(data), 1, chain)
        chain = sampled if persistent else None
        rule.zero_grad()
        loss.backward()
        rule.step()
    assert before < 0.2 and likelihood() > 0.7
    np.testing.assert_allclose(rbm.reconstruct(pynn.tensor(data)).numpy(), data, atol=0.3)


def test_draws_follow_the_seed_and_the_probability():
    p = pynn.tensor(np.full((100, 100), 0.25))
    pynn.manual_seed(3)
    a, b = bernoulli(p).numpy(), bernoulli(p).numpy()
    pynn.manual_seed(3)
    np.testing.assert_array_equal(a, bernoulli(p).numpy())
    assert (a != b).any() and abs(a.mean() - 0.25) < 0.02
    ends = bernoulli(pynn.tensor([0.0, 1.0] * 500)).numpy()
    assert ends.tolist() == [0.0, 1.0] * 500
    assert bernoulli(pynn.zeros(0, 3)).shape == (0, 3)


def test_errors_name_what_was_expected_and_got():
    rbm = nn.RBM(4, 3)
    with pytest.raises(ValueError, match=r"\[RBM\] v: expected shape \(..., 4\), got \(2, 3\)"):
        rbm(pynn.zeros(2, 3))
    with pytest.raises(ValueError, match=r"\[RBM\] h: expected shape \(..., 3\), got \(2, 4\)"):
        rbm.visible_probabilities(pynn.zeros(2, 4))
    with pytest.raises(ValueError, match=r"\[RBM\] steps: expected an int of at least 1, got 0"):
        rbm.gibbs(pynn.zeros(2, 4), 0)
    for value in (1.5, -0.25, float("nan")):
        with pytest.raises(
            ValueError, match=rf"\[RBM\] v: expected numbers in \[0, 1\], got {value}"
        ):
            rbm.contrastive_divergence(pynn.full((2, 4), value))


@pytest.mark.oracle
def test_energy_and_its_gradient_agree_with_pytorch(torch):
    """For given v and v_k, as PyTorch differentiates the free energy."""
    rbm = machine(5, 4)
    for count in (7, 0):
        rbm.zero_grad()
        v = pynn.tensor(states(5)[:count])
        loss, sampled = rbm.contrastive_divergence(v) if count else (rbm.free_energy(v).sum(), v)
        loss.backward()
        weight, b, c = (torch.tensor(p.numpy(), requires_grad=True) for p in rbm.parameters())

        def energy(v, weight=weight, b=b, c=c):
            v = torch.tensor(v.numpy())
            rest = torch.nn.functional.softplus(v @ weight.T + c, threshold=1000).sum(-1)
            return -(v @ b) - rest

        wanted = energy(v).mean() - energy(sampled).mean() if count else energy(v).sum()
        wanted.backward()
        np.testing.assert_allclose(loss.item(), wanted.item(), rtol=1e-10, atol=1e-12)
        for ours, theirs in zip(rbm.parameters(), (weight, b, c), strict=True):
            np.testing.assert_allclose(
                ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-10, atol=1e-12
            )
