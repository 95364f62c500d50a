"""safetensors files: named arrays behind a JSON header. Nothing that a file holds is executed.

    8 bytes   n, the length of the header, little-endian
    n bytes   {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...,
               "__metadata__": {"key": "text", ...}}, then spaces up to a multiple of 8
    the rest  the arrays one after the other, little-endian in C order, without a hole

Files written here hold in `__metadata__` the SHA-256 of the whole file, taken with 64 zeros in the
digest's place, so that a flipped bit anywhere is noticed. Other libraries ignore it, and files of
other libraries, which lack it, are read without that check.

https://github.com/huggingface/safetensors, "Format".
"""

import hashlib
import json
import os
from math import prod
from typing import Any

import numpy as np

from pynn import dtypes
from pynn.train.files import replacing

_NAMES = {
    dtypes.float64: "F64",
    dtypes.float32: "F32",
    dtypes.float16: "F16",
    dtypes.bfloat16: "BF16",
    dtypes.int64: "I64",
    dtypes.int32: "I32",
    dtypes.int16: "I16",
    dtypes.int8: "I8",
    dtypes.uint8: "U8",
    dtypes.bool_: "BOOL",
}
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}
_LONGEST_HEADER = 100_000_000  # bytes, as in the reference implementation
CHECKSUM = "pynn_sha256"  # its key in the metadata
_NO_DIGEST = b"0" * 64


def save(path: str | os.PathLike, arrays: dict[str, Any], metadata: dict[str, str] | None = None):
    """Write named NumPy arrays of pynn's dtypes to `path`, wholly or not at all.

    Raises TypeError for another dtype, for metadata that is not text, and OSError with `path` as it
    was if the disk is full.
    """
    header, parts, end = {}, [], 0
    for name, array in sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize):
        if array.dtype not in _NAMES:
            raise TypeError(f"[safetensors] {name}: expected a dtype of pynn, got {array.dtype}")
        if name == "__metadata__":
            raise ValueError('[safetensors] expected another name than "__metadata__"')
        parts.append(
            np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        )  # widest first: aligned
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [end, end := end + array.nbytes],
        }
    for key, text in (metadata or {}).items():
        if not isinstance(text, str):
            raise TypeError(f"[safetensors] metadata {key!r}: expected text, got {text!r}")
    texts = {CHECKSUM: _NO_DIGEST.decode()}  # the first entry, so that these are the first 64 zeros
    texts |= {key: text for key, text in (metadata or {}).items() if key != CHECKSUM}
    head = json.dumps({"__metadata__": texts, **header}, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    head = len(head).to_bytes(8, "little") + head
    digest = hashlib.sha256(head)
    for part in parts:
        digest.update(part)
    head = head.replace(_NO_DIGEST, digest.hexdigest().encode(), 1)
    with replacing(path) as file:
        file.write(head)
        for part in parts:
            file.write(part)


def load(
    path: str | os.PathLike, require_checksum: bool = False
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(arrays, metadata) of a file; the arrays share one new block of memory and can be changed.

    require_checksum  refuse a file without pynn's checksum: one of another library

    Raises ValueError, naming the file and the fault, if it is cut off, has bytes left over, fails
    its checksum, names an unknown dtype, or has offsets that do not fit shapes, dtypes and each
    other. FileNotFoundError if there is none.
    """
    with open(path, "rb") as file:
        content = bytearray(file.read())
    try:
        arrays, metadata = _parse(content)
        _verify(content, metadata, require_checksum)
    except _FaultError as fault:
        raise ValueError(f"[safetensors] {path}: {fault}") from None
    return arrays, metadata


class _FaultError(Exception):
    """What is wrong with a file: "expected ..., got ..."."""


def _parse(content):
    if len(content) < 8:
        raise _FaultError(f"expected 8 bytes and a header, got a file of {len(content)} bytes")
    length = int.from_bytes(content[:8], "little")
    if length > min(len(content) - 8, _LONGEST_HEADER):
        raise _FaultError(
            f"expected a header within the file's {len(content)} bytes, got one of {length} bytes: "
            "cut off, or not a safetensors file"
        )
    try:
        header = json.loads(content[8 : 8 + length], object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise _FaultError(f"expected a header in JSON, got {error}") from None
    if not isinstance(header, dict):
        raise _FaultError(f"expected a header of names, got {type(header).__name__}")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _FaultError("expected metadata of texts, got something else")
    start = 8 + length
    arrays, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: _offsets(*item)):
        begin, end = end, end + _size(name, entry)
        if entry["data_offsets"] != [begin, end]:
            raise _FaultError(
                f"{name}: expected offsets {[begin, end]}, got {entry['data_offsets']}"
            )
        if start + end > len(content):
            raise _FaultError(
                f"{name}: expected {end} bytes of data, got {len(content) - start}: cut off"
            )
        arrays[name] = _view(name, content, start + begin, entry)
    if start + end != len(content):
        raise _FaultError(f"expected {end} bytes of data, got {len(content) - start}")
    return {name: arrays[name] for name in header}, metadata


def _distinct(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name twice")
    return found


def _offsets(name, entry):
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_count, offsets)):
        raise _FaultError(
            f"{name}: expected an entry with two data_offsets >= 0, got {entry!r:.200}"
        )
    return offsets


def _size(name, entry):
    """Bytes that the entry's dtype and shape call for."""
    if not isinstance(entry.get("dtype"), str) or entry["dtype"] not in _DTYPES:
        raise _FaultError(
            f"{name}: expected a dtype out of {list(_DTYPES)}, got {entry.get('dtype')!r}"
        )
    shape = entry.get("shape")
    if not isinstance(shape, list) or len(shape) > 32 or not all(map(_is_count, shape)):
        raise _FaultError(f"{name}: expected a shape of at most 32 sizes >= 0, got {shape!r:.200}")
    return prod(shape) * _DTYPES[entry["dtype"]].itemsize


def _view(name, content, offset, entry):
    try:
        array = np.ndarray(entry["shape"], _DTYPES[entry["dtype"]], content, offset)
    except ValueError as error:  # no bytes, and sizes beyond any array: (0, 2^64)
        raise _FaultError(f"{name}: expected the shape of an array, got {error}") from None
    return array if array.flags.aligned else array.copy()


def _is_count(value):
    return type(value) is int and value >= 0


def _verify(content, metadata, required):
    digest = metadata.get(CHECKSUM)
    if digest is None and required:
        raise _FaultError(
            f"expected a checksum {CHECKSUM!r}, got none: not written by pynn, or damaged"
        )
    if digest is None:
        return
    where = content.find(digest.encode())
    view = memoryview(content)
    found = hashlib.sha256(view[:where])
    found.update(_NO_DIGEST)
    found.update(view[where + len(_NO_DIGEST) :])
    if found.hexdigest() != digest:
        raise _FaultError(
            "expected the file as it was written, got another checksum: it is damaged"
        )
