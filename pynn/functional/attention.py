"""Attention: softmax(Q K^T / sqrt D) V in one op, and positions: rotary and sinusoidal."""

import math

import numpy as np

from pynn import dtypes, random
from pynn.autograd import Function
from pynn.backend import array_module, contiguous, native, sum_to, widen
from pynn.functional.activation import float_input
from pynn.functional.arithmetic import astype
from pynn.functional.broadcast import meet, sum_to_native
from pynn.functional.dropout import Dropout
from pynn.functional.embedding import integers
from pynn.functional.linear import check_dtypes
from pynn.functional.loss import quiet
from pynn.functional.product import NN, NT, TN, cast, multiply
from pynn.tensor import Tensor


class ScaledDotProductAttention(Function):
    """y = P~ V,  P = softmax(scale Q K^T + bias) over the keys,  P~ = P with dropout.

    dV = P~^T dy,  dP~ = dy V^T,  dS = P (dP - row sums of dP P),  dQ = scale dS K,
    dK = scale dS^T Q,  dbias = dS summed to its shape.

    Q (..., T, D), K (..., S, D), V (..., S, E), bias broadcasts to (..., T, S). A row without any
    key, by `keep` (bools that broadcast likewise), by causality (key s for query t if s <= t) or by
    a bias of -inf, gives zeros and no gradient. Kept are P, T S numbers a head, and the inputs; the
    dropout is drawn again. With `weights` P~ is the second output. The kernels are those of the
    products, of softmax and of dropout, one after another: S and P cross memory.
    Vaswani et al. 2017, arXiv:1706.03762.
    """

    def __init__(self, scale, keep=None, causal=False, dropout=None, weights=False):
        self.scale, self.keep, self.causal = scale, keep, causal
        self.dropout, self.weights = dropout, weights  # dropout: (p, seed, offset)

    @quiet
    def forward(self, q, k, v, bias=None):
        xp = array_module(q)
        self.q, self.k, self.v, self.bias = q, k, v, bias
        s = xp.matmul(widen(q) * widen(q).dtype.type(self.scale), widen(k).swapaxes(-1, -2))
        if bias is not None:
            s += widen(bias)
        if self.causal:
            future = xp.arange(s.shape[-1]) > xp.arange(s.shape[-2])[:, None]
            xp.copyto(s, -np.inf, where=future)
        if self.keep is not None:
            xp.copyto(s, -np.inf, where=~self.keep)
        if s.shape[-1]:
            peak = s.max(axis=-1, keepdims=True)
            s -= xp.where(xp.isneginf(peak), 0, peak)
        xp.exp(s, out=s)
        total = s.sum(axis=-1, keepdims=True)
        s /= xp.where(total == 0, 1, total)
        self.p = s
        dropped = self.drop(s, self.drawn(s))
        y = xp.matmul(dropped, widen(v)).astype(q.dtype, copy=False)
        return (y, dropped.astype(q.dtype)) if self.weights else y

    def drawn(self, p):
        """Which weights dropout keeps; None: all."""
        if self.dropout is None:
            return None
        rate, seed, offset = self.dropout
        numbers = random.uniform(seed, offset, p.size, array_module(p))
        return (numbers >= np.float32(rate)).reshape(p.shape)

    def drop(self, p, kept):
        """p with dropout: its own adjoint."""
        if kept is None:
            return p
        rate, zero = self.dropout[0], p.dtype.type(0)
        return array_module(p).where(
            kept, p * p.dtype.type(1 / (1 - rate) if rate < 1 else 0), zero
        )

    @quiet
    def backward(self, dy, dweights=None):
        xp, (need_q, need_k, need_v, *need_bias) = array_module(dy), self.needs
        wide, p = widen(dy), self.p
        kept = self.drawn(p)
        dq = dk = dv = dbias = None
        if need_v:
            dv = xp.matmul(self.drop(p, kept).swapaxes(-1, -2), wide)
            dv = dv.astype(self.v.dtype, copy=False)
        if need_q or need_k or any(need_bias):
            ds = xp.matmul(wide, widen(self.v).swapaxes(-1, -2))
            if dweights is not None:
                ds += widen(dweights)
            ds = self.drop(ds, kept)
            ds -= (ds * p).sum(axis=-1, keepdims=True)
            ds *= p
            if any(need_bias):
                dbias = sum_to(ds, self.bias.shape).astype(self.bias.dtype, copy=False)
            ds *= ds.dtype.type(self.scale)
            if need_q:
                dq = xp.matmul(ds, widen(self.k)).astype(self.q.dtype, copy=False)
            if need_k:
                dk = xp.matmul(ds.swapaxes(-1, -2), widen(self.q))
                dk = dk.astype(self.k.dtype, copy=False)
        return (dq, dk, dv, dbias) if need_bias else (dq, dk, dv)

    def forward_native(self, q, k, v, bias=None):
        self.q, self.k, self.v, self.bias = q, k, v, bias
        f32 = np.dtype(np.float32)
        s = meet(native.mul_fwd, _product(q, k, NT, f32), _scalar(q, self.scale))
        if bias is not None:
            s = meet(native.add_fwd, cast(bias, f32), s)
        seen = self.seen(array_module(q), *s.shape[-2:])
        if seen is not None:
            (seen,) = contiguous([seen])
            s = meet(native.where_fwd, seen, s, _scalar(q, -np.inf))
        self.p = array_module(q).empty_like(s)
        native.softmax_fwd(s, self.p)
        dropped = cast(self.drop_native(self.p), q.dtype)
        y = _product(dropped, v, NN, q.dtype)
        return (y, dropped) if self.weights else y

    def seen(self, xp, T, S):
        """Which key each query sees, as bools that broadcast to (..., T, S); None: every one."""
        past = xp.tri(T, S, dtype=bool) if self.causal else None
        if self.keep is None or past is None:
            return self.keep if past is None else past
        return self.keep & past

    def drop_native(self, p):
        """`drop` by kernels, which draw the numbers themselves."""
        if self.dropout is None:
            return p
        return Dropout(*self.dropout, p.shape).forward_native(p)

    def backward_native(self, dy, dweights=None):
        need_q, need_k, need_v, *need_bias = self.needs
        p, dtype, f32 = self.p, dy.dtype, np.dtype(np.float32)
        dq = dk = dv = dbias = None
        if need_v:
            dv = _product(cast(self.drop_native(p), dtype), dy, TN, dtype)
        if need_q or need_k or any(need_bias):
            dp = _product(dy, self.v, NT, f32)
            if dweights is not None:
                dp = meet(native.add_fwd, cast(dweights, f32), dp)
            ds = array_module(p).empty_like(p)
            native.softmax_bwd(p, self.drop_native(dp), ds)
            if any(need_bias):
                dbias = cast(sum_to_native(ds, self.bias.shape), self.bias.dtype)
            ds = cast(meet(native.mul_fwd, ds, _scalar(p, self.scale)), dtype)
            if need_q:
                dq = _product(ds, self.k, NN, dtype)
            if need_k:
                dk = _product(ds, self.q, TN, dtype)
        return (dq, dk, dv, dbias) if need_bias else (dq, dk, dv)


