"""Attention of several heads, and positions that are learnt or sinusoidal.

**Sequences are (N, T, C), batch first, unless `batch_first=False`**: PyTorch's default is the other
way round.
"""

import pynn.functional as F
from pynn import dtypes
from pynn.nn import init
from pynn.nn.linear import Linear, check_sizes, empty
from pynn.nn.module import Module
from pynn.tensor import Tensor


class MultiheadAttention(Module):
    """Attention in num_heads heads of embed_dim / num_heads channels each, in PyTorch's parameters.

    in_proj_weight (3 E, E), in_proj_bias (3 E,)  query, key and value one under another; with
        another kdim or vdim q_proj_weight (E, E), k_proj_weight (E, kdim), v_proj_weight (E, vdim)
    out_proj  a Linear (E, E)
    rotary    turn queries and keys by their positions: see `F.rotary_embedding`
    **batch_first is True**, unlike PyTorch's

    Vaswani et al. 2017, arXiv:1706.03762.
    """

    shown = ("embed_dim", "num_heads", "dropout", "batch_first", "rotary")

    def __init__(
        self,
        embed_dim,
        num_heads,
        dropout=0.0,
        bias=True,
        kdim=None,
        vdim=None,
        batch_first=True,
        rotary=False,
    ):
        super().__init__()
        check_sizes("MultiheadAttention", embed_dim=embed_dim, num_heads=num_heads)
        if embed_dim % num_heads:
            raise ValueError(
                f"[MultiheadAttention] embed_dim: expected a multiple of num_heads {num_heads}, "
                f"got {embed_dim}"
            )
        if rotary and embed_dim // num_heads % 2:
            raise ValueError(
                f"[MultiheadAttention] rotary: expected an even number of channels a head, "
                f"got {embed_dim // num_heads}"
            )
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        self.batch_first, self.rotary = batch_first, rotary
        E, self.kdim, self.vdim = embed_dim, kdim or embed_dim, vdim or embed_dim
        self.packed = self.kdim == self.vdim == E
        if self.packed:
            self.in_proj_weight = empty(3 * E, E)
        else:
            self.q_proj_weight = empty(E, E)
            self.k_proj_weight = empty(E, self.kdim)
            self.v_proj_weight = empty(E, self.vdim)
        self.register_parameter("in_proj_bias", empty(3 * E) if bias else None)
        self.out_proj = Linear(E, E, bias)
        self.reset_parameters()

    def reset_parameters(self):
        """Projections Xavier uniform, out_proj as a Linear, biases 0."""
        for name, parameter in self.named_parameters(recurse=False):
            if name.endswith("weight"):
                init.xavier_uniform_(parameter)
        self.out_proj.reset_parameters()
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)

    def forward(
        self,
        query,
        key=None,
        value=None,
        key_padding_mask=None,
        need_weights=True,
        attn_mask=None,
        average_attn_weights=True,
        is_causal=False,
    ):
        """(y, weights); weights are None unless need_weights, their mean over heads unless told.

        query (N, T, E), key (N, S, kdim), value (N, S, vdim); key None: query, value None: key
        key_padding_mask  (N, S) bools, **True where a key is left out**, or floats to add
        attn_mask         (T, S), (N num_heads, T, S) or (N, num_heads, T, S), the same meaning
        is_causal         a query sees no later key; no attn_mask is needed for it

        A query without any key gives zeros (and what out_proj adds).
        """
        key = query if key is None else key
        value = key if value is None else value
        self.check(query, key, value)
        one = query is key is value
        if not self.batch_first:
            query, key, value = (t.transpose(0, 1) for t in (query, key, value))
            key, value = (query, query) if one else (key, value)
        (N, T, E), S = query.shape, key.shape[1]
        q, k, v = (
            t.reshape(N, t.shape[1], self.num_heads, E // self.num_heads).transpose(1, 2)
            for t in self.project(query, key, value)
        )
        if self.rotary:
            q, k = F.rotary_embedding(q), F.rotary_embedding(k)
        mask = self.mask(attn_mask, key_padding_mask, (N, self.num_heads, T, S), q.dtype)
        p = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, mask, p, is_causal, need_weights=need_weights)
        y, weights = y if need_weights else (y, None)
        y = self.out_proj(y.transpose(1, 2).reshape(N, T, E))
        if need_weights and average_attn_weights:
            weights = weights.mean(1)
        return (y if self.batch_first else y.transpose(0, 1)), weights

    def project(self, query, key, value):
        """Queries, keys and values, in one product where their source is one."""
        E, bias = self.embed_dim, self.in_proj_bias
        if self.packed and query is key and key is value:
            return F.linear(query, self.in_proj_weight, bias).split(E, -1)
        if self.packed:
            weights = self.in_proj_weight.split(E)
        else:
            weights = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        biases = (None,) * 3 if bias is None else bias.split(E)
        return tuple(
            F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)
        )

    def mask(self, attn_mask, padding, scores, dtype):
        """Both masks in the form of `F.scaled_dot_product_attention`, for scores (N, h, T, S)."""
        N, h, T, S = scores
        found = []
        for name, mask, allowed in (
            ("attn_mask", attn_mask, ((T, S), (N * h, T, S), scores)),
            ("key_padding_mask", padding, ((N, S),)),
        ):
            if mask is None:
                continue
            mask = mask if isinstance(mask, Tensor) else Tensor(mask)
            if mask.shape not in allowed:
                raise ValueError(
                    f"[MultiheadAttention] {name}: expected shape "
                    f"{' or '.join(map(str, allowed))}, got {mask.shape}"
                )
            if name == "key_padding_mask":
                mask = mask.reshape(N, 1, 1, S)
            elif mask.ndim == 3:
                mask = mask.reshape(scores)
            found.append(~mask if mask.dtype == dtypes.bool_ else mask)
        if len(found) < 2:
            return found[0] if found else None
        a, b = found
        if a.dtype == b.dtype == dtypes.bool_:
            return a & b
        return _additive(a, dtype) + _additive(b, dtype)

    def check(self, query, key, value):
        order = "(N, T, " if self.batch_first else "(T, N, "
        wanted = {"query": self.embed_dim, "key": self.kdim, "value": self.vdim}
        for (name, width), x in zip(wanted.items(), (query, key, value), strict=True):
            if x.ndim != 3 or x.shape[2] != width:
                raise ValueError(
                    f"[MultiheadAttention] {name}: expected shape {order}{width}), got {x.shape}"
                )


