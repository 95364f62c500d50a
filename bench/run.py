"""Rows: each case verified against float64, then timed beside its peers, in turns."""

import contextlib
import datetime
import importlib.metadata
import itertools
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import pynn
from bench import device as devices
from bench import libraries, peaks, verify
from bench.case import WANTED, drawn_on, normal
from bench.timing import Neighbours, Timing, alternate
from pynn import backend, dtypes, testing

IDENTITY = ("family", "op", "pass", "shape", "dtype", "variant")
ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Plan:
    """What to run, and for how long."""

    device: str = "cpu"
    types: tuple = ("float32",)
    variants: tuple = ("reference",)
    peers: tuple = ("torch",)
    seconds: float = 0.2  # for each arm of a row
    passes: tuple = ("forward", "backward", "dgrad", "wgrad", "step")
    limit: float = 0.0  # seconds for a whole row, after which the device is taken for lost; 0: none


class LostDeviceError(Exception):
    """The device answers no more; a process that is started afresh finds it well again."""


def families() -> list[str]:
    """Names of the families: the files of this folder that define `cases(scale)`."""
    folder = Path(__file__).parent
    return sorted(p.stem for p in folder.glob("*.py") if "\ndef cases(scale)" in p.read_text())


def family_cases(name, scale):
    """The cases of a family. Raises ValueError for a name that is none."""
    if name not in families():
        raise ValueError(f"[bench] family: expected one of {', '.join(families())}, got {name!r}")
    module = __import__(f"bench.{name}", fromlist=["cases"])
    return list(module.cases(scale))


def rows(names, scale, plan, ops=None, done=(), last=None):
    """Yield a row for each case, pass, dtype and variant, as each is done; `ops` alone if given,
    and without those whose `identity` is in `done`.

    Raises LostDeviceError after a row that has ruined the device. One that takes longer than
    plan.limit is given to `last`, which must end the process: nothing else can.
    """
    devices.use_stream(plan.device)
    peers, absent = libraries.find(plan.peers, plan.device)
    limits = peaks.known(plan.device)
    for name in names:
        for case in family_cases(name, scale):
            for direction in case.passes if not ops or case.op in ops else ():
                if direction not in plan.passes:
                    continue
                for dtype, variant in itertools.product(plan.types, plan.variants):
                    what = (name, case.op, direction, case.shape, dtype, variant)
                    if what in done:
                        continue
                    start = dict(zip(IDENTITY, what, strict=True))
                    with _limited(plan, start, last):
                        row = _row(case, direction, dtype, variant, plan, peers, absent, limits)
                    yield start | row
                    if "refused" in row and not devices.alive(plan.device):
                        raise LostDeviceError(row["refused"])
                    devices.free(plan.device)


@contextlib.contextmanager
def _limited(plan, start, last):
    def give_up():
        words = f"expected an answer within {plan.limit:g} s, got none"
        last(start | provenance(plan.device) | {"refused": words})

    timer = threading.Timer(plan.limit, give_up) if plan.limit else None
    if timer:
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        if timer:
            timer.cancel()


def identity(row):
    """What a row measured, on whatever device."""
    return tuple(row[name] for name in IDENTITY)


