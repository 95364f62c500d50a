"""On a GPU: the tests of ops and kernels again, by the kernels and by CuPy alone; training; the
wrappers of csrc/arch.

Each file runs in a process of its own: a kernel that hangs or ruins the CUDA context ends one.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn import backend, nn, optim

TESTS = Path(__file__).parent
OPS = sorted(path.relative_to(TESTS).as_posix() for path in TESTS.glob("functional/test_*.py"))
KERNELS = [*OPS, "csrc/test_csrc_map.py", "optim/test_kernels_optim.py", "test_backend.py"]
KERNELS += ["test_simulated_training.py"]
SECONDS = 100  # for one file

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not backend.cuda_available(), reason="there is no GPU"),
]
built = pytest.mark.skipif(backend.kernel_module("cuda") is None, reason="pynn._cuda was not built")


def passes(file, **environment):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS / file)]
    command += ["-m", "not slow and not oracle", "--maxfail=8", "-W", "default"]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode in (0, 5), done.stdout[-6000:] + done.stderr[-1000:]


@built
@pytest.mark.parametrize("file", KERNELS)
def test_by_the_kernels(file):
    passes(file, PYNN_TEST_GPU="kernels")


@pytest.mark.parametrize("file", OPS)
def test_by_cupy_alone(file):
    passes(file, PYNN_TEST_GPU="fallback")


def test_the_wrappers_of_instructions():
    passes("sim/test_conformance.py", PYNN_SIM_TEST_VARIANT="gpu")


def losses(device, dtype="float32", steps=5):
    """Of a convolutional network on random images."""
    pynn.manual_seed(0)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((16, 12, 12, 8)).astype(np.float32)
    model = nn.Sequential(
        *(nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.GELU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(576, 40), nn.LayerNorm(40), nn.ReLU(), nn.Linear(40, 10)),
    ).to(device=device, dtype=dtype)
    x = pynn.Tensor(images).to(device=device, dtype=dtype)
    labels = pynn.Tensor(rng.integers(0, 10, 16)).to(device=device)
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)
    found = []
    for _ in range(steps):
        loss = F.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


@pytest.mark.parametrize("kernels", [pytest.param("native", marks=built), "reference"])
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-3), ("bfloat16", 0.1)])
def test_a_network_trains_as_on_the_cpu(kernels, dtype, bound):
    wanted = losses("cpu")
    with pynn.use_kernels(kernels):
        got = losses("cuda", dtype)
        again = losses("cuda", dtype)
    assert wanted[-1] < 0.8 * wanted[0]
    np.testing.assert_allclose(got, wanted, rtol=bound, atol=bound)
    if kernels == "native":
        assert got == again
