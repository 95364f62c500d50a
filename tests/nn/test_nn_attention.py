"""Attention and transformers against PyTorch's with its weights; masks, positions, stacks."""

import numpy as np
import pytest

import pynn
from pynn import nn

rng = np.random.default_rng


def close(ours, theirs, dtype):
    wanted = theirs.detach().numpy()
    bound = 400 * np.finfo(dtype).eps * max(1, np.abs(wanted).max(initial=0))
    np.testing.assert_allclose(ours.numpy(), wanted, rtol=0, atol=bound)


def pair_of(torch, name, dtype, *args, **options):
    """Ours and PyTorch's with the same weights, all of them drawn (PyTorch's biases are 0)."""
    theirs = getattr(torch.nn, name)(*args, **options, batch_first=True)
    ours = getattr(nn, name)(*args, **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    state = {k: torch.randn(t.shape) * 0.4 for k, t in theirs.state_dict().items()}
    theirs.load_state_dict(state)
    ours.load_state_dict(state)
    return ours.to(dtype), theirs.to(getattr(torch, dtype))


def compare(torch, ours, theirs, arrays, call, dtype):
    """Outputs, and the gradients of the inputs and of all parameters."""
    xs = [pynn.tensor(a, requires_grad=True) for a in arrays]
    txs = [torch.tensor(a, requires_grad=True) for a in arrays]
    ours.zero_grad()
    theirs.zero_grad()
    y, ty = call(ours, *xs), call(theirs, *txs)
    close(y, ty, dtype)
    (y * y).sum().backward()
    (ty * ty).sum().backward()
    for x, tx in zip(xs, txs, strict=True):
        close(x.grad, tx.grad, dtype)
    for key, parameter in theirs.named_parameters():
        mine = dict(ours.named_parameters())[key].grad
        assert (mine is None) == (parameter.grad is None)
        if mine is not None:
            close(mine, parameter.grad, dtype)


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_multihead_attention_agrees_with_pytorch(torch, dtype):
    r = rng(0)
    x = r.standard_normal((3, 5, 8)).astype(dtype)
    memory = r.standard_normal((3, 4, 8)).astype(dtype)
    key, value = (r.standard_normal((3, 4, n)).astype(dtype) for n in (6, 7))
    hidden, bias = r.random((5, 4)) < 0.3, r.standard_normal((6, 5, 4)).astype(dtype)
    padding = np.array([[False] * 4, [False, False, True, True], [False, True, False, True]])
    hidden[:, 0] = False

    def on(torch_module, array):
        return torch.tensor(array) if torch_module else array

    def cross(m, *xs, **masks):
        masks = {k: on(not isinstance(m, nn.Module), v) for k, v in masks.items()}
        return m(*xs, **masks)

    for bias_ in (True, False):
        ours, theirs = pair_of(torch, "MultiheadAttention", dtype, 8, 2, bias=bias_)
        compare(torch, ours, theirs, [x], lambda m, x: m(x, x, x)[0], dtype)
        compare(torch, ours, theirs, [x, memory], lambda m, x, k: m(x, k, k)[1], dtype)
    for masks in [{"key_padding_mask": padding}, {"attn_mask": hidden}, {"attn_mask": bias},
                  {"attn_mask": hidden, "key_padding_mask": padding}]:  # fmt: skip
        compare(
            torch, ours, theirs, [x, memory],
            lambda m, x, k, masks=masks: cross(m, x, k, k, **masks)[0], dtype,
        )  # fmt: skip
    ours, theirs = pair_of(torch, "MultiheadAttention", dtype, 8, 2, kdim=6, vdim=7)
    compare(
        torch, ours, theirs, [x, key, value],
        lambda m, *xs: m(*xs, average_attn_weights=False)[0], dtype,
    )  # fmt: skip
    weights, wanted = (
        m(*map(t, (x, key, value)), average_attn_weights=False)[1]
        for m, t in ((ours, pynn.tensor), (theirs, torch.tensor))
    )
    close(weights, wanted, dtype)


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_layers_agree_with_pytorch(torch, dtype, norm_first, activation):
    r = rng(1)
    x, memory = (r.standard_normal((2, T, 8)).astype(dtype) for T in (5, 3))
    causal = np.triu(np.ones((5, 5), bool), 1)
    args = (8, 2, 12, 0.0, activation)
    ours, theirs = pair_of(torch, "TransformerEncoderLayer", dtype, *args, norm_first=norm_first)
    compare(torch, ours, theirs, [x], lambda m, x: m(x), dtype)
    compare(
        torch, ours, theirs, [x],
        lambda m, x: m(x, is_causal=True) if m is ours else m(x, torch.tensor(causal)), dtype,
    )  # fmt: skip
    ours, theirs = pair_of(torch, "TransformerDecoderLayer", dtype, *args, norm_first=norm_first)
    compare(
        torch, ours, theirs, [x, memory],
        lambda m, x, k: (
            m(x, k, tgt_is_causal=True) if m is ours else m(x, k, torch.tensor(causal))
        ),
        dtype,
    )  # fmt: skip


@pytest.mark.oracle
def test_transformer_agrees_with_pytorch(torch):
    ours, theirs = pair_of(torch, "Transformer", "float64", 8, 2, 2, 2, 12, 0.0)
    r = rng(2)
    src, tgt = r.standard_normal((2, 4, 8)), r.standard_normal((2, 3, 8))
    hidden = np.array([[False] * 4, [False, True, False, True]])

    def call(m, src, tgt):
        mask = hidden if m is ours else torch.tensor(hidden)
        return m(src, tgt, src_key_padding_mask=mask, memory_key_padding_mask=mask)

    compare(torch, ours, theirs, [src, tgt], call, "float64")


def test_time_first_is_the_other_order_of_the_same():
    a = nn.MultiheadAttention(8, 2)
    b = nn.MultiheadAttention(8, 2, batch_first=False)
    b.load_state_dict(a.state_dict())
    x = pynn.randn(3, 5, 8)
    y, weights = a(x)
    z, others = b(x.transpose(0, 1))
    np.testing.assert_allclose(y.numpy(), z.transpose(0, 1).numpy(), atol=1e-6)
    np.testing.assert_allclose(weights.numpy(), others.numpy(), atol=1e-6)


def test_a_sample_without_a_key_gives_what_the_projection_adds():
    attention = nn.MultiheadAttention(4, 2)
    attention.out_proj.bias.data[...] = [1, 2, 3, 4]
    x = pynn.randn(2, 3, 4, requires_grad=True)
    y, weights = attention(x, key_padding_mask=[[False] * 3, [True] * 3])
    assert (y.numpy()[1] == [1, 2, 3, 4]).all() and not weights.numpy()[1].any()
    y.sum().backward()
    assert not x.grad.numpy()[1].any() and np.isfinite(x.grad.numpy()).all()
    assert all(np.isfinite(p.grad.numpy()).all() for p in attention.parameters())


def test_padding_does_not_reach_other_steps():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0)
    x = rng(3).standard_normal((2, 5, 8)).astype(np.float32)
    padding = np.array([[False] * 5, [False, False, True, True, True]])
    before = layer(pynn.tensor(x), src_key_padding_mask=padding).numpy()
    x[1, 2:] = 100.0
    after = layer(pynn.tensor(x), src_key_padding_mask=padding).numpy()
    np.testing.assert_array_equal(before[~padding], after[~padding])


