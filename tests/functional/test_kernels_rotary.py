"""Rotary embeddings by kernels: every way in which angles meet rows, both pairings."""

import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn import backend
from pynn.functional.attention import RotaryEmbedding
from pynn.testing import check

pytestmark = pytest.mark.skipif(
    backend.kernel_module("sim") is None, reason="pynn was built without pynn._sim"
)

LEADS = [  # of x, of the angles
    ((5,), (5,)),
    ((2, 3, 5), (5,)),
    ((2, 3, 5), (2, 1, 5)),
    ((2, 3, 5), (2, 3, 5)),
    ((2, 3, 2, 5), (2, 1, 2, 1)),
    ((2, 0), (1,)),
    ((19, 1), (1,)),
]


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("D", [0, 2, 6, 32])
def test_rotary(D, interleaved):
    rng = np.random.default_rng(0)
    for lead, own in LEADS:
        angles = rng.uniform(-1000, 1000, (*own, D // 2))
        x = rng.standard_normal((*lead, D))
        check(lambda a=angles: RotaryEmbedding(a, interleaved), (x,))


def test_positions_far_out_and_a_view():
    x = np.random.default_rng(0).standard_normal((3, 17)).astype(np.float32)[:, 1:]
    far = np.array([1_000_000, 123_456_789, 0])
    wanted = F.rotary_embedding(pynn.Tensor(x), far).data
    with pynn.use_kernels("sim"):
        got = F.rotary_embedding(pynn.Tensor(x), far).data
    np.testing.assert_allclose(got, wanted, rtol=0, atol=4 * np.finfo(np.float32).eps)
