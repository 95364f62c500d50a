"""Batch normalization that adds a residual: the six questions, and the unfused ops it equals."""

import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn.functional.channel_norm import BatchNorm, BatchNormEval
from pynn.testing import check

RUNNING = np.linspace(-1, 1, 5), np.linspace(0.5, 2, 5)


def arrays(shape, seed=0):
    rng = np.random.default_rng(seed)
    x, residual = rng.standard_normal(shape), rng.standard_normal(shape)
    return x, rng.standard_normal(shape[-1]), rng.standard_normal(shape[-1]), residual


@pytest.mark.parametrize("f", [None, "relu"])
@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 9, 7, 5), (33, 5), (0, 5)], ids=str)
def test_six_questions(shape, f):
    x, w, b, residual = arrays(shape)
    check(lambda: BatchNorm(5, 1e-5, True, True, activation=f, adds=True), (x, w, b, residual))
    check(lambda: BatchNorm(5, 1e-5, False, True, activation=f, adds=True), (x, b, residual))
    check(lambda: BatchNorm(5, 1e-5, False, False, activation=f, adds=True), (x, residual))
    check(lambda: BatchNormEval(RUNNING, 1e-5, True, True, f, adds=True), (x, w, b, residual))
    check(lambda: BatchNormEval(RUNNING, 1e-5, False, False, f, adds=True), (x, residual))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("f", [None, "relu"])
def test_it_is_the_ops_by_themselves(training, f):
    results = []
    for fused in (True, False):
        x, w, b, residual = (pynn.Tensor(a, requires_grad=True) for a in arrays((4, 3, 6, 5)))
        mean, var = (pynn.Tensor(a.copy()) for a in RUNNING)
        if fused:
            y = F.batch_norm(x, mean, var, w, b, training, activation=f, residual=residual)
        else:
            y = F.batch_norm(x, mean, var, w, b, training) + residual
            y = F.relu(y) if f else y
        y.backward(pynn.Tensor(arrays(y.shape, 1)[0]))
        results.append([y, mean, var, *(t.grad for t in (x, w, b, residual))])
    for got, wanted in zip(*results, strict=True):
        np.testing.assert_allclose(got.numpy(), wanted.numpy(), rtol=1e-12, atol=1e-13)


def test_bad_input():
    x = pynn.Tensor(np.ones((4, 5), "f4"))
    for residual, f, error, text in (
        (x[:3], None, ValueError, r"residual: expected shape \(4, 5\), got \(3, 5\)"),
        (x.to("float64"), None, TypeError, "residual: expected x's dtype float32, got float64"),
        (x, "gelu", ValueError, "activation: expected None or 'relu' with a residual, got 'gelu'"),
    ):
        with pytest.raises(error, match=r"\[batch_norm\] " + text):
            F.batch_norm(x, None, None, training=True, activation=f, residual=residual)
