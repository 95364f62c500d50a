"""Foretells next year's sunspots with an LSTM, beside linear autoregression and persistence.

Learnt: the mean number of sunspots of a year from those of the 24 years before. From: the years
1700 to 2008 (inside statsmodels); the last 20 % are the test, looked at once, at the end. How: the
square roots of the numbers, which make high and low years equally noisy; an LSTM reads the years
and adds to what a linear layer makes of the last nine; trained on the years before 1947, of which
the last eighth is the validation. In the same run linear autoregressions over nine years are fitted
by least squares to all years before the test, and persistence says that next year is as this one.

The roots are what helps most: autoregression on them, which the picture shows as well, errs less
than an LSTM that has seen 216 years.

Hochreiter, Schmidhuber 1997, "Long short-term memory". Yule 1927, "On a method of investigating
periodicities in disturbed series, with special reference to Wolfer's sunspot numbers".
"""

import numpy as np

import pynn.functional as F
from pynn import data, nn, optim, train
from pynn.data.sunspots import sunspots
from pynn.recipes._goal import Goal
from pynn.recipes._recipe import Option, Recipe

_ORDER = 9  # years that the linear autoregression looks at
_RIVALS = ("autoregression", "persistence")


class SunspotsLstm(Recipe):
    """LSTM - dropout - linear, plus linear over the last years."""

    goal = Goal(
        "error over the better rival's",
        lambda r: r["rmse"]["LSTM"] / min(r["rmse"][rival] for rival in _RIVALS),
        at_most=1,
        seconds=60,
        form=".3f",
    )
    epochs = 40
    batch_size = 16
    lr = 1e-2
    past = Option(24, "years before that are read", least=_ORDER)
    hidden = Option(32, "width of the LSTM", least=1)
    decay = Option(0.05, "weight decay", least=0.0)

    quick = {"epochs": 2}
    loss = staticmethod(F.mse_loss)

    def data(self):
        self.years, self.numbers = sunspots()
        self.first = round(0.8 * len(self.years))  # of the test
        roots = np.sqrt(self.numbers)
        learnt = roots[: self.first]
        self.scale = data.Normalize().fit(learnt[:, None])
        values = self.scale(roots[:, None])
        windows = np.lib.stride_tricks.sliding_window_view(values[:-1, 0], self.past)
        samples = windows[..., None].copy(), values[self.past :]
        cut = self.first - self.past
        held = cut - cut // 8
        learn, validation, test = (
            data.ArrayDataset(*(part[rows] for part in samples))
            for rows in (slice(held), slice(held, cut), slice(cut, None))
        )
        return (
            self.loader(learn, shuffle=True),
            self.loader(validation),
            self.loader(test),
        )

    def make_optimizer(self, model):
        if self.optimizer != "adamw":
            return super().make_optimizer(model)
        return optim.AdamW(model.parameters(), lr=self.lr, weight_decay=self.decay)

    def model(self):
        return _Network(self.hidden)

    def headline(self, result):
        r = result["rmse"]
        return (
            f"test error {r['LSTM']:.2f} sunspots (linear autoregression "
            f"{r['autoregression']:.2f}, persistence {r['persistence']:.2f})"
        )

    def report(self, trainer, test, out, plots):
        outputs, _ = trainer.predict(test)
        roots = self.scale.inverse(outputs.astype(np.float32))[:, 0]
        true = self.numbers[self.first :]
        foretold = {
            "LSTM": np.maximum(roots, 0) ** 2,
            "autoregression": self.autoregression(self.numbers),
            "autoregression of roots": self.autoregression(np.sqrt(self.numbers)) ** 2,
            "persistence": self.numbers[self.first - 1 : -1],
        }
        rmse = {name: float(np.sqrt(np.mean((y - true) ** 2))) for name, y in foretold.items()}
        if plots:
            title = f"sunspots of each year from those before, {self.years[self.first]} on"
            figure, (axis,) = train.plots.figure_of(11, 4.4, 1, 1, title)
            years = self.years[self.first :]
            axis.plot(years, true, color="black", lw=1.6, label="true")
            styles = [(train.plots.BLUE, "-"), (train.plots.ORANGE, "--")]
            styles += [(train.plots.RED, ":"), (train.plots.GREY, ":")]
            for (name, y), (color, style) in zip(foretold.items(), styles, strict=True):
                words = f"{name}, error {rmse[name]:.1f}"
                axis.plot(years, y, color=color, ls=style, lw=1.3, label=words)
            axis.legend(frameon=False, ncols=3, loc="upper center", fontsize=9)
            axis.set_ylim(0, 1.3 * max(true.max(), foretold["LSTM"].max()))
            axis.set_ylabel("sunspots")
            train.plots.save(figure, out / "foretold.png")
        return {"rmse": rmse, "test_years": len(true)}

    def autoregression(self, values: np.ndarray) -> np.ndarray:
        """Values of the test years by least squares over the years before the test."""
        windows = np.lib.stride_tricks.sliding_window_view(values, _ORDER + 1)
        rows = np.hstack([windows[:, :-1], np.ones((len(windows), 1))]).astype(np.float64)
        cut = self.first - _ORDER
        weights, *_ = np.linalg.lstsq(rows[:cut], windows[:cut, -1].astype(np.float64), rcond=None)
        return rows[cut:] @ weights


class _Network(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.lstm = nn.LSTM(1, hidden)
        self.last = nn.Linear(hidden, 1)
        self.straight = nn.Linear(_ORDER, 1)

    def forward(self, x):
        """(N, years, 1) to (N, 1)."""
        y, _ = self.lstm(x)
        return self.straight(x[:, -_ORDER:, 0]) + self.last(y[:, -1])
