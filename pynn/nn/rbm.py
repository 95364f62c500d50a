"""The restricted Boltzmann machine, trained by contrastive divergence."""

import math

import pynn.functional as F
from pynn import random
from pynn.autograd import no_grad
from pynn.backend import array_module
from pynn.nn import init
from pynn.nn.linear import check_sizes, empty
from pynn.nn.module import Module
from pynn.tensor import Tensor


class RBM(Module):
    """p(v, h) ~ exp(v^T b + h^T c + h^T W v) for binary units, without edges inside a layer.

    weight (num_hidden, num_visible) normal with std 0.01, visible_bias b, hidden_bias c: 0
    v      (..., num_visible)  in [0, 1]: bits, or probabilities of them

    A step of training, by any optimizer; `chain` is given back only for persistent chains:

        loss, chain = rbm.contrastive_divergence(v, k=1)
        loss.backward()

    Its output is p(h = 1 | v), so that machines stack in a Sequential, which is a deep belief net.
    Draws come from pynn's stream.
    Smolensky 1986; Hinton 2002, "Training products of experts"; Tieleman 2008 (persistent chains).
    """

    shown = ("num_visible", "num_hidden")

    def __init__(self, num_visible, num_hidden):
        super().__init__()
        check_sizes("RBM", num_visible=num_visible, num_hidden=num_hidden)
        self.num_visible, self.num_hidden = num_visible, num_hidden
        self.weight = empty(num_hidden, num_visible)
        self.visible_bias, self.hidden_bias = empty(num_visible), empty(num_hidden)
        self.reset_parameters()

    def reset_parameters(self):
        """Draw initial values again."""
        init.normal_(self.weight, std=0.01)
        init.zeros_(self.visible_bias)
        init.zeros_(self.hidden_bias)

    def forward(self, v):
        return self.hidden_probabilities(v)

    def hidden_probabilities(self, v):
        """p(h = 1 | v) = sigmoid(W v + c), (..., num_hidden)."""
        self.check("v", v, self.num_visible)
        return F.sigmoid(F.linear(v, self.weight, self.hidden_bias))

    def visible_probabilities(self, h):
        """p(v = 1 | h) = sigmoid(W^T h + b), (..., num_visible)."""
        self.check("h", h, self.num_hidden)
        return F.sigmoid(F.matmul(h, self.weight) + self.visible_bias)

    def free_energy(self, v):
        """-log sum over h of exp(-E(v, h)), (...):  -v^T b - sum of log(1 + e^(W v + c))."""
        self.check("v", v, self.num_visible)
        rest = F.softplus(F.linear(v, self.weight, self.hidden_bias)).sum(-1)
        return -(v * self.visible_bias).sum(-1) - rest

    @no_grad()
    def gibbs(self, v, steps=1):
        """Bits v after that many rounds of drawing h from v and v from h; without a graph."""
        check_sizes("RBM", steps=steps)
        for _ in range(steps):
            h = bernoulli(self.hidden_probabilities(v))
            v = bernoulli(self.visible_probabilities(h))
        return v

    def contrastive_divergence(self, v, k=1, chain=None):
        """(loss, v_k): the mean free energy of v minus that of v_k, k rounds of Gibbs sampling from
        v, or from `chain`, the v_k of the step before (persistent chains).

        The loss's gradient is CD-k: statistics of the model minus those of the data. The loss is no
        measure of progress: the error of `reconstruct` is one.

        Raises ValueError unless v is in [0, 1].
        """
        wrong = ~((v.data >= 0) & (v.data <= 1))
        if wrong.any():
            raise ValueError(f"[RBM] v: expected numbers in [0, 1], got {float(v.data[wrong][0])}")
        sampled = self.gibbs(v.detach() if chain is None else chain.detach(), k)
        return self.free_energy(v).mean() - self.free_energy(sampled).mean(), sampled

    @no_grad()
    def reconstruct(self, v):
        """p(v = 1 | h) for the mean h of v; without a graph."""
        return self.visible_probabilities(self.hidden_probabilities(v))

    @no_grad()
    def sample(self, count, steps=100):
        """(probabilities of) `count` fantasies, (count, num_visible), `steps` rounds from noise."""
        xp, dtype = array_module(self.weight.data), self.weight.dtype
        noise = Tensor.wrap(xp.full((count, self.num_visible), 0.5, dtype))
        h = bernoulli(self.hidden_probabilities(self.gibbs(bernoulli(noise), steps)))
        return self.visible_probabilities(h)

    def check(self, name, x, width):
        if not x.ndim or x.shape[-1] != width:
            raise ValueError(f"[RBM] {name}: expected shape (..., {width}), got {x.shape}")


def bernoulli(p):
    """Bits that are 1 with probability p, in p's dtype, without a graph."""
    xp, count = array_module(p.data), math.prod(p.shape)
    numbers = random.uniform(*random.reserve(count), count, xp).reshape(p.shape)
    return Tensor.wrap((numbers < p.data).astype(p.dtype))
