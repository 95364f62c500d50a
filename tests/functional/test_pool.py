"""Pooling: the six questions against naive loops, ties, NaN, hanging windows, bad input, torch."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pynn
import pynn.functional as F
from pynn.functional.pool import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool1d,
    AvgPool2d,
    MaxPool1d,
    MaxPool2d,
)
from pynn.testing import check

NONE = ((0, 0), (0, 0))


def seen(x, size, kernel, stride, padding, dilation=(1, 1)):
    """For each window, its place and the pixels in it, (N, pixels, C), found one by one."""
    for p, q in np.ndindex(*size):
        rows = [p * stride[0] + r * dilation[0] - padding[0][0] for r in range(kernel[0])]
        columns = [q * stride[1] + s * dilation[1] - padding[1][0] for s in range(kernel[1])]
        inside = [
            x[:, h, w] for h in rows for w in columns if 0 <= h < x.shape[1] and 0 <= w < x.shape[2]
        ]
        yield p, q, np.stack(inside, axis=1)


def naive(reduce, x, size, *numbers):
    y = np.zeros((len(x), *size, x.shape[3]))
    for p, q, pixels in seen(x, size, *numbers):
        y[:, p, q] = reduce(pixels, axis=1)
    return y


def distinct(shape, seed=0):
    """Numbers so far apart that neither a rounding nor a small step changes which is greatest."""
    size = int(np.prod(shape))
    return np.random.default_rng(seed).permutation(size).reshape(shape) / 8 - size / 16


# x, output size, kernel, stride, padding, dilation
CASES = {
    "2x2": ((2, 6, 4, 3), (3, 2), (2, 2), (2, 2), NONE, (1, 1)),
    "2x2, odd image": ((1, 7, 5, 2), (3, 2), (2, 2), (2, 2), NONE, (1, 1)),
    "one pixel": ((2, 3, 2, 1), (3, 2), (1, 1), (1, 1), NONE, (1, 1)),
    "one pixel, stride": ((2, 5, 4, 3), (3, 2), (1, 1), (2, 2), NONE, (1, 1)),
    "overlapping": ((2, 7, 6, 3), (4, 3), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),
    "apart": ((1, 8, 8, 2), (2, 3), (2, 1), (5, 3), NONE, (1, 1)),
    "dilated": ((2, 7, 8, 2), (4, 3), (2, 3), (1, 2), ((0, 0), (1, 1)), (3, 2)),
    "hanging over": ((1, 6, 5, 2), (3, 3), (3, 2), (2, 2), ((1, 1), (0, 1)), (1, 1)),
    "one window": ((3, 4, 5, 2), (1, 1), (4, 5), (1, 1), NONE, (1, 1)),
    "empty batch": ((0, 4, 4, 2), (2, 2), (2, 2), (2, 2), NONE, (1, 1)),
    "no channels": ((2, 4, 4, 0), (2, 2), (2, 2), (2, 2), NONE, (1, 1)),
}


@pytest.mark.parametrize("name", CASES)
def test_max_pool2d_six_questions(name):
    shape, *numbers = CASES[name]
    check(
        lambda: MaxPool2d(*numbers),
        (distinct(shape),),
        truth=lambda x: naive(np.max, x, *numbers),
    )


@pytest.mark.parametrize("name", [name for name in CASES if name != "dilated"])
def test_avg_pool2d_six_questions(name):
    shape, size, kernel, stride, padding, _ = CASES[name]
    counts = [[kernel[0]] * size[0], [kernel[1]] * size[1]]
    area = kernel[0] * kernel[1]
    check(
        lambda: AvgPool2d(size, kernel, stride, padding, counts),
        (np.random.default_rng(0).standard_normal(shape),),
        truth=lambda x: naive(np.sum, x, size, kernel, stride, padding) / area,
    )


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 5), (9, 4), (3, 8)])
def test_adaptive_pools_six_questions(size):
    def cut(reduce, x):
        y = np.zeros((len(x), *size, x.shape[3]))
        for p, q in np.ndindex(*size):
            top, bottom = p * 7 // size[0], int(np.ceil((p + 1) * 7 / size[0]))
            left, right = q * 5 // size[1], int(np.ceil((q + 1) * 5 / size[1]))
            y[:, p, q] = reduce(x[:, top:bottom, left:right], axis=(1, 2))
        return y

    case = (np.random.default_rng(0).standard_normal((2, 7, 5, 3)),)
    check(lambda: AdaptiveAvgPool2d(size), case, truth=lambda x: cut(np.mean, x))
    case = (distinct((2, 7, 5, 3)),)
    check(lambda: AdaptiveMaxPool2d(size), case, truth=lambda x: cut(np.max, x))


def test_pools_of_sequences():
    x = distinct((2, 9, 3))
    numbers = (1, 4), (1, 3), (1, 2), ((0, 0), (1, 1))
    check(
        lambda: MaxPool1d(*numbers, (1, 1)),
        (x,),
        truth=lambda x: naive(np.max, x[:, None], *numbers)[:, 0],
    )
    check(lambda: AvgPool1d(*numbers, [[1], [3] * 4]), (x,))
    y = F.adaptive_avg_pool1d(pynn.Tensor(x), 1)
    np.testing.assert_allclose(y.numpy(), x.mean(1, keepdims=True), rtol=1e-13)
    check(lambda: AdaptiveAvgPool1d((1, 4)), (x,))
    np.testing.assert_array_equal(
        F.adaptive_max_pool1d(pynn.Tensor(x), 3).numpy(),
        naive(np.max, x[:, None], (1, 3), (1, 3), (1, 3), NONE)[:, 0],
    )


def test_nan_is_greatest_and_inf_stays_in_its_window():
    nan, inf = np.nan, np.inf
    x = np.array([[1, nan, -inf, -inf], [nan, 2, -inf, -inf], [inf, 3, 0, -0.0], [inf, 4, 0, 1]])
    y = np.array([[nan, -inf], [inf, 1]])
    dx = np.zeros((4, 4))
    dx[1, 0] = dx[0, 2] = dx[2, 0] = dx[3, 3] = 1
    image = lambda a: a[None, :, :, None]  # noqa: E731
    numbers = (2, 2), (2, 2), (2, 2), NONE, (1, 1)
    check(lambda: MaxPool2d(*numbers), extremes=[((image(x),), image(y), (image(dx),))])
    mean = np.array([[nan, -inf], [inf, 0.25]])
    counts = [[2, 2], [2, 2]]
    check(lambda: AvgPool2d(*numbers[:4], counts), extremes=[((image(x),), image(mean), None)])
    check(lambda: AdaptiveAvgPool2d((2, 2)), extremes=[((image(x),), image(mean), None)])


def test_an_infinite_gradient_leaves_the_other_pixels_alone():
    for stride in (1, 2):
        x = pynn.Tensor(distinct((1, 4, 4, 1)), requires_grad=True)
        y = F.max_pool2d(x, 2, stride)
        y.backward(pynn.Tensor(np.full(y.shape, np.inf)))
        assert not np.isnan(x.grad.numpy()).any()


def test_of_equal_values_the_first_gets_the_gradient():
    for stride, expected in ((2, [[1, 0, 1, 0], [0] * 4]), (1, [[1, 1, 1, 0], [0] * 4])):
        x = pynn.Tensor(np.zeros((1, 2, 4, 1)), requires_grad=True)
        F.max_pool2d(x, 2, stride).sum().backward()
        np.testing.assert_array_equal(x.grad.numpy()[0, :, :, 0], expected)


def test_a_window_of_many_taps_keeps_apart_which_one():
    """More taps than a byte can number."""
    x = np.zeros((1, 20, 20, 1))
    x[0, 19, 17] = 1
    t = pynn.Tensor(x, requires_grad=True)
    F.max_pool2d(t, 20).sum().backward()
    np.testing.assert_array_equal(t.grad.numpy(), x)


def test_a_view_gives_the_same_as_its_copy():
    view = distinct((2, 3, 6, 8)).transpose(0, 2, 3, 1)[:, ::-1]
    for op in (lambda x: F.max_pool2d(x, 2), lambda x: F.avg_pool2d(x, 3, 1, 1)):
        a, b = (op(pynn.Tensor(v)).numpy() for v in (view, view.copy()))
        np.testing.assert_array_equal(a, b)


def test_global_average():
    x = np.random.default_rng(0).standard_normal((3, 5, 4, 2))
    np.testing.assert_allclose(F.global_avg_pool2d(pynn.Tensor(x)).numpy(), x.mean((1, 2)))


# ------------------------------------------------------------------ bad input

BAD = [
    (dict(x=(4, 4, 2)), "[max_pool2d] x: expected shape (N, H, W, C), got (4, 4, 2)"),
    (dict(kernel_size=0), "[max_pool2d] kernel_size: expected an int of at least 1"),
    (dict(kernel_size=(2, 2, 2)), "or a pair of them, got (2, 2, 2)"),
    (dict(stride=0), "[max_pool2d] stride: expected an int of at least 1"),
    (dict(padding=-1), "[max_pool2d] padding: expected an int of at least 0"),
    (dict(padding=2), "[max_pool2d] padding: expected at most half the kernel (2, 2), got (2, 2)"),
    (dict(dilation=0), "[max_pool2d] dilation: expected an int of at least 1"),
    (dict(kernel_size=5), "fits into the padded input (4, 4), got kernel (5, 5)"),
]


@pytest.mark.parametrize("change, message", BAD, ids=lambda part: str(part)[:40])
def test_bad_input(change, message):
    numbers = dict(x=(1, 4, 4, 2), kernel_size=2) | change
    x = pynn.Tensor(np.ones(numbers.pop("x"), np.float32))
    with pytest.raises(ValueError) as raised:
        F.max_pool2d(x, **numbers)
    assert message in str(raised.value)


def test_bad_input_of_the_others():
    x = pynn.Tensor(np.ones((1, 4, 4, 2), np.float32))
    with pytest.raises(TypeError, match=r"\[avg_pool2d\] x: expected a float dtype, got int64"):
        F.avg_pool2d(pynn.Tensor(np.ones((1, 4, 4, 2), np.int64)), 2)
    with pytest.raises(ValueError, match=r"\[adaptive_avg_pool2d\] output_size: expected an int"):
        F.adaptive_avg_pool2d(x, 0)
    with pytest.raises(ValueError, match=r"\[adaptive_max_pool2d\] x: expected at least one pixel"):
        F.adaptive_max_pool2d(x[:, :0], 2)
    with pytest.raises(ValueError, match=r"\[max_pool1d\] x: expected shape \(N, L, C\)"):
        F.max_pool1d(x, 2)


# ------------------------------------------------------------------ PyTorch


@st.composite
def problems(draw):
    """Shapes and numbers that fit together, and which pool."""
    number = lambda low, high: draw(st.integers(low, high))  # noqa: E731
    name = draw(st.sampled_from(["max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool"]))
    dims = number(1, 2)
    numbers = {}
    low = [1] * dims
    if name.startswith("adaptive"):
        numbers["output_size"] = tuple(number(1, 6) for _ in range(dims))
    else:
        kernel = [number(1, 4) for _ in range(dims)]
        dilation = [number(1, 2) if name == "max_pool" else 1 for _ in range(dims)]
        padding = [number(0, k // 2) for k in kernel]
        low = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
        numbers |= dict(kernel_size=tuple(kernel), padding=tuple(padding))
        numbers["ceil_mode"] = draw(st.booleans())
        if draw(st.booleans()):
            numbers["stride"] = tuple(number(1, 4) for _ in range(dims))
        if name == "max_pool":
            numbers["dilation"] = tuple(dilation)
        else:
            numbers["count_include_pad"] = draw(st.booleans())
    shape = (number(1, 3), *(n + number(0, 7) for n in low), number(1, 4))
    return f"{name}{dims}d", shape, numbers, number(0, 1 << 30)


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@settings(
    max_examples=150,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(problem=problems())
def test_agrees_with_pytorch(torch, dtype, problem):
    name, shape, numbers, seed = problem
    rng = np.random.default_rng(seed)
    x = rng.integers(-2, 3, shape).astype(dtype)  # with ties
    ours, theirs = pynn.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y = getattr(F, name)(ours, **numbers)
    z = getattr(torch.nn.functional, name)(theirs.movedim(-1, 1).contiguous(), **numbers)
    z = z.movedim(1, -1)
    assert y.shape == tuple(z.shape)
    dy = rng.standard_normal(y.shape).astype(dtype)
    y.backward(pynn.Tensor(dy))
    z.backward(torch.tensor(dy))
    eps = float(np.finfo(dtype).eps)
    for a, b in ((y, z), (ours.grad, theirs.grad)):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=16 * eps, atol=32 * eps)
