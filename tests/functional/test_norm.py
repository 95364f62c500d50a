"""Normalizations against float64 truth, central differences and PyTorch.

Over 400 lines: five normalizations, each with its truth and its errors.
"""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pynn
import pynn.functional as F
from pynn import Tensor, backend, nn, no_grad
from pynn.functional.channel_norm import BatchNorm, BatchNormEval, GroupNorm, InstanceNorm
from pynn.functional.row_norm import AddLayerNorm, AddRMSNorm, LayerNorm, RMSNorm
from pynn.testing import check

EPS = 1e-5


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def case(*shape, affine=2):
    """x, a weight and a bias; the channels differ in mean and spread."""
    x, C = draw(*shape), shape[-1]
    return (x * (1 + np.arange(C) % 3) + np.arange(C), 1 + draw(C, seed=1), draw(C, seed=2))[
        : 1 + affine
    ]


def standardized(x, axes):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + EPS)


# ------------------------------------------------------------------ the questions

SHAPES = [(0, 3), (5, 0), (4, 1), (5, 31), (33, 2, 32), (2, 3, 127), (300, 5), (3, 17, 19, 4)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("affine", [0, 2])
def test_batch_norm_answers(shape, affine):
    def truth(x, w=1, b=0):
        return standardized(x, tuple(range(x.ndim - 1))) * w + b if x.size else x

    def op():
        return BatchNorm(shape[-1], EPS, affine > 0, affine > 1)

    check(op, case(*shape, affine=affine), truth=truth)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_eval_answers(shape):
    mean, var = draw(shape[-1], seed=3), 0.5 + draw(shape[-1], seed=4) ** 2
    check(
        lambda: BatchNormEval((mean, var), EPS, True, True),
        case(*shape),
        truth=lambda x, w, b: (x - mean) / np.sqrt(var + EPS) * w + b,
    )


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize(
    "shape", [(0, 5, 6), (2, 0, 6), (2, 18), (3, 5, 6), (2, 17, 19, 6)], ids=str
)
def test_group_norm_answers(shape, groups):
    def truth(x, w, b):
        if not x.size:
            return x
        split = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
        return standardized(split, (1, 3)).reshape(x.shape) * w + b

    check(lambda: GroupNorm(groups, EPS, True, True), case(*shape), truth=truth)


@pytest.mark.parametrize("shape", [(0, 4, 3), (2, 7, 2), (3, 5, 7, 33)], ids=str)
def test_instance_norm_answers(shape):
    def truth(x, w, b):
        return standardized(x, tuple(range(1, x.ndim - 1))) * w + b

    check(lambda: InstanceNorm(shape[-1], EPS, True, True), case(*shape), truth=truth)


@pytest.mark.parametrize(
    "shape", [(0, 5), (4, 0), (5, 1), (7, 31), (2, 3, 33), (127, 4), (2, 4099)], ids=str
)
@pytest.mark.parametrize("affine", [0, 2])
def test_layer_norm_answers(shape, affine):
    def truth(x, w=1, b=0):
        return standardized(x, -1) * w + b if x.size else x

    check(
        lambda: LayerNorm(1, EPS, affine > 0, affine > 1), case(*shape, affine=affine), truth=truth
    )


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("shape", [(0, 5), (4, 0), (5, 3), (7, 31), (2, 3, 33)], ids=str)
def test_layer_norm_and_an_activation_answer(shape, activation):
    rng = np.random.default_rng(0)
    x, residual = rng.standard_normal((2, *shape))
    w, b = 1 + rng.standard_normal((2, shape[-1]))
    for affine in ((), (w,), (w, b)):
        how = 1, 1e-5, len(affine) > 0, len(affine) > 1, activation
        check(lambda how=how: LayerNorm(*how), (x, *affine), gradient=activation == "gelu")
        check(lambda how=how: AddLayerNorm(True, *how), (x, residual, *affine))


def test_layer_norm_over_several_axes_answers():
    x, w, b = draw(3, 4, 5), draw(4, 5, seed=1), draw(4, 5, seed=2)
    truth = lambda x, w, b: standardized(x, (1, 2)) * w + b  # noqa: E731
    check(lambda: LayerNorm(2, EPS, True, True), (x, w, b), truth=truth)


@pytest.mark.parametrize("shape", [(0, 5), (4, 0), (5, 3), (7, 31), (2, 3, 33), (2, 4099)], ids=str)
@pytest.mark.parametrize("affine", [0, 1])
def test_rms_norm_answers(shape, affine):
    def truth(x, w=1):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + EPS) * w if x.size else x

    check(lambda: RMSNorm(1, EPS, affine > 0), case(*shape, affine=affine), truth=truth)


