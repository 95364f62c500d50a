"""Losses between two tensors of one shape, elementwise, then reduced.

    reduction  "mean" over all elements (0 over none, where PyTorch gives NaN), "sum", or "none"

A loss is float32, or float64 if an operand is; float16 and bfloat16 are widened first and totals
are added in float64. Losses of classes stand in cross_entropy.py, of vectors in distance.py; the
kernels are called in loss_kernels.py.

Over 400 lines because eleven losses share the two classes they are built on.
"""

import numpy as np

from pynn import dtypes
from pynn.backend import array_module, device_of, widen
from pynn.functional.activation import float_input
from pynn.functional.loss_kernels import ByKernels
from pynn.tensor import Tensor

quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore")


class Loss(ByKernels):
    """y = reduced value(x, t);  dx = dy slope of it, divided by n for the mean.

    Subclasses give `value(xp, x, t)` and `slopes(xp, x, t)`, the derivatives by x and by t, of
    which those not in `self.needs` may be None; and `kernel`, with what its formula needs.
    """

    def __init__(self, reduction):
        self.reduction = reduction

    @quiet
    def forward(self, x, t):
        self.x, self.t = x, t
        self.refuse(*self.widened())
        return self.reduce(self.value(array_module(x), *self.widened()))

    def refuse(self, x, t):
        """Raise ValueError if the loss has no value there."""

    @quiet
    def backward(self, dy):
        dy = self.spread(dy)
        slopes = self.slopes(array_module(self.x), *self.widened())
        return tuple(
            (slope * dy).astype(a.dtype, copy=False) if need else None
            for slope, a, need in zip(slopes, (self.x, self.t), self.needs, strict=True)
        )

    def widened(self):
        """x and t in float32 or wider; integer targets in x's dtype."""
        x, t = widen(self.x), self.t
        return x, widen(t) if t.dtype in dtypes.FLOATS else t.astype(x.dtype)

    def reduce(self, values):
        """The values as they are, their sum or their mean, added in float64."""
        if self.reduction == "none":
            return values
        total = values.sum(dtype=np.float64)
        return (total / self.count(values)).astype(values.dtype)

    def count(self, values):
        """What the total is divided by."""
        self.divisor = max(1, values.size) if self.reduction == "mean" else 1
        return self.divisor

    def spread(self, dy):
        """The gradient of each element's value."""
        return widen(dy) if self.reduction == "none" else widen(dy) / self.divisor


class _OfDifference(Loss):
    """A loss of d = x - t:  `value(xp, d)` and `slope(xp, d)`;  dt = -dx."""

    @quiet
    def forward(self, x, t):
        self.x, self.t = x, t
        x, t = self.widened()
        xp, d = array_module(x), x - t
        y = self.reduce(self.value(xp, d))
        if d.dtype == np.float32 and not xp.isfinite(y).all():  # a mean of squares may be finite
            y = self.reduce(self.value(xp, d.astype(np.float64))).astype(np.float32)
        return y

    @quiet
    def backward(self, dy):
        x, t = self.widened()
        dx = self.slope(array_module(x), x - t) * self.spread(dy)
        need_x, need_t = self.needs
        return (
            dx.astype(self.x.dtype, copy=False) if need_x else None,
            (-dx).astype(self.t.dtype, copy=False) if need_t else None,
        )


class MseLoss(_OfDifference):
    """d^2, slope 2 d."""

    kernel = "mse"

    def value(self, xp, d):
        return d * d

    def slope(self, xp, d):
        return d + d


class L1Loss(_OfDifference):
    """|d|, slope sign d, 0 at 0."""

    kernel = "l1"

    def value(self, xp, d):
        return xp.abs(d)

    def slope(self, xp, d):
        return xp.sign(d)


class HuberLoss(_OfDifference):
    """d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2), both times `scale`;
    slope d limited to [-delta, delta].  Huber 1964, "Robust estimation of a location parameter".
    """

    kernel = "huber"

    def __init__(self, delta, scale, reduction):
        self.delta, self.scale, self.reduction = delta, scale, reduction
        self.parameter = delta

    def value(self, xp, d):
        size = xp.abs(d)
        near = xp.minimum(size, self.delta)
        return self.scale * near * (size - 0.5 * near)

    def slope(self, xp, d):
        return self.scale * xp.clip(d, -self.delta, self.delta)


class ArctanLoss(_OfDifference):
    """arctan(d^2), slope 2 d / (1 + d^4)."""

    kernel = "arctan"

    def value(self, xp, d):
        return xp.arctan(d * d)

    def slope(self, xp, d):
        d = xp.clip(d, -1e30, 1e30)  # infinity over infinity would be NaN of a limit that is 0
        square = d * d
        return 2 * d / (1 + square * square)


