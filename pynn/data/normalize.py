"""Normalization by statistics of the training data."""

from typing import Any

import numpy as np

_CHUNK = 1 << 20  # elements per step, so that float64 temporaries stay small beside the data


class Normalize:
    """y = (x - mean) / std for each channel or feature, with mean and std of the training split.

    The last axis holds the channels of images (N, H, W, C) or the features of a table (N, F);
    mean and std are taken over all other axes, in float64, std without Bessel's correction. A
    constant feature has std 1, so that it becomes 0 there. Fit on the training split only: the
    test split must not be seen before the test.

    mean  (C,) float64, None before fit
    std   (C,) float64, None before fit

    It is a transform for DataLoader and Compose, too: the second argument is not used.
    """

    def __init__(self):
        self.mean = None
        self.std = None

    def fit(self, x: Any) -> "Normalize":
        """Take mean and std from x and return self.

        x  (..., C) float, at least one row

        Raises ValueError if x is empty or holds NaN or an infinity, and says where; TypeError if
        x is not float.
        """
        x = _float_array(x)
        if x.ndim < 2 or x.size == 0:
            raise ValueError(f"[Normalize] x: expected shape (N, ..., C), none 0, got {x.shape}")
        _require_finite(x)
        C = x.shape[-1]
        count = x.size // C
        step = max(1, _CHUNK // x[0].size)
        chunks = [x[i : i + step] for i in range(0, len(x), step)]
        with np.errstate(over="ignore", invalid="ignore"):
            mean = sum(_per_feature(np.add, c, np.float64) for c in chunks) / count
            low = np.min([_per_feature(np.minimum, c) for c in chunks], 0)
            high = np.max([_per_feature(np.maximum, c) for c in chunks], 0)
            constant = low == high
            mean[constant] = low[constant]
            wide = _wide(mean, x)
            squares = sum(_per_feature(np.add, (c - wide) ** 2) for c in chunks)
            std = np.sqrt(squares / count)
        std[constant] = 1
        _require_statistics(mean, std)
        self.mean, self.std = mean, std
        return self

    def __call__(self, x: Any, rng: np.random.Generator | None = None) -> np.ndarray:
        """(x - mean) / std, computed and returned in the dtype of x.

        x  (..., C) float

        Raises ValueError if not fitted, if C differs from the fitted one, or if x holds NaN or an
        infinity; TypeError if x is not float.
        """
        x = self._checked(x)
        _require_finite(x)
        y = x - _wide(self.mean.astype(x.dtype), x)
        y /= _wide(self.std.astype(x.dtype), x)
        return y

    def inverse(self, y: Any) -> np.ndarray:
        """y * std + mean, computed and returned in the dtype of y: undoes the normalization.

        y  (..., C) float

        Raises ValueError if not fitted or if C differs from the fitted one; TypeError if y is not
        float.
        """
        y = self._checked(y)
        x = y * _wide(self.std.astype(y.dtype), y)
        x += _wide(self.mean.astype(y.dtype), y)
        return x

    def state_dict(self) -> dict[str, np.ndarray]:
        """{"mean": (C,) float64, "std": (C,) float64}, copies. Raises ValueError if not fitted."""
        self._require_fitted()
        return {"mean": self.mean.copy(), "std": self.std.copy()}

    def load_state_dict(self, state: dict) -> None:
        """Take mean and std from a state_dict.

        Raises ValueError if an entry is missing or unknown, the two are not (C,) alike, a value
        is not finite, or a std is not above 0.
        """
        if set(state) != {"mean", "std"}:
            raise ValueError(f"[Normalize] state: expected mean and std, got {sorted(state)}")
        mean, std = (np.array(state[name], np.float64) for name in ("mean", "std"))
        if mean.ndim != 1 or mean.shape != std.shape:
            raise ValueError(
                f"[Normalize] state: expected mean and std of one shape (C,), "
                f"got {mean.shape} and {std.shape}"
            )
        _require_statistics(mean, std)
        self.mean, self.std = mean, std

    def _require_fitted(self):
        if self.mean is None:
            raise ValueError("[Normalize] expected fit() or load_state_dict() first, got neither")

    def _checked(self, x):
        self._require_fitted()
        x = _float_array(x)
        if x.ndim < 1 or x.shape[-1] != len(self.mean):
            raise ValueError(
                f"[Normalize] x: expected shape (..., {len(self.mean)}) as fitted, got {x.shape}"
            )
        return x


def _float_array(x):
    x = np.asarray(x)
    if not np.issubdtype(x.dtype, np.floating):
        raise TypeError(f"[Normalize] x: expected a float dtype, got {x.dtype}")
    return x


def _per_feature(ufunc, x, dtype=None):
    """Reduce (N, ..., C) to (C,): N first, so that the long loops run over contiguous memory."""
    return ufunc.reduce(ufunc.reduce(x, 0, dtype).reshape(-1, x.shape[-1]), 0)


def _wide(values, x):
    """values (C,) repeated to the shape of x[0], for one long loop per row instead of many of C."""
    return np.ascontiguousarray(np.broadcast_to(values, x.shape[1:] or x.shape))


def _require_finite(x):
    finite = np.isfinite(x)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(
            f"[Normalize] x: expected finite values, got {x[where]} at index {where}, "
            f"and {x.size - np.count_nonzero(finite)} such values in all"
        )


def _require_statistics(mean, std):
    bad = np.flatnonzero(~(np.isfinite(mean) & np.isfinite(std) & (std > 0)))
    if bad.size:
        c = bad[0]
        raise ValueError(
            f"[Normalize] feature {c}: expected a finite mean and a finite std above 0, "
            f"got mean {mean[c]} and std {std[c]}"
        )