@pytest.mark.parametrize("prenorm", [False, True])
@pytest.mark.parametrize("shape", [(0, 3), (5, 31), (2, 3, 127)], ids=str)
def test_norms_of_a_sum_answer(shape, prenorm):
    x, w, b = case(*shape)
    residual = draw(*shape, seed=5)

    def layer(x, r, w, b):
        y = standardized(x + r, -1) * w + b
        return (y, x + r) if prenorm else y

    def rms(x, r, w):
        y = (x + r) / np.sqrt(((x + r) ** 2).mean(-1, keepdims=True) + EPS) * w
        return (y, x + r) if prenorm else y

    four = x, residual, w, b
    check(lambda: AddLayerNorm(prenorm, 1, EPS, True, True), four, truth=layer)
    check(lambda: AddRMSNorm(prenorm, 1, EPS, True), four[:3], truth=rms)


ACTIVATIONS = {"relu": lambda z: np.maximum(z, 0), "gelu": lambda z: z * _phi(z)}
_phi = np.vectorize(lambda z: math.erfc(-z / math.sqrt(2)) / 2, otypes=[float])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_after_the_norm_answers(name):
    f, shape = ACTIVATIONS[name], (3, 17, 6)
    kept = draw(6, seed=3), 0.5 + draw(6, seed=4) ** 2
    truths = {
        BatchNorm: lambda x, w, b: f(standardized(x, (0, 1)) * w + b),
        InstanceNorm: lambda x, w, b: f(standardized(x, 1) * w + b),
        BatchNormEval: lambda x, w, b: f((x - kept[0]) / np.sqrt(kept[1] + EPS) * w + b),
    }
    for op, truth in truths.items():
        first = kept if op is BatchNormEval else 6
        check(
            lambda op=op, first=first: op(first, EPS, True, True, activation=name),
            case(*shape),
            truth=truth,
        )


def test_fused_layers_are_their_parts():
    """To the bit: the norm of a sum, an activation behind a norm, whatever the kernels."""
    x, r = Tensor(draw(4, 6, 8).astype("f")), Tensor(draw(4, 6, 8, seed=1).astype("f"))
    for kernels in ("reference", "sim"):
        if kernels == "sim" and backend.kernel_module("sim") is None:
            continue
        with pynn.use_kernels(kernels):
            for norm in (nn.LayerNorm(8), nn.RMSNorm(8)):
                y, total = norm(x, r, prenorm=True)
                np.testing.assert_array_equal(total.numpy(), (x + r).numpy())
                np.testing.assert_array_equal(y.numpy(), norm(x + r).numpy())
                np.testing.assert_array_equal(norm(x, r).numpy(), y.numpy())
            for layer, *how in [(nn.BatchNorm1d, 8), (nn.GroupNorm, 2, 8), (nn.LayerNorm, 8)]:
                plain, fused = layer(*how), layer(*how, activation="relu")
                np.testing.assert_array_equal(fused(x).numpy(), F.relu(plain(x)).numpy())
                fused.eval(), plain.eval()
                np.testing.assert_array_equal(fused(x).numpy(), F.relu(plain(x)).numpy())