class RmseLoss(Loss):
    """y = sqrt(mean d^2), d = x - t;  dx = dy d / (n y), 0 where y = 0;  dt = -dx.

    d is divided by its greatest element before it is squared, so the squares cannot overflow.
    """

    kernel = "rmse"
    y = None

    def __init__(self):
        super().__init__("mean")

    @quiet
    def forward(self, x, t):
        xp = array_module(x)
        self.x, self.t = x, t
        d = self.difference()
        scale = safe_scale(xp, xp.abs(d).max() if d.size else d.sum())
        scaled = d / scale
        mean = (scaled * scaled).sum(dtype=np.float64) / self.count(d)
        self.y = (xp.sqrt(mean) * scale).astype(d.dtype)
        return self.y

    @quiet
    def backward(self, dy):
        xp, d = array_module(self.x), self.difference()
        y = xp.where(self.y == 0, 1, self.y).astype(d.dtype)
        dx = d / y * self.spread(dy)
        need_x, need_t = self.needs
        return (
            dx.astype(self.x.dtype, copy=False) if need_x else None,
            (-dx).astype(self.t.dtype, copy=False) if need_t else None,
        )

    def difference(self):
        x, t = self.widened()
        return x - t

    def forward_native(self, x, t):
        self.y = super().forward_native(x, t)
        return self.y

    def extra(self):
        """The result, by which the gradient divides."""
        return super().extra() if self.y is None else np.reshape(self.y, 1)


def safe_scale(xp, peak):
    """The peak, or 1 where it is 0, infinite or NaN: what to divide by before squaring."""
    return xp.where((peak > 0) & (peak < np.inf), peak, 1).astype(peak.dtype, copy=False)


class _Weighted(Loss):
    """A loss times constants that broadcast against it."""

    def __init__(self, reduction, weight=None):
        self.reduction, self.weight = reduction, weight

    def weighted(self, values):
        if values is None or self.weight is None:
            return values
        return values * self.weight.astype(values.dtype, copy=False)


class BinaryCrossEntropy(_Weighted):
    """-w (t log x + (1 - t) log(1 - x)), logarithms no less than -100;
    dx = dy w (x - t) / max(x (1 - x), 1e-12),  dt = dy w (log(1 - x) - log x).
    """

    kernel = "bce"

    def refuse(self, x, t):
        outside = (x < 0) | (x > 1)
        if outside.any():
            raise ValueError(
                "[binary_cross_entropy] x: expected probabilities in [0, 1], "
                f"got {x[outside].reshape(-1)[0]}"
            )

    def value(self, xp, x, t):
        yes, no = self.logs(xp, x)
        return self.weighted(-(t * yes + (1 - t) * no))

    def slopes(self, xp, x, t):
        yes, no = self.logs(xp, x)
        return (
            self.weighted((x - t) / xp.maximum(x * (1 - x), 1e-12)),
            self.weighted(no - yes) if self.needs[1] else None,
        )

    def logs(self, xp, x):
        return xp.maximum(xp.log(x), -100), xp.maximum(xp.log1p(-x), -100)


class BinaryCrossEntropyWithLogits(_Weighted):
    """w ((1 - t) x + k log(1 + e^-x)),  k = 1 + (pos_weight - 1) t: the cross entropy of the
    sigmoid, without its overflow.  dx = dy w (1 - t - k / (1 + e^x)),
    dt = dy w ((pos_weight - 1) log(1 + e^-x) - x).
    """

    kernel = "bce_logits"

    def __init__(self, reduction, weight=None, pos_weight=None):
        super().__init__(reduction, weight)
        self.pos_weight = pos_weight

    def value(self, xp, x, t):
        x = self.finite(xp, x)
        return self.weighted((1 - t) * x + (1 + self.surplus(x) * t) * self.softplus(xp, x))

    def slopes(self, xp, x, t):
        x = self.finite(xp, x)
        e = xp.exp(-xp.abs(x))
        rest = xp.where(x >= 0, e, 1) / (1 + e)  # 1 - sigmoid(x)
        dt = None
        if self.needs[1]:
            dt = self.weighted(self.surplus(x) * self.softplus(xp, x) - x)
        return self.weighted((1 - t) - (1 + self.surplus(x) * t) * rest), dt

    def surplus(self, x):
        """pos_weight - 1."""
        return 0 if self.pos_weight is None else self.pos_weight.astype(x.dtype, copy=False) - 1

    def finite(self, xp, x):
        """Infinities as the greatest number: 0 times infinity would be NaN of a limit that is 0."""
        limit = float(np.finfo(x.dtype).max)
        return xp.clip(x, -limit, limit)

    def extra(self):
        return self.filled(self.pos_weight)

    def softplus(self, xp, x):
        """log(1 + e^-x)."""
        return xp.maximum(-x, 0) + xp.log1p(xp.exp(-xp.abs(x)))


