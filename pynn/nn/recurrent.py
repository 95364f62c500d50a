"""Recurrent networks: RNN, GRU and LSTM in layers and directions, and their cells.

**Sequences are (N, T, C), batch first, unless `batch_first=False`**: PyTorch's default is the other
way round. So it is in all of pynn: steps lie where the rows of an image do, channels last.
States are (layers x directions, N, H) in either case, as in PyTorch, and parameters bear PyTorch's
names, so that its state dicts load.
"""

import math

import pynn.functional as F
from pynn.nn import init
from pynn.nn.linear import check_sizes, empty
from pynn.nn.module import Module
from pynn.tensor import Tensor


class _Recurrent(Module):
    shown = ("input_size", "hidden_size", "num_layers", "batch_first", "dropout", "bidirectional")
    blocks = states = 1  # of H rows in the weights; kinds of state

    def __init__(
        self,
        input_size,
        hidden_size,
        num_layers=1,
        bias=True,
        batch_first=True,
        dropout=0.0,
        bidirectional=False,
    ):
        super().__init__()
        name = type(self).__name__
        check_sizes(name, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        if not 0 <= dropout <= 1:
            raise ValueError(f"[{name}] dropout: expected a probability in [0, 1], got {dropout}")
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, dropout
        self.bidirectional = bidirectional
        rows = self.blocks * hidden_size
        for layer, end in self.parts():
            width = input_size if layer == 0 else hidden_size * (1 + bidirectional)
            setattr(self, f"weight_ih_l{layer}{end}", empty(rows, width))
            setattr(self, f"weight_hh_l{layer}{end}", empty(rows, hidden_size))
            if bias:
                setattr(self, f"bias_ih_l{layer}{end}", empty(rows))
                setattr(self, f"bias_hh_l{layer}{end}", empty(rows))
        self.reset_parameters()

    def parts(self):
        """(layer, "" or "_reverse") of every layer and direction, in the order of the states."""
        ends = ("", "_reverse") if self.bidirectional else ("",)
        return [(layer, end) for layer in range(self.num_layers) for end in ends]

    def reset_parameters(self):
        """All uniform in +-1 / sqrt(hidden_size)."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def forward(self, x, hx=None, lengths=None):
        """y, and the last states in hx's form.

        x        (N, T, input_size), (T, N, input_size) with batch_first=False, or (T, input_size)
        hx       the first states (layers x directions, N, H), for an LSTM (h, c); None: zeros
        lengths  (N,) steps of each sample; None: T. y is 0 past the end, and the last states are
                 those of the last step, as with PyTorch's packed sequences
        returns  y (N, T, directions x H), the forward direction first
        """
        alone = x.ndim == 2
        if alone:
            x = x.unsqueeze(0 if self.batch_first else 1)
            hx = _each(hx, lambda s: s.unsqueeze(1))
        self.check(x)
        if self.batch_first:
            x = x.transpose(0, 1)
        firsts = self.firsts(hx, x.shape[1])
        lasts, outputs = [], []
        for k, (layer, end) in enumerate(self.parts()):
            y, *last = self.run(x, [s[k] for s in firsts], layer, end, lengths)
            lasts.append(last)
            outputs.append(y)
            if end == "" and self.bidirectional:
                continue
            x = outputs[0] if len(outputs) == 1 else F.cat(outputs, -1)
            outputs = []
            if layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        y = x.transpose(0, 1) if self.batch_first else x
        states = tuple(F.stack(kind) for kind in zip(*lasts, strict=True))
        if alone:
            y = y[0] if self.batch_first else y[:, 0]
            states = tuple(s[:, 0] for s in states)
        return y, states if self.states == 2 else states[0]

    def run(self, x, states, layer, end, lengths):
        """One layer in one direction."""
        weights = [getattr(self, f"{name}_l{layer}{end}", None) for name in _WEIGHTS]
        options = {"lengths": lengths, "reverse": end != "", "batch_first": False}
        return self.op(x, *states, *weights, **options)

    def check(self, x):
        if x.ndim != 3 or x.shape[2] != self.input_size:
            order = "(N, T, " if self.batch_first else "(T, N, "
            raise ValueError(
                f"[{type(self).__name__}] x: expected shape {order}{self.input_size}), "
                f"got {x.shape}"
            )

    def firsts(self, hx, N):
        """For each kind of state, its first values for all parts."""
        count = len(self.parts())
        if hx is None:
            return [[None] * count] * self.states
        given = _states(self, hx)
        wanted = (count, N, self.hidden_size)
        for name, state in zip("hc", given, strict=False):
            if state.shape != wanted:
                raise ValueError(
                    f"[{type(self).__name__}] {name}: expected shape {wanted}, got {state.shape}"
                )
        return given


def _states(module, hx):
    """(h,) or (h, c), as the module has it."""
    given = (hx,) if module.states == 1 else hx
    pair = isinstance(given, (tuple, list)) and len(given) == module.states
    if not pair or not all(isinstance(state, Tensor) for state in given):
        wanted = "a tensor h" if module.states == 1 else "a pair (h, c)"
        raise ValueError(
            f"[{type(module).__name__}] hx: expected {wanted}, got {type(hx).__name__}"
        )
    return given


class RNN(_Recurrent):
    """h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh), or max(0, .) for nonlinearity "relu".

    weight_ih_l0 (H, input_size), weight_hh_l0 (H, H), bias_ih_l0, bias_hh_l0 (H,); l1, ... for
    further layers, _reverse for the other direction
    **batch_first is True**, unlike PyTorch's; dropout is between layers

    Elman 1990, "Finding structure in time".
    """

    shown = ("nonlinearity", *_Recurrent.shown)

    def __init__(
        self,
        input_size,
        hidden_size,
        num_layers=1,
        nonlinearity="tanh",
        bias=True,
        batch_first=True,
        dropout=0.0,
        bidirectional=False,
    ):
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"[RNN] nonlinearity: expected 'tanh' or 'relu', got {nonlinearity!r}")
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        )
        self.nonlinearity = nonlinearity

    def op(self, *args, **options):
        return F.rnn(*args, nonlinearity=self.nonlinearity, **options)


class GRU(_Recurrent):
    """Gated recurrent units: see `F.gru`. Weights as RNN's with 3 H rows, the gates r, z, n.

    **batch_first is True**, unlike PyTorch's; dropout is between layers.
    Cho et al. 2014, arXiv:1406.1078.
    """

    blocks = 3
    op = staticmethod(F.gru)


class LSTM(_Recurrent):
    """Long short-term memory: see `F.lstm`. Weights as RNN's with 4 H rows, the gates i, f, g, o.

    States are pairs (h, c). **batch_first is True**, unlike PyTorch's; dropout is between layers.
    Hochreiter and Schmidhuber 1997, "Long short-term memory".
    """

    blocks, states = 4, 2
    op = staticmethod(F.lstm)


class _Cell(Module):
    """One step of a layer: its weights are weight_ih, weight_hh, bias_ih and bias_hh."""

    shown = ("input_size", "hidden_size")
    blocks = states = 1

    def __init__(self, input_size, hidden_size, bias=True):
        super().__init__()
        check_sizes(type(self).__name__, input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size = input_size, hidden_size
        rows = self.blocks * hidden_size
        self.weight_ih, self.weight_hh = empty(rows, input_size), empty(rows, hidden_size)
        self.register_parameter("bias_ih", empty(rows) if bias else None)
        self.register_parameter("bias_hh", empty(rows) if bias else None)
        self.reset_parameters()

    def reset_parameters(self):
        """All uniform in +-1 / sqrt(hidden_size)."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def forward(self, x, hx=None):
        """The next state, for an LSTM (h, c): x (N, input_size), states (N, H), or without N."""
        alone = x.ndim == 1
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ValueError(
                f"[{type(self).__name__}] x: expected shape (N, {self.input_size}), got {x.shape}"
            )
        if alone:
            x, hx = x.unsqueeze(0), _each(hx, lambda s: s.unsqueeze(0))
        states = [None] * self.states if hx is None else _states(self, hx)
        weights = self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh
        _, *last = self.op(x.unsqueeze(0), *states, *weights, batch_first=False)
        if alone:
            last = [s[0] for s in last]
        return tuple(last) if self.states == 2 else last[0]


class RNNCell(_Cell):
    """One step of RNN: h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or max(0, .)."""

    shown = ("input_size", "hidden_size", "nonlinearity")

    def __init__(self, input_size, hidden_size, bias=True, nonlinearity="tanh"):
        super().__init__(input_size, hidden_size, bias)
        self.nonlinearity = nonlinearity

    def op(self, *args, **options):
        return F.rnn(*args, nonlinearity=self.nonlinearity, **options)


class GRUCell(_Cell):
    """One step of GRU."""

    blocks = 3
    op = staticmethod(F.gru)


class LSTMCell(_Cell):
    """One step of LSTM: (h, c) to (h', c')."""

    blocks, states = 4, 2
    op = staticmethod(F.lstm)


_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _each(states, change):
    if states is None:
        return None
    return tuple(map(change, states)) if isinstance(states, (tuple, list)) else change(states)
