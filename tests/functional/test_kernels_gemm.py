"""The GEMM kernels in the simulator: every variant, layout and dtype at sizes around tiles and
stages, bit for bit on small integers, whose sums are exact in any order.

Over 400 lines: every rung is asked the same questions.
"""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pynn
import pynn.functional as F
from pynn import backend, kernels, testing
from pynn.functional import activation as act
from pynn.functional.linear import Linear, LinearActivation, Matmul
from pynn.functional.product import ACTIVATIONS, NN, NT, TN
from pynn.testing import check

_sim = backend.kernel_module("sim")
pytestmark = pytest.mark.skipif(_sim is None, reason="pynn was built without pynn._sim")

bfloat16 = ml_dtypes.bfloat16
F32, F16, BF16, F64 = np.float32, np.float16, bfloat16, np.float64
LAYOUTS = {"NT": NT, "NN": NN, "TN": TN}
VARIANTS = [name for name in kernels.variants("gemm") if not name.endswith("stream")]
NOTHING = np.empty(0, np.float32)
GUARD = 64


@pytest.fixture(autouse=True)
def ordinary_schedule():
    yield
    if _sim is not None:
        _sim.set_schedule("ascending", "now", 1)


def integers(shape, dtype, seed=0):
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


def operands(layout, M, N, K, dtype, batch_a=(), batch_b=(), seed=0):
    a = integers((*batch_a, *((K, M) if layout == TN else (M, K))), dtype, seed)
    b = integers((*batch_b, *((N, K) if layout == NT else (K, N))), dtype, seed + 1)
    return a, b


def product(a, b, layout):
    """a b in float64, which holds these sums exactly."""
    a, b = a.astype(F64), b.astype(F64)
    return (a.swapaxes(-1, -2) if layout == TN else a) @ (b.swapaxes(-1, -2) if layout == NT else b)


def misaligned(array, offset=1):
    """A copy that begins `offset` elements after a 16-byte boundary."""
    whole = np.empty(array.size + 32, array.dtype)
    start = (-whole.ctypes.data // whole.itemsize) % (16 // whole.itemsize) + offset
    view = whole[start : start + array.size].reshape(array.shape)
    view[...] = array
    return view


def run(a, b, layout, variant, bias=None, out=None, room=0, tf32=True, offset=0):
    """d, which began as NaN; nothing around it may be written."""
    M = a.shape[-1] if layout == TN else a.shape[-2]
    N = b.shape[-2] if layout == NT else b.shape[-1]
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), M, N)
    around = np.full(int(np.prod(shape)) + 2 * GUARD, np.nan, out or a.dtype)
    d = around[GUARD + offset : around.size - GUARD + offset].reshape(shape)
    workspace = np.full(room, np.nan, F32)
    bias = NOTHING if bias is None else bias
    number = kernels._VARIANTS["gemm"][variant] if variant else 0
    _sim.gemm(a, b, bias, NOTHING, d, workspace, layout, number, tf32)
    assert np.isnan(around[: GUARD + offset].astype(F32)).all()
    assert np.isnan(around[around.size - GUARD + offset :].astype(F32)).all()
    return d


# ------------------------------------------------------------------ every variant

SMALL = [(1, 1, 1), (63, 65, 16), (64, 64, 64), (65, 63, 31), (8, 200, 33), (3, 5, 0)]
LARGE = [(127, 129, 15), (128, 128, 160), (136, 264, 40), (1, 7, 1)]
LADDER = [("simt_64x64", SMALL), ("simt_128x128", LARGE), ("sm80_64x64", SMALL + [(72, 48, 264)])]
LADDER += [("sm80_128x128", LARGE + [(256, 8, 136)])]
WIDE = [(8, 264, 64), (136, 16, 328), (264, 520, 72), (3, 8, 8)]
LADDER += [("sm90_128x256", WIDE), ("sm90_128x128", [(128, 128, 448), (136, 24, 8), (1, 136, 64)])]
LADDER += [("sm90_128x192", [(8, 200, 376), (264, 192, 8)]), ("sm90_128x64", [(136, 72, 576)])]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [F32, F16, BF16, F64], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize(("variant", "shapes"), LADDER, ids=[v for v, _ in LADDER])
def test_exact_on_integers(variant, shapes, dtype, layout):
    for M, N, K in shapes:
        a, b = operands(LAYOUTS[layout], M, N, K, dtype, seed=M + N + K)
        bias = integers(N, F32 if dtype != F64 else F64, seed=5)
        d = run(a, b, LAYOUTS[layout], variant, bias, out=bias.dtype)
        np.testing.assert_array_equal(d, product(a, b, LAYOUTS[layout]) + bias, str((M, N, K)))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_misaligned_views(variant, layout):
    for dtype in (F32, BF16):
        a, b = operands(LAYOUTS[layout], 72, 40, 24, dtype)
        exact = product(a, b, LAYOUTS[layout])
        for views in ((misaligned(a), b), (a, misaligned(b, 3)), (misaligned(a), misaligned(b))):
            d = run(*views, LAYOUTS[layout], variant, out=F32, offset=1)
            np.testing.assert_array_equal(d, exact)


