"""Augmentation of image batches: callables (batch, rng) -> batch, whole batches at a time.

batch    (N, H, W, C) float
rng      numpy.random.Generator; all randomness comes from it, so the same rng gives the same bits
returns  (N, H, W, C) dtype of batch, a new array

Each raises ValueError for a batch that is not (N, H, W, C) and TypeError for one that is not float.
"""

from collections.abc import Callable, Sequence

import numpy as np


class Compose:
    """Apply transforms one after the other, all drawing from the same rng."""

    def __init__(self, transforms: Sequence[Callable]):
        for i, transform in enumerate(transforms):
            if not callable(transform):
                raise TypeError(f"[Compose] transform {i}: expected a callable, got {transform!r}")
        self.transforms = list(transforms)

    def __call__(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for transform in self.transforms:
            batch = transform(batch, rng)
        return batch


class RandomCrop:
    """Pad by `padding` zeros on each side, then cut a window of the old size at a random place.

    padding  int >= 0, pixels; draws rng.integers(0, 2 * padding + 1, (2, N)): rows, columns
    He, Zhang, Ren, Sun 2015, arXiv:1512.03385, section 4.2.
    """

    def __init__(self, padding: int):
        self.padding = _count("RandomCrop", "padding", padding, 0)

    def __call__(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        N, H, W, _ = _image_shape("RandomCrop", batch)
        p = self.padding
        top, left = rng.integers(0, 2 * p + 1, (2, N))
        padded = np.pad(batch, ((0, 0), (p, p), (p, p), (0, 0)))
        return _gather(padded, top[:, None] + np.arange(H), left[:, None] + np.arange(W))


class RandomShift:
    """Move each image by up to `max` whole pixels each way; the edge pixels fill what is left free.

    max  int >= 0, pixels; draws rng.integers(-max, max + 1, (2, N)): down, right
    Kostrikov, Yarats, Fergus 2020, arXiv:2004.13649.
    """

    def __init__(self, max: int):
        self.max = _count("RandomShift", "max", max, 0)

    def __call__(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        N, H, W, _ = _image_shape("RandomShift", batch)
        down, right = rng.integers(-self.max, self.max + 1, (2, N))
        rows = np.clip(np.arange(H) - down[:, None], 0, H - 1)
        cols = np.clip(np.arange(W) - right[:, None], 0, W - 1)
        return _gather(batch, rows, cols)


def _gather(batch, rows, cols):
    """out[n, i, j] = batch[n, rows[n, i], cols[n, j]],  rows (N, H), cols (N, W)."""
    N, H, W, C = batch.shape
    image = np.arange(N)[:, None, None] * (H * W)
    return batch.reshape(-1, C).take(image + rows[:, :, None] * W + cols[:, None, :], 0)


class RandomHorizontalFlip:
    """Mirror each image left to right with probability p.

    p  0 <= p <= 1; draws rng.random(N), flips where it is below p
    """

    def __init__(self, p: float = 0.5):
        if not 0 <= p <= 1:
            raise ValueError(f"[RandomHorizontalFlip] p: expected 0 <= p <= 1, got {p}")
        self.p = p

    def __call__(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        N, _, _, _ = _image_shape("RandomHorizontalFlip", batch)
        flip = rng.random(N) < self.p
        out = batch.copy()
        out[flip] = batch[flip, :, ::-1]
        return out


class RandomRotation:
    """Turn each image about its centre by a random angle; bilinear, zeros from outside.

    degrees  >= 0; draws rng.uniform(-degrees, degrees, N); a positive angle turns
             counter-clockwise as seen on a screen, like numpy.rot90

    Pixel (i, j) of the result is read at the centre plus the offset of (i, j) from it, turned
    back by the angle. Of the four neighbours of that point, those outside the image count as 0.
    """

    def __init__(self, degrees: float):
        if not 0 <= degrees < np.inf:
            raise ValueError(f"[RandomRotation] degrees: expected degrees >= 0, got {degrees}")
        self.degrees = degrees

    def __call__(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        N, H, W, _ = _image_shape("RandomRotation", batch)
        angle = np.deg2rad(rng.uniform(-self.degrees, self.degrees, N))[:, None, None]
        i = (np.arange(H) - (H - 1) / 2)[:, None]
        j = (np.arange(W) - (W - 1) / 2)[None, :]
        y = np.cos(angle) * i + np.sin(angle) * j + (H - 1) / 2  # (N, H, W) source row
        x = np.cos(angle) * j - np.sin(angle) * i + (W - 1) / 2  # (N, H, W) source column
        return _bilinear(batch, y, x)


def _bilinear(batch, y, x):
    """Read batch (N, H, W, C) at rows y and columns x, (N, H, W) each, in float64 inside."""
    N, H, W, C = batch.shape
    pixels = batch.reshape(-1, C)
    image = np.arange(N)[:, None, None] * (H * W)
    top, left = np.floor(y), np.floor(x)
    out = np.zeros(batch.shape)
    for row, row_weight in ((top, top + 1 - y), (top + 1, y - top)):
        for col, col_weight in ((left, left + 1 - x), (left + 1, x - left)):
            inside = (row >= 0) & (row < H) & (col >= 0) & (col < W)
            place = np.where(inside, row * W + col, 0).astype(np.intp) + image
            weight = np.where(inside, row_weight * col_weight, 0)
            out += weight[..., None] * pixels.take(place, 0)
    return out.astype(batch.dtype)


class Cutout:
    """Set a random square of each image to zero.

    size  int >= 1, pixels; draws rng.integers(0, H, N) and rng.integers(0, W, N), the centre; the
          square covers [centre - size // 2, centre - size // 2 + size), cut off at the edges
    DeVries, Taylor 2017, arXiv:1708.04552.
    """

    def __init__(self, size: int):
        self.size = _count("Cutout", "size", size, 1)

    def __call__(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        N, H, W, _ = _image_shape("Cutout", batch)
        top = (rng.integers(0, H, N) - self.size // 2)[:, None]
        left = (rng.integers(0, W, N) - self.size // 2)[:, None]
        rows = (np.arange(H) >= top) & (np.arange(H) < top + self.size)  # (N, H)
        cols = (np.arange(W) >= left) & (np.arange(W) < left + self.size)  # (N, W)
        out = batch.copy()
        out[rows[:, :, None] & cols[:, None, :]] = 0
        return out


def _image_shape(op, batch):
    if batch.ndim != 4 or 0 in batch.shape[1:]:
        raise ValueError(f"[{op}] batch: expected images (N, H, W, C), got shape {batch.shape}")
    if not np.issubdtype(batch.dtype, np.floating):
        raise TypeError(f"[{op}] batch: expected float images, got {batch.dtype}")
    return batch.shape


def _count(op, name, value, least):
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"[{op}] {name}: expected an int, got {value!r}")
    if value < least:
        raise ValueError(f"[{op}] {name}: expected at least {least}, got {value}")
    return int(value)
