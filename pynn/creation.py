"""New tensors: from shapes, ranges, random numbers and other libraries' memory."""

import numpy as np

from pynn import backend, dtypes, random
from pynn.tensor import Tensor


def from_numpy(array) -> Tensor:
    """A tensor that shares the NumPy array's memory."""
    return Tensor(array)


def from_dlpack(source) -> Tensor:
    """A tensor that shares the memory of anything with `__dlpack__`: PyTorch, CuPy, JAX."""
    kind = source.__dlpack_device__()[0]
    return Tensor((backend.cupy() if kind == 2 else np).from_dlpack(source))


def _filled(name, text):
    def create(*shape, dtype=float, device="cpu", requires_grad=False):
        array = getattr(np, name)(_shape(shape), dtypes.as_dtype(dtype))
        return Tensor(array, requires_grad=requires_grad, device=device)

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f"A tensor of {text}; float32 on the CPU unless said otherwise."
    return create


zeros = _filled("zeros", "zeros")
ones = _filled("ones", "ones")
empty = _filled("empty", "that shape whose elements are not set: whatever the memory held")


def full(shape, value, dtype=float, device="cpu") -> Tensor:
    """A tensor filled with one value."""
    return Tensor(np.full(shape, value, dtypes.as_dtype(dtype)), device=device)


def eye(rows, columns=None, dtype=float, device="cpu") -> Tensor:
    """Ones on the diagonal of a matrix (rows, columns), square if columns are not given."""
    return Tensor(np.eye(rows, columns, dtype=dtypes.as_dtype(dtype)), device=device)


def arange(start, stop=None, step=1, dtype=None, device="cpu") -> Tensor:
    """start, start + step, ... below stop, as `range`; int64 for ints, float32 for floats."""
    start, stop = (0, start) if stop is None else (start, stop)
    floats = any(isinstance(v, float) for v in (start, stop, step))
    dtype = dtypes.as_dtype(dtype or (float if floats else int))
    return Tensor(np.arange(start, stop, step, dtype), device=device)


def linspace(start, stop, count, dtype=float, device="cpu") -> Tensor:
    """`count` numbers from start to stop, both included, equally far apart."""
    return Tensor(np.linspace(start, stop, count).astype(dtypes.as_dtype(dtype)), device=device)


def zeros_like(x) -> Tensor:
    """Zeros of x's shape, dtype and device."""
    return Tensor(backend.array_module(x.data).zeros_like(x.data))


def ones_like(x) -> Tensor:
    """Ones of x's shape, dtype and device."""
    return Tensor(backend.array_module(x.data).ones_like(x.data))


def randn(*shape, dtype=float, device="cpu", requires_grad=False) -> Tensor:
    """Normal numbers, mean 0 and variance 1, from pynn's stream (`manual_seed`)."""
    numbers = random.generator().standard_normal(_shape(shape)).astype(dtypes.as_dtype(dtype))
    return Tensor(numbers, requires_grad=requires_grad, device=device)


def rand(*shape, dtype=float, device="cpu", requires_grad=False) -> Tensor:
    """Uniform numbers in [0, 1) from pynn's stream (`manual_seed`)."""
    numbers = random.generator().random(_shape(shape)).astype(dtypes.as_dtype(dtype))
    return Tensor(numbers, requires_grad=requires_grad, device=device)


def randint(low, high, shape, dtype=int, device="cpu") -> Tensor:
    """Integers in [low, high), each as likely, from pynn's stream.

    Raises ValueError unless low < high.
    """
    if not low < high:
        raise ValueError(f"[randint] expected low < high, got {low} and {high}")
    numbers = random.generator().integers(low, high, shape)
    return Tensor(numbers.astype(dtypes.as_dtype(dtype)), device=device)


def randperm(count, device="cpu") -> Tensor:
    """0 ... count - 1 in random order, int64, from pynn's stream."""
    return Tensor(random.generator().permutation(count), device=device)


def _shape(args):
    """zeros(2, 3) and zeros((2, 3)) are the same."""
    return args[0] if len(args) == 1 and isinstance(args[0], (tuple, list)) else args
