"""The embedding kernels in the simulator: runs of every length, padding, schedules, alignment."""

import ml_dtypes
import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn import backend
from pynn.functional.embedding import Embedding
from pynn.testing import check

sim = backend.kernel_module("sim")
pytestmark = pytest.mark.skipif(sim is None, reason="pynn was built without pynn._sim")

DTYPES = [np.float32, np.float16, ml_dtypes.bfloat16]
INDICES = {
    "none": np.zeros(0, int),
    "one": np.array([4]),
    "each once": np.arange(20)[::-1],
    "all equal": np.full(100, 3),
    "a run from part to part": np.array([1] * 15 + [2] * 2 + [5] * 15 + [6] * 32 + [0]),
    "runs that end with a part": np.array([0] * 16 + [1] * 16 + [2] * 33 + [3] * 15),
    "mixed": np.random.default_rng(0).zipf(1.3, 300) % 20,
}


def backward(dy, index, rows, padding=-1):
    order = np.argsort(index, kind="stable")
    dw = np.zeros((rows, dy.shape[1]), dy.dtype)
    partial = np.full((-(-index.size // 16), 2, dy.shape[1]), np.nan, np.float32)
    sim.embedding_bwd(dy, order, index[order], partial, dw, padding)
    return dw


@pytest.mark.parametrize("name", INDICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
def test_sums_are_exact_on_integers(name, dtype):
    index = np.random.default_rng(1).permutation(INDICES[name]).astype(np.int64)
    for D in (1, 7, 8, 40, 300):
        dy = np.random.default_rng(2).integers(-2, 3, (index.size, D)).astype(dtype)
        wanted = np.zeros((20, D))
        np.add.at(wanted, index, dy.astype(float))
        for order in ("ascending", "descending", "random"):
            sim.set_schedule(order)
            got = backward(dy, index, 20)
            np.testing.assert_array_equal(got.astype(float), wanted)
        sim.set_schedule()
        assert not backward(dy, index, 20, padding=3)[3].astype(float).any()


def test_six_questions():
    rng = np.random.default_rng(3)
    for index, D in [
        (rng.integers(0, 9, (4, 30)), 8),
        (np.array(5), 3),
        (np.zeros((2, 0), int), 4),
    ]:
        for padding in (None, 2):
            check(
                lambda i=index, p=padding: Embedding(i, p),
                (rng.standard_normal((9, D)),),
                gradient=padding is None,
            )


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
def test_rows_are_copied_to_the_bit(dtype):
    rng = np.random.default_rng(4)
    for rows, D, n, by in [
        (5, 1, 3, 0),
        (5, 7, 9, 0),
        (5, 64, 40, 0),
        (3, 8, 5, 1),
        (2, 2000, 3, 0),
    ]:
        w = np.zeros(rows * D + 8, dtype)[by : by + rows * D].reshape(rows, D)
        w[:] = rng.standard_normal((rows, D)).astype(dtype)
        index = rng.integers(0, rows, n)
        y = np.empty((n, D), dtype)
        sim.embedding_fwd(w, index, y)
        assert y.tobytes() == w[index].tobytes()


def test_an_index_out_of_range_touches_no_memory():
    w, y = np.ones((3, 8), np.float32), np.empty((3, 8), np.float32)
    index = np.array([2, 3, -1])
    sim.embedding_fwd(w, index, y)
    np.testing.assert_array_equal(y, np.array([[1], [np.nan], [np.nan]]) * np.ones(8))
    np.testing.assert_array_equal(backward(y * 0 + 1, index, 3)[:2], 0)


def test_training_runs_on_the_kernels():
    index = np.random.default_rng(5).integers(0, 11, (6, 17))
    grads = []
    for kernels in ("reference", "sim"):
        w = pynn.Tensor(np.ones((11, 12), np.float32), requires_grad=True)
        with pynn.use_kernels(kernels), backend.trace() as trace:
            F.embedding(index, w, padding_idx=4).backward(np.ones((6, 17, 12), np.float32))
        assert ("native" in str(trace)) == (kernels == "sim")
        grads.append(w.grad.numpy())
    np.testing.assert_array_equal(*grads)


def test_the_launcher_names_what_was_expected():
    f = np.zeros((2, 3), np.float32)
    with pytest.raises(TypeError, match=r"\[embedding_fwd\] index: expected int64, got int32"):
        sim.embedding_fwd(f, np.zeros(2, np.int32), f)
    with pytest.raises(ValueError, match=r"y: expected shape \(4, 3\), got \(2, 3\)"):
        sim.embedding_fwd(f, np.zeros(4, np.int64), f)
