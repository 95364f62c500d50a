"""The photographs inside scikit-image, and scenes made of them whose true masks are known."""

from pathlib import Path

import numpy as np

from pynn.data._draw import generator
from pynn.data.dataset import ArrayDataset

COLOURED = ("astronaut.png", "chelsea.png", "coffee.png", "ihc.png", "motorcycle_left.png")
PHOTOS = (*COLOURED, "rocket.jpg", "hubble_deep_field.jpg", "brick.png", "grass.png", "gravel.png")
SHAPES = ("ground", "disc", "square", "triangle")  # classes of the masks


def photo(name: str) -> np.ndarray:
    """One of PHOTOS, (H, W, 3) float32 in 0..1; those of bricks, grass and gravel are grey.

    Raises ImportError if scikit-image is not installed.
    """
    try:
        import skimage.data
        from skimage.io import imread
    except ImportError as error:
        raise ImportError(
            "[photo] expected scikit-image, which holds the photographs, got no such module: "
            'pip install "pynn-cuda[examples]"'
        ) from error
    pixels = imread(Path(skimage.data.__file__).parent / name).astype(np.float32) / 255
    return np.repeat(pixels[..., None], 3, -1) if pixels.ndim == 2 else pixels[..., :3]


def patches(count: int, size: int, rows: tuple[float, float], seed: int = 0) -> ArrayDataset:
    """Squares cut at random out of all PHOTOS at half resolution, with the photo each is from.

    rows     which part of each photo's height, such as (0, 0.7): pieces of unlike parts share
             nothing
    returns  images (count, size, size, 3) float32 in 0..1; labels (count,) int64, places in PHOTOS
    """
    rng = generator(seed)
    labels = np.arange(count) % len(PHOTOS)
    images = np.empty((count, size, size, 3), np.float32)
    photos = [halved(photo(name)) for name in PHOTOS]
    photos = [pixels[slice(*(round(part * len(pixels)) for part in rows))] for pixels in photos]
    for image, label in zip(images, labels, strict=True):
        H, W, _ = photos[label].shape
        y, x = int(rng.integers(H - size + 1)), int(rng.integers(W - size + 1))
        image[:] = photos[label][y : y + size, x : x + size]
    return ArrayDataset(images, labels)


def halved(pixels: np.ndarray) -> np.ndarray:
    """An image of half the height and width, each pixel the mean of four."""
    H, W = (length // 2 for length in pixels.shape[:2])
    return pixels[: 2 * H, : 2 * W].reshape(H, 2, W, 2, 3).mean(axis=(1, 3))


def scenes(
    count: int,
    grounds: tuple[str, ...],
    size: int = 32,
    most: int = 2,
    *,
    recolour: bool = False,
    seed: int = 0,
) -> ArrayDataset:
    """Pieces of photographs with one to `most` shapes on them, and which pixel shows which.

    A shape is a disc, a square or a triangle of 1/3 to 3/5 the image's size, the last two turned at
    will, of one colour with a gradient, stripes and noise; its edge is blended over a pixel. Later
    shapes hide earlier ones. `recolour` exchanges the colours of the grounds and moves them.

    returns  images (count, size, size, 3) float32 in 0..1; masks (count, size, size) int64, places
             in SHAPES
    """
    rng = generator(seed)
    photos = [photo(name) for name in grounds]
    images = np.empty((count, size, size, 3), np.float32)
    masks = np.zeros((count, size, size), np.int64)
    for image, mask in zip(images, masks, strict=True):
        image[:] = _piece(photos[int(rng.integers(len(photos)))], size, rng)
        if recolour:
            image[:] = np.clip(image[..., rng.permutation(3)] + rng.uniform(-0.3, 0.3, 3), 0, 1)
        for _ in range(int(rng.integers(1, most + 1))):
            _put_shape(image, mask, rng)
    return ArrayDataset(images, masks)


def _piece(pixels, size, rng):
    """A square of the photo at half or full resolution, mirrored at will."""
    step = int(rng.integers(1, 3))
    y, x = (int(rng.integers(length - step * size + 1)) for length in pixels.shape[:2])
    piece = pixels[y : y + step * size, x : x + step * size]
    piece = piece.reshape(size, step, size, step, 3).mean(axis=(1, 3))
    return piece[:, ::-1] if rng.integers(2) else piece


def _put_shape(image, mask, rng):
    size = len(mask)
    kind = int(rng.integers(1, len(SHAPES)))
    radius = rng.uniform(1 / 6, 0.3) * size
    centre = rng.uniform(0.2, 0.8, 2) * size
    y, x = np.mgrid[:size, :size] + 0.5 - centre[:, None, None]
    turn = rng.uniform(0, 2 * np.pi)
    sides = {"disc": None, "square": 4, "triangle": 3}[SHAPES[kind]]
    if sides is None:
        inside = radius - np.hypot(x, y)  # distance from the edge, positive within
    else:
        angles = turn + 2 * np.pi * np.arange(sides) / sides
        reach = radius * np.sqrt(np.pi / sides / np.tan(np.pi / sides))  # the disc's area
        inside = np.min([reach - x * np.cos(a) - y * np.sin(a) for a in angles], axis=0)
    cover = np.clip(inside + 0.5, 0, 1)[..., None]
    along = (x * np.cos(turn) + y * np.sin(turn)) / size
    stripes = rng.uniform(0, 0.08) * np.sin(2 * np.pi * along * rng.uniform(3, 12))
    shade = along * rng.uniform(-0.3, 0.3) + stripes
    fill = rng.uniform(0, 1, 3) + shade[..., None] + 0.03 * rng.standard_normal(image.shape)
    image[:] = np.clip(image * (1 - cover) + fill * cover, 0, 1)
    mask[inside > 0] = kind
