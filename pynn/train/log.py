"""Logs: log.csv and log.jsonl in the run's folder, a row for each epoch, and TensorBoard files."""

import csv
import io
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path

from pynn.train.files import replacing


class Log:
    """Writes rows, dicts of numbers, as they come: nothing waits for the end of the run.

    folder       where log.csv and log.jsonl are put; files there are replaced
    rows         what a resumed run had logged up to its checkpoint: the files begin with these
    tensorboard  also write event files into folder/tensorboard, against the row's "step"

    A NaN or infinity is an empty cell in the CSV and null in the JSONL, which knows neither.
    Raises ImportError if tensorboardX is asked for and not installed.
    """

    def __init__(self, folder: str | os.PathLike, rows: Iterable[dict] = (), tensorboard=False):
        self.folder = Path(folder)
        self.rows = [dict(row) for row in rows]
        self._columns = []
        self._board = _board(self.folder / "tensorboard", self.rows) if tensorboard else None
        self._rewrite()

    def add(self, row: dict) -> None:
        """Log one epoch."""
        self.rows.append(dict(row))
        if set(row) <= set(self._columns):
            with open(self.folder / "log.csv", "a", encoding="utf-8", newline="") as file:
                file.write(_csv(self._columns, [row]))
            with open(self.folder / "log.jsonl", "a", encoding="utf-8") as file:
                file.write(_jsonl([row]))
        else:
            self._rewrite()
        if self._board is not None:
            for name, value in row.items():
                if name != "step":
                    self._board.add_scalar(name, value, row["step"])
            self._board.flush()

    def close(self) -> None:
        """Close the TensorBoard files; the others are closed after each row."""
        if self._board is not None:
            self._board.close()

    def _rewrite(self):
        self._columns = list(dict.fromkeys(name for row in self.rows for name in row))
        with replacing(self.folder / "log.csv") as file:
            if self._columns:
                file.write(
                    _csv(
                        self._columns, [dict(zip(self._columns, self._columns, strict=True))]
                    ).encode()
                )
                file.write(_csv(self._columns, self.rows).encode())
        with replacing(self.folder / "log.jsonl") as file:
            file.write(_jsonl(self.rows).encode())


def _csv(columns, rows):
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        values = (_finite(row.get(name)) for name in columns)
        writer.writerow("" if value is None else value for value in values)
    return text.getvalue()


def _jsonl(rows):
    lines = (json.dumps({name: _finite(value) for name, value in row.items()}) for row in rows)
    return "".join(line + "\n" for line in lines)


def _finite(value):
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _board(folder, rows):
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "[train] tensorboard: expected tensorboardX, got no such module: "
            'pip install "pynn-cuda[tensorboard]"'
        ) from error
    first = rows[-1]["step"] + 1 if rows else None
    return SummaryWriter(logdir=str(folder), purge_step=first)
