"""The PEP 517 backend: scikit-build-core, after deciding which native modules this machine gets.

    nvcc 12.8 or newer          pynn._cuda, with that nvcc
    NVIDIA GPU but no nvcc      pynn._cuda, with nvcc from the package index, for the build alone
    neither                     no pynn._cuda; pynn trains on NumPy

PYNN_CUDA=on asks for pynn._cuda on a machine without a GPU, off never builds it. pynn._sim, the
same kernels on the CPU, needs a C++ compiler and CUDA's headers: PYNN_SIM=auto builds it where both
are, on brings the headers (6 MB) from the package index, off never builds it. With no native module
at all the wheel is pure Python and needs no CMake. A compile that fails is an error: there is no
fall back from it.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from scikit_build_core import build as _scikit
from scikit_build_core.build import (  # noqa: F401  hooks that pip looks up here
    build_sdist,
    get_requires_for_build_sdist,
)

TOOLKIT = "cuda-toolkit[nvcc,crt,nvvm,cudart,cccl]==13.0.*; platform_system == 'Linux'"
HEADERS = "cuda-toolkit[crt,cudart,cccl]==13.0.*; platform_system == 'Linux'"
HEADER_FILES = (  # those that the simulator includes
    *("cuda.h", "cuda_bf16.h", "cuda_fp16.h", "cuda_fp8.h", "cuda_runtime_api.h"),
    *("crt/host_defines.h", "nv/target"),
)
MIN_NVCC = (12, 8)
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Plan:
    """What will be built, what that needs from the package index, and why: `reason` is printed."""

    cuda: bool
    sim: bool
    requires: tuple[str, ...]
    reason: str


def plan():
    cuda, sim = choice("PYNN_CUDA"), choice("PYNN_SIM")
    nvcc = find_nvcc() if cuda != "off" else None
    compiler = find_compiler()

    build_cuda = cuda == "on" or (cuda == "auto" and (nvcc is not None or has_gpu()))
    headers = build_cuda or has_headers()
    build_sim = sim == "on" or (sim == "auto" and compiler is not None and headers)
    build_sim = build_sim and has_simulator()
    if (build_cuda or build_sim) and compiler is None:
        raise SystemExit(
            "[build] expected a C++20 compiler for the native modules, got none. Install g++ 11 or "
            "newer, or set PYNN_CUDA=off PYNN_SIM=off for a pynn that trains on NumPy alone."
        )

    requires = ()
    if build_cuda and nvcc is None:
        requires = (TOOLKIT,)
    elif build_sim and not headers:
        requires = (HEADERS,)

    if cuda == "off":
        reason = "PYNN_CUDA=off"
    elif nvcc:
        reason = f"nvcc at {nvcc}"
    elif build_cuda:
        reason = ("PYNN_CUDA=on" if cuda == "on" else "an NVIDIA GPU") + ", nvcc from the index"
    else:
        reason = "no nvcc and no NVIDIA GPU"
    return Plan(build_cuda, build_sim, requires, reason)


def choice(name):
    value = os.environ.get(name, "auto").lower()
    if value not in ("auto", "on", "off"):
        raise SystemExit(f"[build] {name}: expected auto, on or off, got {value}")
    return value


def find_nvcc():
    """Path of a system nvcc that is new enough, or None."""
    if os.environ.get("CUDACXX"):
        return os.environ["CUDACXX"]  # the user's own word: not judged here
    for name in ("nvcc", "/usr/local/cuda/bin/nvcc"):
        nvcc = shutil.which(name)
        if nvcc and nvcc_version(nvcc) >= MIN_NVCC:
            return nvcc
    return None


def nvcc_version(nvcc):
    """(13, 0) from `nvcc --version`; (0, 0) if it says nothing of the kind."""
    done = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"release (\d+)\.(\d+)", done.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def find_compiler():
    names = [os.environ.get("CXX", "").split(" ")[0], "c++", "g++", "clang++"]
    return next((path for name in names if name and (path := shutil.which(name))), None)


def has_gpu():
    """The NVIDIA driver has a device here, or nvidia-smi is installed. No library is loaded."""
    return any(Path(p).exists() for p in ("/proc/driver/nvidia/gpus", "/dev/nvidiactl")) or (
        shutil.which("nvidia-smi") is not None
    )


def has_headers():
    """All of CUDA's headers stand where csrc/sim/CMakeLists.txt looks for them."""
    roots = [os.environ.get(name) for name in ("CUDAToolkit_ROOT", "CUDA_HOME", "CUDA_PATH")]
    roots = [Path(root, "include") for root in (*roots, "/usr/local/cuda", "/opt/cuda") if root]
    return any(
        all((root / name).exists() or (root / "cccl" / name).exists() for name in HEADER_FILES)
        for root in roots
    )


def has_simulator():
    return (ROOT / "csrc" / "sim" / "CMakeLists.txt").exists()


def settings_for(decided, config_settings):
    """The user's settings, and what was decided; the user's own win."""
    settings = {
        "cmake.define.PYNN_CUDA": "on" if decided.cuda else "off",
        "cmake.define.PYNN_SIM": "on" if decided.sim else "off",
    }
    if not (decided.cuda or decided.sim):
        settings |= {"wheel.cmake": "false", "wheel.platlib": "false"}
    return settings | (config_settings or {})


def _decide(config_settings):
    decided = plan()
    modules = [name for name, wanted in (("_cuda", decided.cuda), ("_sim", decided.sim)) if wanted]
    print(f"pynn: building {', '.join(modules) or 'no native module'} ({decided.reason})")
    sys.stdout.flush()
    return decided, settings_for(decided, config_settings)


def get_requires_for_build_wheel(config_settings=None):
    decided, settings = _decide(config_settings)
    return [*_scikit.get_requires_for_build_wheel(settings), *decided.requires]


def get_requires_for_build_editable(config_settings=None):
    decided, settings = _decide(config_settings)
    return [*_scikit.get_requires_for_build_editable(settings), *decided.requires]


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    _, settings = _decide(config_settings)
    return _scikit.prepare_metadata_for_build_wheel(metadata_directory, settings)


def prepare_metadata_for_build_editable(metadata_directory, config_settings=None):
    _, settings = _decide(config_settings)
    return _scikit.prepare_metadata_for_build_editable(metadata_directory, settings)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    _, settings = _decide(config_settings)
    return _scikit.build_wheel(wheel_directory, settings, metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    _, settings = _decide(config_settings)
    return _scikit.build_editable(wheel_directory, settings, metadata_directory)
