"""Fisher's irises: values against scikit-learn's loader, fixed stratified splits."""

import sys

import numpy as np
import pytest

from pynn.data import iris


def test_iris_is_scikit_learns():
    source = pytest.importorskip("sklearn.datasets").load_iris()
    train, test = iris()
    assert (len(train), len(test)) == (120, 30)
    x, y = (np.concatenate(parts) for parts in zip(train[:], test[:], strict=True))
    assert x.dtype == np.float32 and y.dtype == np.int64
    rows = np.column_stack([x, y])
    expected = np.column_stack([source.data, source.target]).astype(np.float32)
    np.testing.assert_array_equal(rows[np.lexsort(rows.T)], expected[np.lexsort(expected.T)])
    assert np.bincount(test.arrays[1]).tolist() == [10, 10, 10]


def test_iris_of_two_kinds_counts_them_from_0():
    source = pytest.importorskip("sklearn.datasets").load_iris()
    train, test = iris(("virginica", "setosa"))
    assert (len(train), len(test)) == (80, 20)
    x, y = test[:]
    for label, target in ((0, 2), (1, 0)):
        rows = source.data[source.target == target].astype(np.float32)
        assert all((rows == flower).all(1).any() for flower in x[y == label])
    assert iris(("virginica", "setosa"), seed=1)[1][:][0].tobytes() != x.tobytes()


@pytest.mark.parametrize(("kinds", "got"), [(("rose", "setosa"), r"\['rose'\]"), ((), "none")])
def test_iris_of_unknown_kinds(kinds, got):
    with pytest.raises(ValueError, match=rf"\[iris\] kinds: expected out of .*, got {got}"):
        iris(kinds)


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r'\[iris\] .* pip install "pynn-cuda\[examples\]"'):
        iris()
