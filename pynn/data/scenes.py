"""The photographs inside scikit-image, and scenes made of them whose true masks are known."""

import numpy as np

from pynn.data._draw import generator
from pynn.data._package import folder_of
from pynn.data.dataset import ArrayDataset

COLOURED = ("astronaut.png", "chelsea.png", "coffee.png", "ihc.png", "motorcycle_left.png")
PHOTOS = (*COLOURED, "rocket.jpg", "hubble_deep_field.jpg", "brick.png", "grass.png", "gravel.png")
SHAPES = ("ground", "disc", "square", "triangle", "horse")  # classes of the masks


def photo(name: str) -> np.ndarray:
    """One of PHOTOS, or another image in the same folder, (H, W, 3) float32 in 0..1.

    Those of bricks, grass and gravel are grey.

    Raises ImportError if scikit-image is not installed.
    """
    folder = folder_of("photo", "skimage", "scikit-image") / "data"
    from skimage.io import imread

    pixels = imread(folder / name).astype(np.float32) / 255
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
    will, or scikit-image's horse, 1.4 times as wide, tilted a little. It is of one colour with a
    gradient, stripes and noise; its edge is blended over a pixel. Later shapes hide earlier ones.
    `recolour` exchanges the colours of the grounds and moves them.

    returns  images (count, size, size, 3) float32 in 0..1; masks (count, size, size) int64, places
             in SHAPES
    """
    rng = generator(seed)
    photos = [photo(name) for name in grounds]
    horse = photo("horse.png")[..., 0] < 0.5
    rows, columns = np.flatnonzero(horse.any(1)), np.flatnonzero(horse.any(0))
    horse = horse[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    images = np.empty((count, size, size, 3), np.float32)
    masks = np.zeros((count, size, size), np.int64)
    for image, mask in zip(images, masks, strict=True):
        image[:] = _piece(photos[int(rng.integers(len(photos)))], size, rng)
        if recolour:
            image[:] = np.clip(image[..., rng.permutation(3)] + rng.uniform(-0.3, 0.3, 3), 0, 1)
        for _ in range(int(rng.integers(1, most + 1))):
            _put_shape(image, mask, horse, rng)
    return ArrayDataset(images, masks)


def _piece(pixels, size, rng):
    """A square of the photo at half or full resolution, mirrored at will."""
    step = int(rng.integers(1, 3))
    y, x = (int(rng.integers(length - step * size + 1)) for length in pixels.shape[:2])
    piece = pixels[y : y + step * size, x : x + step * size]
    piece = piece.reshape(size, step, size, step, 3).mean(axis=(1, 3))
    return piece[:, ::-1] if rng.integers(2) else piece


def _put_shape(image, mask, horse, rng):
    size = len(mask)
    kind = int(rng.integers(1, len(SHAPES)))
    radius = rng.uniform(1 / 6, 0.3) * size
    centre = rng.uniform(0.2, 0.8, 2) * size
    y, x = np.mgrid[:size, :size] + 0.5 - centre[:, None, None]
    turn = rng.uniform(0, 2 * np.pi)
    sides = {"square": 4, "triangle": 3}.get(SHAPES[kind])
    if SHAPES[kind] == "horse":
        inside = _of_silhouette(horse, x, y, 1.4 * radius, turn)
    elif sides is None:
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


def _of_silhouette(shown, x, y, reach, turn):
    """How much of each pixel a silhouette covers, less a half: of half the width `reach`, tilted by
    up to 20 degrees, mirrored for half the turns.
    """
    H, W = shown.shape
    tilt = np.pi / 9 * np.sin(turn)
    part = (np.arange(4) + 0.5) / 4 - 0.5  # 4 x 4 places in each pixel
    x, y = x[..., None, None] + part, y[..., None, None] + part[:, None]
    along, down = x * np.cos(tilt) + y * np.sin(tilt), y * np.cos(tilt) - x * np.sin(tilt)
    if turn < np.pi:
        along = -along
    column, row = (np.floor(n * W / 2 / reach) for n in (along, down))
    column, row = (column + W // 2).astype(int), (row + H // 2).astype(int)
    there = (row >= 0) & (row < H) & (column >= 0) & (column < W)
    covered = shown[np.clip(row, 0, H - 1), np.clip(column, 0, W - 1)] & there
    return covered.mean((-2, -1)) - 0.5
