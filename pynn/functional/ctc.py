"""Connectionist temporal classification: the loss of a label sequence whose alignment is unknown.

    labels   l_1 .. l_S     with blanks between them:  l' = (b, l_1, b, l_2, .., l_S, b), 2 S + 1
    paths    through l', a state a step: stay, go on by one, or by two over a blank between
             different labels; they begin in one of the first two states and end in the last two
    alpha_t(s), beta_t(s)   the sums over the paths up to step t in state s, and on from there

Graves et al. 2006, "Connectionist temporal classification", ICML.
"""

import itertools

import numpy as np

from pynn.autograd import Function
from pynn.backend import array_module, native
from pynn.functional.activation import float_input
from pynn.functional.embedding import integers
from pynn.functional.loss import one_of, quiet
from pynn.functional.shape import transpose
from pynn.tensor import Tensor


class Ctc(Function):
    """y_n = -log sum over the paths of sample n of the product of p_t,  log p (T, N, C) the input.

    d log p_t(k) = -dy sum over the states s of label k of alpha_t(s) beta_t(s) / e^-y.

    All sums are logarithms in float64. What no path can say loses +inf, or 0 with zero_infinity,
    and has no gradient. Saved are the input and alpha, T N (2 S + 1) numbers.
    """

    def __init__(self, targets, steps, lengths, blank, zero_infinity):
        self.targets, self.steps, self.lengths = targets, steps, lengths  # (N, S), (N,), (N,)
        self.blank, self.zero_infinity = blank, zero_infinity

    def prepare(self, xp, N):
        """The label of each state (N, L), and which states may be entered over a blank."""
        S = self.targets.shape[1]
        label = xp.full((N, 2 * S + 1), self.blank, np.int64)
        label[:, 1::2] = self.targets
        skip = xp.zeros(label.shape, bool)
        skip[:, 2:] = (label[:, 2:] != self.blank) & (label[:, 2:] != label[:, :-2])
        return label, skip

    @quiet
    def forward(self, x):
        xp, (T, N, _) = array_module(x), x.shape
        self.x = x
        label, skip = self.prepare(xp, N)
        L, rows = label.shape[1], xp.arange(N)
        alpha = xp.full((T, N, L), -np.inf)
        for t in range(T):
            says = x[t][rows[:, None], label].astype(np.float64)
            if t == 0:
                alpha[0, :, :2] = says[:, :2]
                continue
            past, now = alpha[t - 1], alpha[t]
            now[...] = past
            now[:, 1:] = xp.logaddexp(now[:, 1:], past[:, :-1])
            over = xp.where(skip[:, 2:], past[:, :-2], -np.inf)
            now[:, 2:] = xp.logaddexp(now[:, 2:], over)
            now += says
        self.alpha = alpha
        end, last = 2 * self.lengths, self.steps - 1
        total = xp.where(self.lengths == 0, 0.0, -np.inf)  # of a sample without steps
        if T:
            finish = alpha[last, rows]
            both = xp.logaddexp(
                finish[rows, end],
                xp.where(self.lengths > 0, finish[rows, xp.maximum(end - 1, 0)], -np.inf),
            )
            total = xp.where(self.steps > 0, both, total)
        self.total = total
        y = -total
        if self.zero_infinity:
            y = xp.where(xp.isinf(y), 0.0, y)
        return y.astype(np.float64 if x.dtype == np.float64 else np.float32)

    @quiet
    def backward(self, dy):
        x = self.x
        xp, (T, N, C) = array_module(x), x.shape
        label, skip = self.prepare(xp, N)
        L, rows = label.shape[1], xp.arange(N)
        possible = ~xp.isinf(self.total)
        total = xp.where(possible, self.total, 0.0)[:, None]
        scale = xp.where(possible, -dy.astype(np.float64), 0.0)
        states = xp.arange(L)
        end = 2 * self.lengths[:, None]
        final = xp.where((states == end) | ((states == end - 1) & (end > 0)), 0.0, -np.inf)
        beta, dx = xp.full((N, L), -np.inf), xp.zeros((T, N, C))
        later = None  # beta of the next step with what it says
        for t in reversed(range(T)):
            if later is not None:
                beta = later.copy()
                beta[:, :-1] = xp.logaddexp(beta[:, :-1], later[:, 1:])
                over = xp.where(skip[:, 2:], later[:, 2:], -np.inf)
                beta[:, :-2] = xp.logaddexp(beta[:, :-2], over)
            beta = xp.where((self.steps == t + 1)[:, None], final, beta)
            share = self.alpha[t] + beta - total
            share = xp.where(possible[:, None] & (t < self.steps)[:, None], share, -np.inf)
            share = xp.exp(share) * scale[:, None]
            dx[t, :, self.blank] = share[:, 0::2].sum(axis=1)
            for s in range(1, L, 2):  # one label of each sample at a time: sums have one order
                dx[t, rows, label[:, s]] += share[:, s]
            later = beta + x[t][rows[:, None], label].astype(np.float64)
        return dx.astype(x.dtype, copy=False)

    def takes_native(self, arrays):
        """Shared memory holds what a step needs of at most 1536 labels."""
        return super().takes_native(arrays) and self.targets.shape[1] <= 1536

    def forward_native(self, x):
        xp, (T, N, _) = array_module(x), x.shape
        self.x = x
        self.alpha = xp.empty((T, N, 2 * self.targets.shape[1] + 1), np.float64)
        self.total = xp.empty(N, np.float64)
        losses = xp.empty(N, np.float32)
        inputs = x, *self.labelled(xp)
        native.ctc_fwd(*inputs, losses, self.alpha, self.total, self.blank, self.zero_infinity)
        return losses

    def backward_native(self, dy):
        xp = array_module(dy)
        dx = xp.empty_like(self.x)
        inputs = self.x, *self.labelled(xp), self.alpha, self.total
        native.ctc_bwd(*inputs, dy, dx, self.blank)
        return dx

    def labelled(self, xp):
        """Targets, steps and lengths as the kernels take them."""
        arrays = self.targets, self.steps, self.lengths
        return [xp.ascontiguousarray(a, np.int64) for a in arrays]


