"""Tables of numbers from CSV and NPZ files, read without executing anything."""

import csv
import zipfile
import zlib
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from pynn.data.dataset import ArrayDataset

MISSING = ("", "?", "na", "n/a", "nan", "null", "none")  # cells without a value, in any case


class Table(ArrayDataset):
    """An ArrayDataset of (features, targets) that knows the names of what it holds.

    features  (n, F) float32
    targets   (n, 1) float32, or (n,) int64 class labels
    columns   names of the F features
    classes   the class that each label 0, 1, ... stands for; None without labels
    """

    def __init__(
        self,
        features: Any,
        targets: Any,
        columns: Sequence[str],
        classes: Sequence[str] | None = None,
    ):
        super().__init__(features, targets)
        self.columns = tuple(columns)
        self.classes = None if classes is None else tuple(classes)


def table(
    path: str | PathLike,
    target: str | int,
    features: Sequence[str | int] | None = None,
    *,
    labels: bool = False,
    header: bool = True,
    delimiter: str = ",",
    missing: str = "error",
) -> Table:
    """A Table from a CSV file (any name) or an NPZ file (by its content).

    target     name of the target column, or its number from 0 (negative from the end); for NPZ
               the name of an array (n,) or (n, 1)
    features   columns to keep as features, in this order; all but the target if None; for NPZ
               names of arrays (n,) or (n, F), put side by side
    labels     targets are classes: their distinct values are numbered in sorted order, by
               number if all are numbers, else as text
    header     the first line holds the names; if False, columns are named "0", "1", ...
    delimiter  what parts the cells
    missing    "error", or "drop" to leave out rows in which a cell in use is empty, "?", NA,
               N/A, NaN, null or none

    CSV is UTF-8 with cells quoted by " where needed; empty lines are skipped. Numbers are parsed
    as float64 and rounded once to float32.

    Raises ValueError, naming file, line and column, for a cell that is not a finite number, a
    row with more or fewer cells than the first, or no row left; for a column that does not
    exist, and for a header line that is all numbers (but 0, 1, 2, ... is a header).
    FileNotFoundError if there is no file. NPZ arrays of Python objects are refused: to read them
    would execute what they hold.
    """
    if missing not in ("error", "drop"):
        raise ValueError(f'[table] missing: expected "error" or "drop", got {missing!r}')
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"[table] expected a file, got {str(path)!r}: no file")
    if _is_zip(path):
        return _table_from_npz(path, target, features, labels, missing)
    names, lines, rows = _csv_rows(path, header, delimiter)
    t = _column(path, names, target)
    wanted = range(len(names)) if features is None else [_column(path, names, f) for f in features]
    used = [c for c in wanted if c != t]
    if len(used) < len(wanted) - (features is None) or not used:
        raise ValueError(
            f"[table] {path}: expected at least one feature, none of them the target {target!r}, "
            f"got {features if features is not None else names}"
        )
    if missing == "drop":
        whole = [not any(_is_missing(row[c]) for c in (*used, t)) for row in rows]
        lines = [line for line, keep in zip(lines, whole, strict=True) if keep]
        rows = [row for row, keep in zip(rows, whole, strict=True) if keep]
    if not rows:
        raise ValueError(f"[table] {path}: expected at least one row of values, got none")
    x = np.empty((len(rows), len(used)))
    for j, c in enumerate(used):
        x[:, j] = _csv_numbers(path, names[c], lines, [row[c] for row in rows])
    cells = [row[t].strip() for row in rows]
    if labels:
        for line, cell in zip(lines, cells, strict=True):
            if _is_missing(cell):
                raise _cell_error(path, names[t], line, "a class", cell)
        y, classes = _classes(cells)
    else:
        y, classes = _csv_numbers(path, names[t], lines, cells)[:, None], None
    x, y = _float32(path, x), y if labels else _float32(path, y)
    return Table(x, y, [names[c] for c in used], classes)


def _csv_rows(path, header, delimiter):
    """Column names, and for each row its line number in the file and its cells."""
    lines, rows = [], []
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            for row in reader:
                if row:
                    lines.append(reader.line_num)
                    rows.append(row)
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(
                f"[table] {path} after line {reader.line_num}: expected CSV in UTF-8, got {error}"
            ) from error
    if not rows:
        raise ValueError(f"[table] {path}: expected at least one row, got an empty file")
    for line, row in zip(lines, rows, strict=True):
        if len(row) != len(rows[0]):
            raise ValueError(
                f"[table] {path} line {line}: expected {len(rows[0])} cells as in line "
                f"{lines[0]}, got {len(row)}"
            )
    if not header:
        return [str(c) for c in range(len(rows[0]))], lines, rows
    names = [cell.strip() for cell in rows[0]]
    numbered = names == [str(c) for c in range(len(names))]  # a header all the same
    if all(_number(cell) is not None for cell in names) and not numbered:
        raise ValueError(
            f"[table] {path} line {lines[0]}: expected a header, got only numbers; "
            "header=False reads a file without one"
        )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"[table] {path}: expected distinct column names, got {twice!r} twice")
    return names, lines[1:], rows[1:]


