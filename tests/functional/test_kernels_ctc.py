"""CTC by kernels: more labels than threads, labels that repeat, samples that end early, 16 bits."""

import numpy as np
import pytest

from pynn import backend, dtypes, testing
from pynn.functional.ctc import Ctc

pytestmark = pytest.mark.skipif(
    backend.kernel_module("sim") is None, reason="pynn was built without the simulator"
)


def case(T, N, C, S, seed=0):
    """Log-probabilities, labels with neighbours alike, steps and lengths, the greatest first."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((T, N, C))
    x -= np.log(np.exp(x).sum(-1, keepdims=True))
    lengths = rng.integers(0, S + 1, N)
    steps = rng.integers(T // 2, T + 1, N)
    lengths[0], steps[0] = S, T
    labels = np.where(np.arange(S) < lengths[:, None], rng.integers(1, C, (N, S)), 0)
    return x, labels, steps, lengths


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("shape", [(12, 4, 5, 3), (1, 2, 3, 1), (7, 3, 2, 3), (5, 2, 300, 2)])
def test_as_right_as_the_reference(shape, dtype):
    x, labels, steps, lengths = case(*shape)
    x = testing.cast(x, dtypes.as_dtype(dtype))
    agrees(lambda: Ctc(labels, steps, lengths, 0, False), x)


def agrees(op, x):
    (y,), node = testing.forward(op, [x], native=True)
    (peer,), of_peer = testing.forward(op, [x])
    (truth,), of_truth = testing.forward(op, [x.astype(np.float64)])
    testing.at_most_twice("forward", [y], [peer], [truth])
    dy = np.random.default_rng(5).standard_normal(y.shape).astype(np.float32)
    wanted = testing.backward(of_peer, [dy])
    exact = testing.backward(of_truth, [dy.astype(np.float64)])
    for start in (node, of_peer):
        testing.at_most_twice("backward", testing.backward(start, [dy], True), wanted, exact)
    testing.at_most_twice("backward", testing.backward(node, [dy]), wanted, exact)


def test_more_states_than_threads_and_a_label_that_repeats():
    x, labels, steps, lengths = case(400, 2, 4, 150)
    agrees(lambda: Ctc(labels, steps, lengths, 0, False), x.astype(np.float32))


def test_no_steps_no_labels_no_way():
    x = np.log(np.full((3, 4, 3), 1 / 3, np.float32))
    labels = np.array([[1, 1], [0, 0], [2, 0], [1, 2]])
    steps, lengths = np.array([2, 0, 0, 3]), np.array([2, 0, 1, 2])
    for zero in (False, True):
        op = lambda zero=zero: Ctc(labels, steps, lengths, 0, zero)  # noqa: E731
        (y,), node = testing.forward(op, [x], native=True)
        lost = 0 if zero else np.inf
        np.testing.assert_array_equal(y[:3], [lost, 0, lost])
        assert np.isfinite(y[3])
        (dx,) = testing.backward(node, [np.ones_like(y)], native=True)
        np.testing.assert_array_equal(dx[:, :3], 0)
        assert (dx[:, 3] < 0).any()
    agrees(lambda: Ctc(labels[3:], steps[3:], lengths[3:], 0, False), x[:, 3:].copy())


def test_the_same_bits_in_every_order_of_threads():
    x, labels, steps, lengths = case(20, 3, 4, 6)
    x, bits = x.astype(np.float32), set()
    sim = backend.kernel_module("sim")
    try:
        for order, seed in [("ascending", 1), ("descending", 1), ("random", 2)]:
            sim.set_schedule(order, seed=seed)
            op = lambda: Ctc(labels, steps, lengths, 0, False)  # noqa: E731
            (y,), node = testing.forward(op, [x], native=True)
            (dx,) = testing.backward(node, [np.ones_like(y)], native=True)
            bits.add(y.tobytes() + dx.tobytes())
    finally:
        sim.set_schedule("ascending")
    assert len(bits) == 1


def test_too_many_labels_run_on_the_reference():
    x = np.zeros((1, 1, 2), np.float32)
    one = np.ones(1, np.int64)
    assert Ctc(np.ones((1, 1536), np.int64), one, one, 0, False).takes_native([x])
    assert not Ctc(np.ones((1, 1537), np.int64), one, one, 0, False).takes_native([x])