@pytest.mark.parametrize(("norm_first", "sums"), [(False, 2), (True, 1)])
def test_a_transformer_adds_and_normalizes_in_one_op(norm_first, sums):
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, norm_first=norm_first)
    with backend.trace() as trace:
        layer(Tensor(draw(2, 5, 8).astype("f")))
    ops = [op for (op, _), count in trace.counts.items() for _ in range(count)]
    assert ops.count("add_layer_norm") == sums
    assert ops.count("layer_norm") == 2 - sums
    assert ops.count("add") == norm_first


def test_only_wanted_gradients_are_given():
    x, w, b = (a.astype(np.float32) for a in case(4, 5, 6))
    running = np.zeros(6), np.ones(6)
    for op in (
        GroupNorm(2, EPS, True, True),
        LayerNorm(1, EPS, True, True),
        BatchNormEval(running, EPS, True, True),
    ):
        for wanted in range(3):
            op.needs = tuple(i == wanted for i in range(3))
            op.forward(x, w, b)
            dxs = op.backward(np.ones_like(x))
            assert [d is not None for d in dxs] == list(op.needs)


# ------------------------------------------------------------------ hard numbers

NORMS = {
    "batch": (lambda x: F.batch_norm(x, None, None, training=True), (0, 1, 2)),
    "group": (lambda x: F.group_norm(x, 2), None),
    "instance": (lambda x: F.instance_norm(x), (1, 2)),
    "layer": (lambda x: F.layer_norm(x), (3,)),
}


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("size", [(2, 3, 5, 8), (4, 40, 50, 8)], ids=str)
def test_mean_1e4_and_spread_1e_3_cost_no_digits(name, size):
    norm, axes = NORMS[name]
    x = (1e4 + 1e-3 * draw(*size)).astype(np.float32)  # about one ulp of spread: several values
    dy = draw(*size, seed=1).astype(np.float32)
    leaf, exact = Tensor(x, requires_grad=True), Tensor(x.astype(np.float64), requires_grad=True)
    y, truth = norm(leaf), norm(exact)
    if axes:
        np.testing.assert_allclose(truth.numpy(), standardized(x.astype(np.float64), axes), 0, 1e-8)
    y.backward(Tensor(dy))
    truth.backward(Tensor(dy.astype(np.float64)))
    for got, want in ((y, truth), (leaf.grad, exact.grad)):
        want = want.numpy()
        assert np.abs(got.numpy() - want).max() <= 2e-6 * np.abs(want).max()


@pytest.mark.parametrize("scale", [1e30, 3e37, 1e18, 1e-4])
@pytest.mark.parametrize("name", [*NORMS, "rms"])
def test_large_values_are_normalized_like_any_others(name, scale):
    norm = (lambda x: F.rms_norm(x, eps=1e-5)) if name == "rms" else NORMS[name][0]
    x = (draw(3, 4, 5, 8) * scale).astype(np.float32)
    leaf, exact = Tensor(x, requires_grad=True), Tensor(x.astype(np.float64), requires_grad=True)
    y, truth = norm(leaf), norm(exact)
    y.backward(Tensor(np.cos(x / np.float32(scale))))
    truth.backward(Tensor(np.cos(x / np.float32(scale)).astype(np.float64)))
    assert y.dtype == leaf.grad.dtype == np.float32
    for got, want in ((y, truth), (leaf.grad, exact.grad)):
        want = want.numpy()
        bound = 2e-6 * np.abs(want).max() + np.finfo(np.float32).smallest_subnormal
        assert np.abs(got.numpy() - want).max() <= bound


def test_one_large_channel_leaves_the_others_their_digits():
    x = draw(50, 3).astype(np.float32)
    y = F.batch_norm(Tensor(x), None, None, training=True).numpy()
    x[:, 1] *= 1e30
    mixed = F.batch_norm(Tensor(x), None, None, training=True).numpy()
    np.testing.assert_allclose(mixed[:, ::2], y[:, ::2], rtol=1e-5, atol=1e-6)


