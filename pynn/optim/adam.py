"""Adam and AdamW: running means of the gradient and of its square."""

import math

from pynn.backend import native
from pynn.optim.optimizer import Optimizer, check_range, fraction, non_negative, positive


class Adam(Optimizer):
    """d = g + weight_decay p;  m = beta1 m + (1 - beta1) d;  v = beta2 v + (1 - beta2) d^2;

        p -= lr / (1 - beta1^t)  m / (sqrt(v / (1 - beta2^t)) + eps),   t = 1, 2, ...

    amsgrad takes the largest v so far instead of v (Reddi et al. 2018, arXiv:1904.09237).

    Kingma, Ba 2014, arXiv:1412.6980. Raises ValueError for values out of range.
    """

    slots = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    scratch = 2
    decoupled = False  # whether weight decay shrinks p itself instead of joining the gradient

    def __init__(
        self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False
    ):
        super().__init__(
            params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad
        )

    def check(self, group):
        check_betas(self.name, group["betas"])
        check_range(
            self.name,
            lr=positive(group["lr"]),
            eps=non_negative(group["eps"]),
            weight_decay=non_negative(group["weight_decay"]),
        )

    def active_slots(self, group):
        return self.slots if group["amsgrad"] else self.slots[:2]

    def scalars(self, group, step, first):
        beta1, beta2 = map(float, group["betas"])
        lr, decay = float(group["lr"]), float(group["weight_decay"])
        root = math.sqrt(1 - beta2**step)
        # m / (sqrt(v) / root + eps) = root m / (sqrt(v) + root eps): one pass less
        return (
            beta1,
            beta2,
            lr / (1 - beta1**step) * root,
            root * float(group["eps"]),
            0.0 if self.decoupled else decay,
            1 - lr * decay if self.decoupled else 1.0,
        )

    def forward_native(self, grads, state, numbers, c):
        slots = len(state) // len(grads) - 1 - (grads[0].dtype.itemsize == 2)
        launch = native.adam_step if slots == 2 else native.amsgrad_step
        launch(grads, state, [], numbers, *c)

    def update(self, xp, p, g, slots, t, c):
        beta1, beta2, size, eps, decay, shrink = c
        m, v, d, t = slots[0], slots[1], t[0], t[1]
        if shrink != 1:
            xp.multiply(p, shrink, out=p)
        if decay:
            xp.multiply(p, decay, out=d)
            xp.add(g, d, out=d)
            g = d
        xp.multiply(g, 1 - beta1, out=t)
        xp.multiply(m, beta1, out=m)
        xp.add(m, t, out=m)
        xp.multiply(g, g, out=t)
        xp.multiply(t, 1 - beta2, out=t)
        xp.multiply(v, beta2, out=v)
        xp.add(v, t, out=v)
        if len(slots) > 2:
            v = xp.maximum(slots[2], v, out=slots[2])
        xp.sqrt(v, out=t)
        xp.add(t, eps, out=t)
        xp.divide(m, t, out=t)
        xp.multiply(t, size, out=t)
        xp.subtract(p, t, out=p)


class AdamW(Adam):
    """Adam with decoupled weight decay: p *= 1 - lr weight_decay before the step, and d = g.

    Loshchilov, Hutter 2017, arXiv:1711.05101.
    """

    decoupled = True

    def __init__(
        self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False
    ):
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad)


def check_betas(rule, betas):
    """Raise ValueError unless betas are two numbers in [0, 1)."""
    if not isinstance(betas, (tuple, list)) or len(betas) != 2:
        raise ValueError(f"[{rule}] betas: expected two numbers, got {betas!r}")
    check_range(rule, **{f"betas[{i}]": fraction(beta) for i, beta in enumerate(betas)})
