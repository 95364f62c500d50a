"""CUDA C++ without PTX: shuffles, votes, matches, reductions, atomics, a lock that is polled."""

import numpy as np
import pytest
from sim import harness

pytestmark = pytest.mark.skipif(bool(harness.missing()), reason=harness.missing())
every_schedule = pytest.mark.parametrize(("order", "async_mode"), harness.SCHEDULES)


def lib(order="ascending", async_mode="now", seed=1):
    library = harness.library("vocabulary")
    library.schedule(order, async_mode, seed)
    return library


def expected_rows(x):
    """What each function gives for one warp, by CUDA C++'s descriptions."""
    lane = np.arange(32)
    part = lane // 8 * 8  # first lane of a group of 8
    odd, sevens = x & 1, x == 7

    def votes(p):
        return int(np.sum(p.astype(np.uint64) << lane.astype(np.uint64)))

    yield np.full(32, x[5])
    yield x[part + 3]
    yield np.where(lane >= 3, x[lane - 3], x)
    yield np.where(lane - part >= 3, x[lane - 3], x)
    yield np.where(lane < 29, x[(lane + 3) % 32], x)
    yield np.where(lane - part < 5, x[(lane + 3) % 32], x)
    yield x[lane ^ 5]
    yield np.where((lane ^ 12) <= part + 7, x[lane ^ 12], x)
    yield x[lane // 16 * 16 + 2]
    yield np.full(32, votes(odd))
    yield np.full(32, sevens.any())
    yield np.full(32, (x < 100).all())
    yield np.array([votes(x % 5 == v % 5) for v in x])
    yield np.full(32, 2**32 - 1 + 1)
    yield np.full(32, x.sum())
    yield np.full(32, x.min())
    yield np.full(32, x.max())


@every_schedule
def test_warp_functions(order, async_mode):
    x = np.random.default_rng(1).integers(0, 50, 64).astype(np.int32)
    x[40] = 7
    out = np.zeros((20, 64), np.int32)
    lib(order, async_mode).call("warp_functions", x, out)
    warps = [list(expected_rows(x[:32])), list(expected_rows(x[32:]))]
    for row in range(17):
        expected = np.concatenate([warps[0][row], warps[1][row]]).astype(np.int64)
        np.testing.assert_array_equal(
            out[row], expected.astype(np.uint32).view(np.int32), f"row {row}"
        )
    assert (out[17] == (x & 1).sum()).all()
    assert (out[18] != 0).all()
    assert (out[19] != 0).all()


@every_schedule
def test_atomics(order, async_mode):
    words = np.array([0, 0, 0, 0, -1, 0, 0, 0, 1], np.int32)
    counters = np.array([0, 0], np.uint32)
    total, pair, wide = np.zeros(1, np.float32), np.zeros(2, np.float16), np.zeros(1, np.uint64)
    lib(order, async_mode).call("atomics", words, counters, total, pair, wide)
    t = np.arange(32)
    assert words.tolist() == [4 * t.sum(), -4 * t.sum(), -26, 26, -256, 255, 0, 77, 9]
    assert counters.tolist() == [128 % 10, (0 - 128) % 10]
    assert (total[0], pair.tolist(), wide[0]) == (64, [128, 256], 128 << 40)


@every_schedule
def test_lock(order, async_mode):
    state, count, y = np.zeros(1, np.int32), np.zeros(1, np.int32), np.full(48, -1, np.int32)
    lib(order, async_mode, seed=4).call("lock", state, count, y)
    assert sorted(y) == list(range(48))
    if harness.VARIANT != "gpu" and order != "random":
        assert y.tolist() == sorted(y, reverse=order == "descending")


def test_seed_repeats():
    def run(seed):
        state, count, y = np.zeros(1, np.int32), np.zeros(1, np.int32), np.full(48, -1, np.int32)
        lib("random", "random", seed).call("lock", state, count, y)
        return y.tolist()

    assert run(5) == run(5)
    assert run(5) != run(6)
