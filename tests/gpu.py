"""The same tests on a GPU: PYNN_TEST_GPU=kernels puts the GPU's kernels where the simulator's are,
PYNN_TEST_GPU=fallback lets CuPy run what NumPy runs, without any kernels.
"""

import os
import sys

import numpy as np
import pytest

from pynn import backend, testing
from pynn.on_device import OnDevice, replace_simulator


def set_up():
    """What the variable asks for. Raises ValueError for another word."""
    asked = os.environ.get("PYNN_TEST_GPU", "")
    if asked == "kernels":
        replace_simulator()
        OnDevice.counters = OnDevice.reset_counters = _no_counters
    elif asked == "fallback":
        sys.modules["pynn._sim"] = sys.modules["pynn._cuda"] = None  # as if they were not built
        testing.forward, testing.backward = _forward_by_cupy, _backward_by_cupy
    elif asked:
        raise ValueError(f"[tests] PYNN_TEST_GPU: expected kernels or fallback, got {asked!r}")


def _no_counters(self):
    pytest.skip("launches and bytes are counted in the simulator alone")


_forward, _backward = testing.forward, testing.backward


def _forward_by_cupy(op, arrays, native=False):
    def on_gpu():
        node = op()
        held = {k: v for k, v in vars(node).items() if isinstance(v, np.ndarray)}
        vars(node).update(zip(held, _there(held.values()), strict=True))  # labels and the like
        return node

    return _forward(on_gpu, _there(arrays), native)


def _backward_by_cupy(node, dys, native=False):
    return _backward(node, _there(dys), native)


def _there(arrays):
    return [backend.to_device(a, "cuda") for a in arrays]
