"""What every optimizer shares: groups, 16-bit parameters, state, stale graphs."""

import copy
import json

import numpy as np
import pytest

import pynn
from pynn import nn, optim
from pynn.nn import Parameter

RULES = {
    "SGD": {"lr": 0.05, "momentum": 0.9},
    "Adagrad": {},
    "RMSprop": {"momentum": 0.9, "centered": True},
    "Adam": {"amsgrad": True},
    "AdamW": {},
    "Lion": {},
}


def model_and_data(dtype="float32"):
    pynn.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3)).to(dtype)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20, 6)), rng.standard_normal((20, 3))
    return model, pynn.tensor(x, dtype=dtype), pynn.tensor(y, dtype=dtype)


def train(model, optimizer, x, y, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        ((model(x) - y) ** 2).mean().backward()
        optimizer.step()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_resume_to_the_bit(rule, dtype):
    model, x, y = model_and_data(dtype)
    optimizer = getattr(optim, rule)(model.parameters(), **RULES[rule])
    train(model, optimizer, x, y, 3)
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    train(model, optimizer, x, y, 4)

    other = model_and_data(dtype)[0]
    resumed = getattr(optim, rule)(other.parameters(), lr=0.3)
    train(other, resumed, x, y, 1)  # so that it has a state of its own to lose
    other.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    train(other, resumed, x, y, 4)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert p.data.tobytes() == q.data.tobytes()
        for name, value in optimizer.state[p].items():
            assert np.asarray(value).tobytes() == np.asarray(resumed.state[q][name]).tobytes()


@pytest.mark.parametrize("rule", RULES)
def test_bfloat16_follows_float32_through_its_master(rule):
    """Steps far below a bfloat16's spacing add up: 1 - 200 steps of 1e-4, spacing 2^-8."""
    options = {**RULES[rule], "lr": 1e-4}
    narrow, wide = (Parameter(pynn.ones(3).to(d)) for d in ("bfloat16", "float32"))
    optimizers = [getattr(optim, rule)([p], **options) for p in (narrow, wide)]
    for _ in range(200):
        for p, optimizer in zip((narrow, wide), optimizers, strict=True):
            p.grad = np.full(3, 0.5, p.dtype)
            optimizer.step()
    master = optimizers[0].state[narrow]["master"]
    assert master.dtype == np.float32
    np.testing.assert_array_equal(master, wide.data)
    np.testing.assert_array_equal(narrow.data, master.astype(narrow.dtype))
    assert float(narrow.data[0]) < 1


def test_a_value_set_from_outside_replaces_the_master():
    p = Parameter(pynn.ones(4).to("bfloat16"))
    optimizer = optim.SGD([p], lr=2.0**-12)
    p.grad = np.ones(4, p.dtype)
    optimizer.step()
    kept = optimizer.state[p]["master"].copy()
    with pynn.no_grad():
        p[:2] = 5.0
    optimizer.step()
    wanted = [5 - 2.0**-12] * 2 + (kept[2:] - 2.0**-12).tolist()
    np.testing.assert_array_equal(optimizer.state[p]["master"], np.float32(wanted))


def test_dtype_may_change_between_steps():
    model, x, y = model_and_data()
    optimizer = optim.Adam(model.parameters())
    train(model, optimizer, x, y, 2)
    held = list(model.parameters())
    before = {p: optimizer.state[p]["exp_avg"].copy() for p in held}
    model.bfloat16()
    assert all(a is b for a, b in zip(held, model.parameters(), strict=True))
    for p in held:
        np.testing.assert_array_equal(before[p], optimizer.state[p]["exp_avg"])
    train(model, optimizer, x.to("bfloat16"), y.to("bfloat16"), 1)
    assert all("master" in optimizer.state[p] for p in held)
    model.float()
    train(model, optimizer, x, y, 1)
    assert not any("master" in optimizer.state[p] for p in held)
    model.double()
    train(model, optimizer, x.to("float64"), y.to("float64"), 1)
    assert {optimizer.state[p]["exp_avg"].dtype.name for p in held} == {"float64"}


def test_parameters_without_gradient_are_left_alone():
    used, unused = Parameter(pynn.ones(2)), Parameter(pynn.ones(2))
    optimizer = optim.AdamW([used, unused], weight_decay=0.5)
    used.grad = np.ones(2, np.float32)
    optimizer.step()
    np.testing.assert_array_equal(unused.data, [1, 1])
    assert unused not in optimizer.state and not np.array_equal(used.data, [1, 1])


def test_zero_grad():
    p, q = Parameter(pynn.ones(2)), Parameter(pynn.ones(2))
    optimizer = optim.SGD([p, q])
    p.grad = np.ones(2, np.float32)
    optimizer.zero_grad(set_to_none=False)
    np.testing.assert_array_equal(p.grad.numpy(), [0, 0])
    assert q.grad is None
    optimizer.zero_grad()
    assert p.grad is None


def test_closure_runs_with_a_graph_and_gives_the_loss():
    p = Parameter(pynn.tensor([3.0]))
    optimizer = optim.SGD([p], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (p**2).sum()
        loss.backward()
        return loss

    with pynn.no_grad():
        assert float(optimizer.step(closure)) == 9
    np.testing.assert_allclose(p.data, [2.4], rtol=1e-6)


def test_a_backward_through_a_step_is_refused():
    p = Parameter(pynn.tensor([2.0, 3.0]))
    loss = (p * p).sum()
    p.grad = np.ones(2, np.float32)
    optim.SGD([p]).step()
    with pytest.raises(RuntimeError, match=r"changed in place by SGD.step"):
        loss.backward()


def test_a_frozen_part_can_join_later():
    p, q = Parameter(pynn.ones(1)), Parameter(pynn.ones(1))
    optimizer = optim.SGD([p], lr=0.5)
    optimizer.add_param_group({"params": q, "lr": 0.25})
    for t in (p, q):
        t.grad = np.ones(1, np.float32)
    optimizer.step()
    assert (p.item(), q.item()) == (0.5, 0.75)


def test_slots_that_become_needed_are_made():
    p = Parameter(pynn.ones(1))
    optimizer = optim.SGD([p], lr=0.5)
    p.grad = np.ones(1, np.float32)
    optimizer.step()
    optimizer.param_groups[0].update(momentum=0.5, dampening=0.9)
    optimizer.step()  # b = d at first, undampened
    assert p.item() == 0.0


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ([], ValueError, "[SGD] params: expected at least one parameter, got none"),
        (
            pynn.ones(2),
            TypeError,
            "[SGD] params: expected an iterable of parameters, got one tensor: write [p]",
        ),
        ([np.ones(2)], TypeError, "[SGD] params: expected tensors, got ndarray"),
        (
            [pynn.ones(2, requires_grad=True) * 2],
            ValueError,
            "[SGD] params: expected float leaves, got an op's output",
        ),
        ([pynn.arange(3)], ValueError, "[SGD] params: expected float leaves, got int64"),
        ([{"lr": 1}], TypeError, '[SGD] group: expected a dict with "params", got dict'),
        (
            [{"params": [Parameter(pynn.ones(1))], "learning_rate": 1}],
            ValueError,
            "[SGD] group: expected options out of ['dampening', 'lr', 'momentum', 'nesterov', "
            "'weight_decay'], got ['learning_rate']",
        ),
    ],
)
def test_bad_parameters(params, error, message):
    with pytest.raises(error) as caught:
        optim.SGD(params)
    assert str(caught.value) == message


