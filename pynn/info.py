"""What is installed and what can run: the facts behind `pynn info`."""

import importlib.metadata
import os
import platform
import sys
import textwrap
from pathlib import Path

import pynn
from pynn import backend
from pynn.autograd import Function

# name: (where it acts, what it does); "build" is read by pip, the others at run time
ENVIRONMENT = {
    "PYNN_STRICT": ("run", "1: an op that falls back from its kernel to the reference is an error"),
    "PYNN_MALLOC": ("run", "system: leave the C library's allocator as it is"),
    "PYNN_NVTX": ("run", "1: a named range for each op and layer, for NVIDIA's profilers"),
    "PYNN_DEBUG": ("run", "1: the command line shows tracebacks"),
    "PYNN_SIM_MODULE": ("run", "file of another build of the simulator"),
    "PYNN_SIM_ORDER": ("run", "ascending, descending or random: order of the simulated threads"),
    "PYNN_SIM_ASYNC": (
        "run",
        "now, late or random: when simulated asynchronous copies take effect",
    ),
    "PYNN_SIM_SEED": ("run", "of the random choices of the simulator"),
    "PYNN_SIM_THREADS": ("run", "threads of this machine that share a simulated grid"),
    "PYNN_SIM_STACK": ("run", "KiB of stack for each simulated thread"),
    "PYNN_CUDA": ("build", "auto, on or off: whether to compile pynn._cuda"),
    "PYNN_SIM": ("build", "auto, on or off: whether to compile pynn._sim"),
}
PACKAGES = {  # name on the index: the extra that brings it, "" for a core dependency
    "numpy": "",
    "ml_dtypes": "",
    "scikit-learn": "examples",
    "matplotlib": "examples",
    "tqdm": "examples",
    "tensorboardX": "tensorboard",
}
_MENDS = {
    "cuda": "in pynn's source folder: PYNN_CUDA=on pip install --force-reinstall --no-deps .",
    "sim": "in pynn's source folder: PYNN_SIM=on pip install --force-reinstall --no-deps .",
}
_INSTALL_GPU = 'pip install "pynn-cuda[cuda13]"'


def gather() -> dict:
    """Versions, devices, kernels, environment, as JSON could hold them."""
    return {
        "pynn": pynn.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "location": str(Path(pynn.__file__).parent),
        "packages": {name: _version(name) for name in PACKAGES},
        "cuda": _cuda(),
        "modules": {which: _module(which) for which in ("cuda", "sim")},
        "ops": _ops(),
        "environment": {
            name: os.environ.get(name)
            for name in sorted({*ENVIRONMENT, *(n for n in os.environ if n.startswith("PYNN_"))})
        },
    }


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cuda():
    """CuPy, driver and GPUs; "missing" and "mend" where device "cuda" cannot be used."""
    found = {
        "cupy": None,
        "runtime": None,
        "driver": _driver(),
        "devices": [],
        "missing": None,
        "mend": None,
    }
    try:
        cupy = backend.cupy()
    except RuntimeError:
        return found | {"missing": "CuPy is not installed", "mend": _INSTALL_GPU}
    found["cupy"] = cupy.__version__
    try:
        api = cupy.cuda.runtime
        found["runtime"] = _dotted(api.runtimeGetVersion())
        for i in range(api.getDeviceCount()):
            facts = api.getDeviceProperties(i)
            found["devices"].append(
                {
                    "device": f"cuda:{i}",
                    "name": facts["name"].decode(),
                    "compute_capability": f"{facts['major']}.{facts['minor']}",
                    "memory_gib": round(facts["totalGlobalMem"] / 2**30, 1),
                    "multiprocessors": facts["multiProcessorCount"],
                }
            )
    except Exception as error:  # CuPy has an own exception for each library that it may not find
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        mend = (
            "install the NVIDIA driver (nvidia-smi then shows the GPU)"
            if not found["driver"]
            else _INSTALL_GPU
        )
        return found | {"missing": reason, "mend": mend}
    if not found["devices"]:
        return found | {"missing": "no GPU is visible", "mend": "unset CUDA_VISIBLE_DEVICES"}
    return found


def _driver():
    """The version of NVIDIA's kernel driver, None without one."""
    try:
        words = Path("/proc/driver/nvidia/version").read_text().split()
    except OSError:
        return None
    return next((w for w in words if w[:1].isdigit() and "." in w), "unknown")


