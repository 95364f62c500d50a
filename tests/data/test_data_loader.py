"""DataLoader: every sample once, reproducible, resumable bit for bit, and no thread left behind.

Over 400 lines: orders, resuming, threads and errors are asked of one class.
"""

import gc
import json
import threading
import time
import traceback
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pynn.data import ArrayDataset, Compose, DataLoader, RandomCrop, RandomRotation, Stacked, Subset
from pynn.tensor import Tensor


def numbered(n):
    return ArrayDataset(np.arange(n), np.arange(n) * 10)


def first(batches):
    return [batch[0].numpy().tolist() for batch in batches]


def loader_threads():
    return [t for t in threading.enumerate() if t.name == "pynn-data"]


def wait_for_no_threads():
    deadline = time.monotonic() + 5
    while loader_threads() and time.monotonic() < deadline:
        time.sleep(0.005)
    return not loader_threads()


def add_noise(batch, rng):
    return batch + rng.random(batch.shape)


@pytest.mark.parametrize("prefetch", [0, 1, 3])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("n", "size"), [(1, 1), (10, 3), (9, 3), (5, 8)])
def test_every_sample_once_per_epoch(n, size, shuffle, prefetch):
    loader = DataLoader(numbered(n), size, shuffle, prefetch=prefetch)
    for _ in range(3):
        batches = list(loader)
        assert len(batches) == len(loader) == -(-n // size)
        assert [len(b[0]) for b in batches[:-1]] == [size] * (len(loader) - 1)
        seen = sum(first(batches), [])
        assert sorted(seen) == list(range(n))
        assert shuffle or seen == list(range(n))
        for x, y in batches:
            np.testing.assert_array_equal(y.numpy(), x.numpy() * 10)


def test_drop_last_leaves_out_the_rest():
    loader = DataLoader(numbered(10), 4, drop_last=True)
    assert len(loader) == 2
    assert first(loader) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_yields_tensors_that_do_not_share_the_dataset():
    data = np.zeros((4, 2), np.float32)
    (x,) = next(iter(DataLoader(ArrayDataset(data), 4)))
    assert isinstance(x, Tensor) and x.dtype == np.float32
    x.data[:] = 1
    assert not data.any()


def test_device_is_passed_on():
    (x, _) = next(iter(DataLoader(numbered(4), 2, device="cpu")))
    assert x.device == "cpu"
    with pytest.raises((ValueError, RuntimeError), match="nowhere"):
        next(iter(DataLoader(numbered(4), 2, device="nowhere", prefetch=2)))
    assert not loader_threads()


def test_one_indexing_per_batch():
    class Counting(ArrayDataset):
        calls = []

        def __getitem__(self, index):
            self.calls.append(type(index))
            return super().__getitem__(index)

    dataset = Counting(np.arange(100))
    list(DataLoader(dataset, 10, shuffle=True))
    assert dataset.calls == [np.ndarray] * 10


def test_order_is_a_function_of_seed_and_epoch():
    def epochs(seed, **options):
        loader = DataLoader(numbered(64), 8, shuffle=True, seed=seed, **options)
        return [[int(i) for _, y in loader for i in y.numpy()] for _ in range(3)]

    a, other = epochs(1), epochs(2)
    assert a == epochs(1) == epochs(1, prefetch=4, transform=add_noise)
    assert len({tuple(order) for order in a + other}) == 6


def test_shuffle_does_not_depend_on_the_batch_size():
    orders = [sum(first(DataLoader(numbered(20), size, True)), []) for size in (1, 3, 20)]
    assert orders[0] == orders[1] == orders[2]


def test_shuffle_is_uniform():
    # position of sample 0 among 5: 1000 epochs, chi-square with 4 degrees of freedom, p = 1e-6
    loader = DataLoader(numbered(5), 5, shuffle=True)
    counts = np.bincount([first(loader)[0].index(0) for _ in range(1000)], minlength=5)
    assert ((counts - 200) ** 2 / 200).sum() < 33.4


def test_order_is_pinned():
    # the order of (seed 0, epoch 0) is part of what a checkpoint means: it must never change
    assert sum(first(DataLoader(numbered(10), 10, True)), []) == [1, 4, 5, 6, 8, 2, 0, 3, 9, 7]


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 30),
    size=st.integers(1, 7),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    seed=st.integers(0, 2**32),
    stop=st.integers(0, 40),
    prefetch=st.tuples(st.integers(0, 3), st.integers(0, 3)),
)
def test_resume_yields_exactly_the_rest(n, size, shuffle, drop_last, seed, stop, prefetch):
    data = np.random.default_rng(0).random((n, 3, 4, 2), np.float32)
    augment = Compose([RandomCrop(1), RandomRotation(20)])

    def make(depth, seed):
        return DataLoader(
            ArrayDataset(data, np.arange(n)),
            size,
            shuffle,
            drop_last=drop_last and size <= n,
            seed=seed,
            prefetch=depth,
            transform=augment,
        )

    def run(loader, epochs):
        return [[(x.numpy(), y.numpy()) for x, y in loader] for _ in range(epochs)]

    whole = run(make(0, seed), 3)
    epoch, batch = divmod(min(stop, 3 * len(whole[0]) - 1), len(whole[0]))
    interrupted = make(prefetch[0], seed)
    run(interrupted, epoch)
    batches = iter(interrupted)
    list(islice(batches, batch))
    state = json.loads(json.dumps(interrupted.state_dict()))
    assert (state["epoch"], state["batch"]) == (epoch, batch)
    batches.close()

    resumed = make(prefetch[1], seed + 1)
    resumed.load_state_dict(state)
    rest = run(resumed, 3 - epoch)
    expected = [whole[epoch][batch:], *whole[epoch + 1 :]]
    assert [len(e) for e in rest] == [len(e) for e in expected]
    for got, want in zip(sum(rest, []), sum(expected, []), strict=True):
        for a, b in zip(got, want, strict=True):
            assert a.tobytes() == b.tobytes() and a.shape == b.shape