def _product(a, b, layout, dtype):
    """a b of each head, in that dtype; a, b (..., rows, columns) with the same leading axes."""
    rows, columns = a.shape[-1 if layout == TN else -2], b.shape[-2 if layout == NT else -1]
    heads = math.prod(a.shape[:-2])
    d = array_module(a).empty((heads, rows, columns), dtype)
    multiply(a.reshape(heads, *a.shape[-2:]), b.reshape(heads, *b.shape[-2:]), d, layout)
    return d.reshape(*a.shape[:-2], rows, columns)


def _scalar(like, value):
    return array_module(like).full((), value, np.float32)


class RotaryEmbedding(Function):
    """Each pair (a, b) of channels turned by its angle:  (a cos - b sin, a sin + b cos).

    angles (..., T, D / 2); the backward turns back. A pair is channels (i, i + D / 2), or
    (2 i, 2 i + 1) if interleaved.  Su et al. 2021, arXiv:2104.09864.
    """

    def __init__(self, angles, interleaved):
        self.angles, self.interleaved = angles, interleaved

    def forward(self, x):
        return self.turn(x, 1)

    def backward(self, dy):
        return self.turn(dy, -1)

    def turn(self, x, sign):
        xp, wide, half = array_module(x), widen(x), x.shape[-1] // 2
        angles = self.angles.astype(np.float64)
        cos = xp.cos(angles).astype(wide.dtype)
        sin = (sign * xp.sin(angles)).astype(wide.dtype)
        low, high = slice(0, half), slice(half, None)
        if self.interleaved:
            low, high = slice(0, None, 2), slice(1, None, 2)
        a, b = wide[..., low], wide[..., high]
        y = xp.empty_like(x)
        y[..., low] = a * cos - b * sin
        y[..., high] = a * sin + b * cos
        return y

    def forward_native(self, x):
        return self.turn_native(x, False)

    def backward_native(self, dy):
        return self.turn_native(dy, True)

    def turn_native(self, x, back):
        y = array_module(x).empty_like(x)
        outer, repeats, rows = self.rows(x.shape[:-1])
        shape = outer, repeats, rows, x.shape[-1]
        angles = self.angles.reshape(outer, rows, self.angles.shape[-1])
        native.rotary(x.reshape(shape), angles, y.reshape(shape), back, self.interleaved)
        return y

    def rows(self, lead):
        """(O, P, R) with R rows of angles repeated P times, O times over, for x (*lead, D)."""
        own = (1,) * (len(lead) + 1 - self.angles.ndim) + self.angles.shape[:-1]
        repeated = [i for i, (n, m) in enumerate(zip(lead, own, strict=True)) if n != m]
        start, stop = (repeated[0], repeated[-1] + 1) if repeated else (0, 0)
        if math.prod(own[start:stop]) != 1:  # axes of the angles stand between repeated ones
            xp = array_module(self.angles)
            start = stop = 0
            self.angles = xp.broadcast_to(self.angles, (*lead, self.angles.shape[-1]))
        (self.angles,) = contiguous([self.angles.astype(np.float64, copy=False)])
        return math.prod(lead[:start]), math.prod(lead[start:stop]), math.prod(lead[stop:])


