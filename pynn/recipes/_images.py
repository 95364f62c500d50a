"""Image files as arrays: PNG and whatever else Pillow reads, and NPY; shrinking and greying."""

import os
from pathlib import Path

import numpy as np


def read(path: str | os.PathLike) -> np.ndarray:
    """The image in a file, (H, W, C) float32 in 0..1, C 1 or 3; a transparent ground is white.

    An .npy file holds (H, W) or (H, W, C), uint8 or floats in 0..1; nothing in it is executed.

    Raises FileNotFoundError, ValueError for what is no image, ImportError where Pillow is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"[predict] expected an image, got no file {str(path)!r}")
    pixels = _read_npy(path) if path.suffix == ".npy" else _read_picture(path)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[-1] not in (1, 2, 3, 4) or 0 in pixels.shape:
        raise ValueError(
            f"[predict] {path}: expected an image (H, W) or (H, W, C), got shape {pixels.shape}"
        )
    if pixels.shape[-1] in (2, 4):
        alpha = pixels[..., -1:]
        pixels = pixels[..., :-1] * alpha + (1 - alpha)
    return pixels


def _read_npy(path):
    try:
        pixels = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"[predict] {path}: expected an array, got {error}") from None
    if pixels.dtype == np.uint8:
        return pixels.astype(np.float32) / 255
    if pixels.dtype.kind != "f":
        raise TypeError(f"[predict] {path}: expected uint8 or floats, got {pixels.dtype}")
    if pixels.size and not (pixels.min() >= 0 and pixels.max() <= 1):
        raise ValueError(
            f"[predict] {path}: expected floats in 0..1, got {pixels.min():g}..{pixels.max():g}"
        )
    return pixels.astype(np.float32)


def _read_picture(path):
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ImportError(
            "[predict] expected Pillow to read images, got no such module: "
            'pip install "pynn-cuda[examples]"'
        ) from error
    try:
        with Image.open(path) as image:
            if image.mode.startswith("I"):  # 16 bits of grey
                return np.asarray(image, np.float32) / 65535
            alpha = "A" in image.getbands() or "transparency" in image.info
            grey = image.mode in ("1", "L", "LA")
            image = image.convert(
                "LA" if grey and alpha else "L" if grey else "RGBA" if alpha else "RGB"
            )
            return np.asarray(image, np.float32) / 255
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"[predict] {path}: expected an image, got {error}") from None


def to_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """The image with 1 channel, by the weights of ITU-R BT.601, or with 3 equal ones."""
    if image.shape[-1] == channels:
        return image
    if channels == 1:
        return image @ np.array([[0.299], [0.587], [0.114]], np.float32)
    return np.repeat(image, channels, axis=-1)


def resize(image: np.ndarray, H: int, W: int) -> np.ndarray:
    """The image (h, w, C) as (H, W, C): each new pixel is the mean of the area that it covers."""
    return np.einsum("Hh,hwc,Ww->HWc", _cover(image.shape[0], H), image, _cover(image.shape[1], W))


def _cover(n, N):
    """(N, n) float32: which share of new pixel I lies over old pixel i; rows add up to 1."""
    edges = np.arange(N + 1) * (n / N)
    low, high = (
        np.maximum(edges[:-1, None], np.arange(n)),
        np.minimum(edges[1:, None], np.arange(n) + 1),
    )
    return (np.maximum(high - low, 0) * (N / n)).astype(np.float32)


def fit_ink(image: np.ndarray, threshold: float = 0.2) -> np.ndarray:
    """What is drawn, bright on dark, cut out and put into the middle of a square.

    image  (H, W, 1); pixels above `threshold` of the brightest are drawn
    """
    ink = image[..., 0] > threshold * image.max()
    if image.max() <= 0:
        return image
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    image = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    h, w, _ = image.shape
    side = max(h, w)
    square = np.zeros((side, side, 1), np.float32)
    square[(side - h) // 2 : (side - h) // 2 + h, (side - w) // 2 : (side - w) // 2 + w] = image
    return square
