"""Tells two kinds of iris apart with one threshold unit, by Rosenblatt's rule.

Learnt: a line, on one side of which the unit says "setosa" and on the other "versicolor". From:
length and width of the petals of 100 irises (scikit-learn's "iris"); a stratified fifth is held out
and looked at once, at the end. How: flower after flower; where the unit errs, its weights move by
lr (target - output) x, else they stay. With a line that parts the flowers, as here, the rule ends
after finitely many mistakes; with `--pair versicolor-virginica` there is none, and it never rests.

Rosenblatt 1958, "The perceptron: a probabilistic model for information storage and organization in
the brain". Novikoff 1962, "On convergence proofs for perceptrons".
"""

import pynn.functional as F
from pynn import optim
from pynn.recipes._iris import Iris


def rosenblatt(scores, targets):
    """Mean of (step(s) - t) s: 0 for a right answer, else how far s is on the wrong side. Its
    gradient in the weights, (step(s) - t) x, is Rosenblatt's rule with its sign changed.
    """
    return ((F.step(scores) - targets) * scores).mean()


class Perceptron(Iris):
    """step(w x + b), from zeros."""

    epochs = 10
    lr = 1.0
    loss = staticmethod(rosenblatt)

    def make_optimizer(self, model):
        return optim.SGD(model.parameters(), self.lr)
