"""Layers against PyTorch's with the same state: outputs, gradients of inputs and parameters."""

import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn import nn

IMAGES, LINES, ROWS = (2, 9, 8, 6), (3, 11, 6), (7, 6)

LAYERS = [  # name, arguments, shape of x
    ("Linear", (6, 4), (2, 3, 6)),
    ("Linear", (6, 4, False), ROWS),
    ("Conv2d", (6, 4, 3), IMAGES),
    ("Conv2d", (6, 4, (3, 2), (2, 1), (1, 2), 2, 2), IMAGES),
    ("Conv2d", (6, 12, 3, 1, "same", 1, 6, False), IMAGES),
    ("Conv1d", (6, 4, 5, 2, 1), LINES),
    ("ConvTranspose2d", (6, 4, 3, 2, 1, 1), IMAGES),
    ("ConvTranspose2d", (6, 4, (2, 3), 1, 0, 0, 2, False, 2), IMAGES),
    ("ConvTranspose1d", (6, 4, 3, 2), LINES),
    ("BatchNorm1d", (6,), ROWS),
    ("BatchNorm1d", (6, 1e-3, None), LINES),
    ("BatchNorm2d", (6,), IMAGES),
    ("BatchNorm2d", (6, 1e-5, 0.3, False), IMAGES),
    ("BatchNorm2d", (6, 1e-5, 0.1, True, False), IMAGES),
    ("GroupNorm", (3, 6), IMAGES),
    ("InstanceNorm2d", (6,), IMAGES),
    ("LayerNorm", (6,), LINES),
    ("LayerNorm", ((11, 6), 1e-3, True, False), LINES),
    ("RMSNorm", (6, 1e-6), LINES),
    ("MaxPool2d", (3, 2, 1), IMAGES),
    ("MaxPool2d", (2,), IMAGES),
    ("MaxPool1d", (3,), LINES),
    ("AvgPool2d", ((3, 2), 2, 1, True, False), IMAGES),
    ("AvgPool1d", (4, 3), LINES),
    ("AdaptiveAvgPool2d", ((2, 3),), IMAGES),
    ("AdaptiveAvgPool1d", (4,), LINES),
    ("AdaptiveMaxPool2d", (3,), IMAGES),
    ("AdaptiveMaxPool1d", (2,), LINES),
    ("ReLU", (), ROWS),
    ("LeakyReLU", (0.2,), ROWS),
    ("PReLU", (), ROWS),
    ("PReLU", (6, 0.1), IMAGES),
    ("ELU", (0.7,), ROWS),
    ("SELU", (), ROWS),
    ("GELU", (), ROWS),
    ("GELU", ("tanh",), ROWS),
    ("SiLU", (), ROWS),
    ("Mish", (), ROWS),
    ("Softplus", (2.0, 3.0), ROWS),
    ("Sigmoid", (), ROWS),
    ("Tanh", (), ROWS),
    ("Hardtanh", (-0.5, 0.7), ROWS),
    ("Hardswish", (), ROWS),
    ("Softmax", (-1,), ROWS),
    ("LogSoftmax", (0,), ROWS),
    ("Identity", (3,), ROWS),
    ("Unflatten", (1, (2, 3)), ROWS),
]
CHANNELS_LAST = ("Conv", "Pool", "BatchNorm", "GroupNorm", "InstanceNorm", "PReLU")


def first(array):
    """Channels last to PyTorch's place."""
    return np.ascontiguousarray(np.moveaxis(array, -1, 1))


def last(array):
    return np.moveaxis(array, 1, -1)


