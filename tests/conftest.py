"""Fixtures for all tests: a fixed seed before each, PyTorch for the comparisons that have it."""

import gpu
import pytest

import pynn

gpu.set_up()


@pytest.fixture(autouse=True)
def seed():
    """Each test starts from the same random stream, and leaves the default choice of kernels."""
    pynn.manual_seed(0)
    yield
    pynn.use_kernels(None)


@pytest.fixture(scope="session")
def torch():
    """PyTorch on the CPU, one thread; tests that use it are skipped where it is not installed."""
    torch = pytest.importorskip(
        "torch", reason="the oracle is not installed: pip install .[oracle]"
    )
    torch.set_num_threads(1)
    return torch
