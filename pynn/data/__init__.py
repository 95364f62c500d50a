"""Data: datasets, readers of files, normalization, augmentation and the loader.

    train, test = data.digits()
    normalize = data.Normalize().fit(train.arrays[0])
    loader = data.DataLoader(train, 64, shuffle=True, transform=normalize)
    for images, labels in loader: ...

Images are (N, H, W, C).
"""

from pynn.data.augment import (
    Compose,
    Cutout,
    RandomCrop,
    RandomHorizontalFlip,
    RandomRotation,
    RandomShift,
)
from pynn.data.bundled import diabetes, digits
from pynn.data.characters import Text, Windows, pydoc_text, text
from pynn.data.dataset import (
    ArrayDataset,
    Dataset,
    Stacked,
    Subset,
    random_split,
    train_test_split,
)
from pynn.data.flowers import iris
from pynn.data.images import cifar10, fashion_mnist, mnist, read_idx
from pynn.data.loader import DataLoader
from pynn.data.mnist_sample import mnist_sample
from pynn.data.normalize import Normalize
from pynn.data.photos import faces
from pynn.data.ratings import ratings
from pynn.data.tables import Table, table

__all__ = [
    "ArrayDataset",
    "Compose",
    "Cutout",
    "DataLoader",
    "Dataset",
    "Normalize",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomRotation",
    "RandomShift",
    "Stacked",
    "Subset",
    "Table",
    "Text",
    "Windows",
    "cifar10",
    "diabetes",
    "digits",
    "faces",
    "fashion_mnist",
    "iris",
    "mnist",
    "mnist_sample",
    "pydoc_text",
    "random_split",
    "ratings",
    "read_idx",
    "table",
    "text",
    "train_test_split",
]
