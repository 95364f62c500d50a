"""pynn.profile: what ran, how long, how much it moved; and nothing of it left behind."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn import nn, optim, profiler
from pynn.autograd import Function


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


def step(model, optimizer=None):
    loss = F.cross_entropy(model(pynn.randn(32, 8)), pynn.tensor(np.arange(32) % 4))
    loss.backward()
    if optimizer:
        optimizer.step()


def row(p, by="op", **wanted):
    (found,) = [r for r in p.rows(by) if all(r[k] == v for k, v in wanted.items())]
    return found


def test_calls_bytes_and_flops_of_a_step(model):
    with pynn.profile() as p:
        step(model)
        step(model)
    linear = row(p, op="linear", **{"pass": "forward"})
    assert (linear["calls"], linear["path"]) == (4, "reference")
    assert linear["flops"] == 2 * (2 * 32 * 16 * 8 + 32 * 16 + 2 * 32 * 4 * 16 + 32 * 4)
    first = 32 * 8 + 16 * 8 + 16 + 32 * 16
    assert linear["bytes"] == 2 * 4 * (first + 32 * 16 + 4 * 16 + 4 + 32 * 4)
    relu = row(p, op="relu", **{"pass": "backward"})
    assert relu["calls"] == 2
    assert relu["bytes"] == 2 * 4 * 3 * 32 * 16  # dy, y, dx
    assert row(p, op="linear", **{"pass": "backward"})["calls"] == 4
    assert all(r["seconds"] > 0 for r in p.rows())


def test_layers_by_their_names(model):
    with pynn.profile() as p:
        step(model)
    names = {(r["layer"], r["pass"]) for r in p.rows("layer")}
    for layer in ("Sequential.0", "Sequential.1", "Sequential.2"):
        assert (layer, "forward") in names and (layer, "backward") in names
    assert ("(outside layers)", "forward") in names  # the loss


def test_the_step_of_an_optimizer(model):
    optimizer = optim.Adam(model.parameters())
    with pynn.profile() as p:
        step(model, optimizer)
    adam = row(p, op="Adam")
    size = sum(q.size for q in model.parameters())
    assert (adam["pass"], adam["calls"], adam["bytes"]) == ("step", 1, 7 * 4 * size)


def test_a_profiled_step_gives_the_same_gradients(model):
    x = pynn.randn(32, 8)
    model(x).sum().backward()
    plain = [q.grad.numpy().copy() for q in model.parameters()]
    model.zero_grad()
    with pynn.profile():
        model(x).sum().backward()
    for q, wanted in zip(model.parameters(), plain, strict=True):
        np.testing.assert_array_equal(q.grad.numpy(), wanted)


def test_gaps_are_the_time_outside_ops(model):
    with pynn.profile() as p:
        step(model)
        time.sleep(0.05)
    assert 0.05 <= p.gaps <= p.seconds
    inside = sum(e.stop - e.start for e in p.events)
    assert p.gaps + inside == pytest.approx(p.seconds, rel=1e-6)


def test_nothing_is_left_when_it_is_off(model):
    former = Function.__call__, nn.Module.__call__, optim.Optimizer.step
    with pytest.raises(KeyError), pynn.profile():
        assert Function.__call__ is not former[0]
        raise KeyError
    assert (Function.__call__, nn.Module.__call__, optim.Optimizer.step) == former


def test_a_profile_inside_another(model):
    with pynn.profile() as outer, pynn.profile() as inner:
        step(model)
    counts = [sum(r["calls"] for r in p.rows()) for p in (outer, inner)]
    assert counts[0] == counts[1] > 0


def test_the_table(model):
    with pynn.profile() as p:
        step(model)
    text = str(p)
    assert "linear" in text and "Sequential.2" in text and "between ops" in text
    assert max(map(len, text.splitlines())) <= 110


def test_the_share_of_a_measured_peak(model, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pynn.profile() as p:
        step(model)
    assert all(r["of_peak"] is None for r in p.rows())
    path = profiler.peaks_file(profiler.device_name(False))
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"memory": 1e9, "matrix": {"float32": 1e9}}))
    relu = row(p, op="relu", **{"pass": "forward"})
    assert relu["of_peak"] == pytest.approx(relu["bytes"] / 1e9 / relu["seconds"])
    linear = row(p, op="linear", **{"pass": "forward"})
    assert linear["of_peak"] == pytest.approx(linear["flops"] / 1e9 / linear["seconds"], rel=0.7)


def test_a_chrome_trace(model, tmp_path):
    with pynn.profile() as p:
        step(model)
    p.trace(tmp_path / "trace.json")
    entries = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert {e["tid"] for e in entries} == {"ops", "layers"}
    assert all(e["ph"] == "X" and e["dur"] >= 0 and e["ts"] >= -1 for e in entries)
    linear = next(e for e in entries if e["name"] == "linear forward")
    assert linear["args"]["layer"] == "Sequential.0"


def test_ranges_are_asked_for_by_the_environment(model, monkeypatch):
    pushed = []

    class Nvtx:
        push_range, pop_range = pushed.append, lambda: None

    monkeypatch.setitem(sys.modules, "nvtx", Nvtx)
    with pynn.profile():
        step(model)
    assert not pushed
    monkeypatch.setenv("PYNN_NVTX", "1")
    with pynn.profile():
        step(model)
    assert "linear forward" in pushed and "Sequential.0" in pushed


def test_roofline_of_a_script(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, pynn\nprint(sys.argv[1:])\n(pynn.randn(4, 4) @ pynn.randn(4, 4)).relu()\n"
    )
    command = [sys.executable, "-m", "pynn", "roofline", "--trace", str(tmp_path / "t.json")]
    root = os.path.dirname(os.path.dirname(pynn.__file__))
    env = os.environ | {"PYTHONPATH": root}
    done = subprocess.run(
        [*command, str(script), "a", "--b"], capture_output=True, text=True, env=env
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("['a', '--b']")
    assert "matmul" in done.stdout and (tmp_path / "t.json").exists()
