"""Elementwise kernels in the simulator, beyond what `check` asks: broadcasting of every pattern,
sums in two stages, misaligned views, schedules, and what the launchers refuse.
"""

import ml_dtypes
import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn import backend
from pynn.functional import arithmetic, shape
from pynn.functional.broadcast import sum_to_native
from pynn.testing import at_most_twice, check, forward

sim = backend.kernel_module("sim")
pytestmark = pytest.mark.skipif(sim is None, reason="pynn was built without pynn._sim")

DTYPES = [np.float32, np.float16, ml_dtypes.bfloat16]
PATTERNS = [
    ((5, 8), (8,)),  # a row
    ((5, 8), (5, 1)),  # a column
    ((5, 7), ()),  # a scalar
    ((7, 1), (1, 16)),  # an outer product
    ((2, 3, 4, 8), (2, 1, 1, 8)),  # channels of each sample
    ((2, 5, 16), (5, 1)),  # channels first
    ((3, 1, 4, 1, 8), (1, 2, 1, 3, 1)),  # every axis another way
    ((2, 3, 2, 3, 2, 3, 2, 4), (1, 3, 1, 3, 1, 3, 1, 4)),  # eight axes
    ((0, 4), (4,)),
    ((3, 0), (3, 1)),
    ((1, 1), (1,)),
    ((4099,), ()),
]


def misaligned(array, by=1):
    """The same values, `by` elements past an aligned address."""
    flat = np.empty(array.size + 64, array.dtype)
    start = -flat.ctypes.data % 64 // array.dtype.itemsize + by
    flat[start : start + array.size] = array.ravel()
    return flat[start : start + array.size].reshape(array.shape)


@pytest.fixture(params=["ascending", "descending", "random"])
def schedule(request):
    sim.set_schedule(request.param)
    yield
    sim.set_schedule()


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("by", [0, 1], ids=["aligned", "misaligned"])
def test_broadcasting_gives_the_reference_to_the_bit(dtype, by, schedule):
    rng = np.random.default_rng(0)
    for left, right in PATTERNS:
        a = misaligned(rng.standard_normal(left).astype(dtype), by)
        b = misaligned(rng.standard_normal(right).astype(dtype), by)
        wanted = a - b
        y = misaligned(np.full(wanted.shape, np.nan, dtype), by)
        sim.sub_fwd(a, b, y)
        assert y.tobytes() == wanted.tobytes(), (left, right)


def test_nothing_is_written_beyond_the_output():
    for n in (1, 7, 8, 9, 1023, 4097):
        for by in (0, 1, 3):
            room = np.full(n + 16, 7, np.float32)
            start = -room.ctypes.data % 16 // 4 + by
            y = room[start : start + n]
            sim.add_fwd(np.ones(n, np.float32), np.array(1, np.float32), y)
            assert (y == 2).all()
            assert (room[:start] == 7).all() and (room[start + n :] == 7).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
def test_sums_over_every_pattern_are_exact_on_integers(dtype, schedule):
    """Integers whose sums a float32 holds: any order gives the same bits, so one is enough."""
    rng = np.random.default_rng(1)
    shapes = [
        ((40, 24), (24,)),
        ((40, 24), (40, 1)),
        ((40, 24), ()),
        ((3, 40, 10), (3, 1, 10)),
        ((3, 10, 40), (10, 1)),
        ((2, 3, 4, 5, 6, 7), (1, 3, 1, 5, 1, 7)),
        ((700, 33), (33,)),  # two stages
        ((2, 40000), (2, 1)),  # two stages
        ((40001,), ()),
        ((0, 5), (5,)),
        ((5, 0), (5, 1)),
        ((1, 6), (6,)),
    ]
    for full, to in shapes:
        x = rng.integers(-2, 3, full).astype(dtype)
        wanted = backend.sum_to(x.astype(np.float64), to).astype(dtype)
        for by in (0, 1):
            got = sum_to_native(misaligned(x, by), to)
            assert got.dtype == dtype and got.shape == to
            assert got.tobytes() == wanted.tobytes(), (full, to, by)


