"""python -m bench.small_shapes [FAMILY ...]: the smallest cases once on the GPU, not timed.

--launch      the kernels alone, of gemm every variant, in memory that CUDA gave for each array by
              itself: what a sanitizer wants, which sees the bounds of allocations and no pool's
--reference   the fallback: each op by CuPy, against float64

Exit code 3: a kernel has left the device unusable; the families behind it are named.
"""

import argparse
import sys

import pynn
from bench import device, libraries, run
from bench.case import normal
from pynn import backend, dtypes, kernels, testing

LOST = 3  # exit code


def main(argv=None, kind="cuda") -> int:
    """Print a line for each result that is wrong; returns 1 if there is one, 3 with the device."""
    parser = argparse.ArgumentParser(prog="python -m bench.small_shapes")
    parser.add_argument("family", nargs="*")
    parser.add_argument("--launch", action="store_true")
    parser.add_argument("--reference", action="store_true")
    args = parser.parse_args(argv)
    names = args.family or run.families()
    device.use_stream(kind)
    if args.launch and kind == "cuda":
        backend.cupy().cuda.set_allocator(None)
    wrong = count = 0
    for at, name in enumerate(names):
        for words, ask in _asked(name, kind, args):
            try:
                fault = ask()
            except Exception as error:  # the others are still to be seen
                fault = f"{type(error).__name__}: {error}"
            count += 1
            if fault:
                wrong += 1
                print(f"{words}: {fault}", flush=True)
                if not device.alive(kind):
                    print(f"the device is lost; not asked: {' '.join(names[at + 1 :]) or 'none'}")
                    return LOST
    print(f"{count} results, {wrong} wrong")
    return 1 if wrong else 0


def _asked(name, kind, args):
    """(words, function that says what is wrong or "") of each case of a family."""
    for case in run.family_cases(name, "tiny"):
        variants = ["reference" if args.reference else "sim" if kind == "cpu" else "native"]
        if args.launch and kind == "cuda" and name == "linear":
            variants += [f"gemm:{variant}" for variant in kernels.variants("gemm")]
        for direction in case.passes:
            for dtype in ("float32", "bfloat16"):
                for variant in variants:
                    library = libraries.Pynn(kind, variant)
                    ask = _launch if args.launch else _verify
                    words = f"{case.op} {direction} {case.shape} {dtype} {variant}"
                    yield words, lambda a=(library, case, direction, dtype), ask=ask: ask(*a)


def _verify(library, case, direction, dtype):
    return run.verified(library, case, direction, dtype)[0].get("refused", "")


def _launch(library, case, direction, dtype):
    """Nothing is compared, for that would run as much code of others again."""
    arrays = [testing.cast(a, dtypes.as_dtype(dtype)) for a in case.inputs()]
    arrays = [backend.to_device(a, library.device) for a in arrays]
    pynn.manual_seed(0)
    dy = None
    with library.ready():
        if direction in run.WANTED:
            (y,) = case.prepare(library, "forward", [arrays], [None])[0]()
            dy = normal(*y.shape, start=7).astype(dtypes.as_dtype(dtype))
            dy = backend.to_device(dy, library.device)
        (call,) = case.prepare(library, direction, [arrays], [dy])
        results = [backend.to_device(t.data, "cpu") for t in call() if t is not None]
    return "" if results else "expected results, got none"


if __name__ == "__main__":
    sys.exit(main())
