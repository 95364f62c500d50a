"""The dropout kernels in the simulator: the bits of pynn.random, at every offset and alignment."""

import ml_dtypes
import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn import backend, random

sim = backend.kernel_module("sim")
pytestmark = pytest.mark.skipif(sim is None, reason="pynn was built without pynn._sim")

DTYPES = [np.float32, np.float16, ml_dtypes.bfloat16]


def kept(count, p, seed, offset):
    return random.uniform(seed, offset, count) >= np.float32(p)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("seed", [0, 7, (1 << 64) - 3])
@pytest.mark.parametrize("offset", [0, 5, (1 << 32) - 2, (1 << 40) + 1])
def test_the_mask_is_that_of_pynn_random(dtype, seed, offset):
    signed = seed - (1 << 64) if seed >> 63 else seed
    for n in (1, 3, 4, 5, 8, 63, 1030):
        for by in (0, 1):
            x = np.ones(n + 8, dtype)[by : by + n]
            y = np.full(n + 8, 7, dtype)[by : by + n]
            sim.dropout_fwd(x, y, 0.37, signed, offset, 2.0, 1.0, -1.0)
            wanted = np.where(kept(n, 0.37, seed, offset), 3, -1)
            np.testing.assert_array_equal(y.astype(int), wanted)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
def test_channels_share_their_number(dtype):
    for N, M, C in [(1, 1, 1), (2, 5, 3), (3, 70, 8), (2, 9, 40), (1, 0, 4), (2, 3, 300)]:
        y = np.full((N, M, C), 7, dtype)
        sim.dropout_channels_fwd(np.ones((N, M, C), dtype), y, 0.5, 11, 2, 2.0, -0.0, 0.0)
        wanted = np.where(kept(N * C, 0.5, 11, 2).reshape(N, 1, C), 2, 0)
        np.testing.assert_array_equal(y.astype(int), np.broadcast_to(wanted, y.shape))


@pytest.mark.parametrize("call", [F.dropout, F.dropout2d, F.alpha_dropout])
def test_kernels_and_reference_agree_to_the_bit(call):
    values = np.random.default_rng(0).standard_normal((3, 5, 4, 24)).astype(np.float32)
    values[0, 0, 0, :4] = 0, -0.0, np.inf, np.nan
    results = []
    for kernels in ("reference", "sim"):
        pynn.manual_seed(9)
        with pynn.use_kernels(kernels), backend.trace() as trace:
            x = pynn.Tensor(values, requires_grad=True)
            y = call(x, 0.3)
            y.backward(values)
        assert len(trace.counts) == 1 and ("native" in str(trace)) == (kernels == "sim")
        results.append((y.numpy().tobytes(), x.grad.numpy().tobytes()))
    assert results[0] == results[1]


def test_the_mask_is_the_same_under_every_schedule():
    x = np.ones(3000, np.float32)
    seen = set()
    for order in ("ascending", "descending", "random"):
        sim.set_schedule(order)
        y = np.empty_like(x)
        sim.dropout_fwd(x, y, 0.5, 1, 0, 2.0, -0.0, 0.0)
        seen.add(y.tobytes())
    sim.set_schedule()
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("p", "shape", "error", "message"),
    [
        (1.5, (3,), ValueError, r"p: expected a probability in \[0, 1\], got 1.5"),
        (float("nan"), (3,), ValueError, r"p: expected a probability in \[0, 1\], got nan"),
        (0.5, (4,), ValueError, r"y: expected shape \(3,\), got \(4,\)"),
    ],
)
def test_the_launcher_names_what_was_expected(p, shape, error, message):
    x, y = np.zeros(3, np.float32), np.zeros(shape, np.float32)
    with pytest.raises(error, match=r"\[dropout_fwd\] " + message):
        sim.dropout_fwd(x, y, p, 0, 0, 1.0, 0.0, 0.0)
