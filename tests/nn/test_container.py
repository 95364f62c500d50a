"""Sequential, ModuleList, ModuleDict."""

from collections import OrderedDict

import numpy as np
import pytest

import pynn
from pynn import nn


def test_sequential_indexes_slices_and_names():
    layers = [nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)]
    model = nn.Sequential(*layers)
    x = pynn.randn(4, 2)
    by_hand = np.tanh(x.numpy() @ layers[0].weight.numpy().T + layers[0].bias.numpy())
    np.testing.assert_allclose(model[:2](x).numpy(), by_hand, rtol=1e-5, atol=1e-6)
    assert model[-1] is layers[2] and list(model) == layers and len(model) == 3
    assert list(model[1:].state_dict()) == ["2.weight", "2.bias"]
    tail = model[1:].append(nn.ReLU())
    assert [type(m).__name__ for m in tail] == ["Tanh", "Linear", "ReLU"]
    model[1] = nn.ReLU()
    assert model(x).numpy() == pytest.approx(
        np.maximum(x.numpy() @ layers[0].weight.numpy().T + layers[0].bias.numpy(), 0)
        @ layers[2].weight.numpy().T
        + layers[2].bias.numpy(),
        abs=1e-6,
    )
    named = nn.Sequential(OrderedDict(first=layers[0], second=layers[2]))
    assert list(named.state_dict())[0] == "first.weight" and named.second is layers[2]
    with pytest.raises(
        IndexError, match=r"\[Sequential\] expected an index within 3 modules, got 3"
    ):
        model[3]
    with pytest.raises(TypeError, match=r"\[Sequential\] expected modules, got function"):
        nn.Sequential(nn.ReLU(), lambda x: x)


def test_an_empty_sequential_is_the_identity():
    x = pynn.ones(2)
    assert nn.Sequential()(x) is x


def test_lists_and_dicts_own_their_modules():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList(nn.Linear(2, 2) for _ in range(2))
            self.heads = nn.ModuleDict({"a": nn.Linear(2, 1)})

    model = Model()
    model.blocks.append(nn.Linear(2, 2, bias=False)).extend([nn.ReLU()])
    model.heads["b"] = nn.Linear(2, 3, bias=False)
    assert list(model.state_dict()) == [
        *[f"blocks.{i}.{n}" for i in range(2) for n in ("weight", "bias")],
        "blocks.2.weight",
        "heads.a.weight",
        "heads.a.bias",
        "heads.b.weight",
    ]
    assert len(model.blocks) == 4 and [type(m) for m in model.blocks[2:]] == [nn.Linear, nn.ReLU]
    assert model.heads.keys() == ["a", "b"] and "b" in model.heads and len(model.heads) == 2
    del model.heads["a"]
    assert list(model.heads) == ["b"] and model.heads.items()[0][1] is model.heads.values()[0]
    with pytest.raises(KeyError, match="expected one of"):
        model.heads["a"]
    with pytest.raises(TypeError, match=r"\[ModuleList\] expected modules, got int"):
        model.blocks.append(3)
    with pytest.raises(ValueError, match="expected a name not in use, got 'keys'"):
        model.heads["keys"] = nn.ReLU()
