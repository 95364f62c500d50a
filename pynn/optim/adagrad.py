"""Adagrad: a step size for each element, from the sum of its squared gradients."""

from pynn.backend import native
from pynn.optim.optimizer import Optimizer, check_range, non_negative, positive


class Adagrad(Optimizer):
    """d = g + weight_decay p;  s += d^2;  p -= lr_t d / (sqrt(s) + eps),  t = 1, 2, ...

    lr_t = lr / (1 + (t - 1) lr_decay), and s starts at initial_accumulator_value.

    Duchi, Hazan, Singer 2011, JMLR 12.

    Raises ValueError for values out of range.
    """

    slots = ("sum",)
    scratch = 2

    def __init__(
        self,
        params,
        lr=1e-2,
        lr_decay=0.0,
        weight_decay=0.0,
        initial_accumulator_value=0.0,
        eps=1e-10,
    ):
        super().__init__(
            params,
            lr=lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
        )

    def check(self, group):
        check_range(
            self.name,
            lr=positive(group["lr"]),
            lr_decay=non_negative(group["lr_decay"]),
            weight_decay=non_negative(group["weight_decay"]),
            initial_accumulator_value=non_negative(group["initial_accumulator_value"]),
            eps=non_negative(group["eps"]),
        )

    def new_slot(self, name, group, like):
        like.fill(group["initial_accumulator_value"])
        return like

    def scalars(self, group, step, first):
        lr = group["lr"] / (1 + (step - 1) * group["lr_decay"])
        return float(lr), float(group["weight_decay"]), float(group["eps"])

    def forward_native(self, grads, state, numbers, c):
        native.adagrad_step(grads, state, [], numbers, *c)

    def update(self, xp, p, g, slots, t, c):
        lr, decay, eps = c
        (s,), d, t = slots, t[0], t[1]
        if decay:
            xp.multiply(p, decay, out=d)
            xp.add(g, d, out=d)
            g = d
        xp.multiply(g, g, out=t)
        xp.add(s, t, out=s)
        xp.sqrt(s, out=t)
        xp.add(t, eps, out=t)
        xp.divide(g, t, out=t)
        xp.multiply(t, lr, out=t)
        xp.subtract(p, t, out=p)
