"""Initial values: moments against theory, at sizes where chance is small."""

import math

import numpy as np
import pytest

import pynn
from pynn import nn
from pynn.nn import init


def drawn(fill, shape, *args, dtype="float32", **options):
    return fill(pynn.zeros(*shape, dtype=dtype), *args, **options).numpy().astype("f8")


def assert_moments(values, mean, std):
    """Mean and deviation within five standard errors."""
    n = values.size
    assert abs(values.mean() - mean) <= 5 * std / math.sqrt(n)
    assert abs(values.std() - std) <= 5 * std / math.sqrt(n)


SHAPE = (60, 5, 5, 40)  # K, R, S, C: fan_in 1000, fan_out 1500

STDS = [
    (init.uniform_, (-2.0, 4.0), 1.0, 6 / math.sqrt(12)),
    (init.normal_, (3.0, 0.5), 3.0, 0.5),
    (init.xavier_uniform_, (2.0,), 0.0, 2 * math.sqrt(2 / 2500)),
    (init.xavier_normal_, (), 0.0, math.sqrt(2 / 2500)),
    (init.kaiming_uniform_, (0, "fan_in", "relu"), 0.0, math.sqrt(2 / 1000)),
    (init.kaiming_normal_, (0, "fan_out", "relu"), 0.0, math.sqrt(2 / 1500)),
    (init.kaiming_normal_, (0.5,), 0.0, math.sqrt(2 / 1.25 / 1000)),
    (init.kaiming_normal_, (0, "fan_in", "tanh"), 0.0, 5 / 3 / math.sqrt(1000)),
]


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize(("fill", "args", "mean", "std"), STDS)
def test_moments(fill, args, mean, std, dtype):
    values = drawn(fill, SHAPE, *args, dtype=dtype)
    assert_moments(values, mean, std)
    if "uniform" in fill.__name__:
        half = math.sqrt(3) * std
        assert np.abs(values - mean).max() <= half * (1.01 if dtype == "bfloat16" else 1)


def test_trunc_normal():
    values = drawn(init.trunc_normal_, (300, 400), 1.0, 2.0, 0.0, 2.0)
    assert values.min() >= 0 and values.max() <= 2
    z, phi = 0.5, math.exp(-0.125) / math.sqrt(2 * math.pi)
    held = math.erf(z / math.sqrt(2))
    assert_moments(values, 1.0, 2 * math.sqrt(1 - 2 * z * phi / held))


@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (6, 6), (4, 3, 3, 5)])
def test_orthogonal(shape):
    matrix = drawn(init.orthogonal_, shape, 3.0, dtype="float64").reshape(shape[0], -1)
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(gram, 9 * np.eye(len(gram)), atol=1e-12)


def test_constants():
    assert drawn(init.constant_, (2, 2), 2.5).tolist() == [[2.5] * 2] * 2
    assert drawn(init.ones_, (2,)).tolist() == [1, 1]
    assert init.zeros_(pynn.ones(3)).tolist() == [0, 0, 0]


@pytest.mark.oracle
@pytest.mark.parametrize(
    "args",
    [
        ("linear",),
        ("conv2d",),
        ("sigmoid",),
        ("tanh",),
        ("relu",),
        ("leaky_relu",),
        ("leaky_relu", 0.2),
        ("selu",),
    ],  # fmt: skip
)
def test_gains_are_pytorchs(torch, args):
    assert init.calculate_gain(*args) == pytest.approx(torch.nn.init.calculate_gain(*args))


@pytest.mark.oracle
def test_layers_begin_as_pytorchs(torch):
    """The same bounds and, by the Kolmogorov-Smirnov distance, the same distribution."""
    pairs = [
        (nn.Linear(50, 200), torch.nn.Linear(50, 200)),
        (nn.Conv2d(8, 40, (3, 5), groups=2), torch.nn.Conv2d(8, 40, (3, 5), groups=2)),
        (nn.Conv1d(8, 40, 5), torch.nn.Conv1d(8, 40, 5)),
        (nn.ConvTranspose2d(40, 8, 3), torch.nn.ConvTranspose2d(40, 8, 3)),
        (nn.Bilinear(20, 10, 30), torch.nn.Bilinear(20, 10, 30)),
        (nn.Embedding(100, 30), torch.nn.Embedding(100, 30)),
    ]
    for ours, theirs in pairs:
        for name, p in ours.named_parameters():
            a = np.sort(p.numpy().ravel())
            b = np.sort(dict(theirs.named_parameters())[name].detach().numpy().ravel())
            assert a.size == b.size
            grid = np.concatenate([a, b])
            distance = np.abs(np.searchsorted(a, grid) - np.searchsorted(b, grid)).max() / a.size
            assert distance < 2.2 * math.sqrt(2 / a.size), (ours, name)


def test_the_seed_governs():
    pynn.manual_seed(5)
    first = nn.Linear(4, 4).state_dict()
    pynn.manual_seed(5)
    second = nn.Linear(4, 4).state_dict()
    third = nn.Linear(4, 4).state_dict()
    np.testing.assert_array_equal(first["weight"], second["weight"])
    assert not np.array_equal(second["weight"], third["weight"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: init.uniform_(pynn.ones(1), 2, 1), "[uniform_] expected a <= b, got 2 > 1"),
        (
            lambda: init.normal_(pynn.ones(1), 0, -1),
            "[normal_] std: expected a number >= 0, got -1",
        ),
        (
            lambda: init.trunc_normal_(pynn.ones(1), 0, 1, 9, 10),
            "[trunc_normal_] expected [a, b] to hold 0.1 % of the distribution, got 0",
        ),
        (
            lambda: init.trunc_normal_(pynn.ones(1), 0, 1, 2, 1),
            "[trunc_normal_] expected a < b and std > 0, got 2, 1 and 1",
        ),
        (
            lambda: init.xavier_normal_(pynn.ones(3)),
            "[init] fan: expected at least 2 dimensions, got shape (3,)",
        ),
        (
            lambda: init.kaiming_normal_(pynn.ones(3, 3), mode="fan"),
            "[kaiming_normal_] mode: expected 'fan_in' or 'fan_out', got 'fan'",
        ),
        (
            lambda: init.orthogonal_(pynn.ones(3)),
            "[orthogonal_] expected at least 2 dimensions, got shape (3,)",
        ),
        (
            lambda: init.calculate_gain("gelu"),
            "[calculate_gain] expected one of ['linear', 'conv1d', 'conv2d', 'sigmoid', "
            "'leaky_relu', 'tanh', 'relu', 'selu'], got 'gelu'",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value) == message