def test_position_counts_batches_handed_out_not_made():
    loader = DataLoader(numbered(40), 4, prefetch=8)
    batches = iter(loader)
    for taken in range(4):
        assert loader.state_dict()["batch"] == taken
        next(batches)
        deadline = time.monotonic() + 5
        while len(batches._ahead.ready) < min(8, 9 - taken) and time.monotonic() < deadline:
            time.sleep(0.001)
        assert len(batches._ahead.ready) == min(8, 9 - taken)
    batches.close()
    assert loader.state_dict()["batch"] == 4


def test_state_after_the_last_batch_leaves_an_empty_rest():
    loader = DataLoader(numbered(4), 2, shuffle=True)
    for _ in loader:
        state = loader.state_dict()
    assert (state["epoch"], state["batch"]) == (0, 2)
    assert (loader.state_dict()["epoch"], loader.state_dict()["batch"]) == (1, 0)
    following = first(loader)
    resumed = DataLoader(numbered(4), 2, shuffle=True)
    resumed.load_state_dict(state)
    assert first(resumed) == []
    assert resumed.epoch == 1
    assert first(resumed) == following


def test_iter_after_break_begins_the_next_epoch():
    reference = DataLoader(numbered(12), 3, shuffle=True)
    zero, one = first(reference), first(reference)
    loader = DataLoader(numbered(12), 3, shuffle=True)
    assert first(islice(loader, 2)) == zero[:2]
    assert loader.state_dict()["batch"] == 2
    assert first(loader) == one


