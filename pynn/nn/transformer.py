"""Transformers: encoder and decoder layers, and stacks of them, in PyTorch's parameters.

**Sequences are (N, T, C), batch first, unless `batch_first=False`**: PyTorch's default is the other
way round. Masks mean what they mean in `nn.MultiheadAttention`: True leaves a key out.
"""

import copy

import pynn.functional as F
from pynn.nn import init
from pynn.nn.attention import MultiheadAttention
from pynn.nn.container import ModuleList
from pynn.nn.dropout import Dropout
from pynn.nn.linear import Linear
from pynn.nn.module import Module
from pynn.nn.norm import LayerNorm

_ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu}
_NAMES = {F.relu: "relu", F.gelu: "gelu", F.silu: "silu"}  # as F.linear knows them


class _Layer(Module):
    """What encoder and decoder layers share: attention, two linears, norms before or after."""

    crosses = False

    def __init__(
        self,
        d_model,
        nhead,
        dim_feedforward=2048,
        dropout=0.1,
        activation="relu",
        layer_norm_eps=1e-5,
        batch_first=True,
        norm_first=False,
        bias=True,
        rotary=False,
    ):
        super().__init__()
        name = type(self).__name__
        if not callable(activation) and activation not in _ACTIVATIONS:
            raise ValueError(
                f"[{name}] activation: expected 'relu', 'gelu' or a function, got {activation!r}"
            )
        options = {"dropout": dropout, "bias": bias, "batch_first": batch_first}
        self.self_attn = MultiheadAttention(d_model, nhead, rotary=rotary, **options)
        if self.crosses:
            self.multihead_attn = MultiheadAttention(d_model, nhead, **options)
        self.linear1 = Linear(d_model, dim_feedforward, bias)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias)
        for k in (1, 2, 3)[: 2 + self.crosses]:
            setattr(self, f"norm{k}", LayerNorm(d_model, layer_norm_eps, bias=bias))
        for k in (1, 2, 3)[: 2 + self.crosses]:
            setattr(self, f"dropout{k}", Dropout(dropout))
        self.norm_first, self.batch_first = norm_first, batch_first
        self.activation = activation if callable(activation) else _ACTIVATIONS[activation]

    def around(self, x, *steps):
        """x through steps (norm, block, dropout), each of which adds to x what the block makes of
        it, with the norm before the block or after the sum; a sum and the norm after it are one op.
        """
        if not self.norm_first:
            for norm, block, dropout in steps:
                x = norm(dropout(block(x)), x)
            return x
        norms, blocks, dropouts = zip(*steps, strict=True)
        y = norms[0](x)
        for norm, block, dropout in zip(norms[1:], blocks, dropouts, strict=False):
            y, x = norm(dropout(block(y)), x, prenorm=True)
        return x + dropouts[-1](blocks[-1](y))

    def feed(self, x):
        """The two linears: as one op where nobody asks for what lies between."""
        first, second, name = self.linear1, self.linear2, _NAMES.get(self.activation)
        dropping = self.training and self.dropout.p > 0
        plain = all(type(m) is Linear and not m._hooks for m in (first, second))
        if name is None or dropping or not plain or self.dropout._hooks:
            return second(self.dropout(self.activation(first(x))))
        return F.feed_forward(x, first.weight, first.bias, second.weight, second.bias, name)


