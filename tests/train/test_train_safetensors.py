"""safetensors files: the reference implementation reads them; every fault is noticed."""

import json

import ml_dtypes
import numpy as np
import pytest

from pynn import dtypes
from pynn.train import safetensors

ARRAYS = {
    "weight": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),
    "scalar": np.array(3, np.int64),
    "empty": np.zeros((0, 5), np.float16),
    "half": np.arange(3).astype(ml_dtypes.bfloat16),
    "mask": np.array([True, False, True]),
    "turned": np.eye(3)[:, ::-1],
    "bytes": np.arange(5, dtype=np.uint8),
}


def written(tmp_path, arrays=ARRAYS, **metadata):
    path = tmp_path / "x.safetensors"
    safetensors.save(path, arrays, metadata)
    return path


def same(a, b):
    return (
        list(a)
        and set(a) == set(b)
        and all(
            a[n].dtype == b[n].dtype and a[n].shape == b[n].shape and (a[n] == b[n]).all()
            for n in a
        )
    )


def handmade(tmp_path, header, data=b""):
    path = tmp_path / "y.safetensors"
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_what_was_saved_is_loaded(tmp_path):
    arrays, metadata = safetensors.load(written(tmp_path, note="0" * 64 + "é"))
    assert same(arrays, ARRAYS)
    assert metadata["note"] == "0" * 64 + "é"
    arrays["weight"][0, 0] = 7  # writable


def test_every_dtype_of_pynn(tmp_path):
    arrays = {dtype.name: np.ones((2, 3), dtype) for dtype in dtypes.ALL}
    found, _ = safetensors.load(written(tmp_path, arrays), require_checksum=True)
    assert same(found, arrays)


def test_the_reference_implementation_reads_it_and_is_read(tmp_path):
    reference = pytest.importorskip("safetensors.numpy")
    plain = {name: a for name, a in ARRAYS.items() if name != "half"}
    assert same(reference.load_file(written(tmp_path, plain, note="x")), plain)
    path = tmp_path / "theirs.safetensors"
    # it writes the memory of a strided array as it lies, so it is given contiguous ones
    reference.save_file(
        {name: np.ascontiguousarray(a).reshape(a.shape) for name, a in plain.items()}, path
    )
    assert same(safetensors.load(path)[0], plain)
    with pytest.raises(ValueError, match="expected a checksum"):
        safetensors.load(path, require_checksum=True)


def test_the_reference_implementation_reads_bfloat16(tmp_path):
    safe_open = pytest.importorskip("safetensors").safe_open
    with safe_open(written(tmp_path), "np") as file:
        assert set(file.keys()) == set(ARRAYS)
        assert file.get_slice("half").get_dtype() == "BF16"
        assert file.get_slice("half").get_shape() == [3]


def test_data_is_aligned_for_other_readers(tmp_path):
    content = written(tmp_path).read_bytes()
    length = int.from_bytes(content[:8], "little")
    assert (8 + length) % 8 == 0
    header = json.loads(content[8 : 8 + length])
    del header["__metadata__"]
    for name, entry in header.items():
        assert entry["data_offsets"][0] % ARRAYS[name].dtype.itemsize == 0


def test_every_flipped_bit_is_noticed(tmp_path):
    path = written(tmp_path, {"w": np.arange(6, dtype=np.float32), "n": np.arange(3)})
    content = path.read_bytes()
    for i in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[i // 8] ^= 1 << i % 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="expected"):
            safetensors.load(path, require_checksum=True)


def test_every_cut_and_every_addition_is_noticed(tmp_path):
    path = written(tmp_path)
    content = path.read_bytes()
    for cut in [content[:i] for i in range(len(content))] + [content + b"\0", b"\0" + content]:
        path.write_bytes(cut)
        with pytest.raises(ValueError, match="expected"):
            safetensors.load(path)


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("header", "data", "words"),
    [
        (b"[]", b"", "expected a header of names"),
        (b"{", b"", "expected a header in JSON"),
        (b"[" * 100_000, b"", "expected a header in JSON"),
        (b'{"a": 1, "a": 2}', b"", "a name twice"),
        ({"a": 1}, b"", "data_offsets"),
        ({"a": entry("F8_E4M3")}, bytes(8), "expected a dtype out of"),
        ({"a": entry(["F32"])}, bytes(8), "expected a dtype out of"),
        ({"a": entry(shape=[-2])}, bytes(8), "expected a shape"),
        ({"a": entry(shape=[2.0])}, bytes(8), "expected a shape"),
        ({"a": entry(shape=[True, 2])}, bytes(8), "expected a shape"),
        ({"a": entry(shape=[1] * 70)}, bytes(8), "expected a shape"),
        ({"a": entry(shape=[2**62, 2**62])}, bytes(8), "expected offsets"),
        ({"a": entry(shape=[0, 2**80], offsets=[0, 0])}, b"", "expected the shape of an array"),
        ({"a": entry(offsets=[0, 4])}, bytes(8), "expected offsets"),
        ({"a": entry(offsets=[8, 0])}, bytes(8), "expected offsets"),
        ({"a": entry(offsets=[-8, 0])}, bytes(8), "data_offsets"),
        ({"a": entry(), "b": entry(offsets=[12, 20])}, bytes(20), "expected offsets"),  # a hole
        ({"a": entry(), "b": entry(offsets=[4, 12])}, bytes(12), "expected offsets"),  # overlap
        ({"a": entry()}, bytes(4), "cut off"),
        ({"a": entry()}, bytes(12), "expected 8 bytes of data, got 12"),
        ({"__metadata__": {"a": 1}}, b"", "expected metadata of texts"),
    ],
)
def test_a_wrong_header_is_refused(tmp_path, header, data, words):
    with pytest.raises(ValueError, match=words) as caught:
        safetensors.load(handmade(tmp_path, header, data))
    assert "y.safetensors" in str(caught.value)


def test_a_huge_header_is_refused_without_reading_it(tmp_path):
    path = tmp_path / "y.safetensors"
    path.write_bytes((2**62).to_bytes(8, "little") + bytes(100))
    with pytest.raises(ValueError, match="got one of 4611686018427387904 bytes"):
        safetensors.load(path)


def test_unaligned_files_of_others_can_be_used(tmp_path):
    header = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    path = handmade(tmp_path, header + b" " * (1 - len(header) % 2), np.float32([1, 2]).tobytes())
    array = safetensors.load(path)[0]["a"]
    assert array.flags.aligned
    np.testing.assert_array_equal(array, [1, 2])


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(TypeError, match="expected a dtype of pynn, got complex64"):
        written(tmp_path, {"z": np.zeros(2, np.complex64)})
    with pytest.raises(TypeError, match="expected text"):
        written(tmp_path, note=3)
    with pytest.raises(ValueError, match="another name"):
        written(tmp_path, {"__metadata__": np.zeros(2)})
    assert list(tmp_path.iterdir()) == []
