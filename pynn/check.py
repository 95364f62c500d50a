"""`pynn check`: every kernel against its reference, in the CPU simulator or on a GPU.

    pynn check                    each family once: error, determinism
    pynn check softmax --schedules --asan --race
    pynn check my_ops.py          your own: a file with CASES = {"name": [(op, [inputs, ...]), ...]}

For each op, dtype and case the kernel's error against float64 must be at most twice the
reference's, plus one ulp, and the same inputs must give the same bits again. On top of that:
  --schedules  the bits must be the same whatever order threads run in and however late
               asynchronous copies and matrix instructions finish (nine schedules, in the sanitized
               builds three of them: each order and each timing once; a GPU, which follows none, is
               asked nine times)
  --asan       again under AddressSanitizer and UndefinedBehaviorSanitizer: accesses out of bounds
               or misaligned, overflowing indices
  --race       again under the race detector: accesses to shared or global memory that no barrier
               orders

The sanitized builds are compiled once, into a cache, which takes a C++ compiler and CMake.

What the simulator cannot see: the text of the inline PTX (only that it compiles), the rounding of
tensor cores and of approximate instructions, memory orders weaker than the host's, register spills,
bank conflicts, and speed. For those a GPU is needed: `--device cuda` asks the same of it.
"""

import dataclasses
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np

from pynn import backend, dtypes, testing
from pynn.cases import FAMILIES

TYPES = ("float32", "float16", "bfloat16")
ORDERS = ("ascending", "descending", "random")
ASYNC = ("now", "late", "random")


@dataclasses.dataclass
class Result:
    """One op in one dtype: the worst error as a fraction of its bound, and what went wrong."""

    family: str
    op: str
    dtype: str
    cases: int
    error: float = 0.0
    schedules: int = 1
    fault: str = ""

    def joined(self, other):
        """Both results of one op as one row of the table."""
        if other is None:
            return self
        return dataclasses.replace(
            self,
            cases=self.cases + other.cases,
            error=max(self.error, other.error),
            schedules=max(self.schedules, other.schedules),
            fault=other.fault or self.fault,
        )


# ------------------------------------------------------------------ in one process


def check_op(family, op, cases, dtype, schedules) -> Result:
    """Run all cases of an op's kernels in one dtype."""
    result = Result(family, op().name, dtype, 0)
    try:
        for case in cases:
            arrays = [testing.cast(np.asarray(a), dtypes.as_dtype(dtype)) for a in case]
            if not op().takes_native(arrays):
                continue
            result.cases += 1
            error, bits = _run(op, arrays)
            result.error = max(result.error, error)
            for n, schedule in enumerate(schedules[1:], 2):
                backend.kernel_module("sim").set_schedule(*schedule)
                result.schedules = max(result.schedules, n)
                if _run(op, arrays)[1] != bits:
                    raise AssertionError(f"other bits under the schedule {schedule}")
    except Exception as error:
        shapes = " ".join(str(np.shape(a)) for a in case)
        result.fault = f"{shapes}: {type(error).__name__}: {error}"
    finally:
        backend.kernel_module("sim").set_schedule(*schedules[0])
    return result


def _run(op, arrays):
    """The worst error of forward and backward as a fraction of the bound, and their bits."""
    exact = [testing.cast(a, dtypes.float64) for a in arrays]
    truth, truth_node = testing.forward(op, exact)
    wanted, node = testing.forward(op, arrays)
    got, native_node = testing.forward(op, arrays, native=True)
    error = testing.at_most_twice(
        "forward", got, wanted, truth, lambda: testing.errors_nearby(op, arrays)
    )
    if native_node.backward_native is not None:
        rng = np.random.default_rng(1)
        dys = [testing.cast(rng.standard_normal(y.shape), y.dtype) for y in wanted]
        truth = testing.backward(truth_node, [testing.cast(dy, dtypes.float64) for dy in dys])
        wanted = testing.backward(node, dys)
        dxs = testing.backward(native_node, dys, native=True)
        error = max(
            error,
            testing.at_most_twice(
                "backward", dxs, wanted, truth, lambda: testing.errors_nearby(op, arrays, dys)
            ),
        )
        got = got + dxs
    return error, [a.tobytes() for a in got if a is not None]