def test_a_long_sum_of_bfloat16_ones_does_not_stall():
    ones = np.ones(100_000, ml_dtypes.bfloat16)
    assert float(sum_to_native(ones, ())) == 99_840  # 100000 in bfloat16


def test_a_sum_has_the_same_bits_under_every_schedule():
    x = np.random.default_rng(2).standard_normal((900, 40)).astype(np.float32)
    seen = set()
    for order, seed in [("ascending", 1), ("descending", 1), ("random", 1), ("random", 2)]:
        sim.set_schedule(order, seed=seed)
        seen.add((sum_to_native(x, (40,)).tobytes(), sum_to_native(x, ()).tobytes()))
    sim.set_schedule()
    assert len(seen) == 1


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
def test_where_keeps_nan_and_the_sign_of_zero(dtype, schedule):
    values = np.array([np.nan, -0.0, np.inf, 1.0] * 40, dtype)
    for condition_shape in [(160,), (1,), (4, 160)]:
        condition = np.random.default_rng(3).random(condition_shape) < 0.5
        y = np.empty(np.broadcast_shapes(condition_shape, (160,)), dtype)
        sim.where_fwd(condition, values, np.zeros((), dtype), y)
        wanted = np.where(condition, values, np.zeros((), dtype))
        np.testing.assert_array_equal(y.astype(np.float32), wanted.astype(np.float32))
        zeros = wanted == 0
        assert (np.signbit(y[zeros]) == np.signbit(wanted[zeros])).all()


def test_where_asks_the_six_questions():
    rng = np.random.default_rng(4)
    for condition, a, b in [((5, 8), (5, 8), (8,)), ((8,), (5, 1), ()), ((3, 1, 8), (2, 8), (1,))]:
        mask = rng.random(condition) < 0.5
        case = rng.standard_normal(a), rng.standard_normal(b)
        check(lambda m=mask: shape.Where(m), case, truth=lambda a, b, m=mask: np.where(m, a, b))


def test_expand_asks_the_six_questions():
    rng = np.random.default_rng(5)
    for start, to in [((1, 8), (5, 8)), ((4, 1), (4, 40)), ((), (3, 4)), ((2, 1, 3), (2, 5, 3))]:
        check(
            lambda to=to: shape.Expand(to),
            (rng.standard_normal(start),),
            truth=lambda x, to=to: np.broadcast_to(x, to),
        )


