"""Words out of Python's own standard library: text that is on every machine."""

import importlib.util
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from pynn.data.dataset import ArrayDataset

PACKAGES = (
    "asyncio",
    "ctypes",
    "email",
    "encodings",
    "importlib",
    "json",
    "multiprocessing",
    "unittest",
    "xml",
    "zoneinfo",
)
UNKNOWN = 0  # the id of every word that is not in the vocabulary
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\w\s]")
_LEAST_FILE, _MOST_WINDOWS = 1500, 300  # characters that count as a file; windows taken of one


def words(source: str) -> list[str]:
    """The words of a program: parts of identifiers, lower case, and numbers and signs.

    words("class HTTPServer_2:")  ->  ["class", "http", "server", "2", ":"]
    """
    return [word.lower() for word in _WORD.findall(source)]


class Vocabulary:
    """The words that occur at least `least` times, the most frequent first, behind "?", word 0.

    words  list of str;  counts (n,) int64, that of "?" how often another word occurred
    """

    def __init__(self, texts: Iterable[Sequence[str]], least: int = 1):
        found = Counter(word for text in texts for word in text)
        kept = sorted((w for w in found if found[w] >= least), key=lambda w: (-found[w], w))
        rest = found.total() - sum(found[word] for word in kept)
        self.words = ["?", *kept]
        self.counts = np.array([rest, *(found[word] for word in kept)], np.int64)
        self._ids = {word: i for i, word in enumerate(self.words) if i != UNKNOWN}

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, text: Iterable[str]) -> np.ndarray:
        """The ids of words, (n,) int64, 0 for those that are not in the vocabulary."""
        return np.array([self._ids.get(word, UNKNOWN) for word in text], np.int64)


def package_windows(length: int = 50) -> tuple[dict[str, ArrayDataset], Vocabulary]:
    """Windows of `length` words, each with the one of PACKAGES that it comes from.

    Every fourth file of a package is in the test and every eighth in the validation, whole, so that
    no file is in two parts. Windows of the training files overlap by half, the others do not. The
    vocabulary is that of the training files, words that occur twice or more.

    returns  ({"train", "validation", "test"}, vocabulary), each part of ids (N, length) int64 and
             labels (N,) int64, places in PACKAGES

    Raises ImportError if a package is missing.
    """
    parts = {"train": [], "validation": [], "test": []}
    for label, name in enumerate(PACKAGES):
        files = [f for f in _files(_folder(name)) if f.stat().st_size >= _LEAST_FILE]
        for i, file in enumerate(files):
            part = "test" if i % 4 == 1 else "validation" if i % 8 == 3 else "train"
            parts[part].append((words_of(file), label))
    vocabulary = Vocabulary((text for text, _ in parts["train"]), least=2)
    stride = {"train": max(1, length // 2), "validation": length, "test": length}
    found = {p: _windows(texts, vocabulary, length, stride[p]) for p, texts in parts.items()}
    return found, vocabulary


def _windows(texts, vocabulary, length, stride):
    windows, labels = [], []
    for text, label in texts:
        ids = vocabulary.encode(text)
        starts = range(0, len(ids) - length + 1, stride)[:_MOST_WINDOWS]
        windows += [ids[start : start + length] for start in starts]
        labels += [label] * len(starts)
    return ArrayDataset(np.stack(windows), np.array(labels, np.int64))


def library_files() -> list[Path]:
    """Each module and package file of the standard library, tests left out.

    About 700 files of 1.9 million words; they differ between Python versions.
    """
    root = _folder("json").parent
    packages = sorted(f.parent for f in root.glob("*/__init__.py"))
    return sorted(root.glob("*.py")) + [file for folder in packages for file in _files(folder)]


def words_of(file: Path) -> list[str]:
    """The words of a file."""
    return words(file.read_text(encoding="utf-8", errors="ignore"))


def _folder(name):
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise ImportError(
            f"[package_windows] expected {name} of the standard library, got no such package"
        )
    return Path(found.submodule_search_locations[0])


def _files(folder):
    """The sources of a package in order of their names, those of its tests left out."""
    return sorted(
        file
        for file in folder.rglob("*.py")
        if not any("test" in part for part in file.relative_to(folder).parts)
        and "site-packages" not in file.parts
    )
