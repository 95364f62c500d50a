"""Is an op right? `check` asks it of a Function, yours too; `gradcheck` of any function of tensors.

`check(op, *cases)` asks six questions of every case in every dtype:
 1. Is the reference forward the float64 truth?          4. May any backward follow any forward?
 2. Is the reference backward the central difference?    5. Do the same inputs give the same bits
                                                         twice?
 3. Are the kernels as right as the reference?           6. Do NaN, inf and extreme values go where
                                                         they should?

No tolerance is tuned. Question 1 allows one rounding of the result, plus eight times what changes
when the inputs and the result are rounded to the precision of the sums (measured, by rounding them
at random). Question 2 allows ten times the difference that halving the step makes. Question 3
allows twice the reference's error in the same dtype, plus one ulp of the result (the rule of
FlashAttention's tests); where one run of the reference was lucky, its error is the greatest of
several, on inputs a few ulps away.

Over 400 lines: the six questions share how an op is run and what bounds its errors.
"""

import dataclasses

import numpy as np

from pynn import backend, dtypes
from pynn.tensor import Tensor

SIZES = (0, 1, 31, 32, 33, 127, 4099)
DRAWS = 4  # random roundings of the inputs
NEIGHBOURS = 8  # inputs a few ulps away


@dataclasses.dataclass
class Row:
    """What one case showed. Errors are fractions of the bound: at most 1."""

    op: str
    dtype: str
    shapes: tuple
    forward: float
    backward: float
    native: float | None  # None: no kernel was asked


def vectors(count=1, sizes=SIZES, scale=2.0, seed=0):
    """Cases of `count` normal vectors of each size."""
    rng = np.random.default_rng(seed)
    return [tuple(scale * rng.standard_normal(n) for _ in range(count)) for n in sizes]


def check(
    op,
    *cases,
    truth=None,
    types=("float64", "float32", "float16", "bfloat16"),
    extremes=(),
    gradient=True,
):
    """Ask the six questions of an op; returns a list of Rows. Raises AssertionError naming the
    question, dtype and case.

    op        makes a fresh Function: its class, or a lambda that gives it hyper-parameters
    cases     tuples of arrays: floats are cast to each dtype, integers and bools stay
    truth     float64 arrays -> the result, worked out independently; without it, the reference run
              in float64
    extremes  (inputs, y, dx) in float64: what must come out of special values, with dy = 1; dx is a
              tuple or None
    gradient  whether the op has one
    """
    rows = []
    for case in cases:
        case = tuple(np.asarray(a) for a in case)
        for name in types:
            rows.append(_check_case(op, case, dtypes.as_dtype(name), truth, gradient))
        if gradient:
            _check_central_differences(op, case)
    for inputs, y, dx in extremes:
        _check_extremes(op, inputs, y, dx, types)
    return rows


def _check_case(op, case, dtype, truth, gradient):
    name = op().name
    where = f"{name} {dtype.name} " + " ".join(str(a.shape) for a in case)
    low = [cast(a, dtype) for a in case]
    exact = [cast(a, dtypes.float64) for a in low]
    sums = np.dtype("float32") if dtype.itemsize < 4 else dtype

    ys, node = forward(op, low)
    ys64, node64 = forward(op, exact)
    for y, y64 in zip(ys, ys64, strict=True):
        assert y.dtype == dtype or y64.dtype != np.float64, (
            f"{where}: expected {dtype}, got {y.dtype}"
        )
        assert y.shape == y64.shape, f"{where}: expected {y64.shape}, got {y.shape}"
    if truth is not None:
        wanted = truth(*exact)
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        bounds = _bounds(op, exact, ys64, np.dtype("float64"), np.dtype("float64"), None)
        _compare(f"{where}: question 1, float64 reference against truth", ys64, wanted, bounds)
    bounds = _bounds(op, exact, ys64, dtype, sums, None)
    forward_error = _compare(f"{where}: question 1, forward", ys, ys64, bounds)
    again, _ = forward(op, low)
    assert _same_bits(ys, again), f"{where}: question 5, forward gave other bits the second time"

    backward_error = 0.0
    dys = dxs64 = None
    if gradient:
        rng = np.random.default_rng(1)
        dys = [cast(rng.standard_normal(y.shape), dtype) for y in ys]
        dys64 = [cast(dy, dtypes.float64) for dy in dys]
        dxs64 = backward(node64, dys64)
        dxs = backward(node, dys)
        for dx, x in zip(dxs, low, strict=True):
            fits = dx is None or (dx.shape == x.shape and dx.dtype == x.dtype)
            assert fits, (
                f"{where}: expected a gradient {x.shape} {x.dtype}, got {dx.shape} {dx.dtype}"
            )
        # what the forward saved was rounded to the dtype, so the inputs are perturbed by that much
        # here
        bounds = _bounds(op, exact, dxs64, dtype, dtype, dys64)
        backward_error = _compare(f"{where}: question 1, backward", dxs, dxs64, bounds)
        again = backward(forward(op, low)[1], dys)
        assert _same_bits(dxs, again), (
            f"{where}: question 5, backward gave other bits the second time"
        )
    native = _check_native(op, where, low, ys, ys64, dys, dxs64 if gradient else None)
    return Row(
        name, dtype.name, tuple(a.shape for a in case), forward_error, backward_error, native
    )


