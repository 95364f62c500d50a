"""The optimizers' kernels in the simulator: the reference's bits, in one launch, for any number of
tensors of any size and alignment; the norm of all gradients, its clip, and zeros.
"""

import sys

import ml_dtypes
import numpy as np
import pytest

import pynn
from pynn import backend, optim
from pynn.nn import Parameter, clip_grad_norm_

sim = backend.kernel_module("sim")
pytestmark = pytest.mark.skipif(sim is None, reason="pynn was built without pynn._sim")

DTYPES = [np.float32, np.float16, ml_dtypes.bfloat16]
SHAPES = [(3, 5), (7,), (), (0, 4), (33, 130), (2048,), (2049,)]
RULES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "dampening": 0.3}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.9), "eps": 1e-4, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.01, "amsgrad": True}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.5}),
    ("Lion", {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.1, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.1, "alpha": 0.7, "momentum": 0.9}),
    ("RMSprop", {"lr": 0.1, "centered": True}),
    ("RMSprop", {"lr": 0.1, "centered": True, "momentum": 0.9, "weight_decay": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.2, "weight_decay": 0.1}),
    ("Adagrad", {"lr": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3}),
]


def misaligned(array, by=1):
    """The same values, `by` elements past an aligned address."""
    flat = np.empty(array.size + 64, array.dtype)
    start = -flat.ctypes.data % 64 // array.dtype.itemsize + by
    flat[start : start + array.size] = array.ravel()
    return flat[start : start + array.size].reshape(array.shape)


def train(rule, options, dtypes, by=0, steps=3):
    """The parameters and all state, as bytes, after a few steps."""
    rng = np.random.default_rng(0)
    parameters = []
    for dtype in dtypes:
        for shape in SHAPES:
            p = Parameter(np.zeros(shape, dtype))
            p.data = misaligned(rng.standard_normal(shape).astype(dtype), by)
            parameters.append(p)
    optimizer = getattr(optim, rule)(parameters, **options)
    for _ in range(steps):
        for p in parameters:
            p.grad = rng.standard_normal(p.shape).astype(p.data.dtype)
        optimizer.step()
    arrays = [p.data for p in parameters]
    for p in parameters:
        arrays += [v for _, v in sorted(optimizer.state[p].items()) if not isinstance(v, int)]
    return [a.tobytes() for a in arrays]


@pytest.mark.parametrize(("rule", "options"), RULES)
def test_kernels_and_reference_agree_to_the_bit(rule, options, monkeypatch):
    wanted = train(rule, options, DTYPES)
    monkeypatch.setenv("PYNN_STRICT", "1")
    with pynn.use_kernels("sim"), backend.trace() as trace:
        assert train(rule, options, DTYPES) == wanted
        assert train(rule, options, DTYPES, by=1) == wanted
    assert trace.counts == {(rule, "native"): 6}


@pytest.mark.parametrize("order", ["descending", "random"])
def test_the_same_bits_under_every_schedule(order):
    wanted = train("AdamW", {}, [np.float32], steps=1)
    sim.set_schedule(order)
    try:
        with pynn.use_kernels("sim"):
            assert train("AdamW", {}, [np.float32], steps=1) == wanted
    finally:
        sim.set_schedule()


def test_one_launch_for_all_parameters_of_a_dtype():
    with pynn.use_kernels("sim"):
        sim.reset_counters()
        train("AdamW", {}, [np.float32], steps=1)
        assert sim.counters()["launches"] == 1
        sim.reset_counters()
        train("AdamW", {}, DTYPES, steps=1)
        assert sim.counters()["launches"] == 3


def test_hundreds_of_tensors():
    rng = np.random.default_rng(1)
    for count, launches in [(56, 1), (57, 1), (500, 1), (501, 2), (1203, 3)]:
        grads = [rng.standard_normal(1 + i % 3).astype(np.float32) for i in range(count)]
        state = [np.ones_like(g) for g in grads]
        sim.reset_counters()
        sim.sgd_step(grads, state, [], [], 0.5, 0.0)
        assert sim.counters()["launches"] == launches
        for p, g in zip(state, grads, strict=True):
            np.testing.assert_array_equal(p, 1 - g * np.float32(0.5))


def test_the_clip_scale_is_read_from_an_array():
    g, p = np.full(9, 3, np.float32), np.zeros(9, np.float32)
    sim.sgd_step([g], [p], [np.full(1, 0.5, np.float32)], [], 1.0, 0.0)
    np.testing.assert_array_equal(p, -1.5)


