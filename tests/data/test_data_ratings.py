"""The table of ratings: its stated generator, the noise that is left, what is refused."""

import numpy as np
import pytest

from pynn.data import ratings
from pynn.data.ratings import NOISE


def test_pairs_are_distinct_and_of_the_stated_number():
    train, test = ratings()
    assert (len(train), len(test)) == (96000, 24000)
    users, items, stars = (np.concatenate(p) for p in zip(train[:], test[:], strict=True))
    assert stars.shape == (120000, 1) and stars.dtype == np.float32
    assert len(np.unique(users * 400 + items)) == 120000
    assert users.min() == items.min() == 0 and users.max() == items.max() == 399
    assert 2.9 < stars.mean() < 3.1


def test_noise_is_what_the_generator_adds():
    whole, _ = ratings(users=60, items=50, share=1.0, test_fraction=0.01)
    rng = np.random.default_rng(0)
    a, b = 0.4 * rng.standard_normal(60), 0.4 * rng.standard_normal(50)
    p, q = rng.standard_normal((60, 3)) / 3**0.25, rng.standard_normal((50, 3)) / 3**0.25
    users, items, stars = whole[:]
    mean = 3 + a[users] + b[items] + 0.8 * np.tanh((p[users] * q[items]).sum(1))
    assert np.std(stars[:, 0] - mean) == pytest.approx(NOISE, rel=0.05)


def test_the_seed_draws_the_table():
    same, again, other = (ratings(20, 20, seed=s)[0][:][2].tobytes() for s in (0, 0, 1))
    assert same == again != other


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"users": 0}, "expected at least 1 user and item, got 0 and 400"),
        ({"share": 0.0}, r"share: expected 0 < share <= 1, got 0\.0"),
        ({"share": 1.5}, r"share: expected 0 < share <= 1, got 1\.5"),
    ],
)
def test_ratings_out_of_range(given, words):
    with pytest.raises(ValueError, match=rf"\[ratings\] {words}"):
        ratings(**given)
