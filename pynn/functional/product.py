"""Matrix products by kernels: the arguments of the GEMM family, and batches that broadcast."""

import functools
import math

import numpy as np

from pynn import kernels
from pynn.backend import array_module, native
from pynn.functional.broadcast import sum_to_native

# Which operand lies turned:  d (M, N) = a b with  a (M, K), of TN (K, M);  b (K, N), of NT (N, K)
NT, NN, TN = 0, 1, 2

ACTIVATIONS = ("none", "relu", "gelu", "gelu_tanh", "silu")  # as csrc numbers them

_ROOM = 132 * 128 * 128  # elements of d that fill a GPU by themselves; the same everywhere
_STREAM_ROOM = 2 * 66 * 256 * 257  # of stream-K's pieces, at most
_LEAST_STREAM = 512 * 512  # below, parts of d are fewer bytes than pieces


def multiply(a, b, d, layout, bias=None, residual=None):
    """d = a b + bias + residual, written into d of a's dtype or float32.

    a, b, d   2 to 4 axes; a leading axis of a or b may be 1 where d's is longer
    bias      (N,) of d's dtype, or None
    residual  as d, or None
    """
    none = nothing(array_module(d))
    native.gemm(
        a, b, none if bias is None else bias, none if residual is None else residual, d,
        _workspace(a, d, layout), layout, kernels.preferred("gemm"), _tf32(),
    )  # fmt: skip


def multiply_sum(a, b, d, sums):
    """d = a^T b, and sums = the column sums of a, of d's dtype, without reading a again."""
    native.gemm_sums(a, b, d, sums, _workspace(a, d, TN), kernels.preferred("gemm"), _tf32())


def multiply_activate(a, b, z, d, layout, activation, bias=None):
    """z = a b + bias, kept unless z is None, and d = f(z), f one of ACTIVATIONS."""
    none = nothing(array_module(d))
    native.gemm_act(
        a, b, none if bias is None else bias, none if z is None else z, d,
        _workspace(a, d, layout), layout, ACTIVATIONS.index(activation),
        kernels.preferred("gemm"), _tf32(),
    )  # fmt: skip


def multiply_differentiate(a, b, z, d, layout, activation):
    """d = (a b) f'(z), f one of ACTIVATIONS; z is what f was applied to, or of relu its output."""
    native.gemm_dact(
        a, b, z, d, _workspace(a, d, layout), layout, ACTIVATIONS.index(activation),
        kernels.preferred("gemm"), _tf32(),
    )  # fmt: skip


def multiply_fp8(a, b, scale_a, scale_b, d, amax, formats, bias=None):
    """d = scale_a scale_b a b^T + bias of the bytes a (M, K) and b (N, K); amax is raised to the
    greatest |d|. formats: of a and b, 0 for e4m3, 1 for e5m2.
    """
    native.gemm_fp8(
        a, b, nothing(array_module(d)) if bias is None else bias, scale_a, scale_b, d, amax,
        _workspace(a, d, NT), formats, kernels.preferred("gemm"),
    )  # fmt: skip


def _tf32():
    return kernels.get_float32_matmul_precision() == "tf32"


@functools.cache
def nothing(xp):
    """An array of size 0, which a launcher takes for an optional one left out."""
    return xp.empty(0, np.float32)


def _workspace(a, d, layout):
    """Room for several times d in float32 where d alone would leave the GPU idle and K is long, and
    for the pieces of a long K's last turn on tensor cores; the launcher takes of it what it needs.
    """
    K = a.shape[-2 if layout == TN else -1]
    size = d.size + math.prod(d.shape[:-1])  # and the sums of a's lines
    parts = min(K // 256, _ROOM // max(size, 1))
    room = parts * size if parts > 1 else 0
    if K * a.itemsize >= 2048 and (a.itemsize < 4 or _tf32()) and size > _LEAST_STREAM:
        room = max(room, _STREAM_ROOM)
    xp = array_module(d)
    return xp.empty(room, np.float32) if room else nothing(xp)


class Batches:
    """The leading axes of two operands that broadcast, as two axes of each: full, or 1.

    Neighbouring axes of one kind are one; a pair of operands that repeat in turns more often than
    that is copied to full length.
    """

    def __init__(self, a, b):
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        groups = []  # [length, whether a has it, whether b has it]
        for axis in range(-len(lead), 0):
            n = lead[axis]
            has = [axis >= 2 - x.ndim and x.shape[axis - 2] == n for x in (a, b)]
            if n == 1:
                continue
            if groups and groups[-1][1:] == has:
                groups[-1][0] *= n
            else:
                groups.append([n, *has])
        if len(groups) > 2:
            a, b = (_repeat(x, lead) for x in (a, b))
            groups = [[math.prod(lead), True, True]]
        groups = [[1, True, True]] * (2 - len(groups)) + groups
        self.shape = lead
        self.lengths = tuple(n for n, _, _ in groups)
        self.a = a.reshape(*(n if has else 1 for n, has, _ in groups), *a.shape[-2:])
        self.b = b.reshape(*(n if has else 1 for n, _, has in groups), *b.shape[-2:])

    def split(self, array):
        """An array of full leading axes with the two."""
        return array.reshape(*self.lengths, *array.shape[-2:])

    @property
    def only_a(self):
        """Whether b is one matrix: then the rows of all of a's are the rows of one."""
        return math.prod(self.b.shape[:2]) == 1


def _repeat(array, lead):
    xp = array_module(array)
    return xp.ascontiguousarray(xp.broadcast_to(array, (*lead, *array.shape[-2:])))


def multiply_to(a, b, lead, layout, like):
    """a b summed over the leading axes along which `like` was repeated: its gradient."""
    rows, columns = like.shape[-2:]
    shape = (*lead, rows, columns)
    summed = math.prod(lead) != math.prod(like.shape[:-2])
    d = array_module(like).empty(shape, np.float32 if summed else like.dtype)
    multiply(a, b, d.reshape(*np.broadcast_shapes(a.shape[:2], b.shape[:2]), rows, columns), layout)
    return cast(sum_to_native(d, like.shape), like.dtype)


def cast(array, dtype):
    """The array in another dtype, by the kernel; itself if it has it."""
    if array.dtype == dtype:
        return array
    y = array_module(array).empty(array.shape, dtype)
    native.cast(array, y)
    return y
