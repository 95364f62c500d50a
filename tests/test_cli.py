"""The command `pynn`, mostly as a process of its own: output, exit codes, Ctrl-C and going on."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import pynn
from pynn import cli, recipes

ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("PYNN_")},
    "PYTHONPATH": str(Path(pynn.__file__).parent.parent),
    "PYTHONWARNINGS": "error",
}


def pynn_command(folder, *args, **environment):
    return subprocess.run(
        [sys.executable, "-m", "pynn", *map(str, args)],
        cwd=folder,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def in_process(capsys, *args):
    """(exit code, stdout, stderr) without the cost of a process."""
    try:
        code = cli.main(list(args))
    except SystemExit as end:
        code = end.code
    return code, *capsys.readouterr()


def test_train_predict_and_resume_a_finished_run(tmp_path):
    done = pynn_command(tmp_path, "train", "digits-cnn", "--quick", "--seed", 3)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "training digits-cnn in runs/digits-cnn"
    assert lines[1].startswith("epoch 1/2  step 21  loss ")
    assert lines[-2].startswith("runs/digits-cnn: checkpoint.safetensors, config.json, ")
    assert lines[-1].startswith("digits-cnn: test accuracy ")

    from sklearn.datasets import load_digits

    digits = load_digits()
    np.save(tmp_path / "small.npy", (digits.images[:1] / 16)[0])
    large = np.kron(digits.images[1] / 16, np.ones((9, 7)))
    np.save(tmp_path / "large.npy", 1 - np.pad(large, 11))  # black on white, with a margin
    run = "runs/digits-cnn"
    found = pynn_command(tmp_path, "predict", run, "small.npy", "large.npy", "--json")
    assert (found.returncode, found.stderr) == (0, "")
    rows = json.loads(found.stdout)
    assert [row["file"] for row in rows] == ["small.npy", "large.npy"]
    assert [row["label"] for row in rows] == ["0", "1"]
    assert sum(rows[0]["probabilities"].values()) == pytest.approx(1)

    again = pynn_command(tmp_path, "train", "--resume", "--epochs", 3, "--json")
    assert (again.returncode, again.stderr) == (0, "")
    result = json.loads(again.stdout)
    assert (result["epochs"], result["steps"], result["folder"]) == (3, 63, run)


@pytest.mark.skipif(os.name != "posix", reason="needs SIGINT")
def test_ctrl_c_saves_says_how_to_go_on_and_goes_on_to_the_bit(tmp_path):
    def start(*args):
        command = [sys.executable, "-m", "pynn", "train", "digits-mlp", "--no-plots", *args]
        return subprocess.Popen(
            command, cwd=tmp_path, env=ENVIRONMENT, text=True, stdout=-1, stderr=-1
        )

    whole = start("--epochs", "20", "--out", "whole")
    assert whole.wait(60) == 0
    whole.communicate()
    cut = start("--epochs", "20")
    deadline = time.monotonic() + 60
    while not (tmp_path / "runs/digits-mlp/checkpoint.safetensors").exists():
        assert time.monotonic() < deadline and cut.poll() is None
        time.sleep(0.005)
    cut.send_signal(signal.SIGINT)
    _, error = cut.communicate(timeout=60)
    assert cut.returncode == 130
    assert "[train] interrupted after step" in error
    assert error.splitlines()[-1] == "go on with: pynn train --resume runs/digits-mlp"
    assert "Traceback" not in error
    resumed = pynn_command(tmp_path, "train", "--resume", "runs/digits-mlp", "--no-plots")
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.startswith("resuming digits-mlp in runs/digits-mlp\nresumed at step ")
    weights = [tmp_path / run / "model.safetensors" for run in ("whole", "runs/digits-mlp")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["trian"], "[pynn] command: expected one of train, predict, info, check, "),
        (["trian"], "got 'trian'; did you mean 'train'?"),
        (["train", "digit-cnn"], "got 'digit-cnn'; did you mean 'digits-cnn'?"),
        (["train", "--lr", "-1"], "[train] lr: expected a positive number, got -1\n"),
        (["train", "--epochs", "-2"], "[train] epochs: expected a number >= 0, got -2\n"),
        (["train", "--epochs", "abc"], "argument --epochs: invalid int value: 'abc'"),
        (["train", "--dtype", "float13"], "expected one of float64, float32, float16, bfloat16"),
        (["train", "--device", "gpu"], '[device] expected "cpu", "cuda" or "cuda:N", got \'gpu\''),
        (["train", "digits-mlp", "--hiden", "3"], "got --hiden 3; did you mean '--hidden'?"),
        (["train", "digits-cnn", "--hidden", "3"], "expected known arguments, got --hidden 3"),
        (["train", "--save-every", "0"], "save_every: expected a positive number, got 0"),
        (["train", "--resume"], "resume: expected a run of digits-cnn in runs/, got none"),
        (["train", "--resume", "digits-mlp"], "expected a run of digits-mlp in runs/, got none"),
        (["train", "--resume", "nowhere"], "expected the folder of a run, with config.json, got"),
        (["train", "--resume", "--out", "x"], "expected --resume without --out, got both"),
        (["predict", "nowhere", "x.png"], "expected the folder of a run, with config.json, got"),
        (["predict"], "the following arguments are required: RUN, IMAGE"),
        (["info", "--josn"], "got --josn; did you mean '--json'?"),
    ],
)
def test_wrong_input_is_one_line_and_code_2(tmp_path, monkeypatch, capsys, args, words):
    monkeypatch.chdir(tmp_path)
    code, out, error = in_process(capsys, *args)
    assert (code, out) == (2, "")
    assert words in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_wrong_input_as_a_process(tmp_path):
    done = pynn_command(tmp_path, "train", "--lr", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "[train] lr: expected a positive number, got 0\n"
    done = pynn_command(tmp_path, "train", "--lr", "0", PYNN_DEBUG="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_run_is_not_overwritten_and_not_resumed_with_other_settings(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    train = ["train", "digits-mlp", "--epochs", "1", "--no-plots", "--json"]
    assert in_process(capsys, *train, "--out", "a")[0] == 0
    weights = Path("a/model.safetensors")
    before = weights.read_bytes()
    code, _, error = in_process(capsys, *train, "--out", "a")
    assert code == 2 and "holds a run: resume goes on with it, overwrite replaces it" in error
    code, _, error = in_process(capsys, "train", "--resume", "a", "--batch-size", "32")
    assert code == 2 and "batch_size: expected 64, with which the run was begun, got 32" in error
    code, _, error = in_process(capsys, "train", "digits-cnn", "--resume", "a")
    assert code == 2 and "expected a run of digits-cnn, got one of digits-mlp" in error
    assert weights.read_bytes() == before
    Path("a/old.png").write_bytes(b"")
    assert in_process(capsys, *train, "--out", "a", "--overwrite")[0] == 0
    assert weights.read_bytes() == before
    assert not Path("a/old.png").exists()
    assert in_process(capsys, *train)[0] == in_process(capsys, *train)[0] == 0
    assert sorted(p.name for p in Path("runs").iterdir()) == ["digits-mlp", "digits-mlp-2"]
    content = bytearray(Path("a/checkpoint.safetensors").read_bytes())
    content[-100] ^= 1
    Path("a/checkpoint.safetensors").write_bytes(content)
    code, _, error = in_process(capsys, "train", "--resume", "a", "--epochs", "2")
    assert code == 2 and "a/checkpoint.safetensors: expected the file as it was written" in error
    Path("a/model.safetensors").write_bytes(before[:-3])
    np.save("x.npy", np.zeros((8, 8)))
    code, _, error = in_process(capsys, "predict", "a", "x.npy")
    assert code == 2 and "a/model.safetensors: " in error and "cut off" in error


def test_predict_needs_a_recipe_that_reads_images(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    args = ["train", "diabetes-regression", "--epochs", "1", "--no-plots", "--json", "--out", "a"]
    assert in_process(capsys, *args)[0] == 0
    code, _, error = in_process(capsys, "predict", "a", "x.png")
    assert code == 2
    assert "expected a recipe that reads images, got diabetes-regression" in error


def test_list_and_help(capsys):
    code, out, _ = in_process(capsys, "train", "--list")
    assert code == 0
    names = [line.split()[0] for line in out.splitlines() if not line.startswith(" ")]
    assert names == recipes.names()
    assert json.loads(in_process(capsys, "train", "--list", "--json")[1]).keys() == set(
        recipes.names()
    )
    code, out, _ = in_process(capsys, "train", "digits-mlp", "--help")
    assert code == 0
    for flag in ("--epochs", "--resume", "--hidden", "--activation {relu,"):
        assert flag in out
    assert in_process(capsys)[0] == 0
    assert in_process(capsys, "--version")[1] == f"pynn {pynn.__version__}\n"
    for command in cli.COMMANDS:
        code, out, _ = in_process(capsys, command, "--help")
        assert code == 0 and out.startswith(f"usage: pynn {command}")


def test_info(capsys):
    code, out, _ = in_process(capsys, "info")
    assert code == 0
    for words in (f"pynn {pynn.__version__}", "numpy", "devices", "pynn._cuda", "PYNN_STRICT"):
        assert words in out
    facts = json.loads(in_process(capsys, "info", "--json")[1])
    for module in facts["modules"].values():
        assert bool(module["kernels"]) != bool(module["missing"])
        assert module["missing"] or {"gemm", "gelu_fwd", "adam_step"} <= set(module["kernels"])
        assert bool(module["missing"]) == bool(module["mend"])
    assert facts["cuda"]["devices"] or facts["cuda"]["missing"]
    assert "Conv2d" in facts["ops"]["native"] + facts["ops"]["reference"]


def test_info_knows_every_variable_that_the_package_reads():
    from pynn.info import ENVIRONMENT

    read = set()
    for file in Path(pynn.__file__).parent.rglob("*.py"):
        read |= set(re.findall(r"environ(?:\.get)?[(\[]\"(PYNN_\w+)\"", file.read_text()))
    assert read <= set(ENVIRONMENT)
    assert {"PYNN_STRICT", "PYNN_MALLOC"} <= read


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    code, _, error = in_process(capsys, "train", "digits-mlp")
    assert code == 2
    assert 'pip install "pynn-cuda[examples]"' in error
    assert not Path("runs").exists()
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, _, error = in_process(capsys, "train", "digits-mlp", "--epochs", "1")
    assert code == 2
    assert 'pip install "pynn-cuda[examples]", or train with --no-plots' in error
    assert not Path("runs").exists()  # told before the training, not behind it


def test_an_unforeseen_error_says_its_kind(monkeypatch, capsys):
    def broken(args):
        raise KeyError("x")

    broken.__doc__ = "Break."
    monkeypatch.setitem(cli.COMMANDS, "info", (broken, cli.info_arguments))
    code, _, error = in_process(capsys, "info")
    assert code == 2
    assert error == "[pynn] KeyError: 'x' (PYNN_DEBUG=1 shows where)\n"


def test_the_command_line_is_light():
    program = "import sys, pynn.cli; print(*[m for m in sys.modules if m.split('.')[0] in "
    program += "('sklearn', 'matplotlib', 'tqdm', 'cupy', 'PIL')])"
    done = subprocess.run(
        [sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.stdout.strip() == ""
