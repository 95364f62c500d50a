"""Losses of two arrays by kernels: what the classes of loss.py hand to csrc/kernels/loss/."""

import numpy as np

from pynn import dtypes
from pynn.autograd import Function
from pynn.backend import array_module, contiguous, device_of, native
from pynn.functional.arithmetic import as_float
from pynn.functional.product import nothing

_NAMES = ("mse", "l1", "huber", "arctan", "rmse", "bce", "bce_logits", "kl", "kl_log", "hinge")
_PARTS = 1056  # CTAs that fill a GPU; the same everywhere, for the same bits


class ByKernels(Function):
    """Mixed into a loss of x and t that has `reduction`, and counts and refuses as Loss does."""

    kernel = ""  # one of _NAMES
    parameter = 1.0  # of the kernel's formula
    scale = 1.0  # of all values
    weight = None  # an array that broadcasts to x

    def takes_native(self, arrays):
        x, t = arrays
        floats = self.native_dtypes
        return x.dtype.name in floats and (
            t.dtype.name in floats or t.dtype in (*dtypes.INTEGERS, dtypes.bool_)
        )

    def forward_native(self, x, t):
        """On a GPU what the reference refuses gives NaN: to raise, the host would have to wait."""
        self.x, self.t = x, t
        if device_of(x) == "cpu":
            self.refuse(*self.widened())
        xp = array_module(x)
        self.count(x)
        if self.reduction == "none":
            y, workspace = xp.empty(x.shape, np.float32), xp.empty(0, np.float64)
        else:
            y, workspace = xp.empty((), np.float32), xp.empty(_PARTS, np.float64)
        native.loss_fwd(*self.operands(), y.reshape(-1), workspace, *self.how())
        return y

    def backward_native(self, dy):
        xp, (x, t, *beside) = array_module(dy), self.operands()
        dx, dt = (xp.empty(x.size if need else 0, x.dtype) for need in self.needs)
        native.loss_bwd(x, t, *beside, dy.reshape(-1), dx, dt, *self.how())
        return tuple(
            as_float(d, a.dtype).reshape(a.shape) if need else None
            for d, a, need in zip((dx, dt), (self.x, self.t), self.needs, strict=True)
        )

    def operands(self):
        """x and t in one dtype, weights and whatever else stands beside them, each in one row."""
        x, t = self.x, self.t
        if x.dtype != t.dtype:
            x, t = as_float(x), as_float(t)
        return x.reshape(-1), t.reshape(-1), self.filled(self.weight), self.extra()

    def extra(self):
        """The kernel's e where it is not `parameter`, in a row of float32."""
        return nothing(array_module(self.x))

    def filled(self, values):
        """Constants in x's shape, in one row of float32; nothing for None."""
        xp = array_module(self.x)
        if values is None:
            return nothing(xp)
        values = xp.broadcast_to(values.astype(np.float32, copy=False), self.x.shape)
        return contiguous([values])[0].reshape(-1)

    def how(self):
        divisor = 1 if self.reduction == "none" else self.divisor
        return _NAMES.index(self.kernel), float(self.parameter), divisor / self.scale
