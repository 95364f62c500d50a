"""Tells two kinds of iris apart with one logistic neuron, by gradient descent.

Learnt: how probable it is that a flower is "versicolor" and not "setosa", 1 / (1 + e^-(w x + b)).
From: length and width of the petals of 100 irises (scikit-learn's "iris"); a stratified fifth is
held out and looked at once, at the end. How: gradient descent on the cross-entropy, in batches of
eight, with weight decay, since on flowers that a line parts the weights would grow for ever.

Where `pynn train perceptron` is content with any line that parts the flowers, this one looks for
the most probable: it lies midway, and says how sure it is. `--pair versicolor-virginica` has no
such line; the neuron is then unsure where the kinds overlap.

Berkson 1944, "Application of the logistic function to bio-assay". Cox 1958, "The regression
analysis of binary sequences".
"""

import numpy as np

import pynn.functional as F
from pynn import optim
from pynn.recipes._iris import Iris
from pynn.recipes._recipe import Option
from pynn.train.plots import GREY


class LogisticNeuron(Iris):
    """sigmoid(w x + b), from zeros; the sigmoid stands in the loss."""

    epochs = 60
    batch_size = 8
    lr = 0.5
    decay = Option(1e-3, "weight decay", least=0.0)
    loss = staticmethod(F.binary_cross_entropy_with_logits)

    def make_optimizer(self, model):
        return optim.SGD(model.parameters(), self.lr, weight_decay=self.decay)

    def draw_sides(self, axis, length, width, height):
        p = 1 / (1 + np.exp(-height))
        axis.contourf(length, width, p, np.linspace(0, 1, 21), cmap="coolwarm", alpha=0.3)
        levels = [0.1, 0.5, 0.9]
        drawn = axis.contour(length, width, p, levels, colors=[GREY, "black", GREY])
        row = len(p) // 4  # of the labels, where hardly a flower lies
        columns = [np.abs(p[row] - level).argmin() for level in levels]
        places = list(zip(length[row, columns], width[row, columns], strict=True))
        axis.clabel(drawn, fmt=lambda level: f"{100 * level:.0f} %", fontsize=9, manual=places)
