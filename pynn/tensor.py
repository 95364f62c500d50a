"""Tensor: an array, its gradient, and the op that made it.

The arithmetic is bound to it by pynn.functional.
"""

import numpy as np

from pynn import backend, dtypes


class Tensor:
    """An n-dimensional array on the CPU (NumPy) or a GPU (CuPy) that remembers how it was computed.

    data           the array; shared, not copied, if it is a NumPy or CuPy array
    requires_grad  whether `backward` shall leave a gradient in `grad`; floats only
    dtype, device  converted to if given

    Python numbers and lists become float32, int64 or bool. Raises TypeError for dtypes pynn does
    not hold.
    """

    # Class-level defaults: an op's output sets only what differs (`data`, and in a graph
    # `creator`).
    requires_grad = False
    creator = None  # the Function that made this tensor; None for a leaf
    index = 0  # which of the creator's outputs it is
    base = None  # the tensor whose memory this one is a view of
    changed = 0  # when the memory was last changed in place (autograd's clock)
    hooks = None  # called with the gradient of a leaf
    _grad = None

    __array_priority__ = 1000  # so that `numpy_array * tensor` asks the tensor

    def __init__(self, data, requires_grad=False, *, dtype=None, device=None):
        if isinstance(data, Tensor):
            data = data.data
        if not backend.is_array(data):
            data = _array_of(data)
        wanted = data.dtype if dtype is None else dtypes.as_dtype(dtype)
        if wanted not in dtypes.ALL:
            raise TypeError(
                f"[tensor] expected a dtype out of {[d.name for d in dtypes.ALL]}, got {data.dtype}"
            )
        data = data.astype(wanted, copy=False)
        self.data = data if device is None else backend.to_device(data, device)
        if requires_grad:
            self.requires_grad_()

    @classmethod
    def wrap(cls, array):
        """A tensor over an array that an op made: no checks."""
        self = cls.__new__(cls)
        self.data = array
        return self

    # -------------------------------------------------------------- what it is

    @property
    def shape(self):
        return self.data.shape

    @property
    def dtype(self):
        return self.data.dtype

    @property
    def device(self) -> str:
        return backend.device_of(self.data)

    @property
    def ndim(self):
        return self.data.ndim

    @property
    def size(self):
        """Number of elements."""
        return self.data.size

    def numel(self):
        """Number of elements, in PyTorch's word."""
        return self.data.size

    def dim(self):
        return self.data.ndim

    @property
    def is_leaf(self):
        return self.creator is None

    def __len__(self):
        if not self.data.ndim:
            raise TypeError("[len] expected at least 1 dimension, got a 0-d tensor")
        return len(self.data)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __bool__(self):
        return bool(self.item())

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __index__(self):
        if self.data.dtype not in dtypes.INTEGERS:
            raise TypeError(f"[index] expected an integer tensor, got {self.data.dtype}")
        return int(self.item())

    __hash__ = object.__hash__

    def __repr__(self):
        body = np.array2string(
            backend.widen(backend.to_device(self.data, "cpu")),
            separator=", ",
            prefix="tensor(",
            threshold=1000,
            precision=4,
        )
        notes = []
        if self.data.dtype not in (dtypes.float32, dtypes.int64, dtypes.bool_):
            notes.append(f"dtype={self.data.dtype.name}")
        if self.device != "cpu":
            notes.append(f'device="{self.device}"')
        if 0 in self.data.shape:
            notes.append(f"shape={self.data.shape}")
        if self.creator is not None:
            notes.append(f"creator={self.creator.name}")
        elif self.requires_grad:
            notes.append("requires_grad=True")
        return f"tensor({', '.join([body] + notes)})"

    # -------------------------------------------------------------- gradient

    @property
    def grad(self):
        """The accumulated gradient, a Tensor of the same shape and dtype over shared memory, or
        None.
        """
        return None if self._grad is None else Tensor.wrap(self._grad)

    @grad.setter
    def grad(self, value):
        if value is not None:
            value = value.data if isinstance(value, Tensor) else value
            if value.shape != self.data.shape or value.dtype != self.data.dtype:
                raise ValueError(
                    f"[grad] expected shape {self.data.shape} {self.data.dtype}, "
                    f"got {value.shape} {value.dtype}"
                )
        self._grad = value

    def requires_grad_(self, requires_grad=True):
        """Ask for a gradient (or no longer), in place; returns self.

        Raises TypeError unless the dtype is a float.
        """
        if requires_grad and self.data.dtype not in dtypes.FLOATS:
            raise TypeError(f"[requires_grad] expected a float dtype, got {self.data.dtype}")
        if not requires_grad and self.creator is not None:
            raise RuntimeError("[requires_grad] expected a leaf, got an op's output: use detach()")
        self.requires_grad = requires_grad
        return self

    def detach(self):
        """The same memory without its history."""
        out = Tensor.wrap(self.data)
        out.base = self if self.base is None else self.base
        return out

    # -------------------------------------------------------------- leaving pynn

    def numpy(self):
        """The array as NumPy: shared memory on the CPU, a copy from a GPU."""
        return backend.to_device(self.data, "cpu")

    def __array__(self, dtype=None, copy=None):
        array = self.numpy()
        return np.array(array, dtype=dtype, copy=copy)

    def item(self):
        """The one element as a Python number. Raises ValueError unless there is exactly one."""
        if self.data.size != 1:
            raise ValueError(f"[item] expected one element, got shape {self.data.shape}")
        return self.data.item()

    def tolist(self):
        return self.numpy().tolist()

    def __dlpack__(self, **kwargs):
        """DLPack capsule over the same memory.

        Raises BufferError for bfloat16 on the CPU, as NumPy does.
        """
        return self.data.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self.data.__dlpack_device__()

    def __deepcopy__(self, memo):
        """A leaf with a copy of the array.

        Raises RuntimeError for an op's output, whose history cannot be copied.
        """
        if self.creator is not None:
            raise RuntimeError("[deepcopy] expected a leaf, got an op's output: use detach() first")
        out = type(self).wrap(self.data.copy())
        out.requires_grad = self.requires_grad
        if self._grad is not None:
            out._grad = self._grad.copy()
        memo[id(self)] = out
        return out


