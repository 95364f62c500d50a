"""Pairs of phrases that mean the same: numbers in words and in digits, dates in two formats."""

from collections.abc import Sequence

import numpy as np

from pynn.data._draw import generator
from pynn.data.dataset import ArrayDataset

PAD, BEGIN, END = 0, 1, 2  # ids before those of the symbols
MONTHS = str.split(
    "january february march april may june july august september october november december"
)
_ONES = str.split(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_TENS = str.split(". . twenty thirty forty fifty sixty seventy eighty ninety")
_WORDS = [*_ONES, *_TENS[2:], "hundred", "thousand", "and", *MONTHS]
SOURCE = ("", "<", ">", *"0123456789", ",", "/", *_WORDS)
TARGET = ("", "<", ">", *"0123456789", "-")


def number_words(n: int) -> list[str]:
    """The number, 0 to 999,999, in words: 2304 is two thousand three hundred and four."""
    if n < 20:
        return [_ONES[n]]
    if n < 100:
        return [_TENS[n // 10], *([_ONES[n % 10]] if n % 10 else [])]
    if n < 1000:
        rest = ["and", *number_words(n % 100)] if n % 100 else []
        return [_ONES[n // 100], "hundred", *rest]
    rest = n % 1000
    tail = ([] if rest >= 100 else ["and"]) + number_words(rest) if rest else []
    return [*number_words(n // 1000), "thousand", *tail]


def date_words(year: int, month: int, day: int, form: int) -> list[str]:
    """A date in one of three forms: march 7 , 1994; 7 march 1994; 3 / 7 / 1994, month first.

    Digits stand apart: 1994 is four symbols.
    """
    year, name, number, day = list(str(year)), MONTHS[month - 1], list(str(month)), list(str(day))
    return (
        [name, *day, ",", *year],
        [*day, name, *year],
        [*number, "/", *day, "/", *year],
    )[form]


def phrases(learn: int, test: int, seed: int = 0) -> tuple[ArrayDataset, ArrayDataset]:
    """Half numbers below a million, half dates from 1900 to 2099; what is asked for is "2304" or
    "1994-03-07". No number and no date of the training is in the test, in whichever form.

    learn, test  how many pairs in each part
    returns      (train, test), each of sources (N, S) int64, places in SOURCE, and targets (N, T)
                 int64, places in TARGET, both closed by END and filled up by PAD

    Raises ValueError for more than 100,000 pairs.
    """
    count = learn + test
    if not (learn >= 1 and test >= 1 and count <= 100_000):
        raise ValueError(f"[phrases] expected 1 pair or more, at most 100000, got {learn} + {test}")
    rng = generator(seed)
    numbers = rng.choice(1_000_000, -(-count // 2), replace=False)
    dates = rng.choice(200 * 12 * 28, count // 2, replace=False)
    pairs = [None] * count
    pairs[::2] = [(number_words(n), str(n)) for n in numbers.tolist()]
    pairs[1::2] = [_date_pair(n, int(rng.integers(3))) for n in dates.tolist()]
    sources = _rows([[*map(SOURCE.index, source)] for source, _ in pairs])
    targets = _rows([[*map(TARGET.index, target)] for _, target in pairs])
    cut = slice(None, learn), slice(learn, None)
    return tuple(ArrayDataset(sources[part], targets[part]) for part in cut)


def _date_pair(n, form):
    year, month, day = 1900 + n // 336, n // 28 % 12 + 1, n % 28 + 1
    return date_words(year, month, day, form), f"{year}-{month:02}-{day:02}"


def _rows(lists: Sequence[list[int]]) -> np.ndarray:
    """(N, longest + 1) ids, each row closed by END and filled up by PAD."""
    found = np.full((len(lists), max(map(len, lists)) + 1), PAD, np.int64)
    for row, ids in zip(found, lists, strict=True):
        row[: len(ids)], row[len(ids)] = ids, END
    return found


def spelt(ids: np.ndarray, symbols: Sequence[str]) -> list[str]:
    """The symbols of a row up to its END."""
    ids = list(ids)
    return [symbols[i] for i in ids[: ids.index(END) if END in ids else None]]
