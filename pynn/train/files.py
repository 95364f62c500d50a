"""Files that are either the old ones or the new ones, whatever happens in between."""

import contextlib
import csv
import errno
import io
import json
import os
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | os.PathLike):
    """A binary file to write in, which takes the place of `path` when the block ends.

    The content goes to `path` + ".tmp", reaches the disk, and is renamed. A kill, a full disk or an
    exception in the block therefore leaves `path` as it was. A remainder of an earlier kill is
    written over.
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def _sync_folder(folder):
    """Make the renaming itself last. A file system that cannot (EINVAL) is left in peace."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def write_json(path: str | os.PathLike, tree) -> None:
    """Put `tree` into `path` as indented JSON, wholly or not at all."""
    text = json.dumps(tree, indent=2, ensure_ascii=False) + "\n"
    with replacing(path) as file:
        file.write(text.encode())


def write_csv(path: str | os.PathLike, rows) -> None:
    """Put rows, the first of them the names of the columns, into `path`, wholly or not at all."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    with replacing(path) as file:
        file.write(text.getvalue().encode())


def read_json(path: str | os.PathLike) -> dict:
    """The JSON object in `path`. Raises ValueError, naming the file, if it holds none."""
    try:
        tree = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"[read_json] {path}: expected JSON, got {error}") from None
    if not isinstance(tree, dict):
        raise ValueError(f"[read_json] {path}: expected a JSON object, got {type(tree).__name__}")
    return tree
