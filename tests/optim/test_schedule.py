"""Schedules against PyTorch's, their closed forms and their state."""

import json
import math

import pytest

import pynn
from pynn import optim
from pynn.nn import Parameter


def optimizer(rule="SGD", **options):
    parameters = [Parameter(pynn.ones(1)) for _ in range(2)]
    groups = [{"params": parameters[:1], "lr": 0.4}, {"params": parameters[1:]}]
    return getattr(optim, rule)(groups, lr=0.1, **options)


def sequence(lib, o):
    parts = [lib.LinearLR(o, 0.1, total_iters=4), lib.CosineAnnealingLR(o, 7), lib.StepLR(o, 2)]
    return lib.SequentialLR(o, parts, [4, 11])


CASES = {
    "step": lambda lib, o: lib.StepLR(o, 3, 0.5),
    "multistep": lambda lib, o: lib.MultiStepLR(o, [9, 3, 3], 0.2),
    "exponential": lambda lib, o: lib.ExponentialLR(o, 0.9),
    "cosine": lambda lib, o: lib.CosineAnnealingLR(o, 8, 0.01),
    "linear": lambda lib, o: lib.LinearLR(o),
    "linear, down": lambda lib, o: lib.LinearLR(o, 1.0, 0.0, 12),
    "lambda": lambda lib, o: lib.LambdaLR(o, lambda e: 1 / (1 + e)),
    "lambdas": lambda lib, o: lib.LambdaLR(o, [lambda e: 0.9**e, lambda e: math.cos(e / 9)]),
    "sequence": sequence,
    "one cycle": lambda lib, o: lib.OneCycleLR(o, [1.0, 0.3], total_steps=17),
    "one cycle, linear": lambda lib, o: lib.OneCycleLR(
        o, 1.0, epochs=4, steps_per_epoch=5, anneal_strategy="linear", pct_start=0.4
    ),
    "one cycle, three phases": lambda lib, o: lib.OneCycleLR(
        o, 0.7, total_steps=18, three_phase=True, base_momentum=0.5, max_momentum=0.9
    ),
}


