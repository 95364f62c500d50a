"""Learning-rate schedules: the rate of each parameter group by how often `step` was called.

    warmup = LinearLR(optimizer, start_factor=0.01, total_iters=500)
    schedule = SequentialLR(optimizer, [warmup, CosineAnnealingLR(optimizer, 9500)], [500])
    ...; optimizer.step(); schedule.step()

Each is a closed form in the epoch: rates do not drift, and a resumed run has the same to the bit.
"""

import math
from bisect import bisect_right

from pynn.optim.optimizer import check_range, non_negative, positive


class Schedule:
    """Base: sets the rate of each group at once and at each `step`, from its `initial_lr`.

    `initial_lr` is the group's lr when the first schedule of the optimizer is made.
    """

    _saved = ("last_epoch", "base_lrs")

    def __init__(self, optimizer):
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = 0
        self.apply(0)

    @property
    def name(self):
        return type(self).__name__

    def lr(self, base, epoch):
        """The rate at an epoch of a group that began with `base`."""
        raise NotImplementedError(f"[{self.name}] expected `lr` to be defined, got none")

    def apply(self, epoch):
        """Set the rates of an epoch."""
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = self.lr(base, epoch)

    def step(self):
        """Go on by one epoch (or batch: whatever the numbers were meant to count)."""
        self.apply(self.last_epoch + 1)
        self.last_epoch += 1

    def get_last_lr(self) -> list[float]:
        """The rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict:
        """All that a schedule made with the same arguments needs to go on."""
        return {name: getattr(self, name) for name in self._saved}

    def load_state_dict(self, state_dict):
        """Go on from a `state_dict`, and set its rates. Raises ValueError if its keys differ."""
        if set(state_dict) != set(self._saved):
            raise ValueError(
                f"[{self.name}] state_dict: expected keys {sorted(self._saved)}, "
                f"got {sorted(state_dict)}"
            )
        for name, value in state_dict.items():
            setattr(self, name, list(value) if isinstance(value, (list, tuple)) else value)
        self.apply(self.last_epoch)


class LambdaLR(Schedule):
    """lr = initial_lr lr_lambda(epoch); one function for all groups, or a list of one for each."""

    def __init__(self, optimizer, lr_lambda):
        count = len(optimizer.param_groups)
        self.lambdas = (
            list(lr_lambda) if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * count
        )
        if len(self.lambdas) != count:
            raise ValueError(
                f"[{self.name}] lr_lambda: expected one or {count} functions, "
                f"got {len(self.lambdas)}"
            )
        super().__init__(optimizer)

    def apply(self, epoch):
        groups = self.optimizer.param_groups
        for group, base, factor in zip(groups, self.base_lrs, self.lambdas, strict=True):
            group["lr"] = base * factor(epoch)


class StepLR(Schedule):
    """lr = initial_lr gamma^(epoch // step_size)."""

    def __init__(self, optimizer, step_size, gamma=0.1):
        check_range(self.name, step_size=positive(step_size), gamma=positive(gamma))
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def lr(self, base, epoch):
        return base * self.gamma ** (epoch // self.step_size)


class MultiStepLR(Schedule):
    """lr = initial_lr gamma^(how many milestones have been reached)."""

    def __init__(self, optimizer, milestones, gamma=0.1):
        check_range(self.name, gamma=positive(gamma))
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer)

    def lr(self, base, epoch):
        return base * self.gamma ** bisect_right(self.milestones, epoch)


class ExponentialLR(Schedule):
    """lr = initial_lr gamma^epoch."""

    def __init__(self, optimizer, gamma):
        check_range(self.name, gamma=positive(gamma))
        self.gamma = gamma
        super().__init__(optimizer)

    def lr(self, base, epoch):
        return base * self.gamma**epoch


class LinearLR(Schedule):
    """lr / initial_lr goes straight from start_factor to end_factor in total_iters, then stays."""

    def __init__(self, optimizer, start_factor=1 / 3, end_factor=1.0, total_iters=5):
        check_range(
            self.name,
            start_factor=positive(start_factor),
            end_factor=non_negative(end_factor),
            total_iters=positive(total_iters),
        )
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer)

    def lr(self, base, epoch):
        way = min(epoch, self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * way)


