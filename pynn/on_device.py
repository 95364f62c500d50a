"""The kernels of the GPU with the simulator's interface, so that whatever is asked of the one can
be asked of the other, unchanged: `pynn check --device cuda`, and the tests of the kernels.

A launcher of `pynn._cuda` takes arrays on the GPU; here it takes NumPy arrays, as that of
`pynn._sim` does. They travel to the device and back around each call, as misaligned as they are,
between guards that no kernel may write to.
"""

import ctypes
import sys

import numpy as np

from pynn import backend

GUARD = 1024  # bytes on either side
ALIGNED = 256  # an address on the device is that on the host, modulo this
PATTERN = 0xA5


class OnDevice:
    """The launchers of `module`, whose arrays are `xp`'s, called with NumPy arrays.

    A call raises RuntimeError if the kernel fails or writes beyond its arrays.
    """

    def __init__(self, module, xp):
        self._module, self._xp = module, xp

    def set_schedule(self, *names, **options):
        """Nothing: a GPU runs threads in the order it likes."""

    def __getattr__(self, name):
        launcher = getattr(self._module, name)
        if not callable(launcher):
            return launcher

        def launch(*args):
            spans = [_Span(self._xp, group) for group in _groups(_arrays(args))]
            launcher(*(self._there(arg, spans) for arg in args))
            for span in spans:
                span.bring_back(name)

        return launch

    def _there(self, argument, spans):
        if isinstance(argument, (list, tuple)):
            return type(argument)(self._there(a, spans) for a in argument)
        if not isinstance(argument, np.ndarray):
            return argument
        return next(found for span in spans if (found := span.find(argument)) is not None)


class _Span:
    """Arrays that share memory, and their bytes on the device between two guards."""

    def __init__(self, xp, arrays):
        self.arrays = arrays
        self.xp = xp
        self.start = min(_bounds(a)[0] for a in arrays)
        size = max(_bounds(a)[1] for a in arrays) - self.start
        self.room = xp.empty(size + 2 * GUARD + ALIGNED, np.uint8)
        self.first = GUARD + (self.start - _address(self.room) - GUARD) % ALIGNED
        self.stop = self.first + size
        room = np.full(self.room.size, PATTERN, np.uint8)
        for a in arrays:
            room[self._place(a)] = _bytes(a)
        self.room[...] = xp.asarray(room)

    def _place(self, array):
        before = self.first - self.start
        low, high = _bounds(array)
        return slice(before + low, before + high)

    def find(self, array):
        """The array on the device, None if it is not of this span."""
        if not any(a is array for a in self.arrays):
            return None
        if array.flags.c_contiguous:
            return self.room[self._place(array)].view(array.dtype).reshape(array.shape)
        first = self.first + _address(array) - self.start
        element = self.room[first : first + array.itemsize].view(array.dtype)
        return self.xp.lib.stride_tricks.as_strided(element, array.shape, array.strides)

    def bring_back(self, name):
        room = self.room if isinstance(self.room, np.ndarray) else self.room.get()
        around = np.concatenate([room[: self.first], room[self.stop :]])
        if written := np.count_nonzero(around != PATTERN):
            raise RuntimeError(
                f"[{name}] expected nothing written beyond the arrays, got {written} bytes of it"
            )
        for a in self.arrays:
            if a.flags.writeable:
                _bytes(a)[...] = room[self._place(a)]
            elif (_bytes(a) != room[self._place(a)]).any():
                raise ValueError(f"[{name}] expected a writeable array, got a read-only one")


def _arrays(arguments):
    for argument in arguments:
        if isinstance(argument, (list, tuple)):
            yield from _arrays(argument)
        elif isinstance(argument, np.ndarray):
            yield argument


def _groups(arrays):
    """The arrays, those together that overlap: an output may be an input."""
    groups, end = [], -1
    for a in sorted(arrays, key=lambda a: _bounds(a)[0]):
        low, high = _bounds(a)
        if low >= end:
            groups.append([])
        groups[-1].append(a)
        end = max(end, high)
    return groups


def _address(array):
    return array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr


def _bounds(array):
    """The addresses of the array's first byte and behind its last."""
    if array.size == 0:
        return _address(array), _address(array)
    return np.lib.array_utils.byte_bounds(array)


def _bytes(array):
    """All from the array's first byte to its last, what its strides skip included."""
    low, high = _bounds(array)
    return np.frombuffer((ctypes.c_uint8 * (high - low)).from_address(low), np.uint8)


def replace_simulator():
    """Let the GPU's kernels stand where this process would find the simulator's.

    Raises RuntimeError if there is no `pynn._cuda`, or no CuPy.
    """
    module = backend.kernel_module("cuda")
    if module is None:
        raise RuntimeError("[device] expected pynn._cuda, got none: see `pynn info`")
    sys.modules["pynn._sim"] = backend._modules["sim"] = OnDevice(module, backend.cupy())
