"""Where an installed package lies, found without importing it."""

import importlib.util
from pathlib import Path


def folder_of(op: str, module: str, package: str) -> Path:
    """The folder of a module whose package holds the data that `op` reads.

    Raises ImportError, naming the extra, if it is not installed.
    """
    try:
        spec = importlib.util.find_spec(module)
    except ValueError:  # it is there, but has no spec
        spec = None
    if spec is None:
        raise ImportError(
            f"[{op}] expected {package}, which holds this data, got no such module: "
            'pip install "pynn-cuda[examples]"'
        )
    return Path(spec.origin).parent
