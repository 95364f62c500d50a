"""Dropout: masks that are drawn twice, their statistics, and what they do to values."""

import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn import Tensor, random
from pynn.functional.dropout import AlphaDropout, Dropout
from pynn.testing import check, vectors


def ones(*shape, dtype=np.float32):
    return Tensor(np.ones(shape, dtype), requires_grad=True)


@pytest.mark.parametrize("p", [0.1, 0.5, 1.0])
def test_dropout_answers(p):
    def truth(x):
        keep = random.uniform(3, 8, x.size).reshape(x.shape) >= np.float32(p)
        return x * keep / (1 - p) if p < 1 else 0 * x

    for x in [*vectors(), (np.random.default_rng(0).standard_normal((3, 5, 7)),)]:
        check(lambda x=x: Dropout(p, 3, 8, x[0].shape), x, truth=truth)
        check(lambda x=x: AlphaDropout(p, 3, 8, x[0].shape), x)


def test_dropout_of_channels_answers():
    x = np.random.default_rng(0).standard_normal((6, 3, 4, 5))

    def truth(x):
        keep = random.uniform(3, 8, 30).reshape(6, 1, 1, 5) >= np.float32(0.3)
        return x * keep / 0.7

    check(lambda: Dropout(0.3, 3, 8, (6, 1, 1, 5)), (x,), truth=truth)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_dropped_share_and_scale(dtype):
    n, p = 1 << 17, 0.3
    y = F.dropout(Tensor(np.ones(n), dtype=dtype), p).numpy()
    kept = y != 0
    assert abs(kept.mean() - (1 - p)) < 5 * np.sqrt(p * (1 - p) / n)
    scale = np.float64 if dtype == "float64" else np.float32
    assert np.array_equal(np.unique(y[kept]), [scale(1 / (1 - p)).astype(y.dtype)])


def test_gradient_goes_where_values_went():
    x = ones(50, 33)
    y = F.dropout(x, 0.4)
    y.sum().backward()
    assert np.array_equal(x.grad.numpy(), y.numpy())  # x is 1 and dy is 1: both keep / (1 - p)
    assert not [v for v in vars(y.creator).values() if isinstance(v, np.ndarray)]  # no mask kept


def test_same_seed_same_bits_and_each_call_its_own_mask():
    pynn.manual_seed(4)
    first, second = F.dropout(ones(1000)).numpy(), F.dropout(ones(1000)).numpy()
    pynn.manual_seed(4)
    assert np.array_equal(first, F.dropout(ones(1000)).numpy())
    assert 400 < (first == second).sum() < 600


def test_mask_does_not_depend_on_layout_or_dtype():
    x = np.ones((40, 30), np.float32)
    masks = []
    for array in (
        x,
        np.asfortranarray(x),
        np.ones((80, 30), np.float32)[::2],
        x.astype(np.float16),
    ):
        pynn.manual_seed(6)
        masks.append(F.dropout(Tensor(array)).numpy() != 0)
    assert all(np.array_equal(mask, masks[0]) for mask in masks)


def test_dropout2d_drops_channels_of_samples():
    y = F.dropout2d(ones(64, 4, 5, 32), 0.25).numpy()
    flat = y.reshape(64, 20, 32)
    assert (flat == flat[:, :1]).all()
    dropped = (flat[:, 0] == 0).mean()
    assert abs(dropped - 0.25) < 5 * np.sqrt(0.25 * 0.75 / (64 * 32))


@pytest.mark.parametrize("function", [F.dropout, F.dropout2d, F.alpha_dropout])
def test_nothing_happens_in_eval_or_at_p_0(function):
    x, state = ones(4, 5), random.get_state()
    assert function(x, 0.5, training=False) is x
    assert function(x, 0.0) is x
    assert random.get_state() == state


@pytest.mark.parametrize("function", [F.dropout, F.dropout2d, F.alpha_dropout])
def test_p_1_gives_zeros_and_no_gradient(function):
    x = ones(4, 5)
    y = function(x, 1)
    y.sum().backward()
    assert not y.numpy().any() and not x.grad.numpy().any()


def test_dropped_nan_and_infinity_are_zero():
    x = Tensor(np.array([np.nan, np.inf, -np.inf, 1.0] * 64, np.float32))
    y = F.dropout(x).numpy()
    kept = random.uniform(*(0, 0), 256) >= 0.5
    assert (y[~kept] == 0).all()
    assert np.isnan(y[kept & np.isnan(x.numpy())]).all()
    assert np.isinf(y[kept & np.isinf(x.numpy())]).all()


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_alpha_dropout_keeps_mean_and_variance(p):
    x = np.random.default_rng(1).standard_normal(1 << 18).astype(np.float32)
    y = F.alpha_dropout(Tensor(x), p).numpy().astype(np.float64)
    assert abs(y.mean()) < 0.02 and abs(y.var() - 1) < 0.03


def test_checkpoint_draws_the_same_mask_again():
    x = ones(100)
    y = pynn.checkpoint(lambda t: F.dropout(t, 0.5) * 2, x)
    y.sum().backward()
    assert np.array_equal(x.grad.numpy(), y.numpy())


def test_errors_name_what_was_expected_and_got():
    with pytest.raises(
        ValueError, match=r"\[dropout\] p: expected a probability in \[0, 1\], got 2"
    ):
        F.dropout(ones(3), 2)
    with pytest.raises(ValueError, match=r"\[alpha_dropout\] p: .* got nan"):
        F.alpha_dropout(ones(3), float("nan"))
    with pytest.raises(TypeError, match=r"\[dropout\] expected a float dtype, got int64"):
        F.dropout(Tensor(np.arange(3)))
    with pytest.raises(
        ValueError, match=r"\[dropout2d\] x: expected shape \(N, ..., C\), got \(3,\)"
    ):
        F.dropout2d(ones(3))


@pytest.mark.oracle
def test_alpha_dropout_scales_as_pytorch(torch):
    x = np.random.default_rng(2).standard_normal(4096).astype(np.float32)
    values = np.unique(F.alpha_dropout(Tensor(np.zeros(64, np.float32)), 0.3).numpy())
    theirs = np.unique(torch.nn.functional.alpha_dropout(torch.zeros(64), 0.3, True).numpy())
    np.testing.assert_allclose(values, theirs, rtol=1e-5)
    ours = F.alpha_dropout(Tensor(x), 0.3).numpy()
    theirs = torch.nn.functional.alpha_dropout(torch.tensor(x), 0.3, True).numpy()
    both = (np.abs(ours - values[0]) > 1e-5) & (np.abs(theirs - values[0]) > 1e-5)
    assert both.sum() > 1000
    np.testing.assert_allclose(ours[both], theirs[both], rtol=1e-5, atol=1e-6)