def test_a_parameter_twice():
    p = Parameter(pynn.ones(2, 3))
    with pytest.raises(ValueError, match=r"each parameter once, got one of shape \(2, 3\) twice"):
        optim.SGD([p, p])
    with pytest.raises(ValueError, match=r"each parameter once"):
        optim.SGD([{"params": [p]}, {"params": [p]}])


def test_a_state_that_does_not_fit_changes_nothing():
    model, x, y = model_and_data()
    optimizer = optim.Adam(model.parameters())
    train(model, optimizer, x, y, 2)
    before = copy.deepcopy(optimizer.state_dict())

    few = optim.Adam(list(model.parameters())[:2]).state_dict()
    wrong_shape = copy.deepcopy(before)
    wrong_shape["param_groups"][0]["lr"] = 0.5
    wrong_shape["state"][3]["exp_avg"] = pynn.zeros(2)
    wrong_slot = copy.deepcopy(before)
    wrong_slot["state"][3]["square_avg"] = pynn.zeros(3)
    wrong_lr = copy.deepcopy(before)
    wrong_lr["param_groups"][0]["lr"] = -1
    for state, message in [
        (few, r"\[load_state_dict\] expected groups of \[4\] parameters, got \[2\]"),
        (wrong_shape, r"exp_avg 3: expected shape \(3,\), got \(2,\)"),
        (wrong_slot, r"state 3: expected keys out of .*, got .*square_avg"),
        (wrong_lr, r"\[Adam\] lr: expected a number > 0, got -1"),
    ]:
        with pytest.raises(ValueError, match=message):
            optimizer.load_state_dict(state)
    now = optimizer.state_dict()
    assert now["param_groups"] == before["param_groups"]
    for number, state in before["state"].items():
        for name, value in state.items():
            np.testing.assert_array_equal(value, now["state"][number][name])


def test_repr_names_the_groups():
    shown = repr(optim.Lion([Parameter(pynn.ones(1))], lr=0.5))
    assert shown == (
        "Lion(\n  group 0: 1 parameters, betas=(0.9, 0.99), lr=0.5, weight_decay=0.0\n)"
    )


def test_a_state_may_come_from_a_file():
    """JSON makes text of numbers and lists of tuples, and tensors come back as arrays."""
    model, x, y = model_and_data("bfloat16")
    optimizer = optim.AdamW(model.parameters(), betas=(0.8, 0.9))
    train(model, optimizer, x, y, 2)
    saved = optimizer.state_dict()
    groups = json.loads(json.dumps(saved["param_groups"]))
    state = {
        str(number): {name: np.asarray(value) for name, value in own.items()}
        for number, own in saved["state"].items()
    }
    resumed = optim.AdamW(model.parameters())
    resumed.load_state_dict({"state": state, "param_groups": groups})
    assert resumed.param_groups[0]["betas"] == (0.8, 0.9)
    for p, own in optimizer.state.items():
        assert own.keys() == resumed.state[p].keys()
        for name, value in own.items():
            np.testing.assert_array_equal(value, resumed.state[p][name])
