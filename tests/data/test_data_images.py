"""Readers of IDX and CIFAR files against files written here byte by byte, whole and broken."""

import gzip
import pickle
import struct

import numpy as np
import pytest

from pynn.data import cifar10, fashion_mnist, images, mnist, read_idx

CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def idx(array, code=None):
    array = np.asarray(array)
    code = CODES[array.dtype.str[1:]] if code is None else code
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_mnist(folder, pack=lambda b: b, suffix="", labels=None):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    splits = {}
    for split, n in (("train", 7), ("t10k", 3)):
        x = rng.integers(0, 256, (n, 28, 28)).astype(np.uint8)
        y = (np.arange(n) if labels is None else np.full(n, labels)).astype(np.uint8)
        (folder / f"{split}-images-idx3-ubyte{suffix}").write_bytes(pack(idx(x)))
        (folder / f"{split}-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(y)))
        splits[split] = x, y
    return splits


def assert_is(dataset, x, y):
    got_x, got_y = dataset[:]
    assert got_x.dtype == np.float32 and got_y.dtype == np.int64
    np.testing.assert_array_equal(got_x[..., 0], x.astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(got_y, y)


@pytest.mark.parametrize("inner", ["", "MNIST/raw"])
@pytest.mark.parametrize(("pack", "suffix"), [(bytes, ""), (gzip.compress, ".gz")])
def test_mnist_reads_what_was_written(tmp_path, inner, pack, suffix):
    splits = write_mnist(tmp_path / inner, pack, suffix)
    train, test = mnist(tmp_path)
    assert_is(train, *splits["train"])
    assert_is(test, *splits["t10k"])


def test_fashion_mnist_reads_its_own_folder(tmp_path):
    splits = write_mnist(tmp_path / "FashionMNIST/raw")
    assert_is(fashion_mnist(tmp_path)[0], *splits["train"])
    with pytest.raises(FileNotFoundError, match=r"\[mnist\] .*train-images-idx3-ubyte or "):
        mnist(tmp_path)


@pytest.mark.parametrize("dtype", list(CODES))
@pytest.mark.parametrize("shape", [(), (3,), (2, 0, 4), (2, 3, 4, 5)], ids=str)
def test_idx_of_every_type(tmp_path, dtype, shape):
    array = (np.random.default_rng(0).random(shape) * 200 - 100).astype(dtype)
    path = tmp_path / "array.idx"
    path.write_bytes(idx(array))
    got = read_idx(path)
    assert got.dtype == array.dtype and got.dtype.isnative and got.shape == array.shape
    np.testing.assert_array_equal(got, array)


WHOLE = idx(np.zeros((3, 4, 5), np.uint8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"begins with bytes 0, 0 .* got \[\]"),
        (b"\0\0\x08", r"got \[0, 0, 8\]"),
        (b"P5 2", r"got \[80, 53, 32, 50\]"),
        (b"\0\0\x07\x01" + bytes(8), r"type code out of \[8, 9, 11, 12, 13, 14\], got \[0, 0, 7"),
        (WHOLE[:10], "expected 16 bytes of header for 3 dimensions, got a file of 10 bytes"),
        (WHOLE[:-1], r"expected 76 bytes for shape \(3, 4, 5\) uint8, got 75"),
        (WHOLE + b"\0", "expected 76 bytes .* got 77"),
        (struct.pack(">BBBBII", 0, 0, 14, 2, 2**32 - 1, 2**32 - 1), "float64, got 12"),
        (gzip.compress(WHOLE, mtime=0)[:-12], "expected a whole gzip file"),
        (gzip.compress(WHOLE, mtime=0)[:12] + b"\xff" * 20, "expected a whole gzip file"),
        (gzip.compress(WHOLE[:-1], mtime=0), "expected 76 bytes .* got 75"),
    ],
)
def test_broken_idx_files(tmp_path, content, message):
    path = tmp_path / "broken-file"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"\[read_idx\] .*broken-file: .*{message}"):
        read_idx(path)


