"""Each wrapper of csrc/arch against the tables of the PTX manual.

Inputs are fixed and integer-valued, so that every sum is exact and every expected byte is certain.
The expectation is worked out here, element by element, from the manual's tables, and never by the
simulator. golden.json keeps a digest of each, so that neither side can drift:

    PYNN_SIM_GOLDEN=write python -m pytest tests/sim/test_conformance.py

With PYNN_SIM_TEST_VARIANT=gpu the same tests compile with nvcc and run on the device.

Over 400 lines: a test, and a table of the manual, for each wrapper.
"""

import hashlib
import itertools
import json
import math
import os
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from sim import harness

pytestmark = pytest.mark.skipif(bool(harness.missing()), reason=harness.missing())

GOLDEN = Path(__file__).with_name("golden.json")
DTYPES = {"bf16": ml_dtypes.bfloat16, "f16": np.float16, "tf32": np.float32}
DTYPES |= {"e4m3": ml_dtypes.float8_e4m3fn, "e5m2": ml_dtypes.float8_e5m2}
TENSOR_MAP_TYPE = {"u8": 0, "i32": 3, "f16": 6, "f32": 7, "bf16": 9}
MAP_DTYPES = {"u8": np.uint8, "i32": np.int32, "f16": np.float16, "f32": np.float32}
MAP_DTYPES |= {"bf16": ml_dtypes.bfloat16}


def check(name, got, expected):
    """Equal, bit for bit; and the expectation is the one that was recorded."""
    got, expected = np.ascontiguousarray(got), np.ascontiguousarray(expected)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got.view(np.uint8), expected.view(np.uint8))
    digest = hashlib.sha256(expected.tobytes()).hexdigest()[:16]
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("PYNN_SIM_GOLDEN") == "write":
        GOLDEN.write_text(json.dumps(golden | {name: digest}, indent=0, sort_keys=True) + "\n")
    else:
        assert golden.get(name) == digest, f"{name}: the expectation itself has changed"


def lib():
    return harness.library("conformance")


def lib90():
    return harness.library("conformance_sm90")


def i64(*values):
    return np.array(values, np.int64)


# ---- matrices of 8 x 8: PTX ISA, ldmatrix, "Fragment layout for one 8x8 Matrix"

LANES = np.arange(32)
ROW, COLUMN = (
    LANES // 4,
    LANES % 4 * 2,
)  # of the low half of a lane's register; the high half is one further


@pytest.mark.parametrize("trans", [0, 1])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_ldmatrix(count, trans):
    rows = np.arange(256, dtype=np.uint16).reshape(4, 8, 8) * 257
    out = np.zeros((32, count), np.uint32)
    lib().call("ldmatrix", count, trans, rows, out)
    expected = np.zeros_like(out)
    for i in range(count):
        m = rows[i].T if trans else rows[i]
        expected[:, i] = m[ROW, COLUMN] | m[ROW, COLUMN + 1].astype(np.uint32) << 16
    check(f"ldmatrix.x{count}{'.trans' * trans}", out, expected)


@pytest.mark.parametrize("trans", [0, 1])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_stmatrix(count, trans):
    r = (np.arange(32 * count, dtype=np.uint32) * 2654435761).astype(np.uint32).reshape(32, count)
    out = np.zeros((4, 8, 8), np.uint16)
    lib90().call("stmatrix", count, trans, r, out)
    expected = np.full((4, 8, 8), 0xFFFF, np.uint16)
    for i in range(count):
        m = np.zeros((8, 8), np.uint16)
        m[ROW, COLUMN], m[ROW, COLUMN + 1] = r[:, i] & 0xFFFF, r[:, i] >> 16
        expected[i] = m.T if trans else m
    check(f"stmatrix.x{count}{'.trans' * trans}", out, expected)


# ---- mma.sync: PTX ISA, "Matrix Fragments for mma.m16n8k16" and "... mma.m16n8k8"


