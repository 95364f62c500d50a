"""Recurrent layers, one layer in one direction: LSTM, GRU and the simple cell.

x (N, T, I), I = H, y (N, T, H);  G = 4 gates for LSTM, 3 for GRU, 1 for the simple cell
bytes  forward x, y and the weights, and 4 G a unit and step for the gates that the backward needs;
       backward x, y, dy, dx, the weights and their gradients, and the gates
FLOPs  forward 2 N T G H (I + H), backward twice that
bound: a step waits for the one before it, so latency where N H is small, else compute
"""

from bench.case import Case, named, normal

SHAPES = {  # N, T, H
    "full": [(16, 1024, 768), (64, 256, 512), (128, 128, 1024)],
    "quick": [(32, 64, 128)],
    "tiny": [(3, 4, 8)],
}
GATES = {"lstm": 4, "gru": 3, "rnn": 1}


def cases(scale):
    for N, T, H in SHAPES[scale]:
        for op in GATES:
            yield _case(op, N, T, H)


def _case(op, N, T, H):
    G = GATES[op]
    units, weights = N * T * H, 2 * G * H * H + 2 * G * H
    gates = 4 * G * units
    flops = 2 * N * T * G * H * 2 * H
    shapes = [(N, T, H), (G * H, H), (G * H, H), (G * H,), (G * H,)]
    return Case(
        op=op,
        shape=named(N, T, H),
        run=_PYNN[op],
        torch=_TORCH[op],
        inputs=lambda: [
            normal(*shape, scale=1 if i == 0 else H**-0.5, start=i)
            for i, shape in enumerate(shapes)
        ],
        elements={"forward": 2 * units + weights, "backward": 4 * units + 2 * weights},
        fixed={"forward": gates, "backward": gates},
        flops={"forward": flops, "backward": 2 * flops},
        matrix=True,
        labels={"n": H},
    )


def _pynn_lstm(F, x, *weights):
    return F.lstm(x, None, None, *weights)[0]


def _pynn_gru(F, x, *weights):
    return F.gru(x, None, *weights)[0]


def _torch_lstm(F, x, *weights):
    import torch

    state = x.new_zeros(1, x.shape[0], weights[1].shape[1])
    return torch.lstm(x, (state, state), weights, True, 1, 0.0, False, False, True)[0]


def _torch_gru(F, x, *weights):
    import torch

    state = x.new_zeros(1, x.shape[0], weights[1].shape[1])
    return torch.gru(x, state, weights, True, 1, 0.0, False, False, True)[0]


def _pynn_rnn(F, x, *weights):
    return F.rnn(x, None, *weights)[0]


def _torch_rnn(F, x, *weights):
    import torch

    state = x.new_zeros(1, x.shape[0], weights[1].shape[1])
    return torch.rnn_tanh(x, state, weights, True, 1, 0.0, False, False, True)[0]


_PYNN = {"lstm": _pynn_lstm, "gru": _pynn_gru, "rnn": _pynn_rnn}
_TORCH = {"lstm": _torch_lstm, "gru": _torch_gru, "rnn": _torch_rnn}