def schedules(every) -> list[tuple[str, str, int]]:
    """(order, async mode, seed): the first alone, or all nine."""
    pairs = [(order, mode) for order in ORDERS for mode in ASYNC]
    return [(order, mode, seed) for seed, (order, mode) in enumerate(pairs, 1)][
        : None if every else 1
    ]


def families(names):
    """{family: [(op, cases), ...]} for the names given, files with CASES among them."""
    chosen = {}
    for name in names:
        if name.endswith(".py"):
            spec = importlib.util.spec_from_file_location("pynn_user_cases", name)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            chosen.update(module.CASES)
        elif name in FAMILIES:
            chosen[name] = FAMILIES[name]()
        else:
            raise ValueError(
                f"[check] expected one of {', '.join(FAMILIES)} or a .py, got {name!r}"
            )
    return chosen


def worker(names, every_schedule, device):
    """Check the families in this process; one JSON line for each result, as it comes."""
    if device == "cuda":
        from pynn.on_device import replace_simulator

        replace_simulator()
    plan = schedules(every_schedule)
    if device == "cpu" and backend.kernel_module("sim").variant():
        plan = plan[::4]
    for family, ops in families(names).items():
        for op, cases in ops:
            for dtype in TYPES:
                result = check_op(family, op, cases, dtype, plan)
                if result.cases:
                    print(json.dumps(dataclasses.asdict(result)), flush=True)


# ------------------------------------------------------------------ sanitized builds


def source_root() -> Path:
    """The folder of the kernels' sources: beside the package in a checkout, else inside it."""
    here = Path(__file__).resolve().parent
    for root in (here / "csrc", here.parent / "csrc"):
        if (root / "sim" / "CMakeLists.txt").exists():
            return root
    raise RuntimeError(f"[check] expected the kernels' sources in {here / 'csrc'}, got none")


