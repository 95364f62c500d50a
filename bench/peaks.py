"""What the device can do at most, measured: `python -m bench peaks`, kept for each device.

    copy     y = x, large                     2 n bytes
    triad    z = x + 3 y, large               3 n bytes     (STREAM's; on the CPU z = x + y)
    matrix   a large square matrix product in each dtype, 2 n^3 FLOPs

A share of the peak is a floor of time over the time taken; the floor of memory is bytes over the
faster of copy and triad.  McCalpin 1995, STREAM.
"""

import argparse
import concurrent.futures
import contextlib
import datetime
import importlib
import json
import os
import time
from pathlib import Path

import numpy as np

from bench import device as devices
from bench.case import normal
from pynn import backend
from pynn.profiler import peaks_file


def known(device) -> dict:
    """The measured peaks of the device that is there, {} if they have not been measured."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads(peaks_file(devices.facts(device)["device"]).read_text())
    return {}


def measure(device, seconds=0.5) -> dict:
    """Measure the peaks and keep them; returns them. A busy minute does not lower what an earlier
    one has shown.
    """
    devices.use_stream(device)
    former = known(device)
    found = _of_gpu(seconds) if device == "cuda" else _of_cpu(seconds)
    for name in ("copy", "triad"):
        found[name] = max(found[name], former.get(name, 0))
    for dtype, rate in former.get("matrix", {}).items():
        found["matrix"][dtype] = max(found["matrix"].get(dtype, 0), rate)
    found["memory"] = max(found["copy"], found["triad"])
    found |= {
        "device": devices.facts(device)["device"],
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "clocks": devices.clocks(device),
    }
    keep(found)
    return found


def keep(found):
    """Let other commands find the peaks of that device."""
    path = peaks_file(found["device"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")


def text(found):
    """The peaks as lines."""
    rows = [f"{found['device']}, measured {found['date']}"]
    rows += [f"  {name:<18}{found[name] / 1e9:>10,.0f} GB/s" for name in ("copy", "triad")]
    rows += [
        f"  {'matrix ' + dtype:<18}{rate / 1e12:>10,.2f} TFLOP/s"
        for dtype, rate in found["matrix"].items()
    ]
    return "\n".join(rows)


# ------------------------------------------------------------------ CPU


def _of_cpu(seconds):
    """Memory is asked by as many threads as there are CPUs: one alone does not fill it."""
    threads = min(8, os.cpu_count() or 1)
    n = max(1 << 22, 3 * devices.facts("cpu")["cache"] // 4 // threads)
    arrays = [[normal(n, start=i + k) for k in range(3)] for i in range(threads)]
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:

        def rate(function, streams):
            def everywhere():
                list(pool.map(lambda a: function(*a), arrays))

            return streams * 4 * n * threads / _fastest(everywhere, seconds)

        copy = rate(lambda x, y, z: np.copyto(z, x), 2)
        triad = rate(lambda x, y, z: np.add(x, y, out=z), 3)
    matrix = {}
    for dtype, m in (("float32", 2048), ("float64", 1024)):
        a, b = (normal(m, m, start=i).astype(dtype) for i in range(2))
        matrix[dtype] = 2 * m**3 / _fastest(lambda a=a, b=b: a @ b, seconds)
    return {"copy": copy, "triad": triad, "matrix": matrix, "threads": threads}


def _fastest(function, seconds):
    function()
    end, best = time.perf_counter() + seconds, float("inf")
    while time.perf_counter() < end:
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return best


# ------------------------------------------------------------------ GPU


def _of_gpu(seconds):
    clock = devices.CuPyClock()
    found = _memory_of_gpu(clock, seconds)
    devices.free("cuda")
    return found | {"matrix": _matrix_by_torch(seconds) or _matrix_by_cupy(clock, seconds)}


def _memory_of_gpu(clock, seconds):
    cp = backend.cupy()
    n = 1 << 28
    x = cp.asarray(normal(n))
    y, z = x[::-1].copy(), cp.empty_like(x)
    triad = cp.ElementwiseKernel("float32 x, float32 y", "float32 z", "z = x + 3 * y", "triad")

    def rate(function, streams):
        return streams * 4 * n / _fastest_event(clock, function, seconds)

    stream = cp.cuda.get_current_stream().ptr
    to_device = cp.cuda.runtime.memcpyDeviceToDevice
    run = cp.cuda.runtime
    copy = rate(lambda: run.memcpyAsync(z.data.ptr, x.data.ptr, x.nbytes, to_device, stream), 2)
    return {"copy": copy, "triad": rate(lambda: triad(x, y, z), 3)}


def _matrix_by_torch(seconds, m=8192):
    """Sustained, not the best moment: products run into the power limit, and so do kernels."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return {}
    if not torch.cuda.is_available():
        return {}
    found = {}
    for dtype in ("bfloat16", "float16", "float32"):
        a, b = (torch.randn(m, m, device="cuda").to(getattr(torch, dtype)) for _ in range(2))
        end, times = time.perf_counter() + 2 * seconds, []
        while not times or time.perf_counter() < end:
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(8):
                torch.mm(a, b)
            stop.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(stop) / 8e3)
        found[dtype] = 2 * m**3 / float(np.median(times))
    return found


def _matrix_by_cupy(clock, seconds, m=8192):
    cp = backend.cupy()
    found = {}
    for dtype in ("float16", "float32"):
        a, b = (cp.asarray(normal(m, m, start=i)).astype(dtype) for i in range(2))
        found[dtype] = 2 * m**3 / _fastest_event(clock, lambda a=a, b=b: a @ b, seconds)
    return found


def _fastest_event(clock, function, seconds):
    function()
    end, best = time.perf_counter() + seconds, float("inf")
    while time.perf_counter() < end:
        best = min(best, *clock.several(function, 10))
    return best


def main(argv) -> int:
    """`python -m bench peaks`."""
    parser = argparse.ArgumentParser(prog="python -m bench peaks", description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda if there is one")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each of them")
    parser.add_argument("--json", metavar="FILE", help="write them to a file, too")
    words = "take over what was measured earlier and written with --json"
    parser.add_argument("--known", metavar="FILE", help=words)
    args = parser.parse_args(argv)
    if args.known:
        keep(json.loads(Path(args.known).read_text()))
        return 0
    found = measure(args.device or ("cuda" if backend.cuda_available() else "cpu"), args.seconds)
    print(text(found))
    if args.json:
        Path(args.json).write_text(json.dumps(found, indent=1) + "\n")
    return 0
