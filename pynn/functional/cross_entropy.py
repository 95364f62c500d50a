"""Losses of classes, which stand on the last axis (channels last): logits (..., C), labels (...).

A loss is float32, or float64 for float64 logits. The mean over no rows, because there are none or
all are ignored, is 0 with zero gradients, where PyTorch gives NaN. A row of logits that are all
-inf loses +inf and has no gradient, so nothing becomes NaN through it.

Over 400 lines: four losses of classes, and what their labels must be.
"""

import numpy as np

from pynn import dtypes
from pynn.autograd import Function
from pynn.backend import array_module, device_of, native, widen
from pynn.functional.activation import float_input
from pynn.functional.arithmetic import operands
from pynn.functional.embedding import integers
from pynn.functional.linear import as_rows
from pynn.functional.loss import one_of, quiet
from pynn.tensor import Tensor


class _OfRows(Function):
    """A loss for each row of x (R, C), reduced; the mean is over the rows' weights."""

    def reduce(self, losses, weights=None):
        """The losses in the labels' shape, their sum, or the sum over that of the weights."""
        self.divisor = 1.0
        if self.reduction == "none":
            return losses.reshape(self.shape[:-1])
        if self.reduction == "mean":
            self.divisor = losses.size if weights is None else weights.sum(dtype=np.float64)
            self.divisor = float(self.divisor) or 1.0  # no rows: 0 / 1
        return (losses.sum(dtype=np.float64) / self.divisor).astype(losses.dtype)

    def reduce_native(self, losses):
        """As `reduce`, of float32 losses that count alike."""
        xp, self.divisor = array_module(losses), 1.0
        if self.reduction == "none":
            return losses.reshape(self.shape[:-1])
        if self.reduction == "mean":
            self.divisor = float(losses.size) or 1.0
        y, workspace = xp.empty((1, 1), np.float32), xp.empty(losses.size // 16, np.float32)
        native.sum_fwd(losses.reshape(1, -1, 1), y, workspace, self.divisor)
        return y.reshape(())

    def weight_native(self, xp):
        """The classes' weights in float32, empty where there are none."""
        if self.weight is None:
            return xp.empty(0, np.float32)
        return xp.ascontiguousarray(self.weight, np.float32)

    def spread(self, dy, rows):
        """The gradient of each row's loss, (R,) or a number."""
        return widen(dy).reshape(rows) if self.reduction == "none" else widen(dy) / self.divisor

    def below_max(self, x):
        """x (R, C) minus its rows' max, which is kept; a row of -inf stays so."""
        xp = array_module(x)
        peak = x.max(axis=1)
        self.max = xp.where(xp.isneginf(peak), 0, peak).astype(x.dtype, copy=False)
        return x - self.max[:, None]


class CrossEntropy(_OfRows):
    """y = -sum_c q_c log softmax(x)_c,  q = (1 - s) w_t onehot(t) + s / C w, in one pass of rows.

    t the label, w the class weights (1), s the label smoothing; dx = dy (softmax(x) sum q - q).
    The mean divides by the sum of w_t. Rows with label ignore_index count for nothing.
    For the backward are kept x, each row's max and its sum of e^(x - max).

    The kernel that makes the loss writes dx for dy = 1, too, where x needs a gradient, and the
    backward multiplies it by dy, which is mostly 1 and then costs nothing. Not in float16: there
    a gradient without the loss's scale may be below the least number.
    """

    at = None  # labels of the rows, weights and stats are made when a method needs them
    stats = None
    dx = None  # what the forward wrote, until a backward takes it

    def __init__(self, labels, weight, ignore_index, smoothing, reduction):
        self.labels, self.weight, self.ignore_index = labels, weight, ignore_index
        self.smoothing, self.reduction = smoothing, reduction

    def look_up(self, C, dtype):
        """The label of each row, which rows count, and their weights."""
        self.at, self.kept = usable_labels("cross_entropy", self.labels, C, self.ignore_index)
        self.weights = row_weights(self.weight, self.at, self.kept, dtype)

    @quiet
    def forward(self, x):
        xp = array_module(x)
        self.x, self.shape = x, x.shape
        e = self.below_max(as_rows(widen(x)))
        R, C = e.shape
        w = self.weight = None if self.weight is None else self.weight.astype(e.dtype, copy=False)
        self.look_up(C, e.dtype)
        picked = e[xp.arange(R), self.at]
        smooth = None
        if self.smoothing:
            smooth = e.sum(axis=1) if w is None else xp.where(w == 0, 0, e * w).sum(axis=1)
        xp.exp(e, out=e)
        self.sum = e.sum(axis=1)
        log = xp.log(self.sum)
        losses = log - picked
        if self.weights is not None:
            losses = xp.where(self.weights == 0, 0, losses * self.weights)
        if self.smoothing:
            s = self.smoothing / C
            total = C if w is None else w.sum()
            losses = (1 - self.smoothing) * losses + s * (total * log - smooth)
        dead = self.sum == 0
        if dead.any():
            losses = xp.where(dead, np.inf, losses).astype(e.dtype)
        if self.kept is not None:
            losses = xp.where(self.kept, losses, 0).astype(e.dtype)
        return self.reduce(losses, self.weights)

    @quiet
    def backward(self, dy):
        xp = array_module(dy)
        dx = as_rows(widen(self.x)) - self.max[:, None]
        xp.exp(dx, out=dx)
        R, C = dx.shape
        if self.at is None:
            self.look_up(C, dx.dtype)
        counts = self.sum != 0 if self.kept is None else self.kept & (self.sum != 0)
        dy = xp.where(counts, self.spread(dy, R), 0).astype(dx.dtype)
        hit = dy if self.weights is None else dy * self.weights  # the gradient of -log p_t
        mass = hit
        if self.smoothing:
            s = self.smoothing / C
            total = C if self.weight is None else self.weight.sum()
            hit = (1 - self.smoothing) * hit
            mass = hit + s * total * dy
        dx *= (mass / xp.where(self.sum == 0, 1, self.sum))[:, None]
        if self.smoothing:
            dx -= (s * dy)[:, None] if self.weight is None else (s * dy)[:, None] * self.weight
        dx[xp.arange(R), self.at] -= hit
        return dx.reshape(self.shape).astype(self.x.dtype, copy=False)

    def forward_native(self, x):
        """On a GPU a label out of range gives NaN: to raise, the host would have to wait for it."""
        xp = array_module(x)
        self.x, self.shape = x, x.shape
        if self.weight is not None:
            self.weight = xp.ascontiguousarray(self.weight, np.float32)
        rows = as_rows(x)
        R, C = rows.shape
        if device_of(x) == "cpu":
            self.look_up(C, np.float32)
        labels, weight, weight_sum = self.labels_and_weights()
        ignored, _ = self.how()
        divisor, dx = xp.empty(0, np.float32), xp.empty(0, x.dtype)
        if any(self.needs) and x.dtype != np.float16:
            self.dx = dx = xp.empty_like(rows)
            if self.reduction == "mean":
                divisor = xp.empty(1, np.float32)
                native.label_weights(labels, weight, divisor, C, ignored)
        losses, weights = losses_and_weights = xp.empty((2, R), np.float32)
        self.stats = xp.empty((2, R), np.float32)
        self.max, self.sum = self.stats
        inputs = rows, labels, weight, weight_sum, divisor
        native.cross_entropy_fwd(*inputs, losses_and_weights, self.stats, dx, *self.how())
        if self.reduction == "none":
            self.divisor = 1.0
            return losses.reshape(self.shape[:-1])
        y, self.divisor = xp.empty(1, np.float32), xp.empty(1, np.float32)
        native.loss_total(
            losses, weights if self.reduction == "mean" else weights[:0], y, self.divisor
        )
        return y.reshape(())

    def backward_native(self, dy):
        xp = array_module(dy)
        if self.dx is not None:
            dx, self.dx = self.dx, None  # a second backward, of a graph that is kept, starts anew
            native.scale_rows(dy.reshape(-1), dx)
            return dx.reshape(self.shape)
        if self.stats is None:
            self.stats = xp.stack([self.max, self.sum])
        divisor = self.divisor
        if not hasattr(divisor, "dtype"):
            divisor = xp.full(0 if divisor == 1 else 1, divisor, np.float32)
        dx = xp.empty_like(self.x)
        inputs = as_rows(self.x), *self.labels_and_weights(), self.stats, dy.reshape(-1), divisor
        native.cross_entropy_bwd(*inputs, as_rows(dx), *self.how())
        return dx

    def labels_and_weights(self):
        """Labels (R,), class weights and their sum; the last two empty where there are none."""
        xp = array_module(self.x)
        labels = xp.ascontiguousarray(self.labels.reshape(-1))
        if self.weight is None:
            return labels, xp.empty(0, np.float32), xp.empty(0, np.float32)
        weight = xp.ascontiguousarray(self.weight, np.float32)
        total, workspace = xp.empty((1, 1), np.float32), xp.empty(0, np.float32)
        native.sum_fwd(weight.reshape(1, -1, 1), total, workspace, 1.0)
        return labels, weight, total.reshape(1)

    def how(self):
        ignored = np.iinfo(np.int64).min if self.ignore_index is None else int(self.ignore_index)
        return ignored, float(self.smoothing)


class SoftCrossEntropy(_OfRows):
    """y = -sum_c w_c q_c log softmax(x)_c,  q = (1 - s) t + s / C, for probabilities t.

    dx = dy (softmax(x) sum w q - w q),  dt = -dy (1 - s) w log softmax(x). Where w q is 0, so is
    its term. The mean divides by the number of rows. For the backward are kept x, t, and of each
    row the max, the sum of e^(x - max) and that of w q.
    """

    stats = None

    def __init__(self, weight, smoothing, reduction):
        self.weight, self.smoothing, self.reduction = weight, smoothing, reduction

    def q(self, t):
        q = as_rows(widen(t)).astype(self.max.dtype, copy=False)
        if self.smoothing:
            q = (1 - self.smoothing) * q + self.smoothing / q.shape[1]
        return q if self.weight is None else q * self.weight.astype(q.dtype, copy=False)

    @quiet
    def forward(self, x, t):
        xp = array_module(x)
        self.x, self.t, self.shape = x, t, x.shape
        e = self.below_max(as_rows(widen(x)))
        q = self.q(t)
        products = xp.where(q == 0, 0, q * e).sum(axis=1)
        xp.exp(e, out=e)
        self.sum = e.sum(axis=1)
        self.mass = q.sum(axis=1)
        losses = self.mass * xp.log(self.sum) - products
        losses = xp.where(self.sum == 0, np.inf, losses).astype(e.dtype, copy=False)
        return self.reduce(losses)

    @quiet
    def backward(self, dy):
        xp, (need_x, need_t) = array_module(dy), self.needs
        shifted = as_rows(widen(self.x)) - self.max[:, None]
        dead = self.sum == 0
        total = xp.where(dead, 1, self.sum)[:, None]
        dy = xp.where(dead, 0, self.spread(dy, len(shifted))).astype(shifted.dtype)[:, None]
        dx = dt = None
        if need_t:
            dt = (1 - self.smoothing) * (xp.log(total) - shifted)
            dt = xp.where(dy == 0, 0, dy * (dt if self.weight is None else dt * self.weight))
            dt = dt.reshape(self.shape).astype(self.t.dtype, copy=False)
        if need_x:
            q = self.q(self.t)
            dx = xp.exp(shifted, out=shifted)
            dx *= dy * self.mass[:, None] / total
            dx -= dy * q
            dx = dx.reshape(self.shape).astype(self.x.dtype, copy=False)
        return dx, dt

    def forward_native(self, x, t):
        xp = array_module(x)
        self.x, self.t, self.shape = x, t, x.shape
        rows = as_rows(x)
        losses, self.stats = xp.empty(len(rows), np.float32), xp.empty((3, len(rows)), np.float32)
        self.max, self.sum, self.mass = self.stats
        weight = self.weight_native(xp)
        native.soft_cross_entropy_fwd(rows, as_rows(t), weight, losses, self.stats, self.smoothing)
        return self.reduce_native(losses)

    def backward_native(self, dy):
        xp = array_module(dy)
        if self.stats is None:
            self.stats = xp.stack([self.max, self.sum, self.mass])
        x, t = as_rows(self.x), as_rows(self.t)
        dx, dt = (xp.empty(x.shape if need else (0, 0), x.dtype) for need in self.needs)
        inputs = x, t, self.weight_native(xp), self.stats, dy.reshape(-1)
        native.soft_cross_entropy_bwd(*inputs, dx, dt, self.smoothing, self.divisor)
        return tuple(
            d.reshape(self.shape) if need else None
            for d, need in zip((dx, dt), self.needs, strict=True)
        )


class NllLoss(_OfRows):
    """y = -w_t x_t for log-probabilities x and labels t;  dx = -dy w_t at t, else 0."""

    at = None  # labels of the rows and weights are made when a method needs them

    def __init__(self, labels, weight, ignore_index, reduction):
        self.labels, self.weight = labels, weight
        self.ignore_index, self.reduction = ignore_index, reduction

    def look_up(self, C, dtype):
        """The label of each row and its weight."""
        self.at, kept = usable_labels("nll_loss", self.labels, C, self.ignore_index)
        weight = None if self.weight is None else self.weight.astype(dtype, copy=False)
        self.weights = row_weights(weight, self.at, kept, dtype)

    @quiet
    def forward(self, x):
        xp = array_module(x)
        self.shape, self.dtype = x.shape, x.dtype
        rows = as_rows(x)
        R, C = rows.shape
        dtype = widen(rows[:0]).dtype
        self.look_up(C, dtype)
        losses = -rows[xp.arange(R), self.at].astype(dtype)
        if self.weights is not None:
            losses = xp.where(self.weights == 0, 0, losses * self.weights).astype(losses.dtype)
        return self.reduce(losses, self.weights)

    @quiet
    def backward(self, dy):
        xp, R = array_module(dy), self.labels.size
        if self.at is None:
            self.look_up(self.shape[-1], dy.dtype)
        dx = xp.zeros((R, self.shape[-1]), self.dtype)
        hit = -self.spread(dy, R)
        dx[xp.arange(R), self.at] = hit if self.weights is None else hit * self.weights
        return dx.reshape(self.shape)

    def forward_native(self, x):
        """On a GPU a label out of range gives NaN: to raise, the host would have to wait for it."""
        xp = array_module(x)
        self.shape, self.dtype = x.shape, x.dtype
        rows = as_rows(x)
        R, C = rows.shape
        if device_of(x) == "cpu":
            self.look_up(C, np.float32)
        losses = xp.empty((2, R), np.float32)
        native.nll_fwd(rows, *self.labelled(xp), losses, self.ignored())
        if self.reduction == "none":
            self.divisor = 1.0
            return losses[0].reshape(self.shape[:-1])
        y, self.divisor = xp.empty(1, np.float32), xp.empty(1, np.float32)
        weights = losses[1, : None if self.reduction == "mean" else 0]
        native.loss_total(losses[0], weights, y, self.divisor)
        return y.reshape(())

    def backward_native(self, dy):
        xp, divisor = array_module(dy), self.divisor
        if not hasattr(divisor, "dtype"):
            divisor = xp.full(1, divisor, np.float32)
        dx = xp.empty(self.shape, self.dtype)
        inputs = *self.labelled(xp), dy.reshape(-1), divisor
        native.nll_bwd(*inputs, as_rows(dx), self.ignored())
        return dx

    def labelled(self, xp):
        """Labels (R,) and the classes' weights, empty where there are none."""
        weight = xp.empty(0, np.float32) if self.weight is None else self.weight
        return xp.ascontiguousarray(self.labels.reshape(-1)), xp.ascontiguousarray(
            weight, np.float32
        )

    def ignored(self):
        return np.iinfo(np.int64).min if self.ignore_index is None else int(self.ignore_index)


class MultiMarginLoss(_OfRows):
    """y = w_t / C sum_(c != t) max(0, margin - x_t + x_c)^p, p 1 or 2, for labels t."""

    at = None  # labels of the rows are looked up when a method needs them

    def __init__(self, labels, p, margin, weight, reduction):
        self.labels, self.p, self.margin = labels, p, margin
        self.weight, self.reduction = weight, reduction

    def excess(self):
        """max(0, margin - x_t + x_c), 0 at the label; and w_t / C."""
        xp, x = array_module(self.x), as_rows(widen(self.x))
        R, C = x.shape
        if self.at is None:
            self.at, _ = usable_labels("multi_margin_loss", self.labels, C, None)
        rows = xp.arange(R)
        over = xp.maximum(x + (self.margin - x[rows, self.at])[:, None], 0)
        over[rows, self.at] = 0
        w = xp.ones(C, x.dtype) if self.weight is None else self.weight.astype(x.dtype)
        return over, w[self.at] / C

    @quiet
    def forward(self, x):
        self.x, self.shape = x, x.shape
        over, scale = self.excess()
        return self.reduce((over if self.p == 1 else over * over).sum(axis=1) * scale)

    @quiet
    def backward(self, dy):
        over, scale = self.excess()
        R = len(over)
        slope = (over != 0).astype(over.dtype) if self.p == 1 else 2 * over
        slope *= (self.spread(dy, R) * scale)[:, None]
        slope[array_module(dy).arange(R), self.at] = -slope.sum(axis=1)
        return slope.reshape(self.shape).astype(self.x.dtype, copy=False)

    def forward_native(self, x):
        """On a GPU a label out of range gives NaN: to raise, the host would have to wait for it."""
        xp, rows = array_module(x), as_rows(x)
        self.x, self.shape = x, x.shape
        if device_of(x) == "cpu":
            self.at, _ = usable_labels("multi_margin_loss", self.labels, rows.shape[1], None)
        losses = xp.empty(len(rows), np.float32)
        inputs = rows, self.rows_of_labels(xp), self.weight_native(xp)
        native.multi_margin_fwd(*inputs, losses, self.margin, self.p == 2)
        return self.reduce_native(losses)

    def backward_native(self, dy):
        xp = array_module(dy)
        dx = xp.empty_like(self.x)
        inputs = as_rows(self.x), self.rows_of_labels(xp), self.weight_native(xp), dy.reshape(-1)
        how = self.margin, self.p == 2, self.divisor
        native.multi_margin_bwd(*inputs, as_rows(dx), *how)
        return dx

    def rows_of_labels(self, xp):
        return xp.ascontiguousarray(self.labels.reshape(-1))


def usable_labels(op, labels, classes, ignore_index):
    """The labels in one row, 0 in place of ignore_index, and which are not that (None: all).

    Raises IndexError naming the first label that is neither in [0, classes) nor ignore_index.
    """
    xp = array_module(labels)
    labels = labels.reshape(-1)
    outside = (labels < 0) | (labels >= classes)
    some_outside = bool(outside.any())
    if ignore_index is None or not (some_outside or 0 <= ignore_index < classes):
        kept = None
        wrong = outside if some_outside else None
    else:
        kept = labels != ignore_index
        wrong = outside & kept if some_outside else None
    if wrong is not None and wrong.any():
        got = int(labels[int(wrong.argmax())])
        ignored = "" if ignore_index is None else f" or ignore_index {ignore_index}"
        raise IndexError(f"[{op}] target: expected labels in [0, {classes}){ignored}, got {got}")
    return (labels if kept is None else xp.where(kept, labels, 0)), kept


def row_weights(weight, labels, kept, dtype):
    """The weight of each row, 0 if it is ignored; None if all are 1."""
    if weight is None:
        return None if kept is None else kept.astype(dtype)
    rows = weight[labels]
    return rows if kept is None else rows * kept


# ------------------------------------------------------------------ public functions


def cross_entropy(x, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """-log softmax(x) of the target class: the loss of classification, in one fused op.

    x                (..., C)  logits, any float, classes last
    target           (...)     integer labels, a tensor, array or list; or probabilities (..., C)
    weight           (C,)      constant weights of the classes, or None
    ignore_index     a label that counts for nothing; labels only
    reduction        "mean": over the sum of the labels' weights, or the number of rows for
                     probabilities; 0 over no rows. "sum", "none"
    label_smoothing  s in [0, 1]: targets become (1 - s) target + s / C
    returns () or (...), f32 or wider

    Raises IndexError for a label outside [0, C) that is not ignore_index (on a GPU the kernels give
    its row a loss of NaN instead), ValueError for shapes or a smoothing outside [0, 1], TypeError
    for dtypes.
    Label smoothing: Szegedy et al. 2015, arXiv:1512.00567.
    """
    op = "cross_entropy"
    _check_logits(op, x)
    one_of(op, reduction)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"[{op}] label_smoothing: expected in [0, 1], got {label_smoothing}")
    weight = _class_weight(op, weight, x)
    if isinstance(target, Tensor) or hasattr(target, "dtype"):
        target = target if isinstance(target, Tensor) else Tensor(target)
        if target.dtype in dtypes.FLOATS and target.shape == x.shape:
            if target.device != x.device:
                raise ValueError(f"[{op}] target: expected {x.device}, got {target.device}")
            if np.float64 not in (x.dtype, target.dtype):
                x, target = operands(x, target)  # of one dtype, as the kernels want them
            return SoftCrossEntropy(weight, label_smoothing, reduction)(x, target)
    labels = _labels(op, target, x)
    return CrossEntropy(labels, weight, ignore_index, label_smoothing, reduction)(x)


def nll_loss(x, target, weight=None, ignore_index=-100, reduction="mean"):
    """-x at the target class, for log-probabilities such as log_softmax gives.

    x             (..., C)  log-probabilities, any float, classes last
    target        (...)     integer labels, a tensor, array or list
    weight        (C,)      constant weights of the classes, or None
    ignore_index  a label that counts for nothing
    returns () or (...), f32 or wider; "mean" divides by the sum of the labels' weights

    Raises IndexError for a label outside [0, C) that is not ignore_index, ValueError for shapes,
    TypeError for dtypes.
    """
    _check_logits("nll_loss", x)
    weight = _class_weight("nll_loss", weight, x)
    labels = _labels("nll_loss", target, x)
    return NllLoss(labels, weight, ignore_index, one_of("nll_loss", reduction))(x)


def multi_margin_loss(x, target, p=1, margin=1.0, weight=None, reduction="mean"):
    """sum over classes c other than the target of max(0, margin - x_target + x_c)^p, over C.

    x       (..., C)  scores, any float, classes last
    target  (...)     integer labels, a tensor, array or list
    p       1 or 2
    weight  (C,)      constant weights of the classes, or None
    returns () or (...), f32 or wider; "mean" divides by the number of rows

    Raises IndexError for a label outside [0, C), ValueError for shapes or another p, TypeError for
    dtypes.  Crammer and Singer 2001, JMLR 2.
    """
    op = "multi_margin_loss"
    _check_logits(op, x)
    if p not in (1, 2):
        raise ValueError(f"[{op}] p: expected 1 or 2, got {p}")
    weight, labels = _class_weight(op, weight, x), _labels(op, target, x)
    return MultiMarginLoss(labels, p, float(margin), weight, one_of(op, reduction))(x)


def _check_logits(op, x):
    float_input(op, x)
    if not x.ndim or not x.shape[-1]:
        raise ValueError(f"[{op}] x: expected shape (..., C) with C >= 1, got {x.shape}")


def _labels(op, target, x):
    labels = integers(op, "target", target, x.data)
    if labels.shape != x.shape[:-1]:
        raise ValueError(
            f"[{op}] target: expected labels of shape {x.shape[:-1]} for x {x.shape}, "
            f"classes last, got {labels.shape}"
        )
    return labels


def _class_weight(op, weight, x):
    if weight is None:
        return None
    weight = (weight if isinstance(weight, Tensor) else Tensor(weight, device=x.device)).data
    if weight.shape != x.shape[-1:]:
        raise ValueError(f"[{op}] weight: expected shape {x.shape[-1:]}, got {weight.shape}")
    if device_of(weight) != x.device:
        raise ValueError(f"[{op}] weight: expected device {x.device}, got {device_of(weight)}")
    return weight
