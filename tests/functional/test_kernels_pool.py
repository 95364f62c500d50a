"""The pooling kernels in the simulator: the reference's answers at every geometry and width."""

import ml_dtypes
import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn import backend

sim = backend.kernel_module("sim")
pytestmark = pytest.mark.skipif(sim is None, reason="pynn was built without pynn._sim")

DTYPES = [np.float32, np.float16, ml_dtypes.bfloat16]
CALLS = {
    "max": lambda x: F.max_pool2d(x, 2),
    "max, overlapping": lambda x: F.max_pool2d(x, 3, stride=2, padding=1),
    "max, dilated": lambda x: F.max_pool2d(x, (2, 3), stride=(1, 2), padding=1, dilation=(3, 2)),
    "max, hanging over": lambda x: F.max_pool2d(x, 3, stride=2, ceil_mode=True),
    "max, many taps": lambda x: F.max_pool2d(x, 17, stride=1, padding=8),
    "avg": lambda x: F.avg_pool2d(x, 2),
    "avg, overlapping": lambda x: F.avg_pool2d(x, 3, stride=(2, 1), padding=1),
    "avg, inside": lambda x: F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False),
    "avg, apart": lambda x: F.avg_pool2d(x, (1, 2), stride=(3, 4)),
    "avg, hanging over": lambda x: F.avg_pool2d(x, 4, stride=3, padding=1, ceil_mode=True),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, (3, 4)),
    "adaptive, one": lambda x: F.adaptive_avg_pool2d(x, 1),
    "adaptive, more than pixels": lambda x: F.adaptive_avg_pool2d(x, (14, 11)),
    "adaptive max": lambda x: F.adaptive_max_pool2d(x, (3, 4)),
    "adaptive max, more than pixels": lambda x: F.adaptive_max_pool2d(x, (14, 3)),
    "adaptive max of lines": lambda x: F.adaptive_max_pool1d(x[:, 0], 3),
    "max of lines": lambda x: F.max_pool1d(x.reshape(x.shape[0], -1, x.shape[3]), 3, padding=1),
    "avg of lines": lambda x: F.avg_pool1d(x.reshape(x.shape[0], -1, x.shape[3]), 4, stride=3),
}


def run(call, values, kernels):
    """y and dx of one call, whole numbers in and small whole gradients."""
    with pynn.use_kernels(kernels), backend.trace() as trace:
        x = pynn.Tensor(values, requires_grad=True)
        y = call(x)
        dy = np.random.default_rng(1).integers(-4, 5, y.shape).astype(values.dtype)
        y.backward(dy)
    paths = {path for (name, path) in trace.counts if "pool" in name}
    assert paths == {"native" if kernels == "sim" else 'use_kernels("reference")'}
    return y.numpy().astype(np.float64), x.grad.numpy().astype(np.float64)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
def test_kernels_and_reference_agree(name, dtype):
    rng = np.random.default_rng(0)
    eps = float(ml_dtypes.finfo(dtype).eps)
    for shape in [(2, 9, 10, 8), (1, 8, 7, 3)]:
        values = rng.integers(-9, 10, shape).astype(dtype)
        wanted = run(CALLS[name], values, "reference")
        for order in ("ascending", "random"):
            sim.set_schedule(order)
            got = run(CALLS[name], values, "sim")
        sim.set_schedule()
        for g, w in zip(got, wanted, strict=True):
            if "max" in name:
                np.testing.assert_array_equal(g, w)
            else:
                np.testing.assert_allclose(g, w, rtol=2 * eps, atol=4 * eps)


def test_a_row_wider_than_a_tile_and_many_images():
    values = np.random.default_rng(2).integers(-9, 10, (70, 3, 2, 300)).astype(np.float32)
    values = values[:, :2]
    for name in ("max", "avg", "adaptive, one"):
        got, wanted = (run(CALLS[name], values, kernels) for kernels in ("sim", "reference"))
        for g, w in zip(got, wanted, strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-6)


def test_misaligned_images():
    room = np.zeros(2 * 4 * 4 * 8 + 1, np.float32)
    values = room[1:].reshape(2, 4, 4, 8)
    values[:] = np.random.default_rng(3).integers(-9, 10, values.shape)
    y, tap = np.empty((2, 2, 2, 8), np.float32), np.empty((2, 2, 2, 8), np.uint8)
    sim.max_pool_fwd(values, y, tap, (2, 2), (2, 2), (0, 0), (1, 1))
    np.testing.assert_array_equal(y, values.reshape(2, 2, 2, 2, 2, 8).max(axis=(2, 4)))


def test_nan_and_infinity():
    nan, inf = np.nan, np.inf
    x = np.array([[nan, 1, 2, 3], [-inf, -inf, -inf, -inf], [1, 7, 7, 2], [nan, 3, nan, 9]])
    y, tap = np.empty((4, 1, 1, 1), np.float32), np.empty((4, 1, 1, 1), np.uint8)
    sim.max_pool_fwd(
        x.astype(np.float32).reshape(4, 2, 2, 1), y, tap, (2, 2), (2, 2), (0, 0), (1, 1)
    )
    np.testing.assert_array_equal(y.ravel(), [nan, -inf, 7, nan])
    np.testing.assert_array_equal(tap.ravel(), [0, 0, 1, 2])
    tap = tap.astype(np.int32)
    sim.adaptive_max_pool_fwd(x.astype(np.float32).reshape(4, 2, 2, 1), y, tap)
    np.testing.assert_array_equal(y.ravel(), [nan, -inf, 7, nan])
    np.testing.assert_array_equal(tap.ravel(), [0, 0, 1, 0])


@pytest.mark.parametrize(
    ("numbers", "error", "message"),
    [
        (((2, 2), (0, 2), (0, 0), (1, 1)), ValueError, r"stride: expected 1 to 2\^24, got 0"),
        (((2, 2), 2, (0, 0), (1, 1)), TypeError, r"stride: expected a tuple of two ints, got int"),
        (((2, 2), (2, 2.5), (0, 0), (1, 1)), TypeError, r"stride: expected an int, got float"),
        (((17, 17), (2, 2), (0, 0), (1, 1)), ValueError, r"tap: expected int32 .* got uint8"),
    ],
)
def test_the_launcher_names_what_was_expected(numbers, error, message):
    x, y = np.zeros((1, 4, 4, 1), np.float32), np.zeros((1, 2, 2, 1), np.float32)
    with pytest.raises(error, match=r"\[max_pool_fwd\] " + message):
        sim.max_pool_fwd(x, y, np.zeros(y.shape, np.uint8), *numbers)
