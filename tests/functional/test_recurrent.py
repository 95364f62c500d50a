"""Recurrent layers: the questions over odd shapes and lengths, ends, directions, errors."""

import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn.functional.recurrent import Gru, Lstm, Rnn
from pynn.testing import check

KINDS = {"rnn": (Rnn, 1, 1), "relu": (lambda *a: Rnn(True, *a), 1, 1), "gru": (Gru, 3, 1)}
KINDS["lstm"] = (Lstm, 4, 2)
SHAPES = [(3, 2, 4, 5), (1, 1, 1, 1), (1, 3, 2, 1), (4, 0, 3, 2), (0, 2, 3, 2), (5, 3, 1, 4)]


def make(kind, *options):
    Op = KINDS[kind][0]
    if kind == "rnn":
        return lambda: Op(False, *options)
    return lambda: Op(*options)


def arrays(kind, T, N, I, H, bias=True, seed=0):
    _, blocks, states = KINDS[kind]
    rng = np.random.default_rng(seed)
    shapes = [(T, N, I)] + [(N, H)] * states + [(blocks * H, I), (blocks * H, H)]
    shapes += [(blocks * H,)] * 2 if bias else []
    return tuple(0.7 * rng.standard_normal(s) for s in shapes)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def step(kind, x, states, w_ih, w_hh, b_ih, b_hh):
    """One step by the definition; gates are split, not sliced."""
    h = states[0]
    zx, zh = w_ih @ x + b_ih, w_hh @ h + b_hh
    if kind == "rnn":
        return [np.tanh(zx + zh)]
    if kind == "relu":
        return [np.maximum(zx + zh, 0)]
    if kind == "gru":
        (rx, ux, nx), (rh, uh, nh) = np.split(zx, 3), np.split(zh, 3)
        u, n = sigmoid(ux + uh), np.tanh(nx + sigmoid(rx + rh) * nh)
        return [(1 - u) * n + u * h]
    i, f, g, o = np.split(zx + zh, 4)
    c = sigmoid(f) * states[1] + sigmoid(i) * np.tanh(g)
    return [sigmoid(o) * np.tanh(c), c]


