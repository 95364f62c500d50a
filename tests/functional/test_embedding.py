"""Embedding and one-hot vectors: rows found, gradients added in one order, indices checked."""

import numpy as np
import pytest

import pynn.functional as F
from pynn import Tensor
from pynn.functional.embedding import Embedding, _add_rows, _add_sorted
from pynn.testing import check


def table(V, D, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal((V, D)).astype(dtype)


@pytest.mark.parametrize("padding_idx", [None, 2])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (31,), (4, 33), (2, 3, 5)], ids=str)
@pytest.mark.parametrize("size", [(3, 1), (7, 5), (33, 32), (5, 0)], ids=str)
def test_embedding_answers(size, shape, padding_idx):
    index = np.random.default_rng(1).integers(0, size[0], shape)
    padded = padding_idx if padding_idx is not None and (index == padding_idx).any() else None
    check(
        lambda: Embedding(index, padding_idx),
        (table(*size),),
        truth=lambda w: np.stack([w[k] for k in index.reshape(-1)] or [w[0]])[: index.size].reshape(
            *shape, size[1]
        ),
        gradient=padded is None,  # padding's is not the derivative
    )


def test_padding_gets_no_gradient():
    w = Tensor(table(4, 3), requires_grad=True)
    for padding in (1, -3):
        w.grad = None
        F.embedding([[0, 1], [1, 3]], w, padding_idx=padding).sum().backward()
        assert w.grad.numpy()[:, 0].tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize("sums", [_add_rows, _add_sorted])
@pytest.mark.parametrize("V, n", [(1, 5), (3, 0), (3, 1000), (50, 7), (1000, 4099)])
def test_sums_of_rows_are_exact_for_integers(sums, V, n):
    rng = np.random.default_rng(n)
    index = rng.integers(0, V, n)
    rows = rng.integers(-8, 9, (n, 5)).astype(np.float32)
    wanted = np.zeros((V, 5), np.float32)
    np.add.at(wanted, index, rows)
    kept = index.copy(), rows.copy()
    assert np.array_equal(sums(index, rows, V), wanted)
    assert np.array_equal(index, kept[0]) and np.array_equal(rows, kept[1])


def test_half_gradients_are_added_in_float32():
    w = Tensor(np.zeros((2, 1)), dtype="bfloat16", requires_grad=True)
    F.embedding(np.zeros(4096, np.int64), w).sum().backward()
    assert float(w.grad.numpy()[0, 0]) == 4096  # in bfloat16 it would have stopped at 256


def test_index_may_be_a_tensor_an_array_or_a_list_of_any_integers():
    w = Tensor(table(300, 2))
    wanted = w.numpy()[[0, 200, 7]]
    indices = [[0, 200, 7], Tensor([0, 200, 7])]
    indices += [np.array([0, 200, 7], d) for d in (np.uint8, np.int16, np.int32, np.int64)]
    for index in indices:
        assert np.array_equal(F.embedding(index, w).numpy(), wanted)
    assert F.embedding([], w).shape == (0, 2)
    assert F.embedding(3, w).shape == (2,)


@pytest.mark.parametrize("index, got", [([0, 5], 5), ([[-1, 2]], -1), ([2**40], 2**40)])
def test_index_out_of_range_is_named(index, got):
    with pytest.raises(
        IndexError, match=rf"\[embedding\] index: expected integers in \[0, 5\), got {got}"
    ):
        F.embedding(index, Tensor(table(5, 2)))


def test_errors_name_what_was_expected_and_got():
    w = Tensor(table(5, 2))
    with pytest.raises(TypeError, match=r"\[embedding\] index: expected integers, got float32"):
        F.embedding([1.0], w)
    with pytest.raises(TypeError, match=r"index: expected integers, got bool"):
        F.embedding(np.array([True]), w)
    with pytest.raises(ValueError, match=r"weight: expected shape \(V, D\), got \(5, 2, 1\)"):
        F.embedding([1], w.reshape(5, 2, 1))
    with pytest.raises(ValueError, match=r"padding_idx: expected in \[-5, 5\), got 5"):
        F.embedding([1], w, padding_idx=5)
    with pytest.raises(IndexError, match=r"\[embedding\] index: expected integers in \[0, 0\)"):
        F.embedding([0], Tensor(np.zeros((0, 2), np.float32)))


def test_one_hot():
    y = F.one_hot([[0, 2], [1, 0]], 4)
    assert y.dtype == np.int64 and y.shape == (2, 2, 4)
    assert np.array_equal(y.numpy(), np.eye(4, dtype=int)[[[0, 2], [1, 0]]])
    assert F.one_hot(Tensor([3, 1])).shape == (2, 4)
    assert F.one_hot([1], 2, dtype="float16").numpy().tolist() == [[0, 1]]
    assert F.one_hot([], 3).shape == (0, 3)
    with pytest.raises(
        IndexError, match=r"\[one_hot\] index: expected integers in \[0, 3\), got 3"
    ):
        F.one_hot([0, 3], 3)
    with pytest.raises(ValueError, match=r"num_classes: expected a number for an empty index"):
        F.one_hot([])


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_as_pytorch(torch, dtype):
    index = np.random.default_rng(3).integers(0, 50, (17, 9))
    w, dy = table(50, 6, dtype), table(17 * 9, 6, dtype, seed=4).reshape(17, 9, 6)
    ours, theirs = Tensor(w, requires_grad=True), torch.tensor(w, requires_grad=True)
    y = F.embedding(index, ours, padding_idx=4)
    ty = torch.nn.functional.embedding(torch.tensor(index), theirs, padding_idx=4)
    y.backward(Tensor(dy))
    ty.backward(torch.tensor(dy))
    assert np.array_equal(y.numpy(), ty.detach().numpy())
    np.testing.assert_allclose(
        ours.grad.numpy(), theirs.grad.numpy(), rtol=0, atol=32 * np.finfo(dtype).eps
    )
