"""The stream of random numbers: Philox against its authors' known answers, state, statistics."""

import numpy as np
import pytest

import pynn
from pynn import random

WORD = 0xFFFFFFFF

# Random123's known-answer test for philox4x32-10: counter, key, result
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((WORD,) * 4, (WORD,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def philox_block(counter, key):
    """One block of Philox 4x32-10 by the paper's definition, in Python integers."""
    a, b, c, d = counter
    k0, k1 = key
    for _ in range(10):
        p, q = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (q >> 32) ^ b ^ k0, q & WORD, (p >> 32) ^ d ^ k1, p & WORD
        k0, k1 = (k0 + 0x9E3779B9) & WORD, (k1 + 0xBB67AE85) & WORD
    return a, b, c, d


@pytest.mark.parametrize("counter, key, answer", KNOWN)
def test_definition_gives_the_known_answers(counter, key, answer):
    assert philox_block(counter, key) == answer


def test_philox_gives_the_known_answer():
    assert tuple(random.philox(0, 0, 4)) == KNOWN[0][2]


@pytest.mark.parametrize("seed", [0, 1, 0x299F31D0A4093822, 2**64 - 1])
@pytest.mark.parametrize("offset", [0, 5, 2**32 - 2, 2**63])
def test_philox_is_the_definition_block_by_block(seed, offset):
    words = random.philox(seed, offset, 15)
    assert words.dtype == np.uint32 and words.shape == (15,)
    key = seed & WORD, seed >> 32
    wanted = [
        word
        for block in range(offset, offset + 4)
        for word in philox_block((block & WORD, block >> 32, 0, 0), key)
    ]
    assert words.tolist() == wanted[:15]


@pytest.mark.parametrize("count", [0, 1, 4, 4 * random._CHUNK - 1, 4 * random._CHUNK + 1, 400_003])
def test_a_long_draw_is_its_parts(count):
    whole = random.philox(7, 3, count)
    cut = count // 8 * 4
    parts = [random.philox(7, 3, cut), random.philox(7, 3 + cut // 4, count - cut)]
    assert np.array_equal(whole, np.concatenate(parts))


def test_uniform_is_in_0_1_and_level():
    numbers = random.uniform(11, 0, 1 << 18)
    assert numbers.dtype == np.float32 and numbers.min() >= 0 and numbers.max() < 1
    # 64 cells: chi squared has mean 63 and deviation 11
    counts = np.histogram(numbers, 64, (0, 1))[0]
    expected = numbers.size / 64
    assert abs(((counts - expected) ** 2 / expected).sum() - 63) < 5 * np.sqrt(2 * 63)
    # neighbours do not know of each other
    correlation = np.corrcoef(numbers[:-1], numbers[1:])[0, 1]
    assert abs(correlation) < 5 / np.sqrt(numbers.size)


def test_greatest_word_stays_below_one(monkeypatch):
    monkeypatch.setattr(random, "philox", lambda *_: np.array([WORD], np.uint32))
    assert random.uniform(0, 0, 1)[0] == np.float32(1 - 2**-24)


def test_reserved_numbers_are_nobody_elses():
    pynn.manual_seed(5)
    first, second = random.reserve(10), random.reserve(1)
    assert first == (5, 0) and second == (5, 3)  # ten numbers are three blocks
    assert random.get_state() == (5, 4)


def test_state_goes_back_and_on():
    pynn.manual_seed(9)
    pynn.rand(3)
    state = random.get_state()
    first, second = pynn.randn(4, 5), pynn.rand(6)
    random.set_state(state)
    assert np.array_equal(first.numpy(), pynn.randn(4, 5).numpy())
    assert np.array_equal(second.numpy(), pynn.rand(6).numpy())


def test_generators_differ_and_seeds_differ():
    pynn.manual_seed(1)
    a, b = random.generator().random(8), random.generator().random(8)
    pynn.manual_seed(2)
    c = random.generator().random(8)
    assert not np.intersect1d(a, b).size and not np.intersect1d(a, c).size


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_manual_seed_wants_64_bits(seed):
    with pytest.raises(ValueError, match=r"\[manual_seed\] expected 0 <= seed < 2\^64, got"):
        pynn.manual_seed(seed)