class KlDiv(Loss):
    """t (log t - x), 0 where t = 0;  dx = -dy t,  dt = dy (log t + 1 - x)."""

    kernel = "kl"

    def __init__(self, reduction):
        super().__init__(reduction)
        self.batch = reduction == "batchmean"

    def count(self, values):
        if not self.batch:
            return super().count(values)
        self.divisor = max(1, values.shape[0]) if values.ndim else 1
        return self.divisor

    def value(self, xp, x, t):
        return xp.where(t == 0, 0, t * (xp.log(t) - x)).astype(x.dtype, copy=False)

    def slopes(self, xp, x, t):
        return -t, xp.where(t == 0, 0, xp.log(t) + 1 - x)


class KlDivLog(KlDiv):
    """e^t (t - x), 0 where t = -inf;  dx = -dy e^t,  dt = dy e^t (t - x + 1)."""

    kernel = "kl_log"

    def value(self, xp, x, t):
        return xp.where(xp.isneginf(t), 0, xp.exp(t) * (t - x)).astype(x.dtype, copy=False)

    def slopes(self, xp, x, t):
        p = xp.exp(t)
        return -p, xp.where(xp.isneginf(t), 0, p * (t - x + 1))


class HingeLoss(Loss):
    """max(0, 1 - t x), t -1 or 1;  dx = -dy t where t x < 1."""

    kernel = "hinge"

    def refuse(self, x, t):
        wrong = array_module(t).abs(t) != 1
        if wrong.any():
            raise ValueError(
                f"[hinge_loss] target: expected -1 or 1, got {t[wrong].reshape(-1)[0]}"
            )

    def value(self, xp, x, t):
        return xp.maximum(1 - t * x, 0)

    def slopes(self, xp, x, t):
        flat = 1 - t * x <= 0
        return xp.where(flat, 0, -t), xp.where(flat, 0, -x) if self.needs[1] else None


# ------------------------------------------------------------------ public functions


def mse_loss(x, target, reduction="mean"):
    """Squared error, (x - target)^2.

    x, target  one shape, floats; the target may be integers
    returns    () or x's shape, f32 or wider

    Raises ValueError if the shapes differ (nothing is broadcast), TypeError unless x is a float.
    """
    return MseLoss(one_of("mse_loss", reduction))(*pair("mse_loss", x, target))


def rmse_loss(x, target):
    """Root of the mean squared error, sqrt(mean((x - target)^2)); its gradient is 0 where it is 0.

    x, target  one shape, floats; the target may be integers
    returns    (), f32 or wider; finite wherever the result is, values of 1e30 included

    Raises ValueError if the shapes differ, TypeError unless x is a float.
    """
    return RmseLoss()(*pair("rmse_loss", x, target))


def l1_loss(x, target, reduction="mean"):
    """Absolute error, |x - target|; its gradient is 0 where they are equal.

    Arguments as mse_loss.
    """
    return L1Loss(one_of("l1_loss", reduction))(*pair("l1_loss", x, target))


def huber_loss(x, target, reduction="mean", delta=1.0):
    """d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2), with d = x - target.

    Arguments as mse_loss. Raises ValueError unless delta > 0.
    Huber 1964, "Robust estimation of a location parameter".
    """
    if not delta > 0:
        raise ValueError(f"[huber_loss] delta: expected a positive number, got {delta}")
    op = HuberLoss(float(delta), 1.0, one_of("huber_loss", reduction))
    return op(*pair("huber_loss", x, target))


def smooth_l1_loss(x, target, reduction="mean", beta=1.0):
    """d^2 / (2 beta) where |d| < beta, else |d| - beta / 2, with d = x - target; |d| for beta = 0.

    Arguments as mse_loss. Raises ValueError unless beta >= 0.  Girshick 2015, arXiv:1504.08083.
    """
    if not beta >= 0:
        raise ValueError(f"[smooth_l1_loss] beta: expected a number >= 0, got {beta}")
    one_of("smooth_l1_loss", reduction)
    op = HuberLoss(float(beta), 1 / beta, reduction) if beta else L1Loss(reduction)
    return op(*pair("smooth_l1_loss", x, target))