class Graph:
    """What a captured CUDA graph is: launches with the arguments of then, again and again."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *args: self.calls.append((getattr(sim, name), args))

    def replay(self):
        for launch, args in self.calls:
            launch(*args)


@pytest.mark.parametrize(
    ("rule", "options"),
    [
        ("Adam", {"amsgrad": True}),
        ("AdamW", {"lr": 0.01}),
        ("SGD", {"momentum": 0.9, "dampening": 0.3}),
        ("SGD", {"weight_decay": 0.1}),
        ("Lion", {}),
        ("RMSprop", {"centered": True, "momentum": 0.5}),
        ("Adagrad", {"lr_decay": 0.2}),
    ],
)
def test_a_captured_step_goes_on_counting(rule, options, monkeypatch):
    """One eager step, a captured one, replays under a schedule: the bits of eager steps."""
    rng = np.random.default_rng(5)
    start, grads = rng.standard_normal(40), rng.standard_normal((6, 40))
    module = sys.modules[getattr(optim, rule).forward_native.__module__]
    results = []
    for captured in (False, True):
        parameters = [Parameter(start.astype(d)) for d in (np.float32, np.float16)]
        optimizer = getattr(optim, rule)(parameters, **options)
        schedule = optim.StepLR(optimizer, 2, 0.5)
        graph = Graph()
        for p in parameters:
            p.grad = np.zeros(40, p.data.dtype)
        with pynn.use_kernels("sim"):
            for k, g in enumerate(grads):
                for p in parameters:
                    p.grad.data[...] = g
                if captured and k == 1:
                    with monkeypatch.context() as patch:
                        patch.setattr(backend, "capturing", lambda array: True)
                        patch.setattr(module, "native", graph)
                        optimizer.step()
                if captured and k:
                    optimizer.advance()
                    graph.replay()
                else:
                    optimizer.step()
                schedule.step()
        states = [optimizer.state[p] for p in parameters]
        assert [state["step"] for state in states] == [6, 6]
        arrays = [p.data for p in parameters]
        arrays += [a for s in states for _, a in sorted(s.items()) if not isinstance(a, int)]
        results.append([a.tobytes() for a in arrays])
    assert len(graph.calls) == 2
    assert results[0] == results[1]


def test_a_capture_needs_a_step_before_it(monkeypatch):
    p = Parameter(np.ones(3, np.float32))
    p.grad = np.ones(3, np.float32)
    monkeypatch.setattr(backend, "capturing", lambda array: True)
    with pynn.use_kernels("sim"), pytest.raises(RuntimeError, match="a step before the capture"):
        optim.Adam([p]).step()


def test_a_parameter_without_kernels_takes_the_reference():
    p = Parameter(np.ones(3))
    p.grad = np.ones(3)
    optimizer = optim.SGD([p], lr=0.5)
    with pynn.use_kernels("sim"), backend.trace() as trace:
        optimizer.step()
    assert trace.counts == {("SGD", "no kernel for float64 (3,)"): 1}
    np.testing.assert_array_equal(p.data, 0.5)


def norm_of(grads, max_norm=1.0):
    rows = sum(-(-g.size // 16384) for g in grads)
    partial, out = np.full((rows, 2), np.nan, np.float32), np.full(2, np.nan, np.float32)
    sim.grad_norm(grads, partial, out, max_norm)
    return out


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
def test_norm_of_all_gradients(dtype):
    rng = np.random.default_rng(2)
    grads = [rng.standard_normal(n).astype(dtype) for n in (0, 1, 7, 4099, 16384, 40001)]
    truth = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in grads))
    seen = set()
    for order in ("ascending", "descending", "random"):
        sim.set_schedule(order)
        norm, clip = norm_of(grads, 2.0)
        seen.add((norm, clip))
    sim.set_schedule()
    assert len(seen) == 1
    assert abs(norm - truth) <= 1e-6 * truth
    assert abs(clip - 2 / truth) <= 1e-5 * clip
    assert norm_of(grads, 1e9)[1] == 1
    assert norm_of([misaligned(g) for g in grads], 2.0)[0] == pytest.approx(norm, rel=1e-6)


def test_norm_of_extreme_gradients():
    inf, nan = np.inf, np.nan
    for value, wanted in [(1e30, 2e30), (1.5e38, 3e38), (1e-15, 2e-15), (0, 0), (inf, inf)]:
        norm, clip = norm_of([np.full(4, value, np.float32)])
        np.testing.assert_allclose(norm, wanted, rtol=1e-6)
        assert clip == (0 if value == inf else 1 if wanted < 1 else np.float32(1) / norm)
    assert np.isnan(norm_of([np.array([1, nan, 1e30], np.float32)])).all()
    np.testing.assert_array_equal(norm_of([np.zeros(0, np.float32)]), [0, 1])


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
def test_gradients_are_scaled_in_place(dtype):
    rng = np.random.default_rng(3)
    for by in (0, 1):
        grads = [misaligned(rng.standard_normal(n).astype(dtype), by) for n in (0, 1, 9, 4100)]
        wanted = [(g.astype(np.float32) * np.float32(0.3)).astype(dtype) for g in grads]
        sim.scale_grads(grads, np.array([0.3], np.float32))
        assert [g.tobytes() for g in grads] == [w.tobytes() for w in wanted]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("max_norm", [0.0, 2.0, 1e6, np.inf])
def test_clip_grad_norm_by_kernels(dtype, max_norm):
    eps = float(ml_dtypes.finfo(dtype).eps)
    results = []
    for kernels in ("reference", "sim"):
        rng = np.random.default_rng(4)
        parameters = [Parameter(np.zeros(n, dtype)) for n in (0, 1, 7, 4100)]
        for p in parameters:
            p.grad = rng.standard_normal(p.shape).astype(dtype)
        with pynn.use_kernels(kernels), backend.trace() as trace:
            total = clip_grad_norm_(parameters, max_norm)
        assert ("native" in str(trace)) == (kernels == "sim")
        results.append([total.numpy(), *(p.grad.numpy() for p in parameters)])
    assert results[1][0].shape == () and results[1][0].dtype == np.float32
    np.testing.assert_allclose(results[1][0], results[0][0], rtol=1e-6)
    for got, wanted in zip(results[1][1:], results[0][1:], strict=True):
        assert got.dtype == dtype
        np.testing.assert_allclose(got.astype(float), wanted.astype(float), rtol=2 * eps + 1e-6)


def test_clip_grad_norm_by_kernels_refuses_what_is_not_finite():
    p = Parameter(np.zeros(3, np.float32))
    p.grad = np.array([1, np.inf, 2], np.float32)
    with pynn.use_kernels("sim"), pytest.raises(RuntimeError, match="expected a finite norm"):
        clip_grad_norm_([p], 1.0, error_if_nonfinite=True)
    np.testing.assert_array_equal(p.grad.numpy(), [1, np.inf, 2])


def test_zeros_for_any_dtype_and_nothing_beside_them():
    rooms = [np.full(n + 8, 7, t) for n in (1, 5, 4000) for t in ("u1", "f2", "i4", "f8")]
    for by in (0, 1, 2):
        for room in rooms:
            room[:] = 7
        sim.zero_fill([room[by:-4] for room in rooms])
        for room in rooms:
            assert not room[by:-4].any()
            assert (room[:by] == 7).all() and (room[-4:] == 7).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda f: sim.sgd_step([f(3)], [f(4)], [], [], 0.1, 0.0),
            ValueError,
            r"\[sgd_step\] state: expected 3 elements, got 4",
        ),
        (
            lambda f: sim.adam_step([f(3)], [f(3)], [], [], 0.9, 0.99, 0.1, 1e-8, 0.0, 1.0),
            ValueError,
            r"\[adam_step\] state: expected 3 arrays for each of 1 gradients, got 1",
        ),
        (
            lambda f: sim.sgd_step([f(3), f(3).astype("f2")], [f(3)] * 2, [], [], 0.1, 0.0),
            TypeError,
            r"\[sgd_step\] grads: expected float32, got float16",
        ),
        (
            lambda f: sim.sgd_step(f(3), [f(3)], [], [], 0.1, 0.0),
            TypeError,
            r"\[sgd_step\] grads: expected a list of arrays, got numpy.ndarray",
        ),
        (
            lambda f: sim.sgd_step([f(3), 3], [f(3)] * 2, [], [], 0.1, 0.0),
            TypeError,
            r"\[sgd_step\] grads: expected a NumPy array, got int",
        ),
        (
            lambda f: sim.lion_step([f(3)], [f(3)] * 2, [], [np.zeros(3)], 0.9, 0.99, 0.1, 1.0),
            ValueError,
            r"\[lion_step\] numbers: expected 4 elements, got 3",
        ),
        (
            lambda f: sim.grad_norm([f(3)], f(2, 2), f(2), 1.0),
            ValueError,
            r"\[grad_norm\] partial: expected shape \(1, 2\), got \(2, 2\)",
        ),
    ],
)
def test_launchers_name_what_was_expected(call, error, message):
    with pytest.raises(error, match=message):
        call(lambda *shape: np.zeros(shape, np.float32))
