"""Builds kernel files for the simulator, in each of its variants, and calls them through ctypes.

    library("sgemm")                     the launchers of kernels/sgemm.cu
    library("sgemm").schedule("random", "late", seed=3)
    library("sgemm").call("sgemm", A, B, C, M, N, K)      RuntimeError with the simulator's message

The variant is that of PYNN_SIM_TEST_VARIANT: plain, address, race, ucontext (how threads switch on
a processor that fiber.cpp has no switch for), or gpu, which compiles with nvcc and runs on the
device. Objects are kept under the user's cache directory, by a hash of all that went into them.
"""

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
KERNELS = Path(__file__).parent / "kernels"
VARIANT = os.environ.get("PYNN_SIM_TEST_VARIANT", "plain")
CXX = os.environ.get("CXX", "g++")

COMMON = ["-std=c++20", "-g1", "-fPIC", "-ffp-contract=off", "-DPYNN_SIM", "-Wall", "-Wextra"]
COMMON += ["-Wno-restrict", "-Wno-unknown-pragmas", "-Wno-psabi"]
# As csrc/sim/CMakeLists.txt has them, with its reasons.
UNWANTED = "null,object-size,vptr,nonnull-attribute,returns-nonnull-attribute,builtin"
RUNTIME = {
    "plain": [],
    "address": [
        "-fsanitize=address,undefined",
        f"-fno-sanitize={UNWANTED},pointer-overflow",
        "-fno-sanitize-recover=undefined",
        "-fno-omit-frame-pointer",
        "--param=asan-instrumentation-with-call-threshold=0",
    ],
    "race": ["-DPYNN_SIM_RACE"],
    "ucontext": ["-DPYNN_SIM_UCONTEXT"],
}
KERNEL = RUNTIME | {
    "race": [
        *["-DPYNN_SIM_RACE", "-fsanitize=thread", "--param=tsan-instrument-func-entry-exit=0"],
        *[f"-finline-{which}" for which in ("functions", "small-functions")],
        "-finline-functions-called-once",
        *[f"--param=max-inline-insns-{kind}=1000" for kind in ("single", "auto")],
    ],
}


@functools.cache
def cuda_include():
    """The directories of CUDA's headers, or None."""
    roots = [os.environ.get("CUDA_HOME", ""), "/usr/local/cuda", "/opt/cuda"]
    if nvcc := shutil.which("nvcc"):
        roots.insert(0, str(Path(nvcc).resolve().parents[1]))
    try:
        import nvidia

        roots += [str(Path(p) / "cu13") for p in nvidia.__path__]
    except ImportError:
        pass
    for root in filter(None, roots):
        include = Path(root) / "include"
        if (include / "cuda_fp8.h").exists() and (include / "crt/host_defines.h").exists():
            return [include, include / "cccl"]
    return None


def missing():
    """Why nothing can be built here, or ""."""
    if shutil.which(CXX) is None:
        return f"no C++ compiler {CXX}"
    if cuda_include() is None:
        return "no CUDA headers: install a toolkit or cuda-toolkit[crt,cudart,cccl]"
    return ""


@functools.cache
def cache():
    base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pynn" / "sim-tests"
    base.mkdir(parents=True, exist_ok=True)
    return base


@functools.cache
def headers_hash():
    h = hashlib.sha256(subprocess.run([CXX, "--version"], capture_output=True).stdout)
    for folder in ("csrc/sim", "csrc/arch", "csrc/common", "csrc/kernels/gemm"):
        for path in sorted((ROOT / folder).iterdir()):
            if path.suffix in (".h", ".cuh"):
                h.update(path.name.encode() + path.read_bytes())
    return h.hexdigest()


def compiled(source, flags):
    """The object file of a source; compiles it unless the cache has it."""
    h = hashlib.sha256(headers_hash().encode() + source.read_bytes() + repr(flags).encode())
    if source.suffix == ".cu":
        families = re.findall(rb'#include "(kernels/\w+)/', source.read_bytes())
        folders = [
            ROOT / "csrc" / name.decode() for name in {*families, b"kernels/gemm"} if families
        ]
        for header in sorted(p for d in [KERNELS, *folders] for p in d.glob("*.*h")):
            h.update(header.read_bytes())
    target = cache() / f"{source.stem}-{h.hexdigest()[:16]}.o"
    if not target.exists():
        include = [f"-I{ROOT / 'csrc'}", f"-I{KERNELS}"] + [f"-isystem{p}" for p in cuda_include()]
        fresh = target.with_suffix(f".{os.getpid()}.tmp")
        command = [CXX, *flags, *include, "-x", "c++", "-c", str(source), "-o", str(fresh)]
        run(command)
        fresh.rename(target)
    return target


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-4000:]}")