def test_loading_a_state_detaches_the_old_iterator():
    loader = DataLoader(numbered(12), 3)
    state = loader.state_dict()
    old = iter(loader)
    next(old)
    loader.load_state_dict(state)
    assert len(list(old)) == 3
    assert loader.state_dict() == state
    next(iter(loader))
    loader.load_state_dict({**state, "epoch": 7, "batch": 1})
    assert first(loader) == [[3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert loader.epoch == 8


def test_two_iterators_at_once_are_two_epochs():
    loader = DataLoader(numbered(12), 3, shuffle=True, prefetch=2)
    pairs = [(a[0].numpy().tolist(), b[0].numpy().tolist()) for a, b in zip(loader, loader)]  # noqa: B905
    reference = DataLoader(numbered(12), 3, shuffle=True)
    assert [a for a, _ in pairs] == first(reference)
    assert [b for _, b in pairs] == first(reference)


class Failing:
    """Raises at one index; slow enough that a thread is caught at work."""

    def __init__(self, n, bad, delay=0.0):
        self.n, self.bad, self.delay, self.made = n, bad, delay, 0

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        time.sleep(self.delay)
        if self.bad in index:
            raise KeyError(f"sample {self.bad} is broken")
        self.made += 1
        return (np.asarray(index),)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_exceptions_reach_the_consumer_with_their_traceback(prefetch):
    loader = DataLoader(Failing(10, bad=6), 2, prefetch=prefetch)
    seen = []
    with pytest.raises(KeyError, match="sample 6 is broken") as caught:
        for (x,) in loader:
            seen += x.numpy().tolist()
    assert seen == [0, 1, 2, 3, 4, 5]
    frames = traceback.extract_tb(caught.tb)
    assert frames[-1].line.startswith("raise KeyError(")
    assert loader.state_dict()["batch"] == 3
    assert not loader_threads()


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_stray_stop_iteration_does_not_end_the_epoch_quietly(prefetch):
    loader = DataLoader(numbered(4), 2, prefetch=prefetch, transform=lambda x, rng: next(iter(())))
    with pytest.raises(RuntimeError, match="batch 0: expected arrays .* got StopIteration"):
        list(loader)


def test_an_iterator_ends_after_an_exception():
    batches = iter(DataLoader(Failing(4, bad=0), 2, prefetch=1))
    with pytest.raises(KeyError):
        next(batches)
    assert list(batches) == []


def test_break_stops_the_thread():
    dataset = Failing(10_000, bad=-1, delay=0.001)
    for _ in DataLoader(dataset, 1, prefetch=4):
        break
    assert wait_for_no_threads()
    assert dataset.made < 1000


def test_close_joins_and_keeps_the_position():
    loader = DataLoader(numbered(10), 1, prefetch=2)
    batches = iter(loader)
    next(batches)
    batches.close()
    assert not loader_threads()
    assert list(batches) == []
    assert (loader.epoch, loader.state_dict()["batch"]) == (0, 1)


def test_no_thread_survives_any_way_out():
    def consumer_fails():
        for _ in DataLoader(numbered(100), 1, prefetch=2):
            raise OSError("consumer")

    for _ in range(20):
        list(DataLoader(numbered(10), 3, prefetch=2))
        iter(DataLoader(numbered(100), 1, prefetch=1))
        next(iter(DataLoader(numbered(100), 1, prefetch=1)))
        with pytest.raises(OSError, match="consumer"):
            consumer_fails()
    gc.collect()
    assert wait_for_no_threads()


def test_prefetch_overlaps_with_the_consumer():
    # made while the consumer sleeps, never more than the depth ahead
    dataset = Failing(8, bad=-1)
    batches = iter(DataLoader(dataset, 1, prefetch=3))
    deadline = time.monotonic() + 5
    while dataset.made < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert dataset.made == 3
    batches.close()


def test_transform_gets_an_rng_of_seed_epoch_and_batch():
    zeros = ArrayDataset(np.zeros((6, 2)), np.arange(6))

    def noise(**options):
        loader = DataLoader(zeros, 2, transform=add_noise, **options)
        return np.stack([x.numpy() for _ in range(2) for x, _ in loader])

    a = noise(seed=5)
    assert len(np.unique(a)) == a.size  # no batch and no epoch draws another's numbers
    np.testing.assert_array_equal(a, noise(seed=5, prefetch=3))
    assert not np.isin(a, noise(seed=6)).any()


def test_works_on_subsets():
    loader = DataLoader(Subset(numbered(100), [5, 50, 95]), 2)
    assert first(loader) == [[5, 50], [95]]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size: expected at least 1, got 0"),
        ({"batch_size": -3}, ValueError, "batch_size: expected at least 1, got -3"),
        ({"batch_size": 2.0}, TypeError, "batch_size: expected an int, got 2.0"),
        ({"prefetch": -1}, ValueError, "prefetch: expected at least 0, got -1"),
        ({"seed": -1}, ValueError, "expected an integer >= 0, got -1"),
        ({"batch_size": 5, "drop_last": True}, ValueError, "whole batch of 5, got 4 samples"),
        ({"transform": 3}, TypeError, "transform: expected a callable, got 3"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        DataLoader(numbered(4), **options)


def test_empty_dataset_is_an_error():
    with pytest.raises(ValueError, match="at least one sample, got none"):
        DataLoader(numbered(0))


def test_dataset_or_transform_with_the_wrong_number_of_rows():
    class Single:
        def __len__(self):
            return 10

        def __getitem__(self, index):
            return np.float32(1), np.zeros(2)

    with pytest.raises(ValueError, match=r"array 0: expected 3 rows.* got shape \(\)"):
        next(iter(DataLoader(Single(), 3)))
    with pytest.raises(ValueError, match=r"batch 0, array 0: expected 3 rows.* \(2,\)"):
        next(iter(DataLoader(numbered(10), 3, transform=lambda x, rng: x[:2])))


@pytest.mark.parametrize("prefetch", [0, 1])
def test_a_dataset_of_ints_only_is_told_of_stacked(prefetch):
    samples = [(np.full(2, i), i) for i in range(5)]
    with pytest.raises(TypeError) as caught:
        list(DataLoader(samples, 2, prefetch=prefetch))
    assert "pynn.data.Stacked(dataset) wraps it" in caught.value.__notes__[0]
    batches = list(DataLoader(Stacked(samples), 2, prefetch=prefetch))
    assert [y.numpy().tolist() for _, y in batches] == [[0, 1], [2, 3], [4]]
    assert batches[1][0].numpy().tolist() == [[2, 2], [3, 3]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 4}, "expected batch_size 3 as in this loader, got 4"),
        ({"length": 11}, "expected length 10 as in this loader, got 11"),
        ({"shuffle": True}, "expected shuffle False as in this loader, got True"),
        ({"batch": 5}, "expected batch <= 4, the batches of an epoch, got 5"),
        ({"batch": -1}, "batch: expected at least 0, got -1"),
        ({"epoch": -1}, "epoch: expected at least 0, got -1"),
        ({"extra": 0}, "expected entries .* got .*extra"),
    ],
)
def test_states_that_do_not_fit(change, message):
    loader = DataLoader(numbered(10), 3)
    before = loader.state_dict()
    with pytest.raises(ValueError, match=message):
        loader.load_state_dict({**before, **change})
    assert loader.state_dict() == before
    with pytest.raises(ValueError, match="expected entries"):
        loader.load_state_dict({"seed": 0})
