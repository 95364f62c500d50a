"""Metrics: equal to scikit-learn's, or to their formulas, however the samples are batched."""

import json
import math

import numpy as np
import pytest

import pynn
from pynn.train import R2, Accuracy, ConfusionMatrix, Mean, Perplexity, TopK

rng = np.random.default_rng(3)
SCORES = rng.standard_normal((101, 7)).astype(np.float32)
LABELS = rng.integers(0, 7, 101)
CUTS = [[101], [1] * 101, [64, 37], [3, 90, 8], [0, 50, 0, 51]]


def fed(metric, cuts, *arrays):
    start = 0
    for n in cuts:
        metric.update(*(a[start : start + n] for a in arrays))
        start += n
    return metric


@pytest.mark.parametrize("cuts", CUTS)
def test_classification_equals_sklearn(cuts):
    from sklearn import metrics as sk

    everything = range(7)
    assert fed(Accuracy(), cuts, SCORES, LABELS).compute() == sk.accuracy_score(
        LABELS, SCORES.argmax(1)
    )
    for k in (1, 3, 6):
        expected = sk.top_k_accuracy_score(LABELS, SCORES, k=k, labels=everything)
        assert fed(TopK(k), cuts, SCORES, LABELS).compute() == pytest.approx(expected, abs=1e-12)
    matrix = fed(ConfusionMatrix(7), cuts, SCORES, LABELS).compute()
    np.testing.assert_array_equal(matrix, sk.confusion_matrix(LABELS, SCORES.argmax(1)))
    expected = math.exp(sk.log_loss(LABELS, softmax(SCORES.astype(float)), labels=everything))
    assert fed(Perplexity(), cuts, SCORES, LABELS).compute() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("mean", [0, 1e4])
def test_r2_equals_sklearn(cuts, mean):
    from sklearn.metrics import r2_score

    y = rng.standard_normal((101, 3)) + mean
    prediction = y + 0.5 * rng.standard_normal((101, 3))
    found = fed(R2(), cuts, prediction, y).compute()
    assert found == pytest.approx(r2_score(y, prediction), rel=1e-9)


def test_r2_of_equal_targets_is_as_in_sklearn():
    assert fed(R2(), [4], np.ones(4), np.ones(4)).compute() == 1
    assert fed(R2(), [4], np.zeros(4), np.ones(4)).compute() == 0


def softmax(scores):
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@pytest.mark.parametrize("cuts", CUTS[:-1])
def test_mean_weighs_batches_by_their_size(cuts):
    values = rng.random(101)
    mean, start = Mean(), 0
    for n in cuts:
        mean.update(values[start : start + n].mean(), n)
        start += n
    assert mean.compute() == pytest.approx(values.mean(), rel=1e-14)


def test_tensors_sequences_and_ignored_targets():
    scores, labels = SCORES[:100].reshape(10, 10, 7), LABELS[:100].reshape(10, 10).copy()
    labels[:, 5:] = -100
    accuracy, perplexity = Accuracy(ignore_index=-100), Perplexity()
    for metric in (accuracy, perplexity):
        metric.update(pynn.tensor(scores), pynn.tensor(labels))
    kept = scores[:, :5].argmax(-1) == labels[:, :5]
    assert accuracy.compute() == kept.mean()
    true = np.take_along_axis(softmax(scores[:, :5].astype(float)), labels[:, :5, None], -1)
    assert perplexity.compute() == pytest.approx(math.exp(-np.log(true).mean()), rel=1e-6)


def test_ties_go_to_the_lower_class_and_nan_is_never_right():
    nan = math.nan
    scores = np.float32([[1, 1, 0], [1, 1, 0], [nan, 1, 0], [0, nan, 1], [nan, nan, nan]])
    labels = np.array([0, 1, 1, 1, 0])
    assert [
        fed(Accuracy(), [1], s[None], t[None]).compute()
        for s, t in zip(scores, labels, strict=True)
    ] == [1, 0, 0, 0, 0]
    assert fed(Accuracy(), [1], np.float32([[3, 1]]), np.array([9])).compute() == 0  # out of range


@pytest.mark.parametrize("make", [Mean, Accuracy, lambda: ConfusionMatrix(7), Perplexity, R2])
def test_nothing_counted_and_state(make):
    metric = make()
    if not isinstance(metric, ConfusionMatrix):
        assert math.isnan(metric.compute())
    arrays = (
        (SCORES[:9], LABELS[:9])
        if not isinstance(metric, Mean | R2)
        else (SCORES[:9, 0], SCORES[:9, 1])
    )
    feed = (
        (lambda m: m.update(1.5, 2)) if isinstance(metric, Mean) else (lambda m: m.update(*arrays))
    )
    feed(metric)
    first = metric.compute()
    other = make()
    state = metric.state_dict()
    if not any(isinstance(value, np.ndarray) for value in state.values()):
        state = json.loads(json.dumps(state))
    other.load_state_dict(state)
    feed(metric)
    feed(other)
    np.testing.assert_array_equal(metric.compute(), other.compute())
    metric.reset()
    feed(metric)
    np.testing.assert_array_equal(metric.compute(), first)
    with pytest.raises(ValueError, match="expected"):
        metric.load_state_dict({"other": 1})


def test_wrong_shapes_and_labels():
    with pytest.raises(ValueError, match=r"got shapes \(3, 7\) and \(4,\)"):
        Accuracy().update(SCORES[:3], LABELS[:4])
    with pytest.raises(TypeError, match="expected integers, got float32"):
        Accuracy().update(SCORES[:3], SCORES[:3, 0])
    with pytest.raises(ValueError, match=r"expected 0\.\.6, got 9"):
        ConfusionMatrix(7).update(SCORES[:1], np.array([9]))
    with pytest.raises(ValueError, match=r"expected outputs of shape \(3,\), got \(3, 1\)"):
        R2().update(SCORES[:3, :1], SCORES[:3, 0])
    with pytest.raises(ValueError, match="k: expected at least 1, got 0"):
        TopK(0)


def test_perplexity_survives_extreme_losses():
    hopeless = fed(Perplexity(), [1], np.float32([[0, 1e4]]), np.array([0]))
    assert hopeless.compute() == math.inf
    unknown = fed(Perplexity(), [1], np.float32([[0, math.nan]]), np.array([0]))
    assert math.isnan(unknown.compute())
