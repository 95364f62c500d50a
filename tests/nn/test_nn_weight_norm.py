"""Weight and spectral normalization: the questions, PyTorch, what modules keep and give back."""

import copy

import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn import nn
from pynn.functional.weight_norm import SpectralNorm, WeightNorm
from pynn.testing import check

SHAPES = [(3, 4), (1, 1), (5, 1), (33, 31), (2, 3, 2, 4)]


def arrays(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norm_answers(dim):
    def truth(v, g):
        axes = tuple(i for i in range(v.ndim) if i != dim)
        return g * v / np.sqrt((v * v).sum(axes, keepdims=True))

    cases = []
    for shape in SHAPES:
        ones = tuple(n if i == dim else 1 for i, n in enumerate(shape))
        cases.append((arrays(*shape), arrays(*ones, seed=1)))
    check(lambda: WeightNorm(dim), *cases, truth=truth)


@pytest.mark.parametrize("dim", [0, -1])
def test_spectral_norm_answers(dim):
    for shape in SHAPES:
        dim %= len(shape)
        rows = shape[dim]
        u, v = arrays(rows), arrays(int(np.prod(shape)) // rows, seed=1)
        w = arrays(*shape)
        matrix = np.moveaxis(w, dim, 0).reshape(rows, -1)
        u = u * np.sign(u @ matrix @ v)

        def truth(w, u=u, v=v, dim=dim, rows=rows):
            return w / (u @ np.moveaxis(w, dim, 0).reshape(rows, -1) @ v)

        check(lambda u=u, v=v, dim=dim: SpectralNorm(u, v, dim, 1e-12), (w,), truth=truth,
              types=("float64", "float32"))  # fmt: skip


def test_zeros_and_great_values_stay_finite():
    v = pynn.tensor([[0.0, 0.0], [1e30, 1e30], [3.0, 4.0]], requires_grad=True)
    g = pynn.tensor([[1.0], [2.0], [5.0]], requires_grad=True)
    w = F.weight_norm(v, g)
    np.testing.assert_allclose(w.numpy(), [[0, 0], [2**0.5, 2**0.5], [3, 4]], rtol=1e-6)
    w.sum().backward()
    assert np.isfinite(v.grad.numpy()).all() and np.isfinite(g.grad.numpy()).all()
    zero = nn.Linear(2, 3)
    zero.weight.data[...] = 0
    assert not nn.spectral_norm(zero).weight.numpy().any()


def test_the_greatest_gain_becomes_one():
    for layer in (nn.Linear(20, 30), nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(3, 8, 3)):
        transposed = isinstance(layer, nn.ConvTranspose2d)
        before = layer.weight.numpy().copy()
        nn.spectral_norm(layer)
        x = pynn.randn(1, 3, 3, 20 if isinstance(layer, nn.Linear) else 3)
        for _ in range(300):
            layer(x)
        w = np.moveaxis(layer.weight.numpy(), -1 if transposed else 0, 0)
        gains = np.linalg.svd(w.reshape(w.shape[0], -1), compute_uv=False)
        assert abs(gains[0] - 1) < 1e-4
        ratio = layer.weight.numpy() / before
        np.testing.assert_allclose(ratio, ratio.reshape(-1)[0], rtol=1e-4)


def test_power_iteration_rests_in_evaluation_and_spares_earlier_graphs():
    layer = nn.spectral_norm(nn.Linear(5, 4).double())
    layer.eval()
    u = layer.weight_u.numpy().copy()
    x = pynn.randn(3, 5, dtype="float64")
    layer(x)
    np.testing.assert_array_equal(u, layer.weight_u.numpy())
    layer.train()
    twin = copy.deepcopy(layer)
    first, alone = layer(x), twin(x)
    kept = layer.weight_u.numpy().copy()
    layer(x)
    assert (layer.weight_u.numpy() != kept).any()
    for y in (first, alone):
        (y * y).sum().backward()
    np.testing.assert_array_equal(layer.weight_orig.grad.numpy(), twin.weight_orig.grad.numpy())


@pytest.mark.parametrize("wrap", [nn.weight_norm, nn.spectral_norm])
def test_it_trains_copies_converts_and_comes_off(wrap):
    layer = wrap(nn.Linear(4, 3))
    trained = {nn.weight_norm: {"weight_g", "weight_v", "bias"}}.get(wrap, {"weight_orig", "bias"})
    assert {name for name, _ in layer.named_parameters()} == trained
    x = pynn.randn(5, 4)
    (layer(x) * 3).sum().backward()
    assert all(p.grad is not None and p.grad.numpy().any() for p in layer.parameters())
    layer.eval()
    twin = copy.deepcopy(layer)
    twin.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(twin(x).numpy(), layer(x).numpy())
    next(iter(twin.parameters())).data[...] += 1
    assert (twin(x).numpy() != layer(x).numpy()).any()
    y = layer(x).numpy()
    remove = nn.remove_weight_norm if wrap is nn.weight_norm else nn.remove_spectral_norm
    remove(layer)
    assert set(layer.state_dict()) == {"weight", "bias"}
    np.testing.assert_array_equal(layer(x).numpy(), y)
    with pytest.raises(ValueError, match=r"expected a module with a normalized 'weight', got none"):
        remove(layer)
    assert wrap(nn.Linear(4, 3)).to("bfloat16")(x.astype("bfloat16")).dtype == "bfloat16"


def test_a_recurrent_weight_may_be_normalized():
    layer = nn.weight_norm(nn.GRU(3, 4), "weight_hh_l0")
    plain = nn.GRU(3, 4)
    plain.load_state_dict({k: getattr(layer, k) for k in plain.state_dict()})
    x = pynn.randn(2, 5, 3)
    np.testing.assert_allclose(layer(x)[0].numpy(), plain(x)[0].numpy(), atol=1e-6)


def test_errors_name_what_was_expected_and_got():
    with pytest.raises(ValueError, match=r"name: expected a parameter of Linear, .*, got 'w'"):
        nn.weight_norm(nn.Linear(2, 3), "w")
    with pytest.raises(ValueError, match=r"bias: expected at least 2 dimensions, got shape \(3,\)"):
        nn.spectral_norm(nn.Linear(2, 3), "bias")
    with pytest.raises(ValueError, match=r"\[weight_norm\] g: expected shape \(3, 1\), got \(3,\)"):
        F.weight_norm(pynn.ones(3, 2), pynn.ones(3))
    with pytest.raises(ValueError, match=r"dim: expected an axis of \(3, 2\), got 2"):
        nn.weight_norm(nn.Linear(2, 3), dim=2)


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
def test_agrees_with_pytorch(torch, name):
    theirs = getattr(torch.nn.utils, name)(torch.nn.Linear(6, 4).double())
    ours = getattr(nn, name)(nn.Linear(6, 4).double())
    ours.load_state_dict(theirs.state_dict())
    assert set(ours.state_dict()) == set(theirs.state_dict())
    for step in range(3):
        x = arrays(5, 6, seed=step)
        ours.zero_grad()
        theirs.zero_grad()
        y, ty = ours(pynn.tensor(x)), theirs(torch.tensor(x))
        np.testing.assert_allclose(y.numpy(), ty.detach().numpy(), rtol=1e-10)
        (y * y).sum().backward()
        (ty * ty).sum().backward()
        for key, parameter in theirs.named_parameters():
            grad = dict(ours.named_parameters())[key].grad.numpy()
            np.testing.assert_allclose(grad, parameter.grad.numpy(), rtol=1e-8, atol=1e-12)
        for key, value in theirs.state_dict().items():
            np.testing.assert_allclose(ours.state_dict()[key].numpy(), value.numpy(), rtol=1e-8)
