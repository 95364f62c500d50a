"""Datasets and splits: indexing against NumPy, parts that partition, exact stratification."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pynn.data import ArrayDataset, Dataset, Stacked, Subset, random_split, train_test_split


def rows(dataset):
    return dataset[:][0].tolist()


def numbered(n):
    return ArrayDataset(np.arange(n))


INDICES = [0, -1, 4, slice(1, 4), slice(None, None, -1), [3, 0, 3], np.array([-1, 2]), []]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_indexing_is_numpys(index):
    a, b = np.arange(10.0).reshape(5, 2), np.arange(5)
    where = np.asarray(index, int) if isinstance(index, list) else index
    got = ArrayDataset(a, b)[index]
    np.testing.assert_array_equal(got[0], a[where])
    np.testing.assert_array_equal(got[1], b[where])


@pytest.mark.parametrize("index", [i for i in INDICES if not isinstance(i, list) or i], ids=str)
def test_stacked_equals_array_dataset(index):
    whole = ArrayDataset(np.arange(10.0).reshape(5, 2), np.arange(5))
    samples = [whole[i] for i in range(5)]
    got, expected = Stacked(samples)[index], whole[index]
    np.testing.assert_array_equal(got[0], expected[0])
    np.testing.assert_array_equal(got[1], expected[1])


def test_stacked_names_the_sample_that_differs():
    samples = Stacked([np.zeros(3), np.zeros(3), np.zeros(4)])
    with pytest.raises(ValueError, match=r"\[Stacked\] sample 2: .*\(3,\).*sample 0.*\(4,\)"):
        samples[:]


def test_bool_mask_selects():
    mask = np.array([True, False, True, False])
    assert ArrayDataset(np.arange(4))[mask][0].tolist() == [0, 2]
    with pytest.raises(IndexError, match=r"mask: expected shape \(4,\), got \(3,\)"):
        numbered(4)[mask[:3]]


def test_index_array_copies():
    data = np.zeros(3)
    ArrayDataset(data)[[0, 1, 2]][0][:] = 7
    assert data.tolist() == [0, 0, 0]


def test_iterates_by_the_sequence_protocol():
    assert [int(x) for (x,) in numbered(4)] == [0, 1, 2, 3]
    assert all(isinstance(d, Dataset) for d in (numbered(2), Subset(numbered(2), [0]), Stacked([])))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ArrayDataset(), ValueError, "at least one array"),
        (lambda: ArrayDataset(np.zeros(3), np.zeros(2)), ValueError, "array 1: expected 3 rows"),
        (lambda: ArrayDataset(np.float32(1)), ValueError, "got a scalar"),
        (lambda: ArrayDataset(np.array([{}])), TypeError, "Python objects"),
        (lambda: numbered(3)[3], IndexError, "expected -3 <= i < 3, got 3"),
        (lambda: numbered(3)[[0, -4]], IndexError, "got -4 at position 1"),
        (lambda: numbered(3)[[0.5]], TypeError, "expected integers, got float64"),
        (lambda: numbered(3)["a"], TypeError, "got 'a'"),
        (lambda: numbered(3)[[[0]]], ValueError, r"expected shape \(m,\), got \(1, 1\)"),
        (lambda: Subset(numbered(3), [5]), IndexError, "got 5 at position 0"),
        (lambda: random_split(numbered(3), [2, 2]), ValueError, "sum of 3.* got 4"),
        (lambda: random_split(numbered(3), [0.5, 0.4]), ValueError, "add up to 1, got 0.9"),
        (lambda: random_split(numbered(3), [0.99, 0.01, 0.0]), ValueError, r"parts of \[3, 0, 0\]"),
        (lambda: random_split(numbered(3), [4, -1]), ValueError, r"parts of \[4, -1\]"),
        (lambda: random_split(numbered(3), []), ValueError, "at least one, got none"),
        (lambda: random_split(numbered(3), 0.5), TypeError, "a list, one per part, got 0.5"),
        (lambda: random_split(numbered(3), [3], seed=-1), ValueError, "integer >= 0, got -1"),
        (lambda: train_test_split(numbered(3), 1.0), ValueError, "0 < fraction < 1, got 1.0"),
        (lambda: train_test_split(numbered(1)), ValueError, "two samples, got 1"),
        (
            lambda: train_test_split(numbered(3), stratify=[0]),
            ValueError,
            r"\(3,\), got \(1,\)",
        ),
    ],
)
def test_errors_say_what_was_expected_and_got(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_subset_of_subset_composes():
    outer = Subset(numbered(10), [9, 7, 5, 3, 1])
    assert rows(Subset(outer, [-1, 0])) == [1, 9]
    assert [int(outer[i][0]) for i in range(5)] == [9, 7, 5, 3, 1]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=5), st.integers(0, 2**40))
def test_random_split_partitions(lengths, seed):
    dataset = numbered(sum(lengths))
    parts = random_split(dataset, lengths, seed)
    assert [len(part) for part in parts] == lengths
    assert sorted(sum(map(rows, parts), [])) == list(range(len(dataset)))
    assert [rows(p) for p in random_split(dataset, lengths, seed)] == [rows(p) for p in parts]


def test_fractions_floor_and_hand_out_the_rest_from_the_front():
    assert [len(p) for p in random_split(numbered(10), [1 / 3, 1 / 3, 1 / 3])] == [4, 3, 3]
    assert [len(p) for p in random_split(numbered(100), [0.7, 0.2, 0.1])] == [70, 20, 10]
    # 100 * 0.29 is 28.999999999999996 in float64
    assert [len(p) for p in random_split(numbered(100), [0.71, 0.29])] == [71, 29]


def test_other_seed_other_split():
    splits = {tuple(rows(random_split(numbered(50), [25, 25], seed)[0])) for seed in range(20)}
    assert len(splits) == 20


@given(
    st.lists(st.integers(0, 4), min_size=2, max_size=120),
    st.floats(0.05, 0.95),
    st.integers(0, 1000),
)
def test_stratified_split_is_exact(labels, fraction, seed):
    n = len(labels)
    train, test = train_test_split(numbered(n), fraction, seed, stratify=labels)
    assert sorted(rows(train) + rows(test)) == list(range(n))
    total = min(max(round(n * fraction), 1), n - 1)
    assert len(test) == total
    in_test = Counter(labels[i] for i in rows(test))
    for label, size in Counter(labels).items():
        assert size * total // n <= in_test[label] <= -(-size * total // n)


def test_stratified_split_depends_on_seed_only():
    labels = np.arange(40) % 4
    first, again, other = (
        rows(train_test_split(numbered(40), 0.25, seed, stratify=labels)[1]) for seed in (3, 3, 4)
    )
    assert first == again != other


def test_plain_split_is_uniform():
    # each of 10 samples is in the test part of 3 with probability 0.3: 2000 draws, six sigma
    hits = Counter(
        i for seed in range(2000) for i in rows(train_test_split(numbered(10), 0.3, seed)[1])
    )
    assert all(abs(hits[i] - 600) < 6 * np.sqrt(2000 * 0.3 * 0.7) for i in range(10))