def _dotted(version):
    return f"{version // 1000}.{version % 1000 // 10}"


def _module(which):
    """A compiled module: its kernels, or why it is missing and the command that mends it."""
    found = {"name": f"pynn._{which}", "file": None, "kernels": [], "missing": None, "mend": None}
    try:
        module = backend.kernel_module(which)
    except ImportError as error:
        return found | {"missing": f"cannot be loaded: {error}", "mend": _MENDS[which]}
    if module is None:
        why = "was not built: " + (
            "there was no nvcc and no GPU at install"
            if which == "cuda"
            else "there was no C++ compiler or no CUDA headers at install"
        )
        return found | {"missing": why, "mend": _MENDS[which]}
    return found | {"file": module.__file__, "kernels": module.kernels()}


def _ops():
    """{"native": ops with a hand-written kernel pair, "reference": ops that run as array text, with
    the reason where there is one}.
    """
    found = {"native": [], "reference": []}
    for name, kind in sorted({kind.__name__: kind for kind in _below(Function)}.items()):
        if name.startswith("_") or not hasattr(kind, "forward"):
            continue
        if kind.forward_native is not None:
            found["native"].append(name)
        else:
            found["reference"].append(name + f" ({kind.no_kernel})" * bool(kind.no_kernel))
    return found


def _below(kind):
    for sub in kind.__subclasses__():
        yield sub
        yield from _below(sub)


def text(facts: dict) -> str:
    """The facts for people."""
    rows = [f"pynn {facts['pynn']}  in {facts['location']}"]
    rows += [f"python {facts['python']}  {facts['platform']}", ""]
    for name, version in facts["packages"].items():
        rows.append(f"{name:<14}{version or _absent(PACKAGES[name])}")
    cuda = facts["cuda"]
    rows.append(f"{'cupy':<14}{cuda['cupy'] or _absent('cuda13')}")
    rows += ["", "devices", f"  cpu      {os.cpu_count()} cores, {sys.byteorder}-endian"]
    for d in cuda["devices"]:
        rows.append(
            f"  {d['device']:<8} {d['name']}, compute capability {d['compute_capability']}, "
            f"{d['memory_gib']} GiB, {d['multiprocessors']} multiprocessors"
        )
    if cuda["driver"] or cuda["runtime"]:
        rows.append(
            f"  NVIDIA driver {cuda['driver'] or 'none'}, CUDA runtime {cuda['runtime'] or 'none'}"
        )
    if cuda["missing"]:
        rows += [f"  cuda     not usable: {cuda['missing']}", f"           {cuda['mend']}"]
    rows += ["", "kernels"]
    for module in facts["modules"].values():
        if module["missing"]:
            rows += [
                f"  {module['name']:<11} {module['missing']}",
                f"              {module['mend']}",
            ]
        else:
            rows.append(f"  {module['name']:<11} {len(module['kernels'])} kernels")
    built = [set(m["kernels"]) for m in facts["modules"].values() if not m["missing"]]
    if built:
        rows.append(f"    {_wrapped(sorted(set.union(*built)))}")
    if len(built) == 2 and built[0] != built[1]:
        rows.append(f"  in one of the two only: {_wrapped(sorted(built[0] ^ built[1]))}")
    ops = facts["ops"]
    for kind, words in (("native", "have kernels"), ("reference", "run as array text")):
        rows += [f"  {len(ops[kind])} ops {words}", f"    {_wrapped(ops[kind])}"]
    rows += ["", "environment"]
    for name, value in facts["environment"].items():
        where, what = ENVIRONMENT.get(name, ("", "not known to pynn"))
        note = " (build)" if where == "build" else ""
        rows.append(f"  {name:<16} {'unset' if value is None else repr(value):<8} {what}{note}")
    return "\n".join(rows)


def _absent(extra):
    return f'missing: pip install "pynn-cuda[{extra}]"' if extra else "missing"


def _wrapped(names, width=92):
    """Names, in lines of their own if they are many."""
    lines = textwrap.wrap(", ".join(names) or "none", width)
    return lines[0] if len(names) < 4 else "".join("\n    " + line for line in lines).strip()