def _check_native(op, where, low, ys, ys64, dys, dxs64):
    """Questions 3 and 4, where the op has kernels and this machine can run them; the error as a
    fraction of the bound.
    """
    node = op()
    if (
        node.forward_native is None
        or backend.kernel_module("sim") is None
        or not node.takes_native(low)
    ):
        return None
    native_ys, native_node = forward(op, low, native=True)
    text = f"{where}: question 3, forward"
    worst = at_most_twice(text, native_ys, ys, ys64, lambda: errors_nearby(op, low))
    again, _ = forward(op, low, native=True)
    assert _same_bits(native_ys, again), (
        f"{where}: question 5, the kernel gave other bits the second time"
    )
    if dxs64 is None:
        return worst
    reference = backward(forward(op, low)[1], dys)
    for from_native in (False, True):
        for to_native in (False, True):
            if (from_native or to_native) and (node.backward_native is not None or not to_native):
                start = (
                    native_node
                    if from_native and not to_native
                    else forward(op, low, native=from_native)[1]
                )
                dxs = backward(start, dys, native=to_native)
                text = f"{where}: question {3 if from_native and to_native else 4}, backward"
                share = at_most_twice(
                    text, dxs, reference, dxs64, lambda: errors_nearby(op, low, dys)
                )
                worst = max(worst, share)
    return worst


def _check_central_differences(op, case):
    """Question 2, in random directions, and in every coordinate of small inputs."""
    exact = [cast(a, dtypes.float64) for a in case]
    floats = [i for i, a in enumerate(exact) if a.dtype == np.float64 and a.size]
    if not floats or sum(a.size for a in exact) > 20000:
        return
    rng = np.random.default_rng(2)
    ys, node = forward(op, exact)
    dys = [rng.standard_normal(y.shape) for y in ys]
    if not sum(y.size for y in ys):
        return
    dxs = backward(node, dys)

    def value(i, step):
        moved = [a + step if j == i else a for j, a in enumerate(exact)]
        return sum(float((y * dy).sum()) for y, dy in zip(forward(op, moved)[0], dys, strict=True))

    for i in floats:
        if dxs[i] is None:
            continue
        x = exact[i]
        directions = [rng.choice([-1.0, 1.0], x.shape) for _ in range(3)]
        if x.size <= 12:
            directions += [np.eye(x.size)[k].reshape(x.shape) for k in range(x.size)]
        for v in directions:
            given = float((dxs[i] * v).sum())
            message = f"{op().name} {[a.shape for a in case]}: question 2, input {i}"
            _expect_derivative(
                message, lambda h, i=i, v=v: value(i, h * v), given, float(np.abs(dxs[i]).sum())
            )


def _expect_derivative(message, f, given, scale):
    """Whether `given` is f'(0), by central differences at two steps; their difference bounds the
    error.
    """
    h = 1e-5
    rough, fine = ((f(s) - f(-s)) / (2 * s) for s in (h, h / 2))
    rounding = 64 * np.finfo(np.float64).eps * (abs(f(0.0)) + 1.0) / h
    bound = 10 * abs(rough - fine) + rounding + 1e-9 * max(scale, abs(given))
    assert abs(fine - given) <= bound, (
        f"{message}: expected derivative {fine}, got {given} (bound {bound:.2e})"
    )


def _check_extremes(op, inputs, y, dx, types):
    for name in types:
        dtype = dtypes.as_dtype(name)
        low = [cast(np.asarray(a), dtype) for a in inputs]
        with np.errstate(over="ignore", invalid="ignore"):
            wanted = np.asarray(y, np.float64).astype(dtype).astype(np.float64)
        for native in (False, True):
            if native and (op().forward_native is None or backend.kernel_module("sim") is None):
                continue
            if native and not op().takes_native(low):
                continue
            ys, node = forward(op, low, native)
            where = f"{op().name} {name}{' native' if native else ''}: question 6"
            _expect_close(where + ", forward", ys[0], wanted, dtype)
            if dx is None:
                continue
            dxs = backward(node, [np.ones_like(ys[0])], native)
            for got, want in zip(dxs, dx, strict=True):
                if want is not None:
                    _expect_close(where + ", backward", got, np.asarray(want, np.float64), dtype)


