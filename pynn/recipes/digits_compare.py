"""Compares activations and losses on handwritten digits: six networks learn side by side.

Learnt: which digit, 0 to 9, an image of 8 x 8 pixels shows, by networks that differ in one thing:
the function of their two hidden layers (sigmoid, tanh, ReLU, each with cross-entropy), or the loss
(mean squared error, its root, arctangent error, cross-entropy, each with ReLU). From: 1797 digits
by 43 writers (scikit-learn's "digits"); a stratified fifth is held out and looked at once, at the
end. How: all see the same batches and begin with the same weights; their losses are added, which
leaves each its own gradient. compared.png shows their accuracy on the validation images.

Glorot, Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks".
"""

import pynn.functional as F
from pynn import data, nn, random, train
from pynn.recipes._digits import Digits
from pynn.recipes._goal import Goal
from pynn.recipes._recipe import Option
from pynn.recipes.digits_mlp import ACTIVATIONS, LOSSES
from pynn.train import plots as draw

_ACTIVATED = ("sigmoid", "tanh", "relu")
_SHOWN = ("mse", "rmse", "arctan", "cross-entropy")
NETWORKS = (
    *((name, "cross-entropy") for name in _ACTIVATED),
    *(("relu", name) for name in _SHOWN[:-1]),
)


class DigitsCompare(Digits):
    """Six times 64 - hidden - hidden - 10."""

    goal = Goal(
        "test accuracy of the worst",
        lambda r: min(share for name, share in r["test"].items() if name != "loss"),
        at_least=0.95,
        seconds=20,
    )
    epochs = 60
    lr = 3e-3
    hidden = Option(128, "width of the two hidden layers of each network", least=1)

    def augmentation(self):
        return [data.RandomRotation(12)]

    def model(self):
        return SideBySide(self.hidden)

    def loss(self, outputs, labels):
        scores = F.chunk(outputs, len(NETWORKS), 1)
        losses = [LOSSES[loss](s, labels) for s, (_, loss) in zip(scores, NETWORKS, strict=True)]
        return sum(losses[1:], start=losses[0])

    def metrics(self):
        return {f"{a}, {loss}": One(i) for i, (a, loss) in enumerate(NETWORKS)}

    def headline(self, result):
        shares = {name: share for name, share in result["test"].items() if name != "loss"}
        return ", ".join(f"{name}: {100 * share:.1f} %" for name, share in shares.items())

    def report(self, trainer, test, out, plots):
        if plots and trainer.history:
            self._draw(out / "compared.png", trainer.history, trainer.evaluate(test))
        return {}

    def _draw(self, path, history, found):
        figure, axes = draw.figure_of(10, 4.4, 1, 2, "share of validation images read right")
        epochs = [row["epoch"] for row in history]
        panels = {
            "cross-entropy, with three activations": [(a, "cross-entropy") for a in _ACTIVATED],
            "ReLU, with four losses": [("relu", loss) for loss in _SHOWN],
        }
        for axis, (title, networks), which in zip(axes, panels.items(), (0, 1), strict=True):
            for names, color in zip(networks, draw.TEN, strict=False):
                name = ", ".join(names)
                label = f"{names[which]}: {100 * found[name]:.1f} % of the test"
                axis.plot(epochs, [row[f"val_{name}"] for row in history], color=color, label=label)
            axis.set_title(title, fontsize=11, loc="left")
            axis.set_xlabel("epoch")
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.grid(color="#e6e6e6", lw=0.7)
            axis.legend(frameon=False, fontsize=9, loc="lower right")
        draw.save(figure, path)


class SideBySide(nn.Module):
    """Networks of equal first weights that do not touch each other; scores (N, 10 networks)."""

    def __init__(self, hidden):
        super().__init__()
        begin, networks = random.get_state(), []
        for activation, _ in NETWORKS:
            random.set_state(begin)
            active = ACTIVATIONS[activation]
            networks.append(
                nn.Sequential(
                    nn.Linear(64, hidden),
                    active(),
                    nn.Linear(hidden, hidden),
                    active(),
                    nn.Linear(hidden, 10),
                )
            )
        self.networks = nn.ModuleList(networks)

    def forward(self, images):
        x = images.flatten(1)
        return F.cat([network(x) for network in self.networks], 1)


class One(train.Accuracy):
    """Accuracy of one of the networks."""

    def __init__(self, which):
        super().__init__()
        self.which = which

    def update(self, outputs, targets) -> None:
        own = slice(10 * self.which, 10 * self.which + 10)
        super().update(outputs[:, own], targets)
