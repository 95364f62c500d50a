"""The yearly numbers of sunspots that come inside statsmodels."""

import importlib.util
from pathlib import Path

import numpy as np


def sunspots() -> tuple[np.ndarray, np.ndarray]:
    """(years, numbers): 1700 to 2008 (309,) int64, and the mean sunspot number of each, float32.

    Raises ImportError if statsmodels is not installed.
    SIDC, Royal Observatory of Belgium (the data); Yule 1927 fitted the first autoregression to it.
    """
    try:
        spec = importlib.util.find_spec("statsmodels")
    except ValueError:  # it is there, but has no spec
        spec = None
    if spec is None:
        raise ImportError(
            "[sunspots] expected statsmodels, which holds this data, got no such module: "
            'pip install "pynn-cuda[examples]"'
        )
    path = Path(spec.origin).parent / "datasets" / "sunspots" / "sunspots.csv"
    rows = np.loadtxt(path, delimiter=",", skiprows=1, converters=_unquoted, encoding="utf-8")
    return rows[:, 0].astype(np.int64), rows[:, 1].astype(np.float32)


def _unquoted(text):
    return float(text.strip('"'))
