"""The script for a day with a GPU, without one; and whole steps on the CPU."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from bench import day_table, run
from bench.train import run as train

SCRIPT = run.ROOT / "bench" / "gpu_day.sh"
has_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
STAGES = ["build", "peaks", "tests", "kernels", "steps"]
STAGES += ["sanitize", "fallback", "compiled", "probe", "table"]


def day(out, *stages):
    env = os.environ | {"GPU_DAY_BUILD": "keep", "GPU_DAY_PYTHON": sys.executable}
    command = ["bash", str(SCRIPT), str(out), *stages]
    return subprocess.run(command, env=env, capture_output=True, text=True)


@has_bash
@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there may be a GPU")
def test_a_dry_run(tmp_path):
    done = day(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    states = [line.split("\t") for line in (tmp_path / "stages.tsv").read_text().splitlines()]
    assert [stage for stage, *_ in states] == STAGES
    assert [state for _, state, _ in states] == ["done"] + ["no GPU"] * 8 + ["done"]
    assert "kernels     no GPU" in (tmp_path / "table.txt").read_text()
    again = day(tmp_path, "build", "peaks")
    assert "build: done before" in again.stdout and "peaks: no GPU" in again.stdout
    wrong = day(tmp_path, "lunch")
    assert wrong.returncode == 2 and "got lunch" in wrong.stderr


# A machine with a GPU, played: what each command would be asked, and how it might end.
NVIDIA_SMI = """#!/bin/sh
case "$*" in *-L*) echo "GPU 0: played" ;; *compute_cap*) echo 9.0 ;; *) echo "played, 1, 2" ;; esac
"""
SANITIZER = """#!/bin/sh
echo "sanitizer $*" >> "$PLAY/asked"
"""
PYTHON = """#!/bin/bash
echo "$*" >> "$PLAY/asked"
case "$*" in
  *"print(*FAMILIES)"*) echo gemm softmax ;;
  *"run.families"*) echo activation linear new softmax ;;
  "-m bench.day_table"*) exec "$REAL" "$@" ;;
  "-m bench linear softmax activation new --dtype bfloat16"*) # once a kernel ruins the device
    [ -e "$PLAY/linear" ] || { touch "$PLAY/linear"; exit 3; } ;;
  "-m pynn check gemm"*) [ -e "$PLAY/hang" ] && { echo $$ > "$PLAY/hung"; exec sleep 60; } ;;
  "-m pynn check softmax"*) exit 1 ;;
  "-m pip wheel"*) [ "${PYNN_PTXAS-}" = report ] || exit 1 ;;
  "-m bench linear softmax"*) [ -e "$PLAY/crash" ] && exit 139 ;;
