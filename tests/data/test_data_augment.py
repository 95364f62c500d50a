"""Augmentation: each transform against a loop over samples and pixels, and its invariants."""

import numpy as np
import pytest

from pynn.data import (
    Compose,
    Cutout,
    RandomCrop,
    RandomHorizontalFlip,
    RandomRotation,
    RandomShift,
)

SHAPES = [(0, 4, 5, 1), (1, 1, 1, 1), (7, 6, 9, 3), (5, 8, 8, 1)]


def images(shape, dtype=np.float32):
    return np.random.default_rng(1).uniform(0.5, 1, shape).astype(dtype)


def generator(seed=3):
    return np.random.Generator(np.random.Philox(seed))


def read(image, i, j):
    """A pixel, or zeros outside the image."""
    H, W, C = image.shape
    return image[i, j] if 0 <= i < H and 0 <= j < W else np.zeros(C, image.dtype)


def slow_crop(batch, rng, padding):
    top, left = rng.integers(0, 2 * padding + 1, (2, len(batch)))
    out = np.empty_like(batch)
    for n, i, j in np.ndindex(batch.shape[:3]):
        out[n, i, j] = read(batch[n], i + top[n] - padding, j + left[n] - padding)
    return out


def slow_shift(batch, rng, max):
    _, H, W, _ = batch.shape
    down, right = rng.integers(-max, max + 1, (2, len(batch)))
    out = np.empty_like(batch)
    for n, i, j in np.ndindex(batch.shape[:3]):
        row, col = int(i - down[n]), int(j - right[n])
        row = 0 if row < 0 else H - 1 if row > H - 1 else row
        col = 0 if col < 0 else W - 1 if col > W - 1 else col
        out[n, i, j] = batch[n, row, col]
    return out


def slow_flip(batch, rng, p):
    flip = rng.random(len(batch)) < p
    out = np.empty_like(batch)
    for n in range(len(batch)):
        out[n] = batch[n][:, ::-1] if flip[n] else batch[n]
    return out


def slow_rotation(batch, rng, degrees):
    _, H, W, C = batch.shape
    angles = np.deg2rad(rng.uniform(-degrees, degrees, len(batch)))
    out = np.empty(batch.shape)
    for n, i, j in np.ndindex(batch.shape[:3]):
        cos, sin = np.cos(angles[n]), np.sin(angles[n])
        di, dj = i - (H - 1) / 2, j - (W - 1) / 2
        y = cos * di + sin * dj + (H - 1) / 2
        x = cos * dj - sin * di + (W - 1) / 2
        top, left = int(np.floor(y)), int(np.floor(x))
        value = np.zeros(C)
        for row in (top, top + 1):
            for col in (left, left + 1):
                weight = (1 - abs(y - row)) * (1 - abs(x - col))
                value += weight * read(batch[n], row, col)
        out[n, i, j] = value
    return out


def slow_cutout(batch, rng, size):
    N, H, W, _ = batch.shape
    top = rng.integers(0, H, N) - size // 2
    left = rng.integers(0, W, N) - size // 2
    out = batch.copy()
    for n, i, j in np.ndindex(batch.shape[:3]):
        if top[n] <= i < top[n] + size and left[n] <= j < left[n] + size:
            out[n, i, j] = 0
    return out


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("transform", "slow"),
    [
        (RandomCrop(0), lambda x, rng: slow_crop(x, rng, 0)),
        (RandomCrop(3), lambda x, rng: slow_crop(x, rng, 3)),
        (RandomShift(2), lambda x, rng: slow_shift(x, rng, 2)),
        (RandomShift(12), lambda x, rng: slow_shift(x, rng, 12)),
        (RandomHorizontalFlip(), lambda x, rng: slow_flip(x, rng, 0.5)),
        (RandomHorizontalFlip(1), lambda x, rng: slow_flip(x, rng, 1)),
        (Cutout(1), lambda x, rng: slow_cutout(x, rng, 1)),
        (Cutout(4), lambda x, rng: slow_cutout(x, rng, 4)),
        (Cutout(50), lambda x, rng: slow_cutout(x, rng, 50)),
    ],
)
def test_moves_pixels_as_the_loop_does(transform, slow, shape, dtype):
    batch = images(shape, dtype)
    before = batch.copy()
    got = transform(batch, generator())
    np.testing.assert_array_equal(got, slow(batch, generator()))
    assert got.dtype == dtype
    np.testing.assert_array_equal(batch, before)
    assert not np.shares_memory(got, batch)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("degrees", [0, 15, 180])
