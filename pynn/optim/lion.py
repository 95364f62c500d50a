"""Lion: the sign of an interpolated momentum."""

from pynn.backend import native
from pynn.optim.adam import check_betas
from pynn.optim.optimizer import Optimizer, check_range, non_negative, positive

_TINY = 2.0**-126  # the smallest normal float32


class Lion(Optimizer):
    """p -= lr (sign(beta1 m + (1 - beta1) g) + weight_decay p);  then m = beta2 m + (1 - beta2) g.

    Every element moves by lr, so lr is 3 to 10 times smaller than with AdamW, and weight_decay as
    much larger. The sign is u / max(|u|, 2^-126), which leaves 0 at 0 and makes inf NaN.

    Chen et al. 2023, arXiv:2302.06675. Raises ValueError for values out of range.
    """

    slots = ("exp_avg",)
    scratch = 2

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, lr=lr, betas=betas, weight_decay=weight_decay)

    def check(self, group):
        check_betas(self.name, group["betas"])
        check_range(
            self.name, lr=positive(group["lr"]), weight_decay=non_negative(group["weight_decay"])
        )

    def scalars(self, group, step, first):
        beta1, beta2 = map(float, group["betas"])
        lr = float(group["lr"])
        return beta1, beta2, lr, 1 - lr * float(group["weight_decay"])

    def forward_native(self, grads, state, numbers, c):
        native.lion_step(grads, state, [], numbers, *c)

    def update(self, xp, p, g, slots, t, c):
        beta1, beta2, lr, shrink = c
        (m,), direction, t = slots, t[0], t[1]
        xp.multiply(m, beta1, out=direction)
        xp.multiply(g, 1 - beta1, out=t)
        xp.add(direction, t, out=direction)
        xp.abs(direction, out=t)  # u / |u|: np.sign branches on each element and is 5 times slower
        xp.maximum(t, _TINY, out=t)
        xp.divide(direction, t, out=direction)
        xp.multiply(m, beta2, out=m)
        xp.multiply(g, 1 - beta2, out=t)
        xp.add(m, t, out=m)
        if shrink != 1:
            xp.multiply(p, shrink, out=p)
        xp.multiply(direction, lr, out=t)
        xp.subtract(p, t, out=p)