def _expect_close(where, got, wanted, dtype):
    got = got.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        wanted = wanted.astype(dtype).astype(np.float64)
        close = np.abs(got - wanted) <= 8 * float(dtypes.finfo(dtype).eps) * np.maximum(
            1, np.abs(wanted)
        )
    same = close | (got == wanted) | ((got != got) & (wanted != wanted))
    assert same.all(), f"{where}: expected {wanted}, got {got}"


# ------------------------------------------------------------------ running an op


def cast(array, dtype):
    return array.astype(dtype) if array.dtype.kind not in "iub" else array


def forward(op, arrays, native=False):
    node = op()
    node.needs = tuple(a.dtype in dtypes.FLOATS for a in arrays)
    with np.errstate(all="ignore"):
        ys = node.forward_native(*node.for_native(arrays)) if native else node.forward(*arrays)
    ys = ys if isinstance(ys, tuple) else (ys,)
    return [backend.to_device(y, "cpu") for y in ys], node


def backward(node, dys, native=False):
    with np.errstate(all="ignore"):
        dxs = node.backward_native(*node.for_native(dys)) if native else node.backward(*dys)
    dxs = dxs if isinstance(dxs, tuple) else (dxs,)
    return [None if dx is None else backend.to_device(dx, "cpu") for dx in dxs]


# ------------------------------------------------------------------ bounds


def _bounds(op, exact, results, dtype, sums, dys):
    """For each result array, the error allowed: one rounding, and eight times the measured effect
    of rounding the sums.
    """
    rng = np.random.default_rng(3)
    unit = float(dtypes.finfo(sums).eps) / 2
    half_ulp = float(dtypes.finfo(dtype).eps) / 2
    smallest = float(dtypes.finfo(dtype).smallest_subnormal)
    moves = [0.0] * len(results)
    for _ in range(DRAWS):
        moved = [
            a * (1 + unit * rng.choice([-1.0, 1.0], a.shape)) if a.dtype == np.float64 else a
            for a in exact
        ]
        ys, node = forward(op, moved)
        if dys is not None:
            ys = backward(node, [dy * (1 + unit * rng.choice([-1.0, 1.0], dy.shape)) for dy in dys])
        for i, (y, result) in enumerate(zip(ys, results, strict=True)):
            if y is not None and y.size:
                moves[i] = max(moves[i], _greatest(np.abs(y - result)))
    bounds = []
    for move, result in zip(moves, results, strict=True):
        if result is None:
            bounds.append(None)
            continue
        size = np.abs(result.astype(np.float64))
        slack = 8 * (move + unit * _greatest(size)) + smallest
        bounds.append(half_ulp * np.where(np.isfinite(size), size, 0) + slack)
    return bounds


def _greatest(array):
    finite = array[np.isfinite(array)] if array.ndim else array
    return float(np.max(finite)) if np.size(finite) else 0.0


def _compare(where, got, wanted, bounds):
    """The greatest error as a fraction of its bound; AssertionError past 1."""
    worst = 0.0
    for g, w, bound in zip(got, wanted, bounds, strict=True):
        if w is None or g is None or not np.size(w):
            assert (w is None) == (g is None), (
                f"{where}: expected a gradient where there is one, got none or one too many"
            )
            continue
        g, w = np.asarray(g, np.float64), np.asarray(w, np.float64)
        assert g.shape == w.shape, f"{where}: expected {w.shape}, got {g.shape}"
        with np.errstate(invalid="ignore"):
            share = np.where((g == w) | ((g != g) & (w != w)), 0.0, np.abs(g - w) / bound)
        at = np.unravel_index(np.argmax(share), share.shape) if share.ndim else ()
        assert share[at] <= 1, (
            f"{where}: expected {w[at]} at {at}, got {g[at]}: {share[at]:.2f} of the bound"
        )
        worst = max(worst, float(share[at]))
    return worst


