"""Fisher's irises, which come inside scikit-learn."""

import numpy as np

from pynn.data.bundled import sklearn_datasets
from pynn.data.dataset import ArrayDataset, train_test_split

IRIS_KINDS = ("setosa", "versicolor", "virginica")


def iris(
    kinds: tuple[str, ...] = IRIS_KINDS, test_fraction: float = 0.2, seed: int = 0
) -> tuple[ArrayDataset, ArrayDataset]:
    """150 irises, 50 of each of three kinds: setosa is apart from the others, which overlap.

    kinds    which of them; the label is the place in this tuple
    test_fraction, seed  as in train_test_split, with equal shares of each kind
    returns  (train, test), each of features (N, 4) float32 in cm (length and width of sepal, then
             of petal) and labels (N,) int64

    Raises ValueError for an unknown kind; ImportError if scikit-learn is not installed.
    Fisher 1936, "The use of multiple measurements in taxonomic problems".
    """
    unknown = sorted(set(kinds) - set(IRIS_KINDS))
    if unknown or not kinds:
        got = unknown if unknown else "none"
        raise ValueError(f"[iris] kinds: expected out of {', '.join(IRIS_KINDS)}, got {got}")
    data = sklearn_datasets("iris").load_iris()
    rows = [data.target == IRIS_KINDS.index(kind) for kind in kinds]
    features = np.concatenate([data.data[row] for row in rows]).astype(np.float32)
    labels = np.repeat(np.arange(len(kinds)), [row.sum() for row in rows])
    parts = train_test_split(ArrayDataset(features, labels), test_fraction, seed, labels)
    return tuple(ArrayDataset(*part[:]) for part in parts)
