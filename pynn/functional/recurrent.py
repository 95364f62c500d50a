"""Recurrent layers: RNN, GRU and LSTM over a whole sequence in one op, and their cells.

    one layer, one direction      x (T, N, I) -> z = x W_ih^T + b, one GEMM for all T
                                  for t:  h_t from z_t and h_(t-1) W_hh^T, one small GEMM a step
                                  backward: the same loop from the end, then one GEMM for each dW

A step t of sample n with t >= lengths[n] does not happen: it keeps the state, gives y = 0, and what
x holds there is never read. So a reverse layer starts at each sample's own end, the last state is
that of the sample's last step, and the result is that of PyTorch's packed sequences.

Gates stand one under another in the weights, in PyTorch's order: LSTM i f g o, GRU r z n. The
logistic gates are 1/2 + 1/2 tanh(z / 2), so that all gates of a step take one tanh.

The kernels stand in csrc/kernels/recurrent/, what lies between the products of a step. The state
and its products are float32 in every dtype; the products of all steps at once take x's dtype.

Over 400 lines: three recurrences, each by reference and by kernels.
"""

import numpy as np

from pynn.autograd import Function
from pynn.backend import array_module, contiguous, native, widen
from pynn.functional import shape
from pynn.functional.activation import float_input
from pynn.functional.broadcast import meet, sum_to_native
from pynn.functional.embedding import integers
from pynn.functional.linear import as_rows, check_dtypes, column_sums
from pynn.functional.product import NN, NT, TN, cast, multiply, nothing
from pynn.tensor import Tensor


