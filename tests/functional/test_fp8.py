"""Products of 8-bit floats: every rung that takes them, bit for bit on small integers; scales and
the greatest result; what is not finite; bad input.
"""

import ml_dtypes
import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn import backend, kernels
from pynn.functional.fp8 import FORMATS
from pynn.functional.product import NT

_sim = backend.kernel_module("sim")
simulated = pytest.mark.skipif(_sim is None, reason="pynn was built without pynn._sim")

E4M3, E5M2 = FORMATS.values()
F64 = np.float64


@pytest.fixture(autouse=True)
def ordinary_schedule():
    yield
    if _sim is not None:
        _sim.set_schedule("ascending", "now", 1)


def integers(shape, dtype, seed=0):
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


def run(a, b, variant=None, bias=None, out=np.float32, scales=(1, 1), room=0, amax=0.0):
    """d, which began as NaN, and amax, which began as given."""
    d = np.full((*a.shape[:-1], b.shape[-2]), np.nan, out)
    most = np.array([amax], np.float32)
    _sim.gemm_fp8(
        a.view(np.uint8), b.view(np.uint8), np.empty(0, out) if bias is None else bias,
        *(np.array([s], np.float32) for s in scales), d, most, np.full(room, np.nan, np.float32),
        (int(a.dtype == E5M2), int(b.dtype == E5M2)),
        kernels._VARIANTS["gemm"][variant] if variant else 0,
    )  # fmt: skip
    return d, most[0]


def product(a, b):
    return a.astype(F64) @ b.astype(F64).swapaxes(-1, -2)


