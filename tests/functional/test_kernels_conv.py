"""The convolution kernels in the simulator: every variant and pass around the edges of tiles, taps
and groups, bit for bit on small integers, whose sums are exact in any order.

Over 400 lines: three passes, four rungs and their limits are asked the same questions.
"""

import itertools

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pynn
import pynn.functional as F
from pynn import backend, kernels
from pynn.functional.conv import Conv1d, Conv2d, Conv2dActivation, ConvTranspose1d, ConvTranspose2d
from pynn.functional.window import Geometry
from pynn.testing import check

_sim = backend.kernel_module("sim")
pytestmark = pytest.mark.skipif(_sim is None, reason="pynn was built without pynn._sim")

F32, F16, BF16 = np.float32, np.float16, ml_dtypes.bfloat16
NOTHING = np.empty(0, F32)
NONE = ((0, 0), (0, 0))
VARIANTS = kernels.variants("conv")


@pytest.fixture(autouse=True)
def ordinary_schedule():
    yield
    if _sim is not None:
        _sim.set_schedule("ascending", "now", 1)


def integers(shape, dtype, seed=0, most=2):
    return np.random.default_rng(seed).integers(-most, most + 1, shape).astype(dtype)


def shapes(H, W, C, K, kernel, geometry, groups=1, N=2):
    """x, w, b and y of one convolution."""
    P, Q = geometry.output_size((H, W), kernel)
    return (N, H, W, C), (K, *kernel, C // groups), (K,), (N, P, Q, K)


def geometry(stride=1, padding=0, dilation=1):
    pairs = [(n, n) if isinstance(n, int) else n for n in (stride, padding, dilation)]
    return Geometry(pairs[0], tuple((n, n) for n in pairs[1]), pairs[2])


def results(op, arrays, dy, native):
    """y and every gradient."""
    node = op()
    node.needs = (True,) * len(arrays)
    y = (node.forward_native if native else node.forward)(*arrays)
    return [y, *(node.backward_native if native else node.backward)(dy)]


def same_as_reference(op, *shape, dtype=F32, variant=None, tf32=False, most=2):
    """Forward and gradients by the kernels and by the reference: the same bits, on integers."""
    *inputs, out = shape
    arrays = [integers(s, dtype, seed, most) for seed, s in enumerate(inputs)]
    dy = integers(out, dtype, 9, most)
    wanted = results(op, arrays, dy, native=False)
    precision = kernels.get_float32_matmul_precision()
    kernels.set_float32_matmul_precision("tf32" if tf32 else "highest")
    try:
        with kernels.prefer("conv", variant):
            got = results(op, arrays, dy, native=True)
    finally:
        kernels.set_float32_matmul_precision(precision)
    for name, g, w in zip(("y", "dx", "dw", "db"), got, wanted, strict=False):
        np.testing.assert_array_equal(g, w, f"{name} of {shape} {variant}")


# ------------------------------------------------------------------ every variant

# H, W, C, K, kernel, stride, padding, dilation, groups
AROUND = {
    "edges of tiles": (9, 8, 40, 136, (3, 2), 1, (1, 0), 1, 1),
    "stride, some phases smaller": (7, 9, 16, 24, (3, 3), 2, 1, 1, 1),
    "phases without a tap": (7, 6, 8, 16, (1, 1), 2, 0, 1, 1),
    "stride 3, dilation 2": (11, 8, 8, 8, (3, 2), (3, 2), (2, 0), 2, 1),
    "stride and dilation with a common factor": (12, 9, 8, 8, (3, 3), (4, 2), 3, (2, 2), 1),
    "stride beyond the kernel": (9, 10, 8, 8, (2, 2), 3, 0, 1, 1),
    "groups": (5, 6, 16, 48, (3, 3), 1, 1, 1, 2),
    "groups and stride": (6, 5, 32, 16, (3, 2), 2, 1, 1, 4),
    "channels off 8": (6, 5, 3, 5, (3, 3), 2, 1, 1, 1),
    "channels off 8 in groups": (5, 5, 6, 9, (2, 2), 1, 1, 1, 3),
    "1x1": (5, 4, 24, 40, (1, 1), 1, 0, 1, 1),
    "1x1 with padding": (3, 4, 8, 8, (1, 1), 1, 1, 1, 1),
    "an output of one pixel": (5, 5, 8, 16, (5, 5), 1, 0, 1, 1),
    "wide kernel": (8, 7, 8, 8, (7, 5), 1, (3, 2), 1, 1),
}


def convolution(name, N=2):
    H, W, C, K, kernel, stride, padding, dilation, groups = AROUND[name]
    how = geometry(stride, padding, dilation)
    return lambda: Conv2d(*how, groups), shapes(H, W, C, K, kernel, how, groups, N)


@pytest.mark.parametrize("name", AROUND)
@pytest.mark.parametrize("variant", VARIANTS)
def test_exact_on_integers(name, variant):
    for dtype in (F32, BF16) if "simt" in variant else (F16, BF16, F32):
        if variant.startswith("sm90") and dtype is F32:
            continue
        op, shape = convolution(name)
        same_as_reference(op, *shape, dtype=dtype, variant=variant, tf32=True, most=1)


@pytest.mark.parametrize("name", AROUND)
def test_transposed_exact_on_integers(name):
    op, (x, w, _, y) = convolution(name)
    numbers = op().geometry
    for dtype in (F32, BF16):
        turned = lambda: ConvTranspose2d(x[1:3], *numbers, op().groups)  # noqa: E731
        same_as_reference(turned, y, w, x[-1:], x, dtype=dtype, most=1)


def test_padding_that_differs_before_and_after():
    how = Geometry((2, 1), ((0, 2), (3, 1)), (1, 2))
    for C in (3, 8):
        same_as_reference(lambda: Conv2d(*how, 1), *shapes(6, 7, C, 8, (3, 3), how), dtype=BF16)


# H, W, C, kernel, stride, padding, dilation
DEPTHWISE = [
    (7, 9, 24, (3, 3), 1, 1, 1),
    (8, 7, 300, (3, 5), 1, (1, 2), 1),
    (9, 10, 8, (5, 3), 2, (2, 1), 1),
    (9, 8, 5, (3, 3), (1, 2), 0, (2, 1)),
    (7, 11, 16, (2, 7), (3, 1), 3, (1, 2)),
    (6, 6, 8, (1, 1), 2, 0, 1),
    (40, 33, 8, (3, 3), 1, 1, 1),
]


@pytest.mark.parametrize("dtype", [F32, F16, BF16], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("case", DEPTHWISE, ids=str)
def test_depthwise_exact_on_integers(case, dtype):
    H, W, C, kernel, stride, padding, dilation = case
    how = geometry(stride, padding, dilation)
    x, w, b, y = shapes(H, W, C, C, kernel, how, C)
    _sim.reset_counters()
    same_as_reference(lambda: Conv2d(*how, C), x, w, b, y, dtype=dtype, most=1)
    phases = how.stride[0] * how.stride[1]
    extra = _sim.counters()["launches"] - (1 + phases + 2)  # y; phases of dx; dw in two
    assert 1 <= extra <= 2  # db
    turned = lambda: ConvTranspose2d((H, W), *how, C)  # noqa: E731
    same_as_reference(turned, y, w, (C,), x, dtype=dtype, most=1)


def misaligned(array):
    whole = np.empty(array.size + 32, array.dtype)
    start = (-whole.ctypes.data // whole.itemsize) % (16 // whole.itemsize) + 1
    view = whole[start : start + array.size].reshape(array.shape)
    view[...] = array
    return view


@pytest.mark.parametrize("dtype", [F32, BF16])
def test_misaligned_views(dtype):
    op, (x, w, b, y) = convolution("edges of tiles", N=1)
    arrays = [integers(s, dtype, i, 1) for i, s in enumerate((x, w, b))]
    dy = integers(y, dtype, 9, 1)
    wanted = results(op, arrays, dy, native=False)
    for n in range(3):
        views = [misaligned(a) if i == n else a for i, a in enumerate(arrays)]
        for g, r in zip(results(op, views, misaligned(dy), native=True), wanted, strict=True):
            np.testing.assert_array_equal(g, r)


def test_the_rung_that_ran():
    """cp.async moves the operands of sm80 and nothing of simt; in 16 bits sm80 takes what does not
    fit element by element, and in f32 it falls to simt.
    """

    def ran(dtype, C, K, variant, tf32=False, kernel=(3, 3)):
        how = geometry(1, 1)
        x, w, _, y = shapes(5, 5, C, K, kernel, how)
        _sim.reset_counters()
        out = np.empty(y, dtype)
        number = kernels._VARIANTS["conv"][variant] if variant else 0
        _sim.conv_fprop(
            integers(x, dtype), integers(w, dtype), NOTHING, out, NOTHING,
            (1, 1), (1, 1), (1, 1), number, tf32,
        )  # fmt: skip
        return _sim.counters()

    def moved(*how, **more):
        return ran(*how, **more)["async_bytes"] > 0

    assert moved(BF16, 8, 16, "sm80") and moved(F32, 4, 16, "sm80", tf32=True)
    assert not moved(BF16, 8, 16, "simt") and not moved(F32, 8, 16, "sm80")
    for C, K in ((12, 16), (3, 16), (8, 12)):
        by_element = ran(BF16, C, K, "sm80")
        assert (by_element["async_bytes"] > 0) == (C == 8)  # fprop takes any K by chunks
        assert by_element == ran(F16, C, K, None) != ran(F16, C, K, "simt")


@pytest.mark.parametrize("asynchronous", ["now", "late", "random"])
@pytest.mark.parametrize("order", ["ascending", "descending", "random"])
def test_every_schedule(order, asynchronous):
    _sim.set_schedule(order, asynchronous, 3)
    for name in ("stride, some phases smaller", "groups"):
        op, shape = convolution(name)
        for variant in VARIANTS:
            if "_" in variant:
                same_as_reference(op, *shape, dtype=BF16, variant=variant, most=1)


def test_split_k_of_wgrad_and_of_small_images():
    """Two launches each, and the same sums; with groups too."""
    for C, K, groups, variant in ((8, 16, 1, "sm80"), (3, 5, 1, "simt"), (16, 16, 2, None)):
        how = geometry(1, 1)
        shape = shapes(17, 16, C, K, (3, 3), how, groups, N=4)
        _sim.reset_counters()
        same_as_reference(lambda: Conv2d(*how, groups), *shape, variant=variant, most=1)  # noqa: B023
        assert _sim.counters()["launches"] >= 4  # y, dx, dw in two
    how = geometry(1, 1)
    op = lambda: Conv2d(*how, 1)  # noqa: E731
    same_as_reference(op, *shapes(3, 3, 136, 16, (3, 3), how, N=1), dtype=F32, most=1)


def test_empty_batch_no_channels_no_kernels():
    how = geometry(2, 1)
    for N, C, K in ((0, 8, 8), (2, 0, 8), (2, 8, 0)):
        same_as_reference(lambda: Conv2d(*how, 1), *shapes(5, 4, C, K, (3, 3), how, N=N))
        same_as_reference(
            lambda: Conv2d(*how, 1), *shapes(5, 4, C, K, (3, 3), how, N=N), dtype=BF16
        )


def test_nan_and_inf_stay_in_the_windows_that_see_them():
    for dtype, variant in ((F32, "simt"), (BF16, "sm80")):
        how = geometry(1, 1)
        x, w, _, _ = shapes(5, 5, 8, 8, (3, 3), how, N=1)
        x, w = np.zeros(x, dtype), np.ones(w, dtype)
        x[0, 1, 1, 3], x[0, 4, 4, 0] = np.nan, np.inf
        with kernels.prefer("conv", variant):
            y = Conv2d(*how, 1).forward_native(x, w).astype(F32)
        wanted = np.zeros((1, 5, 5, 8), F32)
        wanted[:, :3, :3], wanted[:, 3:, 3:] = np.nan, np.inf
        np.testing.assert_array_equal(y, wanted)


# ------------------------------------------------------------------ the six questions

SIX = ["stride, some phases smaller", "groups and stride", "channels off 8", "1x1 with padding"]


@pytest.mark.parametrize("name", SIX)
def test_six_questions(name):
    op, (x, w, b, _) = convolution(name, N=1)
    rng = np.random.default_rng(0)
    check(op, tuple(rng.standard_normal(s) for s in (x, w, b)))


def test_lines_six_questions():
    rng = np.random.default_rng(0)
    numbers = (1, 2), ((0, 0), (1, 1)), (1, 2), 2
    x, w, b = (rng.standard_normal(s) for s in ((2, 11, 16), (24, 3, 8), (24,)))
    check(lambda: Conv1d(*numbers), (x, w, b))
    y, w, b = (rng.standard_normal(s) for s in ((2, 5, 8), (8, 3, 8), (16,)))
    check(lambda: ConvTranspose1d((1, 11), *numbers), (y, w, b))


# ------------------------------------------------------------------ fused


@pytest.mark.parametrize("activation", ["relu", "gelu", "gelu_tanh", "silu", None])
@pytest.mark.parametrize("name", ["stride, some phases smaller", "groups", "1x1", "depthwise"])
def test_activation_and_residual_six_questions(name, activation):
    if name == "depthwise":
        how, groups = geometry(1, 1), 8
        x, w, b, y = shapes(5, 6, 8, 8, (3, 3), how, groups, N=1)
    else:
        op, (x, w, b, y) = convolution(name, N=1)
        how, groups = op().geometry, op().groups
    rng = np.random.default_rng(0)
    x, w, b, residual = (rng.standard_normal(s) for s in (x, w, b, y))
    types = ("float32", "bfloat16")
    w /= np.sqrt(w[0].size)

    def f(z):
        return z if activation is None else Conv2dActivation.functions[activation]().forward(z)

    def plain(x, w, b=None):
        return Conv2d(*how, groups).forward(x, w, b)

    if activation is not None:
        check(
            lambda: Conv2dActivation(activation, False, *how, groups),
            (x, w, b),
            truth=lambda x, w, b: f(plain(x, w, b)),
            types=types,
        )
    check(
        lambda: Conv2dActivation(activation, True, *how, groups),
        (x, w, residual),
        (x, w, b, residual),
        truth=lambda x, w, *rest: f(plain(x, w, *rest[:-1]) + rest[-1]),
        types=types,
    )


def test_public_functions_take_activation_and_residual():
    x, w, residual = (integers(s, F32) for s in ((2, 9, 8), (4, 3, 8), (2, 7, 4)))
    x, w, residual = (pynn.Tensor(a, requires_grad=True) for a in (x, w, residual))
    wanted = F.relu(F.conv1d(x, w) + residual)
    with pynn.use_kernels("sim"):
        got = F.conv1d(x, w, activation="relu", residual=residual)
    np.testing.assert_array_equal(got.numpy(), wanted.numpy())
    with pytest.raises(ValueError, match=r"\[conv1d\] residual: expected shape \(2, 7, 4\), got"):
        F.conv1d(x, w, residual=x)
    with pytest.raises(ValueError, match=r"\[conv1d\] activation: expected .* got 'tanh'"):
        F.conv1d(x, w, activation="tanh")


# ------------------------------------------------------------------ any numbers

KERNELS = (1, 2, 3, 5, 7)
PRODUCT = list(itertools.product(KERNELS, (1, 2, 3), (0, 1), (1, 2), ("1", "2", "C"), (5, 8, 24)))


def one_of_all(kernel, stride, pad, dilation, groups, C):
    """A convolution of these numbers with P of 1 or more, and kernels of another length across."""
    across = KERNELS[(KERNELS.index(kernel) + 2) % 5]
    how = geometry(stride, pad * (kernel // 2), dilation)
    H, W = (max(1, dilation * (k - 1) + 1 - 2 * how.padding[0][0]) for k in (kernel, across))
    groups = {"1": 1, "2": 2, "C": C}[groups]
    C += C % groups
    K = C if groups == C else 2 * C + 2
    return how, groups, shapes(H + stride * (C % 3), W + C % 4, C, K, (kernel, across), how, groups)


@pytest.mark.parametrize("dtype", [F32, BF16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("variant", [None, *VARIANTS])
@pytest.mark.slow
def test_all_combinations(variant, dtype):
    for numbers in PRODUCT:
        how, groups, shape = one_of_all(*numbers)
        run = dict(dtype=dtype, variant=variant, tf32=True, most=1)
        same_as_reference(lambda: Conv2d(*how, groups), *shape, **run)  # noqa: B023


def test_some_combinations():
    choices = [None, *VARIANTS]
    for i, numbers in enumerate(PRODUCT[::11]):
        how, groups, shape = one_of_all(*numbers)
        run = dict(dtype=(F32, BF16, F16)[i % 3], variant=choices[i % len(choices)], most=1)
        same_as_reference(lambda: Conv2d(*how, groups), *shape, **run)  # noqa: B023


@st.composite
def problems(draw):
    number = lambda low, high: draw(st.integers(low, high))  # noqa: E731
    kernel = number(1, 4), number(1, 3)
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    each, of_group = (draw(st.sampled_from([1, 3, 4, 8, 16])) for _ in range(2))
    stride, dilation = ((number(1, 3), number(1, 3)) for _ in range(2))
    padding = tuple((number(0, 3), number(0, 3)) for _ in range(2))
    size = [
        max(1, d * (k - 1) + 1 - sum(pad)) + number(0, 5)
        for k, d, pad in zip(kernel, dilation, padding, strict=True)
    ]
    how = Geometry(stride, padding, dilation)
    shape = shapes(*size, groups * each, groups * of_group, kernel, how, groups, number(1, 3))
    dtype = draw(st.sampled_from([F32, F16, BF16]))
    return how, groups, shape, dtype, draw(st.sampled_from([None, *VARIANTS]))


@settings(max_examples=300, deadline=None)
@given(problems())
def test_any_convolution_is_the_reference(problem):
    how, groups, (x, w, b, y), dtype, variant = problem
    how_run = dict(dtype=dtype, variant=variant, tf32=True, most=1)
    same_as_reference(lambda: Conv2d(*how, groups), x, w, b, y, **how_run)
    turned = lambda: ConvTranspose2d(x[1:3], *how, groups)  # noqa: E731
    same_as_reference(turned, y, w, x[-1:], x, **how_run)


# ------------------------------------------------------------------ errors


def test_bad_input():
    x, w, y = np.zeros((1, 4, 4, 4), F32), np.zeros((6, 3, 3, 4), F32), np.zeros((1, 2, 2, 6), F32)

    def fprop(x=x, w=w, b=NOTHING, y=y, stride=(1, 1), padding=(0, 0), dilation=(1, 1), variant=0):
        _sim.conv_fprop(x, w, b, y, NOTHING, stride, padding, dilation, variant, False)

    fprop()
    for change, error, text in (
        ({"x": x[0]}, ValueError, r"\[conv_fprop\] x: expected 4 dimensions"),
        ({"x": x[..., :3].copy()}, ValueError, r"x: expected a multiple of w's 4 channels, got 3"),
        ({"w": w[:5, ..., :2].copy()}, ValueError, r"w: expected a multiple of 2 groups, got 5"),
        ({"w": w.astype(F16)}, TypeError, r"\[conv_fprop\] w: expected float32, got float16"),
        (
            {"x": x.astype("f8")},
            TypeError,
            r"x: expected float32, float16 or bfloat16, got float64",
        ),
        ({"y": y[..., :5].copy()}, ValueError, r"y: expected shape \(1, 2, 2, 6\), got"),
        ({"b": x[0, 0, 0]}, ValueError, r"bias: expected shape \(6,\), got \(4,\)"),
        ({"stride": (0, 1)}, ValueError, r"stride: expected 1 to 2\^24, got 0"),
        ({"dilation": (1, 0)}, ValueError, r"dilation: expected 1 to 2\^24, got 0"),
        ({"padding": (-1, 0)}, ValueError, r"padding: expected 0 to 2\^24, got -1"),
        ({"variant": 7}, ValueError, r"variant: expected one of pynn.kernels.variants"),
    ):
        with pytest.raises(error, match=text):
            fprop(**change)


def test_every_op_runs_its_kernels(monkeypatch):
    """Public functions, strict: no fallback, on views and lines too."""
    monkeypatch.setenv("PYNN_STRICT", "1")
    images = integers((2, 8, 6, 7), F32).transpose(0, 2, 3, 1)
    lines = integers((2, 8, 7), F32).transpose(0, 2, 1)
    w, v = (pynn.Tensor(integers(shape, F32)) for shape in ((4, 3, 3, 8), (4, 3, 8)))
    stepped = integers((2, 12, 7, 8), F32)[:, ::-2, ::-1]
    spread = np.broadcast_to(integers((1, 1, 7, 8), F32), (2, 6, 7, 8))
    calls = [
        (images, lambda x: F.conv2d(x, w, padding="same")),
        (stepped, lambda x: F.conv2d(x, w, padding=1, activation="relu")),
        (spread, lambda x: F.conv2d(x, w, stride=2)),
        (images, lambda x: F.conv_transpose2d(F.conv2d(x, w), w)),
        (lines, lambda x: F.conv1d(x, v, stride=2)),
        (lines, lambda x: F.conv_transpose1d(F.conv1d(x, v), v)),
    ]
    for x, call in calls:
        found = []
        for which in ("reference", "sim"):
            with pynn.use_kernels(which):
                t = pynn.Tensor(x, requires_grad=True)
                y = call(t)
                y.backward(np.ones(y.shape, F32))
                found.append((y.numpy(), t.grad.numpy()))
        for a, b in zip(*found, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_images_of_more_than_2_to_the_31_elements():
    """Only what far strides reach is read, so only those pages of x exist."""
    how = geometry((32767, 16387))
    shape = shapes(65536, 32776, 1, 2, (2, 2), how, N=1)
    x = np.zeros(shape[0], F32)
    assert x.size > 2**31
    x[0, 32767 * 2 :, 16387 * 2 :, 0] = [[1, 2], [3, 4]]
    w, dy = integers(shape[1], F32), integers(shape[3], F32, 9)
    y = Conv2d(*how, 1).forward_native(x, w)
    wanted = np.zeros_like(y)
    wanted[0, 2, 2] = w[:, 0, 0, 0] + 2 * w[:, 0, 1, 0] + 3 * w[:, 1, 0, 0] + 4 * w[:, 1, 1, 0]
    np.testing.assert_array_equal(y, wanted)
    node = Conv2d(*how, 1)
    node.x, node.w = x, w
    taps = np.array([[1, 2], [3, 4]], F32)
    wanted = dy[0, 2, 2][:, None, None, None] * taps[None, :, :, None]
    np.testing.assert_array_equal(node.gradient_w_native(dy), wanted)