def test_the_rung_that_ran():
    """cp.async moves the operands of sm80, but single elements, and nothing of simt."""

    def moved(dtype, K, variant, offset=0, tf32=False):
        a, b = (misaligned(x, offset) for x in operands(NT, 32, 32, K, dtype))
        _sim.reset_counters()
        run(a, b, NT, variant, out=F32, tf32=tf32)
        return _sim.counters()["async_bytes"]

    assert moved(BF16, 64, "sm80") == moved(BF16, 64, None) == 2 * 32 * 64 * 2
    assert moved(BF16, 64, "simt") == moved(F32, 62, "sm80") == 0
    assert moved(F32, 64, "sm80") == moved(F32, 64, "sm80", tf32=True) == 2 * 32 * 64 * 4
    assert moved(BF16, 60, "sm80") == moved(BF16, 64, "sm80", offset=1) == 0
    assert moved(BF16, 64, "sm90_128x128") == 2 * 128 * 64 * 2  # whole boxes
    assert moved(F16, 64, "sm90_128x256") == 2 * (128 + 128) * 64 * 2  # B once for the cluster
    assert moved(F32, 4, "sm80") > moved(F32, 0, "sm80") == 0
    assert moved(F32, 64, "sm90_128x128", tf32=True) == 2 * 128 * 64 * 4
    assert moved(BF16, 64, "sm90_128x192") == 2 * (128 + 96) * 64 * 2
    assert moved(BF16, 60, "sm90") == moved(F32, 62, "sm90", tf32=True) == 0
    assert moved(BF16, 0, "sm90") == 0


@pytest.mark.parametrize("asynchronous", ["now", "late", "random"])
@pytest.mark.parametrize("order", ["ascending", "descending", "random"])
@pytest.mark.parametrize("variant", [name for name in VARIANTS if "_" in name])
def test_every_schedule(variant, order, asynchronous):
    _sim.set_schedule(order, asynchronous, 3)
    tf32 = [(F32, NT, (40, 136, 104))] if "sm90" in variant else [(F32, TN, (40, 136, 104))]
    for dtype, layout, shape in ((BF16, NN, (72, 72, 200)), *tf32):
        a, b = operands(layout, *shape, dtype)
        np.testing.assert_array_equal(run(a, b, layout, variant, out=F32), product(a, b, layout))


@pytest.mark.parametrize("variant", ["simt", "sm80", "sm90"])
@pytest.mark.parametrize(
    ("batch_a", "batch_b"),
    [((3,), (3,)), ((3,), (1,)), ((1,), (3,)), ((2, 1), (1, 3)), ((2, 3), (2, 1)), ((0,), (0,))],
)
def test_batches(variant, batch_a, batch_b):
    for layout in LAYOUTS.values():
        a, b = operands(layout, 24, 16, 40, BF16, batch_a, batch_b)
        np.testing.assert_array_equal(run(a, b, layout, variant, out=F32), product(a, b, layout))


SM90 = [name for name in VARIANTS if name.startswith("sm90_")]


