"""Activations: the six questions, special values, and PyTorch."""

import math

import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn.functional import activation as ops
from pynn.testing import check, vectors

INF, NAN = np.inf, np.nan


def erf_phi(x):
    return np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x.ravel()]).reshape(x.shape)


# op, the formula in float64, (x, y, dx) at special values
TABLE = {
    "relu": (
        ops.Relu,
        lambda x: x * (x > 0),
        ([-INF, -1, 0, 2, INF, NAN], [0, 0, 0, 2, INF, NAN], None),
    ),
    "leaky_relu": (
        lambda: ops.LeakyRelu(0.1),
        lambda x: np.where(x > 0, x, 0.1 * x),
        ([-INF, 0, INF, NAN], [-INF, 0, INF, NAN], [0.1, 0.1, 1, 0.1]),
    ),
    "elu": (
        lambda: ops.Elu(1.5),
        lambda x: np.where(x > 0, x, 1.5 * np.expm1(np.minimum(x, 0))),
        ([-INF, 0, INF], [-1.5, 0, INF], [0, 1.5, 1]),
    ),
    "selu": (
        ops.Selu,
        lambda x: (
            1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0)))
        ),
        (
            [-INF, 0, INF],
            [-1.7580993408473766, 0, INF],
            [0, 1.7580993408473766, 1.0507009873554805],
        ),
    ),
    "gelu": (
        ops.Gelu,
        lambda x: x * erf_phi(x),
        ([-INF, -300, 0, 300, INF, NAN], [0, 0, 0, 300, INF, NAN], [0, 0, 0.5, 1, 1, NAN]),
    ),
    "gelu_tanh": (
        ops.GeluTanh,
        lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        ([-INF, -300, 0, 300, INF, NAN], [0, 0, 0, 300, INF, NAN], [0, 0, 0.5, 1, 1, NAN]),
    ),
    "silu": (
        ops.Silu,
        lambda x: x / (1 + np.exp(-x)),
        ([-INF, -300, 0, INF, NAN], [0, 0, 0, INF, NAN], [0, 0, 0.5, 1, NAN]),
    ),
    "mish": (
        ops.Mish,
        lambda x: x * np.tanh(np.log1p(np.exp(x))),
        ([-INF, 0, INF, NAN], [0, 0, INF, NAN], [0, 0.6, 1, NAN]),
    ),
    "softplus": (
        lambda: ops.Softplus(2.0, 20.0),
        lambda x: np.where(2 * x > 20, x, np.log1p(np.exp(2 * x)) / 2),
        ([-INF, 0, 300, INF, NAN], [0, math.log(2) / 2, 300, INF, NAN], [0, 0.5, 1, 1, NAN]),
    ),
    "sigmoid": (
        ops.Sigmoid,
        lambda x: 1 / (1 + np.exp(-x)),
        ([-INF, -300, 0, 300, INF, NAN], [0, 0, 0.5, 1, 1, NAN], [0, 0, 0.25, 0, 0, NAN]),
    ),
    "tanh": (ops.Tanh, np.tanh, ([-INF, 0, INF, NAN], [-1, 0, 1, NAN], [0, 1, 0, NAN])),
    "arctan": (
        ops.Arctan,
        np.arctan,
        ([-INF, 0, INF, NAN], [-math.pi / 2, 0, math.pi / 2, NAN], [0, 1, 0, NAN]),
    ),
    "hardtanh": (
        lambda: ops.Hardtanh(-1.0, 1.5),
        lambda x: np.clip(x, -1, 1.5),
        ([-INF, -1, 0, 1.5, INF, NAN], [-1, -1, 0, 1.5, 1.5, NAN], [0, 0, 1, 0, 0, 0]),
    ),
    "hardswish": (
        ops.Hardswish,
        lambda x: x * np.clip(x + 3, 0, 6) / 6,
        ([-INF, -4, 0, 4, INF, NAN], [0, 0, 0, 4, INF, NAN], [0, 0, 0.5, 1, 1, None]),
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_six_questions(name):
    op, truth, (x, y, dx) = TABLE[name]
    if dx is not None and None in dx:  # the gradient at NaN is not promised
        keep = [i for i, v in enumerate(dx) if v is not None]
        x, y, dx = ([row[i] for i in keep] for row in (x, y, dx))
    extremes = [
        (([np.array(x, float)]), np.array(y, float), None if dx is None else (np.array(dx, float),))
    ]
    check(op, *vectors(), truth=truth, extremes=extremes)


def test_prelu():
    rng = np.random.default_rng(0)
    shapes = [((5, 7), (7,)), ((5, 7), (1,)), ((0, 3), (3,)), ((33, 31), (31,))]
    cases = [(rng.standard_normal(a), rng.standard_normal(b)) for a, b in shapes]
    check(ops.Prelu, *cases, truth=lambda x, w: np.where(x > 0, x, w * x))


def test_step_has_no_gradient():
    x = pynn.tensor([-1.0, 0.0, 2.0, float("nan")], requires_grad=True)
    y = F.step(x)
    np.testing.assert_array_equal(y.numpy(), [0, 1, 1, NAN])
    assert not y.requires_grad


def test_erfc_against_the_c_library():
    for dtype, bound in ((np.float64, 3e-14), (np.float32, 1.2e-7)):
        x = np.linspace(-6, 9, 30001).astype(dtype)
        truth = np.array([math.erfc(float(v)) for v in x])
        error = np.abs(ops.erfc(np, x) - truth) / truth
        assert error[truth > np.finfo(dtype).tiny].max() < bound


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [n for n in TABLE if n not in ("gelu_tanh", "arctan")])
def test_agrees_with_pytorch(torch, name, dtype):
    x = np.random.default_rng(3).standard_normal((7, 33)).astype(dtype) * 3
    a, b = pynn.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    arguments = {
        "leaky_relu": (0.1,),
        "elu": (1.5,),
        "softplus": (2.0, 20.0),
        "hardtanh": (-1.0, 1.5),
    }.get(name, ())
    y, z = getattr(F, name)(a, *arguments), getattr(torch.nn.functional, name)(b, *arguments)
    y.sum().backward()
    z.sum().backward()
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=16 * eps, atol=16 * eps)
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=16 * eps, atol=16 * eps)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.gelu(pynn.tensor([1, 2])), r"\[gelu\] expected a float dtype, got int64"),
        (
            lambda: F.gelu(pynn.tensor([1.0]), "fast"),
            r"\[gelu\] approximate: expected .* got 'fast'",
        ),
        (
            lambda: F.softplus(pynn.tensor([1.0]), beta=0),
            r"\[softplus\] beta: expected a positive number, got 0",
        ),
        (
            lambda: F.hardtanh(pynn.tensor([1.0]), 2, 1),
            r"\[hardtanh\] expected min_val < max_val, got 2 and 1",
        ),
        (
            lambda: F.prelu(pynn.zeros(2, 3), pynn.zeros(2)),
            r"\[prelu\] weight: expected shape \(1,\) or \(3,\), got \(2,\)",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
