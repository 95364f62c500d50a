"""A convolution and its batch norm as one, for evaluation and in training."""

import copy

import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn import backend, nn

_sim = backend.kernel_module("sim")


def layers(dtype="float64", affine=True, bias=True, dims=2):
    """A convolution and a batch norm that has seen data."""
    pynn.manual_seed(3)
    conv, norm = (nn.Conv1d, nn.BatchNorm1d) if dims == 1 else (nn.Conv2d, nn.BatchNorm2d)
    conv = conv(6, 8, 3, padding=1, groups=2, bias=bias)
    bn = norm(8, affine=affine)
    rng = np.random.default_rng(0)
    for p in [*conv.parameters(), *bn.parameters()]:
        p.data = rng.standard_normal(p.shape).astype(np.float32)
    conv.to(dtype), bn.to(dtype)
    x = pynn.Tensor((3 * rng.standard_normal((4, *[7] * dims, 6)) + 1).astype(conv.weight.dtype))
    bn(conv(x))
    return conv.eval(), bn.eval(), x


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_it_computes_what_both_compute(bias, affine, dims):
    conv, bn, x = layers(affine=affine, bias=bias, dims=dims)
    residual = pynn.Tensor(np.random.default_rng(1).standard_normal(conv(x).shape))
    fused = nn.fuse_conv_bn_eval(conv, bn)
    np.testing.assert_allclose(fused(x).numpy(), bn(conv(x)).numpy(), rtol=1e-12, atol=1e-12)
    fused = nn.fuse_conv_bn_eval(conv, bn, "relu")
    wanted = F.relu(bn(conv(x)) + residual)
    np.testing.assert_allclose(fused(x, residual).numpy(), wanted.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.skipif(_sim is None, reason="pynn was built without pynn._sim")
def test_one_kernel_does_it(monkeypatch):
    monkeypatch.setenv("PYNN_STRICT", "1")
    conv, bn, x = layers("float32")
    wanted = F.relu(bn(conv(x))).numpy()
    fused = nn.fuse_conv_bn_eval(conv, bn, "relu")
    with pynn.use_kernels("sim"):
        _sim.reset_counters()
        y = fused(x)
    assert _sim.counters()["launches"] == 1
    np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dims", [1, 2])
def test_the_layer_is_its_parts(dims):
    """Outputs, gradients and statistics of some batches, then in evaluation, then fused."""
    pynn.manual_seed(3)
    Layer = nn.ConvBatchNorm1d if dims == 1 else nn.ConvBatchNorm2d
    how = dict(stride=2, padding=1, groups=2, activation="relu", momentum=None)
    layer = Layer(6, 8, 3, **how).to("float64")
    conv, norm = copy.deepcopy(layer.conv), copy.deepcopy(layer.norm)
    norm.activation = None
    rng = np.random.default_rng(0)

    def tensors():
        shapes = (3, *[7] * dims, 6), (3, *[4] * dims, 8)
        return [pynn.Tensor(rng.standard_normal(shape), requires_grad=True) for shape in shapes]

    for _ in range(3):
        x, residual = tensors()
        y, wanted = layer(x, residual), F.relu(norm(conv(x)) + residual)
        np.testing.assert_allclose(y.numpy(), wanted.numpy(), rtol=1e-12, atol=1e-12)
        gradients = [pynn.grad(out.square().sum(), [x, residual]) for out in (y, wanted)]
        for a, b in zip(*gradients, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-10, atol=1e-10)
    state = layer.norm.state_dict()
    for name, value in norm.state_dict().items():
        np.testing.assert_allclose(state[name].numpy(), value.numpy(), rtol=1e-6)
    layer.eval(), conv.eval(), norm.eval()
    x, residual = tensors()
    wanted = F.relu(norm(conv(x)) + residual).numpy()
    np.testing.assert_allclose(layer(x, residual).numpy(), wanted, rtol=1e-12, atol=1e-12)
    fused = nn.fuse_conv_bn_eval(layer.conv, layer.norm)
    np.testing.assert_allclose(fused(x, residual).numpy(), wanted, rtol=1e-12, atol=1e-12)


def test_bad_input():
    conv, bn, _ = layers()
    for change, text in (
        (lambda: nn.fuse_conv_bn_eval(conv.train(), bn), "layers in evaluation"),
        (lambda: nn.fuse_conv_bn_eval(conv.eval(), nn.BatchNorm2d(5).eval()), "expected 8 feat"),
        (
            lambda: nn.fuse_conv_bn_eval(conv, nn.BatchNorm2d(8, track_running_stats=False).eval()),
            "expected running statistics",
        ),
        (
            lambda: nn.fuse_conv_bn_eval(nn.Conv2d(1, 8, 3, activation="relu").eval(), bn),
            "expected one, after the batch norm",
        ),
    ):
        with pytest.raises(ValueError, match=r"\[fuse_conv_bn_eval\] .*" + text):
            change()
