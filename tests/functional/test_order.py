"""sort, argsort, topk: beside NumPy; gradients go back to where the values stood."""

import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn.testing import gradcheck


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_sort_is_stable_and_right(axis, descending):
    x = np.random.default_rng(1).integers(0, 4, (5, 6, 7)).astype(np.float32)
    values, indices = F.sort(pynn.tensor(x), axis, descending)
    order = np.argsort(-x if descending else x, axis=axis, kind="stable")
    np.testing.assert_array_equal(indices.numpy(), order)
    np.testing.assert_array_equal(values.numpy(), np.take_along_axis(x, order, axis))


def test_nan_is_last():
    x = pynn.tensor([2.0, float("nan"), 1.0])
    assert F.argsort(x).tolist() == [2, 0, 1]
    assert F.argsort(x, descending=True).tolist() == [1, 0, 2]


@pytest.mark.parametrize("largest", [True, False])
def test_topk(largest):
    x = np.random.default_rng(2).permutation(30).reshape(5, 6).astype(np.float64)
    values, indices = F.topk(pynn.tensor(x), 2, axis=1, largest=largest)
    wanted = np.sort(x, 1)[:, ::-1][:, :2] if largest else np.sort(x, 1)[:, :2]
    np.testing.assert_array_equal(values.numpy(), wanted)
    np.testing.assert_array_equal(np.take_along_axis(x, indices.numpy(), 1), wanted)
    leaf = pynn.tensor(x, requires_grad=True)
    assert gradcheck(lambda t: F.topk(t, 2, axis=1, largest=largest)[0], leaf)


def test_empty_and_bfloat16():
    values, indices = F.sort(pynn.zeros(0, 3, dtype="bfloat16"), 0)
    assert values.shape == indices.shape == (0, 3) and values.dtype == pynn.bfloat16
    values, _ = F.sort(pynn.tensor([2.0, 1.0, 3.0], dtype="bfloat16"))
    assert values.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("call", [lambda x: F.topk(x, 4), lambda x: F.topk(x, -1)])
def test_topk_names_its_limits(call):
    with pytest.raises(ValueError, match=r"\[topk\] expected 0 <= k <= 3, got"):
        call(pynn.zeros(2, 3))


def test_an_axis_out_of_range():
    with pytest.raises(ValueError, match=r"\[argsort\] expected an axis in \[-2, 2\), got 2"):
        F.sort(pynn.zeros(2, 3), 2)