def ctc_loss(
    log_probs,
    targets,
    input_lengths=None,
    target_lengths=None,
    blank=0,
    reduction="mean",
    zero_infinity=False,
    batch_first=True,
):
    """-log of the probability that steps of log_probs spell the target, over all alignments.

    log_probs       (N, T, C)  log-probabilities, as log_softmax gives, any float, **batch first**;
                    PyTorch's (T, N, C) with batch_first=False
    targets         (N, S)     integer labels, none of them blank; or one after another (sum,)
    input_lengths   (N,)       steps of each sample, in [0, T]; None: T
    target_lengths  (N,)       labels of each sample; None: S
    blank           the class that says nothing
    reduction       "none"; "sum"; "mean": of the losses divided by their target's length, as
                    PyTorch's; 0 over no samples
    zero_infinity   0, not inf, for a target that does not fit into its steps
    returns () or (N,), f32 or wider; an infinite loss has no gradient

    The gradient is that of log_probs as they stand: behind log_softmax it is PyTorch's.
    Raises ValueError for shapes or lengths, IndexError for labels, TypeError for dtypes.
    Graves et al. 2006, "Connectionist temporal classification", ICML.
    """
    op = "ctc_loss"
    one_of(op, reduction)
    x = _time_first(op, log_probs, batch_first)
    T, N, C = x.shape
    if not 0 <= blank < C:
        raise ValueError(f"[{op}] blank: expected a class in [0, {C}), got {blank}")
    xp = array_module(x.data)
    targets = integers(op, "targets", targets, x.data)
    inputs = _lengths(op, "input_lengths", input_lengths, x, N, T, T)
    flat = targets.ndim == 1
    if flat and target_lengths is None or not flat and (targets.ndim != 2 or len(targets) != N):
        raise ValueError(
            f"[{op}] targets: expected shape ({N}, S), or (sum of target_lengths,), "
            f"got {targets.shape}"
        )
    most = targets.shape[-1]
    lengths = _lengths(op, "target_lengths", target_lengths, x, N, most, most)
    S = int(lengths.max()) if N else 0
    used = xp.arange(S) < lengths[:, None]
    if flat:
        if int(lengths.sum()) != most:
            raise ValueError(
                f"[{op}] target_lengths: expected a sum of {most}, got {int(lengths.sum())}"
            )
        padded = xp.zeros((N, S), np.int64)
        padded[used] = targets
    else:
        padded = targets[:, :S]
    wrong = used & ((padded < 0) | (padded >= C) | (padded == blank))
    if wrong.any():
        raise IndexError(
            f"[{op}] targets: expected labels in [0, {C}) other than blank {blank}, "
            f"got {int(padded[wrong][0])}"
        )
    padded = xp.where(used, padded, blank)
    y = Ctc(padded, inputs, lengths, int(blank), zero_infinity)(x)
    if reduction == "none":
        return y
    if reduction == "mean":
        y = y * Tensor((1 / xp.maximum(lengths, 1) / max(1, N)).astype(y.dtype))
    return y.sum()


def ctc_greedy_decode(log_probs, input_lengths=None, blank=0, batch_first=True):
    """The labels that the likeliest class of each step spells: repeats once, blanks left out.

    log_probs      (N, T, C)  log-probabilities or logits, **batch first**; (T, N, C) otherwise
    input_lengths  (N,)       steps of each sample, in [0, T]; None: T
    returns a list of N lists of ints

    It follows the best path, which is not always the best labelling.
    Raises ValueError for shapes or lengths, TypeError for dtypes.
    """
    op = "ctc_greedy_decode"
    x = _time_first(op, log_probs, batch_first)
    T, N, _ = x.shape
    lengths = _lengths(op, "input_lengths", input_lengths, x, N, T, T).tolist()
    best = x.data.argmax(axis=2).T.tolist() if T else [[]] * N
    return [
        [k for k, _ in itertools.groupby(path[:steps]) if k != blank]
        for path, steps in zip(best, lengths, strict=True)
    ]


def _time_first(op, x, batch_first):
    float_input(op, x)
    if x.ndim != 3 or not x.shape[2]:
        order = "(N, T, C)" if batch_first else "(T, N, C)"
        raise ValueError(f"[{op}] log_probs: expected shape {order}, got {x.shape}")
    return transpose(x, 0, 1) if batch_first else x


def _lengths(op, name, value, x, N, most, default):
    """The raw lengths (N,), checked."""
    xp = array_module(x.data)
    if value is None:
        return xp.full(N, default, np.int64)
    value = integers(op, name, value, x.data)
    if value.shape != (N,):
        raise ValueError(f"[{op}] {name}: expected shape ({N},), got {value.shape}")
    wrong = (value < 0) | (value > most)
    if wrong.any():
        raise ValueError(
            f"[{op}] {name}: expected integers in [0, {most}], got {int(value[wrong][0])}"
        )
    return value
