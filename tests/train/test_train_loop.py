"""Trainer: resuming to the bit, stopping early, accumulation, the NaN guard, Ctrl-C.

Over 400 lines: all that can happen to a run is asked of one class.
"""

import json
import os
import signal
import threading

import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn import data, nn, optim
from pynn.train import Accuracy, Interrupted, Trainer

rng = np.random.default_rng(5)
IMAGES = rng.standard_normal((53, 4, 4, 1)).astype(np.float32)
LABELS = (IMAGES.mean((1, 2, 3)) > 0).astype(np.int64) + (IMAGES[:, 0, 0, 0] > 1)


def jitter(batch, rng):
    return batch + 0.1 * rng.standard_normal(batch.shape).astype(batch.dtype)


def trainer(
    out=None, dtype="float32", prefetch=0, epochs=3, accumulate=1, plateau=False, **options
):
    """Everything that has a state: batch norm, dropout, Adam, a schedule, augmentation, metrics."""
    pynn.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Flatten(),
        nn.Linear(48, 3),
    ).to(dtype)
    optimizer = optim.AdamW(model.parameters(), lr=3e-2)
    steps = epochs * -(-7 // accumulate)
    if plateau:
        schedule = optim.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    else:
        schedule = optim.OneCycleLR(optimizer, 3e-2, steps)
    loader = data.DataLoader(
        data.ArrayDataset(IMAGES, LABELS), 8, True, seed=2, transform=jitter, prefetch=prefetch
    )
    return Trainer(
        model,
        F.cross_entropy,
        optimizer,
        loader,
        data.DataLoader(data.ArrayDataset(IMAGES[:10], LABELS[:10]), 4),
        epochs=epochs,
        schedule=schedule,
        metrics={"accuracy": Accuracy()},
        clip_norm=1.0,
        accumulate=accumulate,
        out=out,
        progress=False,
        **options,
    )


def weights(t):
    return {name: value.numpy().copy() for name, value in t.model.state_dict().items()}


def equal(a, b):
    return set(a) == set(b) and all(a[n].tobytes() == b[n].tobytes() for n in a)


def without_seconds(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


class Kill(BaseException):
    """Ends a run in the middle, as a power cut would."""


def interrupted_at(step, t):
    """Stop after this step by a real Ctrl-C."""
    train_step = t.train_step

    def counted(batches):
        train_step(batches)
        if t.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    t.train_step = counted
    with pytest.raises(Interrupted) as caught:
        t.fit()
    assert caught.value.step == step
    return t


CASES = [
    {},
    {"prefetch": 2},
    {"dtype": "bfloat16"},
    {"accumulate": 3},
    {"plateau": True, "patience": 2},
]


@pytest.mark.parametrize("options", CASES, ids=str)
def test_interrupted_at_any_step_and_resumed_gives_the_same_bits(tmp_path, options):
    whole = trainer(**options)
    whole.fit()
    steps = whole.step
    for step in sorted(set(rng.integers(1, steps, 4).tolist() + [7, steps - 1])):
        out = tmp_path / str(step)
        interrupted_at(step, trainer(out, **options))
        resumed = trainer(out, **options)
        pynn.manual_seed(99)  # what the process drew before must not matter
        resumed.resume()
        assert resumed.step == step
        resumed.fit()
        assert equal(weights(resumed), weights(whole)), f"interrupted at step {step}"
        assert without_seconds(resumed.history) == without_seconds(whole.history)
        assert (resumed.best.epoch, resumed.best.value) == (whole.best.epoch, whole.best.value)


def test_the_best_epoch_outlives_an_interruption(tmp_path):
    t = trainer(tmp_path, patience=5)
    t.best.note(0, -1.0, t.model)  # better than any that comes
    best = weights(t)
    interrupted_at(9, t)
    resumed = trainer(tmp_path, patience=5)
    resumed.resume()
    resumed.fit()
    assert (resumed.best.epoch, resumed.best.value) == (0, -1.0)
    assert equal(weights(resumed), best)


def test_resumed_twice_and_saved_in_between(tmp_path):
    whole = trainer()
    whole.fit()
    interrupted_at(4, trainer(tmp_path))
    second = trainer(tmp_path)
    second.resume()
    interrupted_at(11, second)
    third = trainer(tmp_path)
    third.resume()
    third.fit()
    assert equal(weights(third), weights(whole))


def test_fit_again_after_an_interruption_goes_on_without_a_file():
    whole = trainer()
    whole.fit()
    t = interrupted_at(10, trainer())
    t.fit()
    assert equal(weights(t), weights(whole))
    assert without_seconds(t.history) == without_seconds(whole.history)


def test_max_steps_and_then_more(tmp_path):
    whole = trainer()
    whole.fit()
    cut = trainer(tmp_path, max_steps=10)
    cut.fit()
    assert cut.step == 10
    assert [row["epoch"] for row in cut.history] == [1, 2]
    longer = trainer(tmp_path)
    longer.resume()
    assert len(longer.history) == 2
    longer.fit()
    assert equal(weights(longer), weights(whole))
    assert without_seconds(longer.history) == without_seconds(whole.history)


def test_a_run_whose_schedule_ended_at_a_rate_of_zero_can_be_resumed(tmp_path):
    def one(epochs):
        t = trainer(tmp_path, epochs=epochs)
        t.schedule = optim.CosineAnnealingLR(t.optimizer, 7)
        return t

    one(1).fit()
    t = one(2)
    t.resume()
    assert t.optimizer.param_groups[0]["lr"] == 0
    t.fit()
    assert t.history[-1]["lr"] > 0


def test_saving_every_few_steps_survives_a_kill_in_between(tmp_path):
    whole = trainer()
    whole.fit()
    t = trainer(tmp_path, save_every=4)
    train_step = t.train_step

    def killed(batches):
        if t.step == 14:
            raise Kill
        train_step(batches)

    t.train_step = killed
    with pytest.raises(Kill):
        t.fit()
    resumed = trainer(tmp_path)
    resumed.resume()
    assert resumed.step == 14 - 14 % 4 or resumed.step == 14
    resumed.fit()
    assert equal(weights(resumed), weights(whole))


def test_a_step_is_one_update_and_an_epoch_one_pass():
    seen = []
    t = trainer(epochs=2)
    forward = t.forward
    t.forward = lambda batch: seen.append(len(batch[0])) or forward(batch)
    t.fit()
    assert (t.step, t.epoch) == (14, 2)
    training = [n for i, n in enumerate(seen) if i % 10 < 7]  # then 3 batches of validation
    assert sum(training) == 2 * 53
    assert [row["step"] for row in t.history] == [7, 14]


def test_accumulated_batches_make_the_step_of_one_large_batch():
    def one(batch_size, accumulate):
        pynn.manual_seed(3)
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double()
        loader = data.DataLoader(data.ArrayDataset(IMAGES.astype(float), LABELS), batch_size)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        t = Trainer(
            model,
            F.cross_entropy,
            optimizer,
            loader,
            epochs=2,
            accumulate=accumulate,
            progress=False,
        )
        t.fit()
        return t

    large, small = one(53, 1), one(10, 6)  # 10 10 10 10 10 3: uneven, and weighted so
    assert large.step == small.step == 2
    for name, value in weights(large).items():
        np.testing.assert_allclose(weights(small)[name], value, rtol=1e-12)
    assert large.history[-1]["loss"] == pytest.approx(small.history[-1]["loss"], rel=1e-12)


def test_evaluation_is_exact_and_leaves_no_trace():
    t = trainer(epochs=1)
    t.fit()
    before, state = weights(t), pynn.random.get_state()
    found = t.evaluate(data.DataLoader(data.ArrayDataset(IMAGES, LABELS), 9))
    outputs, targets = t.predict(data.DataLoader(data.ArrayDataset(IMAGES, LABELS), 20))
    np.testing.assert_array_equal(targets, LABELS)
    assert found["accuracy"] == (outputs.argmax(1) == LABELS).mean()
    expected = F.cross_entropy(pynn.tensor(outputs), pynn.tensor(LABELS)).item()
    assert found["loss"] == pytest.approx(expected, rel=1e-6)
    assert equal(weights(t), before)
    assert pynn.random.get_state() == state
    assert t.model.training


def constant(values):
    """A trainer whose validation loss goes through `values`, and whose weight counts the epochs."""
    model = nn.Linear(1, 1, bias=False)
    x = np.ones((4, 1), np.float32)
    loader = data.DataLoader(data.ArrayDataset(x, x), 4)
    t = Trainer(
        model,
        F.mse_loss,
        optim.SGD(model.parameters(), lr=0.1),
        loader,
        loader,
        epochs=len(values),
        patience=2,
        progress=False,
    )

    def evaluate(_):
        model.weight.data[...] = t.epoch
        return {"loss": values[t.epoch - 1]}

    t.evaluate = evaluate
    return t


@pytest.mark.parametrize(
    ("values", "epochs", "best"),
    [
        ([3, 2, 1, 0], 4, 4),
        ([3, 2, 2, 2, 0], 4, 2),
        ([3, 1, 2, 0, 4, 5, 6], 6, 4),
        ([np.nan, 2, np.nan, np.nan, 0], 4, 2),
        ([np.nan, np.nan, 1], 2, None),
    ],
)
def test_early_stopping_goes_back_to_the_best_weights(values, epochs, best):
    t = constant([float(v) for v in values])
    t.fit()
    assert t.epoch == epochs
    assert t.best.epoch == best
    assert t.model.weight.item() == (best or epochs)


class Poison(nn.Module):
    """log of something that turns negative at a given call."""

    def __init__(self, at, gradient=False):
        super().__init__()
        self.linear, self.at, self.calls, self.gradient = nn.Linear(16, 3), at, 0, gradient

    def forward(self, x):
        self.calls += 1
        y = self.linear(x.flatten(1))
        if self.calls >= self.at:
            return y + (y * 0).sqrt() if self.gradient else y + (y * 0 - 1).log()
        return y


@pytest.mark.parametrize(
    ("gradient", "op", "got"), [(False, "log", "a loss of nan"), (True, "", "a gradient with NaN")]
)
def test_nan_stops_the_run_before_the_update_and_names_the_op(tmp_path, gradient, op, got):
    pynn.manual_seed(0)
    model = Poison(5, gradient)
    loader = data.DataLoader(data.ArrayDataset(IMAGES, LABELS), 8)
    t = Trainer(
        model, F.cross_entropy, optim.Adam(model.parameters()), loader, out=tmp_path, progress=False
    )
    with pytest.raises(FloatingPointError, match=r"\[train\] step 5: .*" + got) as caught:
        t.fit()
    assert f"[{op}" in str(caught.value)
    assert "the first NaN" in str(caught.value)
    assert t.step == 4
    assert all(np.isfinite(value).all() for value in weights(t).values())


def test_nan_in_the_data_and_overflow_are_told_apart():
    spoilt = IMAGES.copy()
    spoilt[3, 0, 0, 0] = np.nan
    for images, lr, words in ((spoilt, 0.1, "the batch itself holds NaN"), (IMAGES, 1e30, "step")):
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        loader = data.DataLoader(data.ArrayDataset(images, LABELS), 53)
        t = Trainer(
            model,
            F.mse_loss if lr > 1 else F.cross_entropy,
            optim.SGD(model.parameters(), lr=lr),
            data.DataLoader(data.ArrayDataset(images, np.ones((53, 3), np.float32)), 53)
            if lr > 1
            else loader,
            progress=False,
        )
        with pytest.raises(FloatingPointError, match=words):
            t.fit()


def test_the_guard_can_be_told_to_look_seldom():
    model = Poison(1)
    loader = data.DataLoader(data.ArrayDataset(IMAGES, LABELS), 8)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    t = Trainer(model, F.cross_entropy, optimizer, loader, check_every=3, progress=False)
    with pytest.raises(FloatingPointError, match="step 3: .*linear.weight held NaN"):
        t.fit()


def test_ctrl_c_saves_and_says_where(tmp_path):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    t = interrupted_at(5, trainer(tmp_path))
    assert (tmp_path / "checkpoint.safetensors").exists()
    assert not (tmp_path / "model.safetensors").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(Interrupted, match=rf"after step 9, saved to {tmp_path}") as caught:
        interrupted = t.train_step

        def again(batches):
            interrupted(batches)
            if t.step == 9:
                os.kill(os.getpid(), signal.SIGTERM)

        t.train_step = again
        t.fit()
    assert caught.value.signal == signal.SIGTERM
    assert isinstance(caught.value, KeyboardInterrupt)


def test_a_second_ctrl_c_does_not_wait():
    t = trainer()

    def stuck(batches):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("still running")

    t.train_step = stuck
    with pytest.raises(KeyboardInterrupt) as caught:
        t.fit()
    assert not isinstance(caught.value, Interrupted)


def test_training_in_another_thread_than_the_main_one():
    t, failed = trainer(epochs=1), []

    def run():
        try:
            t.fit()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not failed
    assert t.finished


def test_logs_of_a_resumed_run_hold_every_epoch_once(tmp_path):
    pytest.importorskip("tensorboardX", reason="not installed: pip install .[tensorboard]")
    interrupted_at(16, trainer(tmp_path))
    t = trainer(tmp_path, tensorboard=True)
    t.resume()
    t.fit()
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows == t.history
    csv = (tmp_path / "log.csv").read_text().splitlines()
    assert csv[0].split(",") == list(rows[0])
    assert [line.split(",")[0] for line in csv[1:]] == ["1", "2", "3"]
    assert [float(v) for v in csv[3].split(",")] == list(rows[2].values())
    assert any((tmp_path / "tensorboard").iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": -1}, "epochs: expected at least 0, got -1"),
        ({"accumulate": 0}, "accumulate: expected at least 1, got 0"),
        ({"patience": 0}, "patience: expected at least 1, got 0"),
        ({"clip_norm": 0.0}, r"clip_norm: expected a positive number, got 0\.0"),
        ({"clip_norm": float("nan")}, "clip_norm: expected a positive number, got nan"),
        ({"schedule_per": "batch"}, "schedule_per"),
    ],
)
def test_numbers_out_of_range(options, words):
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=words):
        Trainer(model, F.mse_loss, optim.SGD(model.parameters(), lr=1.0), [], **options)


def test_an_unknown_figure_to_monitor_is_named():
    with pytest.raises(ValueError, match=r"monitor: expected a column out of .*, got 'f1'"):
        trainer(monitor="f1").fit()


def test_files_need_a_loader_that_can_be_resumed(tmp_path):
    model = nn.Linear(2, 2)
    with pytest.raises(TypeError, match="expected a DataLoader"):
        Trainer(model, F.mse_loss, optim.SGD(model.parameters(), lr=1.0), [], out=tmp_path)