def at_most_twice(where, got, reference, truth, nearby=lambda: None):
    """Question 3: error at most twice the reference's, plus one ulp; returned as a fraction of that
    bound.

    nearby  gives the reference's error for each result as `errors_nearby` finds it; asked only
            where its error here is less than half of the kernel's
    """
    worst = 0.0
    for i, (g, r, t) in enumerate(zip(got, reference, truth, strict=True)):
        if g is None or t is None or not np.size(t):
            continue
        dtype = g.dtype
        if dtype not in dtypes.FLOATS:
            assert np.array_equal(g, t), f"{where}: expected {t}, got {g}"
            continue
        g, r, t = (np.asarray(a, np.float64) for a in (g, r, t))
        assert g.shape == t.shape, f"{where}: expected {t.shape}, got {g.shape}"
        with np.errstate(invalid="ignore"):
            peer = _greatest(np.abs(r - t))
            ulp = float(dtypes.finfo(dtype).eps) * np.abs(t) + float(
                dtypes.finfo(dtype).smallest_subnormal
            )
            error = np.where((g == t) | ((g != g) & (t != t)), 0.0, np.abs(g - t))
            error = np.where(g == r, np.minimum(error, peer), error)
            if not ((error == 0) | (error <= 2 * peer + ulp)).all():
                peer = max(peer, (nearby() or {i: peer})[i])
            share = np.where(error == 0, 0.0, error / (2 * peer + ulp))
        at = np.unravel_index(np.argmax(share), share.shape) if share.ndim else ()
        assert share[at] <= 1, (
            f"{where}: expected {t[at]} at {at}, got {g[at]}; the reference errs by {peer:.3g}"
        )
        worst = max(worst, float(share[at]))
    return worst


def errors_nearby(op, low, dys=None):
    """The reference's greatest error for each output, or with `dys` for each gradient, over inputs
    a few ulps from `low`: in a small case that of one run is a matter of luck.
    """
    rng = np.random.default_rng(4)
    worst = {}
    for _ in range(NEIGHBOURS):
        moved = [_ulps_away(a, rng) for a in low]
        got, node = forward(op, moved)
        truth, exact = forward(op, [cast(a, dtypes.float64) for a in moved])
        if dys is not None:
            got = backward(node, dys)
            truth = backward(exact, [cast(dy, dtypes.float64) for dy in dys])
        for i, (g, t) in enumerate(zip(got, truth, strict=True)):
            if g is not None and t is not None:
                with np.errstate(invalid="ignore"):
                    error = _greatest(np.abs(np.asarray(g, np.float64) - t))
                worst[i] = max(worst.get(i, 0.0), error)
    return worst


def _ulps_away(array, rng):
    if array.dtype not in dtypes.FLOATS:
        return array
    steps = 1 + float(dtypes.finfo(array.dtype).eps) * rng.integers(-4, 5, array.shape)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(array.astype(np.float64) * steps).astype(array.dtype)


def _same_bits(a, b):
    return all(
        x is y or (x is not None and x.tobytes() == y.tobytes()) for x, y in zip(a, b, strict=True)
    )


# ------------------------------------------------------------------ any function of tensors


def gradcheck(fn, *inputs) -> bool:
    """Whether `backward` gives the derivative of fn, by central differences in every coordinate, in
    float64.

    fn      tensors -> tensor or tuple of tensors; the same values each time it is called
    inputs  tensors; those of a float dtype are taken as float64 leaves

    Raises AssertionError naming the input, the coordinate and both values; returns True otherwise.
    """
    leaves = [
        Tensor(t.data.astype(np.float64), requires_grad=True) if t.dtype in dtypes.FLOATS else t
        for t in inputs
    ]
    rng = np.random.default_rng(0)
    outs = fn(*leaves)
    outs = outs if isinstance(outs, tuple) else (outs,)
    weights = [rng.standard_normal(t.shape) for t in outs]
    total = sum((t * w).sum() for t, w in zip(outs, weights, strict=True))
    total.backward()

    def value(leaf, at, step):
        kept = leaf.data[at]
        leaf.data[at] = kept + step
        outs = fn(*leaves)
        outs = outs if isinstance(outs, tuple) else (outs,)
        total = sum(float((t.data * w).sum()) for t, w in zip(outs, weights, strict=True))
        leaf.data[at] = kept  # only now: an output may be a view of the leaf
        return total

    for i, leaf in enumerate(leaves):
        if not leaf.requires_grad:
            continue
        grad = np.zeros(leaf.shape) if leaf.grad is None else leaf.grad.numpy()
        for at in np.ndindex(leaf.shape):
            message = f"[gradcheck] input {i} at {at}"
            _expect_derivative(
                message,
                lambda h, leaf=leaf, at=at: value(leaf, at, h),
                float(grad[at]),
                abs(grad[at]),
            )
    return True
