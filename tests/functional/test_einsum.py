"""einsum: beside numpy.einsum, forward and gradient."""

import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn.testing import gradcheck

EQUATIONS = {
    "ij,jk->ik": [(3, 4), (4, 5)],
    "ij,kj": [(3, 4), (5, 4)],
    "bhqd,bhkd->bhqk": [(2, 3, 4, 5), (2, 3, 6, 5)],
    "i,j->ji": [(3,), (4,)],
    "ij->": [(3, 4)],
    "ij->ji": [(3, 4)],
    "bij,j->b": [(2, 3, 4), (4,)],
    "ij,ij->ij": [(3, 4), (3, 4)],
    "ij,jk,kl->il": [(2, 3), (3, 4), (4, 5)],
    "ijk,l->jl": [(2, 3, 4), (5,)],
    "ij,jk->k": [(0, 4), (4, 2)],
    "a,a->": [(7,), (7,)],
}


@pytest.mark.parametrize("equation, shapes", EQUATIONS.items(), ids=list(EQUATIONS))
def test_values_and_gradients(equation, shapes):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape) for shape in shapes]
    y = F.einsum(equation, *(pynn.tensor(a) for a in arrays))
    np.testing.assert_allclose(y.numpy(), np.einsum(equation, *arrays), rtol=1e-12, atol=1e-13)
    if all(a.size for a in arrays):
        leaves = [pynn.tensor(a, requires_grad=True) for a in arrays]
        assert gradcheck(lambda *xs: F.einsum(equation, *xs), *leaves)


@pytest.mark.parametrize(
    "equation, shapes, words",
    [
        ("ij,jk->ik", [(3, 4)], "expected 2 tensors"),
        ("ij,jk->ik", [(3, 4), (5, 6)], "'j': expected length 4, got 5"),
        ("ij->i", [(3,)], "'ij': expected 2 axes, got shape (3,)"),
        ("ii->i", [(3, 3)], "expected letters that differ within a term, got 'ii'"),
        ("ij->k", [(3, 4)], "expected result letters out of the terms, got 'k'"),
        ("i...->i", [(3, 4)], "expected letters that differ within a term, got 'i...'"),
    ],
)
def test_bad_input(equation, shapes, words):
    with pytest.raises(ValueError) as error:
        F.einsum(equation, *(pynn.zeros(*shape) for shape in shapes))
    assert words in str(error.value)
