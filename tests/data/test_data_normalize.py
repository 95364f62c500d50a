"""Normalize: statistics against float64 truth, inverses, constant features, bad data."""

from sys import float_info

import numpy as np
import pytest

from pynn.data import ArrayDataset, Compose, DataLoader, Normalize, RandomCrop
from pynn.data import normalize as module

EPS = np.finfo(np.float32).eps


def sample(shape, dtype=np.float32, offset=3.0):
    return (np.random.default_rng(2).normal(offset, 2, shape)).astype(dtype)


@pytest.mark.parametrize("shape", [(50, 4), (20, 6, 5, 3), (1, 7, 2), (9, 1)], ids=str)
@pytest.mark.parametrize("chunk", [8, 1 << 20])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_statistics_are_those_of_float64(shape, chunk, dtype, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", chunk)
    x = sample(shape, dtype)
    columns = x.astype(np.float64).reshape(-1, shape[-1])
    fitted = Normalize().fit(x)
    count = len(columns)
    np.testing.assert_allclose(fitted.mean, columns.mean(0), rtol=count * float_info.epsilon)
    np.testing.assert_allclose(fitted.std, columns.std(0), rtol=4 * count * float_info.epsilon)


def test_large_mean_and_small_spread_do_not_cancel():
    # the mean of squares minus the square of the mean would lose all digits here
    x = 1e6 + np.random.default_rng(0).normal(0, 1e-3, (1000, 2))
    np.testing.assert_allclose(Normalize().fit(x).std, x.std(0), rtol=1e-9)


def test_normalized_train_data_has_mean_0_and_std_1():
    x = sample((2000, 3), np.float64)
    y = Normalize().fit(x)(x)
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(y.std(0), 1, rtol=1e-12)


def test_float32_is_as_good_as_float32_can_be():
    x = sample((100, 8, 8, 3))
    fitted = Normalize().fit(x)
    truth = (x.astype(np.float64) - fitted.mean) / fitted.std
    y = fitted(x)
    assert y.dtype == np.float32
    # mean rounded, difference rounded, std rounded, quotient rounded: half an ulp each
    bound = EPS / 2 * (np.abs(fitted.mean) / fitted.std + 3 * np.abs(truth)) * (1 + 4 * EPS)
    assert (np.abs(y - truth) <= bound).all()


def test_statistics_are_the_training_splits():
    train, test = sample((50, 2)), sample((20, 2), offset=10.0)
    fitted = Normalize().fit(train)
    np.testing.assert_allclose(fitted(test), (test - train.mean(0)) / train.std(0), rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_inverse_undoes(dtype):
    x = sample((40, 5, 5, 2), dtype)
    fitted = Normalize().fit(x)
    np.testing.assert_allclose(fitted.inverse(fitted(x)), x, rtol=0, atol=30 * np.finfo(dtype).eps)


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e8, 1e-30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_feature_becomes_zero_and_comes_back(value, dtype):
    x = sample((1001, 3), dtype)
    x[:, 1] = value
    fitted = Normalize().fit(x)
    y = fitted(x)
    assert (y[:, 1] == 0).all() and np.isfinite(y).all()
    assert (fitted.inverse(y)[:, 1] == x[:, 1]).all()
    assert fitted.std[1] == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named(bad):
    x = sample((6, 4, 4, 3))
    x[5, 2, 1, 0] = x[5, 3, 1, 2] = bad
    place = rf"got {bad} at index \(5, 2, 1, 0\), and 2 such values"
    with pytest.raises(ValueError, match=place):
        Normalize().fit(x)
    fitted = Normalize().fit(sample((6, 3)))
    with pytest.raises(ValueError, match=place):
        fitted(x)


def test_state_dict_round_trip():
    fitted = Normalize().fit(sample((30, 4)))
    other = Normalize()
    state = fitted.state_dict()
    other.load_state_dict(state)
    state["mean"][:] = 99
    x = sample((5, 4))
    assert other(x).tobytes() == fitted(x).tobytes()


def test_is_a_transform_of_the_loader():
    x = sample((12, 4, 4, 2))
    fitted = Normalize().fit(x)
    loader = DataLoader(ArrayDataset(x), 5, transform=Compose([fitted, RandomCrop(0)]))
    got = np.concatenate([batch.numpy() for (batch,) in loader])
    np.testing.assert_array_equal(got, fitted(x))


FITTED = Normalize().fit(np.array([[0.0, 1.0], [2.0, 5.0]]))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Normalize()(np.zeros((2, 2))), ValueError, "fit.. or load_state_dict.. first"),
        (lambda: Normalize().state_dict(), ValueError, "first, got neither"),
        (lambda: Normalize().fit(np.zeros((3, 2), int)), TypeError, "float dtype, got int64"),
        (lambda: Normalize().fit(np.zeros((0, 2))), ValueError, r"got \(0, 2\)"),
        (lambda: Normalize().fit(np.zeros(3)), ValueError, r"got \(3,\)"),
        (lambda: Normalize().fit(np.array([[1e200], [-1e200]])), ValueError, "std inf"),
        (lambda: FITTED(np.zeros((4, 3))), ValueError, r"\(..., 2\) as fitted, got \(4, 3\)"),
        (lambda: FITTED.inverse(np.zeros(3)), ValueError, r"\(..., 2\) as fitted, got \(3,\)"),
        (lambda: FITTED.load_state_dict({"mean": [0.0]}), ValueError, r"got \['mean'\]"),
        (
            lambda: FITTED.load_state_dict({"mean": [0.0], "std": [1.0, 1.0]}),
            ValueError,
            r"got \(1,\) and \(2,\)",
        ),
        (
            lambda: FITTED.load_state_dict({"mean": [0.0, 1.0], "std": [1.0, 0.0]}),
            ValueError,
            "feature 1: .* std 0.0",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
