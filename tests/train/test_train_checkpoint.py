"""Checkpoints: whatever fails, the former one loads; what is damaged or foreign is refused."""

import errno
import io
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import ml_dtypes
import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn import data, nn, optim
from pynn.train import Trainer, checkpoint, files, load_weights, safetensors, save_weights

STATE = {
    "model": {"0.weight": np.arange(6, dtype=np.float32).reshape(2, 3)},
    "nested": [1, 2.5, None, True, "é", {"deep": np.arange(3).astype(ml_dtypes.bfloat16)}],
    "counts": {3: np.int64(4)},
    "a.b": np.zeros(1),
    "a": {"b": np.ones(2), "inf": float("inf")},
}


def test_a_tree_comes_back_as_json_would_have_it(tmp_path):
    path = tmp_path / "c.safetensors"
    checkpoint.save(path, STATE)
    found = checkpoint.load(path)
    assert found["nested"][:5] == [1, 2.5, None, True, "é"]
    assert found["nested"][5]["deep"].dtype == ml_dtypes.bfloat16
    assert found["counts"] == {"3": 4}
    assert found["a"]["inf"] == float("inf")
    np.testing.assert_array_equal(found["a.b"], [0])
    np.testing.assert_array_equal(found["a"]["b"], [1, 1])
    np.testing.assert_array_equal(found["model"]["0.weight"], STATE["model"]["0.weight"])
    assert "model.0.weight" in safetensors.load(path)[0]
    with pytest.raises(TypeError, match="model.f: expected arrays, numbers and texts"):
        checkpoint.save(path, {"model": {"f": print}})


class Kill(BaseException):
    """A kill: nothing after it runs, not even the removal of the temporary file."""


class Failing:
    """Makes the n-th call to write, flush, fsync, replace, or the opening of a file fail."""

    def __init__(self, monkeypatch, fail):
        self.fail, self.left, self.calls = fail, None, 0
        opened = open

        def fake_open(*args, **kwargs):
            self.count()
            file = opened(*args, **kwargs)
            return FailingFile(file, self) if isinstance(file, io.BufferedWriter) else file

        monkeypatch.setattr(files, "open", fake_open, raising=False)
        for name in ("fsync", "replace"):
            real = getattr(os, name)
            monkeypatch.setattr(files.os, name, lambda *a, real=real: (self.count(), real(*a))[1])
        unlink = pathlib.Path.unlink
        monkeypatch.setattr(
            pathlib.Path, "unlink", lambda p: unlink(p) if fail is not Kill else None
        )

    def count(self):
        self.calls += 1
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise Kill if self.fail is Kill else OSError(self.fail, os.strerror(self.fail))


class FailingFile:
    def __init__(self, file, failing):
        self.file, self.failing = file, failing

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, content):
        self.file.write(memoryview(content).cast("B")[: len(content) // 2])  # as much as had room
        self.failing.count()
        self.file.write(memoryview(content).cast("B")[len(content) // 2 :])

    def flush(self):
        self.failing.count()
        self.file.flush()


def numbered(i):
    return {"i": i, "w": np.full(1000, i, np.float32), "v": np.full(7, i)}


@pytest.mark.parametrize("fail", [Kill, errno.ENOSPC, errno.EIO])
def test_a_failure_at_any_call_leaves_the_old_checkpoint_or_the_new(tmp_path, monkeypatch, fail):
    failing = Failing(monkeypatch, fail)
    path = tmp_path / "c.safetensors"
    checkpoint.save(path, numbered(0))
    calls, kept = failing.calls, 0
    assert calls >= 8  # open, header, arrays, flush, fsync, replace, fsync of the folder
    for n in range(1, calls + 1):
        failing.left = n
        with pytest.raises(BaseException) as caught:
            checkpoint.save(path, numbered(n))
        failing.left = None
        if fail is not Kill:
            assert isinstance(caught.value, OSError)
            assert caught.value.errno == fail
            assert "[checkpoint] expected to write" in str(caught.value)
            assert list(tmp_path.iterdir()) == [path]
        found = checkpoint.load(path)
        assert found["i"] in (kept, n)
        assert n == calls or found["i"] == kept  # only the last call comes after the renaming
        assert (found["w"] == found["i"]).all()
        kept = found["i"]
    checkpoint.save(path, numbered(-1))  # over the remainder of the kill
    assert checkpoint.load(path)["i"] == -1
    assert list(tmp_path.iterdir()) == [path]


def test_the_error_of_a_full_disk_says_what_is_left(tmp_path, monkeypatch):
    failing = Failing(monkeypatch, errno.ENOSPC)
    path = tmp_path / "c.safetensors"
    failing.left = 3
    with pytest.raises(OSError, match="expected to write .*, got No space left on device$"):
        checkpoint.save(path, STATE)
    assert not path.exists()
    checkpoint.save(path, STATE)
    failing.left = 3
    with pytest.raises(OSError, match="No space left on device; the former checkpoint is intact"):
        checkpoint.save(path, STATE)


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_real_kill_leaves_a_checkpoint_that_loads(tmp_path):
    path = tmp_path / "c.safetensors"
    program = (
        "import sys, numpy as np\nfrom pynn.train import checkpoint\n"
        "for i in range(10**6):\n"
        "    checkpoint.save(sys.argv[1], {'i': i, 'w': np.full(10**6, i, np.float32)})\n"
    )
    root = str(pathlib.Path(pynn.__file__).parent.parent)
    child = subprocess.Popen(
        [sys.executable, "-c", program, path], env={**os.environ, "PYTHONPATH": root}
    )
    try:
        deadline = time.monotonic() + 30
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        for delay in (0.05, 0.11, 0.23):
            time.sleep(delay)
            child.send_signal(signal.SIGSTOP)
            found = checkpoint.load(path)
            assert (found["w"] == found["i"]).all()
            child.send_signal(signal.SIGCONT)
    finally:
        child.kill()
        child.wait()
    found = checkpoint.load(path)
    assert (found["w"] == found["i"]).all()


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
def test_others_may_read_a_checkpoint_as_the_umask_says(tmp_path):
    former = os.umask(0o022)
    try:
        checkpoint.save(tmp_path / "c", STATE)
    finally:
        os.umask(former)
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o644


def trainer(
    out, *, width=4, lr=0.1, batch_size=4, dtype="float32", kind=optim.Adam, schedule=False
):
    pynn.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 1)).to(dtype)
    x = np.linspace(-1, 1, 30, dtype=np.float32).reshape(10, 3)
    optimizer = kind(model.parameters(), lr=lr)
    return Trainer(
        model,
        F.mse_loss,
        optimizer,
        data.DataLoader(data.ArrayDataset(x, x[:, :1]), batch_size, shuffle=True),
        epochs=2,
        schedule=optim.ExponentialLR(optimizer, 0.9) if schedule else None,
        out=out,
        progress=False,
    )


def whole_state(t):
    tree, arrays = {}, {}
    parts = {"model": t.model, "optimizer": t.optimizer, "loader": t.train}
    for name, part in parts.items():
        tree[name] = checkpoint._pack(part.state_dict(), name, arrays)
    return repr(tree), {n: a.tobytes() for n, a in arrays.items()}, pynn.random.get_state(), t.step


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"width": 5}, r"of another shape: 0.weight: expected \(5, 3\), got \(4, 3\), 0.bias"),
        ({"dtype": "bfloat16"}, "of another dtype: 0.weight: expected bfloat16, got float32"),
        ({"batch_size": 5}, "loader: .*expected batch_size 5 as in this loader, got 4"),
        ({"kind": optim.Lion}, "optimizer: .*expected keys"),
        ({"schedule": True}, r"expected the state of .*'schedule'.*, got none of \['schedule'\]"),
    ],
)
def test_a_checkpoint_of_another_run_changes_nothing(tmp_path, other, words):
    trainer(tmp_path).fit()
    t = trainer(None, **other)
    before = whole_state(t)
    with pytest.raises(ValueError, match=words):
        t.resume(tmp_path / "checkpoint.safetensors")
    assert whole_state(t) == before