class _Recurrence(Function):
    """One layer in one direction: what its kinds share.

    Inputs x (T, N, I), the states (N, H), w_ih (G H, I), w_hh (G H, H) and, or neither, b_ih and
    b_hh (G H,); outputs y (T, N, H) and the last states. Beside the inputs are saved 1, 5 and 7
    arrays (T, N, H) for RNN, GRU and LSTM: the states, the gates, and a term of h.
    """

    def __init__(self, lengths=None, reverse=False):
        self.lengths, self.reverse = lengths, reverse

    def begin(self, x, w_ih, w_hh):
        """The order of the steps, and which samples have ended in each."""
        xp, T = array_module(x), x.shape[0]
        self.x, self.w_ih, self.w_hh = x, w_ih, w_hh
        self.walk = [(t, t, t + 1) for t in range(T)]  # step, state before it, state after it
        self.befores, self.afters, self.last = slice(0, T), slice(1, T + 1), T
        if self.reverse:
            self.walk = [(t, t + 1, t) for t in reversed(range(T))]
            self.befores, self.afters, self.last = self.afters, self.befores, 0
        self.idle = None
        self.idle_at = [None] * T  # (N, 1) bools where a sample has ended
        if self.lengths is not None:
            idle = (xp.arange(T)[:, None] >= self.lengths)[..., None]
            self.idle_at = [idle[t] if i else None for t, i in enumerate(idle.any(axis=(1, 2)))]
            self.idle = idle if any(i is not None for i in self.idle_at) else None

    def states_from(self, first, dtype):
        """The states (T + 1, N, H) of all steps, the first of them set."""
        T = self.x.shape[0]
        states = array_module(first).empty((T + 1, *first.shape), dtype)
        states[T if self.reverse else 0] = first
        return states

    def inputs(self, bias):
        """z of all steps (T, N, G H): what x gives."""
        z = self.rows() @ widen(self.w_ih).T
        if bias is not None:
            z += widen(bias)
        return z.reshape(*self.x.shape[:2], self.w_ih.shape[0])

    def rows(self):
        """x as a matrix, 0 past the ends."""
        x = widen(self.x)
        if self.idle is not None:
            x = array_module(x).where(self.idle, x.dtype.type(0), x)
        return as_rows(x)

    def inputs_native(self, bias):
        z = array_module(self.x).empty((*self.x.shape[:2], self.w_ih.shape[0]), np.float32)
        multiply(self.rows_native(), self.w_ih, as_rows(z), NT, bias)
        return z

    def rows_native(self):
        return as_rows(self.x if self.idle is None else self.living(self.x))

    def living(self, array):
        """The array (T, N, ...) with zeros past the ends."""
        (idle,) = contiguous([self.idle])
        zero = array_module(array).zeros((), array.dtype)
        return meet(native.where_fwd, idle, zero, array)

    @property
    def ends(self):
        """The lengths as the kernels take them."""
        xp = array_module(self.x)
        return nothing(xp) if self.lengths is None else self.lengths.astype(np.int64)

    def outputs_native(self, *states):
        y, dtype = self.h[self.afters], self.x.dtype
        y = y if self.idle is None else self.living(y)
        return cast(y, dtype), *(s[self.last].astype(dtype) for s in states)

    def outputs_of(self, *states):
        """y and the last of each kind of state, in x's dtype."""
        y, dtype = self.h[self.afters], self.x.dtype
        if self.idle is not None:
            y = array_module(y).where(self.idle, y.dtype.type(0), y)
        return y.astype(dtype, copy=False), *(s[self.last].astype(dtype) for s in states)

    def gradients(self, dz, dzh, b_needs):
        """dx, dw_ih, dw_hh, and db_ih, db_hh if `b_needs` is not empty, from the gradients of what
        W_ih x + b_ih and W_hh h + b_hh give.
        """
        T, N = self.x.shape[:2]
        same = dzh is dz
        dz, dzh = as_rows(dz), as_rows(dzh)
        need_x, need_ih, need_hh = self.needs[0], *self.needs[self.states + 1 : self.states + 3]
        dx = dw_ih = dw_hh = None
        if need_x:
            dx = (dz @ widen(self.w_ih)).reshape(self.x.shape).astype(self.x.dtype, copy=False)
        if need_ih:
            dw_ih = (dz.T @ self.rows()).astype(self.w_ih.dtype, copy=False)
        if need_hh:
            dw_hh = dzh.T @ as_rows(self.h[self.befores])
            dw_hh = dw_hh.astype(self.w_hh.dtype, copy=False)
        if not b_needs:
            return dx, (dw_ih, dw_hh)
        db_ih = column_sums(dz).astype(self.w_ih.dtype, copy=False) if any(b_needs) else None
        db_hh = db_ih if same or not b_needs[1] else column_sums(dzh).astype(db_ih.dtype)
        return dx, (dw_ih, dw_hh, db_ih if b_needs[0] else None, db_hh if b_needs[1] else None)

    def gradients_native(self, dz, dzh, b_needs):
        """`gradients` by kernels."""
        same = dzh is dz
        dz, dzh = as_rows(dz), as_rows(dzh)
        need_x, need_ih, need_hh = self.needs[0], *self.needs[self.states + 1 : self.states + 3]
        xp, dtype = array_module(dz), self.x.dtype
        low = cast(dz, dtype)
        dx = dw_ih = dw_hh = db_ih = db_hh = None
        if need_x:
            dx = xp.empty(self.x.shape, dtype)
            multiply(low, self.w_ih, as_rows(dx), NN)
        if need_ih:
            dw_ih = xp.empty_like(self.w_ih)
            multiply(low, self.rows_native(), dw_ih, TN)
        if need_hh:
            dw_hh = xp.empty_like(self.w_hh)
            befores = cast(as_rows(self.h[self.befores]), dtype)
            multiply(low if same else cast(dzh, dtype), befores, dw_hh, TN)
        if not b_needs:
            return dx, (dw_ih, dw_hh)
        if any(b_needs):
            db_ih = cast(sum_to_native(dz, dz.shape[1:]), dtype)
        if b_needs[1]:
            db_hh = db_ih if same else cast(sum_to_native(dzh, dzh.shape[1:]), dtype)
        return dx, (dw_ih, dw_hh, db_ih if b_needs[0] else None, db_hh)


def _wide_native(array):
    return None if array is None else cast(array, np.dtype(np.float32))


def _both(b_ih, b_hh):
    """The sum of the biases, in float32."""
    return None if b_ih is None else meet(native.add_fwd, _wide_native(b_ih), _wide_native(b_hh))


