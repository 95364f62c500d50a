"""Products of 8-bit floats. The kernels stand in csrc/kernels/gemm/."""

import functools

import ml_dtypes
import numpy as np

from pynn import dtypes
from pynn.autograd import Function, no_grad
from pynn.backend import array_module
from pynn.functional.linear import as_rows
from pynn.functional.product import multiply_fp8
from pynn.tensor import Tensor

FORMATS = {"e4m3": np.dtype(ml_dtypes.float8_e4m3fn), "e5m2": np.dtype(ml_dtypes.float8_e5m2)}


class Fp8Linear(Function):
    """y = s_x s_w x W^T + b,  amax = max |y|;  x, W bytes, read in `formats`; no gradient.

    x (..., I), W (O, I) uint8; s_x, s_w (1,) float32; b (O,) of y's dtype or left out; y (..., O),
    amax () float32.
    """

    outputs = 2

    def __init__(self, formats, dtype):
        self.formats, self.dtype = formats, dtype

    def takes_native(self, arrays):
        return self.dtype.name in self.native_dtypes

    def forward(self, x, w, scale_x, scale_w, b=None):
        xp = array_module(x)
        x, w = (xp.asarray(_values(f))[a] for f, a in zip(self.formats, (x, w), strict=True))
        y = (as_rows(x) @ w.T) * (scale_x * scale_w)
        if b is not None:
            y += b
        y = y.reshape(*x.shape[:-1], w.shape[0]).astype(self.dtype, copy=False)
        return y, xp.abs(y.astype(np.float32)).max(initial=0)

    def forward_native(self, x, w, scale_x, scale_w, b=None):
        xp = array_module(x)
        y = xp.empty((*x.shape[:-1], w.shape[0]), self.dtype)
        amax = xp.zeros(1, np.float32)
        formats = tuple(list(FORMATS).index(f) for f in self.formats)
        multiply_fp8(as_rows(x), w, scale_x, scale_w, as_rows(y), amax, formats, b)
        return y, amax.reshape(())


@functools.cache
def _values(name):
    """What each of the 256 bytes means, in float32."""
    return np.arange(256, dtype=np.uint8).view(FORMATS[name]).astype(np.float32)


def fp8_linear(
    x, weight, scale_x=1.0, scale_weight=1.0, bias=None, dtype="bfloat16", formats=("e4m3", "e4m3")
):
    """y = s_x s_w x W^T + b of 8-bit floats, and the greatest |y|; without gradient.

    x             (..., I)  uint8: the bytes of numbers in formats[0]; or a NumPy array of
                            ml_dtypes' float8_e4m3fn or float8_e5m2, which tells its format itself
    weight        (O, I)    the same, in formats[1]
    scale_x       what to multiply the numbers of x by: a float, or one float32 in a tensor of x's
    scale_weight  device, which the kernel reads there; the same of weight
    bias          (O,) of `dtype`, or None
    dtype         "bfloat16", "float16" or "float32": y's
    formats       each "e4m3" (finite, up to 448) or "e5m2" (with inf, up to 57,344)
    returns       y (..., O), sums in float32; and max |y| () in float32, of which the next scale of
                  y is made

    CuPy has no 8-bit floats, hence bytes: to_device(array.view("uint8")). Both operands have I as
    their contiguous axis, the only order of 8 bits that tensor cores take; a gradient's product
    wants one of them transposed, best where it is made of wider numbers. Tensor cores (sm_90) run
    operands of one format whose I is a multiple of 16; all else runs by multiply-adds.

    Raises ValueError for shapes and formats that do not fit, TypeError for other dtypes.
    Micikevicius et al. 2022, arXiv:2209.05433.
    """
    formats = list(formats)
    if len(formats) != 2 or any(f not in FORMATS for f in formats):
        raise ValueError(f'[fp8_linear] formats: expected two of "e4m3", "e5m2", got {formats}')
    x, formats[0] = _as_bytes("x", x, formats[0])
    weight, formats[1] = _as_bytes("weight", weight, formats[1])
    dtype = dtypes.as_dtype(dtype)
    if dtype not in (dtypes.bfloat16, dtypes.float16, dtypes.float32):
        raise TypeError(f"[fp8_linear] dtype: expected bfloat16, float16 or float32, got {dtype}")
    if weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            "[fp8_linear] x: expected shape (..., I) for weight (O, I) = "
            f"{weight.shape}, got {x.shape}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"[fp8_linear] bias: expected shape {weight.shape[:1]}, got {bias.shape}")
    if bias is not None and bias.dtype != dtype:
        raise TypeError(f"[fp8_linear] bias: expected y's dtype {dtype}, got {bias.dtype}")
    scales = [_as_scale("scale_x", scale_x, x), _as_scale("scale_weight", scale_weight, x)]
    with no_grad():
        op = Fp8Linear(tuple(formats), dtype)
        return op(x, weight, *scales, *(() if bias is None else (bias,)))


def _as_bytes(name, array, said):
    """The tensor of bytes, and their format."""
    for known, dtype in FORMATS.items():
        if getattr(array, "dtype", None) == dtype:
            return Tensor(array.view(np.uint8)), known
    if not isinstance(array, Tensor) or array.dtype != dtypes.uint8:
        raise TypeError(
            f"[fp8_linear] {name}: expected a uint8 tensor or a float8 array of NumPy, "
            f"got {getattr(array, 'dtype', type(array).__name__)}"
        )
    return array, said


def _as_scale(name, scale, x):
    xp = array_module(x.data)
    if not isinstance(scale, Tensor):
        return Tensor(xp.full(1, scale, np.float32))
    if scale.size != 1 or scale.dtype != dtypes.float32:
        raise ValueError(
            f"[fp8_linear] {name}: expected a number or one float32, "
            f"got {scale.dtype} of shape {scale.shape}"
        )
    return Tensor.wrap(scale.data.reshape(1))
