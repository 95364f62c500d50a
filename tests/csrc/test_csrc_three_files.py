"""A new kernel is three files, shown by adding one to a copy of the tree: the kernel, its op, its
test. Nothing else changes, the simulator's build finds the kernel, and a wrong one fails.
"""

import filecmp
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

KERNEL = """\
// squared_relu.cu — y = max(x, 0)^2,  dx = 2 max(x, 0) dy, elementwise: common/map.cuh.
//
//   bytes  2 n sizeof(T), backward 3 n sizeof(T)     bound: memory
//   So et al. 2021, arXiv:2109.08668

#include "common/array.h"
#include "common/dispatch.h"
#include "common/export.h"
#include "common/map.cuh"

namespace pynn::squared_relu {

struct Forward {
  __device__ float operator()(float x) const { return x <= 0.f ? 0.f : x * x; }
};
struct Backward {
  __device__ float operator()(float x, float dy) const { return x <= 0.f ? 0.f : 2.f * x * dy; }
};

void squared_relu_fwd(cudaStream_t stream, Array x, Out y) {
  expect_like("squared_relu_fwd", "y", y, x);
  dispatch_float("squared_relu_fwd", "x", x.dtype, [&]<typename T>() {
    map(stream, Forward{}, x.size(), y.data<T>(), x.data<T>());
  });
}
PYNN_EXPORT(squared_relu_fwd, "(x, y)  y = max(x, 0)^2");

void squared_relu_bwd(cudaStream_t stream, Array x, Array dy, Out dx) {
  expect_like("squared_relu_bwd", "dy", dy, x);
  expect_like("squared_relu_bwd", "dx", dx, x);
  dispatch_float("squared_relu_bwd", "x", x.dtype, [&]<typename T>() {
    map(stream, Backward{}, x.size(), dx.data<T>(), x.data<T>(), dy.data<T>());
  });
}
PYNN_EXPORT(squared_relu_bwd, "(x, dy, dx)  dx = 2 max(x, 0) dy");

}  // namespace pynn::squared_relu
"""

OP = '''\
"""The squared ReLU."""

from pynn.autograd import Function
from pynn.backend import array_module, native, widen


class SquaredRelu(Function):
    """y = max(x, 0)^2;  dx = 2 max(x, 0) dy.  So et al. 2021, arXiv:2109.08668."""

    def forward(self, x):
        self.x = x
        positive = array_module(x).maximum(widen(x), 0)
        return (positive * positive).astype(x.dtype, copy=False)

    def backward(self, dy):
        positive = array_module(dy).maximum(widen(self.x), 0)
        return (2 * positive * widen(dy)).astype(dy.dtype, copy=False)

    def forward_native(self, x):
        self.x, y = x, array_module(x).empty_like(x)
        native.squared_relu_fwd(x, y)
        return y

    def backward_native(self, dy):
        dx = array_module(dy).empty_like(dy)
        native.squared_relu_bwd(self.x, dy, dx)
        return dx


def squared_relu(x):
    return SquaredRelu()(x)
'''

TEST = """\
import numpy as np

import pynn
from pynn import backend
from pynn.functional.squared_relu import SquaredRelu, squared_relu
from pynn.testing import check, vectors


def test_squared_relu_answers():
    rows = check(SquaredRelu, *vectors(), truth=lambda x: np.maximum(x, 0) ** 2)
    assert any(row.native is not None for row in rows)


def test_its_kernels_run():
    x = pynn.Tensor(np.array([-2.0, 3.0], np.float32), requires_grad=True)
    with pynn.use_kernels("sim"), backend.trace() as trace:
        y = squared_relu(x)
        y.backward(pynn.Tensor(np.ones(2, np.float32)))
    assert trace.counts[("squared_relu", "native")] == 1
    np.testing.assert_array_equal(y.numpy(), [0, 9])
    np.testing.assert_array_equal(x.grad.numpy(), [0, 6])
"""

ADDED = {
    "csrc/kernels/squared_relu/squared_relu.cu": KERNEL,
    "pynn/functional/squared_relu.py": OP,
    "tests/functional/test_squared_relu.py": TEST,
}


def run(*command, **options):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)


def copy_of_the_tree(to):
    """What a kernel is built from and runs in: no other kernel, no test."""
    for part in ("csrc/arch", "csrc/bindings", "csrc/common", "csrc/sim", "pynn"):
        shutil.copytree(
            ROOT / part, to / part, ignore=shutil.ignore_patterns("*.so", "__pycache__")
        )


def changed(tree):
    """The files of the tree that are not as they are here."""
    files = [p.relative_to(tree) for p in tree.rglob("*") if p.is_file()]
    same = [f for f in files if (ROOT / f).exists() and filecmp.cmp(ROOT / f, tree / f, False)]
    return {str(f) for f in set(files) - set(same)}


def build(tree, folder):
    """The simulator, with the tree's kernels, into the tree's package."""
    configure = ["cmake", "-S", tree / "csrc" / "sim", "-B", folder]
    configure += [f"-DPython_EXECUTABLE={sys.executable}", "-DCMAKE_BUILD_TYPE=Release"]
    configure += ["-G", "Ninja"] if shutil.which("ninja") else []
    for command in (configure, ["cmake", "--build", folder, "-j", os.cpu_count() or 1]):
        done = run(*command)
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    (module,) = folder.glob("_sim*.so")
    shutil.copy(module, tree / "pynn")


def pytest_of(tree):
    env = {k: v for k, v in os.environ.items() if k != "PYNN_SIM_MODULE"}
    env["PYTHONPATH"] = str(tree)
    test = tree / "tests/functional/test_squared_relu.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull]
    return run(*command, "--rootdir", tree, test, cwd=tree, env=env)


@pytest.mark.slow
def test_a_kernel_is_three_files(tmp_path):
    missing = [tool for tool in ("cmake", "c++") if shutil.which(tool) is None]
    if missing or importlib.util.find_spec("pybind11") is None:
        pytest.skip("the build's tools are not installed: pip install .[check], and a compiler")
    tree = tmp_path / "tree"
    copy_of_the_tree(tree)
    assert changed(tree) == set()
    for name, text in ADDED.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    assert changed(tree) == set(ADDED)

    build(tree, tmp_path / "build")
    done = pytest_of(tree)
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout[-3000:]

    wrong = tree / "csrc/kernels/squared_relu/squared_relu.cu"
    wrong.write_text(KERNEL.replace("2.f * x * dy", "x * dy"))
    build(tree, tmp_path / "build")
    done = pytest_of(tree)
    assert done.returncode == 1 and "2 failed" in done.stdout, done.stdout[-3000:]