@pytest.mark.oracle
@pytest.mark.parametrize(("name", "args", "shape"), LAYERS)
def test_agrees_with_pytorch(torch, name, args, shape):
    rng = np.random.default_rng(0)
    keywords = {"approximate": args[0]} if name == "GELU" and args else {}
    ours = getattr(nn, name)(*args).double()
    theirs = getattr(torch.nn, name)(*(() if keywords else args), **keywords).double()
    state = {
        n: torch.tensor(rng.uniform(0.5, 1.5, tuple(t.shape))).to(t.dtype)
        for n, t in theirs.state_dict().items()
    }
    theirs.load_state_dict(state)
    ours.load_state_dict(nn.from_torch(state, ours))
    moved = len(shape) > 2 and any(part in name for part in CHANNELS_LAST)
    for mode in (True, False):
        ours.train(mode)
        theirs.train(mode)
        for p in theirs.parameters():
            p.grad = None
        ours.zero_grad()
        array = rng.standard_normal(shape)
        x = pynn.tensor(array, requires_grad=True)
        x_of_torch = torch.tensor(first(array) if moved else array, requires_grad=True)
        y, y_of_torch = ours(x), theirs(x_of_torch)
        assert_close(y, y_of_torch, moved)
        dy = rng.standard_normal(y.shape)
        y.backward(pynn.tensor(dy))
        y_of_torch.backward(torch.tensor(first(dy) if moved else dy))
        assert_close(x.grad, x_of_torch.grad, moved)
        grads = {n: p.grad for n, p in theirs.named_parameters()}
        for n, grad in nn.from_torch(grads, ours).items():
            assert_close(dict(ours.named_parameters())[n].grad, grad)
        for n, value in nn.from_torch(theirs.state_dict(), ours).items():
            assert_close(ours.state_dict()[n], value)


def assert_close(a, b, moved=False):
    b = b.numpy() if isinstance(b, pynn.Tensor) else b.detach().numpy()
    np.testing.assert_allclose(a.numpy(), last(b) if moved else b, rtol=1e-9, atol=1e-11)


@pytest.mark.oracle
def test_bilinear_agrees_with_pytorch(torch):
    rng = np.random.default_rng(0)
    ours, theirs = nn.Bilinear(3, 4, 5).double(), torch.nn.Bilinear(3, 4, 5).double()
    ours.load_state_dict(nn.from_torch(theirs.state_dict(), ours))
    arrays = rng.standard_normal((2, 6, 3)), rng.standard_normal((2, 6, 4))
    xs = [pynn.tensor(a, requires_grad=True) for a in arrays]
    xs_of_torch = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, y_of_torch = ours(*xs), theirs(*xs_of_torch)
    assert_close(y, y_of_torch)
    y.sum().backward()
    y_of_torch.sum().backward()
    for x, x_of_torch in zip(xs, xs_of_torch, strict=True):
        assert_close(x.grad, x_of_torch.grad)
    assert_close(ours.weight.grad, theirs.weight.grad)
    with pytest.raises(
        ValueError, match=r"\[Bilinear\] expected shapes \(2, 6, 3\) and \(2, 6, 4\)"
    ):
        ours(xs[0], xs[0])


@pytest.mark.oracle
def test_embedding_agrees_with_pytorch(torch):
    ours, theirs = nn.Embedding(7, 4, padding_idx=2), torch.nn.Embedding(7, 4, padding_idx=2)
    assert not ours.weight.data[2].any()
    ours.load_state_dict(theirs.state_dict())
    index = np.array([[0, 2, 6], [6, 6, 1]])
    ours(index).sum().backward()
    theirs(torch.tensor(index)).sum().backward()
    np.testing.assert_array_equal(ours(index).numpy(), theirs(torch.tensor(index)).detach().numpy())
    np.testing.assert_array_equal(ours.weight.grad.numpy(), theirs.weight.grad.numpy())


def test_layers_without_a_counterpart():
    x = pynn.tensor(np.random.default_rng(0).standard_normal((2, 3, 4, 5)))
    np.testing.assert_allclose(nn.Arctan()(x).numpy(), np.arctan(x.numpy()), rtol=1e-12)
    kept = x.numpy().copy()
    np.testing.assert_array_equal(nn.ReLU(inplace=True)(x).numpy(), np.maximum(kept, 0))
    np.testing.assert_array_equal(x.numpy(), kept)
    np.testing.assert_array_equal(nn.Step()(x).numpy(), x.numpy() > 0)
    np.testing.assert_allclose(nn.GlobalAvgPool2d()(x).numpy(), x.numpy().mean((1, 2)), rtol=1e-12)
    np.testing.assert_array_equal(nn.Flatten()(x).numpy(), x.numpy().reshape(2, 60))
    np.testing.assert_array_equal(nn.Flatten(0, 1)(x).numpy(), x.numpy().reshape(6, 4, 5))