def build_variant(variant) -> Path:
    """The simulator built with "address" or "race", from the cache if its sources have not changed.

    Raises RuntimeError that names what to install, or shows the end of a failed build's output.
    """
    scripts = sysconfig.get_path("scripts")  # of this Python, whose environment may not be active
    env = dict(os.environ, PATH=os.pathsep.join([os.environ.get("PATH", ""), scripts]))
    missing = [tool for tool in ("cmake", "c++") if shutil.which(tool, path=env["PATH"]) is None]
    missing += [] if importlib.util.find_spec("pybind11") else ["pybind11"]
    if missing:
        raise RuntimeError(
            f"[check] expected {', '.join(missing)} to build the {variant} variant, got none: "
            'install a C++ compiler (Debian: apt install g++) and pip install "pynn-cuda[check]"'
        )
    root = source_root()
    key = hashlib.sha256(f"{sys.version} {root}".encode())
    for path in sorted(root.rglob("*")):
        if path.is_file():
            key.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pynn"
    folder = cache / f"sim-{variant}-{key.hexdigest()[:16]}"
    module = folder / f"_sim{sysconfig.get_config_var('EXT_SUFFIX')}"
    if module.exists():
        return module
    print(f"building the {variant} variant of the simulator ...", file=sys.stderr, flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        configure = ["cmake", "-S", root / "sim", "-B", work, f"-DPYNN_SIM_VARIANT={variant}"]
        configure += [f"-DPython_EXECUTABLE={sys.executable}", "-DCMAKE_BUILD_TYPE=Release"]
        configure += ["-G", "Ninja"] if shutil.which("ninja", path=env["PATH"]) else []
        jobs = str(os.cpu_count() or 1)
        for command in (configure, ["cmake", "--build", work, "-j", jobs]):
            done = subprocess.run(command, env=env, capture_output=True, text=True)
            if done.returncode:
                tail = "\n".join((done.stdout + done.stderr).splitlines()[-25:])
                raise RuntimeError(f"[check] expected the {variant} variant to build, got:\n{tail}")
        os.replace(Path(work) / module.name, module)  # whole, whoever else builds it
    return module


def variant_environment(variant) -> dict:
    """Environment in which Python loads that variant of the simulator."""
    env = dict(os.environ, PYNN_SIM_MODULE=str(build_variant(variant)))
    if variant == "address":  # the sanitizer's runtime must come first in the process
        names = ("libasan.so", "libubsan.so", "libstdc++.so.6")
        found = [
            subprocess.run(
                ["c++", f"-print-file-name={name}"], capture_output=True, text=True, check=True
            ).stdout.strip()
            for name in names
        ]
        env["LD_PRELOAD"] = ":".join(found)
        env["ASAN_OPTIONS"] = "detect_leaks=0"  # fibers of a launch that failed are not unwound
    return env


# ------------------------------------------------------------------ the command


def run(names=(), every_schedule=False, asan=False, race=False, device="cpu", as_json=False) -> int:
    """Check families, print the table, and return 1 if anything is wrong, else 0.

    Raises RuntimeError where what is asked for is not there, with the command that mends it.
    """
    chosen = list(names or FAMILIES)
    families(chosen)  # a wrong name is an error before anything is built
    module = "sim" if device == "cpu" else "cuda"
    if backend.kernel_module(module) is None:
        raise RuntimeError(
            f"[check] expected pynn._{module}, "
            "got none: install a C++ compiler (Debian: apt install "
            "g++), then PYNN_SIM=on pip install --force-reinstall --no-deps pynn-cuda"
            if module == "sim"
            else f"[check] expected pynn._{module}, got none: see `pynn info`"
        )
    if device != "cpu" and (asan or race):
        raise ValueError("[check] expected --asan and --race without --device cuda")
    modes = {"plain": None}
    modes |= {"asan": "address"} if asan else {}
    modes |= {"race": "race"} if race else {}
    rows, faults = {}, []
    for mode, process in _workers(modes, chosen, every_schedule, device):
        out, err = process.stdout, process.stderr
        for line in out.splitlines():
            result = Result(**json.loads(line))
            row = rows.setdefault((result.family, result.op, result.dtype), {})
            row[mode] = result.joined(row.get(mode))
            if result.fault:
                faults.append(f"{mode} {result.op} {result.dtype} {result.fault}")
        if process.returncode:
            last = out.splitlines()[-1] if out else "nothing"
            faults.append(f"{mode}: stopped after {last}\n{err.strip()[-3000:]}")
    if as_json:
        table = [
            {"mode": m, **dataclasses.asdict(r)} for row in rows.values() for m, r in row.items()
        ]
        print(json.dumps({"results": table, "faults": faults}, indent=1))
    else:
        _print_table(rows, list(modes))
        for fault in faults:
            print(f"FAULT {fault}")
        total = sum(r.cases for row in rows.values() for r in row.values())
        print(f"{len(rows)} kernels and dtypes, {total} cases, {len(faults)} faults")
    return 1 if faults or not rows else 0


def _workers(modes, names, every_schedule, device):
    """[(mode, finished process), ...] of each family in each mode, as many at once as cores.

    The sanitized builds go on beside the first of them. Each end is told on stderr.
    """
    asked = [(mode, name) for mode in modes for name in names]

    def worked(mode, name):
        start = time.perf_counter()
        env = builds[mode].result()
        code = [sys.executable, "-P"]  # not the folder we stand in: the pynn that asks
        code += ["-m", "pynn.check", json.dumps([[name], every_schedule, device])]
        done = subprocess.run(code, env=env, capture_output=True, text=True)
        return name, mode, done, time.perf_counter() - start

    with ThreadPoolExecutor(len(modes)) as builders, ThreadPoolExecutor(os.cpu_count()) as pool:
        builds = {
            mode: builders.submit(lambda v=variant: variant_environment(v) if v else None)
            for mode, variant in modes.items()
        }
        running = [pool.submit(worked, mode, name) for mode, name in asked]
        for n, future in enumerate(as_completed(running), 1):
            name, mode, _, seconds = future.result()
            say = f"[{n}/{len(asked)}] {name} {mode}, {seconds:.0f} s"
            print(say, file=sys.stderr, flush=True)
        return [future.result()[1:3] for future in running]


def _print_table(rows, modes):
    head = f"{'family':<14}{'op':<30}{'dtype':<10}{'cases':>6}{'error':>8}{'schedules':>11}"
    print(head + "".join(f"{mode:>8}" for mode in modes))
    for (family, op, dtype), row in rows.items():
        one = next(iter(row.values()))
        error = max(r.error for r in row.values())
        state = "".join(
            f"{'-' if m not in row else 'FAULT' if row[m].fault else 'ok':>8}" for m in modes
        )
        runs = max(r.schedules for r in row.values())
        print(f"{family:<14}{op:<30}{dtype:<10}{one.cases:>6}{error:>8.2f}{runs:>11}{state}")


if __name__ == "__main__":
    worker(*json.loads(sys.argv[1]))
