"""Which array library holds an array, and which code runs on it: the one place that knows.

Storage is a NumPy array (device "cpu") or a CuPy array (device "cuda:0"). An op runs by its
reference, which is array text for either library, or by its hand-written kernels: `pynn._cuda` on
the GPU, `pynn._sim`, the same kernels under the CPU simulator, on NumPy arrays. `runs_native`
decides; `use_kernels` overrides it; `trace` tells what was decided.

Environment: PYNN_STRICT=1 turns a fallback from kernels to the reference into an error.
PYNN_MALLOC=system leaves glibc's allocator as it is. PYNN_SIM_MODULE=file loads another build of
the simulator than the installed one.
"""

import contextlib
import ctypes
import importlib
import importlib.util
import os
import sys

import numpy as np

KERNELS = ("reference", "native", "sim")

_cupy = None
_modules = {}
_kernels = None  # None: kernels on CUDA, the reference on the CPU
_traces = []


def _keep_freed_memory():
    """Let glibc reuse freed arrays instead of returning them to the system.

    A fresh page costs a fault, and a training step frees and allocates the same sizes for ever: the
    faults would cost more than the arithmetic. The price is that the process keeps its peak memory.
    """
    if sys.platform != "linux" or os.environ.get("PYNN_MALLOC") == "system":
        return
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none
        mallopt(M_MMAP_THRESHOLD, 1 << 30)
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


_keep_freed_memory()


# ------------------------------------------------------------------ arrays and devices


def cupy():
    """The CuPy module, imported on first use.

    Raises RuntimeError with the cure where there is none.
    """
    global _cupy
    if _cupy is None:
        try:
            _cupy = importlib.import_module("cupy")
        except ImportError as error:
            raise RuntimeError(
                '[device] expected CuPy for device "cuda", got none: '
                'pip install "pynn-cuda[cuda13]"'
            ) from error
    return _cupy


def array_module(array):
    """numpy or cupy, whichever holds the array."""
    return np if isinstance(array, (np.ndarray, np.generic)) else cupy()


def is_array(thing) -> bool:
    return isinstance(thing, np.ndarray) or (_cupy is not None and isinstance(thing, _cupy.ndarray))


def device_of(array) -> str:
    """ "cpu" or "cuda:N"."""
    return "cpu" if isinstance(array, np.ndarray) else f"cuda:{array.device.id}"


def cuda_available() -> bool:
    """Whether device "cuda" can be used: CuPy is installed and a driver shows a GPU."""
    try:
        return bool(cupy().cuda.is_available())
    except RuntimeError:
        return False


def capturing(array) -> bool:
    """Whether a CUDA graph is being captured on the current stream of the array's library."""
    return not isinstance(array, np.ndarray) and cupy().cuda.get_current_stream().is_capturing()


def parse_device(device) -> tuple[str, int]:
    """("cpu", 0) or ("cuda", N) for "cpu", "cuda" or "cuda:N".

    Raises ValueError for anything else.
    """
    kind, _, number = str(device).partition(":")
    if kind in ("cpu", "cuda") and (number == "" or (kind == "cuda" and number.isdigit())):
        return kind, int(number or 0)
    raise ValueError(f'[device] expected "cpu", "cuda" or "cuda:N", got {device!r}')


def to_device(array, device):
    """The array on that device; itself if it is there already."""
    kind, number = parse_device(device)
    if kind == "cpu":
        on_cpu = isinstance(array, (np.ndarray, np.generic))
        return np.asarray(array) if on_cpu else _cupy.asnumpy(array)
    xp = cupy()
    if not xp.cuda.is_available():
        raise RuntimeError(
            f"[device] expected a GPU for device {device!r}, got none: see `pynn info`"
        )
    with xp.cuda.Device(number):
        return xp.asarray(array)


def contiguous(arrays):
    """The arrays in C order, as kernels want them; copied, by a kernel, only if they are not."""
    return [a if a.flags.c_contiguous else _in_order(a) for a in arrays]


def _in_order(array):
    y = array_module(array).empty(array.shape, array.dtype)
    native.copy_strided(array, y)
    return y


def widen(array):
    """float16 and bfloat16 as float32, in which the reference computes; others as they are."""
    return array.astype(np.float32) if array.dtype.itemsize == 2 else array


def zero_where(array, drop, out=None):
    """The array with 0 where the bools `drop` say so, inf and NaN included: a mask over its bits,
    since a product would make NaN of inf and `where` takes ten times as long in NumPy.
    """
    bits = np.dtype(f"int{8 * array.dtype.itemsize}")
    if out is None:
        out = array_module(array).empty_like(array)
    keep = drop.view(np.int8) - np.int8(1)  # 0 or -1: no bit or all bits, in any width
    array_module(array).bitwise_and(keep, array.view(bits), out=out.view(bits))
    return out


