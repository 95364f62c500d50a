"""Small photos that come inside scikit-image."""

import numpy as np

from pynn.data._package import folder_of
from pynn.data.dataset import ArrayDataset, train_test_split


def faces(test_fraction: float = 0.3, seed: int = 0) -> tuple[ArrayDataset, ArrayDataset]:
    """200 grey photos of 25 x 25 pixels, half of them faces, split with equal shares of both.

    test_fraction, seed  as in train_test_split
    returns  (train, test), each of images (N, 25, 25, 1) float32, 0..1, and labels (N,) int64, 1
             for a face; 140 and 60 samples at the default fraction

    Raises ImportError if scikit-image is not installed.
    Huang, Jain, Learned-Miller 2007, "Labeled faces in the wild".
    """
    folder = folder_of("faces", "skimage", "scikit-image") / "data"
    images = np.load(folder / "lfw_subset.npy", allow_pickle=False)
    images = images.astype(np.float32)[..., None]
    labels = (np.arange(len(images)) < 100).astype(np.int64)  # faces stand first
    parts = train_test_split(ArrayDataset(images, labels), test_fraction, seed, labels)
    return tuple(ArrayDataset(*part[:]) for part in parts)
