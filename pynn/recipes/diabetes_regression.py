"""Predicts how far diabetes goes in a year, beside linear regression on the same patients.

Learnt: a number that says how far the disease went within a year, 25 to 346. From: 10 measurements
of each of 442 patients (scikit-learn's "diabetes"); a fifth is held out and looked at once, at the
end. How: a network with one hidden layer and weight decay, stopped when it no longer improves on a
tenth of the rest; inputs and target normalized by the training patients.

With so few and so noisy patients a straight line is hard to beat: the run computes it, by least
squares on the same training and validation patients, and states both.

Efron, Hastie, Johnstone, Tibshirani 2004, "Least angle regression" (the data).
"""

import numpy as np

from pynn import data, nn, optim
from pynn.recipes._goal import Goal
from pynn.recipes._recipe import Option
from pynn.recipes._supervised import Regression


class DiabetesRegression(Regression):
    """10 - hidden - 1."""

    goal = Goal("test R2", lambda r: r["test"]["r2"], at_least=0.3, seconds=10, form=".3f")
    epochs = 200
    batch_size = 32
    patience = 40
    hidden = Option(32, "width of the hidden layer", least=1)
    decay = Option(0.1, "weight decay", least=0.0)

    def data(self):
        rest, test = data.diabetes()
        learn, validation = data.train_test_split(rest, 0.1, seed=0)
        self.normalize = data.Normalize().fit(learn[:][0])
        self.scale = data.Normalize().fit(learn[:][1])
        self.rest, self.test = rest[:], test[:]
        loaders = [
            data.ArrayDataset(self.normalize(x), self.scale(y))
            for x, y in (learn[:], validation[:], test[:])
        ]
        return tuple(self.loader(part, shuffle=i == 0) for i, part in enumerate(loaders))

    def model(self):
        return nn.Sequential(nn.Linear(10, self.hidden), nn.Tanh(), nn.Linear(self.hidden, 1))

    def make_optimizer(self, model):
        if self.optimizer != "adamw":
            return super().make_optimizer(model)
        return optim.AdamW(model.parameters(), lr=self.lr, weight_decay=self.decay)

    def baselines(self):
        x, y = self.rest
        coefficients, *_ = np.linalg.lstsq(_with_ones(self.normalize(x)), y, rcond=None)
        predicted = _with_ones(self.normalize(self.test[0])) @ coefficients
        return {"linear regression": predicted[:, 0]}

    def headline(self, result):
        linear = result["r2"]["linear regression"]
        return f"{super().headline(result)} (linear regression: {linear:.3f})"


def _with_ones(x):
    return np.hstack([x, np.ones((len(x), 1), x.dtype)])
