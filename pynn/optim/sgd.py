"""SGD: stochastic gradient descent with momentum."""

from pynn.backend import native
from pynn.optim.optimizer import Optimizer, check_range, fraction, non_negative, positive


class SGD(Optimizer):
    """d = g + weight_decay p;  b = momentum b + (1 - dampening) d, at first b = d;  p -= lr b.

    Nesterov's form steps along d + momentum b instead of b (Sutskever et al. 2013, ICML). Without
    momentum p -= lr d.

    Raises ValueError for values out of range, and for `nesterov` without momentum or with
    dampening.
    """

    slots = ("momentum_buffer",)
    scratch = 2

    def __init__(
        self, params, lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False
    ):
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
        )

    def check(self, group):
        check_range(
            self.name,
            lr=positive(group["lr"]),
            momentum=non_negative(group["momentum"]),
            dampening=fraction(group["dampening"]),
            weight_decay=non_negative(group["weight_decay"]),
        )
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError(
                f"[{self.name}] nesterov: expected momentum > 0 and dampening = 0, "
                f"got {group['momentum']} and {group['dampening']}"
            )

    def active_slots(self, group):
        return self.slots if group["momentum"] else ()

    def scalars(self, group, step, first):
        lr, decay, momentum = (float(group[k]) for k in ("lr", "weight_decay", "momentum"))
        if not momentum:
            return lr, decay
        return lr, decay, momentum, 1.0 - group["dampening"], group["nesterov"], first

    def forward_native(self, grads, state, numbers, c):
        launch = native.sgd_step if len(c) == 2 else native.momentum_step
        launch(grads, state, [], numbers, *c)

    def update(self, xp, p, g, slots, t, c):
        lr, decay, *rest = c
        d, t = t[0], t[1]
        if decay:
            xp.multiply(p, decay, out=d)
            xp.add(g, d, out=d)
            g = d
        if slots:
            momentum, share, nesterov, first = rest
            b = slots[0]
            if first:
                b[...] = g
            else:
                xp.multiply(b, momentum, out=b)
                if share == 1:
                    xp.add(b, g, out=b)
                else:
                    xp.multiply(g, share, out=t)
                    xp.add(b, t, out=b)
            if nesterov:
                xp.multiply(b, momentum, out=t)
                xp.add(g, t, out=d)
                g = d
            else:
                g = b
        xp.multiply(g, lr, out=t)
        xp.subtract(p, t, out=p)
