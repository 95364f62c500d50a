"""Attention: the questions over odd shapes and masks, rows without a key, dropout, rotation."""

import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn.functional.attention import RotaryEmbedding, ScaledDotProductAttention
from pynn.testing import check

SHAPES = [(2, 3, 9, 8, 6, 5), (1, 1, 1, 1, 1, 1), (0, 2, 3, 2, 4, 4), (2, 1, 0, 3, 2, 2)]
SHAPES += [(2, 1, 3, 0, 2, 2), (1, 2, 33, 31, 8, 8), (1, 1, 4, 4, 0, 3)]  # N, heads, T, S, D, E


def arrays(N, h, T, S, D, E, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal(s) for s in [(N, h, T, D), (N, h, S, D), (N, h, S, E)])


def truth_of(scale, keep=None, causal=False, weights=False):
    """Row by row, over the keys that it may see."""

    def truth(q, k, v, bias=None):
        N, h, T, _ = q.shape
        S = k.shape[2]
        bias = np.broadcast_to(np.zeros(()) if bias is None else bias, (N, h, T, S))
        seen = np.broadcast_to(True if keep is None else keep, (N, h, T, S)) & (bias > -np.inf)
        y, p = np.zeros((N, h, T, v.shape[3])), np.zeros((N, h, T, S))
        for at in np.ndindex(N, h, T):
            keys = [s for s in range(S) if seen[at][s] and not (causal and s > at[2])]
            if keys:
                scores = np.exp([scale * q[at] @ k[*at[:2], s] + bias[at][s] for s in keys])
                p[at][keys] = scores / scores.sum()
                y[at] = p[at] @ v[at[:2]]
        return (y, p) if weights else y

    return truth


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_six_questions(causal, weights):
    cases = [arrays(*s) for s in SHAPES]
    rng = np.random.default_rng(1)
    cases += [(*arrays(2, 3, 9, 8, 6, 5), rng.standard_normal(s)) for s in [(9, 8), (2, 1, 1, 8)]]
    check(
        lambda: ScaledDotProductAttention(0.6, None, causal, None, weights),
        *cases,
        truth=truth_of(0.6, None, causal, weights),
    )


@pytest.mark.parametrize("causal", [False, True])
def test_six_questions_with_a_mask(causal):
    rng = np.random.default_rng(2)
    for shape in [(2, 3, 9, 8), (9, 8), (2, 1, 1, 8)]:
        keep = rng.random(shape) < 0.4
        keep.reshape(-1, 8)[0] = False  # a row without a key
        check(
            lambda keep=keep: ScaledDotProductAttention(0.6, keep, causal),
            arrays(2, 3, 9, 8, 6, 5),
            truth=truth_of(0.6, keep, causal),
        )


def test_a_row_without_a_key_gives_zeros_and_no_gradient():
    keep = np.array([[True, False, True], [False, False, False]])
    bias = np.where(keep, 0.0, -np.inf)
    for mask in (pynn.tensor(keep), pynn.tensor(bias), keep):
        q, k, v = (pynn.tensor(a, requires_grad=True) for a in arrays(1, 1, 2, 3, 4, 5))
        y, weights = F.scaled_dot_product_attention(q, k, v, mask, need_weights=True)
        assert not y.numpy()[0, 0, 1].any() and not weights.numpy()[0, 0, 1].any()
        ((y * y).sum() + (weights * weights).sum() + y.sum()).backward()
        assert not q.grad.numpy()[0, 0, 1].any() and q.grad.numpy()[0, 0, 0].any()
        assert not k.grad.numpy()[0, 0, 1].any() and not v.grad.numpy()[0, 0, 1].any()
        assert all(np.isfinite(t.grad.numpy()).all() for t in (q, k, v))


def test_what_is_not_a_number_stays_in_its_query_and_its_sample():
    q, k, v = arrays(2, 1, 3, 4, 2, 2)
    q[0, 0, 1] = np.nan
    k[1, 0, 2] = np.nan
    y = F.scaled_dot_product_attention(*map(pynn.tensor, (q, k, v))).numpy()
    assert np.isnan(y).any(-1).tolist() == [[[False, True, False]], [[True] * 3]]


def test_great_scores_do_not_overflow():
    q, k, v = (pynn.tensor(1e3 * a, dtype="float32") for a in arrays(1, 1, 4, 5, 8, 3))
    y = F.scaled_dot_product_attention(q, k, v).numpy()
    best = np.argmax(q.numpy()[0, 0] @ k.numpy()[0, 0].T, -1)
    np.testing.assert_array_equal(y[0, 0], v.numpy()[0, 0][best])