def bits(matrix):
    """The elements of a matrix as unsigned integers."""
    return matrix.view({1: np.uint8, 2: np.uint16, 4: np.uint32}[matrix.dtype.itemsize]).astype(
        np.uint32
    )


def fragment_a(a):
    """Registers a0..a3 of each lane, for a 16 x (8 or 16 or 32) matrix."""
    e = 4 // a.dtype.itemsize
    group, thread = LANES // 4, LANES % 4
    r = np.zeros((32, 4), np.uint32)
    for i in range(4):
        row = group + (8 if i in (1, 3) else 0)
        first = thread * e + (4 * e if i >= 2 else 0)
        for j in range(e):
            r[:, i] |= bits(a)[row, first + j] << np.uint32(32 // e * j)
    return r


def fragment_b(b):
    e = 4 // b.dtype.itemsize
    group, thread = LANES // 4, LANES % 4
    r = np.zeros((32, 2), np.uint32)
    for i in range(2):
        for j in range(e):
            r[:, i] |= bits(b)[thread * e + j + 4 * e * i, group] << np.uint32(32 // e * j)
    return r


def fragment_c(c):
    group, thread = LANES // 4, LANES % 4
    return np.stack([c[group + 8 * (i // 2), 2 * thread + i % 2] for i in range(4)], 1)


@pytest.mark.parametrize(("kind", "dtype", "k"), [(0, "bf16", 16), (1, "f16", 16), (2, "tf32", 8)])
def test_mma(kind, dtype, k):
    rng = np.random.default_rng(10 + kind)
    a = rng.integers(-8, 9, (16, k)).astype(DTYPES[dtype])
    b = rng.integers(-8, 9, (k, 8)).astype(DTYPES[dtype])
    c = rng.integers(-99, 100, (16, 8)).astype(np.float32)
    d = np.ascontiguousarray(fragment_c(c))
    lib().call("mma", kind, fragment_a(a), fragment_b(b), d)
    check(f"mma.{dtype}", d, fragment_c((a.astype(float) @ b.astype(float) + c).astype(np.float32)))


def test_mma_tf32_ignores_the_low_bits():
    a = np.full((16, 8), 1 + 2.0**-11, np.float32)  # below the last bit of tf32
    d = np.zeros((32, 4), np.float32)
    lib().call("mma", 2, fragment_a(a), fragment_b(np.ones((8, 8), np.float32)), d)
    check("mma.tf32.low", d, np.full((32, 4), 8, np.float32))


def test_cvt_rna_tf32():
    # one bit above, at and below the middle between two tf32 numbers, both signs, and the specials
    x = np.array(
        [0x3F800FFF, 0x3F801000, 0x3F801001, 0x3F803000, 0xBF801000, 0x7F800000, 0], np.uint32
    )
    expected = np.array(
        [0x3F800000, 0x3F802000, 0x3F802000, 0x3F804000, 0xBF802000, 0x7F800000, 0], np.uint32
    )
    y = np.zeros_like(x)
    lib().call("cvt_rna_tf32", x, y, len(x))
    check("cvt.rna.tf32", y, expected)


@pytest.mark.parametrize("size", [4, 8, 16, 160])  # 160: cp.async.cg, the others .ca
def test_cp_async(size):
    x = np.arange(1, 513, dtype=np.uint16).astype(np.uint8).reshape(32, 16)
    y = np.zeros_like(x)
    lib().call("cp_async", size, x, y)
    size = min(size, 16)
    expected = x.copy()
    for lane in range(32):
        expected[lane, 16 - size + lane % (size + 1) :] = 0
    check(f"cp.async.{size}", y, expected)


# ---- mbarrier: PTX ISA, "Phase of the mbarrier object"; parity of a phase is even for the first


def test_mbarrier():
    source = np.arange(16, dtype=np.int32)
    out = np.zeros(20, np.int32)
    lib90().call("mbarrier", source, out)
    phase0, phase1 = [0, 1], [1, 0]  # while phase 0 runs, a wait for parity 1 passes
    steps = [phase0, phase0, phase0, phase1, phase1, phase0]
    check("mbarrier", out, np.array(sum(steps, []) + list(range(8, 16)), np.int32))


# ---- TMA: PTX ISA, "Tensors", "Swizzling Modes"

# Chunk of 16 bytes that holds chunk 0 of rows 0..7, by the figures of the manual
SWIZZLE = {
    0: (None, [0] * 8),
    1: (32, [0, 0, 0, 0, 1, 1, 1, 1]),
    2: (64, [0, 0, 1, 1, 2, 2, 3, 3]),
    3: (128, [0, 1, 2, 3, 4, 5, 6, 7]),
}


def swizzled(rows, mode):
    """Rows of one span each, as they lie in shared memory."""
    span, moves = SWIZZLE[mode]
    rows = np.ascontiguousarray(rows).view(np.uint8)
    if span is None:
        return rows.ravel()
    rows = rows.reshape(-1, span)
    out = np.empty_like(rows)
    # a row of 64 bytes is half a line of 128: the pattern advances with the line
    for r in range(len(rows)):
        move = moves[r % 8]
        for c in range(span // 16):
            to = c ^ move
            out[r, to * 16 : to * 16 + 16] = rows[r, c * 16 : c * 16 + 16]
    return out.ravel()


def box_of(x, at, box, steps):
    """The box of x (dimension 0 of the map is the last axis), zeros outside."""
    shape = [-(-b // s) for b, s in zip(box, steps, strict=True)][::-1]
    out = np.zeros(shape, x.dtype)
    for index in np.ndindex(*shape):
        place = [a + i * s for a, i, s in zip(at[::-1], index, steps[::-1], strict=True)]
        if all(0 <= p < n for p, n in zip(place, x.shape, strict=True)):
            out[index] = x[tuple(place)]
    return out


LOADS = [
    # dtype, shape of x, first element, box, element strides (contiguous dimension first), swizzle
    ("f32", (64,), (8,), (16,), (1,), 0),
    ("f32", (40,), (32,), (16,), (1,), 0),
    ("bf16", (20, 72), (0, 0), (64, 16), (1, 1), 3),
    ("bf16", (20, 72), (64, 12), (64, 16), (1, 1), 3),
    ("bf16", (20, 72), (-8, -3), (64, 16), (1, 1), 3),
    ("bf16", (20, 72), (8, 1), (32, 16), (1, 1), 2),
    ("bf16", (20, 72), (8, 1), (16, 16), (1, 1), 1),
    ("f32", (20, 36), (4, 2), (32, 9), (1, 1), 3),
    ("u8", (30, 48), (5, 7), (32, 8), (1, 1), 1),
    ("i32", (6, 7, 12), (4, -1, 2), (8, 3, 4), (1, 1, 1), 0),
    ("f16", (3, 5, 4, 16), (0, 1, 2, 1), (8, 2, 3, 2), (1, 1, 1, 1), 0),
    ("f32", (2, 3, 4, 5, 8), (0, 1, 1, -1, 0), (8, 2, 2, 3, 2), (1, 1, 1, 1, 1), 0),
    ("f32", (20, 36), (4, 1), (8, 12), (1, 3), 0),
]


@pytest.mark.parametrize("case", range(len(LOADS)))
def test_tma_load(case):
    dtype, shape, at, box, steps, mode = LOADS[case]
    x = (np.arange(np.prod(shape)) % 251).reshape(shape).astype(MAP_DTYPES[dtype])
    expected = swizzled(box_of(x, at, box, steps), mode)
    out = np.zeros_like(expected)
    lib90().call(
        "tma_load", TENSOR_MAP_TYPE[dtype], len(shape), x, i64(*shape[::-1]),
        i64(*x.strides[::-1]), i64(*box), i64(*steps), i64(*at), mode, len(out), out,
    )  # fmt: skip
    check(f"tma.load.{case}", out, expected)


@pytest.mark.parametrize("add", [0, 1])
@pytest.mark.parametrize(
    ("dtype", "box", "at", "mode"),
    [
        ("f32", (32, 8), (0, 0), 3),
        ("bf16", (32, 10), (16, 3), 2),
        ("f32", (8, 6), (-4, 8), 0),
        ("i32", (8, 4), (4, 1), 1),
    ],
)
def test_tma_store(dtype, box, at, mode, add):
    y = (np.arange(12 * 40) % 50).reshape(12, 40).astype(MAP_DTYPES[dtype])
    tile = (np.arange(box[0] * box[1]) % 23 + 1).reshape(box[::-1]).astype(MAP_DTYPES[dtype])
    expected = y.copy()
    for r, c in np.ndindex(*tile.shape):
        i, j = r + at[1], c + at[0]
        if 0 <= i < 12 and 0 <= j < 40:
            expected[i, j] = tile[r, c] + (y[i, j] if add else 0)
    lib90().call(
        "tma_store", TENSOR_MAP_TYPE[dtype], y.dtype.itemsize, y, 12, 40, box[1], box[0], *at,
        mode, add, swizzled(tile, mode),
    )  # fmt: skip
    check(f"tma.store.{dtype}.{mode}.{add}", y, expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("tap", [(0, 0), (2, 1)])
def test_tma_im2col(stride, tap):
    """A column of pixels, as a 3 x 3 convolution with padding 1 reads them at one filter tap."""
    n, h, w, c, pad = 2, 6, 5, 16, 1
    x = (np.arange(n * h * w * c) % 250 + 1).reshape(n, h, w, c).astype(np.float16)
    first, pixels, channels = 3, 10, 8  # from the fourth output pixel on
    p_of, q_of = (h + 2 * pad - 3) // stride + 1, (w + 2 * pad - 3) // stride + 1
    expected = np.zeros((pixels, channels), np.float16)
    for i in range(pixels):
        image, p, q = (first + i) // (p_of * q_of), (first + i) // q_of % p_of, (first + i) % q_of
        row, column = p * stride - pad + tap[1], q * stride - pad + tap[0]
        if image < n and 0 <= row < h and 0 <= column < w:
            expected[i] = x[image, row, column, 8:16]
    p, q = first // q_of % p_of, first % q_of
    start = (8, q * stride - pad, p * stride - pad, first // (p_of * q_of))
    out = np.zeros(expected.nbytes, np.uint8)
    lib90().call(
        "tma_load_im2col", TENSOR_MAP_TYPE["f16"], 4, x, i64(c, w, h, n), i64(*x.strides[::-1]),
        i64(-pad, -pad), i64(pad - 2, pad - 2), i64(1, stride, stride, 1), channels, pixels,
        i64(*start), i64(*tap), len(out), out,
    )  # fmt: skip
    check(f"tma.im2col.{stride}.{tap[0]}{tap[1]}", out, expected.view(np.uint8).ravel())


def im2col(x, lower, upper, steps, first, pixels, channel, channels, taps):
    """Column of `pixels` windows from the one numbered `first` on; spatial axes as x has them."""
    *axes, n = (range(a, size + b, s) for a, size, b, s in zip(
        (*lower, 0), (*x.shape[1:-1], x.shape[0]), (*upper, 0), (*steps, 1), strict=True
    ))  # fmt: skip
    windows = list(itertools.product(n, *axes))[first : first + pixels]
    out = np.zeros((pixels, channels), x.dtype)
    for row, (image, *start) in zip(out, windows, strict=False):
        at = [a + t for a, t in zip(start, taps, strict=True)]
        if all(0 <= a < size for a, size in zip(at, x.shape[1:-1], strict=True)):
            some = x[(image, *at)][channel : channel + channels]
            row[: len(some)] = some
    return out, windows[0]


# shape of x, lower, upper, steps, taps: spatial axes in the order of x
IM2COL = {
    "3d": ((3, 9, 24), (-2,), (1,), (2,), (3,)),
    "3d.far": ((2, 700, 16), (-300,), (200,), (1,), (600,)),
    "4d.inside": ((2, 6, 7, 24), (1, -1), (-2, 1), (1, 1), (0, 1)),
    "4d.unlike": ((3, 5, 9, 16), (-3, 0), (0, 2), (3, 2), (4, 6)),
    "5d": ((2, 3, 4, 5, 16), (-1, 0, -2), (0, 1, 2), (1, 2, 1), (1, 0, 3)),
}


@pytest.mark.parametrize("name", IM2COL)
def test_tma_im2col_of_each_rank(name):
    """Corners inside and outside the image, unlike strides, channels and images past the end."""
    shape, lower, upper, steps, taps = IM2COL[name]
    x = (np.arange(np.prod(shape)) % 250 + 1).reshape(shape).astype(np.float16)
    pixels, channels, channel = 24, 16, 8
    count = math.prod(
        len(range(a, n + b, s)) for a, n, b, s in zip(lower, shape[1:-1], upper, steps, strict=True)
    )
    first = (shape[0] - 1) * count - 10  # from within the last image but one
    expected, (image, *start) = im2col(
        x, lower, upper, steps, first, pixels, channel, channels, taps
    )
    out = np.zeros(expected.nbytes, np.uint8)
    lib90().call(
        "tma_load_im2col", TENSOR_MAP_TYPE["f16"], len(shape), x, i64(*shape[::-1]),
        i64(*x.strides[::-1]), i64(*lower[::-1]), i64(*upper[::-1]), i64(1, *steps[::-1], 1),
        channels, pixels, i64(channel, *start[::-1], image), i64(*taps[::-1]), len(out), out,
    )  # fmt: skip
    check(f"tma.im2col.{name}", out, expected.view(np.uint8).ravel())


def test_multicast_im2col():
    x = (np.arange(256) % 250 + 1).reshape(1, 4, 4, 16).astype(np.float16)
    out = np.zeros((4, 512), np.uint8)
    lib90().call("multicast_im2col", x, out)
    column, _ = im2col(x, (-1, -1), (-1, -1), (1, 1), 0, 16, 0, 16, (1, 2))
    check("tma.multicast.im2col", out, np.tile(column.view(np.uint8).ravel(), (4, 1)))


def test_multicast():
    x = np.arange(512, dtype=np.uint32).astype(np.uint8)
    out = np.zeros((4, 512), np.uint8)
    lib90().call("multicast", x, out)
    check("tma.multicast", out, np.tile(x, (4, 1)))


def test_cluster():
    out = np.zeros((4, 4), np.uint32)
    lib90().call("cluster", out)
    left = [3, 0, 1, 2]
    rows = [[r, 100 + left[r], 200 + left[r], r % 2 * 100 + r // 2 * 10 + 4] for r in range(4)]
    check("cluster", out, np.array(rows, np.uint32))


# ---- wgmma: PTX ISA, "Shared Memory Matrix Layout", "Register Fragments"


def image_of(matrix, mn_major, mode):
    """Bytes of shared memory for a matrix (rows of M or N, columns of K), leading and stride bytes.

    The canonical layouts, in units of 16 bytes: with a span of S chunks and atoms of 8 rows,
      K-major   ((8, n), (S, 1)) : ((S, stride), (1, -))
      MN-major  ((S, m), (8, k)) : ((1, leading), (S, stride))
    and without a swizzle
      K-major   ((8, n), 2) : ((1, stride), leading)
      MN-major  (m, (8, k)) : (stride, (1, leading))
    """
    size = matrix.dtype.itemsize
    rows, depth = matrix.shape
    span, moves = SWIZZLE[mode]
    unit = 16 // size  # elements in a chunk
    if not mn_major:
        if span:
            leading, stride = (
                0,
                8 * span + 8 * span,
            )  # a gap between the atoms: only the stride may find them
        else:
            leading, stride = 128, 256
        total = -(-rows // 8) * stride
    elif span:
        leading = 2 * 8 * span
        stride = 8 * span
        total = -(-rows // (span // size)) * leading
    else:
        leading, stride = 128, 256
        total = -(-rows // unit) * stride
    image = np.zeros(total, np.uint8)
    for r in range(rows):
        for k in range(depth):
            if not mn_major:
                group, line, byte = r // 8, r % 8, k * size
                if span:
                    offset = (
                        group * stride + line * span + ((byte // 16) ^ moves[line]) * 16 + byte % 16
                    )
                else:
                    offset = group * stride + line * 16 + byte // 16 * leading + byte % 16
            elif span:
                block, byte, line = r // (span // size), r % (span // size) * size, k % 8
                offset = block * leading + k // 8 * stride + line * span
                offset += ((byte // 16) ^ moves[line]) * 16 + byte % 16
            else:
                offset = r // unit * stride + k // 8 * leading + k % 8 * 16 + r % unit * size
            image[offset : offset + size] = matrix[r, k : k + 1].view(np.uint8)
    return image, leading, stride


SWIZZLE_BITS = {0: 0, 3: 1, 2: 2, 1: 3}  # a descriptor's code of a tensor map's mode


def descriptor(address, leading, stride, mode):
    return address >> 4 | leading >> 4 << 16 | stride >> 4 << 32 | SWIZZLE_BITS[mode] << 62


def accumulators(d):
    """D (64, N) as thread t of 128 holds it."""
    out = np.empty((128, d.shape[1] // 2), np.float32)
    for t in range(128):
        warp, lane = divmod(t, 32)
        for i in range(out.shape[1]):
            row = 16 * warp + lane // 4 + (8 if i % 4 >= 2 else 0)
            out[t, i] = d[row, 8 * (i // 4) + 2 * (lane % 4) + i % 2]
    return out


TYPES = ["bf16", "f16", "tf32", "e4m3", "e5m2"]
K_MAJOR = [(t, n, 0, 0, m) for t in TYPES for n in (8, 24, 64, 136, 256) for m in (3,)]
MODES = [(t, 64, 0, 0, m) for t in TYPES for m in (0, 1, 2)]
MAJORS = [
    ("bf16", n, a, b, m) for n in (24, 136) for a, b in ((0, 1), (1, 0), (1, 1)) for m in range(4)
]
WGMMA = K_MAJOR + MODES + MAJORS + [("f16", 64, 1, 1, 3)]


@pytest.mark.parametrize(("dtype", "n", "a_mn", "b_mn", "mode"), WGMMA)
@pytest.mark.parametrize("registers", [0, 1])
def test_wgmma(dtype, n, a_mn, b_mn, mode, registers):
    if registers and a_mn:
        pytest.skip("A in registers has no major")
    k = 32 // np.dtype(DTYPES[dtype]).itemsize
    rng = np.random.default_rng(n + mode)
    a = rng.integers(-4, 5, (64, k)).astype(DTYPES[dtype])
    b = rng.integers(-4, 5, (k, n)).astype(DTYPES[dtype])
    c = rng.integers(-9, 10, (64, n)).astype(np.float32)
    image_a, *strides_a = image_of(a, a_mn, mode)
    image_b, *strides_b = image_of(np.ascontiguousarray(b.T), b_mn, mode)
    start = -(-len(image_a) // 1024) * 1024
    image = np.concatenate([image_a, np.zeros(start - len(image_a), np.uint8), image_b])
    fragments = np.concatenate([fragment_a(a[16 * w : 16 * w + 16]) for w in range(4)])
    accumulate = n % 16 == 8
    d = accumulators(c)
    lib90().call(
        "wgmma", TYPES.index(dtype), n, a_mn, b_mn, image, len(image),
        harness.u64(descriptor(0, *strides_a, mode)),
        harness.u64(descriptor(start, *strides_b, mode)),
        fragments if registers else None, d, int(accumulate),
    )  # fmt: skip
    product = a.astype(float) @ b.astype(float) + (c if accumulate else 0)
    name = f"wgmma.{dtype}.n{n}.{'mk'[not a_mn]}{'nk'[not b_mn]}.{mode}{'.rs' * registers}"
    check(name, d, accumulators(product.astype(np.float32)))