def _array_of(data):
    """A NumPy array of Python numbers, lists, other tensors or anything that speaks DLPack or the
    array protocols.
    """
    if hasattr(data, "__dlpack__") and not hasattr(data, "__cuda_array_interface__"):
        return np.from_dlpack(data)
    if hasattr(data, "__cuda_array_interface__"):
        return backend.cupy().asarray(data)
    if isinstance(data, (list, tuple)) and any(isinstance(item, Tensor) for item in data):
        data = [item.numpy() if isinstance(item, Tensor) else item for item in data]
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ValueError(
            f"[tensor] expected numbers in a regular shape, got {type(data).__name__}: {error}"
        ) from None
    came_as_array = isinstance(data, np.generic) or hasattr(data, "__array__")
    if array.dtype == np.float64 and not came_as_array:
        return array.astype(np.float32)
    if array.dtype not in dtypes.ALL:
        raise TypeError(f"[tensor] expected numbers, got {type(data).__name__} of {array.dtype}")
    return array


def tensor(data, dtype=None, device=None, requires_grad=False) -> Tensor:
    """A new tensor with a copy of the data: numbers, nested lists, arrays, tensors.

    Python floats become float32, ints int64; arrays keep their dtype unless one is given.
    Raises TypeError for dtypes pynn does not hold, ValueError for ragged lists.
    """
    out = Tensor(data, dtype=dtype, device=device)
    if backend.is_array(data) or hasattr(data, "__dlpack__") or isinstance(data, Tensor):
        out.data = out.data.copy()
    return out.requires_grad_() if requires_grad else out