esac
exit 0
"""


@pytest.fixture
def played(tmp_path, monkeypatch):
    """stages -> (state of each, what was asked of Python and the sanitizer)."""
    folder = tmp_path / "play"
    folder.mkdir()
    texts = {"nvidia-smi": NVIDIA_SMI, "compute-sanitizer": SANITIZER, "python": PYTHON}
    for name, text in texts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)

    def play(*stages, cap=20, how="keep"):
        (folder / "asked").write_text("")
        env = os.environ | {"GPU_DAY_BUILD": how, "GPU_DAY_PYTHON": str(folder / "python")}
        env |= {"PATH": f"{folder}:{os.environ['PATH']}", "PLAY": str(folder)}
        env |= {"REAL": sys.executable, "GPU_DAY_CAP": str(cap), "TMPDIR": str(tmp_path)}
        command = ["bash", str(SCRIPT), str(tmp_path / "out"), *stages]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        lines = (tmp_path / "out" / "stages.tsv").read_text().splitlines()
        asked = (folder / "asked").read_text().splitlines()
        return dict(line.split("\t")[:2] for line in lines), asked, done.stdout

    play.folder = folder
    return play


@has_bash
def test_a_family_goes_on_behind_a_kernel_that_ruins_the_device(played):
    states, asked, _ = played("kernels")
    assert states == {"kernels": "done"}
    found = [line.partition(" --dtype ") for line in asked if " --dtype " in line]
    assert {words for words, *_ in found} == {"-m bench linear softmax activation new"}
    assert [how.split()[0] for *_, how in found] == ["bfloat16", "bfloat16", "float32"]
    assert all("--resume" in line and "--limit" in line for line in asked if "--dtype" in line)


@has_bash
def test_a_process_that_crashes_is_followed_by_one_for_each_family(played):
    (played.folder / "linear").touch()
    (played.folder / "crash").touch()
    states, asked, _ = played("kernels")
    assert states == {"kernels": "failed"}
    found = [line.split(" --")[0] for line in asked if "--dtype float32" in line]
    assert found[1:] == [f"-m bench {name}" for name in ("linear", "softmax", "activation", "new")]


@has_bash
def test_a_kernel_that_hangs_costs_a_stage_its_time_and_the_next_start_goes_on(played):
    (played.folder / "hang").touch()
    states, *_ = played("peaks", "tests", cap=2)
    assert states == {"peaks": "done", "tests": "out of time"}
    with pytest.raises(ProcessLookupError):
        os.kill(int((played.folder / "hung").read_text()), 0)
    (played.folder / "hang").unlink()
    states, asked, text = played("peaks", "tests")
    assert states == {"peaks": "done", "tests": "failed"}  # a fault of softmax; all were asked
    assert "peaks: done before" in text and "pynn check softmax: code 1" in text
    assert any("--known" in line for line in asked)  # a fresh machine has to be told
    assert any("pytest -q" in line and "-m gpu" in line for line in asked)


@has_bash
def test_what_ptxas_complains_of_does_not_end_the_day(played):
    states, asked, text = played("build", how="fresh")
    assert states == {"build": "done"} and "once more" in text
    assert sum("pip wheel . --no-build-isolation" in line for line in asked) == 2
    states, asked, text = played("build", how="fresh")
    assert "build: done before" in text and not any("pip" in line for line in asked)


@has_bash
def test_each_tool_of_the_sanitizer_sees_every_family(played):
    states, asked, _ = played("sanitize")
    assert states == {"sanitize": "done"}
    lines = [line for line in asked if line.startswith("sanitizer")]
    assert [line.split()[2] for line in lines] == [
        "memcheck",
        "racecheck",
        "synccheck",
        "initcheck",
    ]
    assert all(line.endswith("--launch linear softmax activation new") for line in lines)


def test_caps_fit_the_day():
    found = re.findall(r"\[(\w+)\]=(\d+)", SCRIPT.read_text())
    seconds = {stage: int(cap) for stage, cap in found}
    assert sorted(seconds) == sorted(STAGES)
    assert sum(seconds.values()) <= 25 * 60
    assert max(seconds.values()) < 9 * 60


def test_the_table_of_a_day(tmp_path):
    (tmp_path / "stages.tsv").write_text("build\tdone\t12\n")
    row = {"family": "softmax", "dtype": "bfloat16", "op": "softmax"}
    timed = row | {"us": {}, "of_peak": 0.8, "peers": {"torch": {"speedup": 2.0}}}
    other = timed | {"shape": "b", "of_peak": 0.2, "peers": {"torch": {"speedup": 0.5}}}
    rows = [timed, other, row | {"shape": "c", "refused": "wrong"}]
    rows.append(row | {"shape": "d", "skipped": "no kernel ran"})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    text = day_table.text(tmp_path)
    assert "build       done               12" in text
    assert "softmax       bfloat16      4       1       1      40%  torch 1.00" in text


@pytest.mark.oracle
def test_a_step_beside_its_twin(torch, tmp_path):
    row = train.row_of("resnet50", ["pynn", "torch"], "cpu", "float32", 0.05, str(tmp_path), 1)
    assert "refused" not in row, row
    assert row["flops"] > 0 and set(row["arms"]) == {"pynn", "torch"}
    for facts in row["arms"].values():
        assert facts["samples_s"] > 0 and facts["memory"] >= 0
    assert "resnet50" in train.line(row)


def test_flops_of_known_networks():
    assert train._flops("digits-mlp", 1, {}) == 3 * (
        2 * (64 * 128 + 128 * 64 + 64 * 10) + 128 + 64 + 10
    )
    resnet = train._flops("resnet50", 1, {"size": 224})
    assert resnet == pytest.approx(3 * 2 * 4.09e9, rel=0.01)  # 4.09 G multiply-adds an image
    gpt2 = train._flops("gpt2", 1, {"context": 1024}) / 1024
    assert gpt2 == pytest.approx(6 * 124e6, rel=0.2)


def test_a_step_whose_losses_differ_is_refused(tmp_path, monkeypatch):
    class Arm:
        def __init__(self, command, env):
            self.greeting = [2.0, 1.0, float("nan") if "torch" in command else 0.5]

        def __exit__(self):
            pass

    monkeypatch.setattr(train, "ArmProcess", Arm)
    row = train.row_of("digits-mlp", ["pynn", "torch"], "cpu", "float32", 0.1, str(tmp_path), 1)
    assert "expected equal losses" in row["refused"]
    assert "refused" in train.line(row)
