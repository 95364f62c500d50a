"""python -m bench.small_shapes: the smallest cases of every family once on the GPU, verified but
not timed; for a sanitizer, and with --reference for the fallback to CuPy.
"""

import sys

from bench import device, libraries, run


def main(kernels, kind="cuda") -> int:
    """Print a line for each result that is wrong; returns 1 if there is one."""
    device.use_stream(kind)
    wrong = count = 0
    for name in run.families():
        for case in run.family_cases(name, "tiny"):
            for direction in case.passes:
                for dtype in ("float32", "bfloat16"):
                    words = f"{case.op} {direction} {case.shape} {dtype}"
                    try:
                        library = libraries.Pynn(kind, kernels)
                        facts, _ = run.verified(library, case, direction, dtype)
                    except Exception as error:  # the others are still to be seen
                        facts = {"refused": f"{type(error).__name__}: {error}"}
                    count += "skipped" not in facts
                    if "refused" in facts:
                        wrong += 1
                        print(f"{words}: {facts['refused']}")
    print(f"{count} results, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main("reference" if "--reference" in sys.argv else "native"))
