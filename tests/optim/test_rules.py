"""Each update rule against its formula in float64 and against PyTorch."""

import math

import numpy as np
import pytest

import pynn
from pynn import optim
from pynn.nn import Parameter

SHAPES = [
    (3, 5),
    (7,),
    (),
    (0, 4),
    (130, 257),
]  # the last is more than two blocks, and not a multiple

CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "dampening": 0.3}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True}),
    ("Adagrad", {"lr": 0.1}),
    ("Adagrad", {"lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.2}),
    ("RMSprop", {}),
    ("RMSprop", {"alpha": 0.9, "weight_decay": 0.1, "momentum": 0.5}),
    ("RMSprop", {"alpha": 0.9, "centered": True}),
    ("RMSprop", {"alpha": 0.9, "centered": True, "momentum": 0.9, "weight_decay": 0.1}),
    ("Adam", {}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.9), "eps": 1e-4, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.01, "amsgrad": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.5, "amsgrad": True}),
]
LION = ("Lion", {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1})


def start(dtype, seed=0):
    rng = np.random.default_rng(seed)
    values = [rng.standard_normal(shape).astype(dtype) for shape in SHAPES]
    grads = [
        [rng.standard_normal(s).astype(dtype) * 10.0 ** -(k % 3) for s in SHAPES] for k in range(6)
    ]
    return values, [[np.asarray(g, dtype) for g in step] for step in grads]


def run(rule, options, values, grads):
    parameters = [Parameter(np.array(v)) for v in values]
    optimizer = getattr(optim, rule)(parameters, **options)
    for step in grads:
        for p, g in zip(parameters, step, strict=True):
            p.grad = g.copy()
        optimizer.step()
    return [p.data for p in parameters]


def truth(rule, p, grads, options):
    """The docstring's formulae, element by element in float64."""
    o = {**{"weight_decay": 0.01 if rule == "AdamW" else 0.0}, **options}
    decay = o["weight_decay"]
    m = v = b = largest = 0.0
    s = o.get("initial_accumulator_value", 0.0)
    for t, g in enumerate(grads, 1):
        d = g if rule in ("AdamW", "Lion") else g + decay * p
        if rule == "SGD":
            momentum = o.get("momentum", 0.0)
            b = d if t == 1 else momentum * b + (1 - o.get("dampening", 0.0)) * d
            p = p - o["lr"] * ((d + momentum * b) if o.get("nesterov") else (b if momentum else d))
        elif rule == "Adagrad":
            s = s + d**2
            p = p - o.get("lr", 0.01) / (1 + (t - 1) * o.get("lr_decay", 0.0)) * d / (
                np.sqrt(s) + 1e-10
            )
        elif rule == "RMSprop":
            alpha = o.get("alpha", 0.99)
            v = alpha * v + (1 - alpha) * d**2
            m = alpha * m + (1 - alpha) * d
            u = d / (np.sqrt(v - m**2 if o.get("centered") else v) + 1e-8)
            b = o.get("momentum", 0.0) * b + u
            p = p - 0.01 * b
        elif rule == "Lion":
            beta1, beta2 = o["betas"]
            p = p - o["lr"] * (np.sign(beta1 * m + (1 - beta1) * g) + decay * p)
            m = beta2 * m + (1 - beta2) * g
        else:
            (beta1, beta2), lr = o.get("betas", (0.9, 0.999)), o.get("lr", 1e-3)
            p = p * (1 - lr * decay) if rule == "AdamW" else p
            m = beta1 * m + (1 - beta1) * d
            v = beta2 * v + (1 - beta2) * d**2
            largest = np.maximum(largest, v) if o.get("amsgrad") else v
            root = np.sqrt(largest / (1 - beta2**t)) + o.get("eps", 1e-8)
            p = p - lr * (m / (1 - beta1**t)) / root
    return p


@pytest.mark.parametrize(("rule", "options"), [*CASES, LION])
def test_float64_is_the_formula(rule, options):
    values, grads = start("float64")
    for i, got in enumerate(run(rule, options, values, grads)):
        wanted = truth(rule, values[i], [step[i] for step in grads], options)
        np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-12)


@pytest.mark.oracle
@pytest.mark.parametrize(("rule", "options"), CASES)
def test_float32_is_no_worse_than_pytorch(torch, rule, options):
    values, grads = start("float32")
    theirs = [torch.tensor(v, requires_grad=True) for v in values]
    optimizer = getattr(torch.optim, rule)(theirs, **options)
    for step in grads:
        for t, g in zip(theirs, step, strict=True):
            t.grad = torch.tensor(g)
        optimizer.step()
    ours = run(rule, options, values, grads)
    wide = [
        truth(rule, v.astype("f8"), [step[i].astype("f8") for step in grads], options)
        for i, v in enumerate(values)
    ]
    ours, theirs, wide = (
        np.concatenate([np.ravel(a) for a in arrays])
        for arrays in (ours, [t.detach().numpy() for t in theirs], wide)
    )
    ulp = np.spacing(np.float32(np.abs(wide).max()))
    assert np.abs(ours - wide).max() <= 2 * np.abs(theirs - wide).max() + ulp