class CosineAnnealingLR(Schedule):
    """lr = eta_min + (initial_lr - eta_min) (1 + cos(pi epoch / T_max)) / 2.

    Loshchilov, Hutter 2016, arXiv:1608.03983.
    """

    def __init__(self, optimizer, T_max, eta_min=0.0):
        check_range(self.name, T_max=positive(T_max), eta_min=non_negative(eta_min))
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def lr(self, base, epoch):
        return (
            self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * epoch / self.T_max)) / 2
        )


class SequentialLR(Schedule):
    """One schedule after another, each from its own epoch 0; the next begins at a milestone."""

    def __init__(self, optimizer, schedulers, milestones):
        schedulers, milestones = list(schedulers), list(milestones)
        for schedule in schedulers:
            if not isinstance(schedule, Schedule) or isinstance(schedule, ReduceLROnPlateau):
                raise TypeError(
                    f"[{self.name}] schedulers: expected functions of the epoch, "
                    f"got {type(schedule).__name__}"
                )
            if schedule.optimizer is not optimizer:
                raise ValueError(
                    f"[{self.name}] schedulers: expected one optimizer for all, got several"
                )
        if len(milestones) != len(schedulers) - 1 or milestones != sorted(milestones):
            raise ValueError(
                f"[{self.name}] milestones: expected {len(schedulers) - 1} in rising order, "
                f"got {milestones}"
            )
        self.schedulers, self.milestones = schedulers, milestones
        super().__init__(optimizer)

    def apply(self, epoch):
        i = bisect_right(self.milestones, epoch)
        self.schedulers[i].apply(epoch - (self.milestones[i - 1] if i else 0))


class OneCycleLR(Schedule):
    """lr rises to max_lr in the first pct_start of total_steps, then falls to a tiny rate.

    total_steps        or epochs and steps_per_epoch
    anneal_strategy    "cos" or "linear"
    cycle_momentum     momentum (or beta1) goes the other way, from max_momentum to base_momentum
    div_factor         the first rate is max_lr / div_factor
    final_div_factor   the last rate is max_lr / div_factor / final_div_factor
    three_phase        fall to the first rate as fast as it rose, and from there to the last one

    Smith, Topin 2017, arXiv:1708.07120. Raises ValueError when stepped more than total_steps times.
    """

    def __init__(
        self,
        optimizer,
        max_lr,
        total_steps=None,
        epochs=None,
        steps_per_epoch=None,
        pct_start=0.3,
        anneal_strategy="cos",
        cycle_momentum=True,
        base_momentum=0.85,
        max_momentum=0.95,
        div_factor=25.0,
        final_div_factor=1e4,
        three_phase=False,
    ):
        groups = optimizer.param_groups
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError(
                    f"[{self.name}] expected total_steps, or epochs and steps_per_epoch, "
                    "got neither"
                )
            total_steps = epochs * steps_per_epoch
        max_lrs = list(max_lr) if isinstance(max_lr, (list, tuple)) else [max_lr] * len(groups)
        if len(max_lrs) != len(groups):
            raise ValueError(
                f"[{self.name}] max_lr: expected one or {len(groups)} numbers, got {len(max_lrs)}"
            )
        check_range(
            self.name,
            total_steps=positive(total_steps),
            pct_start=(pct_start, lambda v: 0 <= v <= 1, "a number in [0, 1]"),
            div_factor=positive(div_factor),
            final_div_factor=positive(final_div_factor),
            **{f"max_lr[{i}]": positive(rate) for i, rate in enumerate(max_lrs)},
        )
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"[{self.name}] anneal_strategy: expected 'cos' or 'linear', "
                f"got {anneal_strategy!r}"
            )
        self.momentum_key = next((k for k in ("momentum", "betas") if k in groups[0]), None)
        if cycle_momentum and not (self.momentum_key and groups[0][self.momentum_key]):
            raise ValueError(
                f"[{self.name}] cycle_momentum: expected an optimizer with momentum, "
                f"got {optimizer.name}"
            )
        self.total_steps, self.cosine, self.cycle_momentum = (
            total_steps,
            anneal_strategy == "cos",
            cycle_momentum,
        )
        # (last step, rate there as a multiple of max_lr, momentum there), from the start on
        low, last = 1 / div_factor, 1 / div_factor / final_div_factor
        up = pct_start * total_steps - 1
        self.knots = [
            (0, low, max_momentum),
            (up, 1, base_momentum),
            (total_steps - 1, last, max_momentum),
        ]
        if three_phase:
            self.knots.insert(2, (2 * up, low, max_momentum))
        for group, rate in zip(groups, max_lrs, strict=True):
            group["initial_lr"] = rate
        super().__init__(optimizer)

    def apply(self, epoch):
        if epoch > self.total_steps:
            raise ValueError(
                f"[{self.name}] expected at most {self.total_steps} steps, got step {epoch}"
            )
        i = next(
            (i for i in range(1, len(self.knots)) if epoch <= self.knots[i][0]), len(self.knots) - 1
        )
        (start, *former), (end, *target) = self.knots[i - 1], self.knots[i]
        way = min(1.0, (epoch - start) / (end - start)) if end > start else 1.0
        way = (1 - math.cos(math.pi * way)) / 2 if self.cosine else way
        factor, momentum = (a + (b - a) * way for a, b in zip(former, target, strict=True))
        for group, rate in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = rate * factor
            if self.cycle_momentum:
                group[self.momentum_key] = (
                    momentum if self.momentum_key == "momentum" else (momentum, *group["betas"][1:])
                )


