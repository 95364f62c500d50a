"""Losses as modules; the mathematics stands in pynn/functional. Classes are the last axis."""

import pynn.functional as F
from pynn.nn.module import Module
from pynn.tensor import Tensor, tensor


class _Loss(Module):
    shown = ("reduction",)
    reductions = ("mean", "sum", "none")

    def __init__(self, reduction="mean"):
        super().__init__()
        if reduction not in self.reductions:
            raise ValueError(
                f"[{type(self).__name__}] reduction: expected one of {self.reductions}, "
                f"got {reduction!r}"
            )
        self.reduction = reduction

    def _weigh(self, name, value):
        """Hold weights as a buffer, so that they move with the module."""
        if value is not None and not isinstance(value, Tensor):
            value = tensor(value, dtype="float32")
        self.register_buffer(name, value)


class MSELoss(_Loss):
    """Squared error, (x - target)^2."""

    def forward(self, x, target):
        return F.mse_loss(x, target, self.reduction)


class RMSELoss(Module):
    """Root of the mean squared error."""

    def forward(self, x, target):
        return F.rmse_loss(x, target)


class L1Loss(_Loss):
    """Absolute error, |x - target|."""

    def forward(self, x, target):
        return F.l1_loss(x, target, self.reduction)


class HuberLoss(_Loss):
    """Squared error up to delta, absolute beyond: see `F.huber_loss`."""

    shown = ("reduction", "delta")

    def __init__(self, reduction="mean", delta=1.0):
        super().__init__(reduction)
        self.delta = delta

    def forward(self, x, target):
        return F.huber_loss(x, target, self.reduction, self.delta)


class SmoothL1Loss(_Loss):
    """Absolute error, rounded off within beta: see `F.smooth_l1_loss`."""

    shown = ("reduction", "beta")

    def __init__(self, reduction="mean", beta=1.0):
        super().__init__(reduction)
        self.beta = beta

    def forward(self, x, target):
        return F.smooth_l1_loss(x, target, self.reduction, self.beta)


class ArctanLoss(_Loss):
    """arctan((x - target)^2), bounded by pi/2."""

    def forward(self, x, target):
        return F.arctan_loss(x, target, self.reduction)


class CrossEntropyLoss(_Loss):
    """-log softmax(x) of the target class: logits (..., C), labels (...) or probabilities (..., C).

    weight           (C,) weights of the classes
    ignore_index     a label that counts for nothing
    label_smoothing  how much of the target is spread over all classes
    """

    shown = ("reduction", "ignore_index", "label_smoothing")

    def __init__(self, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
        super().__init__(reduction)
        self._weigh("weight", weight)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, x, target):
        return F.cross_entropy(
            x, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing
        )


class NLLLoss(_Loss):
    """-x at the target class, for log-probabilities (..., C) and labels (...)."""

    shown = ("reduction", "ignore_index")

    def __init__(self, weight=None, ignore_index=-100, reduction="mean"):
        super().__init__(reduction)
        self._weigh("weight", weight)
        self.ignore_index = ignore_index

    def forward(self, x, target):
        return F.nll_loss(x, target, self.weight, self.ignore_index, self.reduction)


class BCELoss(_Loss):
    """Binary cross entropy of probabilities."""

    def __init__(self, weight=None, reduction="mean"):
        super().__init__(reduction)
        self._weigh("weight", weight)

    def forward(self, x, target):
        return F.binary_cross_entropy(x, target, self.weight, self.reduction)


class BCEWithLogitsLoss(_Loss):
    """Binary cross entropy of sigmoid(x); pos_weight weighs target 1."""

    def __init__(self, weight=None, reduction="mean", pos_weight=None):
        super().__init__(reduction)
        self._weigh("weight", weight)
        self._weigh("pos_weight", pos_weight)

    def forward(self, x, target):
        return F.binary_cross_entropy_with_logits(
            x, target, self.weight, self.reduction, self.pos_weight
        )


class KLDivLoss(_Loss):
    """target (log target - x) for log-probabilities x; "batchmean" is the mathematical value."""

    shown = ("reduction", "log_target")
    reductions = ("mean", "batchmean", "sum", "none")

    def __init__(self, reduction="mean", log_target=False):
        super().__init__(reduction)
        self.log_target = log_target

    def forward(self, x, target):
        return F.kl_div(x, target, self.reduction, self.log_target)


class HingeLoss(_Loss):
    """max(0, 1 - target x) for targets -1 and 1."""

    def forward(self, x, target):
        return F.hinge_loss(x, target, self.reduction)


class MultiMarginLoss(_Loss):
    """The hinge loss of several classes: see `F.multi_margin_loss`."""

    shown = ("reduction", "p", "margin")

    def __init__(self, p=1, margin=1.0, weight=None, reduction="mean"):
        super().__init__(reduction)
        self.p, self.margin = p, margin
        self._weigh("weight", weight)

    def forward(self, x, target):
        return F.multi_margin_loss(x, target, self.p, self.margin, self.weight, self.reduction)


class TripletMarginLoss(_Loss):
    """max(0, d(anchor, positive) - d(anchor, negative) + margin): see `F.triplet_margin_loss`."""

    shown = ("reduction", "margin", "p", "eps", "swap")

    def __init__(self, margin=1.0, p=2.0, eps=1e-6, swap=False, reduction="mean"):
        super().__init__(reduction)
        self.margin, self.p, self.eps, self.swap = margin, p, eps, swap

    def forward(self, anchor, positive, negative):
        return F.triplet_margin_loss(
            anchor,
            positive,
            negative,
            self.margin,
            self.p,
            self.eps,
            self.swap,
            self.reduction,
        )


class CosineEmbeddingLoss(_Loss):
    """1 - cos where the target is 1, max(0, cos - margin) where it is -1."""

    shown = ("reduction", "margin")

    def __init__(self, margin=0.0, reduction="mean"):
        super().__init__(reduction)
        self.margin = margin

    def forward(self, x, y, target):
        return F.cosine_embedding_loss(x, y, target, self.margin, self.reduction)


class ContrastiveLoss(_Loss):
    """Half the squared distance of pairs that are alike, max(0, margin - d)^2 / 2 of others: see
    `F.contrastive_loss`.
    """

    shown = ("reduction", "margin")

    def __init__(self, margin=1.0, reduction="mean"):
        super().__init__(reduction)
        self.margin = margin

    def forward(self, x, y, target):
        return F.contrastive_loss(x, y, target, self.margin, self.reduction)


class CTCLoss(_Loss):
    """-log of the probability that (N, T, C) log-probabilities spell a target: see `F.ctc_loss`.

    **batch_first is True**: PyTorch's (T, N, C) wants batch_first=False.
    """

    shown = ("reduction", "blank", "zero_infinity", "batch_first")

    def __init__(self, blank=0, reduction="mean", zero_infinity=False, batch_first=True):
        super().__init__(reduction)
        self.blank, self.zero_infinity, self.batch_first = blank, zero_infinity, batch_first

    def forward(self, log_probs, targets, input_lengths=None, target_lengths=None):
        return F.ctc_loss(
            log_probs,
            targets,
            input_lengths,
            target_lengths,
            self.blank,
            self.reduction,
            self.zero_infinity,
            self.batch_first,
        )