@pytest.mark.parametrize("layer", [nn.Dropout(0.3), nn.Dropout2d(0.3), nn.AlphaDropout(0.3)])
def test_dropout_drops_in_training_alone(layer):
    x = pynn.ones(50, 4, 4, 8)
    pynn.manual_seed(1)
    dropped = layer(x).numpy()
    pynn.manual_seed(1)
    function = {"Dropout": F.dropout, "Dropout2d": F.dropout2d, "AlphaDropout": F.alpha_dropout}
    np.testing.assert_array_equal(dropped, function[type(layer).__name__](x, 0.3, True).numpy())
    assert 0.2 < (dropped == dropped.min()).mean() < 0.4
    assert layer.eval()(x) is x


def test_batch_norm_counts_only_batches_it_used():
    norm = nn.BatchNorm2d(3)
    with pytest.raises(
        ValueError, match=r"expected 4 dimensions, channels last, got shape \(5, 3\)"
    ):
        norm(pynn.ones(5, 3))
    with pytest.raises(ValueError):
        norm(pynn.ones(1, 1, 1, 3))  # one value for each channel
    assert norm.num_batches_tracked.item() == 0
    norm(pynn.zeros(0, 2, 2, 3))
    assert norm.num_batches_tracked.item() == 0
    norm(pynn.randn(2, 2, 2, 3))
    norm.eval()(pynn.randn(2, 2, 2, 3))
    assert norm.num_batches_tracked.item() == 1


def test_batch_norm_in_bfloat16_keeps_float32_statistics():
    x = pynn.randn(64, 4) * 3 + 100
    wide, narrow = nn.BatchNorm1d(4), nn.BatchNorm1d(4).bfloat16()
    half = x.to("bfloat16")
    wide(half.to("float32"))
    assert narrow(half).dtype == pynn.bfloat16
    np.testing.assert_allclose(narrow.running_mean.numpy(), wide.running_mean.numpy(), rtol=1e-6)
    np.testing.assert_allclose(narrow.running_var.numpy(), wide.running_var.numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Linear(0, 3), "[Linear] in_features: expected an int of at least 1, got 0"),
        (lambda: nn.Linear(2.5, 3), "[Linear] in_features: expected an int of at least 1, got 2.5"),
        (
            lambda: nn.Conv2d(3, 4, 3, groups=2),
            "[Conv2d] groups: expected a divisor of 3 and 4, the channels, got 2",
        ),
        (
            lambda: nn.Conv2d(3, 4, (3, 3, 3)),
            "[Conv2d] kernel_size: expected an int or 2 of them, got (3, 3, 3)",
        ),
        (
            lambda: nn.Conv1d(3, 4, 0),
            "[Conv1d] kernel_size[0]: expected an int of at least 1, got 0",
        ),
        (
            lambda: nn.GroupNorm(4, 6),
            "[GroupNorm] num_groups: expected a divisor of 6 channels, got 4",
        ),
        (lambda: nn.Dropout(1.5), "[Dropout] p: expected a probability in [0, 1], got 1.5"),
        (lambda: nn.GELU("erf"), "[GELU] approximate: expected 'none' or 'tanh', got 'erf'"),
        (
            lambda: nn.Embedding(3, 2, 3),
            "[Embedding] padding_idx: expected a row of 3, got 3",
        ),
        (
            lambda: nn.MSELoss("median"),
            "[MSELoss] reduction: expected one of ('mean', 'sum', 'none'), got 'median'",
        ),
        (
            lambda: nn.LayerNorm((2, 3))(pynn.ones(2, 2)),
            "[LayerNorm] x: expected shape (..., 2, 3), got (2, 2)",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value) == message


ROW = np.random.default_rng(1)
X, T = ROW.standard_normal((5, 4)), ROW.standard_normal((5, 4))
LABELS, SIGNS = np.array([0, 3, 1, 1, 2]), np.array([1, -1, 1, 1, -1])
WEIGHTS = [0.5, 1.0, 2.0, 0.1]

