"""State dicts to and from PyTorch."""

import numpy as np
import pytest

import pynn
from pynn import nn


def ours():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, groups=3),
        nn.ConvTranspose2d(6, 4, 2),
        nn.BatchNorm2d(4),
        nn.Flatten(),
        nn.Linear(4 * 5 * 7, 5),
        nn.Unflatten(1, (5, 1)),
        nn.Conv1d(1, 2, 3),
        nn.LayerNorm((3, 2)),
    )


def theirs(torch):
    n = torch.nn
    return n.Sequential(
        n.Conv2d(3, 6, 3, groups=3),
        n.ConvTranspose2d(6, 4, 2),
        n.BatchNorm2d(4),
        n.Flatten(),
        n.Linear(4 * 5 * 7, 5),
        n.Unflatten(1, (1, 5)),
        n.Conv1d(1, 2, 3),
    )


FLATTEN = {"4.weight": (4, 5, 7)}


@pytest.mark.oracle
@pytest.mark.parametrize("with_model", [True, False])
def test_a_model_computes_the_same(torch, with_model):
    model, other = ours()[:7].eval(), theirs(torch).eval()
    converted = nn.from_torch(other.state_dict(), model if with_model else None, FLATTEN)
    model.load_state_dict(converted)
    x = np.random.default_rng(0).standard_normal((2, 6, 8, 3)).astype("f")
    y = other(torch.tensor(x.transpose(0, 3, 1, 2))).detach().numpy()
    np.testing.assert_allclose(model(pynn.tensor(x)).numpy(), y.transpose(0, 2, 1), atol=1e-5)


@pytest.mark.oracle
def test_back_and_forth(torch):
    state = theirs(torch).state_dict()
    model = ours()[:7]
    model.load_state_dict(nn.from_torch(state, model, FLATTEN))
    back = nn.to_torch_layout(model.state_dict(), model, FLATTEN)
    assert list(back) == list(state)
    for name, value in state.items():
        np.testing.assert_array_equal(back[name], value.numpy())
    fresh = theirs(torch)
    fresh.load_state_dict({name: torch.tensor(value) for name, value in back.items()})


def test_only_convolutions_of_the_model_move():
    model = ours()
    state = {
        "7.weight": np.arange(6.0).reshape(1, 2, 3)[0],
        "0.weight": np.zeros((6, 1, 3, 3)),
        "8.weight": np.arange(24.0).reshape(2, 3, 4),
    }
    out = nn.from_torch(state, model)
    assert out["0.weight"].shape == (6, 3, 3, 1)
    np.testing.assert_array_equal(out["8.weight"].numpy(), state["8.weight"])
    np.testing.assert_array_equal(
        nn.from_torch(state)["8.weight"].numpy(), state["8.weight"].transpose(0, 2, 1)
    )


@pytest.mark.oracle
def test_raw_torch_weights_of_convolutions_are_refused(torch):
    """With as many channels as the kernel is wide, the shapes agree: only the source can tell."""
    model, other = nn.Conv2d(3, 8, 3), torch.nn.Conv2d(3, 8, 3)
    with pytest.raises(
        ValueError, match=r"weight: expected channels last, got PyTorch's: use nn.from"
    ):
        model.load_state_dict(other.state_dict())
    linear = nn.Linear(3, 2)
    linear.load_state_dict(torch.nn.Linear(3, 2).state_dict())


@pytest.mark.oracle
def test_bfloat16_and_parameters_come_over(torch):
    values = torch.nn.Parameter(torch.tensor([1.0, 1 / 3, -2e-40, 3e38]).bfloat16())
    out = nn.from_torch({"w": values})["w"]
    assert out.dtype == pynn.bfloat16
    np.testing.assert_array_equal(out.numpy().view("i2"), values.detach().view(torch.int16).numpy())


def test_a_shape_of_pytorchs_is_recognized():
    with pytest.raises(
        ValueError, match=r"got \(8, 2, 3, 3\): PyTorch's layout, which nn.from_torch"
    ):
        nn.Conv2d(2, 8, 3).load_state_dict({"weight": np.zeros((8, 2, 3, 3)), "bias": np.zeros(8)})


@pytest.mark.parametrize(
    ("flatten", "message"),
    [
        ({"v": (1, 2, 3)}, "[from_torch] flatten: expected names of the state dict, got ['v']"),
        (
            {"w": (4, 2, 3)},
            "[from_torch] flatten: expected (C, H, W) with C H W = 6 for w (2, 6), got (4, 2, 3)",
        ),
    ],
)
def test_bad_flatten(flatten, message):
    with pytest.raises(ValueError) as caught:
        nn.from_torch({"w": np.zeros((2, 6))}, flatten=flatten)
    assert str(caught.value) == message