def test_rotation_equals_the_loop(shape, degrees):
    batch = images(shape, np.float64)
    got = RandomRotation(degrees)(batch, generator())
    expected = slow_rotation(batch, generator(), degrees)
    # four products and three sums of values below 1, coordinates below 16: a few ulp of 16
    np.testing.assert_allclose(got, expected, rtol=0, atol=64 * np.finfo(np.float64).eps)
    single = RandomRotation(degrees)(batch.astype(np.float32), generator())
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, rtol=0, atol=np.finfo(np.float32).eps)


class Fixed:
    """An rng whose uniform draw is known."""

    def __init__(self, value):
        self.value = value

    def uniform(self, low, high, n):
        return np.full(n, self.value)


@pytest.mark.parametrize("quarter", [0, 1, 2, 3])
def test_rotation_by_right_angles_is_rot90(quarter):
    batch = images((3, 6, 6, 2), np.float64)
    got = RandomRotation(360)(batch, Fixed(90.0 * quarter))
    # cos 90 deg is 6e-17, so a coordinate may miss its pixel by an ulp and reach past the edge
    np.testing.assert_allclose(got, np.rot90(batch, quarter, (1, 2)), rtol=0, atol=1e-14)


def test_rotation_keeps_a_disc():
    i = np.arange(21) - 10
    disc = np.exp(-(i[:, None] ** 2 + i**2) / 18)[None, :, :, None]
    got = RandomRotation(180)(np.repeat(disc, 8, 0), generator())
    # bilinear error of a function with second derivatives below 1/9: h^2 / 8 per axis, doubled
    assert np.abs(got - disc).max() < 2 * 2 * (1 / 9) / 8


def test_crop_and_shift_reach_every_offset_and_no_other():
    spike = np.zeros((4000, 9, 9, 1))
    spike[:, 4, 4] = 1
    for transform in (RandomCrop(2), RandomShift(2)):
        _, i, j, _ = np.nonzero(transform(spike, generator()))
        places = {(int(a) - 4, int(b) - 4) for a, b in zip(i, j, strict=True)}
        assert places == {(a, b) for a in range(-2, 3) for b in range(-2, 3)}


def test_shift_of_a_constant_image_is_the_identity():
    batch = np.full((5, 4, 4, 2), 0.25)
    np.testing.assert_array_equal(RandomShift(3)(batch, generator()), batch)


def test_flip_probability():
    batch = np.tile(np.array([0.0, 1.0]).reshape(1, 1, 2, 1), (4000, 1, 1, 1))
    flipped = RandomHorizontalFlip(0.25)(batch, generator())[:, 0, 0, 0].sum()
    assert abs(flipped - 1000) < 6 * np.sqrt(4000 * 0.25 * 0.75)
    np.testing.assert_array_equal(RandomHorizontalFlip(0)(batch, generator()), batch)


def test_compose_draws_from_one_rng_in_order():
    batch = images((4, 8, 8, 3))
    rng = generator()
    expected = Cutout(3)(RandomCrop(2)(batch, rng), rng)
    got = Compose([RandomCrop(2), Cutout(3)])(batch, generator())
    np.testing.assert_array_equal(got, expected)


def test_same_rng_same_bits_other_rng_other_bits():
    batch = images((16, 8, 8, 1))
    both = Compose([RandomShift(2), RandomHorizontalFlip(), RandomRotation(10), Cutout(3)])
    assert both(batch, generator(1)).tobytes() == both(batch, generator(1)).tobytes()
    assert both(batch, generator(1)).tobytes() != both(batch, generator(2)).tobytes()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: RandomCrop(-1), ValueError, r"\[RandomCrop\] padding: .* 0, got -1"),
        (lambda: RandomCrop(1.5), TypeError, "padding: expected an int, got 1.5"),
        (lambda: RandomShift(-2), ValueError, r"\[RandomShift\] max: .* 0, got -2"),
        (lambda: RandomHorizontalFlip(1.5), ValueError, "expected 0 <= p <= 1, got 1.5"),
        (lambda: RandomRotation(-5), ValueError, "expected degrees >= 0, got -5"),
        (lambda: RandomRotation(float("nan")), ValueError, "got nan"),
        (lambda: Cutout(0), ValueError, r"\[Cutout\] size: .* 1, got 0"),
        (lambda: Compose([Cutout(1), 3]), TypeError, "transform 1: expected a callable, got 3"),
    ],
)
def test_bad_options(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    "transform",
    [RandomCrop(1), RandomShift(1), RandomHorizontalFlip(), RandomRotation(5), Cutout(2)],
    ids=lambda t: type(t).__name__,
)
def test_bad_batches(transform):
    name = type(transform).__name__
    with pytest.raises(ValueError, match=rf"\[{name}\] .*\(N, H, W, C\), got shape \(8, 8, 1\)"):
        transform(np.zeros((8, 8, 1)), generator())
    with pytest.raises(TypeError, match=rf"\[{name}\] .*float images, got uint8"):
        transform(np.zeros((2, 8, 8, 1), np.uint8), generator())
