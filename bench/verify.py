"""Whether a result may be timed: its error against float64, and what error is too large.

    error = max over the results of  |y - truth| / |truth|   (Euclidean norms)

A result is refused if its error is past LIMITS, and a kernel's also if somewhere it errs more than
twice as much as the reference in the same dtype, plus one ulp (question 3 of pynn.testing).
NaN and inf must stand where the truth has them.
"""

import numpy as np

from pynn import dtypes
from pynn.backend import array_module

# Rounding of inputs, sums and result of an op with thousands of terms; a wrong element of a
# hundred is far past it.
LIMITS = {"float64": 1e-9, "float32": 1e-3, "float16": 1e-2, "bfloat16": 4e-2}


def fault(got, truth, dtype, reference=None):
    """(error, what is wrong or ""): of float64 arrays, `got` computed in `dtype`."""
    worst = 0.0
    if len(got) != len(truth):
        return worst, f"expected {len(truth)} results, got {len(got)}"
    for i, (y, t) in enumerate(zip(got, truth, strict=True)):
        if t is None and y is None:
            continue
        if t is None or y is None or y.shape != t.shape:
            shapes = [None if a is None else a.shape for a in (t, y)]
            return worst, f"result {i}: expected shape {shapes[0]}, got {shapes[1]}"
        xp = array_module(t)
        finite = xp.isfinite(t)
        odd = int((~finite & (y != t) & ~((y != y) & (t != t))).sum())
        odd += int((finite & ~xp.isfinite(y)).sum())
        if odd:
            return worst, f"result {i}: expected inf and NaN as in float64, got {odd} others"
        d = xp.where(finite, y, 0) - xp.where(finite, t, 0)
        size = float(xp.sqrt((xp.where(finite, t, 0) ** 2).sum()))
        error = float(xp.sqrt((d * d).sum())) / (size or 1.0)
        worst = max(worst, error)
        if not error <= LIMITS[dtype]:
            return worst, f"result {i}: expected an error below {LIMITS[dtype]:g}, got {error:.3g}"
        if reference is not None and t.size:
            share = _share(xp, xp.abs(d), t, reference[i], dtype)
            if not share <= 1:
                return worst, (
                    f"result {i}: expected at most twice the reference's error, plus an ulp, "
                    f"got {share:.2f} of that"
                )
    return worst, ""


def _share(xp, d, t, reference, dtype):
    """The greatest error as a fraction of twice the reference's greatest, plus one ulp of t."""
    about = dtypes.finfo(dtypes.as_dtype(dtype))
    finite = xp.isfinite(t)
    with np.errstate(invalid="ignore"):
        peer = float(xp.where(finite, xp.abs(reference - t), 0).max())
        ulp = float(about.eps) * xp.abs(t) + float(about.smallest_subnormal)
        return float(xp.where(finite, d / (2 * peer + ulp), 0).max())