def test_constant_input_gives_the_bias_and_no_gradient():
    x = Tensor(np.full((6, 7), 0.1, np.float32), requires_grad=True)
    b = Tensor(np.arange(7, dtype=np.float32))
    for y in (F.layer_norm(x, None, b), F.batch_norm(x, None, None, None, b, True)):
        np.testing.assert_allclose(y.numpy(), np.broadcast_to(b.numpy(), x.shape), atol=1e-4)
        y.backward(Tensor(draw(6, 7).astype(np.float32)))
        assert np.isfinite(x.grad.numpy()).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_group(bad):
    x = draw(4, 5).astype(np.float32)
    clean = F.layer_norm(Tensor(x)).numpy()
    x[2, 3] = bad
    y = F.layer_norm(Tensor(x)).numpy()
    assert np.isnan(y[2]).any()
    np.testing.assert_allclose(np.delete(y, 2, 0), np.delete(clean, 2, 0), rtol=1e-5)


# ------------------------------------------------------------------ running statistics


def running(C, dtype=np.float32):
    return Tensor(np.zeros(C, dtype)), Tensor(np.ones(C, dtype))


def test_running_statistics_move_by_momentum_with_the_unbiased_variance():
    x = draw(7, 2, 3).astype(np.float32)
    mean, var = running(3)
    kept = mean.data
    F.batch_norm(Tensor(x), mean, var, training=True, momentum=0.3)
    rows = x.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(mean.numpy(), 0.3 * rows.mean(0), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(var.numpy(), 0.7 + 0.3 * rows.var(0, ddof=1), rtol=1e-6)
    assert mean.data is kept  # in place
    assert mean.changed and var.changed_by == "batch_norm"


def test_empty_batch_leaves_running_statistics():
    mean, var = running(3)
    w = Tensor(np.ones(3, np.float32), requires_grad=True)
    y = F.batch_norm(Tensor(np.zeros((0, 4, 3), np.float32)), mean, var, w, training=True)
    assert y.shape == (0, 4, 3)
    y.sum().backward()
    np.testing.assert_array_equal(w.grad.numpy(), 0)
    np.testing.assert_array_equal(mean.numpy(), 0)
    np.testing.assert_array_equal(var.numpy(), 1)


def test_backward_of_eval_survives_a_later_training_step():
    x = Tensor(draw(6, 3).astype(np.float32), requires_grad=True)
    mean, var = running(3)
    y = F.batch_norm(x, mean, var)
    with no_grad():
        F.batch_norm(x, mean, var, training=True)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 1 / np.sqrt(1 + EPS), rtol=1e-6)


def test_half_inputs_keep_float32_running_statistics():
    x = Tensor(draw(64, 3), dtype="bfloat16")
    mean, var = running(3)
    y = F.batch_norm(x, mean, var, training=True)
    assert y.dtype == x.dtype and mean.dtype == np.float32
    np.testing.assert_allclose(mean.numpy(), 0.1 * x.numpy().astype(np.float64).mean(0), rtol=1e-5)


# ------------------------------------------------------------------ errors


def test_errors_name_what_was_expected_and_got():
    x = Tensor(np.zeros((2, 3, 4, 5), np.float32))
    w5, w3 = Tensor(np.ones(5, np.float32)), Tensor(np.ones(3, np.float32))
    cases = [
        (ValueError, r"\[layer_norm\] weight: expected shape \(5,\), got \(3,\)",
         lambda: F.layer_norm(x, w3)),
        (ValueError, r"weight: expected shape \(5,\), got \(3,\) \(images are NHWC\)",
         lambda: F.batch_norm(x, None, None, w3, training=True)),
        (TypeError, r"\[layer_norm\] weight: expected x's dtype float32, got float64",
         lambda: F.layer_norm(x, Tensor(np.ones(5)))),
        (TypeError, r"\[rms_norm\] expected a float dtype, got int64",
         lambda: F.rms_norm(Tensor(np.ones((2, 2), np.int64)))),
        (ValueError, r"\[group_norm\] num_groups: expected a divisor of the 5 channels, got 2",
         lambda: F.group_norm(x, 2)),
        (ValueError, r"\[instance_norm\] x: expected at least 3 axes, got shape \(5,\)",
         lambda: F.instance_norm(w5)),
        (ValueError, r"expected more than one value per channel in training, got shape \(1, 5\)",
         lambda: F.batch_norm(w5.reshape(1, 5), None, None, training=True)),
        (ValueError, r"\[batch_norm\] running_mean: expected running_mean and running_var, got 0",
         lambda: F.batch_norm(x, None, None)),
        (ValueError, r"running_mean: expected shape \(5,\), got \(3,\)",
         lambda: F.batch_norm(x, w3, w3)),
        (ValueError, r"\[layer_norm\] eps: expected a number >= 0, got -1",
         lambda: F.layer_norm(x, eps=-1)),
        (ValueError, r"\[layer_norm\] axes: expected at least 1, got 0",
         lambda: F.layer_norm(x, axes=0)),
    ]  # fmt: skip
    for error, text, call in cases:
        with pytest.raises(error, match=text):
            call()


