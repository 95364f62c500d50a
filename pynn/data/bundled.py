"""Small real data sets that come inside scikit-learn, so that they need no file and no network."""

import numpy as np

from pynn.data.dataset import ArrayDataset, train_test_split


def digits(test_fraction: float = 0.2, seed: int = 0) -> tuple[ArrayDataset, ArrayDataset]:
    """1797 handwritten digits of 8 x 8 pixels, split at random with equal shares of each class.

    test_fraction, seed  as in train_test_split
    returns  (train, test), each of images (N, 8, 8, 1) float32, 0..1 (from 0..16), and labels
             (N,) int64 in 0..9; 1438 and 359 samples at the default fraction

    Raises ImportError if scikit-learn is not installed.
    Alpaydin, Kaynak 1998, "Optical recognition of handwritten digits", UCI repository.
    """
    data = sklearn_datasets("digits").load_digits()
    images = (data.images / 16).astype(np.float32)[..., None]
    labels = data.target.astype(np.int64)
    parts = train_test_split(ArrayDataset(images, labels), test_fraction, seed, stratify=labels)
    return tuple(ArrayDataset(*part[:]) for part in parts)


def diabetes(test_fraction: float = 0.2, seed: int = 0) -> tuple[ArrayDataset, ArrayDataset]:
    """442 patients: 10 measurements, and how far the disease had gone a year later (regression).

    test_fraction, seed  as in train_test_split
    returns  (train, test), each of features (N, 10) float32 in their units (age, sex, bmi, blood
             pressure, six blood sera: normalize them) and targets (N, 1) float32, 25..346

    Raises ImportError if scikit-learn is not installed.
    Efron, Hastie, Johnstone, Tibshirani 2004, "Least angle regression".
    """
    data = sklearn_datasets("diabetes").load_diabetes(scaled=False)
    features = data.data.astype(np.float32)
    targets = data.target.astype(np.float32)[:, None]
    parts = train_test_split(ArrayDataset(features, targets), test_fraction, seed)
    return tuple(ArrayDataset(*part[:]) for part in parts)


def sklearn_datasets(op: str):
    """scikit-learn's data sets. Raises ImportError, naming the extra, if it is not installed."""
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            f"[{op}] expected scikit-learn, which holds this data, got no such module: "
            'pip install "pynn-cuda[examples]"'
        ) from error
    return datasets