def _column(path, names, which):
    if isinstance(which, str) and which in names:
        return names.index(which)
    if isinstance(which, int) and -len(names) <= which < len(names):
        return which % len(names)
    raise ValueError(f"[table] {path}: expected a column out of {names}, got {which!r}")


def _csv_numbers(path, name, lines, cells):
    values = [_number(cell) for cell in cells]
    for line, cell, value in zip(lines, cells, values, strict=True):
        if value is None or not np.isfinite(value):
            raise _cell_error(path, name, line, "a finite number", cell)
    return np.array(values)


def _number(cell):
    """The float a cell spells, or None; Python's 1_000 is not a number here."""
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _is_missing(cell):
    return cell.strip().lower() in MISSING


def _cell_error(path, name, line, expected, cell):
    hint = '; missing="drop" leaves out such rows' if _is_missing(cell) else ""
    return ValueError(
        f"[table] {path} line {line}, column {name!r}: expected {expected}, got {cell!r}{hint}"
    )


def _classes(cells):
    """Labels (n,) int64, and of the classes they stand for the shortest cell each, sorted."""
    numeric = all(_number(cell) is not None for cell in set(cells))
    key = _number if numeric else str  # 1 and 1.0 are one class
    spelled = {key(cell): cell for cell in sorted(set(cells), key=len, reverse=True)}
    classes = sorted(spelled)
    place = {value: i for i, value in enumerate(classes)}
    labels = np.array([place[key(cell)] for cell in cells], np.int64)
    return labels, [spelled[value] for value in classes]


def _float32(path, values):
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    bad = values[~np.isfinite(rounded)]
    if bad.size:
        raise ValueError(
            f"[table] {path}: expected values of at most 3.4e38, float32's largest, got {bad[0]}"
        )
    return rounded


def _is_zip(path):
    with open(path, "rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def _table_from_npz(path, target, features, labels, missing):
    arrays = _npz_arrays(path)
    kept = [name for name in arrays if name != target] if features is None else list(features)
    for name in (target, *kept):
        if name not in arrays:
            raise ValueError(
                f"[table] {path}: expected an array out of {list(arrays)}, got {name!r}"
            )
    if not kept or target in kept:
        raise ValueError(
            f"[table] {path}: expected at least one feature array, none of them the target "
            f"{target!r}, got {kept}"
        )
    y = _npz_columns(path, target, arrays[target], "fiubU" if labels else "fiub")
    if y.shape[1] != 1 or len(y) == 0:
        raise ValueError(
            f"[table] {path}, array {target!r}: expected shape (n,) or (n, 1), n > 0, got {y.shape}"
        )
    columns, parts = [], []
    for name in kept:
        part = _npz_columns(path, name, arrays[name], "fiub")
        if len(part) != len(y):
            raise ValueError(
                f"[table] {path}, array {name!r}: expected {len(y)} rows as in {target!r}, "
                f"got {len(part)}"
            )
        width = part.shape[1]
        columns += [name] if width == 1 else [f"{name}[{c}]" for c in range(width)]
        parts.append(part.astype(np.float64))
    x = np.concatenate(parts, axis=1)
    if missing == "drop":
        keep = ~np.isnan(x).any(1)
        if y.dtype.kind == "f":
            keep &= ~np.isnan(y[:, 0])
        x, y = x[keep], y[keep]
        if len(y) == 0:
            raise ValueError(f"[table] {path}: expected at least one row of values, got none")
    _require_finite(path, x, columns)
    if y.dtype.kind == "f":
        _require_finite(path, y, [target])
    if not labels:
        return Table(_float32(path, x), _float32(path, y), columns)
    classes, codes = np.unique(y[:, 0], return_inverse=True)
    return Table(_float32(path, x), codes.astype(np.int64), columns, classes.astype(str))


def _npz_arrays(path):
    """All arrays of an NPZ file by name; one that holds Python objects by its error."""
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: _npz_read(file, name) for name in file.files}
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
        raise ValueError(f"[table] {path}: expected a whole NPZ file, got {error}") from error


def _npz_read(file, name):
    try:
        return file[name]
    except ValueError as error:
        return error


def _npz_columns(path, name, values, kinds):
    """values as (n, F), if they are an array (n,) or (n, F) of one of the dtype kinds."""
    if not isinstance(values, np.ndarray):
        got = values if isinstance(values, ValueError) else "something else"
        raise ValueError(f"[table] {path}, array {name!r}: expected an NPY array, got {got}")
    if values.dtype.kind not in kinds:
        hint = "; labels=True takes strings as classes" if values.dtype.kind == "U" else ""
        raise ValueError(
            f"[table] {path}, array {name!r}: expected numbers, got {values.dtype}{hint}"
        )
    if values.ndim not in (1, 2):
        raise ValueError(
            f"[table] {path}, array {name!r}: expected shape (n,) or (n, F), got {values.shape}"
        )
    return values[:, None] if values.ndim == 1 else values


def _require_finite(path, values, names):
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, c = bad[0]
        raise ValueError(
            f"[table] {path}, row {row} from 0, column {names[c]!r}: expected a finite number, "
            f"got {values[row, c]}"
        )