# ------------------------------------------------------------------ PyTorch

CHANNELS_FIRST = {"batch", "group", "instance"}


def compare(torch, name, shape, dtype, seed, training=True):
    rng = np.random.default_rng(seed)
    C, EPS = shape[-1], 1e-3
    arrays = [rng.standard_normal(s).astype(dtype) for s in (shape, (C,), (C,))]
    dy = rng.standard_normal(shape).astype(dtype)
    stats = [rng.standard_normal(C).astype(dtype), rng.uniform(0.5, 2, C).astype(dtype)]
    ours = [Tensor(a.copy(), requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    ours_stats, theirs_stats = [Tensor(s.copy()) for s in stats], [torch.tensor(s) for s in stats]
    x, w, b = ours
    tx, tw, tb = theirs
    first = tx.movedim(-1, 1) if name in CHANNELS_FIRST else tx
    nn = torch.nn.functional
    if name == "batch":
        y = F.batch_norm(x, *ours_stats, w, b, training, 0.2, EPS)
        ty = nn.batch_norm(first, *theirs_stats, tw, tb, training, 0.2, EPS)
    elif name == "group":
        y, ty = F.group_norm(x, 2, w, b, EPS), nn.group_norm(first, 2, tw, tb, EPS)
    elif name == "instance":
        y = F.instance_norm(x, w, b, EPS)
        ty = nn.instance_norm(first, None, None, tw, tb, eps=EPS)
    elif name == "layer":
        y, ty = F.layer_norm(x, w, b, EPS), nn.layer_norm(first, (C,), tw, tb, EPS)
    else:
        ours, theirs = ours[:2], theirs[:2]
        y, ty = F.rms_norm(x, w), nn.rms_norm(first, (C,), tw)
    ty = ty.movedim(1, -1) if name in CHANNELS_FIRST else ty
    y.backward(Tensor(dy))
    ty.backward(torch.tensor(dy))
    pairs = [(y.numpy(), ty.detach().numpy())]
    pairs += [(a.grad.numpy(), t.grad.numpy()) for a, t in zip(ours, theirs, strict=True)]
    pairs += [(a.numpy(), t.numpy()) for a, t in zip(ours_stats, theirs_stats, strict=True)]
    for got, want in pairs:
        bound = 256 * np.finfo(dtype).eps * max(1, np.abs(want).max())
        assert got.shape == want.shape and np.abs(got - want).max() <= bound


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["batch", "batch eval", "group", "instance", "layer", "rms"])
def test_as_pytorch(torch, name, dtype):
    training, name = not name.endswith("eval"), name.split()[0]

    @settings(max_examples=12, deadline=None, derandomize=True)
    @given(
        st.tuples(st.integers(2, 5), st.integers(2, 9), st.integers(1, 9), st.integers(1, 17)),
        st.integers(0, 2**16),
    )
    def examine(shape, seed):
        shape = (*shape[:3], shape[3] * 2)
        if name not in ("group", "instance"):
            shape = shape[seed % 3 :]
            if len(shape) < 2:
                return
        compare(torch, name, shape, dtype, seed, training)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        examine()
