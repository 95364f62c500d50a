"""Arithmetic, comparisons and casts: the six questions, promotion, broadcasting, PyTorch."""

import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn.functional import arithmetic as ops
from pynn.testing import check, vectors

BROADCAST = [((3, 4), (4,)), ((3, 1), (1, 5)), ((), (2, 3)), ((2, 0, 3), (3,)), ((1,), (33,))]


def pairs(positive=False):
    rng = np.random.default_rng(0)
    cases = vectors(2) + [tuple(rng.standard_normal(s) for s in shapes) for shapes in BROADCAST]
    return [tuple(np.abs(a) + 0.25 for a in case) if positive else case for case in cases]


@pytest.mark.parametrize(
    ("op", "truth", "positive"),
    [
        (ops.Add, np.add, False),
        (ops.Sub, np.subtract, False),
        (ops.Mul, np.multiply, False),
        (ops.Div, np.divide, True),
        (ops.Pow, np.power, True),
        (ops.Maximum, np.maximum, False),
        (ops.Minimum, np.minimum, False),
    ],
)
def test_binary(op, truth, positive):
    check(op, *pairs(positive), truth=truth)


@pytest.mark.parametrize(
    ("op", "truth", "positive"),
    [
        (ops.Neg, np.negative, False),
        (ops.Exp, np.exp, False),
        (ops.Log, np.log, True),
        (ops.Log1p, np.log1p, True),
        (ops.Sqrt, np.sqrt, True),
        (ops.Rsqrt, lambda x: x**-0.5, True),
        (ops.Square, np.square, False),
        (ops.Sin, np.sin, False),
        (ops.Cos, np.cos, False),
        (ops.Abs, np.abs, False),
        (lambda: ops.Clip(-0.5, 0.75), lambda x: np.minimum(np.maximum(x, -0.5), 0.75), False),
    ],
)
def test_unary(op, truth, positive):
    check(op, *[case[:1] for case in pairs(positive)], truth=truth)


def test_extreme_values():
    inf, nan = np.inf, np.nan
    a, b = np.array([1.0, nan, 2.0, -inf]), np.array([nan, 1.0, 2.0, 3.0])
    halves = (np.array([0, 1.0, 0.5, 0]), np.array([1.0, 0, 0.5, 1]))
    check(ops.Maximum, extremes=[([a, b], np.array([nan, nan, 2, 3]), halves)])
    check(ops.Log, extremes=[([np.array([0.0, inf, -1])], np.array([-inf, inf, nan]), None)])
    check(
        ops.Pow,
        extremes=[
            (
                [np.array([0.0, 0, 2]), np.array([0.0, 2, 0])],
                np.array([1.0, 0, 1]),
                (np.zeros(3), None),
            )
        ],
    )


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "pow", "maximum", "minimum"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_binary_agrees_with_pytorch(torch, name, dtype):
    rng = np.random.default_rng(1)
    for shapes in [*BROADCAST, ((7, 5), (7, 5))]:
        x, y = (np.abs(rng.standard_normal(s)).astype(dtype) + dtype_half(dtype) for s in shapes)
        if name in ("maximum", "minimum") and x.shape == y.shape:
            y.flat[0] = x.flat[0]  # a tie
        ours = [pynn.Tensor(v, requires_grad=True) for v in (x, y)]
        theirs = [torch.tensor(v, requires_grad=True) for v in (x, y)]
        a, b = getattr(F, name)(*ours), getattr(torch, name)(*theirs)
        a.sum().backward()
        b.sum().backward()
        for got, want in [
            (a.numpy(), b.detach()),
            *((o.grad.numpy(), t.grad) for o, t in zip(ours, theirs, strict=True)),
        ]:
            np.testing.assert_allclose(got, want.numpy(), rtol=64 * np.finfo(dtype).eps)


def dtype_half(dtype):
    return np.dtype(dtype).type(0.5)


def test_promotion_follows_pytorch(torch):
    names = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int8", "uint8", "bool"]
    for first in names:
        for second in names:
            want = torch.promote_types(getattr(torch, first), getattr(torch, second))
            got = pynn.dtypes.promote(*(pynn.dtypes.as_dtype(n) for n in (first, second)))
            assert f"torch.{got.name}" == str(want), (first, second)


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16", "int64", "bool"])
def test_numbers_do_not_widen(name):
    x = pynn.ones(3, dtype=name)
    assert (x + 2).dtype.name == ("int64" if name == "bool" else name)
    assert (2.5 * x).dtype.name == (name if "float" in name else "float32")
    assert (x / 2).dtype.name == (name if "float" in name else "float32")
    np.testing.assert_array_equal((x + 2).numpy().astype(float), 3)
    np.testing.assert_array_equal((2.5 - x).numpy().astype(float), 1.5)


def test_numpy_operands_keep_the_graph():
    x = pynn.tensor([1.0, 2.0], requires_grad=True)
    y = np.array([3.0, 4.0], np.float32) * x
    assert isinstance(y, pynn.Tensor)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [3, 4])


def test_comparisons():
    x, y = pynn.tensor([1.0, 2.0, np.nan]), pynn.tensor([1.0, 3.0, np.nan])
    np.testing.assert_array_equal((x == y).numpy(), [True, False, False])
    np.testing.assert_array_equal((x != y).numpy(), [False, True, True])
    np.testing.assert_array_equal((x < 2).numpy(), [True, False, False])
    np.testing.assert_array_equal((y >= 2).numpy(), [False, True, False])
    np.testing.assert_array_equal((~(x > 1)).numpy(), [True, False, True])
    np.testing.assert_array_equal(((x > 0) & (y > 1)).numpy(), [False, True, False])
    np.testing.assert_array_equal(F.round(pynn.tensor([0.5, 1.5, -0.5])).numpy(), [0, 2, -0.0])


def test_casts_pass_gradients():
    x = pynn.tensor([1.0, 2.0], requires_grad=True)
    (x.astype("bfloat16") * 3).astype("float64").sum().backward()
    assert x.grad.dtype == np.float32
    np.testing.assert_array_equal(x.grad.numpy(), 3)
    assert x.to("float16", "cpu").dtype == np.float16
    assert x.to("cpu") is x


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.clip(pynn.zeros(2)), ValueError, r"\[clip\] expected low, high or both"),
        (
            lambda: F.clip(pynn.zeros(2), 2, 1),
            ValueError,
            r"\[clip\] expected low <= high, got 2 > 1",
        ),
        (
            lambda: pynn.zeros(2).astype("complex64"),
            TypeError,
            r"\[dtype\] expected one of .* got 'complex64'",
        ),
        (lambda: pynn.zeros(2).to("tpu"), TypeError, r"\[dtype\] expected one of .* got 'tpu'"),
        (
            lambda: pynn.zeros(2, 3) + pynn.zeros(4),
            ValueError,
            r"\[add\] expected shapes that broadcast, got \(2, 3\) and \(4,\)",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
