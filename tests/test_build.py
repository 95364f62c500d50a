"""tools/: which native modules a machine gets, and when a compiled kernel fails the build."""

import importlib.util
import os
import re
import stat
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parent.parent / "tools"


def load(name):
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


check_ptxas = load("check_ptxas")


@pytest.fixture
def build(monkeypatch):
    """The backend on a machine with a compiler and nothing of NVIDIA's; tests add to it."""
    pytest.importorskip("scikit_build_core", reason="the build backend is not installed")
    backend = load("pynn_build")
    for name in ("PYNN_CUDA", "PYNN_SIM", "CUDACXX"):
        monkeypatch.delenv(name, raising=False)
    facts = {"find_nvcc": None, "find_compiler": "/usr/bin/c++", "has_gpu": False}
    facts |= {"has_headers": False, "has_simulator": True}

    def set_facts(**changes):
        for name, value in (facts | changes).items():
            monkeypatch.setattr(backend, name, lambda value=value: value)
        return backend

    backend.set_facts = set_facts
    set_facts()
    return backend


def test_nvcc_is_used_where_it_is(build):
    plan = build.set_facts(find_nvcc="/opt/bin/nvcc", has_gpu=True).plan()
    assert (plan.cuda, plan.sim, plan.requires) == (True, True, ())
    assert plan.reason == "nvcc at /opt/bin/nvcc"


def test_gpu_without_nvcc_brings_the_toolkit(build):
    plan = build.set_facts(has_gpu=True).plan()
    assert (plan.cuda, plan.requires) == (True, (build.TOOLKIT,))


def test_neither_needs_nothing(build):
    plan = build.plan()
    assert (plan.cuda, plan.sim, plan.requires) == (False, False, ())
    settings = build.settings_for(plan, None)
    assert settings["wheel.cmake"] == "false"
    assert settings["wheel.platlib"] == "false"


def test_on_brings_the_toolkit_without_a_gpu(build, monkeypatch):
    monkeypatch.setenv("PYNN_CUDA", "on")
    plan = build.plan()
    assert (plan.cuda, plan.sim, plan.requires) == (True, True, (build.TOOLKIT,))


def test_off_wins_over_gpu_and_nvcc(build, monkeypatch):
    monkeypatch.setenv("PYNN_CUDA", "OFF")
    monkeypatch.setenv("PYNN_SIM", "off")
    plan = build.set_facts(find_nvcc="/opt/bin/nvcc", has_gpu=True).plan()
    assert (plan.cuda, plan.sim, plan.requires) == (False, False, ())


def test_simulator_asked_for_brings_headers_alone(build, monkeypatch):
    monkeypatch.setenv("PYNN_SIM", "on")
    plan = build.plan()
    assert (plan.cuda, plan.sim, plan.requires) == (False, True, (build.HEADERS,))
    assert build.settings_for(plan, None)["cmake.define.PYNN_CUDA"] == "off"


def test_the_simulator_comes_by_itself_where_all_headers_are(monkeypatch, tmp_path):
    pytest.importorskip("scikit_build_core", reason="the build backend is not installed")
    backend = load("pynn_build")
    exists = Path.exists
    monkeypatch.setattr(backend.Path, "exists", lambda p: tmp_path in p.parents and exists(p))
    for name in ("PYNN_CUDA", "PYNN_SIM"):
        monkeypatch.setenv(name, "off" if name == "PYNN_CUDA" else "auto")
    monkeypatch.setattr(backend, "find_compiler", lambda: "/usr/bin/c++")
    monkeypatch.setattr(backend, "has_simulator", lambda: True)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    for name in backend.HEADER_FILES:
        assert backend.plan().sim is False, f"one header is missing: {name}"
        path = tmp_path / "include" / ("cccl" if name == "nv/target" else "") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    plan = backend.plan()
    assert (plan.cuda, plan.sim, plan.requires) == (False, True, ())
    monkeypatch.setenv("PYNN_SIM", "off")
    assert backend.plan().sim is False


def test_the_headers_asked_for_are_those_that_cmake_asks_for():
    cmake = (TOOLS.parent / "csrc" / "sim" / "CMakeLists.txt").read_text()
    named = re.search(r"foreach\(header ([^)]*)\)", cmake)[1].split()
    pytest.importorskip("scikit_build_core", reason="the build backend is not installed")
    assert sorted(named) == sorted(load("pynn_build").HEADER_FILES)


def test_native_modules_need_a_compiler(build):
    with pytest.raises(SystemExit, match=r"expected a C\+\+20 compiler .*, got none"):
        build.set_facts(has_gpu=True, find_compiler=None).plan()
    assert build.set_facts(find_compiler=None, has_headers=True).plan().sim is False


def test_an_unknown_choice_is_an_error(build, monkeypatch):
    monkeypatch.setenv("PYNN_CUDA", "yes")
    with pytest.raises(SystemExit, match="PYNN_CUDA: expected auto, on or off, got yes"):
        build.plan()


def test_settings_of_the_user_win(build):
    settings = build.settings_for(build.plan(), {"cmake.define.PYNN_CUDA": "on", "other": "1"})
    assert settings["cmake.define.PYNN_CUDA"] == "on"
    assert settings["other"] == "1"