def test_mnist_checks_what_belongs_together(tmp_path):
    write_mnist(tmp_path)
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes(idx(np.zeros(6, np.uint8)))
    with pytest.raises(ValueError, match=r"train-labels.* expected \(7,\) uint8.* got \(6,\)"):
        mnist(tmp_path)
    labels.write_bytes(idx(np.array([0, 1, 2, 10, 4, 11, 6], np.uint8)))
    with pytest.raises(ValueError, match=r"labels 0..9, got 10 at sample 3, and 2 such labels"):
        mnist(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((7, 32, 32), np.uint8)))
    with pytest.raises(ValueError, match=r"expected \(N, 28, 28\) uint8, got \(7, 32, 32\)"):
        mnist(tmp_path)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a folder, got .*nowhere"):
        mnist(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="got a folder with nothing"):
        mnist(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(FileNotFoundError, match=r"data_batch_1.bin, got .*\['notes.txt'\]"):
        cifar10(tmp_path)


CIFAR_FILES = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """A folder of six files of 4 records, and their planes (24, 3, 32, 32) and labels (24,)."""
    monkeypatch.setattr(images, "CIFAR10_RECORDS", 4)
    rng = np.random.default_rng(0)
    planes = rng.integers(0, 256, (24, 3, 32, 32)).astype(np.uint8)
    labels = rng.integers(0, 10, 24).astype(np.uint8)
    for i, name in enumerate(CIFAR_FILES):
        part = range(4 * i, 4 * i + 4)
        content = b"".join(bytes([labels[n]]) + planes[n].tobytes() for n in part)
        (tmp_path / name).write_bytes(content)
    return tmp_path, planes, labels


def test_cifar10_reads_what_was_written(cifar):
    folder, planes, labels = cifar
    train, test = cifar10(folder)
    for (x, y), part in ((train[:], slice(0, 20)), (test[:], slice(20, 24))):
        assert x.dtype == np.float32 and y.dtype == np.int64 and x.flags.c_contiguous
        for c in range(3):
            expected = planes[part, c].astype(np.float32) / np.float32(255)
            np.testing.assert_array_equal(x[..., c], expected)
        np.testing.assert_array_equal(y, labels[part])


def test_cifar10_in_its_own_folder(cifar):
    folder, _, labels = cifar
    (folder / "cifar-10-batches-bin").mkdir()
    for name in CIFAR_FILES:
        (folder / name).rename(folder / "cifar-10-batches-bin" / name)
    np.testing.assert_array_equal(cifar10(folder)[1][:][1], labels[20:])


@pytest.mark.parametrize("change", [-1, 1, -3073])
def test_cifar10_of_the_wrong_size(cifar, change):
    path = cifar[0] / "data_batch_3.bin"
    content = path.read_bytes()
    path.write_bytes(content[:change] if change < 0 else content + bytes(change))
    message = f"data_batch_3.bin: expected 12292 bytes, 4 records of 3073, got {12292 + change}"
    with pytest.raises(ValueError, match=message):
        cifar10(cifar[0])


def test_cifar10_label_out_of_range(cifar):
    path = cifar[0] / "test_batch.bin"
    content = bytearray(path.read_bytes())
    content[2 * 3073] = 200
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"test_batch.bin: .* 0..9, got 200 at sample 2"):
        cifar10(cifar[0])


def test_cifar10_pickles_stay_closed(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path / "sprung").touch, ()

    for i in range(1, 6):
        (tmp_path / f"data_batch_{i}").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(FileNotFoundError, match="expected the binary version, .* got the Python"):
        cifar10(tmp_path)
    assert not (tmp_path / "sprung").exists()


def test_real_cifar10_size():
    assert images.CIFAR10_RECORDS * images._CIFAR10_BYTES == 30_730_000