@pytest.mark.oracle
def test_groups_have_their_own_hyper_parameters(torch):
    values, grads = start("float32")
    ours = [Parameter(v.copy()) for v in values[:2]]
    theirs = [torch.tensor(v, requires_grad=True) for v in values[:2]]
    groups = {"lr": 0.2, "weight_decay": 0.3}
    a = optim.AdamW([{"params": ours[:1], **groups}, {"params": ours[1]}], lr=0.01)
    b = torch.optim.AdamW([{"params": theirs[:1], **groups}, {"params": theirs[1:]}], lr=0.01)
    for step in grads:
        for p, t, g in zip(ours, theirs, step, strict=False):
            p.grad, t.grad = g.copy(), torch.tensor(g)
        a.step()
        b.step()
        a.param_groups[1]["lr"] *= 0.5
        b.param_groups[1]["lr"] *= 0.5
    for p, t in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.data, t.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("rule", "options"), [*CASES, LION])
def test_strided_parameters_and_gradients_get_the_same_numbers(rule, options):
    values, grads = start("float32")
    wanted = run(rule, options, values[:1], [step[:1] for step in grads])[0]
    p = Parameter(values[0].T.copy().T)  # F order
    alias = p.data
    optimizer = getattr(optim, rule)([p], **options)
    for step in grads:
        p._grad = step[0].T.copy().T
        optimizer.step()
    assert p.data is alias
    np.testing.assert_array_equal(p.data, wanted)


def test_lion_moves_by_lr_or_not_at_all():
    p = Parameter(np.array([1.0, 2.0, 3.0], np.float32))
    p.grad = np.array([1e-20, 0.0, -1e20], np.float32)
    optim.Lion([p], lr=0.5).step()
    np.testing.assert_array_equal(p.data, [0.5, 2.0, 3.5])


def test_nan_in_a_gradient_shows():
    for rule, options in [*CASES, LION]:
        p = Parameter(np.ones(3, np.float32))
        p.grad = np.array([1.0, np.nan, 1.0], np.float32)
        getattr(optim, rule)([p], **options).step()
        assert np.isnan(p.data).tolist() == [False, True, False], rule


BAD = [
    ("SGD", {"lr": 0}, "[SGD] lr: expected a number > 0, got 0"),
    ("SGD", {"lr": -1.0}, "[SGD] lr: expected a number > 0, got -1.0"),
    ("Adam", {"lr": math.nan}, "[Adam] lr: expected a number > 0, got nan"),
    ("Adam", {"lr": "big"}, "[Adam] lr: expected a number > 0, got 'big'"),
    ("SGD", {"momentum": -0.1}, "[SGD] momentum: expected a number >= 0, got -0.1"),
    ("SGD", {"weight_decay": -1}, "[SGD] weight_decay: expected a number >= 0, got -1"),
    (
        "SGD",
        {"nesterov": True},
        "[SGD] nesterov: expected momentum > 0 and dampening = 0, got 0.0 and 0.0",
    ),
    ("Adam", {"betas": (0.9, 1.0)}, "[Adam] betas[1]: expected a number in [0, 1), got 1.0"),
    ("AdamW", {"betas": 0.9}, "[AdamW] betas: expected two numbers, got 0.9"),
    ("Lion", {"betas": (-0.1, 0.9)}, "[Lion] betas[0]: expected a number in [0, 1), got -0.1"),
    ("Adam", {"eps": -1e-8}, "[Adam] eps: expected a number >= 0, got -1e-08"),
    ("RMSprop", {"alpha": 1}, "[RMSprop] alpha: expected a number in [0, 1), got 1"),
    ("Adagrad", {"lr_decay": -1}, "[Adagrad] lr_decay: expected a number >= 0, got -1"),
]


@pytest.mark.parametrize(("rule", "options", "message"), BAD)
def test_bad_hyper_parameters(rule, options, message):
    with pytest.raises(ValueError) as caught:
        getattr(optim, rule)([Parameter(pynn.ones(2))], **options)
    assert str(caught.value) == message
    with pytest.raises(ValueError):  # in a group as well
        getattr(optim, rule)([{"params": [Parameter(pynn.ones(2))], **options}])