# ------------------------------------------------------------------ public functions


def scaled_dot_product_attention(
    query,
    key,
    value,
    attn_mask=None,
    dropout_p=0.0,
    is_causal=False,
    scale=None,
    need_weights=False,
):
    """softmax(scale query key^T + mask) value: each query's mean of the values, weighed by how well
    their keys fit.

    query      (..., T, D)  any float
    key        (..., S, D)  dtype and leading axes of query
    value      (..., S, E)  the same
    attn_mask  broadcasts to (..., T, S): bools, True where a key takes part; or floats of query's
               dtype, added to the scores, which get a gradient if they want one; or None
    dropout_p  the probability that a weight is 0, the others divided by 1 - p
    is_causal  query t sees the keys s <= t alone, beside any mask
    scale      1 / sqrt(D) if None
    returns (..., T, E), and with need_weights the pair of it and the weights (..., T, S)

    A query without any key gives zeros and no gradient, where PyTorch may give NaN.
    Raises ValueError for shapes or a probability outside [0, 1], TypeError for dtypes.
    """
    op = "scaled_dot_product_attention"
    float_input(op, query)
    check_dtypes(op, query, key=key, value=value)
    *lead, T, D = query.shape if query.ndim > 1 else (0, 0)
    S = key.shape[-2] if key.ndim > 1 else 0
    for name, tensor, last in (("query", query, D), ("key", key, D), ("value", value, None)):
        rows = T if name == "query" else S
        wanted = (*lead, rows, tensor.shape[-1] if last is None and tensor.ndim else last)
        if tensor.ndim < 2 or tensor.shape != wanted:
            raise ValueError(f"[{op}] {name}: expected shape {wanted}, got {tensor.shape}")
    if not 0 <= dropout_p <= 1:
        raise ValueError(f"[{op}] dropout_p: expected in [0, 1], got {dropout_p}")
    keep, bias = _mask(op, attn_mask, query, (*lead, T, S))
    dropout = None
    if dropout_p:
        dropout = float(dropout_p), *random.reserve(math.prod(lead) * T * S)
    scale = 1 / math.sqrt(max(1, D)) if scale is None else float(scale)
    node = ScaledDotProductAttention(scale, keep, bool(is_causal), dropout, need_weights)
    return node(query, key, value) if bias is None else node(query, key, value, bias)


