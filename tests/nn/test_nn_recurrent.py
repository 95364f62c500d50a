"""Recurrent modules against PyTorch's with its weights: layers, directions, lengths, cells."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pynn
from pynn import nn

NAMES = ["RNN", "GRU", "LSTM"]


def states_of(y):
    return y if isinstance(y, tuple) else (y,)


def close(ours, theirs, dtype):
    np.testing.assert_allclose(
        ours.numpy(), theirs.detach().numpy(), rtol=0, atol=200 * np.finfo(dtype).eps
    )


def both(torch, name, dtype, *args, **options):
    theirs = getattr(torch.nn, name)(*args, **options).to(getattr(torch, dtype))
    options.pop("batch_first", None)
    ours = getattr(nn, name)(*args, **options).to(dtype)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "options",
    [{}, {"num_layers": 2, "bidirectional": True}, {"num_layers": 3, "bias": False}],
    ids=str,
)
def test_agrees_with_pytorch(torch, name, dtype, options):
    ours, theirs = both(torch, name, dtype, 3, 5, batch_first=True, **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    rng = np.random.default_rng(0)
    parts = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    array = rng.standard_normal((4, 7, 3)).astype(dtype)
    firsts = [rng.standard_normal((parts, 4, 5)).astype(dtype) for _ in range(ours.states)]
    lengths = [7, 1, 4, 4]
    for ends in (None, lengths):
        ours.zero_grad()
        theirs.zero_grad()
        x, tx = pynn.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)
        hx = tuple(pynn.tensor(s, requires_grad=True) for s in firsts)
        thx = tuple(torch.tensor(s, requires_grad=True) for s in firsts)
        pack = torch.nn.utils.rnn.pack_padded_sequence
        unpack = torch.nn.utils.rnn.pad_packed_sequence
        source = tx if ends is None else pack(tx, ends, True, enforce_sorted=False)
        y, last = ours(x, hx if len(hx) > 1 else hx[0], lengths=ends)
        ty, tlast = theirs(source, thx if len(hx) > 1 else thx[0])
        if ends is not None:
            ty = unpack(ty, batch_first=True, total_length=7)[0]
        dy = rng.standard_normal(y.shape).astype(dtype)
        total, wanted = (y * pynn.tensor(dy)).sum(), (ty * torch.tensor(dy)).sum()
        for s, ts in zip(states_of(last), states_of(tlast), strict=True):
            close(s, ts, dtype)
            total, wanted = total + (s * s).sum(), wanted + (ts * ts).sum()
        close(y, ty, dtype)
        total.backward()
        wanted.backward()
        close(x.grad, tx.grad, dtype)
        for s, ts in zip(hx, thx, strict=True):
            close(s.grad, ts.grad, dtype)
        for key, parameter in theirs.named_parameters():
            close(dict(ours.named_parameters())[key].grad, parameter.grad, dtype)


@pytest.mark.oracle
@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3)),
    bidirectional=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_any_lengths_agree_with_packed_sequences(torch, name, lengths, sizes, bidirectional, seed):
    width, H, layers = sizes
    torch.manual_seed(seed)
    theirs = getattr(torch.nn, name)(width, H, layers, bidirectional=bidirectional).double()
    ours = getattr(nn, name)(width, H, layers, bidirectional=bidirectional).double()
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(seed).standard_normal((len(lengths), max(lengths), width))
    y, last = ours(pynn.tensor(x), lengths=lengths)
    rnn = torch.nn.utils.rnn
    packed = rnn.pack_padded_sequence(torch.tensor(x), lengths, True, enforce_sorted=False)
    ty, tlast = theirs(packed)
    close(y, rnn.pad_packed_sequence(ty, batch_first=True)[0], "float64")
    for s, ts in zip(states_of(last), states_of(tlast), strict=True):
        close(s, ts, "float64")


@pytest.mark.oracle
@pytest.mark.parametrize("name", NAMES)
def test_time_first_one_sample_and_relu_agree_with_pytorch(torch, name):
    extra = {"nonlinearity": "relu"} if name == "RNN" else {}
    theirs = getattr(torch.nn, name)(3, 4, 2, **extra)
    ours = getattr(nn, name)(3, 4, 2, batch_first=False, **extra)
    ours.load_state_dict(theirs.state_dict())
    for shape in [(6, 2, 3), (6, 3)]:
        x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        (y, last), (ty, tlast) = ours(pynn.tensor(x)), theirs(torch.tensor(x))
        close(y, ty, "float32")
        for s, ts in zip(states_of(last), states_of(tlast), strict=True):
            close(s, ts, "float32")


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["RNNCell", "GRUCell", "LSTMCell"])
def test_cells_agree_with_pytorch(torch, name, dtype):
    ours, theirs = both(torch, name, dtype, 3, 5)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 3)).astype(dtype)
    firsts = [rng.standard_normal((4, 5)).astype(dtype) for _ in range(ours.states)]
    for hx in (None, firsts):
        mine = None if hx is None else tuple(map(pynn.tensor, hx))
        his = None if hx is None else tuple(map(torch.tensor, hx))
        if ours.states == 1 and hx is not None:
            mine, his = mine[0], his[0]
        ours.zero_grad()
        theirs.zero_grad()
        y, ty = states_of(ours(pynn.tensor(x), mine)), states_of(theirs(torch.tensor(x), his))
        sum((s * s).sum() for s in y).backward()
        sum((s * s).sum() for s in ty).backward()
        for s, ts in zip(y, ty, strict=True):
            close(s, ts, dtype)
        for key, parameter in theirs.named_parameters():
            close(dict(ours.named_parameters())[key].grad, parameter.grad, dtype)
    alone, talone = states_of(ours(pynn.tensor(x[0]))), states_of(theirs(torch.tensor(x[0])))
    for s, ts in zip(alone, talone, strict=True):
        close(s, ts, dtype)


@pytest.mark.parametrize("name", NAMES)
def test_empty_batches_and_no_steps(name):
    layer = getattr(nn, name)(3, 4, 2, bidirectional=True)
    for N, T in [(0, 5), (2, 0), (0, 0)]:
        y, last = layer(pynn.zeros(N, T, 3))
        assert y.shape == (N, T, 8) and states_of(last)[0].shape == (4, N, 4)
        assert not states_of(last)[0].numpy().any()
        y.sum().backward()


def test_dropout_stands_between_layers_in_training_alone():
    layer = nn.GRU(3, 4, 2, dropout=1.0)
    x = pynn.randn(2, 5, 3)
    quiet, _ = layer.eval()(x)
    layer.train()
    loud, last = layer(x)
    assert np.abs(quiet.numpy() - loud.numpy()).max() > 1e-3
    single = nn.GRU(4, 4)
    single.load_state_dict({k: getattr(layer, k.replace("l0", "l1")) for k in single.state_dict()})
    np.testing.assert_allclose(loud.numpy(), single(pynn.zeros(2, 5, 4))[0].numpy(), rtol=1e-6)


def test_halves_keep_their_dtype_and_stay_near():
    layer, x = nn.LSTM(3, 4, bidirectional=True), pynn.randn(2, 40, 3)
    wanted = layer(x)[0].numpy()
    y, (h, c) = layer.to("bfloat16")(x.astype("bfloat16"))
    assert y.dtype == h.dtype == c.dtype == layer.weight_hh_l0.dtype
    assert np.abs(y.numpy().astype(np.float32) - wanted).max() < 0.03


def test_errors_name_what_was_expected_and_got():
    layer = nn.LSTM(3, 4, 2)
    with pytest.raises(
        ValueError, match=r"\[LSTM\] x: expected shape \(N, T, 3\), got \(2, 5, 4\)"
    ):
        layer(pynn.zeros(2, 5, 4))
    with pytest.raises(
        ValueError, match=r"\[LSTM\] h: expected shape \(2, 2, 4\), got \(1, 2, 4\)"
    ):
        layer(pynn.zeros(2, 5, 3), (pynn.zeros(1, 2, 4), pynn.zeros(1, 2, 4)))
    with pytest.raises(ValueError, match=r"\[LSTM\] hx: expected a pair \(h, c\), got Tensor"):
        layer(pynn.zeros(2, 5, 3), pynn.zeros(2, 2, 4))
    pair = pynn.zeros(1, 2, 4), pynn.zeros(1, 2, 4)
    with pytest.raises(ValueError, match=r"\[GRU\] hx: expected a tensor h, got tuple"):
        nn.GRU(3, 4)(pynn.zeros(2, 5, 3), pair)
    with pytest.raises(ValueError, match=r"\[LSTMCell\] hx: expected a pair \(h, c\), got Tensor"):
        nn.LSTMCell(3, 4)(pynn.zeros(2, 3), pynn.zeros(2, 4))
    with pytest.raises(ValueError, match=r"\[GRUCell\] x: expected shape \(N, 3\), got \(2, 4\)"):
        nn.GRUCell(3, 4)(pynn.zeros(2, 4))
    with pytest.raises(ValueError, match=r"\[GRU\] hidden_size: expected an int of at least 1"):
        nn.GRU(3, 0)
    with pytest.raises(ValueError, match=r"\[RNN\] dropout: expected a probability in \[0, 1\]"):
        nn.RNN(3, 4, dropout=2)
