"""Module: registration, walks, state, moves, hooks."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest

import pynn
from pynn import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.scale = nn.Parameter(pynn.ones(3))
        self.register_buffer("count", pynn.tensor(0))
        self.register_buffer("scratch", pynn.zeros(2), persistent=False)
        self.norm = nn.BatchNorm1d(3)
        self.register_parameter("shift", None)

    def forward(self, x, twice=False):
        x = self.norm(self.linear(x)) * self.scale
        return x + x if twice else x


def test_parts_come_with_the_package():
    text = "import pynn; assert pynn.nn.Linear and pynn.optim.Adam and not hasattr(pynn, 'none')"
    subprocess.run([sys.executable, "-c", text], check=True)


def test_walks():
    model = nn.Sequential(Block(), nn.ReLU())
    names = ["0.scale", "0.linear.weight", "0.linear.bias", "0.norm.weight", "0.norm.bias"]
    assert [name for name, _ in model.named_parameters()] == names
    assert [type(m).__name__ for m in model.modules()] == [
        "Sequential",
        "Block",
        "Linear",
        "BatchNorm1d",
        "ReLU",
    ]
    assert [name for name, _ in model.named_modules()] == ["", "0", "0.linear", "0.norm", "1"]
    assert [name for name, _ in model.named_children()] == ["0", "1"]
    buffers = ["0.count", "0.scratch"]
    buffers += [f"0.norm.{n}" for n in ("running_mean", "running_var", "num_batches_tracked")]
    assert [name for name, _ in model.named_buffers()] == buffers
    assert model.get_submodule("0.norm") is model[0].norm
    with pytest.raises(AttributeError, match="expected a module at '0.nor', got none in Block"):
        model.get_submodule("0.nor")


@pytest.mark.oracle
def test_state_has_pytorchs_names_and_order(torch):
    ours = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.PReLU(), nn.Linear(4, 2))
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.PReLU(), torch.nn.Linear(4, 2)
    )
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, sizes in [("GroupNorm", (2, 4)), ("Embedding", (3, 2)), ("LayerNorm", (3,))]:
        layers = [getattr(lib, name)(*sizes) for lib in (nn, torch.nn)]
        assert list(layers[0].state_dict()) == list(layers[1].state_dict())


def test_shared_parameters_count_once_and_load_by_both_names():
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False))
    model[1].weight = model[0].weight
    assert [name for name, _ in model.named_parameters()] == ["0.weight"]
    assert list(model.state_dict()) == ["0.weight", "1.weight"]
    assert sum(p.size for p in model.parameters()) == 15
    copied = copy.deepcopy(model)
    assert copied[0].weight is copied[1].weight and copied[0].weight is not model[0].weight
    model.bfloat16()
    assert model[0].weight is model[1].weight and model[0].weight.dtype == pynn.bfloat16
    twice = nn.Sequential(*[nn.Linear(2, 2)] * 2)
    assert len(list(twice.parameters())) == 2 and len(list(twice.modules())) == 2
    assert len(list(twice.children())) == 1 and len(twice) == 2


def test_state_goes_from_one_module_to_another():
    first, second = Block(), Block()
    first.count.data += 3
    first(pynn.randn(8, 3))
    result = second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert result == ([], [])
    assert "scratch" not in first.state_dict() and "shift" not in first.state_dict()
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)
    assert second.count.item() == 3 and second.norm.num_batches_tracked.item() == 1
    x = pynn.randn(4, 3)
    np.testing.assert_array_equal(first.eval()(x).numpy(), second.eval()(x).numpy())


def test_a_state_that_does_not_fit_changes_nothing():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    before = copy.deepcopy(model.state_dict())
    state = {name: np.full(t.shape, 9.0) for name, t in before.items()}
    del state["0.bias"]
    state["extra"] = np.zeros(1)
    state["0.weight"] = np.zeros((4, 5))
    state["1.bias"] = np.zeros(2, np.int64)
    with pytest.raises(ValueError) as caught:
        model.load_state_dict(state)
    assert str(caught.value) == (
        "[load_state_dict] expected the keys and shapes of Sequential, got\n"
        "  missing: 0.bias\n"
        "  unexpected: extra\n"
        "  0.weight: expected shape (4, 3), got (4, 5)\n"
        "  1.bias: expected a dtype like float32, got int64"
    )
    with pytest.raises(ValueError, match=r"0.weight: expected shape \(4, 3\)"):
        model.load_state_dict(state, strict=False)
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(tensor, before[name])
    del state["0.weight"], state["1.bias"]
    result = model.load_state_dict(state, strict=False)
    assert result.missing_keys == ["0.weight", "0.bias", "1.bias"]
    assert result.unexpected_keys == ["extra"]
    assert model[1].weight.tolist() == [[9.0] * 4] * 2
    np.testing.assert_array_equal(model[0].weight, before["0.weight"])


def test_loading_converts_and_keeps_the_dtype():
    model = nn.Linear(2, 1).bfloat16()
    weight = model.weight
    model.load_state_dict({"weight": np.array([[1.0, 1 / 3]]), "bias": pynn.zeros(1)})
    assert model.weight is weight and weight.dtype == pynn.bfloat16
    assert weight.tolist() == [[1.0, 0.333984375]]


def test_loading_under_a_graph_is_noticed():
    model = nn.Linear(2, 2)
    loss = model(pynn.ones(1, 2).requires_grad_()).sum()
    model.load_state_dict({"weight": np.zeros((2, 2)), "bias": np.zeros(2)})
    with pytest.raises(RuntimeError, match="changed in place by load_state_dict"):
        loss.backward()


def test_moves_keep_parameters_and_statistics():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    held = list(model.parameters())
    model(pynn.randn(5, 3)).sum().backward()
    assert model.to("bfloat16") is model
    assert all(p is q for p, q in zip(held, model.parameters(), strict=True))
    assert {p.dtype.name for p in held} == {p.grad.dtype.name for p in held} == {"bfloat16"}
    assert model[1].running_mean.dtype == np.float32
    assert model[1].num_batches_tracked.dtype == np.int64
    assert model.double()[1].running_mean.dtype == np.float64
    assert model.half()[0].weight.dtype == np.float16
    assert model.to("cpu", "float32")[0].weight.dtype == np.float32
    with pytest.raises(TypeError, match=r"\[to\] expected a float dtype for a module, got int64"):
        model.to("int64")


def test_modes_and_freezing():
    model = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.BatchNorm1d(3)))
    assert all(m.training for m in model.modules())
    assert model.eval() is model and not any(m.training for m in model.modules())
    model.train()
    assert all(m.training for m in model.modules())
    model.requires_grad_(False)
    assert not any(p.requires_grad for p in model.parameters())
    linear = nn.Linear(2, 2)
    linear(pynn.ones(1, 2)).sum().backward()
    linear.zero_grad()
    assert linear.weight.grad is None


def test_apply_reaches_children_first():
    met = []
    model = nn.Sequential(nn.Sequential(nn.ReLU()), nn.Tanh())
    model.apply(lambda m: met.append(type(m).__name__))
    assert met == ["ReLU", "Sequential", "Tanh", "Sequential"]


def test_hooks_see_and_replace():
    model = nn.Sequential(nn.Identity())
    calls = []
    first = model.register_forward_pre_hook(lambda m, inputs: (inputs[0] + 1,))
    second = model.register_forward_hook(lambda m, inputs, y: y * 10)
    third = model[0].register_forward_hook(lambda m, inputs, y: calls.append((m, y.item())))
    assert model(pynn.tensor(1.0)).item() == 20
    assert calls == [(model[0], 2.0)]
    first.remove()
    assert model(pynn.tensor(1.0)).item() == 10
    second.remove()
    third.remove()
    third.remove()
    assert model(pynn.tensor(1.0)).item() == 1 and len(calls) == 2


def test_options_reach_forward():
    block = Block().eval()
    x = pynn.randn(2, 3)
    once = block(x).numpy()
    np.testing.assert_array_equal(block(x, twice=True).numpy(), 2 * once)


def test_copies_and_pickles_compute_the_same():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    model(pynn.randn(5, 3))
    x = pynn.randn(5, 3)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert isinstance(other[0].weight, nn.Parameter)
        np.testing.assert_array_equal(other.eval()(x).numpy(), model.eval()(x).numpy())
        other[0].weight.data[...] = 0
    assert model[0].weight.data.any()


def test_assignment():
    block = Block()
    block.shift = nn.Parameter(pynn.ones(3))
    assert "shift" in dict(block.named_parameters())
    block.count = pynn.tensor(5)
    assert block.state_dict()["count"].item() == 5
    block.linear = None
    assert "linear.weight" not in block.state_dict()
    del block.scale
    assert "scale" not in block.state_dict() and not hasattr(block, "scale")
    block.note = "free"
    for name, value, message in [
        ("shift", pynn.ones(3), r"\[Block\] shift: expected a parameter or None, got Tensor"),
        ("norm", 3, r"\[Block\] norm: expected a module or None, got int"),
        ("count", 3, r"\[Block\] count: expected a tensor or None, got int"),
    ]:
        with pytest.raises(TypeError, match=message):
            setattr(block, name, value)
    with pytest.raises(ValueError, match="expected a name without a dot, got 'a.b'"):
        block.register_buffer("a.b", pynn.ones(1))
    with pytest.raises(ValueError, match="expected a name not in use, got 'forward'"):
        block.add_module("forward", nn.ReLU())
    with pytest.raises(TypeError, match=r"\[register_parameter\] w: expected a Parameter or None"):
        block.register_parameter("w", pynn.ones(1))
    with pytest.raises(NotImplementedError, match=r"\[Module\] expected `forward` to be defined"):
        nn.Module()(1)


def test_parameters_of_integers_are_refused():
    with pytest.raises(TypeError, match=r"expected a float dtype, got int64"):
        nn.Parameter(pynn.arange(3))
    assert not nn.Parameter(pynn.ones(1), requires_grad=False).requires_grad


def test_repr_nests():
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.LeakyReLU(0.2)))
    assert repr(model) == (
        "Sequential(\n"
        "  (0): Linear(in_features=2, out_features=3, bias=True)\n"
        "  (1): Sequential(\n"
        "    (0): LeakyReLU(negative_slope=0.2)\n"
        "  )\n"
        ")"
    )
