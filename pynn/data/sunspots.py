"""The yearly numbers of sunspots that come inside statsmodels."""

import numpy as np

from pynn.data._package import folder_of


def sunspots() -> tuple[np.ndarray, np.ndarray]:
    """(years, numbers): 1700 to 2008 (309,) int64, and the mean sunspot number of each, float32.

    Raises ImportError if statsmodels is not installed.
    SIDC, Royal Observatory of Belgium (the data); Yule 1927 fitted the first autoregression to it.
    """
    folder = folder_of("sunspots", "statsmodels", "statsmodels")
    path = folder / "datasets/sunspots/sunspots.csv"
    rows = np.loadtxt(path, delimiter=",", skiprows=1, converters=_unquoted, encoding="utf-8")
    return rows[:, 0].astype(np.int64), rows[:, 1].astype(np.float32)


def _unquoted(text):
    return float(text.strip('"'))