def arctan_loss(x, target, reduction="mean"):
    """arctan((x - target)^2): squared error near 0, and bounded by pi/2, so that an outlier weighs
    no more than that and its gradient, 2 d / (1 + d^4), vanishes.

    Arguments as mse_loss.
    """
    return ArctanLoss(one_of("arctan_loss", reduction))(*pair("arctan_loss", x, target))


def binary_cross_entropy(x, target, weight=None, reduction="mean"):
    """-(target log x + (1 - target) log(1 - x)) of probabilities, logarithms no less than -100.

    x       any shape  probabilities in [0, 1]
    target  x's shape  in [0, 1], a float, integers or bool
    weight  broadcasts against x, constant; or None
    returns () or x's shape, f32 or wider

    Raises ValueError for an x outside [0, 1] or shapes that do not fit, TypeError for dtypes.
    """
    op = "binary_cross_entropy"
    x, target = pair(op, x, target)
    weight = _constant(op, "weight", weight, x)
    return BinaryCrossEntropy(one_of(op, reduction), weight)(x, target)


def binary_cross_entropy_with_logits(x, target, weight=None, reduction="mean", pos_weight=None):
    """Binary cross entropy of sigmoid(x), without overflow for any x.

    x           any shape  logits
    target      x's shape  in [0, 1], a float, integers or bool
    weight      broadcasts against x, constant; or None
    pos_weight  broadcasts against x, constant: the weight of target 1; or None
    returns () or x's shape, f32 or wider

    Raises ValueError for shapes that do not fit, TypeError for dtypes.
    """
    op = "binary_cross_entropy_with_logits"
    x, target = pair(op, x, target)
    weight, pos_weight = (
        _constant(op, name, value, x)
        for name, value in (("weight", weight), ("pos_weight", pos_weight))
    )
    return BinaryCrossEntropyWithLogits(one_of(op, reduction), weight, pos_weight)(x, target)


def kl_div(x, target, reduction="mean", log_target=False):
    """Kullback-Leibler divergence, target (log target - x); 0 where the target is 0.

    x           any shape  log-probabilities
    target      x's shape  probabilities, or their logarithms if log_target
    reduction   "batchmean" too: the sum over the length of the first axis, the mathematical value;
                "mean" divides by the number of elements, as PyTorch's does
    returns () or x's shape, f32 or wider

    Raises ValueError if the shapes differ, TypeError for dtypes.
    """
    one_of("kl_div", reduction, ("mean", "sum", "none", "batchmean"))
    return (KlDivLog if log_target else KlDiv)(reduction)(*pair("kl_div", x, target))


def hinge_loss(x, target, reduction="mean"):
    """max(0, 1 - target x), the loss of support vector machines.

    x       any shape  scores
    target  x's shape  -1 or 1, a float or integers
    returns () or x's shape, f32 or wider

    Raises ValueError for other targets, 0 among them, or if the shapes differ, TypeError for
    dtypes.
    Cortes and Vapnik 1995, "Support-vector networks".
    """
    return HingeLoss(one_of("hinge_loss", reduction))(*pair("hinge_loss", x, target))


# ------------------------------------------------------------------ arguments


def one_of(op, reduction, allowed=("mean", "sum", "none")):
    if reduction not in allowed:
        raise ValueError(f"[{op}] reduction: expected one of {allowed}, got {reduction!r}")
    return reduction


def pair(op, x, target, ndim=0, name="target"):
    """x and target, or what errors call it, as tensors of one shape on one device, x of a float
    dtype.
    """
    float_input(op, x)
    if not isinstance(target, Tensor):
        target = Tensor(target, device=x.device)
    if target.shape != x.shape:
        raise ValueError(f"[{op}] {name}: expected x's shape {x.shape}, got {target.shape}")
    if x.ndim < ndim:
        raise ValueError(f"[{op}] x: expected at least {ndim} axis, got shape {x.shape}")
    if target.device != x.device:
        raise ValueError(f"[{op}] {name}: expected x's device {x.device}, got {target.device}")
    return x, target


def _constant(op, name, value, x):
    """The raw array of a weight that broadcasts against x, or None."""
    if value is None:
        return None
    value = (value if isinstance(value, Tensor) else Tensor(value, device=x.device)).data
    if device_of(value) != x.device:
        raise ValueError(f"[{op}] {name}: expected device {x.device}, got {device_of(value)}")
    try:
        fits = np.broadcast_shapes(value.shape, x.shape) == x.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"[{op}] {name}: expected a shape that broadcasts to {x.shape}, got {value.shape}"
        )
    return value
