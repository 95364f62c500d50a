"""Losses of pairs and of distances against float64 truth, central differences and PyTorch.

Over 400 lines: each loss with its truth and its errors.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pynn.functional as F
from pynn import Tensor
from pynn.functional.distance import Length
from pynn.functional.loss import (
    ArctanLoss,
    BinaryCrossEntropy,
    BinaryCrossEntropyWithLogits,
    HingeLoss,
    HuberLoss,
    KlDiv,
    KlDivLog,
    L1Loss,
    MseLoss,
    RmseLoss,
)
from pynn.testing import check, gradcheck, vectors

WIDE = ("float64", "float32")  # a loss of halves is float32: asked below
REDUCTIONS = ["mean", "sum", "none"]
WEIGHT = np.float32(1.5)
INF, NAN = np.inf, np.nan


def softplus(x):
    return np.logaddexp(0, x)


# the op of a reduction, and its elementwise value
OPS = {
    "mse": (MseLoss, lambda x, t: (x - t) ** 2),
    "l1": (L1Loss, lambda x, t: np.abs(x - t)),
    "huber": (
        lambda reduction: HuberLoss(0.75, 1.0, reduction),
        lambda x, t: np.where(
            np.abs(x - t) < 0.75, (x - t) ** 2 / 2, 0.75 * (np.abs(x - t) - 0.375)
        ),
    ),
    "arctan": (ArctanLoss, lambda x, t: np.arctan((x - t) ** 2)),
    "bce with logits": (
        lambda reduction: BinaryCrossEntropyWithLogits(reduction, WEIGHT, np.float32(2.5)),
        lambda x, t: 1.5 * (2.5 * t * softplus(-x) + (1 - t) * softplus(x)),
    ),
}
POSITIVE = {
    "bce": (
        lambda reduction: BinaryCrossEntropy(reduction, WEIGHT),
        lambda x, t: -1.5 * (t * np.log(x) + (1 - t) * np.log(1 - x)),
    ),
    "kl": (KlDiv, lambda x, t: t * (np.log(t) - x)),
    "kl of logs": (KlDivLog, lambda x, t: np.exp(t) * (t - x)),
}


def reduced(value, reduction):
    def truth(*arrays):
        values = value(*arrays)
        if reduction == "none":
            return values
        return values.sum() / (max(1, values.size) if reduction == "mean" else 1)

    return truth


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", OPS)
def test_losses_answer(name, reduction):
    op, value = OPS[name]
    rng = np.random.default_rng(0)
    cases = [*vectors(2), (rng.standard_normal((3, 4, 5)), rng.standard_normal((3, 4, 5)))]
    check(lambda: op(reduction), *cases, truth=reduced(value, reduction), types=WIDE)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", POSITIVE)
def test_losses_of_probabilities_answer(name, reduction):
    op, value = POSITIVE[name]
    rng = np.random.default_rng(0)
    cases = [tuple(rng.uniform(0.05, 0.95, n) for _ in "xt") for n in (0, 1, 31, 33, 4099)]
    check(lambda: op(reduction), *cases, truth=reduced(value, reduction), types=WIDE)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_hinge_answers(reduction):
    rng = np.random.default_rng(0)
    cases = [(rng.standard_normal(n), rng.choice([-1, 1], n)) for n in (0, 1, 31, 33, 4099)]
    truth = reduced(lambda x, t: np.maximum(1 - t * x, 0), reduction)
    check(lambda: HingeLoss(reduction), *cases, truth=truth, types=WIDE)


def test_rmse_answers():
    check(
        RmseLoss,
        *vectors(2),
        truth=lambda x, t: np.sqrt(((x - t) ** 2).mean()) if x.size else 0.0,
        types=WIDE,
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", OPS)
def test_losses_of_halves_are_float32(name, dtype):
    op, value = OPS[name]
    rng = np.random.default_rng(0)
    x, t = (
        Tensor(3 * rng.standard_normal(500), dtype=dtype, requires_grad=i == 0) for i in range(2)
    )
    exact = x.numpy().astype(np.float64), t.numpy().astype(np.float64)
    y = op("mean")(x, t)
    wanted = reduced(value, "mean")(*exact)
    assert y.dtype == np.float32
    assert abs(y.item() - wanted) <= 8 * np.finfo(np.float32).eps * abs(wanted)
    y.backward()
    leaf = Tensor(exact[0], requires_grad=True)
    op("mean")(leaf, Tensor(exact[1])).backward()
    unit = 2**-10 if dtype == "float16" else 2**-7
    got, truth = x.grad.numpy().astype(np.float64), leaf.grad.numpy()
    assert x.grad.dtype == x.dtype
    assert (np.abs(got - truth) <= unit * np.abs(truth) + 2**-24).all()


# ------------------------------------------------------------------ hard numbers


def leaf(values, dtype=np.float32):
    return Tensor(np.array(values, dtype), requires_grad=True)


def value_and_gradient(loss, x, t, **options):
    x = leaf(x)
    y = loss(x, Tensor(np.array(t, np.float32)), **options)
    y.backward(Tensor(np.ones_like(y.numpy())))
    return y.numpy().tolist(), x.grad.numpy().tolist()


def test_extremes_of_differences():
    x, t = [1e30, INF, NAN, 0.0], [0.0] * 4
    none = {"reduction": "none"}
    big = float(np.float32(1e30))
    y, dx = value_and_gradient(F.l1_loss, x, t, **none)
    assert y[:2] == [big, INF] and math.isnan(y[2]) and y[3] == 0
    assert dx[:2] == [1, 1] and math.isnan(dx[2]) and dx[3] == 0
    y, dx = value_and_gradient(F.huber_loss, x, t, **none)
    assert y[:2] == [big, INF] and math.isnan(y[2])
    assert dx[:2] == [1, 1] and math.isnan(dx[2]) and dx[3] == 0
    y, dx = value_and_gradient(F.arctan_loss, x, t, **none)
    assert y[:2] == [float(np.float32(np.pi / 2))] * 2 and math.isnan(y[2]) and y[3] == 0
    assert dx[:2] == [0, 0] and math.isnan(dx[2]) and dx[3] == 0


def test_arctan_loss_is_bounded_and_its_gradient_redescends():
    x = np.array([0.1, 0.9, 3.0, 100.0])
    y, dx = value_and_gradient(F.arctan_loss, x, np.zeros(4), reduction="none")
    assert max(y) < np.pi / 2
    np.testing.assert_allclose(dx, 2 * x / (1 + x**4), rtol=1e-6)


def test_root_of_large_and_small_squares():
    for scale in (1e30, 3e38, 1e-30, 1e-42):
        y, dx = value_and_gradient(F.rmse_loss, [scale, 0.0, 0.0, 0.0], [0.0] * 4)
        unit = np.float32(scale)
        np.testing.assert_allclose(y, unit / 2, rtol=1e-6)
        np.testing.assert_allclose(dx, [0.5, 0, 0, 0], rtol=1e-6)
    assert value_and_gradient(F.rmse_loss, [2.0, 3.0], [2.0, 3.0]) == (0, [0, 0])
    assert value_and_gradient(F.rmse_loss, [], []) == (0, [])
    assert value_and_gradient(F.rmse_loss, [INF, 1.0], [0.0, 0.0])[0] == INF


def test_a_mean_of_squares_may_be_finite_where_a_square_is_not():
    x = np.zeros(100, np.float32)
    x[0] = 1e20
    y, _ = value_and_gradient(F.mse_loss, x, np.zeros(100))
    np.testing.assert_allclose(y, 1e38, rtol=1e-6)


@pytest.mark.parametrize("x", [INF, 1e30, 100.0, 0.0, -100.0, -1e30, -INF])
def test_logits_of_any_size(x):
    none = {"reduction": "none"}
    for t in (0.0, 1.0):
        y, dx = value_and_gradient(F.binary_cross_entropy_with_logits, [x], [t], **none)
        wrong = x > 0 if t == 0 else x < 0
        huge = np.finfo(np.float32).max
        wanted = min(abs(x), huge) if wrong else (math.log(2) if x == 0 else 0)
        np.testing.assert_allclose(y, [wanted], rtol=1e-6, atol=1e-30)
        slope = 0.5 if x == 0 else 1.0 * wrong
        np.testing.assert_allclose(dx, [slope if t == 0 else -slope], atol=1e-30)
    assert math.isnan(value_and_gradient(F.binary_cross_entropy_with_logits, [NAN], [1.0])[0])


def test_certain_probabilities_are_clamped():
    y, dx = value_and_gradient(
        F.binary_cross_entropy, [0.0, 1.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0], reduction="none"
    )
    assert y == [0, 0, 100, 100]
    assert np.isfinite(dx).all() and dx[2] < 0 < dx[3]
    with pytest.raises(
        ValueError, match=r"\[binary_cross_entropy\] x: expected probabilities in \[0, 1\], got 1.5"
    ):
        F.binary_cross_entropy(leaf([0.5, 1.5]), [0.0, 1.0])


def test_divergence_from_nothing_is_nothing():
    t = leaf([0.0, 0.5, 0.5])
    x = leaf([-INF, -1.0, -2.0])
    y = F.kl_div(x, t, reduction="sum")
    y.backward()
    assert y.item() == pytest.approx(math.log(0.5) + 1.5, rel=1e-6)
    assert x.grad.numpy().tolist() == [0, -0.5, -0.5] and t.grad.numpy()[0] == 0
    logs = leaf([-INF, math.log(0.5), math.log(0.5)])
    assert F.kl_div(x, logs, "sum", log_target=True).item() == pytest.approx(y.item(), rel=1e-6)


def test_batchmean_divides_by_the_first_length():
    x, t = leaf(np.full((4, 3), -1.0)), leaf(np.full((4, 3), 0.5))
    total = F.kl_div(x, t, "sum").item()
    assert F.kl_div(x, t, "batchmean").item() == pytest.approx(total / 4)
    assert F.kl_div(x, t, "mean").item() == pytest.approx(total / 12)
    assert F.kl_div(x[:0], t[:0], "batchmean").item() == 0


@pytest.mark.parametrize(
    "loss", [F.mse_loss, F.rmse_loss, F.l1_loss, F.huber_loss, F.arctan_loss, F.hinge_loss,
             F.binary_cross_entropy, F.binary_cross_entropy_with_logits, F.kl_div]
)  # fmt: skip
def test_mean_of_nothing_is_0(loss):
    x = leaf(np.zeros((0, 3)))
    y = loss(x, Tensor(np.zeros((0, 3), np.float32)))
    assert y.item() == 0 and y.dtype == np.float32
    y.backward()
    assert x.grad.shape == (0, 3)


def test_targets_may_be_lists_integers_or_another_float():
    x = leaf([1.5, -2.0])
    assert F.mse_loss(x, [1, -2]).item() == 0.125
    assert F.hinge_loss(x, [1, -1]).item() == 0
    assert F.binary_cross_entropy_with_logits(x, [True, False]).dtype == np.float32
    y = F.mse_loss(x, Tensor(np.array([1.5, -1.0])))
    assert y.dtype == np.float64 and y.item() == 0.5
    y.backward()
    assert x.grad.dtype == np.float32


def test_smooth_l1_of_beta_0_is_l1():
    x, t = leaf([0.5, -3.0]), Tensor([0.0, 0.0])
    assert F.smooth_l1_loss(x, t, beta=0).item() == F.l1_loss(x, t).item()


def test_length_answers():
    rng = np.random.default_rng(1)
    shapes = [(3, 4), (1,), (0, 3), (5, 1), (2, 31), (2, 33)]
    cases = [(rng.standard_normal(shape),) for shape in shapes]
    wide = ("float64", "float32")  # halves are widened before
    check(Length, *cases, truth=lambda x: np.sqrt((x**2).sum(-1)), types=wide)


def test_gradients_of_distances():
    rng = np.random.default_rng(0)
    a, b, c = (Tensor(rng.standard_normal((6, 4))) for _ in range(3))
    t = Tensor(np.array([1, -1, 1, -1, 1, -1]))
    for p in (1, 2, 3):
        assert gradcheck(lambda x, y, p=p: F.pairwise_distance(x, y, p), a, b)
    for swap in (False, True):
        assert gradcheck(lambda x, y, z, s=swap: F.triplet_margin_loss(x, y, z, swap=s), a, b, c)
    assert gradcheck(F.cosine_similarity, a, b)
    assert gradcheck(lambda x, y: F.cosine_embedding_loss(x, y, t, margin=0.1), a, b)


@pytest.mark.parametrize("dtype, scale", [("float32", 1e30), ("float32", 1e-30), ("float16", 6e4)])
def test_angles_of_long_and_short_vectors(dtype, scale):
    x = Tensor(np.array([[scale, 0.0], [scale, scale]]), dtype=dtype, requires_grad=True)
    y = Tensor(np.array([[scale, scale], [-scale, -scale]]), dtype=dtype)
    cosine = F.cosine_similarity(x, y, eps=1e-36)
    np.testing.assert_allclose(cosine.numpy(), [math.sqrt(0.5), -1], rtol=1e-6)
    cosine.sum().backward()
    assert np.isfinite(x.grad.numpy().astype(np.float32)).all()


def test_zero_vectors_have_finite_gradients():
    x, y = leaf(np.zeros((2, 3))), leaf(np.ones((2, 3)))
    z = F.cosine_similarity(x, y).sum() + F.pairwise_distance(x, x, eps=0.0).sum()
    z.backward()
    assert z.item() == 0
    assert np.isfinite(x.grad.numpy()).all() and np.isfinite(y.grad.numpy()).all()


def test_errors_name_what_was_expected_and_got():
    x, column = leaf([1.0, 2.0, 3.0]), leaf([[1.0], [2.0], [3.0]])
    cases = [
        (ValueError, r"\[mse_loss\] target: expected x's shape \(3, 1\), got \(3,\)",
         lambda: F.mse_loss(column, x)),
        (TypeError, r"\[l1_loss\] expected a float dtype, got int64",
         lambda: F.l1_loss(Tensor([1, 2]), [1, 2])),
        (ValueError, r"\[mse_loss\] reduction: expected one of .*, got 'batchmean'",
         lambda: F.mse_loss(x, x, "batchmean")),
        (ValueError, r"\[huber_loss\] delta: expected a positive number, got 0",
         lambda: F.huber_loss(x, x, delta=0)),
        (ValueError, r"\[smooth_l1_loss\] beta: expected a number >= 0, got -1",
         lambda: F.smooth_l1_loss(x, x, beta=-1)),
        (ValueError, r"\[hinge_loss\] target: expected -1 or 1, got 0",
         lambda: F.hinge_loss(x, [1, 0, 1])),
        (ValueError, r"\[cosine_embedding_loss\] target: expected -1 or 1, got 0",
         lambda: F.cosine_embedding_loss(column, column, [1, 0, 1])),
        (ValueError, r"weight: expected a shape that broadcasts to \(3,\), got \(2,\)",
         lambda: F.binary_cross_entropy_with_logits(x, [0, 1, 1], weight=[1.0, 2.0])),
        (ValueError, r"pos_weight: expected a shape that broadcasts to \(3,\), got \(3, 3\)",
         lambda: F.binary_cross_entropy_with_logits(x, x, pos_weight=np.ones((3, 3)))),
        (ValueError, r"\[triplet_margin_loss\] negative: expected x's shape \(3, 1\), got \(3,\)",
         lambda: F.triplet_margin_loss(column, column, x)),
        (ValueError, r"\[triplet_margin_loss\] margin: expected a positive number, got 0",
         lambda: F.triplet_margin_loss(column, column, column, margin=0)),
        (ValueError, r"\[cosine_similarity\] y: expected x's shape \(3, 1\), got \(3,\)",
         lambda: F.cosine_similarity(column, x)),
        (ValueError, r"\[cosine_similarity\] dim: expected an axis of \(3, 1\), got 2",
         lambda: F.cosine_similarity(column, column, 2)),
        (ValueError, r"\[pairwise_distance\] p: expected a number >= 1, got 0",
         lambda: F.pairwise_distance(x, x, p=0)),
    ]  # fmt: skip
    for error, text, call in cases:
        with pytest.raises(error, match=text):
            call()


# ------------------------------------------------------------------ PyTorch


def pairs_of(torch, dtype):
    """(ours, theirs, kind of arrays) for each loss that PyTorch has too."""
    nn = torch.nn.functional
    w, k = np.array([0.5, 2.0], dtype), np.array([3.0, 0.25], dtype)
    tw, tk = torch.tensor(w), torch.tensor(k)
    signs = np.array([1, -1, 1, -1, 1])
    return {
        "mse": (F.mse_loss, nn.mse_loss, "real"),
        "l1": (F.l1_loss, nn.l1_loss, "real"),
        "huber": (
            lambda x, t, reduction: F.huber_loss(x, t, reduction, 0.7),
            lambda x, t, reduction: nn.huber_loss(x, t, reduction, 0.7),
            "real",
        ),
        "smooth l1": (
            lambda x, t, reduction: F.smooth_l1_loss(x, t, reduction, 0.7),
            lambda x, t, reduction: nn.smooth_l1_loss(x, t, reduction=reduction, beta=0.7),
            "real",
        ),
        "bce": (
            lambda x, t, reduction: F.binary_cross_entropy(x, t, w, reduction),
            lambda x, t, reduction: nn.binary_cross_entropy(x, t, tw, reduction=reduction),
            "probability",
        ),
        "bce with logits": (
            lambda x, t, reduction: F.binary_cross_entropy_with_logits(x, t, w, reduction, k),
            lambda x, t, reduction: nn.binary_cross_entropy_with_logits(
                x, t, tw, reduction=reduction, pos_weight=tk
            ),
            "real",
        ),
        "kl": (F.kl_div, lambda x, t, reduction: kl(nn, x, t, reduction, False), "probability"),
        "kl of logs": (
            lambda x, t, reduction: F.kl_div(x, t, reduction, log_target=True),
            lambda x, t, reduction: kl(nn, x, t, reduction, True),
            "real",
        ),
        "cosine": (
            lambda x, t, reduction: F.cosine_embedding_loss(x, t, signs, 0.2, reduction),
            lambda x, t, reduction: cosine_embedding(torch, x, t, signs, 0.2, reduction),
            "real",
        ),
        "triplet": (
            lambda x, t, reduction: F.triplet_margin_loss(
                x, t, t * 0.5, swap=True, reduction=reduction
            ),
            lambda x, t, reduction: nn.triplet_margin_loss(
                x, t, t * 0.5, swap=True, reduction=reduction
            ),
            "real",
        ),
    }


@pytest.mark.oracle
def test_cosines_along_any_axis_agree_with_pytorch(torch):
    for shape, dim in (((2, 3, 4, 5), 1), ((2, 3, 4), 0), ((3, 4), -2), ((0, 3, 2), 1), ((4,), 0)):
        rng = np.random.default_rng(len(shape))
        ours = [Tensor(rng.standard_normal(shape), True) for _ in "xy"]
        theirs = [torch.tensor(x.numpy(), requires_grad=True) for x in ours]
        got = F.cosine_similarity(*ours, dim=dim)
        wanted = torch.nn.functional.cosine_similarity(*theirs, dim=dim)
        np.testing.assert_allclose(got.numpy(), wanted.detach().numpy(), rtol=1e-10, atol=1e-12)
        (got * got).sum().backward()
        (wanted * wanted).sum().backward()
        for x, y in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-8, atol=1e-12)


def cosine_embedding(torch, x, y, signs, margin, reduction):
    """Out of PyTorch's cosine_similarity: its cosine_embedding_loss adds 1e-12 to the squares."""
    cosine = torch.nn.functional.cosine_similarity(x, y, dim=-1)
    values = torch.where(torch.tensor(signs) == 1, 1 - cosine, torch.clamp(cosine - margin, min=0))
    return values if reduction == "none" else getattr(values, reduction)()


