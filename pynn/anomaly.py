"""Anomaly mode: which op first produced a NaN, and where it was called."""

import traceback

from pynn.autograd import observe


class _Anomaly:
    def after_forward(self, op, arrays, outputs):
        op.made_at = "".join(traceback.format_stack(limit=8)[:-2])
        for out in outputs:
            if _has_nan(out.data) and not any(_has_nan(a) for a in arrays):
                raise RuntimeError(
                    f"[{op.name}] forward: expected no NaN from inputs without one, got NaN"
                )

    def after_backward(self, op, dys, dxs):
        for x, dx in zip(op.inputs, dxs, strict=True):
            if dx is None:
                continue
            if dx.shape != x.shape:
                raise RuntimeError(
                    f"[{op.name}] backward: expected a gradient of shape {x.shape}, got {dx.shape}"
                )
            if _has_nan(dx) and not any(_has_nan(dy) for dy in dys):
                raise RuntimeError(
                    f"[{op.name}] backward: expected no NaN from a gradient without one, got NaN; "
                    f"the op ran at\n{op.made_at}"
                )


def _has_nan(array):
    return bool((array != array).any())


def anomaly_mode():
    """`with pynn.anomaly_mode():` names the op that first produced a NaN, forward or backward, and
    where it was called.
    """
    return observe(_Anomaly())
