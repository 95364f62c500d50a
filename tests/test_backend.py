"""What runs where: use_kernels, trace, strict mode, devices, import time."""

import os
import subprocess
import sys

import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn import backend

has_sim = pytest.mark.skipif(backend.kernel_module("sim") is None, reason="pynn._sim was not built")


def test_the_reference_runs_on_the_cpu_and_the_trace_says_so():
    with backend.trace() as trace:
        F.gelu(pynn.ones(3))
        F.exp(pynn.ones(3))
    assert trace.counts == {("gelu", "array on the CPU"): 1, ("exp", "array on the CPU"): 1}
    assert "array on the CPU" in str(trace)


@has_sim
def test_the_simulator_runs_the_kernels_and_the_trace_says_so():
    x = np.linspace(-3, 3, 100, dtype=np.float32)
    with pynn.use_kernels("sim"), backend.trace() as trace:
        a = pynn.Tensor(x, requires_grad=True)
        y = F.gelu(a)
        y.sum().backward()
    assert trace.counts == {("gelu", "native"): 1, ("sum", "native"): 1}
    b = pynn.Tensor(x, requires_grad=True)
    z = F.gelu(b)
    z.sum().backward()
    np.testing.assert_allclose(y.numpy(), z.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-5, atol=1e-6)


@has_sim
def test_kernels_take_views_that_are_not_contiguous():
    x = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)
    with pynn.use_kernels("sim"):
        a = pynn.Tensor(x, requires_grad=True)
        F.silu(a.T[::2]).sum().backward()
    b = pynn.Tensor(x, requires_grad=True)
    F.silu(b.T[::2]).sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-5, atol=1e-6)


@has_sim
def test_strict_mode_refuses_the_fallback(monkeypatch):
    monkeypatch.setenv("PYNN_STRICT", "1")
    with pynn.use_kernels("sim"):
        F.gelu(pynn.ones(3))
        with pytest.raises(RuntimeError, match=r"\[gelu\] expected its kernels to run .* float64"):
            F.gelu(pynn.ones(3, dtype="float64"))
    F.gelu(pynn.ones(3))  # the reference was asked for


def test_use_kernels_refuses_other_names_and_restores():
    with pytest.raises(ValueError, match=r"\[use_kernels\] expected one of .* got 'fast'"):
        pynn.use_kernels("fast")
    with pynn.use_kernels("reference"), backend.trace() as trace:
        F.gelu(pynn.ones(1))
    assert trace.counts == {("gelu", 'use_kernels("reference")'): 1}
    assert backend._kernels is None


def test_a_missing_gpu_is_an_error_with_a_cure():
    if pynn.cuda_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(RuntimeError, match=r"\[device\] expected (a GPU|CuPy) for device"):
        pynn.ones(2).to("cuda")


def test_sum_to_undoes_broadcasting():
    dy = np.arange(24.0).reshape(2, 3, 4)
    for shape in [(2, 3, 4), (3, 4), (4,), (), (1, 3, 1), (2, 1, 4)]:
        got = backend.sum_to(dy, shape)
        assert got.shape == shape
        np.testing.assert_array_equal(
            np.broadcast_to(got, dy.shape).sum() * (got.size / dy.size), dy.sum()
        )


def test_import_is_light():
    """No GPU library, plotting or data package at import; the time itself is shown by the bench."""
    code = "import sys, pynn; print(sorted(m for m in sys.modules if m.split('.')[0] in {names!r}))"
    names = ("cupy", "matplotlib", "sklearn", "torch", "scipy", "tqdm", "safetensors")
    out = subprocess.run(
        [sys.executable, "-c", code.format(names=names)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    assert out.stdout.strip() == "[]"
