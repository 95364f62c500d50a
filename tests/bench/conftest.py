"""`bench` is no part of the package: it is imported from the checkout, after what is installed."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))
