"""Recipe: a network, its data and how it learns, with options that a command line can set."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import pynn
from pynn import dtypes, optim, random, train
from pynn.data import DataLoader
from pynn.recipes import _folder
from pynn.recipes._goal import Goal
from pynn.train.files import write_json
from pynn.train.loop import CHECKPOINT
from pynn.train.threads import blas_threads

_OPTIMIZERS = {
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "lion": optim.Lion,
    "rmsprop": optim.RMSprop,
    "sgd": lambda params, lr: optim.SGD(params, lr, momentum=0.9),
}


@dataclass(frozen=True)
class Option:
    """A setting of a recipe: `--hidden 64` on the command line, `hidden=64` in Python.

    default  its value; a subclass gives another by a plain `hidden = 32`
    help     one phrase for --help
    kind     int, float, str or bool; by default that of `default`
    least    smallest number allowed;  above  number that it must exceed;  choices  texts allowed
    """

    default: Any
    help: str
    kind: type | None = None
    least: float | None = None
    above: float | None = None
    choices: tuple = ()

    def check(self, name: str, value: Any) -> Any:
        """The value, an int as float where floats are wanted. Raises ValueError or TypeError."""
        kind = self.kind or type(self.default)
        if value is None and self.default is None:
            return None
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise TypeError(f"[train] {name}: expected {kind.__name__}, got {value!r}")
        if self.choices and value not in self.choices:
            raise ValueError(
                f"[train] {name}: expected one of {', '.join(self.choices)}, got {value!r}"
            )
        low = self.above if self.above is not None else self.least
        if low is not None and not (value > low if self.above is not None else value >= low):
            words = {(0, True): "a positive number", (0, False): "a number >= 0"}
            words = words.get((low, self.above is not None), f"at least {low}")
            raise ValueError(f"[train] {name}: expected {words}, got {value:g}")
        if kind is float and not math.isfinite(value):
            raise ValueError(f"[train] {name}: expected a finite number, got {value}")
        return value


class Recipe:
    """Base of all recipes. A subclass says what is learnt; what it leaves out has a usual default.

    data()       (train, validation, test), each a DataLoader
    model()      the network
    loss         loss(outputs, targets), written as staticmethod
    metrics()    {name: Metric} beside the loss
    make_optimizer(), make_schedule(): AdamW unless --optimizer says otherwise; warm-up, then cosine
    report()     after training: pictures, figures
    goal         the figure that a whole run must reach;  others  settings that must reach it, too
    quick        the options that --quick sets, unless they are given
    trainer      the loop: a subclass of Trainer where a step is of another kind
    stages       equal parts of the training with a loss of their own each

    Options of its own are attributes: `hidden = Option(64, "width of the hidden layer")`; they are
    read as `self.hidden`.
    """

    epochs = Option(10, "passes over the training set", least=0)
    batch_size = Option(64, "samples in a batch", least=1)
    lr = Option(1e-3, "learning rate", above=0)
    optimizer = Option("adamw", "rule of the updates", choices=tuple(_OPTIMIZERS))
    max_steps = Option(None, "stop after so many steps (updates)", kind=int, least=0)
    accumulate = Option(1, "batches whose gradients make one step", least=1)
    clip_norm = Option(None, "longest gradient allowed", kind=float, above=0)
    patience = Option(None, "stop after so many epochs without progress", kind=int, least=1)
    device = Option("cpu", 'where to compute: "cpu", "cuda" or "cuda:N"')
    dtype = Option(
        "float32", "of weights and activations", choices=tuple(d.name for d in dtypes.FLOATS)
    )
    threads = Option(
        1, "of matrix products on the CPU: these are too small to gain by more", least=1
    )
    seed = Option(0, "of initial weights, order of batches and augmentation", least=0)

    quick = {"epochs": 2}
    goal: Goal
    others: tuple = ()  # such as ({"network": "cnn"},)
    trainer = train.Trainer
    stages = 1
    monitor = None  # the figure by which --patience judges; the validation loss if None

    def __init__(self, *, quick: bool = False, **given):
        known = self.options()
        unknown = set(given) - set(known)
        if unknown:
            raise ValueError(
                f"[train] expected options out of {list(known)}, got {sorted(unknown)}"
            )
        settings = {name: option.default for name, option in known.items()}
        settings |= self.quick if quick else {}
        settings |= given
        self.settings = {name: known[name].check(name, value) for name, value in settings.items()}
        self.__dict__.update(self.settings)
        pynn.backend.parse_device(self.device)

    @classmethod
    def options(cls) -> dict[str, Option]:
        """{name: Option} with this recipe's defaults."""
        found = {}
        for base in reversed(cls.__mro__):
            for name, value in vars(base).items():
                if isinstance(value, Option):
                    found[name] = value
                elif name in found:
                    old = found[name]
                    found[name] = Option(
                        value, old.help, old.kind, old.least, old.above, old.choices
                    )
        return found

    # -------------------------------------------------------------- what a recipe states

    def data(self):
        """(train, validation, test), each a DataLoader; validation may be None."""
        raise NotImplementedError

    def ready(self, out: Path, resume: bool, progress: bool) -> None:
        """See to what `model` needs besides the data, such as a network that another recipe trains;
        `out`, `resume` and `progress` as in `run`.
        """

    def model(self):
        """The network, an nn.Module."""
        raise NotImplementedError

    def metrics(self) -> dict[str, train.Metric]:
        """What to count beside the loss."""
        return {}

    def make_optimizer(self, model):
        """The rule of the updates over the model's parameters."""
        return _OPTIMIZERS[self.optimizer](model.parameters(), lr=self.lr)

    def make_schedule(self, optimizer, steps: int):
        """The learning rate at each of `steps` steps: a twentieth is warm-up, then a cosine."""
        warm = max(1, steps // 20)
        return optim.SequentialLR(
            optimizer,
            [
                optim.LinearLR(optimizer, start_factor=0.1, total_iters=warm),
                optim.CosineAnnealingLR(optimizer, max(1, steps - warm)),
            ],
            [warm],
        )

    def report(self, trainer, test, out: Path, plots: bool) -> dict:
        """Look at the trained network: pictures into `out`, figures for result.json returned."""
        return {}

    def headline(self, result: dict) -> str:
        """The figure that the run was about, as one phrase."""
        return f"test loss {result['test']['loss']:.4f}"

    def state_dict(self) -> dict:
        """What `data` found out and `pynn predict` needs, fit for JSON."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Take what `state_dict` gave."""

    # -------------------------------------------------------------- running

    def run(
        self,
        out,
        *,
        resume: bool = False,
        overwrite: bool = False,
        plots: bool = True,
        progress: bool = True,
        tensorboard: bool = False,
        save_every: int | None = None,
    ) -> dict:
        """Train, test, and leave everything in the folder `out`; returns what result.json holds.

        resume       go on with the run in `out`;  overwrite  remove the run in `out` first
        plots        draw pictures;  progress  tell how it goes;  tensorboard  write its files
        save_every   steps between checkpoints, besides those after each epoch

        Raises FileExistsError if `out` holds a run and neither is said; RuntimeError for a device
        that is not there, ImportError without matplotlib; Interrupted on Ctrl-C, after saving.
        """
        out = Path(out)
        if not resume:
            _folder.require_free(out, overwrite)
        pynn.backend.to_device(np.empty(0), self.device)  # raises where there is no such device
        if plots:
            train.plots.figure_class()  # raises now, not behind the training
        with blas_threads(self.threads):
            return self._run(out, resume, plots, progress, tensorboard, save_every)

    def _run(self, out, resume, plots, progress, tensorboard, save_every):
        began, computed = time.perf_counter(), time.process_time()
        random.manual_seed(self.seed)
        train_loader, validation, test = self.data()
        self.ready(out, resume, progress)
        model = self.model().to(dtype=self.dtype, device=self.device)
        optimizer = self.make_optimizer(model)
        trainer = self.trainer(
            model,
            self.loss,
            optimizer,
            train_loader,
            validation,
            epochs=self.epochs,
            max_steps=self.max_steps,
            metrics=self.metrics(),
            clip_norm=self.clip_norm,
            accumulate=self.accumulate,
            monitor=self.monitor,
            patience=self.patience,
            out=out,
            save_every=save_every,
            tensorboard=tensorboard,
            progress=progress,
        )
        trainer.schedule = self.make_schedule(optimizer, max(1, trainer.total_steps))
        if not resume:
            _folder.clear(out)
        elif (out / CHECKPOINT).exists():
            trainer.resume()
            trainer.progress.say(f"resumed at step {trainer.step} of {trainer.total_steps}")
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / _folder.CONFIG, self._config())
        trainer.fit()
        result = {
            "test": scalars(trainer.evaluate(test)),
            "epochs": trainer.epoch,
            "steps": trainer.step,
        }
        result["parameters"] = sum(p.size for p in model.parameters())
        result |= self.report(trainer, test, out, plots)
        if plots and trainer.history:
            train.plots.curves(
                out / "curves.png", trainer.history, f"{self.name}: {self.headline(result)}"
            )
        result["seconds"] = round(time.perf_counter() - began, 2)
        result["cpu_seconds"] = round(time.process_time() - computed, 2)
        write_json(out / _folder.RESULT, result)
        return result

    @property
    def name(self) -> str:
        """The name on the command line."""
        return type(self).__module__.rpartition(".")[2].replace("_", "-")

    def _config(self):
        return {
            "recipe": self.name,
            "options": self.settings,
            "state": self.state_dict(),
            "versions": {"pynn": pynn.__version__, "numpy": np.__version__},
        }

    def loader(self, dataset, shuffle: bool = False, transform=None) -> DataLoader:
        """A DataLoader over a dataset with this recipe's batch size, seed and device."""
        return DataLoader(
            dataset,
            min(self.batch_size, len(dataset)),
            shuffle,
            seed=self.seed,
            transform=transform,
            device=self.device,
        )


def scalars(figures: dict) -> dict:
    """Those of the figures that are numbers."""
    return {name: value for name, value in figures.items() if isinstance(value, int | float)}
