"""summary: counts by hand."""

import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn import nn


def test_counts_of_a_small_network():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),  # 2 * 8 * 8 outputs, 27 products each
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10, bias=False),
    )
    outputs = 2 * 8 * 8 * 8
    flops = [
        0,
        2 * outputs * 27 + outputs,
        5 * outputs,
        outputs,
        outputs // 4 * 4,
        0,
        2 * 2 * 10 * 128,
    ]
    table = model.summary((2, 8, 8, 3))
    assert [row.flops for row in table.rows] == flops and table.flops == sum(flops)
    assert [row.parameters for row in table.rows] == [0, 224, 16, 0, 0, 0, 1280]
    assert (table.parameters, table.trainable, table.bytes) == (1520, 1520, 6080)
    assert [row.output_shape for row in table.rows] == [
        (2, 10),
        (2, 8, 8, 8),
        (2, 8, 8, 8),
        (2, 8, 8, 8),
        (2, 4, 4, 8),
        (2, 128),
        (2, 10),
    ]
    lines = str(table).splitlines()
    assert lines[3].split() == ["0", "Conv2d", "(2,", "8,", "8,", "8)", "224", "56,320"]
    assert lines[-2].split() == ["total", "1,520", f"{sum(flops):,}"]


def test_functional_ops_count_and_shared_layers_count_once():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)
            self.linear.bias.requires_grad_(False)

        def forward(self, x, y):
            return F.tanh(self.linear(self.linear(x))) + y, x @ y.T

    table = nn.summary(Model(), (3, 4), pynn.ones(3, 4))
    assert [row.parameters for row in table.rows] == [0, 20, 0]
    assert [row.flops for row in table.rows] == [12 + 12 + 2 * 9 * 4, 108, 108]
    assert table.rows[0].output_shape == ((3, 4), (3, 3))
    assert (table.parameters, table.trainable) == (20, 16)


def test_transposed_convolution_counts_its_inputs():
    table = nn.ConvTranspose2d(4, 6, 3, 2, bias=False).summary((1, 5, 5, 4))
    assert table.flops == 2 * (5 * 5 * 4) * (3 * 3 * 6)


def test_recurrent_layers_and_attention_count_their_products():
    assert nn.GRU(3, 4, bidirectional=True).summary((2, 5, 3)).flops == 2 * 2 * 2 * 5 * 12 * (3 + 4)
    own = nn.MultiheadAttention(8, 2).summary((3, 5, 8)).rows[0].flops
    linear = 2 * 15 * 24 * 8 + 15 * 24
    products, softmax = 2 * 2 * (3 * 2 * 5 * 5 * 4), 5 * (3 * 2 * 5 * 5)
    mean_over_heads = 3 * 2 * 5 * 5
    assert own == linear + products + softmax + mean_over_heads


def test_nothing_is_changed_even_by_a_failure():
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2).eval())
    state = pynn.random.get_state()
    mean = model[0].running_mean.numpy().copy()
    model.summary((5, 4))
    with pytest.raises(ValueError):
        model.summary((5, 3))
    assert [m.training for m in model.modules()] == [True, True, True, False]
    assert pynn.random.get_state() == state
    np.testing.assert_array_equal(model[0].running_mean.numpy(), mean)
    assert not any(m._hooks for m in model.modules())


def test_inputs_take_the_models_dtype():
    assert nn.Linear(3, 2).bfloat16().summary((1, 3)).rows[0].output_shape == (1, 2)
    words = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 2))
    assert words.summary(pynn.arange(6)).rows[-1].output_shape == (6, 2)


def test_bad_inputs():
    with pytest.raises(ValueError, match=r"\[summary\] expected an input shape or input tensors"):
        nn.summary(nn.ReLU())
    with pytest.raises(ValueError, match=r"\[summary\] expected a tensor or a shape, got \(1.5,\)"):
        nn.summary(nn.ReLU(), (1.5,))