@pytest.mark.parametrize("start", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("to", DTYPES, ids=lambda d: np.dtype(d).name)
def test_cast_rounds_as_numpy(start, to):
    values = np.random.default_rng(6).standard_normal(999) * np.logspace(-9, 6, 999)
    with np.errstate(over="ignore"):
        x = np.concatenate([values, [0, -0.0, np.inf, -np.inf, 65519, 65520]]).astype(start)
        wanted = x.astype(to)
    for by in (0, 1):
        y = misaligned(np.empty(x.shape, to), by)
        sim.cast(misaligned(x, by), y)
        assert y.tobytes() == wanted.tobytes()
    nan = np.full(3, np.nan, start)
    y = np.zeros(3, to)
    sim.cast(nan, y)
    assert np.isnan(y.astype(np.float32)).all()


def test_a_step_of_arithmetic_runs_on_kernels_alone(monkeypatch):
    monkeypatch.setenv("PYNN_STRICT", "1")
    rng = np.random.default_rng(7)

    def loss():
        x = pynn.Tensor(rng.standard_normal((6, 8)).astype(np.float32), requires_grad=True)
        w = pynn.Tensor(rng.standard_normal(8).astype(np.float32), requires_grad=True)
        y = F.where(x.data > 0, (x * w - 1) / (F.exp(x) + 2), F.maximum(x, w) ** 2)
        y = F.clip(F.sin(y) + F.sqrt(F.abs(y)), -3, 3).astype("bfloat16").astype("float32")
        y.backward(np.ones((6, 8), np.float32))
        return y.numpy(), x.grad.numpy(), w.grad.numpy()

    with pynn.use_kernels("sim"), backend.trace() as trace:
        ours = loss()
    assert {path for _, path in trace.counts} == {"native"}
    rng = np.random.default_rng(7)
    monkeypatch.undo()
    for a, b in zip(ours, loss(), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-2, atol=1e-2)  # through bfloat16


def test_sine_and_cosine_of_every_magnitude():
    rng = np.random.default_rng(8)
    x = np.exp(rng.uniform(np.log(1e-30), np.log(3.4e38), 20_000)) * rng.choice([-1, 1], 20_000)
    x = np.concatenate([x, [0, -0.0, 65536, -65535.9, np.finfo(np.float32).max]]).astype(np.float32)
    for op in (arithmetic.Sin, arithmetic.Cos):
        (wanted,), _ = forward(op, [x.astype(np.float64)])
        (reference,), _ = forward(op, [x])
        (got,), _ = forward(op, [x], native=True)
        at_most_twice(op.__name__, [got], [reference], [wanted])
        assert (np.signbit(got) == np.signbit(wanted)).all()


def test_a_dtype_without_kernels_says_so():
    with pynn.use_kernels("sim"), backend.trace() as trace:
        pynn.ones(3, dtype="float64") + pynn.ones(1, dtype="float64")
        pynn.ones(3).astype("float64")
    assert trace.counts == {
        ("add", "no kernel for float64 (3,), float64 (1,)"): 1,
        ("astype", "no kernel for float32 (3,)"): 1,
    }


def test_extreme_arguments():
    inf, nan = np.inf, np.nan
    check(
        arithmetic.Minimum,
        extremes=[
            (
                [np.array([1.0, nan, 2.0, -inf]), np.array([nan, 1.0, 2.0, 3.0])],
                np.array([nan, nan, 2, -inf]),
                (np.array([0, 1.0, 0.5, 1]), np.array([1.0, 0, 0.5, 0])),
            )
        ],
    )
    check(arithmetic.Exp, extremes=[([np.array([-inf, inf, nan])], np.array([0, inf, nan]), None)])
    check(
        lambda: arithmetic.Clip(None, 2.0),
        extremes=[([np.array([-inf, 3, nan])], np.array([-inf, 2, nan]), (np.array([1.0, 0, 0]),))],
    )
    check(
        arithmetic.Abs,
        extremes=[
            ([np.array([-inf, -0.0, nan])], np.array([inf, 0, nan]), (np.array([-1, 0, nan]),))
        ],
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda f: sim.add_fwd(f(2, 3), f(4), f(2, 3)),
            ValueError,
            r"\[add_fwd\] inputs: expected shapes that broadcast, got \(2, 3\) and \(4,\)",
        ),
        (
            lambda f: sim.add_fwd(f(2, 3), f(3), f(3)),
            ValueError,
            r"\[add_fwd\] y: expected shape \(2, 3\), got \(3,\)",
        ),
        (
            lambda f: sim.add_fwd(f(3), f(3).astype("f2"), f(3)),
            TypeError,
            r"\[add_fwd\] inputs: expected float32, got float16",
        ),
        (
            lambda f: sim.where_fwd(f(3), f(3), f(3), f(3)),
            TypeError,
            r"\[where_fwd\] condition: expected bool, got float32",
        ),
        (
            lambda f: sim.sum_columns(f(2, 3, 4), f(3, 1, 4)),
            ValueError,
            r"\[sum_columns\] y: expected shape \(2, 1, 4\), got \(3, 1, 4\)",
        ),
        (
            lambda f: sim.sum_rows(f(2, 3).astype("f2"), f(2, 1).astype(ml_dtypes.bfloat16)),
            TypeError,
            r"\[sum_rows\] y: expected float16, got bfloat16",
        ),
        (
            lambda f: sim.clip_fwd(f(3), f(3), 2.0, 1.0),
            ValueError,
            r"\[clip_fwd\] low: expected at most high = 1, got 2",
        ),
    ],
)
def test_launchers_name_what_was_expected(call, error, message):
    with pytest.raises(error, match=message):
        call(lambda *shape: np.zeros(shape, np.float32))