def _additive(mask, dtype):
    """0 where bools keep, -inf elsewhere; floats as they are."""
    if mask.dtype != dtypes.bool_:
        return mask.astype(dtype)
    return F.where(mask, 0.0, float("-inf")).astype(dtype)


class LearnedPositions(Module):
    """x plus a trained vector for each position: `weight` (max_length, dim), normal with std 0.02.

    x  (N, T, dim), or (T, dim), T at most max_length; `offset` is the first step's position
    """

    shown = ("max_length", "dim")

    def __init__(self, max_length, dim):
        super().__init__()
        check_sizes("LearnedPositions", max_length=max_length, dim=dim)
        self.max_length, self.dim = max_length, dim
        self.weight = empty(max_length, dim)
        self.reset_parameters()

    def reset_parameters(self):
        """Draw initial values again."""
        init.normal_(self.weight, std=0.02)

    def forward(self, x, offset=0):
        T = _steps("LearnedPositions", x, self.dim)
        if not 0 <= offset <= self.max_length - T:
            raise ValueError(
                f"[LearnedPositions] expected positions below {self.max_length}, "
                f"got {offset} to {offset + T - 1}"
            )
        return x + self.weight[offset : offset + T]


class SinusoidalPositions(Module):
    """x plus sines and cosines of the position: nothing to train, no greatest length.

    See `F.sinusoidal_positions`.  Vaswani et al. 2017, arXiv:1706.03762.
    """

    shown = ("dim", "base")

    def __init__(self, dim, base=10000.0):
        super().__init__()
        check_sizes("SinusoidalPositions", dim=dim)
        self.dim, self.base = dim, base

    def forward(self, x, offset=0):
        T = _steps("SinusoidalPositions", x, self.dim)
        table = F.sinusoidal_positions(offset + T, self.dim, self.base, x.dtype, x.device)
        return x + table[offset:]


def _steps(name, x, dim):
    if x.ndim < 2 or x.shape[-1] != dim:
        raise ValueError(f"[{name}] x: expected shape (N, T, {dim}), got {x.shape}")
    return x.shape[-2]
