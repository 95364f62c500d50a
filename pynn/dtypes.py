"""The dtypes of pynn, and how two of them meet.

Floats are float64, float32, float16 and bfloat16 (ml_dtypes); integers are int8 to int64 and uint8;
and bool. A dtype is a NumPy dtype everywhere, so arrays need no translation. Promotion follows
PyTorch: a float beats an integer beats bool, the wider of two of a kind wins, float16 with bfloat16
gives float32, and a Python number never widens an array of its kind.
"""

import ml_dtypes
import numpy as np

float64 = np.dtype("float64")
float32 = np.dtype("float32")
float16 = np.dtype("float16")
bfloat16 = np.dtype(ml_dtypes.bfloat16)
int64 = np.dtype("int64")
int32 = np.dtype("int32")
int16 = np.dtype("int16")
int8 = np.dtype("int8")
uint8 = np.dtype("uint8")
bool_ = np.dtype("bool")

FLOATS = (float64, float32, float16, bfloat16)
HALVES = (float16, bfloat16)
INTEGERS = (int64, int32, int16, int8, uint8)
ALL = FLOATS + INTEGERS + (bool_,)

_BY_NAME = {dtype.name: dtype for dtype in ALL}


def as_dtype(dtype) -> np.dtype:
    """The NumPy dtype for a name, a NumPy dtype, a scalar type, or Python's float, int and bool.

    float means float32, as in PyTorch. Raises TypeError for a dtype that pynn does not hold.
    """
    if dtype is float:
        return float32
    if isinstance(dtype, str):
        found = _BY_NAME.get(dtype)
    else:
        try:
            found = _BY_NAME.get(np.dtype(dtype).name)
        except TypeError:
            found = None
    if found is None:
        raise TypeError(f"[dtype] expected one of {', '.join(_BY_NAME)}, got {dtype!r}")
    return found


def is_float(dtype) -> bool:
    """Whether gradients can flow through an array of this dtype."""
    return dtype in FLOATS


def promote(a: np.dtype, b: np.dtype) -> np.dtype:
    """The dtype in which arrays of dtypes a and b are combined."""
    if a == b:
        return a
    a_float, b_float = a in FLOATS, b in FLOATS
    if a_float and b_float:
        if a in HALVES and b in HALVES:
            return float32
        return a if a.itemsize > b.itemsize else b
    if a_float or b_float:
        return a if a_float else b
    return np.promote_types(a, b)


def of_number(number, beside: np.dtype) -> np.dtype:
    """The dtype a Python number takes beside an array of dtype `beside`."""
    if isinstance(number, bool) or beside in FLOATS:
        return beside
    if isinstance(number, int):
        return int64 if beside == bool_ else beside
    return float32


def finfo(dtype):
    """Machine limits of a float dtype, bfloat16 included."""
    return ml_dtypes.finfo(dtype)
