"""RMSprop: a step size for each element, from a running mean of its squared gradient."""

from pynn.backend import native
from pynn.optim.optimizer import Optimizer, check_range, fraction, non_negative, positive


class RMSprop(Optimizer):
    """d = g + weight_decay p;  v = alpha v + (1 - alpha) d^2;  p -= lr d / (sqrt(v) + eps).

    centered   sqrt(v - m^2) instead of sqrt(v), m = alpha m + (1 - alpha) d: Graves 2013,
               arXiv:1308.0850
    momentum   b = momentum b + d / (...), and p -= lr b

    Tieleman, Hinton 2012, lecture 6.5. Raises ValueError for values out of range.
    """

    slots = ("square_avg", "momentum_buffer", "grad_avg")
    scratch = 2

    def __init__(
        self, params, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False
    ):
        super().__init__(
            params,
            lr=lr,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            momentum=momentum,
            centered=centered,
        )

    def check(self, group):
        check_range(
            self.name,
            lr=positive(group["lr"]),
            alpha=fraction(group["alpha"]),
            eps=non_negative(group["eps"]),
            weight_decay=non_negative(group["weight_decay"]),
            momentum=non_negative(group["momentum"]),
        )

    def active_slots(self, group):
        names = ["square_avg"]
        if group["momentum"]:
            names.append("momentum_buffer")
        if group["centered"]:
            names.append("grad_avg")
        return names

    def scalars(self, group, step, first):
        names = ("lr", "alpha", "eps", "weight_decay", "momentum")
        return (*(float(group[name]) for name in names), group["centered"])

    def forward_native(self, grads, state, numbers, c):
        native.rmsprop_step(grads, state, [], numbers, *c)

    def update(self, xp, p, g, slots, t, c):
        lr, alpha, eps, decay, momentum, centered = c
        v, d, t = slots[0], t[0], t[1]
        if decay:
            xp.multiply(p, decay, out=d)
            xp.add(g, d, out=d)
            g = d
        xp.multiply(g, g, out=t)
        xp.multiply(t, 1 - alpha, out=t)
        xp.multiply(v, alpha, out=v)
        xp.add(v, t, out=v)
        if centered:
            m = slots[-1]
            xp.subtract(g, m, out=t)
            xp.multiply(t, 1 - alpha, out=t)
            xp.add(m, t, out=m)
            xp.multiply(m, m, out=t)
            xp.subtract(v, t, out=t)
            xp.maximum(t, 0, out=t)  # rounding may leave it a little below
            xp.sqrt(t, out=t)
        else:
            xp.sqrt(v, out=t)
        xp.add(t, eps, out=t)
        xp.divide(g, t, out=t)
        if momentum:
            b = slots[1]
            xp.multiply(b, momentum, out=b)
            xp.add(b, t, out=b)
            xp.multiply(b, lr, out=t)
        else:
            xp.multiply(t, lr, out=t)
        xp.subtract(p, t, out=p)