def seen(o, schedule, steps=16):
    rows = []
    for _ in range(steps):
        rows.append([(g["lr"], g.get("momentum", g.get("betas"))) for g in o.param_groups])
        o.step()
        schedule.step()
    return rows


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("rule", ["SGD", "Adam"])
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_pytorch(torch, case, rule):
    options = {"momentum": 0.9} if rule == "SGD" else {}
    ours = optimizer(rule, **options)
    tensors = [torch.ones(1, requires_grad=True) for _ in range(2)]
    groups = [{"params": tensors[:1], "lr": 0.4}, {"params": tensors[1:]}]
    theirs = getattr(torch.optim, rule)(groups, lr=0.1, **options)
    rows = seen(ours, CASES[case](optim, ours))
    rows_of_torch = seen(theirs, CASES[case](torch.optim.lr_scheduler, theirs))
    for row, row_of_torch in zip(rows, rows_of_torch, strict=True):
        for (lr, momentum), (lr_of_torch, momentum_of_torch) in zip(row, row_of_torch, strict=True):
            assert lr == pytest.approx(lr_of_torch, rel=1e-12, abs=1e-15)
            assert momentum == pytest.approx(momentum_of_torch, rel=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_resumes_to_the_bit_from_json(case):
    whole = optimizer("SGD", momentum=0.9)
    rows = seen(whole, CASES[case](optim, whole), 16)
    first = optimizer("SGD", momentum=0.9)
    schedule = CASES[case](optim, first)
    seen(first, schedule, 7)
    saved = json.loads(json.dumps(schedule.state_dict()))
    second = optimizer("SGD", momentum=0.9)
    resumed = CASES[case](optim, second)
    resumed.load_state_dict(saved)
    assert seen(second, resumed, 9) == rows[7:]
    assert resumed.get_last_lr() == [group["lr"] for group in second.param_groups]


METRICS = [
    5,
    4,
    4,
    4,
    4,
    3.9999,
    3,
    3,
    3.1,
    math.nan,
    3,
    2,
    2,
    2,
    2,
    2,
    2,
    2,
    2,
    2,
    2,
    2,
    -1,
    -1,
    -1,
]


@pytest.mark.oracle
@pytest.mark.parametrize(
    "options",
    [
        {"patience": 2},
        {"patience": 1, "factor": 0.5, "cooldown": 2},
        {"patience": 0, "mode": "max", "min_lr": [0.05, 0.001]},
        {"patience": 1, "threshold": 0.5, "threshold_mode": "abs", "eps": 0.005},
        {"patience": 1, "mode": "max", "threshold": 0.5, "threshold_mode": "abs"},
    ],
)
def test_plateau_agrees_with_pytorch(torch, options):
    ours = optimizer()
    tensors = [torch.ones(1, requires_grad=True) for _ in range(2)]
    theirs = torch.optim.SGD([{"params": tensors[:1], "lr": 0.4}, {"params": tensors[1:]}], lr=0.1)
    a = optim.ReduceLROnPlateau(ours, **options)
    b = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    for metric in METRICS:
        a.step(metric)
        b.step(metric)
        assert a.get_last_lr() == [group["lr"] for group in theirs.param_groups]
    assert a.get_last_lr() != [0.4, 0.1]


def test_plateau_resumes():
    def rates(schedule, metrics):
        out = []
        for metric in metrics:
            schedule.step(metric)
            out.append(schedule.get_last_lr())
        return out

    whole = rates(optim.ReduceLROnPlateau(optimizer(), patience=1, cooldown=1), METRICS)
    first = optim.ReduceLROnPlateau(optimizer(), patience=1, cooldown=1)
    rates(first, METRICS[:9])
    second = optim.ReduceLROnPlateau(optimizer(), patience=1, cooldown=1)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert rates(second, METRICS[9:]) == whole[9:]


def test_warmup_then_cosine_in_numbers():
    o = optimizer()
    warmup = optim.LinearLR(o, 0.5, total_iters=2)
    schedule = optim.SequentialLR(o, [warmup, optim.CosineAnnealingLR(o, 4)], [2])
    got = [row[1][0] for row in seen(o, schedule, 7)]
    wanted = [0.05, 0.075, 0.1, 0.05 + 0.05 * math.sqrt(0.5), 0.05, 0.05 - 0.05 * math.sqrt(0.5), 0]
    assert got == pytest.approx(wanted, abs=1e-15)


def test_a_rate_of_zero_leaves_the_parameters():
    p = Parameter(pynn.ones(2))
    o = optim.SGD([p], lr=0.5)
    optim.LinearLR(o, 1.0, 0.0, 1).step()
    p.grad = pynn.ones(2)
    o.step()
    assert o.param_groups[0]["lr"] == 0 and p.tolist() == [1, 1]


def test_too_many_steps_of_one_cycle():
    o = optimizer("SGD", momentum=0.9)
    schedule = optim.OneCycleLR(o, 1.0, total_steps=3)
    for _ in range(3):
        schedule.step()
    rates = schedule.get_last_lr()
    assert rates == pytest.approx([1 / 25 / 1e4] * 2)
    with pytest.raises(ValueError, match=r"\[OneCycleLR\] expected at most 3 steps, got step 4"):
        schedule.step()
    assert schedule.get_last_lr() == rates and schedule.last_epoch == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda o: optim.StepLR(o, 0), "[StepLR] step_size: expected a number > 0, got 0"),
        (
            lambda o: optim.ExponentialLR(o, -1),
            "[ExponentialLR] gamma: expected a number > 0, got -1",
        ),
        (
            lambda o: optim.LambdaLR(o, [abs]),
            "[LambdaLR] lr_lambda: expected one or 2 functions, got 1",
        ),
        (
            lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1)] * 2, [3, 4]),
            "[SequentialLR] milestones: expected 1 in rising order, got [3, 4]",
        ),
        (
            lambda o: optim.SequentialLR(o, [optim.StepLR(optimizer(), 1)], []),
            "[SequentialLR] schedulers: expected one optimizer for all, got several",
        ),
        (
            lambda o: optim.OneCycleLR(o, 1.0),
            "[OneCycleLR] expected total_steps, or epochs and steps_per_epoch, got neither",
        ),
        (
            lambda o: optim.OneCycleLR(o, 1.0, 9),
            "[OneCycleLR] cycle_momentum: expected an optimizer with momentum, got SGD",
        ),
        (
            lambda o: optim.OneCycleLR(o, 1.0, 9, anneal_strategy="sin"),
            "[OneCycleLR] anneal_strategy: expected 'cos' or 'linear', got 'sin'",
        ),
        (
            lambda o: optim.ReduceLROnPlateau(o, "least"),
            "[ReduceLROnPlateau] mode: expected 'min' or 'max', got 'least'",
        ),
        (
            lambda o: optim.ReduceLROnPlateau(o, factor=1.0),
            "[ReduceLROnPlateau] factor: expected a number in (0, 1), got 1.0",
        ),
        (
            lambda o: optim.ReduceLROnPlateau(o, min_lr=[0.1]),
            "[ReduceLROnPlateau] min_lr: expected one or 2 numbers, got 1",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError) as caught:
        make(optimizer())
    assert str(caught.value) == message


def test_a_plateau_is_no_part_of_a_sequence():
    o = optimizer()
    with pytest.raises(TypeError, match="functions of the epoch, got ReduceLROnPlateau"):
        optim.SequentialLR(o, [optim.ReduceLROnPlateau(o)], [])


def test_a_state_of_another_kind():
    schedule = optim.StepLR(optimizer(), 1)
    with pytest.raises(
        ValueError, match=r"\[StepLR\] state_dict: expected keys .*, got .*bad_epochs"
    ):
        schedule.load_state_dict(optim.ReduceLROnPlateau(optimizer()).state_dict())
