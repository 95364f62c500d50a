"""Chains of ops drawn at random give PyTorch's values and gradients."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pynn
import pynn.functional as F

pytestmark = pytest.mark.oracle

# name -> (ours, theirs): of one tensor (R, C) -> (R, C) or of two
UNARY = {
    "tanh": (F.tanh, lambda t, x: t.tanh(x)),
    "sigmoid": (F.sigmoid, lambda t, x: t.sigmoid(x)),
    "relu": (F.relu, lambda t, x: t.relu(x)),
    "gelu": (F.gelu, lambda t, x: t.nn.functional.gelu(x)),
    "softmax": (F.softmax, lambda t, x: t.softmax(x, -1)),
    "log_softmax": (lambda x: F.log_softmax(x, 0), lambda t, x: t.log_softmax(x, 0)),
    "sin": (F.sin, lambda t, x: t.sin(x)),
    "center": (lambda x: x - x.mean(1, keepdims=True), lambda t, x: x - x.mean(1, keepdim=True)),
    "scale": (lambda x: x / (x.abs().max() + 1), lambda t, x: x / (x.abs().max() + 1)),
    "mix": (lambda x: x @ x.T @ x / x.numel(), lambda t, x: x @ x.T @ x / x.numel()),
    "turn": (lambda x: x.T.reshape(x.shape), lambda t, x: x.T.reshape(x.shape)),
    "fold": (lambda x: pynn.cat([x[1:], x[:1]]), lambda t, x: t.cat([x[1:], x[:1]])),
    "flip": (lambda x: x.flip(1), lambda t, x: x.flip(1)),
    "cumsum": (lambda x: x.cumsum(0), lambda t, x: x.cumsum(0)),
    "where": (lambda x: pynn.where(x > 0, x, x * 0.5), lambda t, x: t.where(x > 0, x, x * 0.5)),
}
BINARY = {
    "add": (lambda x, y: x + y, lambda t, x, y: x + y),
    "sub": (lambda x, y: 1.5 - x - y[:1], lambda t, x, y: 1.5 - x - y[:1]),
    "mul": (lambda x, y: x * y, lambda t, x, y: x * y),
    "div": (lambda x, y: x / (y * y + 1), lambda t, x, y: x / (y * y + 1)),
    "maximum": (F.maximum, lambda t, x, y: t.maximum(x, y)),
    "column": (lambda x, y: x * y[:, :1], lambda t, x, y: x * y[:, :1]),
}


@st.composite
def programs(draw):
    """Steps of (name, operand[, operand]); operands number the values so far: two inputs, ..."""
    steps = []
    for i in range(draw(st.integers(1, 10))):
        name = draw(st.sampled_from(sorted(UNARY) + sorted(BINARY)))
        operands = [draw(st.integers(0, i + 1)) for _ in range(2 if name in BINARY else 1)]
        steps.append((name, operands))
    return steps


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    programs(),
    st.tuples(st.integers(1, 5), st.integers(1, 7)),
    st.integers(0, 2**16),
    st.sampled_from(["float64", "float32"]),
)
def test_chain(torch, steps, shape, seed, dtype):
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(shape).astype(dtype) for _ in range(2)]
    ours = [pynn.Tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    a, b = list(ours), list(theirs)
    for name, operands in steps:
        mine, peer = (UNARY | BINARY)[name]
        a.append(mine(*(a[i] for i in operands)))
        b.append(peer(torch, *(b[i] for i in operands)))
    weight = rng.standard_normal(shape).astype(dtype)
    (a[-1] * pynn.Tensor(weight)).sum().backward()
    (b[-1] * torch.tensor(weight)).sum().backward()

    pairs = [(a[-1].numpy(), b[-1].detach().numpy())]
    for mine, peer in zip(ours, theirs, strict=True):
        assert (mine.grad is None) == (peer.grad is None)
        if mine.grad is not None:
            pairs.append((mine.grad.numpy(), peer.grad.numpy()))
    for got, want in pairs:
        # each step may amplify one rounding by the size of what it handles
        size = max(1.0, float(np.abs(want).max()), *(float(t.detach().abs().max()) for t in b)) ** 2
        assert np.abs(got - want).max() <= 256 * np.finfo(dtype).eps * size * len(steps)
