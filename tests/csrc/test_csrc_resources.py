"""tools/resources.py: what it reads, and that RESOURCES.md is what a build here would give."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from pynn import backend

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"


@pytest.fixture(scope="module")
def resources():
    spec = importlib.util.spec_from_file_location("resources", TOOLS / "resources.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["resources"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def build(resources):
    """(cuobjdump, the built module, its nvcc)."""
    module = backend.kernel_module("cuda")
    if module is None:
        pytest.skip("pynn was built without pynn._cuda")
    program = resources.cuobjdump()
    if program is None:
        pytest.skip("no cuobjdump: it stands in the CUDA toolkit")
    return program, module.__file__, module.build_info()["nvcc"]


DUMP = """\
Fatbin elf code:
================
arch = sm_80
code version = [1,8]

Resource usage:
 Common:
  GLOBAL:0
 Function _ZN4pynn4norm12apply_kernelIfLi4EEEvPKT_:
  REG:40 STACK:0 SHARED:128 LOCAL:0 CONSTANT[0]:608 TEXTURE:0 SURFACE:0 SAMPLER:0
 Function _ZN4pynn4norm12apply_kernelIfLi1EEEvPKT_:
  REG:24 STACK:8 SHARED:0 LOCAL:0 CONSTANT[0]:608 TEXTURE:0 SURFACE:0 SAMPLER:0

Fatbin elf code:
================
arch = sm_90
Resource usage:
 Function _ZN4pynn4norm12apply_kernelIfLi4EEEvPKT_:
  REG:44 STACK:0 SHARED:1152 LOCAL:0 CONSTANT[0]:608 TEXTURE:0 SURFACE:0 SAMPLER:0
"""
SASS = """\
		Function : _ZN4pynn4norm12apply_kernelIfLi4EEEvPKT_
        /*0b50*/                   LDG.E.128.CONSTANT R4, [R16.64] ;
		Function : _ZN4pynn4norm12apply_kernelIfLi1EEEvPKT_
        /*0b50*/                   LDG.E R4, [R16.64] ;
"""


def test_the_table_of_a_dump(resources):
    of_module = resources.usage(DUMP)
    assert set(of_module) == {("norm::apply_kernel", "sm_80"), ("norm::apply_kernel", "sm_90")}
    wide = resources.wide(SASS.splitlines())
    assert wide == {"_ZN4pynn4norm12apply_kernelIfLi4EEEvPKT_"}
    (row,) = resources.rows(of_module, wide)
    assert row == ("norm::apply_kernel", "1", "24..40", "44", "0..128", "0..8", "1")
    text = resources.page(of_module, wide, "13.0")
    assert "- norm::apply_kernel, sm_80: 8 bytes in 1 instances\n" in text


def test_kernel_names(resources):
    assert resources.kernel_name("_Z4axpyPf") == "axpy"
    assert resources.kernel_name("_ZN4pynn10map_kernelILi8EEEvT0_") == "map_kernel"
    assert resources.kernel_name("_ZN4pynn4gemm16gemm_sm90_kernelIfEEvT_") == (
        "gemm::gemm_sm90_kernel"
    )


def test_no_kernel_uses_local_memory(resources, build):
    program, module, _ = build
    of_module = resources.usage_of(program, module)
    assert len(of_module) > 50
    assert list(resources.local_memory(of_module)) == []


@pytest.mark.slow
def test_wgmma_of_a_stage(resources, build, monkeypatch):
    """Four for each warpgroup, and again beside those of A's lines; whole results leave by TMA."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])  # bench is no part of the package
    from bench.model import compiled

    program, module, _ = build
    lines = list(compiled(module, program))
    assert len(lines) == 30
    for line in lines:
        check_wgmma(line)


def check_wgmma(line):
    what, shapes, stores = re.fullmatch(
        r"(.*): wgmma \{(.*)\}, registers \[40, 232\], local 0, TMA stores (\d+)", line
    ).groups()
    dtype, a_mn, _, tile = what.split(", ")
    n = {"Narrow": 64, "Square": 128, "Medium": 192, "Wide": 256}[tile.split("::")[-1][:-4]]
    counts = {int(width): int(count) for width, count in re.findall(r"64x(\d+)x\S+: (\d+)", shapes)}
    assert counts == ({n: 8, 8: 4} if a_mn == "1" else {n: 4}), line
    assert int(stores) == {"f": 0}.get(dtype[0], 2 if "fp8" in dtype else 1), line


def test_registers_and_memory_are_as_the_page_says(resources, build):
    """Without SASS, which takes a minute: all columns but the last."""
    program, module, nvcc = build
    page = resources.PAGE.read_text()
    written = re.search(r"nvcc ([\d.]+);", page)[1]
    if nvcc != written:
        pytest.skip(f"built by nvcc {nvcc}, the page by {written}")
    lines = [line.split(" | ")[:-1] for line in page.splitlines() if line.startswith("| ")][1:]
    rows = [
        f"| {' | '.join(row)} |".split(" | ")[:-1]
        for row in resources.rows(resources.usage_of(program, module))
    ]
    assert lines == rows, "run: python tools/resources.py " + module


# kernels whose global accesses are all narrower than 16 bytes, and why
NARROW = {
    "compare::compare_integers_kernel": "of positions and labels, few beside the floats",
    "cross_entropy::label_weights_kernel": "a label or two a thread",
    "cross_entropy::total_kernel": "a loss a row",
    "ctc::ctc_bwd_kernel": "classes picked one by one; bound by the latency of its steps",
    "ctc::ctc_fwd_kernel": "classes picked one by one; bound by the latency of its steps",
    "embedding::pieces_kernel": "sums that many runs left in pieces",
    "gemm::add_lines_kernel": "partial sums of columns",
    "loss::parts_kernel": "a sum a CTA",
    "nll::nll_kernel": "one element of each row, wherever it lies",
    "norm::fold_kernel": "partial sums of columns",
    "norm::join_splits_kernel": "partial moments of columns",
    "norm::parts_kernel": "partial sums of columns",
    "norm::statistics_kernel": "partial moments of columns",
    "optim::norm_kernel": "a sum a CTA",
    "reduce::splits_kernel": "a part of a sum a thread",
}


def test_kernels_move_16_bytes_at_a_time(resources):
    """Those whose time is memory's, by their SASS; each has instances for other rows besides."""
    page = resources.PAGE.read_text()
    found = re.findall(r"^\| ([\w:]+) \| (\d+) \|.* (\d+) \|$", page, re.M)
    wide = {name: (int(instances), int(some)) for name, instances, some in found}
    assert len(wide) > 60
    assert {name for name, (_, some) in wide.items() if not some} <= NARROW.keys()
    for name in ("map_kernel", "broadcast_kernel"):  # one of two instances is for vectors
        instances, some = wide[name]
        assert instances == 2 * some


@pytest.mark.slow
def test_the_page_is_up_to_date(resources, build):
    program, module, nvcc = build
    page = resources.PAGE.read_text()
    if f"nvcc {nvcc};" not in page:
        pytest.skip(f"built by nvcc {nvcc}, the page by another")
    of_module = resources.usage_of(program, module)
    assert page == resources.page(of_module, resources.wide_of(program, module), nvcc)
