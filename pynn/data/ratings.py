"""A table of ratings from a stated generator, so that the best possible error is known."""

import numpy as np

from pynn.data.dataset import ArrayDataset, train_test_split

NOISE = 0.5  # standard deviation


def ratings(
    users: int = 400,
    items: int = 400,
    share: float = 0.75,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> tuple[ArrayDataset, ArrayDataset]:
    """Which user gave which item how many stars, about 1 to 5: tastes, qualities, and noise.

        rating = 3 + a_u + b_i + 0.8 tanh(p_u . q_i) + noise
        a, b ~ N(0, 0.4^2),  p, q ~ N(0, 1)^3 / 3^(1/4),  noise ~ N(0, 0.5^2)

    share    of the pairs (user, item) that have a rating, drawn at random
    test_fraction, seed  as in train_test_split; the seed draws the table, too
    returns  (train, test), each of users (N,) int64, items (N,) int64, ratings (N, 1) float32;
             96000 and 24000 at the default sizes

    No prediction has a root mean squared error below 0.5, the noise, but by luck.
    Raises ValueError for a share outside (0, 1], or sizes below 1.
    """
    if users < 1 or items < 1:
        raise ValueError(f"[ratings] expected at least 1 user and item, got {users} and {items}")
    if not 0 < share <= 1:
        raise ValueError(f"[ratings] share: expected 0 < share <= 1, got {share}")
    rng = np.random.default_rng(seed)
    friendliness, quality = 0.4 * rng.standard_normal(users), 0.4 * rng.standard_normal(items)
    tastes, kinds = (rng.standard_normal((n, 3)) / 3**0.25 for n in (users, items))
    mean = 3 + friendliness[:, None] + quality + 0.8 * np.tanh(tastes @ kinds.T)
    stars = mean + NOISE * rng.standard_normal(mean.shape)
    pairs = rng.choice(users * items, max(2, round(share * users * items)), replace=False)
    user, item = np.divmod(pairs, items)
    table = ArrayDataset(user, item, stars[user, item].astype(np.float32)[:, None])
    return tuple(ArrayDataset(*part[:]) for part in train_test_split(table, test_fraction, seed))
