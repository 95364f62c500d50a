"""Datasets: sized collections that are indexed by int, slice or index array, and how to split them.

A batch is one indexing: ``dataset[indices]`` gives a tuple of arrays with one row per index.
"""

from collections.abc import Sequence
from operator import index as as_int
from typing import Any, Protocol, runtime_checkable

import numpy as np

from pynn.data._draw import generator, permutation


@runtime_checkable
class Dataset(Protocol):
    """What the loader and the splits ask of a dataset.

    ``dataset[i]`` with an int gives one sample, a tuple of rows. With a slice or an integer array
    it gives a tuple of arrays whose first axis runs over the samples asked for.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any) -> tuple: ...


class ArrayDataset:
    """Arrays of equal length, row i of each being sample i. torch calls it TensorDataset.

    arrays   (n, ...) each, any numeric or bool dtype; kept as they are, not copied
    indexing gives a tuple, one entry per array: views for an int or a slice, copies for an
             index array or a bool mask of length n

    Raises ValueError if there is no array, one has no first axis, or the lengths differ;
    TypeError for an array of Python objects; IndexError for an index out of range.
    """

    def __init__(self, *arrays: Any):
        if not arrays:
            raise ValueError("[ArrayDataset] expected at least one array, got none")
        self.arrays = tuple(np.asarray(a) for a in arrays)
        for i, a in enumerate(self.arrays):
            if a.dtype == object:
                raise TypeError(f"[ArrayDataset] array {i}: expected numbers, got Python objects")
            if a.ndim == 0:
                raise ValueError(f"[ArrayDataset] array {i}: expected shape (n, ...), got a scalar")
            if len(a) != len(self.arrays[0]):
                raise ValueError(
                    f"[ArrayDataset] array {i}: expected {len(self.arrays[0])} rows as in array 0, "
                    f"got {len(a)}"
                )

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: Any) -> tuple:
        index = checked_index("ArrayDataset", index, len(self))
        return tuple(a[index] for a in self.arrays)


class Subset:
    """The samples of another dataset that `indices` lists, in that order.

    dataset  any Dataset of n samples
    indices  (m,) integers in [-n, n), or a bool mask (n,)

    Raises IndexError for an index out of range, TypeError if indices are not integers.
    """

    def __init__(self, dataset: Dataset, indices: Any):
        self.dataset = dataset
        self.indices = _checked_array("Subset", np.asarray(indices), len(dataset))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> tuple:
        return self.dataset[self.indices[checked_index("Subset", index, len(self))]]


class Stacked:
    """A dataset that knows only ``dataset[i]`` for an int, made to answer slices and index arrays.

    The rows are fetched one by one and stacked with numpy.stack, so this costs a Python loop per
    batch: it is for samples that must be read or decoded singly. A sample is a tuple of arrays or
    scalars, all samples alike in shape.

    Raises ValueError if samples differ in length or shape, IndexError for an index out of range.
    """

    def __init__(self, dataset: Any):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> tuple:
        index = checked_index("Stacked", index, len(self))
        if isinstance(index, int):
            return self._sample(index)
        rows = index if isinstance(index, np.ndarray) else range(*index.indices(len(self)))
        if len(rows) == 0:
            raise ValueError("[Stacked] expected at least one index, got none")
        samples = [self._sample(int(i)) for i in rows]
        first = [np.shape(part) for part in samples[0]]
        for i, sample in zip(rows, samples, strict=True):
            shapes = [np.shape(part) for part in sample]
            if shapes != first:
                raise ValueError(
                    f"[Stacked] sample {i}: expected shapes {first} as in sample {rows[0]}, "
                    f"got {shapes}"
                )
        return tuple(np.stack(parts) for parts in zip(*samples, strict=True))

    def _sample(self, i):
        sample = self.dataset[i]
        return sample if isinstance(sample, tuple) else (sample,)


def checked_index(op, index, n):
    """An index as int in [0, n), slice, or int64 array in [0, n)."""
    if isinstance(index, slice):
        return index
    if isinstance(index, list | np.ndarray) and np.ndim(index) > 0:
        return _checked_array(op, np.asarray(index), n)
    try:
        i = as_int(index)
    except TypeError:
        raise TypeError(
            f"[{op}] index: expected an int, a slice or an integer array, got {index!r}"
        ) from None
    if not -n <= i < n:
        raise IndexError(f"[{op}] index: expected -{n} <= i < {n}, got {i}")
    return i % n


def _checked_array(op, index, n):
    if index.ndim != 1:
        raise ValueError(f"[{op}] indices: expected shape (m,), got {index.shape}")
    if index.dtype == bool:
        if len(index) != n:
            raise IndexError(f"[{op}] mask: expected shape ({n},), got {index.shape}")
        return np.flatnonzero(index)
    if index.size == 0:
        return np.zeros(0, np.int64)
    if not np.issubdtype(index.dtype, np.integer):
        raise TypeError(f"[{op}] indices: expected integers, got {index.dtype}")
    bad = np.flatnonzero((index < -n) | (index >= n))
    if bad.size:
        raise IndexError(
            f"[{op}] indices: expected -{n} <= i < {n}, got {index[bad[0]]} at position {bad[0]}"
        )
    index = index.astype(np.int64)
    index[index < 0] += n
    return index


def random_split(
    dataset: Dataset, lengths: Sequence[int] | Sequence[float], seed: int = 0
) -> list[Subset]:
    """Cut a dataset at random into parts that do not overlap and together are the whole.

    lengths  ints that add up to len(dataset), or fractions that add up to 1; with fractions each
             part gets floor(fraction * n), and what is left goes one by one to the first parts
    seed     >= 0; the same seed gives the same parts
    returns  one Subset per length

    Raises ValueError if the lengths do not add up, or a part would be empty; TypeError if they
    are not a list.
    """
    n = len(dataset)
    if not isinstance(lengths, Sequence | np.ndarray):
        raise TypeError(f"[random_split] lengths: expected a list, one per part, got {lengths!r}")
    if len(lengths) == 0:
        raise ValueError("[random_split] lengths: expected at least one, got none")
    if all(isinstance(length, int | np.integer) for length in lengths):
        counts = [int(length) for length in lengths]
        if sum(counts) != n:
            raise ValueError(
                f"[random_split] lengths: expected a sum of {n}, the dataset's length, "
                f"got {sum(counts)} from {list(lengths)}"
            )
    else:
        if not abs(sum(lengths) - 1) <= 1e-9:
            raise ValueError(
                f"[random_split] lengths: expected fractions that add up to 1, "
                f"got {sum(lengths)} from {list(lengths)}"
            )
        counts = [int(np.floor(n * fraction + 1e-9)) for fraction in lengths]
        for i in range(n - sum(counts)):
            counts[i % len(counts)] += 1
    if min(counts) <= 0:
        raise ValueError(
            f"[random_split] lengths: expected at least one of {n} samples in each part, "
            f"got parts of {counts} from {list(lengths)}"
        )
    order = permutation(generator(seed), n)
    cuts = np.cumsum(counts)[:-1]
    return [Subset(dataset, part) for part in np.split(order, cuts)]


def train_test_split(
    dataset: Dataset, test_fraction: float = 0.2, seed: int = 0, stratify: Any = None
) -> tuple[Subset, Subset]:
    """Cut a dataset at random into (train, test).

    test_fraction  between 0 and 1; the test part has round(test_fraction * n) samples, and
                   both parts have at least one
    seed           >= 0; the same seed gives the same parts
    stratify       (n,) class labels, or None; with labels, every class is in the test part with
                   its share of it, rounded down or up (largest remainders up)

    Raises ValueError for a fraction outside (0, 1), fewer than two samples, or labels that are
    not (n,).
    """
    n = len(dataset)
    if not 0 < test_fraction < 1:
        raise ValueError(
            f"[train_test_split] test_fraction: expected 0 < fraction < 1, got {test_fraction}"
        )
    if n < 2:
        raise ValueError(f"[train_test_split] expected at least two samples, got {n}")
    test_total = min(max(round(n * test_fraction), 1), n - 1)
    order = permutation(generator(seed), n)
    if stratify is None:
        return Subset(dataset, order[test_total:]), Subset(dataset, order[:test_total])

    labels = np.asarray(stratify)
    if labels.shape != (n,):
        raise ValueError(
            f"[train_test_split] stratify: expected labels of shape ({n},), got {labels.shape}"
        )
    _, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    # share of class c = sizes[c] * test_total / n, in integers so that it is exact
    counts, remainders = np.divmod(sizes * test_total, n)
    up = np.argsort(-remainders, kind="stable")[: test_total - counts.sum()]
    counts[up] += 1
    shuffled = classes[order]
    rank = np.empty(n, np.int64)  # (n,) how many of the same class come earlier in the order
    for c in range(len(sizes)):
        rank[shuffled == c] = np.arange(sizes[c])
    in_test = rank < counts[shuffled]
    return Subset(dataset, order[~in_test]), Subset(dataset, order[in_test])