def sum_to(array, shape):
    """The array summed over the axes along which `shape` was broadcast to it; sums are float32 or
    wider.
    """
    if array.shape == shape:
        return array
    lead = array.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(
        i + lead for i, n in enumerate(shape) if n == 1 and array.shape[i + lead] != 1
    )
    total = widen(array).sum(axis=axes, keepdims=True).astype(array.dtype, copy=False)
    return total.reshape(shape)


# ------------------------------------------------------------------ kernels


class _Native:
    """The hand-written kernels by name: `native.gelu_fwd(x, y)` runs in the module that the first
    array, or the first of a list, belongs to.
    """

    def __getattr__(self, name):
        def launch(*args):
            first = args[0][0] if args[0].__class__ is list else args[0]
            module = kernel_module("sim" if isinstance(first, np.ndarray) else "cuda")
            return getattr(module, name)(*args)

        launch.__name__ = name
        setattr(self, name, launch)
        return launch


native = _Native()


def kernel_module(which):
    """`pynn._cuda` for "cuda" or `pynn._sim` for "sim"; None where it was not built."""
    if which not in _modules:
        elsewhere = os.environ.get("PYNN_SIM_MODULE") if which == "sim" else None
        try:
            _modules[which] = (
                _load("pynn._sim", elsewhere)
                if elsewhere
                else importlib.import_module(f"pynn._{which}")
            )
        except ModuleNotFoundError:
            _modules[which] = None
    return _modules[which]


def _load(name, path):
    """The extension module in that file, whatever the installed one is."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class use_kernels:  # noqa: N801  (reads as a statement: `use_kernels("sim")`, `with use_kernels("sim"):`)
    """Choose what runs: "reference", "native" (CUDA kernels), "sim" (the same kernels in the CPU
    simulator), None (default).

    Takes effect at once and for the whole process; used in a `with`, the former choice comes back
    at its end. By default arrays on CUDA run the kernels and arrays on the CPU the reference.

    Raises ValueError for another name, RuntimeError if "sim" is asked for and `pynn._sim` was not
    built.
    """

    def __init__(self, kernels):
        global _kernels
        if kernels is not None and kernels not in KERNELS:
            raise ValueError(f"[use_kernels] expected one of {KERNELS} or None, got {kernels!r}")
        if kernels == "sim" and kernel_module("sim") is None:
            raise RuntimeError(
                "[use_kernels] expected the simulator, got none: pynn was built without pynn._sim; "
                "install g++ and reinstall with PYNN_SIM=on"
            )
        self.former, _kernels = _kernels, kernels

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        global _kernels
        _kernels = self.former


def runs_native(op, arrays) -> bool:
    """Whether this op runs its kernels on these arrays. The only such decision in pynn."""
    on_cpu = isinstance(arrays[0], np.ndarray)
    if on_cpu and _kernels != "sim" and not _traces:
        return False
    reason = _why_reference(op, arrays, on_cpu)
    for trace_ in _traces:
        trace_.add(op, reason)
    asked = _kernels != "reference" and not (on_cpu and _kernels is None)
    if reason and asked and os.environ.get("PYNN_STRICT") == "1":
        raise RuntimeError(
            f"[{op.name}] expected its kernels to run (PYNN_STRICT=1), got: {reason}"
        )
    return not reason


def _why_reference(op, arrays, on_cpu) -> str:
    """Why the reference runs, in words; empty if the kernels do."""
    if _kernels == "reference":
        return 'use_kernels("reference")'
    if on_cpu and _kernels != "sim":
        return "array on the CPU"
    if kernel_module("sim" if on_cpu else "cuda") is None:
        return f"pynn.{'_sim' if on_cpu else '_cuda'} was not built"
    if op.forward_native is None:
        return f"no kernel for this op{op.no_kernel and ': '}{op.no_kernel}"
    if not op.takes_native(arrays):
        return "no kernel for " + ", ".join(f"{a.dtype.name} {a.shape}" for a in arrays)
    return ""


class Trace:
    """Which path each op took: `counts[(op, "native" | reason)]` calls."""

    def __init__(self):
        self.counts = {}

    def add(self, op, reason):
        key = (op.name, reason or "native")
        self.counts[key] = self.counts.get(key, 0) + 1

    def __str__(self):
        rows = [f"{name:<24}{n:>8}  {path}" for (name, path), n in sorted(self.counts.items())]
        return "\n".join([f"{'op':<24}{'calls':>8}  path"] + rows)


@contextlib.contextmanager
def trace():
    """Record which path each op takes:  `with pynn.backend.trace() as t: ...; print(t)`."""
    t = Trace()
    _traces.append(t)
    try:
        yield t
    finally:
        _traces.remove(t)
