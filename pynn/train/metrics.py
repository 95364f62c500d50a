"""Metrics: what is counted over batches, exact whatever the sizes of the batches.

    accuracy = Accuracy()
    for images, labels in loader:
        accuracy.update(model(images), labels)
    accuracy.compute()

Each keeps sums and counts, never a mean of means. The sums stay on the outputs' device, so that an
update does not wait for a GPU; `compute` does.
"""

import math

import numpy as np

from pynn import backend
from pynn.tensor import Tensor


class Metric:
    """Base: a metric names its sums with their first values in `start`, and writes two methods."""

    start: dict = {}
    higher_is_better = True

    def __init__(self):
        self.reset()

    def reset(self) -> None:
        """Forget what was counted."""
        self.__dict__.update(self.start)

    def update(self, outputs, targets) -> None:
        """Count one batch: Tensors or arrays, with the samples along the first axis."""
        raise NotImplementedError

    def compute(self) -> float:
        """The figure over all batches since the last reset; NaN if there was none."""
        raise NotImplementedError

    def state_dict(self) -> dict:
        """The sums so far, as Python numbers or NumPy arrays."""
        return {name: _on_host(self.__dict__[name]) for name in self.start}

    def load_state_dict(self, state: dict) -> None:
        """Go on from what `state_dict` gave. Raises ValueError for other names."""
        if set(state) != set(self.start):
            raise ValueError(
                f"[{type(self).__name__}] state: expected {sorted(self.start)}, got {sorted(state)}"
            )
        self.__dict__.update(state)


class Mean(Metric):
    """Mean of a value that is itself a mean over `count` samples, such as a batch's loss."""

    start = {"total": 0.0, "count": 0}
    higher_is_better = False

    def update(self, value, count: int = 1) -> None:
        self.total = self.total + _array(value).astype(np.float64) * count
        self.count += count

    def compute(self) -> float:
        return float(self.total) / self.count if self.count else math.nan


class TopK(Metric):
    """Share of samples whose true class is among the k with the largest outputs.

    outputs  (..., C) scores, logits or probabilities
    targets  (...) int

    Among equal outputs the lower class counts as the larger, as in argmax. A NaN in a row counts as
    larger than the true class's output. Targets equal to `ignore_index` are left out.
    """

    start = {"right": 0, "count": 0}

    def __init__(self, k: int, ignore_index: int | None = None):
        if k < 1:
            raise ValueError(f"[TopK] k: expected at least 1, got {k}")
        super().__init__()
        self.k, self.ignore_index = k, ignore_index

    def update(self, outputs, targets) -> None:
        scores, labels = _scores_and_labels(
            type(self).__name__, outputs, targets, self.ignore_index
        )
        xp = backend.array_module(scores)
        classes = xp.arange(scores.shape[1])
        own = classes == labels[:, None]  # (N, C)
        true = xp.where(own, scores, -math.inf).max(axis=1, keepdims=True)
        behind = (scores < true) | ((scores == true) & (classes > labels[:, None]))
        rank = scores.shape[1] - 1 - behind.sum(axis=1)
        self.right = self.right + (rank < self.k).sum()
        self.count += len(labels)

    def compute(self) -> float:
        return int(self.right) / self.count if self.count else math.nan


class Accuracy(TopK):
    """Share of samples whose true class has the largest output: TopK with k = 1."""

    def __init__(self, ignore_index: int | None = None):
        super().__init__(1, ignore_index)


class ConfusionMatrix(Metric):
    """matrix[t, p]: how many samples of true class t were taken for class p, (C, C) int64.

    outputs  (..., C) scores;  targets (...) int in 0..C-1

    Raises ValueError for a target out of range.
    """

    start = {"matrix": None}

    def __init__(self, classes: int):
        self.classes = classes
        super().__init__()

    def reset(self) -> None:
        self.matrix = np.zeros((self.classes, self.classes), np.int64)

    def update(self, outputs, targets) -> None:
        scores, labels = _scores_and_labels("ConfusionMatrix", outputs, targets, None)
        true, taken = _on_host(labels), _on_host(scores.argmax(axis=1))
        C = self.classes
        if scores.shape[1] != C:
            raise ValueError(f"[ConfusionMatrix] expected {C} classes, got {scores.shape[1]}")
        bad = true[(true < 0) | (true >= C)]
        if bad.size:
            raise ValueError(f"[ConfusionMatrix] targets: expected 0..{C - 1}, got {bad[0]}")
        self.matrix = self.matrix + np.bincount(true * C + taken, minlength=C * C).reshape(C, C)

    def compute(self) -> np.ndarray:
        return self.matrix


