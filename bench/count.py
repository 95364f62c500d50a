"""python -m bench.count [FAMILY ...]: the bytes of the formulae beside those that kernels move,
counted by the simulator's race variant, which observes every access to the arrays of a call.

    PYNN_SIM_MODULE=.../_sim.so python -m bench.count        a build of that variant

A line of JSON for each of the tiny cases, in which
    moved    counts a byte once in each launch that loads it and once in each that stores it
    asked    counts it for each thread, from the cache or not; an atomic as a store
    kernels  are the launchers; none, and no counts, where a part of the pass is not by kernels
"""

import json
import sys

import pynn
from bench import libraries, run
from pynn import backend, dtypes, testing


def counts(names, types=("float32", "bfloat16")):
    """Yield {family, op, pass, shape, dtype, formula, moved, asked, kernels} for each case.

    Raises RuntimeError if the simulator in use is not the race variant.
    """
    sim = backend.kernel_module("sim")
    if sim is None or sim.variant() != "race":
        raise RuntimeError(
            "[bench] count: expected the simulator's race variant in PYNN_SIM_MODULE, "
            f"got {'no simulator' if sim is None else repr(sim.variant())}"
        )
    library = libraries.Pynn("cpu", "sim")
    for name in names:
        for case in run.family_cases(name, "tiny"):
            for direction in case.passes:
                for dtype in types:
                    size = dtypes.as_dtype(dtype).itemsize
                    row = {"family": name, "op": case.op, "pass": direction}
                    row |= {"shape": case.shape, "dtype": dtype}
                    moved, asked, kernels = _count(sim, library, case, direction, dtype)
                    yield row | {
                        **{"formula": case.moved(direction, size), "kernels": kernels},
                        **{"moved": moved, "asked": asked},
                    }


def _count(sim, library, case, direction, dtype):
    """(bytes moved, bytes asked for, names of the launchers)."""
    kernels = launchers(library, case, direction, dtype, sim.reset_counters)
    if not kernels:
        return 0, 0, []
    found = sim.counters()
    asked = found["global_load_bytes"] + found["global_store_bytes"]
    return found["distinct_bytes"], asked, kernels


def launchers(library, case, direction, dtype, prepared=lambda: None):
    """Run a pass once, after prepared(), and name its launchers; none, where a part of it is not by
    kernels.
    """
    wanted = dtypes.as_dtype(dtype)
    pynn.manual_seed(0)
    arrays = [testing.cast(a, wanted) for a in case.inputs()]
    dy = None
    if direction in run.WANTED:
        (y,) = case.prepare(libraries.Pynn("cpu"), "forward", [arrays], [None])[0]()
        dy = run.normal(*y.shape, start=7).astype(wanted)
    with library.ready(), backend.trace() as paths, run.launched() as kernels:
        (call,) = case.prepare(library, direction, [arrays], [dy])
        kernels.clear()
        prepared()
        call()
    native = all(path == "native" for _, path in paths.counts)
    return sorted(kernels) if native else []


if __name__ == "__main__":
    for row in counts(sys.argv[1:] or run.families()):
        print(json.dumps(row), flush=True)