def test_dropout_is_drawn_again_in_the_backward():
    node = ScaledDotProductAttention(0.6, None, False, (0.5, 7, 3), True)
    node.needs = (True,) * 3
    q, k, v = arrays(1, 2, 16, 32, 2, 3)
    y, weights = node.forward(q, k, v)
    plain = truth_of(0.6, weights=True)(q, k, v)[1]
    kept = weights != 0
    assert 0.4 < kept.mean() < 0.6
    np.testing.assert_allclose(weights, np.where(kept, 2 * plain, 0), rtol=1e-12)
    np.testing.assert_allclose(y, weights @ v, rtol=1e-12, atol=1e-15)
    check(
        lambda: ScaledDotProductAttention(0.6, None, True, (0.5, 7, 3)),
        arrays(1, 2, 5, 6, 2, 3),
    )
    pynn.manual_seed(1)
    a = F.scaled_dot_product_attention(*map(pynn.tensor, (q, k, v)), dropout_p=0.5).numpy()
    b = F.scaled_dot_product_attention(*map(pynn.tensor, (q, k, v)), dropout_p=0.5).numpy()
    assert (a != b).any()
    assert (
        not F.scaled_dot_product_attention(*map(pynn.tensor, (q, k, v)), dropout_p=1.0)
        .numpy()
        .any()
    )


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotation_answers(interleaved):
    angles = np.random.default_rng(3).uniform(-9, 9, (5, 3))

    def truth(x):
        half = x.shape[-1] // 2
        turned = np.empty_like(x)
        for i in range(half):
            a, b = (2 * i, 2 * i + 1) if interleaved else (i, i + half)
            z = (x[..., a] + 1j * x[..., b]) * np.exp(1j * angles[..., i])
            turned[..., a], turned[..., b] = z.real, z.imag
        return turned

    rng = np.random.default_rng(4)
    check(
        lambda: RotaryEmbedding(angles, interleaved),
        *[(rng.standard_normal(s),) for s in [(5, 6), (2, 3, 5, 6), (0, 5, 6)]],
        truth=truth,
    )


def test_rotated_products_depend_on_the_distance_alone():
    rng = np.random.default_rng(5)
    q, k = (pynn.tensor(np.repeat(rng.standard_normal((1, 8)), 9, 0)) for _ in range(2))
    scores = F.rotary_embedding(q).numpy() @ F.rotary_embedding(k).numpy().T
    for d in range(-8, 9):
        diagonal = np.diagonal(scores, d)
        np.testing.assert_allclose(diagonal, diagonal[0], rtol=1e-12)
    later = F.rotary_embedding(q, np.arange(9) + 100).numpy()
    again = later @ F.rotary_embedding(k, list(range(100, 109))).numpy().T
    np.testing.assert_allclose(again, scores, rtol=1e-10)


def test_sinusoidal_positions():
    table = F.sinusoidal_positions(50, 7, dtype="float64").numpy()
    for t, i in [(0, 0), (3, 1), (49, 2)]:
        angle = t / 10000 ** (2 * i / 7)
        np.testing.assert_allclose(table[t, 2 * i : 2 * i + 2], [np.sin(angle), np.cos(angle)])
    assert F.sinusoidal_positions(0, 3).shape == (0, 3)


def test_errors_name_what_was_expected_and_got():
    q, k, v = (pynn.tensor(a) for a in arrays(2, 1, 3, 4, 2, 5))
    attend = F.scaled_dot_product_attention
    cases = [
        (ValueError, r"key: expected shape \(2, 1, 4, 2\), got \(2, 1, 4, 5\)",
         lambda: attend(q, v, v)),
        (ValueError, r"value: expected shape \(2, 1, 4, 5\), got \(2, 1, 3, 5\)",
         lambda: attend(q, k, v[:, :, :3])),
        (ValueError, r"attn_mask: expected a shape that broadcasts to \(2, 1, 3, 4\), got \(4, 3\)",
         lambda: attend(q, k, v, np.zeros((4, 3), bool))),
        (TypeError, r"attn_mask: expected bools or floats, got int64",
         lambda: attend(q, k, v, np.zeros((3, 4), int))),
        (ValueError, r"dropout_p: expected in \[0, 1\], got 2", lambda: attend(q, k, v, None, 2)),
        (TypeError, r"key: expected x's dtype float64, got float32",
         lambda: attend(q, k.astype("float32"), v)),
        (ValueError, r"\[rotary_embedding\] x: expected shape \(..., T, D\), D even, got",
         lambda: F.rotary_embedding(v)),
        (ValueError, r"\[rotary_embedding\] positions: expected a shape that broadcasts to",
         lambda: F.rotary_embedding(q, [0, 1])),
    ]  # fmt: skip
    for error, text, call in cases:
        with pytest.raises(error, match=text):
            call()


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_as_pytorch(torch, dtype):
    rng = np.random.default_rng(6)
    arrays_ = [a.astype(dtype) for a in arrays(2, 3, 7, 7, 4, 5)]
    bias, keep = rng.standard_normal((7, 7)).astype(dtype), rng.random((2, 1, 7, 7)) < 0.7
    keep[..., 0] = True
    for mask, causal, scale in [(None, False, None), (None, True, 0.3), (bias, False, None),
                                (keep, False, 2.0)]:  # fmt: skip
        ours = [pynn.tensor(a, requires_grad=True) for a in arrays_]
        theirs = [torch.tensor(a, requires_grad=True) for a in arrays_]
        if mask is bias:
            ours.append(pynn.tensor(bias, requires_grad=True))
            theirs.append(torch.tensor(bias, requires_grad=True))
        elif mask is keep:
            ours.append(keep)
            theirs.append(torch.tensor(keep))
        y = F.scaled_dot_product_attention(*ours, is_causal=causal, scale=scale)
        ty = torch.nn.functional.scaled_dot_product_attention(
            *theirs, is_causal=causal, scale=scale
        )
        y.backward(pynn.tensor(np.cos(y.numpy())))
        ty.backward(ty.detach().cos())
        bound = {"rtol": 0, "atol": 100 * np.finfo(dtype).eps}
        np.testing.assert_allclose(y.numpy(), ty.detach().numpy(), **bound)
        for a, b in zip(ours, theirs, strict=True):
            if b.requires_grad:
                np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), **bound)