def kl(nn, x, t, reduction, log_target):
    """PyTorch's kl_div, whose "mean" warns."""
    y = nn.kl_div(x, t, reduction="none", log_target=log_target)
    return y if reduction == "none" else getattr(y, reduction)()


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(max_examples=12, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**16), reduction=st.sampled_from(REDUCTIONS))
def test_as_pytorch(torch, dtype, seed, reduction):
    rng = np.random.default_rng(seed)
    arrays = {
        "real": [rng.standard_normal((5, 2)).astype(dtype) for _ in "xt"],
        "probability": [rng.uniform(0.01, 0.99, (5, 2)).astype(dtype) for _ in "xt"],
    }
    for name, (ours, theirs, kind) in pairs_of(torch, dtype).items():
        leaves = [Tensor(a, requires_grad=True) for a in arrays[kind]]
        others = [torch.tensor(a, requires_grad=True) for a in arrays[kind]]
        y, ty = ours(*leaves, reduction=reduction), theirs(*others, reduction=reduction)
        y.sum().backward()
        ty.sum().backward()
        pairs = [(y, ty)] + [(a.grad, t.grad) for a, t in zip(leaves, others, strict=True)]
        for got, want in pairs:
            got, want = got.numpy(), want.detach().numpy()
            bound = 64 * np.finfo(dtype).eps * max(1, np.abs(want).max())
            assert got.shape == want.shape, name
            assert (np.abs(got - want) <= bound).all(), name
