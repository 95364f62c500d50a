"""Reads handwritten digits with two hidden layers, in a few seconds.

Learnt: which digit, 0 to 9, an image of 8 x 8 pixels shows. From: 1797 digits by 43 writers
(scikit-learn's "digits"); a stratified fifth is held out and looked at once, at the end. How: two
hidden layers over the 64 pixels; training images turned by up to 12 degrees; dropout; AdamW with
warm-up and cosine cooling. `--activation` and `--loss` choose others, which `pynn train
digits-compare` shows side by side.

Rumelhart, Hinton, Williams 1986, "Learning representations by back-propagating errors".
"""

import pynn.functional as F
from pynn import data, nn
from pynn.recipes._digits import Digits
from pynn.recipes._goal import Goal
from pynn.recipes._recipe import Option

ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "gelu": nn.GELU}


def _on_probabilities(loss):
    """A loss of the probabilities of the classes against 1 for the true one and 0 for the rest."""
    return lambda scores, labels: loss(F.softmax(scores), F.one_hot(labels, scores.shape[1]))


LOSSES = {
    "cross-entropy": F.cross_entropy,
    "mse": _on_probabilities(F.mse_loss),
    "rmse": _on_probabilities(F.rmse_loss),
    "arctan": _on_probabilities(F.arctan_loss),
}


class DigitsMlp(Digits):
    """64 - hidden - hidden - 10."""

    goal = Goal("test accuracy", lambda r: r["test"]["accuracy"], at_least=0.975, seconds=20)
    epochs = 60
    lr = 3e-3
    hidden = Option(256, "width of the two hidden layers", least=1)
    activation = Option("relu", "function of the hidden layers", choices=tuple(ACTIVATIONS))
    loss = Option(
        "cross-entropy",
        "what is made small; all but it are of probabilities",
        choices=tuple(LOSSES),
    )
    dropout = Option(0.3, "share of hidden values left out in training", least=0.0)

    def __init__(self, **options):
        super().__init__(**options)
        self.loss = LOSSES[self.loss]

    def augmentation(self):
        return [data.RandomRotation(12)]

    def model(self):
        active = ACTIVATIONS[self.activation]
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(64, self.hidden),
            active(),
            nn.Dropout(self.dropout),
            nn.Linear(self.hidden, self.hidden),
            active(),
            nn.Dropout(self.dropout),
            nn.Linear(self.hidden, 10),
        )
