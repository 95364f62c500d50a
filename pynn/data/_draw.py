"""Random numbers of the data pipeline: NumPy's Philox, keyed by a seed and a path of integers."""

import numpy as np


def generator(seed: int, *path: int) -> np.random.Generator:
    """The generator that belongs to (seed, path); unequal paths give independent streams.

    Raises ValueError if the seed is not an integer >= 0.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"[seed] expected an integer >= 0, got {seed!r}")
    key = np.random.SeedSequence(int(seed), spawn_key=path)
    return np.random.Generator(np.random.Philox(key))


def permutation(rng: np.random.Generator, n: int) -> np.ndarray:
    """A random order of range(n), (n,) int64.

    Sorts 64-bit keys taken straight from the bit generator: NumPy promises that stream to stay
    the same between its versions, which it does not for Generator.permutation (NEP 19).
    """
    return np.argsort(rng.bit_generator.random_raw(n), kind="stable")