class Rnn(_Recurrence):
    """h_t = f(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh), f tanh or max(0, .);  y_t = h_t.

    dz_t = f'(z_t) dh_t,  dh_(t-1) = dz_t W_hh + dy_(t-1).  Elman 1990, "Finding structure in time".
    """

    states = 1

    def __init__(self, relu=False, lengths=None, reverse=False):
        super().__init__(lengths, reverse)
        self.relu = relu

    def forward(self, x, h, w_ih, w_hh, b_ih=None, b_hh=None):
        self.begin(x, w_ih, w_hh)
        z = self.inputs(None if b_ih is None else widen(b_ih) + widen(b_hh))
        hs = self.h = self.states_from(h, z.dtype)
        xp, w = array_module(x), widen(w_hh).T
        for t, before, after in self.walk:
            new = xp.matmul(hs[before], w, out=hs[after])
            new += z[t]
            if self.relu:
                xp.maximum(new, 0, out=new)
            else:
                xp.tanh(new, out=new)
            if self.idle_at[t] is not None:
                xp.copyto(new, hs[before], where=self.idle_at[t])
        return self.outputs_of(hs)

    def backward(self, dy, dh):
        xp, w, dtype = array_module(dy), widen(self.w_hh), dy.dtype
        dy, dh = widen(dy), widen(dh)
        y = self.h[self.afters]
        slope = (y > 0).astype(y.dtype) if self.relu else 1 - y * y
        dz = slope  # each step's slopes become its gradients
        for t, _, _ in reversed(self.walk):
            dz[t] *= dh + dy[t]
            if self.idle_at[t] is not None:
                xp.copyto(dz[t], 0, where=self.idle_at[t])
                dh = xp.where(self.idle_at[t], dh, dz[t] @ w)
            else:
                dh = dz[t] @ w
        dx, rest = self.gradients(dz, dz, self.needs[4:])
        return dx, dh.astype(dtype, copy=False), *rest

    def forward_native(self, x, h, w_ih, w_hh, b_ih=None, b_hh=None):
        self.begin(x, w_ih, w_hh)
        z = self.inputs_native(_both(b_ih, b_hh))
        hs = self.h = self.states_from(h, np.float32)
        w, p = _wide_native(w_hh), array_module(x).empty(h.shape, np.float32)
        for t, before, after in self.walk:
            multiply(hs[before], w, p, NT)
            native.rnn_cell_fwd(z[t], p, hs[before], self.ends, hs[after], t, self.relu)
        return self.outputs_native(hs)

    def backward_native(self, dy, dh):
        xp, w, dtype = array_module(dy), _wide_native(self.w_hh), dy.dtype
        y, dy, carry = self.h[self.afters], _wide_native(dy), dh.astype(np.float32)
        dz, past = xp.empty_like(dy), xp.zeros_like(carry)
        for t, _, _ in reversed(self.walk):
            native.rnn_cell_bwd(y[t], dy[t], past, self.ends, dz[t], carry, t, self.relu)
            multiply(dz[t], w, past, NN)
        dx, rest = self.gradients_native(dz, dz, self.needs[4:])
        return dx, cast(meet(native.add_fwd, carry, past), dtype), *rest


