"""CTC against the sum over every path written out, and against PyTorch."""

import itertools

import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn.functional.ctc import Ctc
from pynn.testing import check


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True)) if x.size else x


def logits(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def spelt(path, blank):
    """What a path says: repeats once, blanks not at all."""
    return [k for k, _ in itertools.groupby(path) if k != blank]


def all_paths(x, targets, inputs, lengths, blank=0):
    """The losses of log-probabilities (T, N, C), by trying each path."""
    losses = []
    for n in range(x.shape[1]):
        total = 0.0
        for path in itertools.product(range(x.shape[2]), repeat=int(inputs[n])):
            if spelt(path, blank) == list(targets[n][: lengths[n]]):
                total += np.exp(sum(x[t, n, k] for t, k in enumerate(path)))
        losses.append(-np.log(total) if total else np.inf)
    return np.array(losses)


CASES = [  # T, C, targets, input lengths, target lengths
    (4, 3, [[1, 2], [1, 1], [2, 0], [0, 0]], [4, 4, 3, 2], [2, 2, 1, 0]),
    (5, 2, [[1, 1, 0]], [5], [2]),
    (1, 2, [[1], [0]], [1, 1], [1, 0]),
    (3, 4, [[3, 1, 2]], [3], [3]),
    (4, 3, [[0], [0]], [0, 4], [0, 0]),
]


@pytest.mark.parametrize(("T", "C", "targets", "inputs", "lengths"), CASES)
def test_every_path_counts(T, C, targets, inputs, lengths):
    targets, inputs, lengths = map(np.array, (targets, inputs, lengths))
    x = log_softmax(logits(T, len(targets), C))
    check(
        lambda: Ctc(targets, inputs, lengths, 0, False),
        (x,),
        truth=lambda x: all_paths(x, targets, inputs, lengths),
        types=("float64", "float32"),
    )


def test_empty_batches_and_no_steps():
    none = np.zeros(0, int)
    check(
        lambda: Ctc(np.zeros((0, 2), int), none, none, 0, False),
        (np.zeros((3, 0, 2)),),
        types=("float64", "float32"),
    )
    losses = F.ctc_loss(pynn.zeros(2, 0, 3), [[1], [1]], None, [0, 1], reduction="none")
    assert losses.tolist() == [0.0, np.inf]
    assert F.ctc_loss(pynn.zeros(0, 4, 3), np.zeros((0, 2), int)).item() == 0
    for reduction in ("mean", "sum"):
        x = pynn.zeros(0, 4, 3, requires_grad=True)
        F.ctc_loss(x, np.zeros((0, 2), int), reduction=reduction).backward()
        assert x.grad.shape == (0, 4, 3)


def test_another_blank():
    x = log_softmax(logits(4, 2, 3))
    targets = np.array([[0, 1], [1, 1]])
    losses = F.ctc_loss(pynn.tensor(x), targets, blank=2, reduction="none", batch_first=False)
    np.testing.assert_allclose(losses.numpy(), all_paths(x, targets, [4, 4], [2, 2], 2), rtol=1e-12)


@pytest.mark.parametrize("zero_infinity", [False, True])
def test_what_does_not_fit_has_no_gradient(zero_infinity):
    x = pynn.tensor(log_softmax(logits(2, 2, 3)), requires_grad=True)
    targets = [[1, 1], [1, 2]]  # 1 1 wants a blank between, and so three steps
    y = F.ctc_loss(x, targets, reduction="none", zero_infinity=zero_infinity).numpy()
    assert y[0] == (0 if zero_infinity else np.inf) and np.isfinite(y[1])
    F.ctc_loss(x, targets, zero_infinity=zero_infinity).backward()
    grad = x.grad.numpy()
    assert np.isfinite(grad).all() and not grad[0].any() and grad[1].any()


def test_steps_and_labels_past_the_end_are_not_read():
    x = log_softmax(logits(2, 5, 3))
    results = []
    for junk in (0.0, np.nan):
        a = x.copy()
        a[1, 3:] = junk
        a = pynn.tensor(a, requires_grad=True)
        labels = [[1, 2, 2], [2, 99 if junk else 0, -5 if junk else 0]]
        loss = F.ctc_loss(a, labels, [5, 3], [3, 1])
        loss.backward()
        results.append((loss.numpy(), a.grad.numpy()))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])
    assert not results[0][1][1, 3:].any()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_lose_float32(dtype):
    x = pynn.tensor(log_softmax(logits(2, 9, 4)), dtype=dtype, requires_grad=True)
    wide = pynn.tensor(x.numpy().astype(np.float64), requires_grad=True)
    losses = [F.ctc_loss(t, [[1, 2], [3, 3]]) for t in (x, wide)]
    for loss in losses:
        loss.backward()
    assert losses[0].dtype == np.float32 and x.grad.dtype == x.dtype
    np.testing.assert_allclose(losses[0].item(), losses[1].item(), rtol=1e-6)
    np.testing.assert_array_equal(x.grad.numpy(), wide.grad.numpy().astype(x.dtype))


