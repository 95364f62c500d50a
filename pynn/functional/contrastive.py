"""The contrastive loss: like vectors are drawn together, others pushed apart."""

from pynn.backend import array_module
from pynn.functional import reduce
from pynn.functional.activation import relu
from pynn.functional.distance import pairwise_distance
from pynn.functional.loss import one_of, pair
from pynn.tensor import Tensor


def contrastive_loss(x, y, target, margin=1.0, reduction="mean"):
    """d^2 / 2 for a pair that is alike (target 1), max(0, margin - d)^2 / 2 for others (target 0),
    d the distance of x and y.

    x, y    (..., C)  any float
    target  (...)     0 or 1, bools, integers or floats
    returns () or (...), f32 or wider; equal vectors have no gradient

    Raises ValueError for other targets, a negative margin or shapes that do not fit, TypeError for
    dtypes.
    Hadsell, Chopra, LeCun 2006, "Dimensionality reduction by learning an invariant mapping".
    """
    op = "contrastive_loss"
    one_of(op, reduction)
    x, y = pair(op, x, y, 1, "y")
    if not margin >= 0:
        raise ValueError(f"[{op}] margin: expected a number >= 0, got {margin}")
    d = pairwise_distance(x, y, eps=0.0)
    _, target = pair(op, d, target)
    alike = target.data.astype(d.dtype)
    wrong = (alike != 0) & (alike != 1)
    if wrong.any():
        got = float(alike[wrong].reshape(-1)[0])
        raise ValueError(f"[{op}] target: expected 0 or 1, got {got:g}")
    other = array_module(alike).asarray(1 - alike)
    near, far = d, relu(float(margin) - d)
    losses = 0.5 * (Tensor.wrap(alike) * near * near + Tensor.wrap(other) * far * far)
    if reduction == "none":
        return losses
    total = reduce.sum(losses)
    return total / max(1, losses.size) if reduction == "mean" else total