class Gru(_Recurrence):
    """h_t = (1 - z) n + z h_(t-1),  r, z = sigmoid(W_ih x + b_ih + W_hh h + b_hh), their rows,
    n = tanh(W_in x + b_in + r (W_hn h + b_hn)).

    dn = dh (1 - z)(1 - n^2),  dz = dh (h - n) z (1 - z),  dr = dn (W_hn h + b_hn) r (1 - r).
    Cho et al. 2014, arXiv:1406.1078.
    """

    states = 1

    def forward(self, x, h, w_ih, w_hh, b_ih=None, b_hh=None):
        xp, H = array_module(x), h.shape[1]
        self.begin(x, w_ih, w_hh)
        z = self.gates = self.inputs(b_ih)
        hs, w = self.states_from(h, z.dtype), widen(w_hh).T
        self.h = hs
        bias = None if b_hh is None else widen(b_hh)
        self.hidden = xp.empty(hs[1:].shape, hs.dtype)  # W_hn h + b_hn
        for t, before, after in self.walk:
            product = hs[before] @ w
            if bias is not None:
                product += bias
            both, n = z[t, :, : 2 * H], z[t, :, 2 * H :]
            both += product[:, : 2 * H]
            both *= 0.5
            xp.tanh(both, out=both)
            both *= 0.5
            both += 0.5
            self.hidden[t] = product[:, 2 * H :]
            n += both[:, :H] * self.hidden[t]
            xp.tanh(n, out=n)
            new = xp.subtract(hs[before], n, out=hs[after])
            new *= both[:, H:]
            new += n
            if self.idle_at[t] is not None:
                xp.copyto(new, hs[before], where=self.idle_at[t])
        return self.outputs_of(hs)

    def backward(self, dy, dh):
        xp, w, dtype, H = array_module(dy), widen(self.w_hh), dy.dtype, dh.shape[1]
        dy, dh = widen(dy), widen(dh)
        dz, dzh = xp.empty_like(self.gates), xp.empty_like(self.gates)
        for t, before, _ in reversed(self.walk):
            r, z, n = (self.gates[t, :, k * H : (k + 1) * H] for k in range(3))
            idle, d = self.idle_at[t], dh + dy[t]
            dn = d * (1 - z)
            dn *= 1 - n * n
            if idle is not None:
                xp.copyto(dn, 0, where=idle)
                d = xp.where(idle, 0, d)
            step, step_h = dz[t], dzh[t]
            step[:, 2 * H :] = dn
            step[:, H : 2 * H] = d * (self.h[before] - n) * (z * (1 - z))
            step[:, :H] = dn * self.hidden[t] * (r * (1 - r))
            step_h[:, : 2 * H] = step[:, : 2 * H]
            step_h[:, 2 * H :] = dn * r
            past = step_h @ w
            past += d * z
            dh = past if idle is None else xp.where(idle, dh, past)
        dx, rest = self.gradients(dz, dzh, self.needs[4:])
        return dx, dh.astype(dtype, copy=False), *rest

    def forward_native(self, x, h, w_ih, w_hh, b_ih=None, b_hh=None):
        self.begin(x, w_ih, w_hh)
        z = self.gates = self.inputs_native(_wide_native(b_ih))
        hs = self.h = self.states_from(h, np.float32)
        xp, w, bias = array_module(x), _wide_native(w_hh), _wide_native(b_hh)
        self.hidden, p = xp.empty_like(hs[1:]), xp.empty((len(h), len(w)), np.float32)
        for t, before, after in self.walk:
            multiply(hs[before], w, p, NT, bias)
            native.gru_cell_fwd(p, hs[before], self.ends, z[t], self.hidden[t], hs[after], t)
        return self.outputs_native(hs)

    def backward_native(self, dy, dh):
        xp, w, dtype = array_module(dy), _wide_native(self.w_hh), dy.dtype
        dy, carry = _wide_native(dy), dh.astype(np.float32)
        dz, dzh = xp.empty_like(self.gates), xp.empty_like(self.gates)
        past = xp.zeros_like(carry)
        for t, before, _ in reversed(self.walk):
            native.gru_cell_bwd(
                self.gates[t], self.hidden[t], self.h[before], dy[t], past, self.ends,
                dz[t], dzh[t], carry, t,
            )  # fmt: skip
            multiply(dzh[t], w, past, NN)
        dx, rest = self.gradients_native(dz, dzh, self.needs[4:])
        return dx, cast(meet(native.add_fwd, carry, past), dtype), *rest