def simulator():
    """A source that includes all of the simulator's: one compilation, as CMake's unity build."""
    sources = sorted((ROOT / "csrc/sim").glob("*.cpp"))
    name = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    together = cache() / f"simulator-{name}.cpp"
    if not together.exists():
        fresh = together.with_suffix(f".{os.getpid()}.tmp")
        lines = [f'#include "sim/{source.name}"\n' for source in sources]
        fresh.write_text(f"// {name}\n" + "".join(lines))
        fresh.rename(together)
    return together


def objects(kernel, variant):
    jobs = [
        (simulator(), [*COMMON, "-O1", *RUNTIME[variant]]),
        (KERNELS / f"{kernel}.cu", [*COMMON, "-Og", *KERNEL[variant]]),
    ]
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda job: compiled(*job), jobs))


def linked(kernel, variant, suffix, flags):
    parts = objects(kernel, variant)
    name = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
    target = cache() / f"{kernel}-{variant}-{name}{suffix}"
    if not target.exists():
        fresh = target.with_suffix(f".{os.getpid()}.tmp")
        run(
            [CXX, *flags, *RUNTIME[variant], *map(str, parts), "-o", str(fresh), "-ldl", "-pthread"]
        )
        fresh.rename(target)
    return target


def program(kernel, variant):
    """The path of an executable made of kernels/<kernel>.cu, which has a main."""
    return linked(kernel, variant, ".bin", [])


class Library:
    def __init__(self, path):
        self.so = ctypes.CDLL(str(path))

    def schedule(self, order, async_mode, seed=1):
        self.so.sim_schedule(order.encode(), async_mode.encode(), ctypes.c_uint32(seed))

    def call(self, name, *arguments):
        function = self.so[name]
        function.restype = ctypes.c_char_p
        values = [
            a.ctypes.data_as(ctypes.c_void_p) if isinstance(a, np.ndarray) else a for a in arguments
        ]
        if error := function(*values):
            raise RuntimeError(error.decode())


class DeviceLibrary(Library):
    """The same launchers compiled by nvcc: arrays travel to the device and back."""

    def schedule(self, order, async_mode, seed=1):
        pass

    def call(self, name, *arguments):
        import cupy

        there = [
            cupy.asarray(a.view(np.uint8)) if isinstance(a, np.ndarray) else a for a in arguments
        ]
        values = [ctypes.c_void_p(a.data.ptr) if isinstance(a, cupy.ndarray) else a for a in there]
        super().call(name, *values)
        for here, result in zip(arguments, there, strict=True):
            if isinstance(here, np.ndarray):
                here.view(np.uint8)[...] = result.get()


def device_library(kernel):
    target = cache() / f"{kernel}-gpu-{os.getpid()}.so"
    arch = "90a" if kernel.endswith("_sm90") else "80"
    code = f"-gencode=arch=compute_{arch},code=[sm_{arch},compute_{arch}]"
    flags = ["-std=c++20", "-shared", "-Xcompiler", "-fPIC", f"-I{ROOT / 'csrc'}", f"-I{KERNELS}"]
    run(["nvcc", *flags, code, str(KERNELS / f"{kernel}.cu"), "-o", str(target)])
    library = DeviceLibrary(target)
    target.unlink()
    return library


@functools.cache
def library(kernel):
    if VARIANT == "gpu":
        return device_library(kernel)
    return Library(linked(kernel, VARIANT, ".so", ["-shared"]))


def sanitizer_environment():
    """The environment in which Python can load a library of the address variant."""
    names = ["libasan.so", "libubsan.so", "libstdc++.so"]
    found = [
        subprocess.run(
            [CXX, f"-print-file-name={n}"], capture_output=True, text=True
        ).stdout.strip()
        for n in names
    ]
    return {
        "LD_PRELOAD": ":".join(found),
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
    }


def u64(value):
    return ctypes.c_uint64(value)


SCHEDULES = [
    (o, a) for o in ("ascending", "descending", "random") for a in ("now", "late", "random")
]