@simulated
@pytest.mark.parametrize("b_format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("a_format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("variant", ["simt", "sm90_128x128", "sm90_128x256"])
def test_exact_on_integers(variant, a_format, b_format):
    """With edges, a ring that wraps, parts of K, batches, each dtype of D, in boxes and not."""
    _sim.set_schedule("random", "random", 4)
    for (M, N, K), batch, out, room in (
        ((136, 24, 144), (), ml_dtypes.bfloat16, 0),
        ((40, 264, 16), (2,), np.float16, 0),
        ((5, 7, 33), (), np.float32, 0),
        ((16, 32, 1040), (), ml_dtypes.bfloat16, 1 << 13),
        ((3, 5, 0), (), np.float32, 0),
    ):
        a, b = integers((*batch, M, K), a_format), integers((*batch, N, K), b_format, seed=1)
        bias = integers(N, out, seed=2)
        bias[0] = 1e4  # not to be met in rows and columns beyond the edges
        d, most = run(a, b, variant, bias, out, (0.5, 2), room)
        wanted = (product(a, b) + bias.astype(F64)).astype(out)
        np.testing.assert_array_equal(d, wanted)
        assert most == np.abs(wanted.astype(F64)).max()
        d, most = run(a, b, variant, None, out, (2, 0.25), room, amax=1e6)
        np.testing.assert_array_equal(d, (product(a, b) / 2).astype(out))
        assert most == 1e6


@simulated
def test_the_rung_that_ran():
    def moved(a_format, b_format, K, variant=None):
        a, b = integers((128, K), a_format), integers((128, K), b_format)
        _sim.reset_counters()
        run(a, b, variant)
        return _sim.counters()["async_bytes"]

    assert moved(E4M3, E4M3, 128, "sm90_128x128") == moved(E5M2, E5M2, 128, "sm90") == 2 * 128 * 128
    assert moved(E4M3, E4M3, 128) > 0
    assert moved(E4M3, E5M2, 128) == moved(E4M3, E4M3, 136) == moved(E4M3, E4M3, 128, "sm80") == 0


@simulated
@pytest.mark.parametrize("name", FORMATS)
def test_every_byte_means_the_same(name):
    """All 256, times one, on the tensor cores, by multiply-adds and in the reference."""
    a = np.arange(256, dtype=np.uint8).repeat(16).reshape(256, 16).view(FORMATS[name]).copy()
    unit = np.eye(16).astype(FORMATS[name])
    bits = a.view(np.uint8)
    bits[:, 1:] = 0
    exact = a.astype(np.float32)[:, 0]
    finite = np.isfinite(exact)
    with np.errstate(invalid="ignore"):
        reference = F.fp8_linear(a, unit, dtype="float32")[0].numpy()
    for d in (run(a, unit, "simt")[0], run(a, unit, "sm90")[0], reference):
        np.testing.assert_array_equal(d[finite, 0], exact[finite])
        assert not np.isfinite(d[~finite, 0]).any()
        assert (d[finite, 1:] == 0).all()


@simulated
@pytest.mark.parametrize("variant", ["simt", "sm90"])
def test_what_is_not_finite_is_the_greatest(variant):
    a, b = integers((24, 32), E5M2), integers((16, 32), E5M2, seed=1)
    b[:] = np.abs(b.astype(np.float32)) + 1
    a[3, 4] = np.inf
    for out in (np.float32, np.float16):
        d, most = run(a, b, variant, out=out)
        assert np.isinf(d[3]).all() and np.isfinite(d[:3]).all() and most == np.inf
    a[5, 6] = np.nan
    d, most = run(a, b, variant)
    assert np.isnan(d[5]).all() and np.isnan(most) and np.isfinite(d[:3]).all()


def quantized(shape, dtype, seed):
    """Numbers, a scale, and the 8-bit floats that times it are near them."""
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    scale = np.abs(x).max() / float(ml_dtypes.finfo(dtype).max)
    return (x / scale).astype(dtype), float(scale)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("formats", [("e4m3", "e4m3"), ("e5m2", "e4m3"), ("e5m2", "e5m2")])
def test_fp8_linear_is_float64s(formats, dtype):
    """Within one rounding to the dtype and those of a sum of K in float32, of the numbers that the
    bytes are; the same by kernels, without a fallback, within both.
    """
    x, s_x = quantized((2, 9, 48), FORMATS[formats[0]], 0)
    w, s_w = quantized((24, 48), FORMATS[formats[1]], 1)
    b = pynn.Tensor(np.linspace(-1, 1, 24).astype(pynn.Tensor(np.ones(1)).astype(dtype).dtype))
    exact = product(x, w) * s_x * s_w + b.numpy().astype(F64)
    size = np.abs(x.astype(F64)) @ np.abs(w.astype(F64)).T * s_x * s_w + np.abs(
        b.numpy().astype(F64)
    )
    unit = float(ml_dtypes.finfo(b.dtype).eps) / 2
    bound = unit * np.abs(exact) + 52 * 2.0**-24 * size * (1 + unit)
    arguments = [pynn.Tensor(x.view(np.uint8)), w, s_x, pynn.Tensor(np.array([s_w], np.float32))]
    for how in ("reference", "sim"):
        if how == "sim" and _sim is None:
            continue
        with pynn.use_kernels(how), backend.trace() as paths:
            y, amax = F.fp8_linear(*arguments, b, dtype, formats)
        assert how == "reference" or paths.counts == {("fp8_linear", "native"): 1}
        assert y.shape == (2, 9, 24) and y.dtype == b.dtype
        assert (np.abs(y.numpy().astype(F64) - exact) <= bound).all()
        assert amax.item() == np.abs(y.numpy().astype(F64)).max()
        none, zero = F.fp8_linear(x[:0], w, dtype=dtype)
        assert none.shape == (0, 9, 24) and zero.item() == 0


def test_a_transposed_view_is_its_numbers():
    x, w = integers((8, 16), E4M3), integers((16, 24), E4M3, seed=1)
    for how in ("reference", "sim")[: 1 if _sim is None else 2]:
        with pynn.use_kernels(how):
            y, _ = F.fp8_linear(x, w.T, dtype="float32")
        np.testing.assert_array_equal(y.numpy(), x.astype(F64) @ w.astype(F64))


def test_bad_input():
    x, w = np.zeros((3, 16), E4M3), np.zeros((8, 16), E4M3)
    for change, error, text in (
        ({"x": x[:, :8]}, ValueError, r"x: expected shape \(..., I\) for weight .* got \(3, 8\)"),
        ({"x": pynn.zeros(3, 16)}, TypeError, "x: expected a uint8 tensor .* got float32"),
        ({"weight": [1]}, TypeError, "weight: expected a uint8 tensor .* got list"),
        ({"formats": ("e4m3", "e3m4")}, ValueError, 'formats: expected two of "e4m3", "e5m2"'),
        ({"dtype": "float64"}, TypeError, "dtype: expected bfloat16, .* got float64"),
        ({"bias": pynn.zeros(3)}, ValueError, r"bias: expected shape \(8,\), got \(3,\)"),
        ({"bias": pynn.zeros(8)}, TypeError, "bias: expected y's dtype bfloat16, got float32"),
        ({"scale_x": pynn.zeros(2)}, ValueError, "scale_x: expected a number or one float32"),
    ):
        with pytest.raises(error, match=r"\[fp8_linear\] " + text):
            F.fp8_linear(**({"x": x, "weight": w} | change))


@simulated
def test_bad_input_of_the_launcher():
    a = np.zeros((4, 16), np.uint8)
    one, none, d = np.ones(1, np.float32), np.empty(0, np.float32), np.zeros((4, 4), np.float32)
    for change, error, text in (
        ({0: a.astype(np.float32)}, TypeError, "a: expected uint8, got float32"),
        ({1: a[:, :8].copy()}, ValueError, "b: expected an inner length of 16"),
        ({3: none}, ValueError, r"scale_a: expected a size of 1, got \(0,\)"),
        ({5: d.astype(F64)}, TypeError, "d: expected float32, float16 or bfloat16, got float64"),
        ({6: d[0]}, ValueError, "amax: expected a size of 1, or 0 for none"),
        ({8: (0, 2)}, ValueError, r"formats: expected 0 \(e4m3\) or 1 \(e5m2\)"),
    ):
        given = dict(enumerate([a, a, none, one, one, d, one.copy(), none, (0, 0), NT]))
        with pytest.raises(error, match=r"\[gemm_fp8\] " + text):
            _sim.gemm_fp8(*(given | change).values())