def test_a_checkpoint_with_a_schedule_is_not_for_a_run_without(tmp_path):
    trainer(tmp_path, schedule=True).fit()
    with pytest.raises(ValueError, match=r"got none of \[\] but one of \['schedule'\]"):
        trainer(tmp_path).resume()


def test_missing_and_unknown_weights_are_listed(tmp_path):
    trainer(tmp_path).fit()
    path = tmp_path / "model.safetensors"
    model = nn.Sequential(*[nn.Linear(3, 3) for _ in range(8)])
    before = {n: v.numpy().copy() for n, v in model.state_dict().items()}
    with pytest.raises(ValueError) as caught:
        load_weights(path, model)
    words = str(caught.value)
    assert re.search(r"missing: 1\.weight \(3, 3\), 1\.bias \(3,\), .* and \d+ more", words)
    assert "0.weight: expected (3, 3), got (4, 3)" in words
    assert all((model.state_dict()[n].numpy() == v).all() for n, v in before.items())
    with pytest.raises(ValueError, match=r"unknown: 2\.weight \(1, 4\), 2\.bias \(1,\)"):
        load_weights(path, nn.Sequential(nn.Linear(3, 4)))


def test_weights_go_from_model_to_model_and_to_another_dtype(tmp_path):
    t = trainer(None)
    save_weights(tmp_path / "w.safetensors", t.model, {"note": "x"})
    other = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).bfloat16()
    load_weights(tmp_path / "w.safetensors", other)
    expected = t.model[0].weight.numpy().astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(other[0].weight.numpy(), expected)


def test_what_is_no_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match="got no file"):
        trainer(tmp_path).resume()
    t = trainer(tmp_path)
    t.fit()
    with pytest.raises(ValueError, match="expected a checkpoint, got a file of weights only"):
        t.resume(tmp_path / "model.safetensors")
    path = tmp_path / "checkpoint.safetensors"
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:-1], content + b"\0", b"", b"\x80\x04."):
        path.write_bytes(damaged)
        before = whole_state(t)
        with pytest.raises(ValueError, match="expected .*, got"):
            t.resume()
        assert whole_state(t) == before
    arrays, metadata = {}, {"state": "{}", "pynn_checkpoint": "2"}
    safetensors.save(path, arrays, metadata)
    with pytest.raises(ValueError, match="expected format 1, got '2'"):
        t.resume()
    with pytest.raises(ValueError, match="expected a path"):
        trainer(None).save()


def test_flipped_bits_of_a_checkpoint_are_noticed(tmp_path):
    t = trainer(tmp_path)
    t.fit()
    path = tmp_path / "checkpoint.safetensors"
    content = path.read_bytes()
    for i in np.random.default_rng(0).integers(0, 8 * len(content), 300):
        damaged = bytearray(content)
        damaged[i // 8] ^= 1 << int(i) % 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="expected"):
            t.resume()


def test_a_file_with_code_is_only_data(tmp_path):
    pickled = b"\x80\x04cos\nsystem\n(S'touch " + str(tmp_path / "owned").encode() + b"'\ntR."
    (tmp_path / "checkpoint.safetensors").write_bytes(pickled)
    with pytest.raises(ValueError, match="not a safetensors file"):
        trainer(tmp_path).resume()
    assert not (tmp_path / "owned").exists()
