"""Softmax and log-softmax: the six questions, masked rows, shift invariance, PyTorch."""

import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn.functional.softmax import LogSoftmax, Softmax
from pynn.testing import check

SHAPES = [(3, 5), (1, 1), (33, 31), (7, 127), (2, 0, 3), (0, 4), (2, 3, 4)]


def cases():
    rng = np.random.default_rng(0)
    return [(3 * rng.standard_normal(shape),) for shape in SHAPES]


def softmax(x):
    e = np.exp(x)
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("axis", [-1, 0])
def test_six_questions(axis):
    masked = np.array([[-np.inf, -np.inf], [0.0, -np.inf], [1000.0, 0.0]])
    zero = np.zeros((3, 2))
    extremes = [([masked], np.array([[0.0, 0], [1, 0], [1, 0]]), (zero,))] if axis == -1 else []
    truth = softmax if axis == -1 else lambda x: np.moveaxis(softmax(np.moveaxis(x, 0, -1)), -1, 0)
    check(lambda: Softmax(axis), *cases(), truth=truth, extremes=extremes)
    check(lambda: LogSoftmax(axis), *cases(), truth=lambda x: np.log(truth(x)))


def test_a_masked_row_gives_no_nan_anywhere():
    x = pynn.tensor([[-np.inf, -np.inf], [1.0, 2.0]], requires_grad=True)
    (F.softmax(x) * pynn.tensor([[1.0, 2.0], [3.0, 4.0]])).sum().backward()
    assert np.isfinite(x.grad.numpy()).all()
    np.testing.assert_array_equal(x.grad.numpy()[0], 0)


def test_shift_invariance_is_exact_for_powers_of_two():
    x = np.random.default_rng(1).integers(-8, 8, (5, 9)).astype(np.float32)
    np.testing.assert_array_equal(
        F.softmax(pynn.Tensor(x)).data, F.softmax(pynn.Tensor(x + 64)).data
    )


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_agrees_with_pytorch(torch, name, dtype):
    rng = np.random.default_rng(3)
    for shape, axis in [((7, 33), -1), ((3, 5, 4), 1), ((2, 1), 0)]:
        x, dy = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
        a, b = pynn.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        y, z = getattr(F, name)(a, axis), getattr(torch.nn.functional, name)(b, axis)
        y.backward(pynn.Tensor(dy))
        z.backward(torch.tensor(dy))
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=16 * eps, atol=16 * eps)
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=16 * eps, atol=16 * eps)
