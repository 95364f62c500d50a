"""pynn's kernels for CUDA, on CuPy arrays and CuPy's current stream.

The launchers are found in the kernel files, so they are named by kernels() and not here: a new
kernel touches no stub. Each takes its arguments by position, writes into the arrays it is given,
returns None, and says its signature and formula in its docstring:

    gelu_fwd(x: array, y: out) -> None

Raises ValueError for shapes and values, TypeError for dtypes and kinds of argument, RuntimeError
for CUDA.
"""

from collections.abc import Callable
from typing import Any

def kernels() -> list[str]:
    """Names of the launchers in this module, sorted."""

def build_info() -> dict[str, Any]:
    """Versions and architectures this module was compiled with."""

def __getattr__(name: str) -> Callable[..., None]: ...
