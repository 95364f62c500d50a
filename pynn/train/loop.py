"""The training loop.

    trainer = Trainer(model, F.cross_entropy, optim.Adam(model.parameters()), train, validation,
                      epochs=20, metrics={"accuracy": Accuracy()}, out="runs/mine")
    trainer.fit()
    trainer.evaluate(test)

A step, or iteration, is one update of the weights on one batch (or on `accumulate` batches). An
epoch is one pass over the training set.
"""

import copy
import os
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

import numpy as np

from pynn import autograd, dtypes, random
from pynn.nn import clip_grad_norm_
from pynn.optim import ReduceLROnPlateau
from pynn.train import checkpoint, guard
from pynn.train.interrupt import Interrupted, Signals
from pynn.train.log import Log
from pynn.train.metrics import Mean, Metric
from pynn.train.patience import Best
from pynn.train.progress import Progress

CHECKPOINT, WEIGHTS = "checkpoint.safetensors", "model.safetensors"


class Trainer:
    """Trains a model, and keeps all that it needs to go on after an interruption, to the bit.

    model         nn.Module
    loss          loss(outputs, targets) -> Tensor of one element, a mean over the batch
    optimizer     over the model's parameters
    train         DataLoader of batches (inputs..., targets)
    validation    another, looked at after each epoch; None for none
    epochs        how many passes over `train`
    max_steps     stop after so many steps, if that is sooner
    schedule      learning-rate schedule, stepped after each step or each epoch (`schedule_per`);
                  ReduceLROnPlateau after each epoch, with the monitored figure
    metrics       {name: Metric}, counted over the training and the validation batches
    clip_norm     scale the gradient down to this norm if it is longer
    accumulate    batches that make one step, each weighted by its number of samples
    monitor       the figure that says which epoch is best: a column of the history; by default
                  "val_loss", or "loss" without validation
    patience      stop when `monitor` has not improved for so many epochs, and go back to the best
                  weights; None: train all epochs and keep the last weights
    out           folder for log, checkpoint and weights, made if need be; None writes nothing
    save_every    save the checkpoint every so many steps as well as after each epoch
    check_every   look for NaN in loss and gradients every so many steps, 0 never. By default 1 on
                  the CPU, and 20 on a GPU, where looking makes the program wait
    tensorboard   write event files too
    progress      show a bar and a line for each epoch

    step, epoch   updates made, epochs completed
    history       a dict for each epoch: epoch, step, lr (as it leaves it), loss, metrics, val_...

    For a step of another kind (several losses, no targets) override `forward`.
    Raises ValueError for numbers out of range.
    """

    def __init__(
        self,
        model,
        loss: Callable,
        optimizer,
        train: Iterable,
        validation: Iterable | None = None,
        *,
        epochs: int = 10,
        max_steps: int | None = None,
        schedule=None,
        schedule_per: str = "step",
        metrics: dict[str, Metric] | None = None,
        clip_norm: float | None = None,
        accumulate: int = 1,
        monitor: str | None = None,
        patience: int | None = None,
        out: str | os.PathLike | None = None,
        save_every: int | None = None,
        check_every: int | None = None,
        tensorboard: bool = False,
        progress: bool = True,
    ):
        _require("epochs", epochs, 0)
        for name, value, least in (
            ("max_steps", max_steps, 0),
            ("accumulate", accumulate, 1),
            ("patience", patience, 1),
            ("save_every", save_every, 1),
            ("check_every", check_every, 0),
        ):
            if value is not None:
                _require(name, value, least)
        if clip_norm is not None and not clip_norm > 0:
            raise ValueError(f"[train] clip_norm: expected a positive number, got {clip_norm}")
        if schedule_per not in ("step", "epoch"):
            raise ValueError(
                f'[train] schedule_per: expected "step" or "epoch", got {schedule_per!r}'
            )
        self.model, self.loss, self.optimizer, self.schedule = model, loss, optimizer, schedule
        self.train, self.validation = train, validation
        self.epochs, self.max_steps, self.schedule_per = epochs, max_steps, schedule_per
        self.metrics = dict(metrics or {})
        self.clip_norm, self.accumulate = clip_norm, accumulate
        self.monitor = monitor or ("loss" if validation is None else "val_loss")
        self.patience = patience
        self.out = None if out is None else Path(out)
        self.save_every, self.tensorboard = save_every, tensorboard
        if out is not None and not hasattr(train, "load_state_dict"):
            raise TypeError(
                f"[train] train: expected a DataLoader, which can be resumed, got {type(train)}"
            )
        first = next(iter(model.parameters()), None)
        if first is None:
            raise ValueError("[train] model: expected at least one parameter, got none")
        self.device, self.dtype = first.device, first.dtype
        self.check_every = (
            (1 if self.device == "cpu" else 20) if check_every is None else check_every
        )
        self.progress = Progress(progress)
        self.step = self.epoch = 0
        self.history = []
        metric = self.metrics.get(self.monitor.removeprefix("val_"))
        self.best = Best(metric is not None and metric.higher_is_better, patience is not None)
        self._loss = Mean()

    # -------------------------------------------------------------- training

    @property
    def finished(self) -> bool:
        """Whether all epochs or steps are done, or patience is at its end."""
        return (
            self.epoch >= self.epochs
            or (self.max_steps is not None and self.step >= self.max_steps)
            or (self.patience is not None and self.best.epochs_since(self.epoch) >= self.patience)
        )

    @property
    def total_steps(self) -> int:
        """Steps of the whole run, unless patience ends it sooner."""
        total = self.epochs * -(-len(self.train) // self.accumulate)
        return total if self.max_steps is None else min(total, self.max_steps)

    def fit(self) -> list[dict]:
        """Train until finished, from wherever the run stands; returns the history.

        Leaves log.csv, log.jsonl, checkpoint.safetensors and model.safetensors in `out`. Ctrl-C
        ends the step in hand, saves the checkpoint and raises Interrupted, a KeyboardInterrupt.
        Raises FloatingPointError if a loss or gradient is not finite, before the weights change.
        """
        log = None
        if self.out is not None:
            self.out.mkdir(parents=True, exist_ok=True)
            log = Log(self.out, self.history, self.tensorboard)
        try:
            guarded = {"all": "ignore"} if self.check_every else {}  # the guard says it better
            with Signals() as signals, np.errstate(**guarded):
                self.progress.begin(self.step, self.total_steps)
                while not self.finished:
                    self._run_epoch(log, signals)
        finally:
            self.progress.end()
            if log is not None:
                log.close()
        if self.patience is not None and self.best.epochs_since(self.epoch) > 0:
            self.progress.say(
                f"{self.monitor} was best in epoch {self.best.epoch}: its weights are restored"
            )
            self.best.restore(self.model)
        if self.out is not None:
            checkpoint.save_weights(self.out / WEIGHTS, self.model)
        return self.history

    def forward(self, batch) -> tuple:
        """(loss, outputs, targets) of a batch, whose float inputs become the model's dtype."""
        *inputs, targets = self._moved(batch)
        outputs = self.model(*inputs)
        return self.loss(outputs, targets), outputs, targets

    def train_step(self, batches: list) -> None:
        """One update on the mean loss over `batches`, a list of as many as `accumulate` says."""
        before = random.get_state()
        self.optimizer.zero_grad()
        sizes = [len(batch[0]) for batch in batches]
        losses = []
        for batch, size in zip(batches, sizes, strict=True):
            loss, outputs, targets = self.forward(batch)
            (loss if len(batches) == 1 else loss * (size / sum(sizes))).backward()
            losses.append(loss.data)
            self._loss.update(loss, size)
            for metric in self.metrics.values():
                metric.update(outputs, targets)
        if self.check_every and (self.step + 1) % self.check_every == 0:
            self._require_finite(batches, losses, before)
        if self.clip_norm is not None:
            clip_grad_norm_(self.model.parameters(), self.clip_norm)
        self.optimizer.step()
        if self._steps_schedule("step"):
            self.schedule.step()
        self.step += 1

    def _run_epoch(self, log, signals):
        began = time.perf_counter()
        self.model.train()
        batches = iter(self.train)
        try:
            while group := list(islice(batches, self.accumulate)):
                self.train_step(group)
                self.progress.advance(self._loss.compute)
                if signals.received:
                    self._interrupt(signals)
                if self.max_steps is not None and self.step >= self.max_steps:
                    self._end_epoch(self.epoch + 1, log, began)
                    return
                if self.out and self.save_every and self.step % self.save_every == 0:
                    self.save()
        finally:
            self._leave(batches)
        self.epoch += 1
        self._end_epoch(self.epoch, log, began)
        for metric in self._counted().values():
            metric.reset()
        if self.out is not None:
            self.save()
        if signals.received:
            self._interrupt(signals)

    def _leave(self, batches):
        """Let go of an iterator, perhaps amid its epoch, which the next `fit` then finishes."""
        if hasattr(batches, "close"):
            batches.close()
        if hasattr(self.train, "load_state_dict"):
            self.train.load_state_dict(self.train.state_dict())

    def _end_epoch(self, epoch, log, began):
        """Take stock of an epoch, or of as much of it as max_steps allowed.

        A longer run can go on from there: the rest of the epoch then replaces the row, and nothing
        else has changed.
        """
        whole = epoch == self.epoch
        row = {
            "epoch": epoch,
            "step": self.step,
            "lr": float(self.optimizer.param_groups[0]["lr"]),
            **self._figures(self._loss, self.metrics),
        }
        if self.validation is not None:
            found = self.evaluate(self.validation)
            row |= {f"val_{name}": value for name, value in found.items() if _is_number(value)}
        row["seconds"] = round(time.perf_counter() - began, 3)
        if self.monitor not in row:
            raise ValueError(
                f"[train] monitor: expected a column out of {list(row)}, got {self.monitor!r}"
            )
        if whole:
            self.best.note(epoch, row[self.monitor], self.model)
        if whole and self._steps_schedule("epoch"):
            plateau = isinstance(self.schedule, ReduceLROnPlateau)
            self.schedule.step(row[self.monitor]) if plateau else self.schedule.step()
        if self.history and self.history[-1]["epoch"] == epoch:
            self.history.pop()
        self.history.append(row)
        if log is not None:
            log.add(row)
        self.progress.epoch(row, self.epochs, last=self.finished)
        if self.out is not None and not whole:
            self.save()

    def _counted(self):
        return {"loss": self._loss, **self.metrics}

    def _steps_schedule(self, per):
        plateau = isinstance(self.schedule, ReduceLROnPlateau)
        return self.schedule is not None and per == ("epoch" if plateau else self.schedule_per)

    def _interrupt(self, signals):
        if self.out is not None:
            self.save()
        raise Interrupted(signals.received, self.step, self.out and self.out / CHECKPOINT)

    def _moved(self, batch):
        *inputs, targets = (t if t.device == self.device else t.to(self.device) for t in batch)
        inputs = (x.astype(self.dtype) if x.dtype in dtypes.FLOATS else x for x in inputs)
        return (*inputs, targets)

    def _require_finite(self, batches, losses, before):
        gradients = [p.grad.data for p in self.model.parameters() if p.grad is not None]
        if guard.all_finite([*losses, *gradients]):
            return
        loss = sum(float(value) for value in losses) / len(losses)
        got = f"a loss of {loss}" if not np.isfinite(loss) else "a gradient with NaN or infinity"
        random.set_state(before)
        raise FloatingPointError(
            f"[train] step {self.step + 1}: expected finite loss and gradients, got {got}; "
            + guard.explain(self, batches)
        )

    # -------------------------------------------------------------- looking

    def evaluate(self, loader: Iterable) -> dict:
        """{"loss": mean, name: figure of each metric} over a loader, without learning from it."""
        loss = Mean()
        metrics = {name: copy.deepcopy(metric) for name, metric in self.metrics.items()}
        for metric in metrics.values():
            metric.reset()
        for batch, (value, outputs, targets) in self._looked_at(loader):
            loss.update(value, len(batch[0]))
            for metric in metrics.values():
                metric.update(outputs, targets)
        return self._figures(loss, metrics)

    def predict(self, loader: Iterable) -> tuple[np.ndarray, np.ndarray]:
        """(outputs, targets) over a loader, as NumPy arrays, the samples along axis 0."""
        found = [(o.numpy(), t.numpy()) for _, (_, o, t) in self._looked_at(loader)]
        outputs, targets = zip(*found, strict=True)
        return np.concatenate(outputs), np.concatenate(targets)

    def _looked_at(self, loader):
        """(batch, forward(batch)) for each batch, in evaluation mode, the random stream kept."""
        state, training = random.get_state(), self.model.training
        self.model.eval()
        try:
            for batch in loader:
                with autograd.no_grad():
                    found = self.forward(batch)
                yield batch, found
        finally:
            self.model.train(training)
            random.set_state(state)

    def _figures(self, loss, metrics):
        found = {"loss": loss.compute()}
        found |= {name: metric.compute() for name, metric in metrics.items()}
        return {name: float(v) if _is_number(v) else v for name, v in found.items()}

    # -------------------------------------------------------------- checkpoints

    def save(self, path: str | os.PathLike | None = None) -> Path:
        """Write the checkpoint, by default out/checkpoint.safetensors; returns its path.

        Raises OSError, with the former checkpoint intact, if that fails.
        """
        path = self._checkpoint_path(path)
        checkpoint.save(
            path,
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                **({} if self.schedule is None else {"schedule": self.schedule.state_dict()}),
                "loader": self.train.state_dict(),
                "random": random.get_state(),
                "epoch": self.epoch,
                "step": self.step,
                **{f"counted.{name}": m.state_dict() for name, m in self._counted().items()},
                "best": self.best.state_dict(),
                "history": self.history,
            },
        )
        return path

    def resume(self, path: str | os.PathLike | None = None) -> None:
        """Go on from a checkpoint, by default out/checkpoint.safetensors, to the bit.

        Raises ValueError, with everything as it was, if the file is damaged or was written by
        another model, optimizer, schedule or loader; FileNotFoundError if there is none.
        """
        path = self._checkpoint_path(path)
        state = checkpoint.load(path)
        checkpoint.require_fit(path, state["model"], self.model, exact=True)
        parts = {"optimizer": self.optimizer, "loader": self.train, "best": self.best}
        parts |= {f"counted.{name}": metric for name, metric in self._counted().items()}
        if self.schedule is not None:
            parts["schedule"] = self.schedule
        checkpoint.load_parts(path, state, parts)
        self.model.load_state_dict(state["model"])
        random.set_state(state["random"])
        self.epoch, self.step, self.history = state["epoch"], state["step"], state["history"]

    def _checkpoint_path(self, path):
        if path is None and self.out is None:
            raise ValueError("[checkpoint] expected a path, got none, and no folder `out` either")
        return self.out / CHECKPOINT if path is None else Path(path)


def _is_number(value):
    return isinstance(value, int | float | np.number)


def _require(name, value, least):
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"[train] {name}: expected an int, got {value!r}")
    if value < least:
        raise ValueError(f"[train] {name}: expected at least {least}, got {value}")