@pytest.mark.parametrize("variant", SM90)
def test_results_in_boxes(variant):
    """Of 16 bits, whole lines apart: TMA stores them; the same bits as by vectors."""
    number = kernels._VARIANTS["gemm"][variant]
    for dtype, layout, (M, N, K), batch, order, asynchronous in (
        (BF16, NT, (136, 264, 72), (), "ascending", "late"),
        (F16, TN, (40, 72, 136), (2, 1), "random", "random"),
    ):
        _sim.set_schedule(order, asynchronous, 7)
        a, b = operands(layout, M, N, K, dtype, batch, batch)
        bias, exact = integers(N, dtype, seed=5), product(a, b, layout)
        _sim.reset_counters()
        plain = run(a, b, layout, variant)
        boxes = _sim.counters()["async_bytes"]
        np.testing.assert_array_equal(plain, exact.astype(dtype))
        _sim.reset_counters()
        run(a, b, layout, variant, offset=1)
        lines, columns = -(-M // 16) * 16, -(-N // int(variant[9:])) * int(variant[9:])
        stored = 2 * int(np.prod(batch)) * lines * columns
        assert boxes - _sim.counters()["async_bytes"] == stored
        for f in range(3):
            d, vectors = np.full_like(plain, np.nan), misaligned(np.full_like(plain, np.nan))
            for to in (d, vectors):
                _sim.gemm_act(a, b, bias, NOTHING, to, NOTHING, layout, f, number, False)
            np.testing.assert_array_equal(d, vectors)
            if f == 0:
                np.testing.assert_array_equal(d, (exact + bias.astype(F64)).astype(dtype))


@pytest.mark.parametrize(
    ("variant", "batch", "out"),
    [
        ("sm90_128x64", 134, F32),
        ("sm90_128x64", 134, BF16),
        ("sm90_128x128", 134, BF16),
        ("sm90_128x192", 68, BF16),
        ("sm90_128x256", 68, BF16),
    ],
)
def test_persistent_ctas_take_several_tiles(variant, batch, out):
    """The second tile begins while boxes of the first are under way."""
    _sim.set_schedule("random", "random", 2)
    a, b = operands(NT, 8, 16, 208, BF16, (batch,), (1,))
    d = run(a, b, NT, variant, out=out)
    np.testing.assert_array_equal(d, product(a, b, NT).astype(out))


@pytest.mark.parametrize("variant", SM90)
def test_stream_k(variant):
    """Whole tiles and those that are left, cut in any places: fewer tiles than workers, tiles that
    two or many share, parts that begin a tile and end the one before; beside batches, sums of A's
    lines, activations, boxes; the same bits in every order.
    """
    BN, cluster = int(variant[9:]), 2 if variant in ("sm90_128x256", "sm90_128x192") else 1
    number, BM = kernels._VARIANTS["gemm"][variant + "_stream"], 128 * cluster
    room = 2 * 132 // cluster * BM * (BN + 1)
    few, many = (BM + 8, 40, 448), (8, 16, 136)
    for layout, (M, N, K), batch, dtype, out, order in (
        (TN, few, (), BF16, F32, "ascending"),
        (NT, many, (132 // cluster + 3,), F16, F16, "random"),
    ):
        _sim.set_schedule(order, "late", 5)
        a, b = operands(layout, M, N, K, dtype, batch, batch)
        exact = product(a, b, layout)
        d, workspace = np.full(exact.shape, np.nan, out), misaligned(np.full(room, np.nan, F32))
        _sim.reset_counters()
        if layout == TN:
            sums = np.full(M, np.nan, out)
            _sim.gemm_sums(a, b, d, sums, workspace, number, False)
            np.testing.assert_array_equal(sums, a.astype(F64).sum(-2))
        else:
            bias = integers(N, out)
            exact = np.maximum(exact + bias.astype(F64), 0)
            _sim.gemm_act(a, b, bias, NOTHING, d, workspace, layout, 1, number, False)
        assert _sim.counters()["launches"] == 2
        np.testing.assert_array_equal(d, exact.astype(out))
    _sim.reset_counters()
    run(a, b, layout, variant + "_stream", room=room - 1)
    assert _sim.counters()["launches"] == 1  # there is no room


@pytest.mark.parametrize(
    "variant", ["simt", "sm80", "sm90_128x64", "sm90_128x128", "sm90_128x192", "sm90_128x256"]
)
def test_split_k(variant):
    for M, N, K, out in ((16, 24, 2048, F32), (65, 7, 1544, F32), (8, 8, 1025, BF16)):
        a, b = operands(TN, M, N, K, BF16, (2,), (2,))
        b[...] = np.sign(b)
        a[:, 256:] = 0 if out == BF16 else a[:, 256:]  # so that sums fit bfloat16
        bias = integers(N, out)
        _sim.reset_counters()
        d = run(a, b, TN, variant, bias, out, room=2 * M * N * 3 + 1)
        assert _sim.counters()["launches"] == 2
        wanted = (product(a, b, TN) + bias.astype(F64)).astype(out)
        np.testing.assert_array_equal(d, wanted)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_lines_that_begin_anywhere(layout):
    """Odd lengths and views of 16 bits run on tensor cores, whose products of several bf16 are
    summed before they are rounded: a sum that a chain of multiply-adds loses is there.
    """
    layout = LAYOUTS[layout]
    for dtype, (M, N, K), batch, offset in (
        (BF16, (67, 65, 129), (), 0),
        (F16, (33, 7, 31), (2,), 1),
        (BF16, (64, 72, 64), (), 3),
        (F16, (1, 1, 1), (), 0),
        (BF16, (129, 3, 70), (), 1),
    ):
        a, b = operands(layout, M, N, K, dtype, batch, batch)
        exact = product(a, b, layout)
        a, b = misaligned(a, offset), misaligned(b)
        for out in (dtype, F32):
            d = run(a, b, layout, "sm80", out=out, offset=1)
            np.testing.assert_array_equal(d, exact.astype(out))
    a, b = operands(layout, 9, 9, 3, BF16)
    b[...] = 1
    turned = a.T if layout == TN else a
    turned[:, 0], turned[:, 1], turned[:, 2] = 2.0**30, 1, -(2.0**30)
    assert (run(a, b, layout, "simt", out=F32) == 0).all()
    assert (run(a, b, layout, "sm80", out=F32) == 1).all()


def test_inf_and_nan_stay_in_their_row_and_column():
    for dtype, variant in ((F32, "simt"), (BF16, "sm80"), (F32, "sm80"), (F16, "sm90")):
        for tf32 in (False, True):
            a, b = operands(NN, 66, 72, 24, dtype)
            a[3, 5], a[7, 0], b[2, 9] = np.inf, np.nan, -np.inf
            with np.errstate(invalid="ignore"):
                d = run(a, b, NN, variant, out=F32, tf32=tf32)
                np.testing.assert_array_equal(d, product(a, b, NN))


def test_three_bf16_are_as_right_as_multiply_adds():
    """The greatest error of the tensor cores in float32 is at most that of one chain of
    multiply-adds, as simt's large tile sums: of numbers of both signs, of one, of powers of two,
    far apart and next to overflow.
    """
    rng = np.random.default_rng(0)
    for K in (4, 16, 300, 2048):
        for draw in (
            lambda s: rng.standard_normal(s),
            lambda s: rng.uniform(1, 2, s),
            lambda s: np.exp2(rng.integers(-20, 20, s)),
            lambda s: rng.standard_normal(s) * np.exp2(rng.integers(-30, 30, s)),
            lambda s: rng.standard_normal(s) * 1e17,
        ):
            K4 = -(-K // 4) * 4
            a, b = draw((40, K4)).astype(F32), draw((48, K4)).astype(F32)
            a[:, K:] = 0
            exact = product(a, b, NT)
            worst = [
                np.max(np.abs(run(a, b, NT, v, tf32=False) - exact) / (np.abs(a) @ np.abs(b.T)))
                for v in ("simt_128x128", "sm80_64x64")
            ]  # of the sum of |a b|
            assert worst[1] <= worst[0], (K, worst)


def test_three_bf16_at_the_ends_of_the_range():
    """The greatest float32 is not rounded to inf, and the smallest keep their leading bits."""
    big = np.full((4, 4), np.finfo(F32).max)
    np.testing.assert_array_equal(run(big, np.eye(4, dtype=F32), NN, "sm80", tf32=False), big)
    small = np.full((4, 4), 2.0**-126 * 1.5, F32)
    np.testing.assert_array_equal(run(small, np.eye(4, dtype=F32), NN, "sm80", tf32=False), small)


@pytest.mark.parametrize("variant", [None, *VARIANTS])
def test_sums_of_the_lines_of_a(variant):
    """With the product or instead of it, whole or in parts of K, beside split-K and batches."""
    number = kernels._VARIANTS["gemm"][variant] if variant else 0
    for dtype, M, N, K, batch, room in (
        (BF16, 136, 40, 72, (), 0),
        (F16, 24, 264, 2048, (), 1 << 16),
        (F32, 72, 16, 40, (), 0),
        (BF16, 33, 7, 40, (), 0),
        (BF16, 16, 24, 40, (2,), 0),
        (BF16, 8, 0, 24, (), 0),
        (BF16, 8, 8, 0, (), 0),
    ):
        for tf32 in (False, True)[: 2 if dtype == F32 else 1]:
            a, b = operands(TN, M, N, K, dtype, batch, batch)
            d, sums = np.full((*batch, M, N), np.nan, F32), np.full((*batch, M), np.nan, F32)
            _sim.gemm_sums(a, b, d, sums, np.full(room, np.nan, F32), number, tf32)
            np.testing.assert_array_equal(d, product(a, b, TN))
            np.testing.assert_array_equal(sums, a.astype(F64).sum(-2), str((dtype, M, N, K)))


def test_sums_of_lines_that_are_not_finite():
    a, b = operands(TN, 16, 16, 24, F32)
    a[3, 5], a[7, 0], a[1, 2] = np.inf, np.nan, -np.inf
    d, sums = np.full((16, 16), np.nan, F32), np.full(16, np.nan, F32)
    _sim.gemm_sums(a, b, d, sums, NOTHING, kernels._VARIANTS["gemm"]["sm80"], False)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(sums, a.sum(0))
        np.testing.assert_array_equal(d, product(a, b, TN))


@pytest.mark.parametrize("variant", ["simt", "sm80", "sm90"])
@pytest.mark.parametrize("room", [0, 1 << 14])
def test_residual(variant, room):
    number, K = kernels._VARIANTS["gemm"][variant], 16 if room == 0 else 1024
    for out in (F32, BF16, F64):
        a, b = operands(NT, 40, 34, K, F64 if out == F64 else BF16)
        a[:, 16:] = 0
        residual, bias = integers((40, 34), out, seed=3), integers(34, out, seed=4)
        d = np.full((40, 34), np.nan, out)
        _sim.gemm(a, b, bias, residual, d, np.full(room, np.nan, F32), NT, number, False)
        exact = product(a, b, NT) + bias.astype(F64) + residual.astype(F64)
        np.testing.assert_array_equal(d, exact.astype(out))


def test_tf32_rounds_to_nearest():
    """Ten bits of mantissa: 1 + 2^-11 and below are 1, and the next above is not."""
    a = np.array([[1, 1 + 2**-11 - 2**-20, 1 + 2**-11, -1 - 2**-11]], F32).repeat(16, 0)
    d = run(a.copy(), np.eye(4, dtype=F32), NN, "sm80")
    step = 1 + 2**-10
    np.testing.assert_array_equal(d, np.array([[1, 1, step, -step]], F32).repeat(16, 0))
    a, b = (np.random.default_rng(i).standard_normal((48, 256)).astype(F32) for i in (0, 1))
    bound = 2.0**-10 * (np.abs(a).astype(F64) @ np.abs(b.T))
    assert (np.abs(run(a, b, NT, "sm80") - product(a, b, NT)) <= bound).all()
    assert (run(a, b, NT, "sm80", tf32=False) != run(a, b, NT, "sm80")).any()


# ------------------------------------------------------------------ epilogues

REFERENCE = {"relu": act.Relu, "gelu": act.Gelu, "gelu_tanh": act.GeluTanh, "silu": act.Silu}


@pytest.mark.parametrize("name", REFERENCE)
@pytest.mark.parametrize("variant", ["simt", "sm80", "sm90"])
@pytest.mark.parametrize("room", [0, 1 << 14])
def test_activation_and_its_derivative(name, variant, room):
    M, N, K = 40, 34, 16 if room == 0 else 1024
    number, workspace = kernels._VARIANTS["gemm"][variant], np.full(room, np.nan, F32)
    scale = BF16(0.25)
    for out in (F32, BF16):
        a, b = (x * scale for x in operands(NT, M, N, K, BF16))
        bias = integers(N, out, seed=9)
        z, d = np.full((M, N), np.nan, out), np.full((M, N), np.nan, out)
        f = ACTIVATIONS.index(name)
        _sim.gemm_act(a, b, bias, z, d, workspace, NT, f, number, False)
        exact = product(a, b, NT) + bias.astype(F64)
        np.testing.assert_array_equal(z, exact.astype(out))
        close(d, REFERENCE[name]().forward(exact), exact)
        again = np.full_like(d, np.nan)
        _sim.gemm_act(a, b, bias, NOTHING, again, workspace, NT, f, number, False)
        np.testing.assert_array_equal(again, d)

        z = integers((M, N), out, seed=4)
        _sim.gemm_dact(a, b, z, d, workspace, NT, f, number, False)
        op = REFERENCE[name]()
        op.x = op.y = z.astype(F64)
        close(d, op.backward(product(a, b, NT)), product(a, b, NT))


def close(got, wanted, argument):
    """One rounding to got's dtype, of mathematics in float32 that is right to 8 ulp of what it is
    asked of.
    """
    unit = float(ml_dtypes.finfo(got.dtype).eps) / 2
    bound = unit * np.abs(wanted) + 8 * np.finfo(F32).eps * np.maximum(np.abs(argument), 1)
    error = np.abs(got.astype(F64) - wanted)
    assert (error <= bound).all(), (error / bound).max()


# ------------------------------------------------------------------ ops


def cases(count, *shapes):
    rng = np.random.default_rng(count)
    return [tuple(rng.standard_normal(s) for s in shapes)]


@pytest.mark.parametrize("name", REFERENCE)
def test_linear_activation_six_questions(name):
    def truth(x, w, b=0.0):
        return REFERENCE[name]().forward(x @ w.T + b)

    for M, K, N in ((5, 16, 8), (33, 7, 65), (0, 3, 2), (2, 0, 3)):
        check(lambda: LinearActivation(name), *cases(M, (M, K), (N, K), (N,)), truth=truth)
    check(lambda: LinearActivation(name), *cases(1, (2, 3, 8), (4, 8)), truth=truth)


@pytest.mark.parametrize("name", REFERENCE)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_feed_forward_is_as_right_as_two_linears(name, dtype):
    """At most twice as wrong as the plain composition in the same dtype, plus one ulp."""
    rng = np.random.default_rng(0)
    shapes = (33, 24), (72, 24), (72,), (40, 72), (40,)
    arrays = [(rng.standard_normal(s) * s[-1] ** -0.5).astype(dtype) for s in shapes]
    dy = rng.standard_normal((33, 40)).astype(dtype)

    def fused(x, w1, b1, w2, b2):
        return F.feed_forward(x, w1, b1, w2, b2, name)

    def plain(x, w1, b1, w2, b2):
        gelu_tanh = name == "gelu_tanh"
        f = (lambda z: F.gelu(z, "tanh")) if gelu_tanh else getattr(F, name)
        return F.linear(f(F.linear(x, w1, b1)), w2, b2)

    truth = gradients(plain, [a.astype(F64) for a in arrays], dy)
    peer = gradients(plain, arrays, dy)
    with pynn.use_kernels("sim"), backend.trace() as paths:
        got = gradients(fused, arrays, dy)
    assert paths.counts == {("feed_forward", "native"): 1}
    testing.at_most_twice(f"feed_forward {name} {dtype}", got, peer, truth)


@pytest.mark.parametrize("variant", VARIANTS)
def test_six_questions_with_each_variant(variant):
    with kernels.prefer("gemm", variant):
        check(Linear, *cases(0, (40, 72), (24, 72), (24,)))
        check(Matmul, *cases(1, (2, 24, 40), (40, 16)), *cases(2, (2, 1, 8, 16), (3, 16, 24)))


sizes = st.integers(0, 3) | st.integers(1, 70) | st.sampled_from([8, 16, 32, 64, 128, 136])
floats = st.sampled_from([F32, F16, BF16])
variants = st.sampled_from([None, *kernels.variants("gemm")])


def gradients(function, arrays, dy):
    tensors = [pynn.Tensor(a, requires_grad=True) for a in arrays]
    y = function(*tensors)
    y.backward(pynn.Tensor(dy.ravel()[: y.size].reshape(y.shape).astype(y.dtype)))
    return [y.numpy(), *(t.grad.numpy() for t in tensors)]


def same_as_reference(function, arrays, variant):
    """Forward and backward by the kernels and by the reference: the same bits, on integers."""
    dy = integers(200_000, F32, seed=7)
    wanted = gradients(function, arrays, dy)
    with pynn.use_kernels("sim"), kernels.prefer("gemm", variant):
        got = gradients(function, arrays, dy)
    for g, w in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(g, w)


@settings(max_examples=150, deadline=None)
@given(sizes, sizes, sizes, floats, variants, st.booleans())
def test_linear_is_the_reference(M, N, K, dtype, variant, with_bias):
    shapes = [(M, K), (N, K), (N,)][: 3 if with_bias else 2]
    arrays = [integers(s, dtype, seed=i) for i, s in enumerate(shapes)]
    same_as_reference(F.linear, arrays, variant)


lead = st.lists(st.sampled_from([1, 2, 3]), max_size=3)


@st.composite
def broadcast_pairs(draw):
    full = draw(lead)
    pair = []
    for _ in range(2):
        own = [n if draw(st.booleans()) else 1 for n in full]
        pair.append(own[draw(st.integers(0, len(own))) :])
    return pair


few = st.integers(0, 2) | st.integers(1, 40) | st.sampled_from([8, 16, 64])


@settings(max_examples=150, deadline=None)
@given(broadcast_pairs(), few, few, few, floats, variants)
def test_matmul_is_the_reference(leads, M, N, K, dtype, variant):
    a, b = integers((*leads[0], M, K), dtype), integers((*leads[1], K, N), dtype, seed=1)
    same_as_reference(F.matmul, [a, b], variant)


def test_same_bits_in_every_schedule():
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s).astype(BF16) for s in ((40, 1032), (24, 1032)))
    results = set()
    for order in ("ascending", "descending", "random"):
        for asynchronous in ("now", "late", "random"):
            _sim.set_schedule(order, asynchronous, 5)
            d = run(x, w, NT, None, out=F32, room=2 * 40 * 24)
            results.add(d.tobytes())
    assert len(results) == 1


# ------------------------------------------------------------------ errors and preferences


def test_bad_input():
    a, b, d = (np.zeros((4, 4), F32) for _ in range(3))

    def gemm(a=a, b=b, bias=NOTHING, d=d, layout=NN, variant=0, workspace=NOTHING):
        _sim.gemm(a, b, bias, NOTHING, d, workspace, layout, variant, False)

    for change, error, text in (
        ({"b": a[:3]}, ValueError, r"\[gemm\] b: expected an inner length of 4, got \(3, 4\)"),
        ({"d": a[:3]}, ValueError, r"\[gemm\] d: expected rows and columns 4 and 4, got \(3, 4\)"),
        ({"b": b.astype(F16)}, TypeError, r"\[gemm\] b: expected float32, got float16"),
        ({"d": d.astype(F16)}, TypeError, r"\[gemm\] d: expected float32, got float16"),
        ({"bias": a[0, :3].copy()}, ValueError, r"\[gemm\] bias: expected shape \(4,\)"),
        ({"layout": 3}, ValueError, r"\[gemm\] layout: expected 0 \(NT\), 1 \(NN\) or 2 \(TN\)"),
        ({"variant": 5}, ValueError, r"\[gemm\] variant: expected one of"),
        ({"a": a[None], "b": b[None]}, ValueError, r"\[gemm\] a: expected 2 dimensions"),
        ({"workspace": np.zeros(4)}, TypeError, r"\[gemm\] workspace: expected float32"),
    ):
        with pytest.raises(error, match=text):
            gemm(**change)
    batch = np.zeros((2, 4, 4), F32)
    with pytest.raises(ValueError, match=r"\[gemm\] b: expected leading axes of 1 or as d's"):
        gemm(a=batch, b=np.zeros((3, 4, 4), F32), d=batch.copy())
    with pytest.raises(ValueError, match=r"\[linear\] activation: expected .* or None, got 'tan'"):
        F.linear(pynn.zeros(2, 3), pynn.zeros(4, 3), activation="tan")


def test_preferences():
    assert kernels.preferred("gemm") == 0
    with kernels.prefer("gemm", "sm80"), kernels.prefer("gemm", "simt_64x64"):
        assert kernels.preferred("gemm") == 12
    assert kernels.preferred("gemm") == 0
    with pytest.raises(ValueError, match=r"\[prefer\] variant: expected one of .* got 'sm70'"):
        kernels.prefer("gemm", "sm70")
    with pytest.raises(ValueError, match=r"\[variants\] family: expected one of .* got 'gemv'"):
        kernels.variants("gemv")
    with pytest.raises(ValueError, match="precision: expected"):
        pynn.set_float32_matmul_precision("medium")


def test_tf32_only_when_asked_for():
    a, b = (pynn.Tensor(np.full((16, 16), 1 + 2**-12, F32)) for _ in range(2))
    with pynn.use_kernels("sim"):
        exact = (a @ b).numpy()
        pynn.set_float32_matmul_precision("tf32")
        try:
            rounded = (a @ b).numpy()
        finally:
            pynn.set_float32_matmul_precision("highest")
    np.testing.assert_array_equal(rounded, 16)
    assert (exact > 16).all()
