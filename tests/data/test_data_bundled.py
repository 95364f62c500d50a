"""The data sets inside scikit-learn: values against its own loaders, fixed stratified splits."""

import sys

import numpy as np
import pytest

from pynn.data import diabetes, digits


def test_digits_are_scikit_learns():
    datasets = pytest.importorskip("sklearn.datasets")
    source = datasets.load_digits()
    train, test = digits()
    (x, y), (test_x, test_y) = train[:], test[:]
    assert x.dtype == np.float32 and y.dtype == np.int64
    assert x.shape == (1438, 8, 8, 1) and test_x.shape == (359, 8, 8, 1)
    assert x.min() == 0 and x.max() == 1
    both = np.concatenate([x, test_x])[..., 0] * 16
    rows = np.column_stack([both.reshape(1797, 64), np.concatenate([y, test_y])])
    expected = np.column_stack([source.data, source.target])
    np.testing.assert_array_equal(rows[np.lexsort(rows.T)], expected[np.lexsort(expected.T)])
    shares = np.bincount(source.target) * 359 / 1797
    assert (np.abs(np.bincount(test_y) - shares) < 1).all()


def test_digits_split_is_fixed_by_the_seed():
    pytest.importorskip("sklearn")
    first, again, other = (digits(seed=seed)[1][:][0].tobytes() for seed in (0, 0, 1))
    assert first == again != other


def test_diabetes_is_scikit_learns():
    datasets = pytest.importorskip("sklearn.datasets")
    source = datasets.load_diabetes(scaled=False)
    train, test = diabetes()
    assert (len(train), len(test)) == (354, 88)
    x, y = (np.concatenate(parts) for parts in zip(train[:], test[:], strict=True))
    assert x.dtype == y.dtype == np.float32 and y.shape == (442, 1)
    rows = np.column_stack([x, y])
    expected = np.column_stack([source.data, source.target]).astype(np.float32)
    np.testing.assert_array_equal(rows[np.lexsort(rows.T)], expected[np.lexsort(expected.T)])


@pytest.mark.parametrize("load", [digits, diabetes])
def test_without_scikit_learn(load, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r'pip install "pynn-cuda\[examples\]"'):
        load()
