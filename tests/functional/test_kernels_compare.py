"""Comparisons, classes, roundings and one-hot rows by kernels: every answer is the reference's."""

import ml_dtypes
import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn import backend
from pynn.functional import compare

sim = backend.kernel_module("sim")
pytestmark = pytest.mark.skipif(sim is None, reason="pynn was built without pynn._sim")

DTYPES = [np.float32, np.float16, ml_dtypes.bfloat16]
SPECIAL = np.array([0.0, -0.0, 1.0, -1.5, 0.5, 2.5, np.inf, -np.inf, np.nan])
SHAPES = [((), ()), ((0,), (1,)), ((9,), (9,)), ((33, 40), (40,)), ((1025, 3), (1025, 1))]


def by_both(function, *arrays):
    """The results of the reference and of the kernels, which must have run."""
    wanted = function(*map(pynn.Tensor, arrays)).data
    with pynn.use_kernels("sim"), backend.trace() as trace:
        got = function(*map(pynn.Tensor, arrays)).data
    assert {path for _, path in trace.counts} == {"native"}, trace.counts
    assert got.dtype == wanted.dtype
    assert got.shape == wanted.shape
    np.testing.assert_array_equal(got.astype(float), wanted.astype(float))
    return got


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name, _ in compare._COMPARISONS])
def test_comparisons(name, dtype):
    function, rng = getattr(compare, name), np.random.default_rng(0)
    for shapes in SHAPES:
        by_both(function, *(rng.integers(-1, 2, shape).astype(dtype) for shape in shapes))
    by_both(function, SPECIAL.astype(dtype)[:, None], SPECIAL.astype(dtype))
    x = rng.integers(-1, 2, 80).astype(dtype)
    by_both(function, x[3:], x[:-3])  # not at 16 bytes


@pytest.mark.parametrize("name", ["equal", "not_equal", "logical_and", "logical_or"])
def test_comparisons_of_bools(name):
    a = np.arange(70) % 3 == 0
    by_both(getattr(compare, name), a, a[::-1].copy())


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("name", [name for name, _ in compare._COMPARISONS])
def test_comparisons_of_integers(name, dtype):
    rng = np.random.default_rng(0)
    for shapes in SHAPES:
        by_both(
            getattr(compare, name), *(rng.integers(-1, 2, shape).astype(dtype) for shape in shapes)
        )
    near = np.iinfo(dtype).max - np.arange(3, dtype=dtype)  # alike in float32
    by_both(getattr(compare, name), near[:, None], near)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["logical_not", "isnan", "isinf", "isfinite"])
def test_classes(name, dtype):
    by_both(getattr(compare, name), np.resize(SPECIAL, (5, 7)).astype(dtype))
    by_both(getattr(compare, name), np.arange(33) % 2 == 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["sign", "floor", "ceil", "round"])
def test_roundings(name, dtype):
    got = by_both(getattr(compare, name), np.resize(SPECIAL, 41).astype(dtype))
    assert np.signbit(got[1]) == (name != "sign")  # of -0


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool", "float64", *DTYPES])
def test_one_hot(dtype):
    rng = np.random.default_rng(0)
    for shape, classes in [((), 3), ((0,), 4), ((33,), 1), ((4, 5), 7), ((9,), 1030)]:
        index = rng.integers(0, classes, shape)
        y = by_both(lambda x, classes=classes: F.one_hot(x, classes, dtype), index)
        np.testing.assert_array_equal(y.astype(float), np.eye(classes)[index])


def test_one_hot_needs_an_array_that_fits():
    sim = backend.kernel_module("sim")
    index = np.zeros(3, np.int64)
    with pytest.raises(ValueError, match=r"\[one_hot\] y: expected shape \(3, 5\), got \(2, 5\)"):
        sim.one_hot(index, np.zeros((2, 5), np.int64))
    with pytest.raises(TypeError, match=r"\[one_hot\] index: expected int64, got float32"):
        sim.one_hot(index.astype(np.float32), np.zeros((3, 5), np.int64))
    with pytest.raises(ValueError, match=r"\[compare\] kind: expected a number below 8, got 8"):
        sim.compare(*np.zeros((2, 3), np.float32), np.zeros(3, bool), 8)
