"""python -m bench.probe: what CuPy costs the host as storage under an engine, in microseconds a
call, and whether a captured graph with memory of its own replays right.
"""

import time

import ml_dtypes
import numpy as np

from pynn import backend

_KERNEL = """
extern "C" __global__ void axpy(float* y, const float* x, float a, int n) {
  int const i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = a * x[i];
}
"""
_WGMMA = """
extern "C" __global__ void fence(float* y) {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
  y[threadIdx.x] = 1;
}
"""


def host_cost(function, wait, calls=4000):
    """Microseconds of the host for a call, of the fastest of five rounds."""
    for _ in range(200):
        function()
    best = float("inf")
    for _ in range(5):
        wait()
        start = time.perf_counter()
        for _ in range(calls):
            function()
        best = min(best, (time.perf_counter() - start) / calls)
    wait()
    return 1e6 * best


def calls(cp):
    """{what: a function that does it once}."""
    x = cp.ones((64, 128), np.float32)
    y, out, half = x.copy(), cp.empty_like(x), x.astype(ml_dtypes.bfloat16)
    kernel = cp.RawKernel(_KERNEL, "axpy")
    arguments = (out, x, np.float32(2), np.int32(x.size))
    return {
        "empty((64, 128))": lambda: cp.empty((64, 128), np.float32),
        "empty_like": lambda: cp.empty_like(x),
        "ndarray over alloc(n)": lambda: cp.ndarray((64, 128), np.float32, cp.cuda.alloc(32768)),
        "zeros": lambda: cp.zeros((64, 128), np.float32),
        "x + y": lambda: x + y,
        "add(x, y, out)": lambda: cp.add(x, y, out=out),
        "x.sum()": lambda: x.sum(),
        "x @ y.T": lambda: x @ y.T,
        "bfloat16 x + x": lambda: half + half,
        "bfloat16 x @ x.T": lambda: half @ half.T,
        "x.reshape": lambda: x.reshape(128, 64),
        "x.data.ptr": lambda: x.data.ptr,
        "get_current_stream().ptr": lambda: cp.cuda.get_current_stream().ptr,
        "x.__dlpack__": lambda: x.__dlpack__(stream=-1),
        "launch of a RawKernel": lambda: kernel((32,), (256,), arguments),
    }


def replays_right(cp):
    """Whether a graph with a pool of its own gives the right values while others allocate."""
    pool, stream = cp.cuda.MemoryPool(), cp.cuda.Stream(non_blocking=True)
    x = cp.ones(1 << 16, np.float32)
    y = cp.empty_like(x)

    def step():
        t = x * 2
        y[...] = (t + 1) * t

    with stream, cp.cuda.using_allocator(pool.malloc):
        step()
        stream.synchronize()
        stream.begin_capture()
        step()
        graph = stream.end_capture()
    right = True
    for value in (1.0, 2.0, 3.0):
        with stream:
            x.fill(value)
            graph.launch()
        stream.synchronize()
        others = [cp.full(1 << 16, 7.0) for _ in range(8)]
        cp.cuda.Device().synchronize()
        right &= bool((y == (value * 2 + 1) * (value * 2)).all())
        del others
    return right


def main():
    cp = backend.cupy()
    cp.cuda.Stream(non_blocking=True).use()
    wait = cp.cuda.Device().synchronize
    for what, function in calls(cp).items():
        try:
            print(f"{what:<28}{host_cost(function, wait):>9.2f} us", flush=True)
        except Exception as error:  # what this CuPy has not
            print(f"{what:<28}{type(error).__name__}: {str(error)[:80]}")
    print(f"graph with a pool of its own replays right: {replays_right(cp)}")
    try:
        y = cp.empty(128, np.float32)
        module = cp.RawModule(code=_WGMMA, options=("-arch=sm_90a",))
        module.get_function("fence")((1,), (128,), (y,))
        wait()
        print("RawModule with -arch=sm_90a: runs")
    except Exception as error:  # of NVRTC or of the driver: the figure is what it says
        print(f"RawModule with -arch=sm_90a: {type(error).__name__}: {str(error)[:200]}")


if __name__ == "__main__":
    main()
