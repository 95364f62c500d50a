"""Clipping of gradients against float64 and PyTorch."""

import math

import numpy as np
import pytest

import pynn
from pynn import nn


def parameters(*grads):
    out = []
    for g in grads:
        p = nn.Parameter(np.zeros(np.shape(g), np.asarray(g).dtype))
        p.grad = None if g is None else np.array(g)
        out.append(p)
    return out


@pytest.mark.oracle
@pytest.mark.parametrize("norm_type", [1, 2, 3.5, math.inf])
@pytest.mark.parametrize("max_norm", [0.0, 0.7, 1e6])
def test_agrees_with_pytorch(torch, norm_type, max_norm):
    rng = np.random.default_rng(0)
    grads = [rng.standard_normal(s).astype("f") for s in [(3, 5), (70_000,), (), (0, 2)]]
    ours = parameters(*grads)
    theirs = [torch.zeros(g.shape, requires_grad=True) for g in grads[:3]]  # it refuses empty ones
    for t, g in zip(theirs, grads, strict=False):
        t.grad = torch.tensor(g)
    total = nn.clip_grad_norm_(ours, max_norm, norm_type)
    total_of_torch = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    wide = np.concatenate([g.ravel() for g in grads]).astype("f8")
    truth = np.linalg.norm(wide, norm_type)
    assert total.dtype == np.float32
    assert float(total) == pytest.approx(truth, rel=1e-6)
    assert float(total) == pytest.approx(total_of_torch.item(), rel=1e-5)
    for p, t in zip(ours, theirs, strict=False):
        np.testing.assert_allclose(p.grad.numpy(), t.grad.numpy(), rtol=1e-5)


def test_what_is_small_enough_stays_to_the_bit():
    p, q = parameters(np.float32([3, 4]), np.float32([0.1]))
    kept = p.grad.numpy().copy()
    assert float(nn.clip_grad_norm_([p], 5.1)) == 5
    np.testing.assert_array_equal(p.grad.numpy(), kept)
    unused = nn.Parameter(pynn.ones(2))
    assert float(nn.clip_grad_norm_([unused], 1.0)) == 0
    assert float(nn.clip_grad_norm_(q, 1.0)) == pytest.approx(0.1)


def test_halves_are_summed_in_float32():
    p = nn.Parameter(pynn.zeros(100_000, dtype="bfloat16"))
    p.grad = np.ones(100_000, p.dtype)
    total = nn.clip_grad_norm_(p, 1.0)
    assert total.dtype == np.float32 and float(total) == pytest.approx(math.sqrt(1e5), rel=1e-6)
    assert p.grad.dtype == pynn.bfloat16
    np.testing.assert_allclose(p.grad.numpy().astype("f"), 1 / math.sqrt(1e5), rtol=2**-8)


@pytest.mark.parametrize("scale", [1e30, 3e38, 1e-30])
def test_squares_out_of_range(scale):
    p = parameters(np.float32([0.6 * scale, -0.8 * scale]))[0]
    total = nn.clip_grad_norm_([p], 0.5)
    if scale > 1:
        assert float(total) == pytest.approx(scale, rel=1e-6)
        np.testing.assert_allclose(p.grad.numpy(), [0.3, -0.4], rtol=1e-6)
    else:
        assert float(total) < 1e-20


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_nonfinite(bad):
    p = parameters(np.float32([1, bad]))[0]
    with pytest.raises(
        RuntimeError, match=rf"\[clip_grad_norm_\] expected a finite norm, got {bad}"
    ):
        nn.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)
    np.testing.assert_array_equal(p.grad.numpy(), np.float32([1, bad]))
    with np.errstate(invalid="ignore"):
        total = nn.clip_grad_norm_([p], 1.0)
    np.testing.assert_array_equal(total.numpy(), bad)
    assert np.isnan(p.grad.numpy()[1])


def test_values():
    p, q = parameters(np.float32([-3, 0.5, 3]), np.array([-3, 0.5, 3], pynn.bfloat16))
    nn.clip_grad_value_([p, q], 1.5)
    assert p.grad.tolist() == [-1.5, 0.5, 1.5] == q.grad.tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: nn.clip_grad_norm_([], -1),
            "[clip_grad_norm_] max_norm: expected a number >= 0, got -1",
        ),
        (
            lambda: nn.clip_grad_norm_([], 1, 0),
            "[clip_grad_norm_] norm_type: expected a number > 0, got 0",
        ),
        (
            lambda: nn.clip_grad_value_([], math.nan),
            "[clip_grad_value_] expected a number >= 0, got nan",
        ),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == message
