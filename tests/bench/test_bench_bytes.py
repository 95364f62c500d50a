"""The bytes of each family's formula are those that its kernels move, to the byte: counted in the
simulator's race variant, which is compiled for it, for minutes, unless PYNN_SIM_RACE names one.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pynn
from bench import count, libraries, run
from pynn import backend, check

COMPOSED = {
    "attention",
    "recurrent",
}  # of kernels of other families: what they leave each other is not counted

UNCOUNTED = {  # launchers that no case runs, and why
    "gemm_model": "asks the cost model, and moves nothing",
    "gemm_fp8": "takes bytes, and the cases bring floats",
}


def race_module():
    """The build of the race variant to count with."""
    named = os.environ.get("PYNN_SIM_RACE")
    if named:
        return Path(named)
    missing = [tool for tool in ("cmake", "c++") if shutil.which(tool) is None]
    missing += [] if importlib.util.find_spec("pybind11") else ["pybind11"]
    if missing:
        pytest.skip(f"there is no {', '.join(missing)} to build the race variant with")
    try:
        return check.build_variant("race")
    except RuntimeError as error:
        if "no CUDA headers" in str(error):
            pytest.skip("there are no CUDA headers to build the race variant with")
        raise


@pytest.fixture(scope="module")
def counted():
    root = str(Path(pynn.__file__).parents[1])
    bench = str(Path(count.__file__).parents[1])
    env = os.environ | {"PYNN_SIM_MODULE": str(race_module()), "PYTHONPATH": f"{root}:{bench}"}
    command = [sys.executable, "-m", "bench.count"]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("family", run.families())
def test_the_formula_is_what_the_kernels_move(counted, family):
    rows = [row for row in counted if row["family"] == family and row["kernels"]]
    if not rows:
        pytest.skip(f"no pass of {family} runs by kernels alone")
    for row in rows:
        assert row["moved"] <= row["asked"], row
        if family in COMPOSED:
            assert row["moved"] > row["formula"], f"composed no more: {row}"
        else:
            assert row["moved"] == row["formula"], row


@pytest.mark.skipif(backend.kernel_module("sim") is None, reason="pynn was built without _sim")
def test_every_launcher_is_in_the_pass_of_some_case():
    library, ran = libraries.Pynn("cpu", "sim"), set()
    for family in run.families():
        for case in run.family_cases(family, "tiny"):
            for direction in case.passes:
                for dtype in ("float32", "bfloat16"):
                    ran.update(count.launchers(library, case, direction, dtype))
    left = set(backend.kernel_module("sim").kernels()) - ran - set(UNCOUNTED)
    assert not left, f"without a formula: {left}"


def test_counting_needs_the_race_variant(monkeypatch):
    class Plain:
        variant = staticmethod(lambda: "")

    monkeypatch.setattr(count.backend, "kernel_module", lambda which: Plain)
    with pytest.raises(RuntimeError, match=r"\[bench\] count: expected the simulator's race .*''"):
        list(count.counts(["activation"]))