def test_causal_attention_does_not_see_the_future():
    for rotary in (False, True):
        encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, norm_first=True, rotary=rotary), 2
        )
        x = pynn.randn(1, 6, 8, requires_grad=True)
        encoder(x, is_causal=True)[0, 2].sum().backward()
        seen = np.abs(x.grad.numpy()[0]).max(-1) > 0
        assert seen.tolist() == [True] * 3 + [False] * 3


def test_rotary_attention_tells_orders_apart_but_not_shifts():
    plain, rotary = nn.MultiheadAttention(8, 2), nn.MultiheadAttention(8, 2, rotary=True)
    rotary.load_state_dict(plain.state_dict())
    x = rng(4).standard_normal((1, 5, 8)).astype(np.float32)
    for attention, same in ((plain, True), (rotary, False)):
        y = attention(pynn.tensor(x))[0].numpy()
        z = attention(pynn.tensor(x[:, ::-1].copy()))[0].numpy()[:, ::-1]
        assert (np.abs(y - z).max() < 1e-5) == same


def test_copies_of_a_stack_differ_and_dropout_rests_in_evaluation():
    stack = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 3, nn.LayerNorm(8))
    first, second = (stack.layers[k].linear1.weight.numpy() for k in (0, 1))
    assert (first != second).all()
    x = pynn.randn(2, 3, 8)
    assert (stack(x).numpy() != stack(x).numpy()).any()
    stack.eval()
    np.testing.assert_array_equal(stack(x).numpy(), stack(x).numpy())


