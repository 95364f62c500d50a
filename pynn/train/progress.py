"""What a person sees of a run: a bar while it goes, and lines that tell of the epochs."""

import os
import sys
import time

_SECONDS_BETWEEN_LINES = 1.0  # so that 500 epochs of 10 ms do not scroll everything else away


class Progress:
    """A bar of steps on a terminal, above it a line for each epoch (at most one a second).

    Only lines are written where the output is no terminal, NO_COLOR is set, or tqdm is not
    installed. `enabled=False` writes nothing.
    """

    def __init__(self, enabled: bool = True):
        self.enabled = enabled
        self._bar = None
        self._last = -float("inf")

    def begin(self, step: int, steps: int) -> None:
        """The run stands at `step` and will have `steps`."""
        if self.enabled and _wants_bar():
            from tqdm import tqdm

            self._bar = tqdm(
                total=steps, initial=step, unit="step", leave=False, dynamic_ncols=True
            )

    def advance(self, loss) -> None:
        """One step is done; `loss`, a function, is asked for its value when the bar is drawn."""
        if self._bar is not None and self._bar.update():
            self._bar.set_postfix_str(f"loss {loss():.4f}", refresh=False)

    def epoch(self, row: dict, epochs: int, last: bool = False) -> None:
        """An epoch is over; `row` is its row in the log. The first and last are always shown."""
        now = time.monotonic()
        if self.enabled and (last or now - self._last >= _SECONDS_BETWEEN_LINES):
            self._last = now
            self.say(line(row, epochs))

    def say(self, text: str) -> None:
        """Write a line, above the bar if there is one."""
        if not self.enabled:
            return
        if self._bar is not None:
            self._bar.write(text, file=sys.stdout)
        else:
            print(text, flush=True)

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def line(row: dict, epochs: int) -> str:
    """A row of the log for people: "epoch  3/30  step 69  loss 0.1234  accuracy 0.9612  0.8 s"."""
    parts = [f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}", f"step {row['step']}"]
    for name, value in row.items():
        if name not in ("epoch", "step", "seconds", "lr") and isinstance(value, int | float):
            parts.append(f"{name} {value:.4f}")
    parts.append(f"{row['seconds']:.1f} s")
    return "  ".join(parts)


def _wants_bar():
    if "NO_COLOR" in os.environ or not sys.stderr.isatty():
        return False
    try:
        import tqdm  # noqa: F401
    except ImportError:
        return False
    return True
