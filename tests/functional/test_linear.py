"""Linear and matmul: the six questions, empty and odd sizes, PyTorch, and errors."""

import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn.functional.linear import FeedForward, Linear, Matmul
from pynn.testing import check

SIZES = [
    (0, 3, 4),
    (3, 0, 2),
    (3, 2, 0),
    (1, 1, 1),
    (31, 33, 32),
    (5, 127, 7),
    (65, 64, 63),
]  # M, K, N


def test_linear_six_questions():
    rng = np.random.default_rng(0)
    cases = [tuple(rng.standard_normal(s) for s in ((M, K), (N, K), (N,))) for M, K, N in SIZES]
    check(Linear, *cases, truth=lambda x, w, b: np.einsum("mk,nk->mn", x, w) + b)
    check(Linear, *[case[:2] for case in cases], truth=lambda x, w: np.einsum("mk,nk->mn", x, w))


def test_matmul_six_questions():
    rng = np.random.default_rng(1)
    cases = [tuple(rng.standard_normal(s) for s in ((2, M, K), (K, N))) for M, K, N in SIZES]
    cases += [tuple(rng.standard_normal(s) for s in ((2, 1, 3, 4), (5, 4, 2)))]
    check(Matmul, *cases, truth=lambda a, b: np.einsum("...mk,...kn->...mn", a, b))


@pytest.mark.parametrize("name", ["relu", "gelu", "gelu_tanh", "silu"])
def test_feed_forward_six_questions(name):
    rng = np.random.default_rng(4)
    cases = [
        tuple(rng.standard_normal(s) for s in ((M, K), (H, K), (N, H), (H,), (N,)))
        for M, K, H, N in [(5, 7, 33, 4), (3, 2, 1, 2), (0, 3, 4, 2)]
    ]
    wide = ("float64", "float32")  # in 16 bits h is rounded, which question 1 has no room for
    check(lambda: FeedForward(name), cases[0], cases[0][:3], *cases[1:], types=wide)


def test_feed_forward_is_two_linears():
    rng = np.random.default_rng(5)
    shapes = (2, 5, 6), (9, 6), (9,), (4, 9), (4,)
    arrays = [rng.standard_normal(s) for s in shapes]
    for wanted in ((0, 1, 2, 3, 4), (0,), (3,), (4,), (1, 4), (2, 3)):
        fused, plain = (
            [pynn.Tensor(a, requires_grad=i in wanted) for i, a in enumerate(arrays)]
            for _ in range(2)
        )
        x, w1, b1, w2, b2 = plain
        y, z = F.feed_forward(*fused, "silu"), F.linear(F.silu(F.linear(x, w1, b1)), w2, b2)
        np.testing.assert_allclose(y.numpy(), z.numpy(), rtol=1e-13)
        (y**2).sum().backward()
        (z**2).sum().backward()
        for i, (a, b) in enumerate(zip(fused, plain, strict=True)):
            assert (a.grad is not None) == (i in wanted)
            if i in wanted:
                np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-12)


def test_integers_multiply_exactly():
    rng = np.random.default_rng(2)
    x, w = (rng.integers(-8, 9, s).astype(np.float32) for s in ((37, 65), (29, 65)))
    exact = x.astype(np.int64) @ w.astype(np.int64).T
    for dtype in ("float32", "float64"):
        y = F.linear(pynn.tensor(x, dtype=dtype), pynn.tensor(w, dtype=dtype))
        np.testing.assert_array_equal(y.numpy(), exact)


@pytest.mark.oracle
@pytest.mark.parametrize(
    "shapes",
    [
        ((3, 4), (4, 5)),
        ((4,), (4, 5)),
        ((3, 4), (4,)),
        ((4,), (4,)),
        ((2, 3, 4), (2, 4, 5)),
        ((6, 1, 3, 4), (2, 4, 5)),
    ],
)
def test_matmul_agrees_with_pytorch(torch, shapes):
    rng = np.random.default_rng(3)
    arrays = [rng.standard_normal(s) for s in shapes]
    ours = [pynn.Tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, z = ours[0] @ ours[1], theirs[0] @ theirs[1]
    assert y.shape == tuple(z.shape)
    dy = rng.standard_normal(y.shape)
    y.backward(pynn.Tensor(np.asarray(dy)))
    z.backward(torch.tensor(dy))
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-13)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: F.linear(pynn.zeros(2, 3), pynn.zeros(5, 4)),
            ValueError,
            r"\[linear\] x: expected shape \(..., I\) for weight \(O, I\) = \(5, 4\), got \(2, 3\)",
        ),
        (
            lambda: F.linear(pynn.zeros(2, 3), pynn.zeros(5, 3), pynn.zeros(4)),
            ValueError,
            r"\[linear\] bias: expected shape \(5,\), got \(4,\)",
        ),
        (
            lambda: F.linear(pynn.zeros(2, 3), pynn.zeros(5, 3, dtype="float64")),
            TypeError,
            r"\[linear\] weight: expected x's dtype float32, got float64",
        ),
        (
            lambda: F.feed_forward(
                pynn.zeros(2, 3), pynn.zeros(5, 3), None, pynn.zeros(2, 4), None
            ),
            ValueError,
            r"\[feed_forward\] weight2: expected shape \(O, H\) for weight1 .* got \(2, 4\)",
        ),
        (
            lambda: F.feed_forward(
                pynn.zeros(2, 3), pynn.zeros(5, 3), pynn.zeros(5), pynn.zeros(2, 5), None
            ),
            ValueError,
            r"\[feed_forward\] expected both biases or neither, got one",
        ),
        (
            lambda: pynn.zeros(2, 3) @ pynn.zeros(2, 3),
            ValueError,
            r"\[matmul\] expected inner lengths that agree, got \(2, 3\) and \(2, 3\)",
        ),
        (
            lambda: pynn.zeros(2, 3, 4) @ pynn.zeros(5, 4, 3),
            ValueError,
            r"\[matmul\] expected leading axes that broadcast",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