def _row(case, direction, dtype, variant, plan, peers, absent, limits):
    row = provenance(plan.device) | {"labels": case.labels}
    ours = libraries.Pynn(plan.device, variant)
    try:
        facts, work = verified(ours, case, direction, dtype)
    except Exception as error:
        return row | {"refused": f"{type(error).__name__}: {error}"}
    row |= facts
    if "refused" in row or "skipped" in row:
        return row
    count, row["cold"] = devices.rotation(
        case.bytes(direction, dtypes.as_dtype(dtype).itemsize), plan.device
    )
    sets, dys = work.copies(count)
    with ours.ready():  # the forward of a backward, too
        calls = case.prepare(ours, direction, sets, dys)
    arms = {"pynn": devices.turn(calls, ours, plan.device)}
    row["absent"], errors = dict(absent), {}
    for name, peer in peers.items():
        try:
            with peer.ready():
                calls = case.prepare(peer, direction, sets, dys)
                if not case.random:
                    first = [None if t is None else peer.as_float64(t) for t in calls[0]()]
                    errors[name], wrong = verify.fault(first, work.truth, dtype)
                    if wrong:
                        raise libraries.AbsentError(f"refused, its result is wrong: {wrong}")
            arms[name] = devices.turn(calls, peer, plan.device)
        except libraries.AbsentError as reason:
            row["absent"][name] = str(reason)
        except Exception as error:  # a peer that fails is named; it must not end the run
            text = str(error).partition("\n")[0]
            row["absent"][name] = f"failed: {type(error).__name__}: {text}"[:300]
    before = devices.clocks(plan.device)
    with Neighbours() as others:
        times = alternate(arms, plan.seconds, warm_up=plan.seconds / 3, turn=plan.seconds / 8)
    row["others"] = others.busy
    row["clocks"] = [before, devices.clocks(plan.device)]
    row["graph"] = {name: getattr(arm, "graph", False) for name, arm in arms.items()}
    return row | figures(case, direction, dtype, times, errors, limits)


def figures(case, direction, dtype, times, errors, limits):
    """Times and rates, the share of the device's limit, and the ratio to each peer."""
    ours = times["pynn"]
    size, flops = (
        case.bytes(direction, dtypes.as_dtype(dtype).itemsize),
        case.flops.get(direction, 0),
    )
    floor, bound = limit(limits, size, flops if case.matrix else 0, dtype)
    matrix = {t: rate for t, rate in limits.get("matrix", {}).items() if t == dtype}
    return {
        "limits": {"memory": limits["memory"], "matrix": matrix} if limits else {},
        "us": _microseconds(ours),
        "bytes": size,
        "flops": flops,
        "gb_s": size / ours.median / 1e9,
        "tflop_s": flops / ours.median / 1e12,
        "bound": bound,
        "of_peak": floor / ours.median if floor else None,
        "peers": {
            name: {
                "us": _microseconds(t),
                "speedup": t.median / ours.median,
                "speedup_fastest": t.fastest / ours.fastest,
                "error": errors.get(name),
            }
            for name, t in times.items()
            if name != "pynn"
        },
    }


def limit(limits, size, flops, dtype):
    """(seconds that the device needs at least, what bounds it), by its measured peaks; (None, "")
    where they are not known.
    """
    memory, matrix = limits.get("memory"), limits.get("matrix", {}).get(dtype)
    if not memory or (flops and not matrix):
        return None, ""
    by_memory, by_matrix = size / memory, flops / matrix if flops else 0.0
    return max(by_memory, by_matrix), "memory" if by_memory >= by_matrix else "matrix"


def _microseconds(timing: Timing):
    return {
        "fastest": timing.fastest * 1e6,
        "p10": timing.p10 * 1e6,
        "p50": timing.median * 1e6,
        "p90": timing.p90 * 1e6,
        "count": timing.count,
    }


# ------------------------------------------------------------------ the result first


@dataclass
class Work:
    """A case's first set of inputs on the device, and what must come out in float64."""

    arrays: list
    dy: object
    truth: list

    def copies(self, count):
        """The inputs `count` times, each in memory of its own."""
        sets = [self.arrays] + [[a.copy() for a in self.arrays] for _ in range(count - 1)]
        dys = [self.dy if i == 0 or self.dy is None else self.dy.copy() for i in range(count)]
        return sets, dys


