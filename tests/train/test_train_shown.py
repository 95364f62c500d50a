"""What a person sees: progress, logs, pictures; and the threads that make it."""

import csv
import io
import json
import math
import sys

import numpy as np
import pytest

from pynn.train import Log, plots
from pynn.train.progress import Progress, line
from pynn.train.threads import _functions, blas_threads

ROW = {"epoch": 3, "step": 69, "lr": 0.1, "loss": 0.12345, "accuracy": 0.9612, "seconds": 0.84}


def test_a_line_for_people():
    assert line(ROW, 30) == "epoch  3/30  step 69  loss 0.1235  accuracy 0.9612  0.8 s"


def test_lines_where_there_is_no_terminal(capsys, monkeypatch):
    now = iter([0.0, 0.4, 1.1, 1.2, 1.3])
    monkeypatch.setattr("pynn.train.progress.time.monotonic", lambda: next(now))
    progress = Progress()
    progress.begin(0, 100)
    for epoch in range(1, 6):
        progress.advance(lambda: pytest.fail("nobody asked"))
        progress.epoch({**ROW, "epoch": epoch}, 5, last=epoch == 5)
    progress.end()
    out, error = capsys.readouterr()
    assert [text.split("/")[0] for text in out.splitlines()] == ["epoch 1", "epoch 3", "epoch 5"]
    assert error == ""
    quiet = Progress(enabled=False)
    quiet.begin(0, 1)
    quiet.say("nothing")
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("why", ["", "NO_COLOR", "no tqdm"])
def test_a_bar_on_a_terminal(monkeypatch, why):
    pytest.importorskip("tqdm")
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.delenv("NO_COLOR", raising=False)
    if why == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "")
    elif why:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    progress = Progress()
    progress.begin(20, 100)
    progress.advance(lambda: 0.5)
    progress.epoch(ROW, 30)
    progress.end()
    assert line(ROW, 30) in screen.getvalue()
    assert ("20/100" in screen.getvalue()) == (why == "")


def test_logs_hold_what_is_finite_and_take_new_columns(tmp_path):
    first = {"epoch": 1, "step": 5, "loss": math.nan}
    log = Log(tmp_path, [first])
    log.add({"epoch": 2, "step": 10, "loss": 0.1 + 0.2})
    log.add({"epoch": 3, "step": 15, "loss": -math.inf, "a,b": 1.0})
    log.close()
    with open(tmp_path / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["loss"] for row in rows] == ["", "0.30000000000000004", ""]
    assert [row["a,b"] for row in rows] == ["", "", "1.0"]
    rows = [json.loads(text) for text in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in rows] == [None, 0.30000000000000004, None]


def test_tensorboard_missing_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r'pip install "pynn-cuda\[tensorboard\]"'):
        Log(tmp_path, tensorboard=True)


def size(path):
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")


@pytest.mark.parametrize("epochs", [1, 3, 40])
def test_curves(tmp_path, epochs):
    rows = [{**ROW, "epoch": i + 1, "loss": math.nan if i == 1 else 9.0**-i} for i in range(epochs)]
    rows = [{**row, "val_f1": 0.5} for row in rows]
    plots.curves(tmp_path / "c.png", rows, "title")
    width, height = size(tmp_path / "c.png")
    assert width > 2 * 400 and 300 < height < 600  # loss, accuracy, f1: 3 columns, 1 row
    plots.curves(tmp_path / "c.png", [*rows, {**rows[-1], "epoch": epochs + 1, "lr": 0.2}], "title")
    width, height = size(tmp_path / "c.png")
    assert width > 2 * 400 and height > 600  # and lr, which changes: 2 rows


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_confusion(tmp_path, classes):
    names = [f"class {i}" for i in range(classes)]
    plots.confusion(tmp_path / "c.png", np.eye(classes, dtype=int) * 9, names)
    plots.confusion(tmp_path / "empty.png", np.zeros((classes, classes), int), names)
    assert size(tmp_path / "c.png") >= (450, 450)


@pytest.mark.parametrize(("n", "channels"), [(0, 1), (1, 1), (3, 3), (50, 1)])
def test_mistakes(tmp_path, n, channels):
    images = np.random.default_rng(0).random((n, 8, 8, channels))
    plots.mistakes(tmp_path / "m.png", images, ["a"] * n, ["b"] * n, np.linspace(0, 1, n), "title")
    assert size(tmp_path / "m.png")[0] > 500


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (9, 3, 3, 1), (4, 5, 5, 3), (16, 3, 3, 8)])
def test_filters(tmp_path, shape):
    plots.filters(tmp_path / "f.png", np.zeros(shape, np.float32))
    assert size(tmp_path / "f.png")[0] > 100


def test_scatter_of_equal_values(tmp_path):
    plots.scatter(tmp_path / "s.png", np.ones(3), {"network": np.ones(3)})
    assert size(tmp_path / "s.png") >= (500, 500)


def test_blas_threads_are_put_back():
    get, _ = _functions()
    if get is None:
        pytest.skip("NumPy is not built over OpenBLAS")
    before = get()
    with blas_threads(None) as found:
        assert not found and get() == before
    with blas_threads(1) as found:
        assert found and get() == 1
    assert get() == before