@pytest.mark.parametrize(("release", "used"), [("13.0", True), ("12.8", True), ("11.8", False)])
def test_an_nvcc_too_old_counts_as_none(monkeypatch, tmp_path, release, used):
    pytest.importorskip("scikit_build_core", reason="the build backend is not installed")
    backend = load("pynn_build")
    nvcc = tmp_path / "nvcc"
    nvcc.write_text(f'#!/bin/sh\necho "Cuda compilation tools, release {release}, V{release}.1"\n')
    nvcc.chmod(nvcc.stat().st_mode | stat.S_IXUSR)
    monkeypatch.delenv("CUDACXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep + "/nonexistent")
    which = backend.shutil.which
    monkeypatch.setattr(
        backend.shutil, "which", lambda name: None if "/cuda/" in name else which(name)
    )
    assert backend.find_nvcc() == (str(nvcc) if used else None)


CLEAN = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z4axpyPf' for 'sm_80'
ptxas info    : Function properties for _Z4axpyPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 12 registers, used 1 barriers, 4096 bytes smem, 380 bytes cmem[0]
ptxas info    : Compile time = 1.302 ms
"""
SPILLS = CLEAN.replace("0 bytes spill stores, 0", "16 bytes spill stores, 24")
SERIALIZED = (
    "ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are "
    "serialized due to insufficient register resources for the wgmma pipeline\n"
)


def test_ptxas_row():
    rows, warnings = check_ptxas.parse(CLEAN)
    assert warnings == []
    assert rows == [
        {
            "kernel": "_Z4axpyPf",
            "arch": "sm_80",
            "shared": 4096,
            "stack": 0,
            "stores": 0,
            "loads": 0,
            "registers": 12,
        }
    ]


def test_clean_output_has_no_complaint():
    assert check_ptxas.complaints(*check_ptxas.parse(CLEAN), allowed=set()) == []


def test_a_spill_fails_unless_the_file_says_why():
    rows, warnings = check_ptxas.parse(CLEAN + SPILLS)
    (line,) = check_ptxas.complaints(rows, warnings, allowed=set())
    assert line == (
        "[ptxas] _Z4axpyPf (sm_80): expected no spill, got 16 bytes stored, 24 bytes loaded"
    )
    reasoned = check_ptxas.allowances("// ptxas: spills allowed, the cold path only\n")
    assert check_ptxas.complaints(rows, warnings, reasoned) == []
    assert check_ptxas.allowances("// ptxas: spills allowed\n") == set()


@pytest.mark.parametrize("asked", ["", "report"])
def test_a_complaint_fails_the_build_unless_it_is_only_to_be_reported(
    tmp_path, monkeypatch, capsys, asked
):
    monkeypatch.setenv("PYNN_PTXAS", asked)
    said, source, target = (tmp_path / name for name in ("said", "a.cu", "a.o"))
    said.write_text(CLEAN + SPILLS)
    source.write_text("")
    target.write_text("an object")
    command = ["sh", "-c", f"cat {said}", str(source), "-o", str(target)]
    assert check_ptxas.compile_and_check(command) == (0 if asked else 1)
    assert "expected no spill, got 16 bytes" in capsys.readouterr().out
    assert target.exists() == bool(asked)


def test_a_serialized_wgmma_fails_unless_the_file_says_why():
    rows, warnings = check_ptxas.parse(SERIALIZED + CLEAN)
    (line,) = check_ptxas.complaints(rows, warnings, allowed={"spills"})
    assert line.startswith("[ptxas] expected no C7510, got: ")
    assert check_ptxas.complaints(rows, warnings, {"C7510"}) == []


def test_verbose_lines_are_not_shown_but_warnings_are():
    shown = "".join(check_ptxas.noteworthy("kernel.cu(3): warning #177-D\n" + CLEAN + SERIALIZED))
    assert shown == "kernel.cu(3): warning #177-D\n" + SERIALIZED


@pytest.mark.parametrize(("text", "status"), [(CLEAN, 0), (SPILLS, 1)])
def test_the_object_of_a_failed_check_is_removed(tmp_path, text, status):
    source, target = tmp_path / "kernel.cu", tmp_path / "kernel.cu.o"
    source.write_text("// a kernel\n")
    compiler = tmp_path / "compiler.py"
    compiler.write_text(f"import sys\nopen(sys.argv[-1], 'w').close()\nprint({text!r}, end='')\n")
    command = [sys.executable, str(compiler), "-c", str(source), "-o", str(target)]
    assert check_ptxas.compile_and_check(command) == status
    assert target.exists() is (status == 0)
    assert Path(f"{target}.ptxas.json").exists() is (status == 0)


def test_the_generated_header_is_what_its_generator_writes(tmp_path):
    arch = TOOLS.parent / "csrc" / "arch"
    copy = tmp_path / "generate_wgmma.py"
    copy.write_text((arch / "generate_wgmma.py").read_text())
    spec = importlib.util.spec_from_file_location("generate_wgmma", copy)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main()
    assert (tmp_path / "wgmma_n.cuh").read_text() == (arch / "wgmma_n.cuh").read_text()