def test_long_sequences_do_not_underflow():
    x = pynn.Tensor(log_softmax(logits(1, 2000, 50)).astype(np.float32), requires_grad=True)
    loss = F.ctc_loss(x, np.arange(1, 50)[None])
    loss.backward()
    assert np.isfinite(loss.item())
    np.testing.assert_allclose(x.grad.numpy().sum(-1) * 49, -1, rtol=1e-5)  # one label a step


def test_the_best_path_is_spelt():
    x = np.full((2, 6, 4), -9.0)
    for n, path in enumerate([[1, 1, 0, 1, 2, 0], [0, 3, 3, 3, 2, 1]]):
        x[n, np.arange(6), path] = 0
    assert F.ctc_greedy_decode(pynn.tensor(x)) == [[1, 1, 2], [3, 2, 1]]
    assert F.ctc_greedy_decode(pynn.tensor(x), [6, 3]) == [[1, 1, 2], [3]]
    assert F.ctc_greedy_decode(pynn.tensor(x), [0, 5], blank=3) == [[], [0, 2]]
    swapped = pynn.tensor(x.transpose(1, 0, 2))
    assert F.ctc_greedy_decode(swapped, batch_first=False) == [[1, 1, 2], [3, 2, 1]]
    assert F.ctc_greedy_decode(pynn.zeros(2, 0, 3)) == [[], []]
    assert F.ctc_greedy_decode(pynn.zeros(0, 2, 3)) == []


def test_errors_name_what_was_expected_and_got():
    x = pynn.zeros(2, 4, 3)
    cases = [
        (ValueError, r"\[ctc_loss\] log_probs: expected shape \(N, T, C\), got \(4, 3\)",
         lambda: F.ctc_loss(x[0], [[1]])),
        (IndexError, r"targets: expected labels in \[0, 3\) other than blank 0, got 3",
         lambda: F.ctc_loss(x, [[1], [3]])),
        (IndexError, r"other than blank 0, got 0", lambda: F.ctc_loss(x, [[1], [0]])),
        (ValueError, r"targets: expected shape \(2, S\), or \(sum of target_lengths,\), got \(1, 1",
         lambda: F.ctc_loss(x, [[1]])),
        (ValueError, r"input_lengths: expected integers in \[0, 4\], got 5",
         lambda: F.ctc_loss(x, [[1], [1]], [4, 5])),
        (ValueError, r"target_lengths: expected a sum of 3, got 4",
         lambda: F.ctc_loss(x, [1, 2, 1], None, [2, 2])),
        (ValueError, r"blank: expected a class in \[0, 3\), got 3",
         lambda: F.ctc_loss(x, [[1], [1]], blank=3)),
        (TypeError, r"targets: expected integers, got float32",
         lambda: F.ctc_loss(x, [[1.0], [1.0]])),
    ]  # fmt: skip
    for error, text, call in cases:
        with pytest.raises(error, match=text):
            call()


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_as_pytorch(torch, dtype, reduction):
    rng = np.random.default_rng(0)
    x = logits(20, 4, 7).astype(dtype)
    lengths, inputs = np.array([5, 1, 8, 3]), np.array([20, 15, 20, 18])
    targets = rng.integers(1, 7, (4, 8))
    targets[0, :5] = [2, 2, 2, 3, 3]
    flat = np.concatenate([t[:n] for t, n in zip(targets, lengths, strict=True)])
    for labels in (targets, flat):
        a, b = pynn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        y = F.ctc_loss(
            F.log_softmax(a), labels, inputs, lengths, reduction=reduction, batch_first=False
        )
        ty = torch.nn.functional.ctc_loss(
            b.log_softmax(-1),
            *map(torch.tensor, (labels, inputs, lengths)),
            reduction=reduction,
        )
        y.sum().backward()
        ty.sum().backward()
        bound = {"rtol": 0, "atol": 400 * np.finfo(dtype).eps}
        np.testing.assert_allclose(y.numpy(), ty.detach().numpy(), rtol=20 * np.finfo(dtype).eps)
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), **bound)
