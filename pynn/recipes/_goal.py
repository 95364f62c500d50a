"""Goal: the figure that a recipe is for, how good it must be, and how long that may take."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """What a whole run of a recipe must reach.

    figure   what is measured, such as "test accuracy"
    of       the figure out of a run's result.json
    at_least, at_most   one of them, the bound
    seconds  of computing that the run may take on two CPU cores, data and pictures included
    form     how the figure is written, a format of Python
    """

    figure: str
    of: Callable[[dict], float]
    at_least: float | None = None
    at_most: float | None = None
    seconds: int = 60
    form: str = ".1%"

    def __post_init__(self):
        if (self.at_least is None) == (self.at_most is None):
            got = "neither" if self.at_least is None else "both"
            raise ValueError(f"[goal] {self.figure}: expected at_least or at_most, got {got}")

    def met(self, value: float) -> bool:
        """Whether a figure is good enough; NaN never is."""
        return value >= self.at_least if self.at_most is None else value <= self.at_most

    def text(self, value: float) -> str:
        """A figure as it is written: 97.5 %."""
        return format(value, self.form).replace("%", " %")

    @property
    def bound(self) -> str:
        """What is wanted, as it is written: >= 97.5 %."""
        if self.at_most is None:
            return f">= {self.text(self.at_least)}"
        return f"<= {self.text(self.at_most)}"