LOSSES = [
    ("MSELoss", {}, (X, T)),
    ("L1Loss", {"reduction": "sum"}, (X, T)),
    ("HuberLoss", {"delta": 0.5}, (X, T)),
    ("SmoothL1Loss", {"beta": 0.5, "reduction": "none"}, (X, T)),
    ("CrossEntropyLoss", {"weight": WEIGHTS, "label_smoothing": 0.1}, (X, LABELS)),
    ("CrossEntropyLoss", {"ignore_index": 1}, (X, LABELS)),
    ("NLLLoss", {"weight": WEIGHTS, "ignore_index": 3}, (X, LABELS)),
    ("BCELoss", {"weight": WEIGHTS}, (1 / (1 + np.exp(-X)), 1 / (1 + np.exp(-T)))),
    ("BCEWithLogitsLoss", {"weight": WEIGHTS, "pos_weight": [2.0, 1, 1, 3]}, (X, abs(T) % 1)),
    ("KLDivLoss", {"reduction": "batchmean", "log_target": True}, (X, T)),
    ("MultiMarginLoss", {"p": 2, "margin": 0.7, "weight": WEIGHTS}, (X, LABELS)),
    ("TripletMarginLoss", {"margin": 2.0, "swap": True}, (X, T, X[::-1].copy())),
    ("CosineEmbeddingLoss", {"margin": 0.1}, (X, T, SIGNS)),
]


@pytest.mark.oracle
@pytest.mark.parametrize(("name", "options", "arrays"), LOSSES)
def test_losses_agree_with_pytorch(torch, name, options, arrays):
    ours = getattr(nn, name)(**options).double()
    as_torch = {
        k: torch.tensor(v).double() if isinstance(v, list) else v for k, v in options.items()
    }
    theirs = getattr(torch.nn, name)(**as_torch)
    x = pynn.tensor(arrays[0], requires_grad=True)
    x_of_torch = torch.tensor(arrays[0], requires_grad=True)
    loss = ours(x, *(pynn.tensor(a) for a in arrays[1:]))
    loss_of_torch = theirs(x_of_torch, *(torch.tensor(a) for a in arrays[1:]))
    assert_close(loss, loss_of_torch)
    loss.sum().backward()
    loss_of_torch.sum().backward()
    # their smoothed weights pass through float32 literals; 1e-6 is far below any wrong formula
    np.testing.assert_allclose(x.grad.numpy(), x_of_torch.grad.numpy(), rtol=1e-6, atol=1e-9)


def test_losses_of_our_own():
    x, t, signs = pynn.tensor(X), pynn.tensor(T), pynn.tensor(np.sign(T))
    assert nn.RMSELoss()(x, t).item() == pytest.approx(np.sqrt(np.mean((X - T) ** 2)))
    assert nn.ArctanLoss()(x, t).item() == pytest.approx(np.arctan((X - T) ** 2).mean())
    hinge = np.maximum(0, 1 - np.sign(T) * X).sum()
    assert nn.HingeLoss("sum")(x, signs).item() == pytest.approx(hinge)


def test_an_activation_in_a_layer_gives_the_bits_of_one_behind_it():
    x = pynn.tensor(np.random.default_rng(0).standard_normal((3, 7, 6)).astype(np.float32))
    for name, behind in [("relu", nn.ReLU()), ("gelu", nn.GELU()), ("silu", nn.SiLU())]:
        for plain, fused in [
            (nn.Linear(6, 5), nn.Linear(6, 5, activation=name)),
            (nn.Conv1d(6, 4, 3), nn.Conv1d(6, 4, 3, activation=name)),
        ]:
            fused.load_state_dict(plain.state_dict())
            y, wanted = fused(x), behind(plain(x))
            np.testing.assert_array_equal(y.numpy(), wanted.numpy())
            y.sum().backward()
            wanted.sum().backward()
            for ours, theirs in zip(fused.parameters(), plain.parameters(), strict=True):
                np.testing.assert_array_equal(ours.grad.numpy(), theirs.grad.numpy())
    assert repr(nn.Linear(6, 5, activation="relu")) == (
        "Linear(in_features=6, out_features=5, bias=True, activation='relu')"
    )
    with pytest.raises(ValueError, match=r"\[linear\] activation: expected .* got 'tanh'"):
        nn.Linear(6, 5, activation="tanh")(x)