class Lstm(_Recurrence):
    """c_t = f c_(t-1) + i g,  h_t = o tanh(c_t);  i, f, g, o the rows of W_ih x + b_ih + W_hh h +
    b_hh, under sigmoid, sigmoid, tanh, sigmoid.

    dc += dh o (1 - tanh^2 c);  di = dc g, df = dc c_(t-1), dg = dc i, do = dh tanh c, each times
    its gate's slope; the former step gets dc f.
    Hochreiter and Schmidhuber 1997, "Long short-term memory".
    """

    states = 2

    def forward(self, x, h, c, w_ih, w_hh, b_ih=None, b_hh=None):
        xp, H = array_module(x), h.shape[1]
        self.begin(x, w_ih, w_hh)
        z = self.gates = self.inputs(None if b_ih is None else widen(b_ih) + widen(b_hh))
        hs = self.h = self.states_from(h, z.dtype)
        cs = self.c = self.states_from(c, z.dtype)
        self.tanh_c, w = xp.empty_like(hs[1:]), widen(w_hh).T
        half = xp.full(4 * H, 0.5, z.dtype)
        half[2 * H : 3 * H] = 1
        shift = 1 - half  # a logistic gate is 0.5 + 0.5 tanh(z / 2); g is 0 + 1 tanh(z)
        shift[2 * H : 3 * H] = 0
        for t, before, after in self.walk:
            gates = z[t]
            gates += hs[before] @ w
            gates *= half
            xp.tanh(gates, out=gates)
            gates *= half
            gates += shift
            i, f, g, o = (gates[:, k * H : (k + 1) * H] for k in range(4))
            new = xp.multiply(f, cs[before], out=cs[after])
            new += i * g
            tanh_c = xp.tanh(new, out=self.tanh_c[t])
            xp.multiply(o, tanh_c, out=hs[after])
            if self.idle_at[t] is not None:
                xp.copyto(new, cs[before], where=self.idle_at[t])
                xp.copyto(hs[after], hs[before], where=self.idle_at[t])
        return self.outputs_of(hs, cs)

    def backward(self, dy, dh, dc):
        xp, w, dtype, H = array_module(dy), widen(self.w_hh), dy.dtype, dh.shape[1]
        dy, dh, dc = widen(dy), widen(dh), widen(dc)
        dz = xp.empty_like(self.gates)
        for t, before, _ in reversed(self.walk):
            gates, step, idle = self.gates[t], dz[t], self.idle_at[t]
            i, f, g, o = (gates[:, k * H : (k + 1) * H] for k in range(4))
            tanh_c = self.tanh_c[t]
            d = dh + dy[t]
            do = d * tanh_c
            d *= o
            d -= do * (o * tanh_c)  # d o (1 - tanh^2 c)
            d += dc
            xp.subtract(1, gates, out=step)
            step *= gates  # slopes of the logistic gates
            step[:, :H] *= d * g
            step[:, H : 2 * H] *= d * self.c[before]
            xp.multiply(d * i, 1 - g * g, out=step[:, 2 * H : 3 * H])
            step[:, 3 * H :] *= do
            d *= f
            if idle is None:
                dc, dh = d, step @ w
            else:
                xp.copyto(step, 0, where=idle)
                dc, dh = xp.where(idle, dc, d), xp.where(idle, dh, step @ w)
        dx, rest = self.gradients(dz, dz, self.needs[5:])
        return dx, dh.astype(dtype, copy=False), dc.astype(dtype, copy=False), *rest

    def forward_native(self, x, h, c, w_ih, w_hh, b_ih=None, b_hh=None):
        self.begin(x, w_ih, w_hh)
        z = self.gates = self.inputs_native(_both(b_ih, b_hh))
        hs = self.h = self.states_from(h, np.float32)
        cs = self.c = self.states_from(c, np.float32)
        xp, w = array_module(x), _wide_native(w_hh)
        self.tanh_c, p = xp.empty_like(hs[1:]), xp.empty((len(h), len(w)), np.float32)
        for t, before, after in self.walk:
            multiply(hs[before], w, p, NT)
            native.lstm_cell_fwd(
                p, hs[before], cs[before], self.ends, z[t], self.tanh_c[t], hs[after], cs[after], t
            )
        return self.outputs_native(hs, cs)

    def backward_native(self, dy, dh, dc):
        xp, w, dtype = array_module(dy), _wide_native(self.w_hh), dy.dtype
        dy, carry, memory = _wide_native(dy), dh.astype(np.float32), dc.astype(np.float32)
        dz, past = xp.empty_like(self.gates), xp.zeros_like(carry)
        for t, before, _ in reversed(self.walk):
            native.lstm_cell_bwd(
                self.gates[t], self.tanh_c[t], self.c[before], dy[t], past, self.ends,
                dz[t], carry, memory, t,
            )  # fmt: skip
            multiply(dz[t], w, past, NN)
        dx, rest = self.gradients_native(dz, dz, self.needs[5:])
        dh = cast(meet(native.add_fwd, carry, past), dtype)
        return dx, dh, cast(memory, dtype), *rest


# ------------------------------------------------------------------ public functions


def rnn(
    x,
    h,
    weight_ih,
    weight_hh,
    bias_ih=None,
    bias_hh=None,
    nonlinearity="tanh",
    lengths=None,
    reverse=False,
    batch_first=True,
):
    """One layer, in one direction:  h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh).

    x          (N, T, I)  any float; (T, N, I) with batch_first=False
    h          (N, H)     the first state, dtype of x; None: zeros
    weight_ih, weight_hh, bias_ih, bias_hh  (H, I), (H, H), (H,), (H,); the biases both or neither
    nonlinearity  "tanh" or "relu"
    lengths    (N,)       integers in [0, T], the steps of each sample; None: T
    reverse    from each sample's last step to its first
    returns y (N, T, H), 0 past a sample's end, and the last state (N, H); sums in f32 or wider

    Raises ValueError for shapes, lengths or another nonlinearity, TypeError for dtypes.
    """
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"[rnn] nonlinearity: expected 'tanh' or 'relu', got {nonlinearity!r}")
    return _layer(
        "rnn",
        lambda *options: Rnn(nonlinearity == "relu", *options),
        1,
        (x, (h,), weight_ih, weight_hh, bias_ih, bias_hh),
        (lengths, reverse, batch_first),
    )