class Perplexity(Metric):
    """exp of the mean of -log p(true class): the number of classes that chance would choose from.

    outputs  (..., C) logits;  targets (...) int; those equal to `ignore_index` are left out
    """

    start = {"total": 0.0, "count": 0}
    higher_is_better = False

    def __init__(self, ignore_index: int | None = -100):
        super().__init__()
        self.ignore_index = ignore_index

    def update(self, outputs, targets) -> None:
        scores, labels = _scores_and_labels("Perplexity", outputs, targets, self.ignore_index)
        xp = backend.array_module(scores)
        if not len(labels):
            return
        shifted = scores - scores.max(axis=1, keepdims=True)
        true = xp.take_along_axis(shifted, labels[:, None], axis=1)[:, 0]
        losses = xp.log(xp.exp(shifted).sum(axis=1)) - true
        self.total = self.total + losses.sum(dtype=np.float64)
        self.count += len(labels)

    def compute(self) -> float:
        if not self.count:
            return math.nan
        mean = float(self.total) / self.count
        return math.inf if mean > 709 else math.exp(mean)


class R2(Metric):
    """1 - sum (y - prediction)^2 / sum (y - mean y)^2: 1 is perfect, 0 as good as the mean.

    outputs, targets  (N, ...) numbers of one shape; with several columns, the mean of their R2

    A column of equal targets has R2 1 if predicted exactly and else 0, as in scikit-learn. The
    spread is summed about the running mean, so a large mean costs no digits.
    Chan, Golub, LeVeque 1983, "Algorithms for computing the sample variance".
    """

    start = {"count": 0, "mean": 0.0, "spread": 0.0, "error": 0.0}

    def update(self, outputs, targets) -> None:
        y, prediction = _array(targets), _array(outputs)
        if y.shape != prediction.shape:
            raise ValueError(f"[R2] expected outputs of shape {y.shape}, got {prediction.shape}")
        n = len(y)
        if not n:
            return
        y = y.reshape(n, -1).astype(np.float64)
        prediction = prediction.reshape(n, -1).astype(np.float64)
        mean = y.mean(axis=0)
        step = mean - self.mean
        total = self.count + n
        spread = ((y - mean) ** 2).sum(axis=0) + step**2 * (self.count * n / total)
        self.spread = self.spread + spread
        self.error = self.error + ((y - prediction) ** 2).sum(axis=0)
        self.mean = self.mean + step * (n / total)
        self.count = total

    def compute(self) -> float:
        if not self.count:
            return math.nan
        spread, error = np.atleast_1d(_on_host(self.spread)), np.atleast_1d(_on_host(self.error))
        constant = np.where(error == 0, 1.0, 0.0)
        return float(
            np.where(spread > 0, 1 - error / np.where(spread > 0, spread, 1), constant).mean()
        )


def _scores_and_labels(name, outputs, targets, ignore_index):
    """scores (N, C), labels (N,): all axes but the last made one, ignored samples left out."""
    scores, labels = _array(outputs), _array(targets)
    if scores.ndim < 1 or scores.shape[:-1] != labels.shape:
        raise ValueError(
            f"[{name}] expected outputs (..., C) and targets (...), "
            f"got shapes {scores.shape} and {labels.shape}"
        )
    if labels.dtype.kind not in "iu":
        raise TypeError(f"[{name}] targets: expected integers, got {labels.dtype}")
    scores, labels = backend.widen(scores).reshape(-1, scores.shape[-1]), labels.reshape(-1)
    if ignore_index is not None:
        kept = labels != ignore_index
        scores, labels = scores[kept], labels[kept]
    return scores, labels


def _array(x):
    return x.data if isinstance(x, Tensor) else np.asarray(x)


def _on_host(value):
    """A Python number or NumPy array of what may be on a device."""
    if isinstance(value, int | float):
        return value
    array = np.asarray(value) if isinstance(value, np.generic) else backend.to_device(value, "cpu")
    return array.item() if array.ndim == 0 else array