def truth_of(kind, lengths=None, reverse=False):
    """Sample by sample, over its own steps alone."""

    def truth(x, *rest):
        (T, N), states = x.shape[:2], KINDS[kind][2]
        firsts, weights = rest[:states], list(rest[states:])
        H = weights[1].shape[1]
        weights += [np.zeros(len(weights[0]))] * (4 - len(weights))
        y, last = np.zeros((T, N, H)), [np.zeros((N, H)) for _ in firsts]
        for n in range(N):
            state = [s[n] for s in firsts]
            steps = range(T if lengths is None else lengths[n])
            for t in reversed(steps) if reverse else steps:
                state = step(kind, x[t, n], state, *weights)
                y[t, n] = state[0]
            for k, s in enumerate(state):
                last[k][n] = s
        return (y, *last)

    return truth


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_six_questions(kind, reverse):
    cases = [arrays(kind, *s) for s in SHAPES] + [arrays(kind, 3, 2, 4, 5, bias=False)]
    check(make(kind, None, reverse), *cases, truth=truth_of(kind, None, reverse))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "lengths", [[5, 0, 2, 1], [0, 0, 0, 0], [5, 5, 5, 5], [3, 3, 4, 3]], ids=str
)
def test_six_questions_with_lengths(kind, reverse, lengths):
    check(
        make(kind, np.array(lengths), reverse),
        arrays(kind, 5, 4, 2, 3),
        truth=truth_of(kind, lengths, reverse),
        types=("float64", "float32"),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_saturated_gates_stay_finite(kind):
    x, *rest = arrays(kind, 3, 2, 2, 2)
    for scale in (1e4, -1e4) if kind != "relu" else (-1e4,):
        op = make(kind)()
        op.needs = (True,) * (len(rest) + 1)
        ys = op.forward(np.full_like(x, scale), *rest)
        dxs = op.backward(*(np.ones_like(y) for y in ys))
        assert all(np.isfinite(a).all() for a in (*ys, *dxs))


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_past_the_end_is_never_read(kind):
    _, blocks, states = KINDS[kind]
    lengths = np.array([2, 0, 4])
    results = []
    for padding in (0.0, np.nan):
        x, *rest = arrays(kind, 4, 3, 2, 3)
        x[np.arange(4)[:, None] >= lengths] = padding
        op = make(kind, lengths)()
        op.needs = (True,) * (len(rest) + 1)
        ys = op.forward(x, *rest)
        results.append([*ys, *op.backward(*(np.ones_like(y) for y in ys))])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_a_number_stays_in_its_sample(kind):
    x, *rest = arrays(kind, 4, 3, 2, 3)
    x[2, 1] = np.nan
    y = make(kind)().forward(x, *rest)[0]
    bad = np.isnan(y).any(-1)
    assert bad[2:, 1].all() and bad.sum() == 2


def test_one_sequence_is_its_steps():
    x, h, c, *weights = (pynn.tensor(a) for a in arrays("lstm", 4, 3, 2, 5))
    y, last, memory = F.lstm(x, h, c, *weights, batch_first=False)
    for t in range(4):
        out, h, c = F.lstm(x[t : t + 1], h, c, *weights, batch_first=False)
        np.testing.assert_allclose(out.numpy()[0], y.numpy()[t], rtol=1e-14)
    np.testing.assert_allclose(last.numpy(), h.numpy(), rtol=1e-14)
    np.testing.assert_allclose(memory.numpy(), c.numpy(), rtol=1e-14)


def test_batch_first_is_the_other_order_of_the_same():
    x, h, *weights = (pynn.tensor(a) for a in arrays("gru", 4, 3, 2, 5))
    a, last = F.gru(x, h, *weights, batch_first=False)
    b, other = F.gru(x.transpose(0, 1), h, *weights)
    assert b.shape == (3, 4, 5)
    np.testing.assert_array_equal(a.numpy(), b.transpose(0, 1).numpy())
    np.testing.assert_array_equal(last.numpy(), other.numpy())


def test_unused_outputs_have_no_part_in_the_gradient():
    x, h, c, *weights = (pynn.tensor(a) for a in arrays("lstm", 4, 3, 2, 5))
    x.requires_grad_()
    y, _, memory = F.lstm(x, h, c, *weights, batch_first=False)
    (y[3] * 0 + memory).sum().backward()
    assert np.isfinite(x.grad.numpy()).all() and x.grad.numpy().any()


def test_errors_name_what_was_expected_and_got():
    x, h, *weights = (pynn.tensor(a) for a in arrays("gru", 4, 3, 2, 5))
    x = x.transpose(0, 1)
    w_ih, w_hh, b_ih, b_hh = weights
    cases = [
        (r"\[gru\] x: expected shape \(N, T, I\), got \(4, 2\)", lambda: F.gru(x[0], h, *weights)),
        (r"\[gru\] h: expected shape \(3, 5\), got \(1, 5\)", lambda: F.gru(x, h[:1], *weights)),
        (r"\[gru\] weight_ih: expected shape \(15, 2\), got \(2, 15\)",
         lambda: F.gru(x, h, w_ih.T, w_hh, b_ih, b_hh)),
        (r"\[gru\] expected both biases or neither, got one",
         lambda: F.gru(x, h, w_ih, w_hh, b_ih)),
        (r"\[gru\] lengths: expected integers in \[0, 4\], got 5",
         lambda: F.gru(x, h, *weights, lengths=[1, 5, 0])),
        (r"\[gru\] lengths: expected shape \(3,\), got \(2,\)",
         lambda: F.gru(x, h, *weights, lengths=[1, 2])),
        (r"\[rnn\] nonlinearity: expected 'tanh' or 'relu', got 'gelu'",
         lambda: F.rnn(x, h, *weights, nonlinearity="gelu")),
    ]  # fmt: skip
    for text, call in cases:
        with pytest.raises(ValueError, match=text):
            call()
    with pytest.raises(TypeError, match=r"\[gru\] h: expected x's dtype float64, got float32"):
        F.gru(x, h.astype("float32"), *weights)