class ReduceLROnPlateau(Schedule):
    """lr *= factor when the metric given to `step` has not improved for more than `patience` steps.

    mode            "min" or "max": which way the metric improves
    threshold       how much counts as better
    threshold_mode  "rel", relative to the best so far, or "abs"
    cooldown        steps to wait after a reduction before counting again
    min_lr          one bound or one for each group; a reduction by less than eps is not made

    A NaN metric is never better. Raises ValueError for values out of range.
    """

    _saved = ("last_epoch", "best", "bad_epochs", "cooldown_counter", "rates")

    def __init__(
        self,
        optimizer,
        mode="min",
        factor=0.1,
        patience=10,
        threshold=1e-4,
        threshold_mode="rel",
        cooldown=0,
        min_lr=0.0,
        eps=1e-8,
    ):
        check_range(
            self.name,
            factor=(factor, lambda v: 0 < v < 1, "a number in (0, 1)"),
            patience=non_negative(patience),
            threshold=non_negative(threshold),
            cooldown=non_negative(cooldown),
            eps=non_negative(eps),
        )
        if mode not in ("min", "max"):
            raise ValueError(f"[{self.name}] mode: expected 'min' or 'max', got {mode!r}")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(
                f"[{self.name}] threshold_mode: expected 'rel' or 'abs', got {threshold_mode!r}"
            )
        groups = optimizer.param_groups
        self.min_lrs = list(min_lr) if isinstance(min_lr, (list, tuple)) else [min_lr] * len(groups)
        if len(self.min_lrs) != len(groups):
            raise ValueError(
                f"[{self.name}] min_lr: expected one or {len(groups)} numbers, "
                f"got {len(self.min_lrs)}"
            )
        self.sign = 1.0 if mode == "min" else -1.0
        self.factor, self.patience, self.cooldown, self.eps = factor, patience, cooldown, eps
        self.threshold, self.relative = threshold, threshold_mode == "rel"
        self.best = self.sign * math.inf
        self.bad_epochs = self.cooldown_counter = 0
        self.rates = [group["lr"] for group in groups]
        super().__init__(optimizer)

    def apply(self, epoch):
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate

    def step(self, metrics):
        """Tell the metric of an epoch: a number or a tensor of one element."""
        metric = float(metrics)
        self.last_epoch += 1
        if self._better(metric):
            self.best, self.bad_epochs = metric, 0
        else:
            self.bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.bad_epochs = 0
        self.rates = self.get_last_lr()
        if self.bad_epochs > self.patience:
            self.cooldown_counter, self.bad_epochs = self.cooldown, 0
            reduced = [
                max(r * self.factor, low) for r, low in zip(self.rates, self.min_lrs, strict=True)
            ]
            pairs = zip(self.rates, reduced, strict=True)
            self.rates = [new if old - new > self.eps else old for old, new in pairs]
            self.apply(self.last_epoch)

    def _better(self, metric):
        if self.relative and math.isfinite(self.best):
            bar = self.best * (1 - self.sign * self.threshold)
        else:
            bar = self.best - self.sign * (0 if self.relative else self.threshold)
        return self.sign * metric < self.sign * bar
