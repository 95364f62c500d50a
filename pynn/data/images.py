"""Image data sets from the files their authors publish. Nothing is downloaded, nothing unpickled.

Images are (N, H, W, C) float32 in 0..1, labels (N,) int64.
"""

import gzip
import zlib
from math import prod
from os import PathLike
from pathlib import Path

import numpy as np

from pynn.data.dataset import ArrayDataset

CIFAR10_RECORDS = 10_000  # per file
_CIFAR10_BYTES = 1 + 3 * 32 * 32  # of one record: label, then the red, green and blue plane

_IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def mnist(root: str | PathLike) -> tuple[ArrayDataset, ArrayDataset]:
    """MNIST handwritten digits from its four IDX files, gzipped or not.

    root     folder with train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte
             and t10k-labels-idx1-ubyte, each with or without .gz; or one with those in MNIST/raw
    returns  (train, test), each of images (N, 28, 28, 1) and labels in 0..9

    Raises FileNotFoundError if a file is missing, ValueError if one is not what it should be.
    LeCun, Bottou, Bengio, Haffner 1998, "Gradient-based learning applied to document recognition".
    """
    return _mnist("mnist", root, "MNIST")


def fashion_mnist(root: str | PathLike) -> tuple[ArrayDataset, ArrayDataset]:
    """Fashion-MNIST: ten kinds of clothing, in files named and laid out as those of `mnist`.

    root     folder with the four files, or one with them in FashionMNIST/raw
    returns  (train, test), each of images (N, 28, 28, 1) and labels in 0..9

    Raises FileNotFoundError if a file is missing, ValueError if one is not what it should be.
    Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747.
    """
    return _mnist("fashion_mnist", root, "FashionMNIST")


def _mnist(op, root, name):
    folder = _folder(op, root, f"{name}/raw")
    return tuple(_mnist_split(op, folder, split) for split in ("train", "t10k"))


def _mnist_split(op, folder, split):
    paths = []
    for kind in ("images-idx3", "labels-idx1"):
        names = [f"{split}-{kind}-ubyte{gz}" for gz in ("", ".gz")]
        paths.append(_first_file(op, folder, names))
    images, labels = (read_idx(path) for path in paths)
    if images.dtype != np.uint8 or images.shape[1:] != (28, 28):
        raise ValueError(
            f"[{op}] {paths[0]}: expected (N, 28, 28) uint8, got {images.shape} {images.dtype}"
        )
    if labels.dtype != np.uint8 or labels.shape != (len(images),):
        raise ValueError(
            f"[{op}] {paths[1]}: expected ({len(images)},) uint8, one label per image, "
            f"got {labels.shape} {labels.dtype}"
        )
    return ArrayDataset(_unit(images[..., None]), _labels(op, paths[1], labels, 10))


def read_idx(path: str | PathLike) -> np.ndarray:
    """The array in an IDX file, gzipped or not.

    Two zero bytes, a type code, the number of dimensions; each dimension as a big-endian 32-bit
    integer; then the values, big-endian, row-major. Type codes: 8 uint8, 9 int8, 11 int16,
    12 int32, 13 float32, 14 float64.

    returns  any shape, the file's type in native byte order

    Raises ValueError if the file is not IDX, is truncated or goes on after the last value.
    LeCun, Cortes, Burges, "The MNIST database of handwritten digits".
    """
    content = _content(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_DTYPES:
        raise ValueError(
            f"[read_idx] {path}: expected an IDX file, which begins with bytes 0, 0 and a type "
            f"code out of {sorted(_IDX_DTYPES)}, got {list(content[:4])}"
        )
    dtype, ndim = np.dtype(_IDX_DTYPES[content[2]]), content[3]
    header = 4 + 4 * ndim
    if len(content) < header:
        raise ValueError(
            f"[read_idx] {path}: expected {header} bytes of header for {ndim} dimensions, "
            f"got a file of {len(content)} bytes"
        )
    shape = tuple(int(d) for d in np.frombuffer(content, ">u4", ndim, 4))
    expected = header + prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise ValueError(
            f"[read_idx] {path}: expected {expected} bytes for shape {shape} {dtype.name}, "
            f"got {len(content)}"
        )
    return np.frombuffer(content, dtype, -1, header).reshape(shape).astype(dtype.newbyteorder("="))


def _content(path):
    content = Path(path).read_bytes()
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"[read_idx] {path}: expected a whole gzip file, got {len(content)} bytes that do not "
            f"unpack ({error})"
        ) from error


def cifar10(root: str | PathLike) -> tuple[ArrayDataset, ArrayDataset]:
    """CIFAR-10 from the files of its binary version.

    root     folder with data_batch_1.bin to data_batch_5.bin and test_batch.bin, or one with them
             in cifar-10-batches-bin
    returns  (train, test): images (50000, 32, 32, 3) and (10000, 32, 32, 3), labels in 0..9

    Raises FileNotFoundError if a file is missing, ValueError if one has not the right size or
    holds a label above 9.
    Krizhevsky 2009, "Learning multiple layers of features from tiny images".
    """
    folder = _folder("cifar10", root, "cifar-10-batches-bin")
    train = [_cifar10_file(folder, f"data_batch_{i}.bin") for i in range(1, 6)]
    images, labels = (np.concatenate(parts) for parts in zip(*train, strict=True))
    return ArrayDataset(images, labels), ArrayDataset(*_cifar10_file(folder, "test_batch.bin"))


def _cifar10_file(folder, name):
    if (folder / name[:-4]).is_file() and not (folder / name).is_file():
        raise FileNotFoundError(
            f"[cifar10] {folder}: expected the binary version, with {name}, got the Python "
            f"version, with {name[:-4]}: a pickle, which pynn does not open"
        )
    path = _first_file("cifar10", folder, [name])
    expected, size = CIFAR10_RECORDS * _CIFAR10_BYTES, path.stat().st_size
    if size != expected:
        raise ValueError(
            f"[cifar10] {path}: expected {expected} bytes, {CIFAR10_RECORDS} records of "
            f"{_CIFAR10_BYTES}, got {size}"
        )
    records = np.fromfile(path, np.uint8).reshape(-1, _CIFAR10_BYTES)
    planes = records[:, 1:].reshape(-1, 3, 32, 32)
    return _unit(planes.transpose(0, 2, 3, 1)), _labels("cifar10", path, records[:, 0], 10)


def _folder(op, root, inner):
    """root, or the folder `inner` below it if there is one."""
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"[{op}] root: expected a folder, got {str(root)!r}, which is none")
    return root / inner if (root / inner).is_dir() else root


def _first_file(op, folder, names):
    for name in names:
        if (folder / name).is_file():
            return folder / name
    found = sorted(p.name for p in folder.iterdir())[:8]
    raise FileNotFoundError(
        f"[{op}] {folder}: expected {' or '.join(names)}, got a folder with {found or 'nothing'}"
    )


def _unit(pixels):
    """uint8 0..255 to float32 0..1, C-contiguous."""
    return np.divide(pixels, np.float32(255), dtype=np.float32, order="C")


def _labels(op, path, labels, classes):
    bad = np.flatnonzero(labels >= classes)
    if bad.size:
        raise ValueError(
            f"[{op}] {path}: expected labels 0..{classes - 1}, got {labels[bad[0]]} at sample "
            f"{bad[0]}, and {bad.size} such labels in all"
        )
    return labels.astype(np.int64)
