"""Ctrl-C and termination, taken at the end of a step instead of in the middle of it."""

import signal
import threading
from pathlib import Path


class Interrupted(KeyboardInterrupt):
    """A signal ended the run after a whole step.

    signal      its number: SIGINT (Ctrl-C) or SIGTERM
    step        steps done
    checkpoint  where the state was saved, or None
    """

    def __init__(self, signum: int, step: int, checkpoint: Path | None):
        saved = f"saved to {checkpoint}" if checkpoint else "not saved, since no folder was given"
        super().__init__(f"[train] interrupted after step {step}, {saved}")
        self.signal, self.step, self.checkpoint = signum, step, checkpoint


class Signals:
    """In a `with`, notes the first SIGINT or SIGTERM in `received`; a second acts at once.

    Does nothing outside the main thread, where Python allows no handlers.
    """

    def __init__(self):
        self.received = None
        self._formers = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._formers[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exc):
        for number, former in self._formers.items():
            # None: set by other means than Python, and not to be had back
            signal.signal(number, signal.SIG_DFL if former is None else former)

    def _note(self, number, frame):
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number