def verified(ours, case, direction, dtype):
    """(facts of the row, Work): run the pass once and compare; facts["refused"] says what is wrong.

    Kernels are held to the reference in the same dtype, too; a pass that should run kernels and has
    none is skipped, facts["skipped"] says why.
    """
    wanted = dtypes.as_dtype(dtype)
    with drawn_on(ours.device):
        inputs = case.inputs()
    on_device = [testing.cast(backend.to_device(a, ours.device), wanted) for a in inputs]
    dy = None
    if direction in WANTED:
        with backend.use_kernels("reference"):
            y = _first(ours, case, "forward", on_device, None)[0]
        with drawn_on(ours.device):
            dy = normal(*y.shape, start=7).astype(wanted)
    with ours.ready(), backend.trace() as paths, launched() as kernels:
        got = _first(ours, case, direction, on_device, dy)
    native = ours.kernels == "native"
    missed = {f"{op}: {path}" for (op, path) in paths.counts if native and path != "native"}
    if native and not kernels:
        return {"skipped": "no kernel ran: " + "; ".join(sorted(missed))}, None
    exact = [testing.cast(a, np.dtype("float64")) for a in on_device]
    exact_dy = None if dy is None else dy.astype(np.float64)
    with backend.use_kernels("reference"):
        truth = _first(ours, case, direction, exact, exact_dy)
        reference = _first(ours, case, direction, on_device, dy) if native else None
    error, wrong = verify.fault(got, truth, dtype, reference)
    facts = {"error": error, "kernels": sorted(kernels), "fallbacks": sorted(missed)}
    if wrong:
        facts["refused"] = wrong
    return facts, Work(on_device, dy, truth)


def _first(library, case, direction, arrays, dy):
    """The results of one run in float64, from the seed; the inputs are copied, for a step changes
    them.
    """
    pynn.manual_seed(0)
    (call,) = case.prepare(library, direction, [[a.copy() for a in arrays]], [dy])
    return [None if t is None else library.as_float64(t) for t in call()]


@contextlib.contextmanager
def launched():
    """The names of the launchers that are called meanwhile, in a set."""
    names, look_up = set(), backend.kernel_module

    class Noting:
        def __init__(self, module):
            self.module = module

        def __getattr__(self, name):
            names.add(name)
            return getattr(self.module, name)

    def noting(which):
        module = look_up(which)
        return None if module is None else Noting(module)

    backend.kernel_module = noting
    try:
        yield names
    finally:
        backend.kernel_module = look_up


# ------------------------------------------------------------------ where a row comes from


def provenance(device):
    """Device, driver, versions, commit, date and command: what another run needs to be compared."""
    about = devices.facts(device)
    return {
        "device": about["device"],
        "kind": device,
        "driver": about["driver"],
        "threads": int(os.environ.get("OPENBLAS_NUM_THREADS", os.cpu_count() or 1)),
        "versions": versions(),
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": _command(sys.argv[1:]),
    }


def _command(words):
    """The command, but for the file that rows go to."""
    kept = [
        word
        for former, word in zip(["", *words], words, strict=False)
        if "--json" not in (former, word) and not word.startswith("--json=")
    ]
    return " ".join(["python -m bench", *kept])


def versions():
    found = {"pynn": pynn.__version__, "python": sys.version.split()[0]}
    for name in ("numpy", "torch", "triton", "cupy-cuda13x"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    module = backend.kernel_module("cuda")
    return found | ({"nvcc": module.build_info()["nvcc"]} if module else {})


def commit():
    """The commit's short name, with a + if files of the engine differ from it; outside git what
    PYNN_COMMIT says, or "".
    """

    def git(*words):
        try:
            done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    name = git("rev-parse", "--short", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", "pynn", "csrc")
    return os.environ.get("PYNN_COMMIT", "") if name is None else name + ("+" if changed else "")


def append(path, row):
    """Add a row to a file of JSON lines."""
    with open(path, "a") as file:
        file.write(json.dumps(row) + "\n")


def load(paths):
    """The rows of files of JSON lines. Raises ValueError naming the line that is none."""
    found = []
    for path in paths:
        with open(path) as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    found.append(json.loads(line))
                except ValueError:
                    raise ValueError(
                        f"[bench] {path}:{number}: expected a line of JSON, got {line[:60]!r}"
                    ) from None
    return found
