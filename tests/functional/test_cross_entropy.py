"""Losses of classes against float64 truth, central differences and PyTorch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pynn.functional as F
from pynn import Tensor
from pynn.functional.cross_entropy import (
    CrossEntropy,
    MultiMarginLoss,
    NllLoss,
    SoftCrossEntropy,
)
from pynn.testing import check

WIDE = ("float64", "float32")  # a loss of halves is float32: asked below
SHAPES = [(0, 3), (1, 1), (7,), (31, 5), (4, 33, 10), (3, 127), (2, 4099)]
REDUCTIONS = ["mean", "sum", "none"]


def logits(*shape, seed=0, scale=3.0):
    return scale * np.random.default_rng(seed).standard_normal(shape)


def labels(shape, ignored=False, seed=1):
    rng = np.random.default_rng(seed)
    out = rng.integers(0, shape[-1], shape[:-1])
    return np.where(rng.random(shape[:-1]) < 0.3, -100, out) if ignored else out


def log_softmax(x):
    x = x - x.max(-1, keepdims=True) if x.size else x
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def truth_of(target, weight=None, ignore_index=-100, smoothing=0.0, reduction="mean"):
    """The loss by its definition, with q written out."""

    def truth(x):
        C = x.shape[-1]
        w = np.ones(C) if weight is None else weight
        kept = target != ignore_index
        t = np.where(kept, target, 0)
        q = (1 - smoothing) * np.eye(C)[t] * w[t][..., None] + smoothing / C * w
        losses = np.where(kept, -(q * log_softmax(x)).sum(-1), 0)
        if reduction == "none":
            return losses
        divisor = (w[t] * kept).sum() if reduction == "mean" else 1
        return losses.sum() / (divisor or 1)

    return truth


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_answers(reduction, smoothing, weighted):
    for shape in SHAPES:
        t = labels(shape, ignored=shape[0] != 7)
        w = np.linspace(0.5, 2, shape[-1]).astype(np.float32) if weighted else None
        exact = None if w is None else w.astype(np.float64)
        check(
            lambda t=t, w=w: CrossEntropy(t, w, -100, smoothing, reduction),
            (logits(*shape),),
            truth=truth_of(t, exact, -100, smoothing, reduction),
            types=WIDE,
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing, weighted", [(0.0, False), (0.2, True)])
def test_soft_cross_entropy_answers(reduction, smoothing, weighted):
    def truth(x, t):
        C = x.shape[-1]
        q = ((1 - smoothing) * t + smoothing / C) * (1 if w is None else w)
        losses = -(q * log_softmax(x)).sum(-1)
        if reduction == "none":
            return losses
        return losses.sum() / (max(1, losses.size) if reduction == "mean" else 1)

    for shape in SHAPES:
        w = np.linspace(0.5, 2, shape[-1]).astype(np.float32) if weighted else None
        t = np.exp(log_softmax(logits(*shape, seed=5)))
        check(
            lambda w=w: SoftCrossEntropy(w, smoothing, reduction),
            (logits(*shape), t),
            truth=truth,
            types=WIDE,
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_nll_and_multi_margin_answer(reduction, weighted):
    for shape in SHAPES:
        w = np.linspace(0.5, 2, shape[-1]).astype(np.float32) if weighted else None
        t = labels(shape, ignored=True)
        check(lambda t=t, w=w: NllLoss(t, w, -100, reduction), (logits(*shape),), types=WIDE)
        t = labels(shape)
        for p in (1, 2):
            check(
                lambda t=t, w=w, p=p: MultiMarginLoss(t, p, 1.0, w, reduction),
                (logits(*shape),),
                types=WIDE,
            )


# ------------------------------------------------------------------ hard cases


def leaf(rows, dtype=np.float32):
    return Tensor(np.array(rows, dtype), requires_grad=True)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("soft", [False, True])
def test_losses_of_halves_are_float32(dtype, soft):
    x = Tensor(logits(40, 9), dtype=dtype, requires_grad=True)
    exact = Tensor(x.numpy().astype(np.float64), requires_grad=True)
    p = np.exp(log_softmax(logits(40, 9, seed=1))).astype(np.float32)
    target = p if soft else labels((40, 9))
    y, truth = F.cross_entropy(x, target), F.cross_entropy(exact, target)
    assert y.dtype == np.float32
    assert abs(y.item() - truth.item()) <= 4 * np.finfo(np.float32).eps * truth.item()
    y.backward()
    truth.backward()
    assert x.grad.dtype == x.dtype
    rounded = exact.grad.numpy().astype(x.dtype).astype(np.float64)
    got = x.grad.numpy().astype(np.float64)
    unit = 2**-10 if dtype == "float16" else 2**-7
    assert (np.abs(got - rounded) <= unit * np.abs(rounded) + 2**-24).all()


@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_large_logits(scale):
    x = leaf(logits(5, 7, scale=scale))
    t = labels((5, 7))
    y = F.cross_entropy(x, t, reduction="none")
    exact = x.numpy().astype(np.float64)
    np.testing.assert_allclose(y.numpy(), -log_softmax(exact)[range(5), t], rtol=1e-6, atol=1e-6)
    y.sum().backward()
    wanted = np.exp(log_softmax(exact)) - np.eye(7)[t]
    np.testing.assert_allclose(x.grad.numpy(), wanted, rtol=1e-6, atol=1e-6)


INF = np.inf


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("soft", [False, True])
def test_a_row_of_minus_infinity_loses_infinity_and_has_no_gradient(soft, smoothing):
    rows = [[1.0, 2.0, -INF], [-INF] * 3, [0.0, 1.0, 2.0]]
    x = leaf(rows)
    t = np.array([0, 1, 2])
    target = np.eye(3, dtype=np.float32)[t] if soft else t
    y = F.cross_entropy(x, target, reduction="none", label_smoothing=smoothing)
    assert y.numpy()[1] == INF and np.isfinite(y.numpy()[2])
    assert np.isfinite(y.numpy()[0]) == (smoothing == 0)
    y.sum().backward()
    grad = x.grad.numpy()
    assert np.isfinite(grad).all() and not grad[1].any() and grad[0].any()


def test_a_masked_class_with_no_weight_costs_nothing():
    x = leaf([[1.0, 2.0, -INF]])
    w = Tensor([1.0, 1.0, 0.0])
    y = F.cross_entropy(x, [0], weight=w, label_smoothing=0.1)
    p = Tensor([[0.5, 0.5, 0.0]])
    z = F.cross_entropy(x, p)
    (y + z).backward()
    assert np.isfinite([y.item(), z.item()]).all() and np.isfinite(x.grad.numpy()).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_a_number_shows_in_its_row_alone(bad):
    x = leaf([[0.0, 1.0], [bad, 0.0]])
    y = F.cross_entropy(x, [0, 0], reduction="none")
    y.backward(Tensor(np.ones(2, np.float32)))
    assert np.isnan(y.numpy()).tolist() == [False, True]
    assert np.isnan(x.grad.numpy()).any(1).tolist() == [False, True]


@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_nothing_to_learn_from_is_0_without_gradient(loss, reduction):
    empty, ignored = leaf(np.zeros((0, 4))), leaf(np.ones((3, 4)))
    zero_weight = leaf(np.ones((3, 4)))
    cases = [(empty, [], None), (ignored, [-100] * 3, None), (zero_weight, [1] * 3, np.zeros(4))]
    for x, target, weight in cases:
        y = loss(x, target, weight=weight, reduction=reduction)
        y.backward()
        assert y.item() == 0 and not x.grad.numpy().any()


@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss])
def test_ignore_index_may_be_a_class(loss):
    x, y = leaf(logits(6, 4)), leaf(logits(6, 4))
    t = np.array([0, 1, 2, 3, 2, 2])
    got, wanted = loss(x, t, ignore_index=2), loss(y, np.where(t == 2, -100, t))
    got.backward()
    wanted.backward()
    assert got.item() == wanted.item()
    assert np.array_equal(x.grad.numpy(), y.grad.numpy())


@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss, F.multi_margin_loss])
@pytest.mark.parametrize("bad", [4, -1, -100, 2**40])
def test_labels_out_of_range_are_named(loss, bad):
    target = [0, 3, bad, 1]
    ignored = "" if loss is F.multi_margin_loss else " or ignore_index -100"
    if bad == -100 and ignored:
        assert np.isfinite(loss(leaf(logits(4, 4)), target).item())
        return
    text = rf"\[{loss.__name__}\] target: expected labels in \[0, 4\){ignored}, got {bad}$"
    with pytest.raises(IndexError, match=text):
        loss(leaf(logits(4, 4)), target)


def test_labels_of_every_integer_dtype():
    x = Tensor(logits(5, 200).astype(np.float32))
    t = labels((5, 200))
    wanted = F.cross_entropy(x, t).item()
    for target in (t.tolist(), Tensor(t), *(t.astype(d) for d in (np.uint8, np.int16, np.int32))):
        assert F.cross_entropy(x, target).item() == wanted


def test_errors_name_what_was_expected_and_got():
    x = leaf(logits(5, 3))
    cases = [
        (ValueError, r"target: expected labels of shape \(5,\) for x \(5, 3\), classes last, "
                     r"got \(3,\)", lambda: F.cross_entropy(x, [0, 1, 2])),
        (TypeError, r"\[cross_entropy\] target: expected integers, got float32",
         lambda: F.cross_entropy(x, [0.0] * 5)),
        (ValueError, r"\[cross_entropy\] weight: expected shape \(3,\), got \(5,\)",
         lambda: F.cross_entropy(x, [0] * 5, weight=np.ones(5))),
        (ValueError, r"reduction: expected one of \('mean', 'sum', 'none'\), got 'average'",
         lambda: F.cross_entropy(x, [0] * 5, reduction="average")),
        (ValueError, r"label_smoothing: expected in \[0, 1\], got 2",
         lambda: F.cross_entropy(x, [0] * 5, label_smoothing=2)),
        (ValueError, r"expected shape \(..., C\) with C >= 1, got \(5, 0\)",
         lambda: F.cross_entropy(Tensor(np.zeros((5, 0), np.float32)), [0] * 5)),
        (TypeError, r"\[nll_loss\] expected a float dtype, got int64",
         lambda: F.nll_loss(Tensor([[1, 2]]), [0])),
        (ValueError, r"\[multi_margin_loss\] p: expected 1 or 2, got 3",
         lambda: F.multi_margin_loss(x, [0] * 5, p=3)),
    ]  # fmt: skip
    for error, text, call in cases:
        with pytest.raises(error, match=text):
            call()


# ------------------------------------------------------------------ PyTorch


def compare(torch, ours, theirs, dtype):
    """Value and gradients of two functions of the same arrays."""
    (f, inputs), (g, others) = ours, theirs
    y, ty = f(*inputs), g(*others)
    y.sum().backward()
    ty.sum().backward()
    pairs = [(y, ty)] + [
        (a.grad, t.grad) for a, t in zip(inputs, others, strict=True) if t.grad is not None
    ]
    for got, want in pairs:
        got, want = got.numpy(), want.detach().numpy()
        bound = 64 * np.finfo(dtype).eps * max(1, np.abs(want).max(initial=0))
        assert got.shape == want.shape and (np.abs(got - want) <= bound).all()


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple),
    seed=st.integers(0, 2**16),
    reduction=st.sampled_from(REDUCTIONS),
    smoothing=st.sampled_from([0.0, 0.25]),
    weighted=st.booleans(),
)
def test_as_pytorch(torch, dtype, shape, seed, reduction, smoothing, weighted):
    rng = np.random.default_rng(seed)
    nn = torch.nn.functional
    x = logits(*shape, seed=seed).astype(dtype)
    t = labels(shape, ignored=len(shape) > 1, seed=seed)
    if t.size:
        t.reshape(-1)[0] = 0  # PyTorch gives NaN where all are ignored
    q = rng.dirichlet(np.ones(shape[-1]), shape[:-1]).astype(dtype)
    w = rng.uniform(0.5, 2, shape[-1]).astype(dtype) if weighted else None
    tw = None if w is None else torch.tensor(w)
    axis = -1 if len(shape) == 1 else 1

    def first(a):  # classes where PyTorch has them
        return a.movedim(-1, axis).contiguous()

    for f, g, target in [
        (
            lambda x: F.cross_entropy(x, t, w, -100, reduction, smoothing),
            lambda x: nn.cross_entropy(
                first(x), torch.tensor(t), tw, None, -100, None, reduction, smoothing
            ),
            None,
        ),
        (
            lambda x, q: F.cross_entropy(x, q, w, -100, reduction, smoothing),
            lambda x, q: nn.cross_entropy(
                first(x), first(q), tw, None, -100, None, reduction, smoothing
            ),
            q,
        ),
        (
            lambda x: F.nll_loss(x, t, w, -100, reduction),
            lambda x: nn.nll_loss(first(x), torch.tensor(t), tw, reduction=reduction),
            None,
        ),
    ]:
        arrays = [x] if target is None else [x, target]
        compare(
            torch,
            (f, [Tensor(a, requires_grad=True) for a in arrays]),
            (g, [torch.tensor(a, requires_grad=True) for a in arrays]),
            dtype,
        )
    if len(shape) == 2:
        t = labels(shape, seed=seed)
        for p in (1, 2):
            compare(
                torch,
                (
                    lambda x, p=p: F.multi_margin_loss(x, t, p, 0.7, w, reduction),
                    [Tensor(x, requires_grad=True)],
                ),
                (
                    lambda x, p=p: nn.multi_margin_loss(
                        x, torch.tensor(t), p, 0.7, tw, reduction=reduction
                    ),
                    [torch.tensor(x, requires_grad=True)],
                ),
                dtype,
            )