def test_empty_batches_and_no_steps():
    layer = nn.TransformerDecoderLayer(8, 2, 16)
    for N, T, S in [(0, 3, 2), (2, 0, 3), (2, 3, 0)]:
        y = layer(pynn.zeros(N, T, 8), pynn.zeros(N, S, 8))
        assert y.shape == (N, T, 8) and np.isfinite(y.numpy()).all()
        y.sum().backward()


def test_positions():
    x = pynn.randn(2, 5, 6)
    learned, fixed = nn.LearnedPositions(7, 6), nn.SinusoidalPositions(6)
    added = learned(x, offset=2).numpy() - x.numpy()
    np.testing.assert_allclose(added, np.stack([learned.weight.numpy()[2:]] * 2), atol=1e-6)
    np.testing.assert_array_equal(fixed(x).numpy()[:, 2:], fixed(x[:, 2:], offset=2).numpy())
    assert fixed(x.astype("bfloat16")).dtype == "bfloat16"
    learned(x).sum().backward()
    assert learned.weight.grad.numpy().sum(1).tolist() == [12] * 5 + [0] * 2


def test_errors_name_what_was_expected_and_got():
    attention, x = nn.MultiheadAttention(8, 2), pynn.zeros(2, 3, 8)
    cases = [
        (r"embed_dim: expected a multiple of num_heads 3, got 8",
         lambda: nn.MultiheadAttention(8, 3)),
        (r"rotary: expected an even number of channels a head, got 3",
         lambda: nn.MultiheadAttention(6, 2, rotary=True)),
        (r"query: expected shape \(N, T, 8\), got \(2, 3, 4\)", lambda: attention(x[..., :4])),
        (r"key_padding_mask: expected shape \(2, 3\), got \(3, 2\)",
         lambda: attention(x, key_padding_mask=np.zeros((3, 2), bool))),
        (r"attn_mask: expected shape \(3, 3\) or \(4, 3, 3\) or \(2, 2, 3, 3\), got \(3, 2\)",
         lambda: attention(x, attn_mask=np.zeros((3, 2), bool))),
        (r"activation: expected 'relu', 'gelu' or a function, got 'cube'",
         lambda: nn.TransformerEncoderLayer(8, 2, activation="cube")),
        (r"\[LearnedPositions\] expected positions below 2, got 0 to 2",
         lambda: nn.LearnedPositions(2, 8)(x)),
    ]  # fmt: skip
    for text, call in cases:
        with pytest.raises(ValueError, match=text):
            call()


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_the_two_linears_are_one_op_unless_something_lies_between(activation):
    def count(layer):
        with pynn.backend.trace() as paths:
            layer(pynn.Tensor(rng(0).standard_normal((2, 3, 8))))
        return sum(n for (op, _), n in paths.counts.items() if op == "feed_forward")

    layer = nn.TransformerEncoderLayer(8, 2, 16, activation=activation).to("float64")
    assert count(layer) == 0  # dropout
    x = pynn.Tensor(rng(1).standard_normal((2, 3, 8)))
    assert count(layer.eval()) == 1
    fused = layer(x).numpy()
    hook = layer.linear1.register_forward_hook(lambda module, inputs, output: None)
    assert count(layer) == 0
    np.testing.assert_array_equal(layer(x).numpy(), fused)
    hook.remove()
    assert count(layer) == 1
