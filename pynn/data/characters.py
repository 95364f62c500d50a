"""Text as a sequence of characters."""

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from pynn.data.dataset import checked_index

_LONGEST_NAME = 255  # of a file, in characters


class Text:
    """A text, its vocabulary of characters, and its split into a train and a test part.

    content        the text, at least two characters
    test_fraction  0 < fraction < 1; the last round(fraction * n) characters are the test part, as
                   one piece, so that no test passage overlaps a training passage

    content     str
    vocabulary  str, the distinct characters of the whole text in order of their code points; the
                id of a character is its place there
    train       (n,) int64 ids
    test        (m,) int64 ids

    Raises ValueError for a text of fewer than two characters or a fraction out of range.
    """

    def __init__(self, content: str, test_fraction: float = 0.1):
        if not 0 < test_fraction < 1:
            raise ValueError(
                f"[text] test_fraction: expected 0 < fraction < 1, got {test_fraction}"
            )
        if len(content) < 2:
            raise ValueError(f"[text] expected at least 2 characters, got {len(content)}")
        self.content = content
        self._points = np.unique(_code_points(content))
        self.vocabulary = _string(self._points)
        ids = self.encode(content)
        cut = len(ids) - min(max(round(len(ids) * test_fraction), 1), len(ids) - 1)
        self.train, self.test = ids[:cut], ids[cut:]

    def __len__(self) -> int:
        return len(self.content)

    def encode(self, string: str) -> np.ndarray:
        """The ids of a string's characters, (n,) int64.

        Raises ValueError for a character that is not in the vocabulary, and says where it stands.
        """
        points = _code_points(string)
        ids = np.searchsorted(self._points, points)
        ids[ids == len(self._points)] = 0
        bad = np.flatnonzero(self._points[ids] != points)
        if bad.size:
            raise ValueError(
                f"[encode] expected characters out of the vocabulary's {len(self.vocabulary)}, "
                f"got {string[bad[0]]!r} at position {bad[0]}"
            )
        return ids.astype(np.int64)

    def decode(self, ids: Any) -> str:
        """The string of (n,) integer ids.

        Raises TypeError if ids are not integers, ValueError for other shapes and for an id that
        is not in the vocabulary.
        """
        ids = np.asarray(ids)
        if ids.ndim != 1:
            raise ValueError(f"[decode] ids: expected shape (n,), got {ids.shape}")
        if ids.size == 0:
            return ""
        if not np.issubdtype(ids.dtype, np.integer):
            raise TypeError(f"[decode] ids: expected integers, got {ids.dtype}")
        bad = np.flatnonzero((ids < 0) | (ids >= len(self._points)))
        if bad.size:
            raise ValueError(
                f"[decode] ids: expected 0..{len(self._points) - 1}, "
                f"got {ids[bad[0]]} at position {bad[0]}"
            )
        return _string(self._points[ids])


def _code_points(string):
    return np.frombuffer(string.encode("utf-32-le", "surrogatepass"), "<u4")


def _string(points):
    return points.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


class Windows:
    """Passages of a sequence with what comes next: sample i is (s[a : a+L], s[a+1 : a+L+1]).

    ids      (n,), as of Text.train
    length   L >= 1
    stride   a = i * stride; L by default, so that an epoch sees each target once
    returns  by int (L,) and (L,), by slice or index array (B, L) and (B, L), dtype of ids, copies

    Raises ValueError if ids are not (n,) with n > length, or length or stride are below 1.
    """

    def __init__(self, ids: Any, length: int, stride: int | None = None):
        self.ids = np.asarray(ids)
        self.length = length
        self.stride = length if stride is None else stride
        if self.length < 1 or self.stride < 1:
            raise ValueError(
                f"[Windows] expected length and stride of at least 1, got {length} and {stride}"
            )
        if self.ids.ndim != 1 or len(self.ids) <= length:
            raise ValueError(
                f"[Windows] ids: expected shape (n,) with n > {length}, the length, "
                f"got {self.ids.shape}"
            )

    def __len__(self) -> int:
        return (len(self.ids) - self.length - 1) // self.stride + 1

    def __getitem__(self, index: Any) -> tuple[np.ndarray, np.ndarray]:
        index = checked_index("Windows", index, len(self))
        if isinstance(index, slice):
            index = np.arange(*index.indices(len(self)))
        starts = np.asarray(index) * self.stride
        passages = self.ids[starts[..., None] + np.arange(self.length + 1)]
        return passages[..., :-1].copy(), passages[..., 1:].copy()


def text(source: str | PathLike, test_fraction: float = 0.1) -> Text:
    """A Text from a UTF-8 file or from a string.

    source  a path object; or a string, which is the path if a file of that name exists, and the
            text itself if not. Line ends of a file become newlines.

    Raises FileNotFoundError for a path object without a file, and for a single word of at most
    255 characters without a file, which is more likely a misspelt path than a text; ValueError if
    the file is not UTF-8.
    """
    if not isinstance(source, str | PathLike):
        raise TypeError(f"[text] expected a path or a string, got {type(source).__name__}")
    if isinstance(source, str) and not _names_file(source):
        word = len(source) <= _LONGEST_NAME and len(source.split()) == 1
        if not word:
            return Text(source, test_fraction)
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"[text] expected a file or a text, got {str(source)!r}: no file")
    try:
        return Text(path.read_text(encoding="utf-8"), test_fraction)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"[text] {path}: expected UTF-8, got byte {error.object[error.start]:#04x} at position "
            f"{error.start}"
        ) from error


def _names_file(string):
    try:
        return "\n" not in string and Path(string).is_file()
    except (OSError, ValueError):  # too long for a name, or a zero byte in it
        return False


def pydoc_text(test_fraction: float = 0.1) -> Text:
    """Python's own help topics as a Text: English prose, from the standard library.

    About 470,000 characters, 100 distinct ones; both differ between Python versions.
    """
    from pydoc_data.topics import topics

    return Text("\n".join(topics[name] for name in sorted(topics)), test_fraction)
