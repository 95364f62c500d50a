"""Small kernels, one for each idea of the simulator, against float64 in every schedule.

They are written to be read: each shows one way of programming the machine, in the fewest lines.
The same files compile with nvcc; the last tests repeat everything under the sanitizers and the race
detector.
"""

import os
import shutil
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from sim import harness

pytestmark = pytest.mark.skipif(bool(harness.missing()), reason=harness.missing())

bfloat16 = ml_dtypes.bfloat16
every_schedule = pytest.mark.parametrize(("order", "async_mode"), harness.SCHEDULES)


def integers(rng, shape, dtype):
    """Small integers: any order of summation gives the same bits."""
    return rng.integers(-4, 5, shape).astype(dtype)


def normal(rng, shape, dtype):
    return rng.standard_normal(shape).astype(dtype)


def check_gemm(name, a, b, product, order, async_mode, exact):
    """`product` of a and b in float64 against the kernel: bit for bit, or within f32's bound."""
    m, n = product.shape
    out = np.full((m + 1, n), np.nan, np.float32)  # a row more: nothing may touch it
    lib = harness.library(name)
    lib.schedule(order, async_mode, seed=7)
    lib.call(name.removesuffix("_sm90"), a, b, out, m, n, a.shape[1])
    assert np.isnan(out[m]).all()
    if exact:
        np.testing.assert_array_equal(out[:m], product)
    else:
        k = a.shape[1]
        bound = (
            (k + 2)
            * np.finfo(np.float32).eps
            * (np.abs(a.astype(float)).max() * np.abs(b.astype(float)).max())
            * k
        )
        error = np.abs(out[:m] - product).max()
        assert error <= bound, f"error {error}, bound {bound}"


@every_schedule
@pytest.mark.parametrize("shape", [(1, 1, 1), (65, 67, 17), (128, 128, 128)])
def test_sgemm(order, async_mode, shape):
    m, n, k = shape
    rng = np.random.default_rng(1)
    a, b = normal(rng, (m, k), np.float32), normal(rng, (k, n), np.float32)
    check_gemm("sgemm", a, b, a.astype(float) @ b.astype(float), order, async_mode, exact=False)


@every_schedule
@pytest.mark.parametrize("shape", [(1, 1), (3, 127), (2, 128), (5, 1000)])
def test_softmax(order, async_mode, shape):
    x = normal(np.random.default_rng(2), shape, np.float32)
    y = np.full_like(x, np.nan)
    lib = harness.library("softmax")
    lib.schedule(order, async_mode, seed=3)
    lib.call("softmax", x, y, *shape)
    e = np.exp(x.astype(float) - x.max(1, keepdims=True))
    assert np.abs(y - e / e.sum(1, keepdims=True)).max() <= 1e-6


@every_schedule
@pytest.mark.parametrize("shape", [(16, 16, 16), (17, 33, 31), (48, 32, 64)])
def test_mma_gemm(order, async_mode, shape):
    m, n, k = shape
    rng = np.random.default_rng(3)
    a, b = integers(rng, (m, k), bfloat16), integers(rng, (k, n), bfloat16)
    check_gemm("mma_gemm", a, b, a.astype(float) @ b.astype(float), order, async_mode, exact=True)


@every_schedule
@pytest.mark.parametrize("shape", [(64, 64, 64), (100, 72, 200), (128, 128, 128), (129, 8, 8)])
def test_wgmma_gemm(order, async_mode, shape):
    m, n, k = shape
    rng = np.random.default_rng(4)
    a, b = integers(rng, (m, k), bfloat16), integers(rng, (n, k), bfloat16)
    check_gemm(
        "wgmma_gemm_sm90", a, b, a.astype(float) @ b.T.astype(float), order, async_mode, exact=True
    )


@every_schedule
@pytest.mark.parametrize("shape", [(1, 1), (3, 1000), (2, 257)])
def test_cluster_sum(order, async_mode, shape):
    x = integers(np.random.default_rng(5), shape, np.float32)
    y = np.full(shape[0], np.nan, np.float32)
    lib = harness.library("cluster_sum_sm90")
    lib.schedule(order, async_mode, seed=5)
    lib.call("cluster_sum", x, y, *shape)
    np.testing.assert_array_equal(y, x.astype(float).sum(1))


@every_schedule
@pytest.mark.parametrize("n", [1, 255, 256, 257, 2000])
def test_pipeline(order, async_mode, n):
    x = normal(np.random.default_rng(6), n, np.float32)
    y = np.full(n + 1, np.nan, np.float32)
    lib = harness.library("pipeline")
    lib.schedule(order, async_mode, seed=9)
    lib.call("pipeline", x, y, n)
    np.testing.assert_array_equal(y[:n], x[::-1])
    assert np.isnan(y[n])


def test_same_bits_under_every_schedule():
    rng = np.random.default_rng(8)
    a, b = normal(rng, (96, 80), bfloat16), normal(rng, (64, 80), bfloat16)
    lib = harness.library("wgmma_gemm_sm90")
    results = []
    for order, async_mode in harness.SCHEDULES:
        out = np.empty((96, 64), np.float32)
        lib.schedule(order, async_mode, seed=11)
        lib.call("wgmma_gemm", a, b, out, 96, 64, 80)
        results.append(out)
    assert all((r == results[0]).all() for r in results)


@pytest.mark.skipif(harness.VARIANT != "plain", reason="asked by the plain run")
@pytest.mark.parametrize("variant", ["address", "race"])
def test_under(variant):
    """The tests of right kernels once more, in a Python that has the variant's libraries."""
    here = harness.KERNELS.parent
    tests = [__file__, str(here / "test_vocabulary.py"), str(here / "test_conformance.py")]
    env = os.environ | {"PYNN_SIM_TEST_VARIANT": variant}
    if variant == "address":
        for kernel in FILES:  # here: the compiler would be slow under the sanitizer
            harness.linked(kernel, variant, ".so", ["-shared"])
        env |= harness.sanitizer_environment()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests],
        env=env, capture_output=True, text=True, cwd=harness.ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


@pytest.mark.skipif(harness.VARIANT != "plain", reason="asked by the plain run")
def test_threads_switch_by_ucontext_too():
    """As on a processor that fiber.cpp has no switch for; all of tests/sim passes so, too."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "softmax"],
        env=os.environ | {"PYNN_SIM_TEST_VARIANT": "ucontext"},
        capture_output=True, text=True, cwd=harness.ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert " passed" in done.stdout


FILES = sorted(p.stem for p in harness.KERNELS.glob("*.cu") if "faults" not in p.stem)
ARCHS = [(k, a) for k in FILES for a in (["90a"] if k.endswith("_sm90") else ["80", "90a"])]


@pytest.mark.slow
@pytest.mark.skipif(harness.VARIANT != "plain" or shutil.which("nvcc") is None, reason="no nvcc")
@pytest.mark.parametrize(("kernel", "arch"), ARCHS)
def test_nvcc_compiles(kernel, arch, tmp_path):
    target = ["-c", str(harness.KERNELS / f"{kernel}.cu"), "-o", str(tmp_path / "k.o")]
    code = f"-gencode=arch=compute_{arch},code=sm_{arch}"
    done = subprocess.run(
        ["nvcc", "-std=c++20", code, f"-I{harness.ROOT / 'csrc'}", "-Werror=all-warnings", *target],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