def _mask(op, mask, query, scores):
    """(bools or None, tensor to add or None)."""
    if mask is None:
        return None, None
    mask = mask if isinstance(mask, Tensor) else Tensor(mask, device=query.device)
    if mask.device != query.device:
        raise ValueError(f"[{op}] attn_mask: expected {query.device}, got {mask.device}")
    try:
        fits = np.broadcast_shapes(mask.shape, scores) == scores
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"[{op}] attn_mask: expected a shape that broadcasts to {scores}, got {mask.shape}"
        )
    if mask.dtype == dtypes.bool_:
        return mask.data, None
    if mask.dtype not in dtypes.FLOATS:
        raise TypeError(f"[{op}] attn_mask: expected bools or floats, got {mask.dtype}")
    return None, astype(mask, query.dtype)


def rotary_embedding(x, positions=None, base=10000.0, interleaved=False):
    """x with its channels turned in pairs by angles that grow with the position, so that products
    of queries and keys depend on their distance alone.

    x            (..., T, D)  any float, D even
    positions    integers that broadcast to (..., T); None: 0, 1, ... T - 1
    base         pair i turns by position base^(-2 i / D)
    interleaved  pairs are (2 i, 2 i + 1), as in the paper; else (i, i + D / 2), as in LLaMA
    returns (..., T, D)  dtype of x

    Raises ValueError for an odd D or positions that do not fit, TypeError for dtypes.
    Su et al. 2021, arXiv:2104.09864.
    """
    op = "rotary_embedding"
    float_input(op, x)
    if x.ndim < 2 or x.shape[-1] % 2:
        raise ValueError(f"[{op}] x: expected shape (..., T, D), D even, got {x.shape}")
    T, D = x.shape[-2:]
    xp = array_module(x.data)
    at = xp.arange(T) if positions is None else integers(op, "positions", positions, x.data)
    try:
        fits = np.broadcast_shapes(at.shape, x.shape[:-1]) == x.shape[:-1]
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"[{op}] positions: expected a shape that broadcasts to {x.shape[:-1]}, got {at.shape}"
        )
    rates = base ** (-xp.arange(0, D, 2, dtype=np.float64) / max(1, D))
    return RotaryEmbedding(at[..., None] * rates, interleaved)(x)


def sinusoidal_positions(T, D, base=10000.0, dtype="float32", device="cpu"):
    """The (T, D) table of sin(t base^(-2 i / D)) in columns 2 i and the cosine in 2 i + 1.

    Raises ValueError unless T >= 0 and D >= 1.  Vaswani et al. 2017, arXiv:1706.03762.
    """
    if T < 0 or D < 1:
        raise ValueError(f"[sinusoidal_positions] expected T >= 0 and D >= 1, got {T} and {D}")
    angles = np.arange(T)[:, None] * base ** (-np.arange(0, D, 2) / D)
    table = np.empty((T, D))
    table[:, 0::2] = np.sin(angles)
    table[:, 1::2] = np.cos(angles[:, : D // 2])
    return Tensor(table, dtype=dtype, device=device)