class TransformerEncoderLayer(_Layer):
    """Self-attention, then two linears, each around a sum and a layer norm.

    activation  "relu", "gelu" or a function
    norm_first  normalize before each block, which trains deep stacks without a warm-up
    rotary      turn queries and keys by their positions
    **batch_first is True**, unlike PyTorch's

    Vaswani et al. 2017, arXiv:1706.03762; norm_first: Xiong et al. 2020, arXiv:2002.04745.
    """

    def forward(self, src, src_mask=None, src_key_padding_mask=None, is_causal=False):
        """(N, T, C) to (N, T, C); is_causal hides later steps, without a mask."""

        def attend(x):
            return self.self_attn(
                x,
                key_padding_mask=src_key_padding_mask,
                need_weights=False,
                attn_mask=src_mask,
                is_causal=is_causal,
            )[0]

        return self.around(
            src,
            (self.norm1, attend, self.dropout1),
            (self.norm2, self.feed, self.dropout2),
        )


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to `memory`, then two linears, each around a sum and a layer norm.

    Arguments as TransformerEncoderLayer; rotary turns those of the self-attention alone.
    """

    crosses = True

    def forward(
        self,
        tgt,
        memory,
        tgt_mask=None,
        memory_mask=None,
        tgt_key_padding_mask=None,
        memory_key_padding_mask=None,
        tgt_is_causal=False,
        memory_is_causal=False,
    ):
        """tgt (N, T, C) and memory (N, S, C) to (N, T, C)."""

        def attend(x):
            return self.self_attn(
                x,
                key_padding_mask=tgt_key_padding_mask,
                need_weights=False,
                attn_mask=tgt_mask,
                is_causal=tgt_is_causal,
            )[0]

        def look(x):
            return self.multihead_attn(
                x,
                memory,
                key_padding_mask=memory_key_padding_mask,
                need_weights=False,
                attn_mask=memory_mask,
                is_causal=memory_is_causal,
            )[0]

        return self.around(
            tgt,
            (self.norm1, attend, self.dropout1),
            (self.norm2, look, self.dropout2),
            (self.norm3, self.feed, self.dropout3),
        )


class _Stack(Module):
    def __init__(self, layer, num_layers, norm=None):
        super().__init__()
        self.layers = ModuleList([layer] + [_redrawn(layer) for _ in range(num_layers - 1)])
        self.num_layers, self.norm = num_layers, norm

    def through(self, x, *args, **options):
        for layer in self.layers:
            x = layer(x, *args, **options)
        return x if self.norm is None else self.norm(x)


class TransformerEncoder(_Stack):
    """num_layers layers like the given one, then `norm` if there is one.

    Each copy draws initial values of its own, where PyTorch repeats the first layer's.
    """

    def forward(self, src, mask=None, src_key_padding_mask=None, is_causal=False):
        return self.through(src, mask, src_key_padding_mask, is_causal)


class TransformerDecoder(_Stack):
    """As TransformerEncoder for decoder layers, which all see one memory."""

    def forward(
        self,
        tgt,
        memory,
        tgt_mask=None,
        memory_mask=None,
        tgt_key_padding_mask=None,
        memory_key_padding_mask=None,
        tgt_is_causal=False,
        memory_is_causal=False,
    ):
        return self.through(
            tgt,
            memory,
            tgt_mask,
            memory_mask,
            tgt_key_padding_mask,
            memory_key_padding_mask,
            tgt_is_causal,
            memory_is_causal,
        )


class Transformer(Module):
    """Encoder and decoder, each with a last norm; matrices Xavier uniform at first.

    Arguments as PyTorch's, but **batch_first is True**. Vaswani et al. 2017, arXiv:1706.03762.
    """

    shown = ("d_model", "nhead", "batch_first")

    def __init__(
        self,
        d_model=512,
        nhead=8,
        num_encoder_layers=6,
        num_decoder_layers=6,
        dim_feedforward=2048,
        dropout=0.1,
        activation="relu",
        layer_norm_eps=1e-5,
        batch_first=True,
        norm_first=False,
        bias=True,
        rotary=False,
    ):
        super().__init__()
        options = (
            d_model,
            nhead,
            dim_feedforward,
            dropout,
            activation,
            layer_norm_eps,
            batch_first,
            norm_first,
            bias,
            rotary,
        )
        self.encoder = TransformerEncoder(
            TransformerEncoderLayer(*options),
            num_encoder_layers,
            LayerNorm(d_model, layer_norm_eps, bias=bias),
        )
        self.decoder = TransformerDecoder(
            TransformerDecoderLayer(*options),
            num_decoder_layers,
            LayerNorm(d_model, layer_norm_eps, bias=bias),
        )
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)

    def forward(
        self,
        src,
        tgt,
        src_mask=None,
        tgt_mask=None,
        memory_mask=None,
        src_key_padding_mask=None,
        tgt_key_padding_mask=None,
        memory_key_padding_mask=None,
        src_is_causal=False,
        tgt_is_causal=False,
        memory_is_causal=False,
    ):
        """src (N, S, C) and tgt (N, T, C) to (N, T, C)."""
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        return self.decoder(
            tgt,
            memory,
            tgt_mask,
            memory_mask,
            tgt_key_padding_mask,
            memory_key_padding_mask,
            tgt_is_causal,
            memory_is_causal,
        )


def _redrawn(layer):
    """A copy with initial values of its own."""

    def reset(module):
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()

    return copy.deepcopy(layer).apply(reset)