def gru(
    x,
    h,
    weight_ih,
    weight_hh,
    bias_ih=None,
    bias_hh=None,
    lengths=None,
    reverse=False,
    batch_first=True,
):
    """One layer of gated recurrent units, in one direction; gates r, z, n.

    weight_ih, weight_hh, bias_ih, bias_hh  (3 H, I), (3 H, H), (3 H,), (3 H,)

    Otherwise as `rnn`.  Cho et al. 2014, arXiv:1406.1078.
    """
    given = x, (h,), weight_ih, weight_hh, bias_ih, bias_hh
    return _layer("gru", Gru, 3, given, (lengths, reverse, batch_first))


def lstm(
    x,
    h,
    c,
    weight_ih,
    weight_hh,
    bias_ih=None,
    bias_hh=None,
    lengths=None,
    reverse=False,
    batch_first=True,
):
    """One layer of long short-term memory, in one direction; gates i, f, g, o.

    h, c  (N, H)  the first output and the first memory; None: zeros
    weight_ih, weight_hh, bias_ih, bias_hh  (4 H, I), (4 H, H), (4 H,), (4 H,)
    returns y (N, T, H), h (N, H) and c (N, H)

    Otherwise as `rnn`.  Hochreiter and Schmidhuber 1997, "Long short-term memory".
    """
    given = x, (h, c), weight_ih, weight_hh, bias_ih, bias_hh
    return _layer("lstm", Lstm, 4, given, (lengths, reverse, batch_first))


def _layer(op, Op, blocks, given, options):
    """Check the arguments and run the layer, time first."""
    x, states, w_ih, w_hh, b_ih, b_hh = given
    lengths, reverse, batch_first = options
    float_input(op, x)
    if x.ndim != 3:
        order = "(N, T, I)" if batch_first else "(T, N, I)"
        raise ValueError(f"[{op}] x: expected shape {order}, got {x.shape}")
    if batch_first:
        x = shape.transpose(x, 0, 1)
    T, N, I = x.shape
    H = w_hh.shape[-1]
    states = [Tensor(_zeros(x, N, H)) if s is None else s for s in states]
    wanted = {"weight_ih": (blocks * H, I), "weight_hh": (blocks * H, H)}
    wanted |= {"bias_ih": (blocks * H,), "bias_hh": (blocks * H,)} | {"h": (N, H), "c": (N, H)}
    held = {"weight_ih": w_ih, "weight_hh": w_hh, "bias_ih": b_ih, "bias_hh": b_hh}
    held |= dict(zip("hc", states, strict=False))
    if (b_ih is None) != (b_hh is None):
        raise ValueError(f"[{op}] expected both biases or neither, got one")
    for name, tensor in held.items():
        if tensor is not None and tensor.shape != wanted[name]:
            raise ValueError(f"[{op}] {name}: expected shape {wanted[name]}, got {tensor.shape}")
    check_dtypes(op, x, **held)
    weights = (w_ih, w_hh) if b_ih is None else (w_ih, w_hh, b_ih, b_hh)
    y, *last = Op(_lengths(op, lengths, x, T, N), reverse)(x, *states, *weights)
    return (shape.transpose(y, 0, 1) if batch_first else y), *last


def _zeros(x, *shape):
    return array_module(x.data).zeros(shape, x.dtype)


def _lengths(op, lengths, x, T, N):
    """The raw lengths, None if all are T."""
    if lengths is None:
        return None
    lengths = integers(op, "lengths", lengths, x.data)
    if lengths.shape != (N,):
        raise ValueError(f"[{op}] lengths: expected shape ({N},), got {lengths.shape}")
    wrong = (lengths < 0) | (lengths > T)
    if wrong.any():
        got = int(lengths[np.flatnonzero(wrong.tolist())[0]])
        raise ValueError(f"[{op}] lengths: expected integers in [0, {T}], got {got}")
    return lengths
