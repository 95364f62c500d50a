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
STAGES = ["build", "peaks", "tests", "kernels", "steps"]
STAGES += ["sanitize", "fallback", "compiled", "probe", "table"]


def day(out, *stages):
    env = os.environ | {"GPU_DAY_BUILD": "keep", "GPU_DAY_PYTHON": sys.executable}
    command = ["bash", str(SCRIPT), str(out), *stages]
    return subprocess.run(command, env=env, capture_output=True, text=True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
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
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    text = day_table.text(tmp_path)
    assert "build       done               12" in text
    assert "softmax       bfloat16      3       1      40%  torch 1.00" in text


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
