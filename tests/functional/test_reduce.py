"""Reductions: the six questions, axes, empty sets, PyTorch."""

import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn.functional import reduce as ops
from pynn.testing import check, gradcheck

SHAPES = [(3, 5), (1, 1), (33, 31), (7, 127), (2, 3, 4)]


def cases(*more):
    rng = np.random.default_rng(0)
    return [(rng.standard_normal(shape),) for shape in [*SHAPES, *more]]


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_six_questions(axes, keepdims):
    how = {"axis": axes, "keepdims": keepdims}
    check(lambda: ops.Sum(axes, keepdims), *cases((0, 4), (4, 0)), truth=lambda x: x.sum(**how))
    check(lambda: ops.Mean(axes, keepdims), *cases(), truth=lambda x: x.mean(**how))
    check(lambda: ops.Extreme(axes, keepdims, "max"), *cases(), truth=lambda x: x.max(**how))
    check(lambda: ops.Extreme(axes, keepdims, "min"), *cases(), truth=lambda x: x.min(**how))
    check(
        lambda: ops.Logsumexp(axes, keepdims),
        *cases(),
        truth=lambda x: np.log(np.exp(x).sum(**how)),
    )
    check(lambda: ops.Cumsum(axes[0]), *cases((0, 4)), truth=lambda x: x.cumsum(axes[0]))


def test_halves_are_summed_in_float32():
    ones = np.ones(100_000)
    for name in ("float16", "bfloat16"):
        assert float(pynn.tensor(ones, dtype=name).mean()) == 1.0
    assert float(pynn.tensor(ones[:60_000], dtype="float16").sum()) == 60_000


def test_ties_share_the_gradient_and_nan_wins():
    x = pynn.tensor([[1.0, 3.0, 3.0], [np.nan, 1.0, 2.0]], requires_grad=True)
    y = x.max(axis=1)
    y.sum().backward()
    np.testing.assert_array_equal(y.numpy(), [3, np.nan])
    np.testing.assert_array_equal(x.grad.numpy(), [[0, 0.5, 0.5], [1, 0, 0]])


def test_a_row_of_minus_infinity():
    x = pynn.tensor([[-np.inf, -np.inf], [0.0, 0.0]], requires_grad=True)
    y = x.logsumexp(axis=1)
    y.sum().backward()
    np.testing.assert_allclose(y.numpy(), [-np.inf, np.log(2)], rtol=1e-6)
    np.testing.assert_array_equal(x.grad.numpy(), [[0, 0], [0.5, 0.5]])


def test_over_nothing():
    x = pynn.zeros(0, 3)
    assert np.isnan(x.mean().item())
    assert x.sum().item() == 0
    np.testing.assert_array_equal(x.sum(axis=0).numpy(), np.zeros(3))
    for name in ("max", "min", "argmax", "argmin"):
        with pytest.raises(ValueError, match=rf"\[{name}\] expected at least one element"):
            getattr(x, name)(axis=0)


def test_composites_have_the_right_gradient():
    x = pynn.randn(3, 4)
    gradcheck(lambda t: t.var(axis=1), x)
    gradcheck(lambda t: t.std(axis=0, correction=0), x)
    gradcheck(lambda t: F.norm(t, axis=1), x)


@pytest.mark.oracle
@pytest.mark.parametrize(
    "name", ["sum", "mean", "amax", "amin", "logsumexp", "var", "std", "cumsum"]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_agrees_with_pytorch(torch, name, dtype):
    rng = np.random.default_rng(3)
    for shape in SHAPES[2:]:
        for axis in (0, 1, -1) if name == "cumsum" else (0, -1, (0, 1)):
            x = rng.standard_normal(shape).astype(dtype)
            if "a" in name[:1]:  # extrema: ties
                x = np.round(x)
            a, b = pynn.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
            y = getattr(F, {"amax": "max", "amin": "min"}.get(name, name))(a, axis)
            z = getattr(torch, name)(b, axis)
            y.sum().backward()
            z.sum().backward()
            eps = np.finfo(dtype).eps
            np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=32 * eps, atol=64 * eps)
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=32 * eps, atol=64 * eps)


@pytest.mark.parametrize("axis", [2, -3, (0, 0), (0, -2)])
def test_bad_axis(axis):
    with pytest.raises(ValueError, match=r"\[sum\] expected distinct axes in \[-2, 2\), got"):
        pynn.zeros(2, 3).sum(axis)
