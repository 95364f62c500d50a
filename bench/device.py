"""The device that a bench runs on: its name, cache and clocks, and turns timed by its events."""

import contextlib
import functools
import glob
import importlib
import os
import platform
import time

from bench.timing import in_turns
from pynn import backend
from pynn.profiler import device_name

GRAPH_BELOW = 500e-6  # seconds of a call; longer ones hide their launch anyway
CALLS_AT_MOST = 64  # in a graph, and sets of inputs in rotation


@functools.cache
def facts(device) -> dict:
    """Name, driver, bytes of the last cache, and number of cores of "cpu" or "cuda"."""
    if device == "cuda":
        cp = backend.cupy()
        about = cp.cuda.runtime.getDeviceProperties(0)
        driver = cp.cuda.runtime.driverGetVersion()
        return {
            "device": device_name(True),
            "driver": _nvml_driver() or f"CUDA {driver // 1000}.{driver % 1000 // 10}",
            "cache": about["l2CacheSize"],
            "cores": about["multiProcessorCount"],
        }
    return {
        "device": device_name(False),
        "driver": platform.release(),
        "cache": _last_cache(),
        "cores": os.cpu_count(),
    }


def _last_cache():
    """Bytes of the largest cache of a core; 32 MiB where the system does not say."""
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    sizes = []
    for path in glob.glob("/sys/devices/system/cpu/cpu0/cache/index*/size"):
        with contextlib.suppress(OSError, ValueError), open(path) as file:
            text = file.read().strip()
            sizes.append(int(text.rstrip("KMG")) * units.get(text[-1:], 1))
    return max(sizes, default=32 << 20)


# ------------------------------------------------------------------ clocks, by nvidia-ml-py


@functools.cache
def _nvml():
    """(module, handle of the first GPU), or None: without nvidia-ml-py, or without a driver."""
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
        return nvml, nvml.nvmlDeviceGetHandleByIndex(0)
    except Exception:  # its errors are the driver's, and all mean the same here
        return None


def _nvml_driver():
    return _nvml() and _nvml()[0].nvmlSystemGetDriverVersion()


def clocks(device) -> dict:
    """SM and memory clock in MHz, power in W, temperature in degrees; {} where nobody can say."""
    if device != "cuda" or _nvml() is None:
        return {}
    nvml, gpu = _nvml()
    asked = {
        "sm_mhz": lambda: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM),
        "memory_mhz": lambda: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_MEM),
        "watt": lambda: nvml.nvmlDeviceGetPowerUsage(gpu) / 1000,
        "celsius": lambda: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU),
    }
    found = {}
    for name, ask in asked.items():
        with contextlib.suppress(nvml.NVMLError):
            found[name] = ask()
    return found


# ------------------------------------------------------------------ turns


def rotation(footprint, device):
    """How many sets of inputs to rotate over so that together they are more than three times the
    last cache, and whether they are: very small ones are not.
    """
    wanted = 3 * facts(device)["cache"] // max(1, footprint) + 2
    return min(wanted, CALLS_AT_MOST), wanted <= CALLS_AT_MOST


def turn(calls, library, device):
    """An arm for timing.alternate out of functions that each do the same on other memory.

    The results of a call are kept until its turn comes again, so that outputs rotate, too.
    """
    kept = [None] * len(calls)

    def once(i):
        kept[i] = None
        kept[i] = calls[i]()

    if device == "cpu":
        return _cpu_turn(once, len(calls), library)
    return _cuda_turn(once, len(calls), library)


def _cpu_turn(once, count, library):
    at = 0

    def function():
        nonlocal at
        at = (at + 1) % count
        once(at)

    with library.ready():
        for i in range(count):
            once(i)
        start = time.perf_counter()
        function()
        seconds = time.perf_counter() - start
    take = in_turns(function, calls=max(1, round(200e-6 / max(seconds, 1e-7))))

    def run(seconds):
        with library.ready():
            return take(seconds)

    return run


def _cuda_turn(once, count, library):
    clock = TorchClock(library) if hasattr(library, "torch") else CuPyClock()

    def eager():
        for i in range(count):
            once(i)

    with library.ready():
        eager()
        clock.wait()
        seconds = clock.measure(eager) / count
        replay = eager
        if seconds < GRAPH_BELOW:
            with contextlib.suppress(Exception):  # what cannot be captured is launched one by one
                replay = clock.capture(eager)
            clock.wait()
            seconds = clock.measure(replay) / count

    def run(limit):
        with library.ready():
            end = time.perf_counter() + limit
            times = []
            while not times or time.perf_counter() < end:
                batch = max(1, min(50, round(5e-3 / max(seconds * count, 1e-7))))
                times += [t / count for t in clock.several(replay, batch)]
            return times

    run.graph = replay is not eager
    return run


class _Clock:
    """Events of a library on its current stream."""

    def measure(self, function):
        return self.several(function, 1)[0]

    def several(self, function, count):
        """Seconds of each of `count` runs, queued without a wait between them."""
        pairs = []
        for _ in range(count):
            start, stop = self.event(), self.event()
            start.record()
            function()
            stop.record()
            pairs.append((start, stop))
        self.wait()
        return [1e-3 * self.elapsed(*pair) for pair in pairs]


class CuPyClock(_Clock):
    def __init__(self):
        self.cp = backend.cupy()
        self.event = self.cp.cuda.Event

    def wait(self):
        self.cp.cuda.get_current_stream().synchronize()

    def elapsed(self, start, stop):
        return self.cp.cuda.get_elapsed_time(start, stop)

    def capture(self, function):
        """A graph of the function's launches. Its memory is its own: a pool that nobody else uses
        and that lives as long as the graph.
        """
        pool = self.cp.cuda.MemoryPool()
        stream = self.cp.cuda.get_current_stream()
        with self.cp.cuda.using_allocator(pool.malloc):
            function()
            stream.synchronize()
            stream.begin_capture()
            try:
                function()
            finally:
                graph = stream.end_capture()

        def replay(held=pool):
            graph.launch()

        return replay


class TorchClock(_Clock):
    def __init__(self, library):
        self.torch = library.torch

    def event(self):
        return self.torch.cuda.Event(enable_timing=True)

    def wait(self):
        self.torch.cuda.synchronize()

    def elapsed(self, start, stop):
        return start.elapsed_time(stop)

    def capture(self, function):
        graph = self.torch.cuda.CUDAGraph()
        function()
        with self.torch.cuda.graph(graph, stream=self.torch.cuda.current_stream()):
            function()
        return graph.replay


def use_stream(device):
    """Work on a stream of our own: CUDA's default stream cannot be captured."""
    if device == "cuda":
        _stream().use()


@functools.cache
def _stream():
    return backend.cupy().cuda.Stream(non_blocking=True)


def alive(device):
    """Whether the device still answers: an illegal access by one kernel fails all that follow."""
    if device != "cuda":
        return True
    try:
        backend.cupy().cuda.Device().synchronize()
        backend.cupy().zeros(1).get()
    except Exception:  # of whatever kind, it says that nothing more can be done
        return False
    return True


def free(device):
    """Give memory that is not used back to the device."""
    if device != "cuda":
        return
    backend.cupy().get_default_memory_pool().free_all_blocks()
    with contextlib.suppress(ImportError):
        torch = importlib.import_module("torch")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
