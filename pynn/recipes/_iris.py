"""What the recipes on iris share: two kinds of flowers, two measurements, a line between them."""

import numpy as np

from pynn import data, nn, train
from pynn.recipes._goal import Goal
from pynn.recipes._recipe import Option, Recipe
from pynn.tensor import Tensor
from pynn.train import plots as draw

_PAIRS = ("setosa-versicolor", "setosa-virginica", "versicolor-virginica")


class Iris(Recipe):
    """Length and width of the petals of 100 flowers, of which a stratified fifth is the test and a
    tenth of the rest the validation; the split never changes. One neuron: side w x + b.
    """

    goal = Goal("test accuracy", lambda r: r["test"]["accuracy"], at_least=1, seconds=5)
    batch_size = 1
    optimizer = "sgd"
    pair = Option("setosa-versicolor", "the two kinds of flowers", choices=_PAIRS)

    def data(self):
        rest, test = data.iris(tuple(self.pair.split("-")))
        learn, validation = data.train_test_split(rest, 0.1, seed=0, stratify=rest.arrays[1])
        self.normalize = data.Normalize().fit(learn[:][0][:, 2:])
        parts = [
            data.ArrayDataset(self.normalize(x[:, 2:]), y.astype(np.float32)[:, None])
            for x, y in (learn[:], validation[:], test[:])
        ]
        return tuple(self.loader(part, shuffle=i == 0) for i, part in enumerate(parts))

    def model(self):
        neuron = nn.Linear(2, 1)
        nn.init.zeros_(neuron.weight)
        nn.init.zeros_(neuron.bias)
        return neuron

    def make_schedule(self, optimizer, steps):
        return None

    def metrics(self):
        return {"accuracy": Side()}

    def headline(self, result):
        return f"test accuracy {100 * result['test']['accuracy']:.0f} %"

    def report(self, trainer, test, out, plots):
        weight, bias = (p.numpy().astype(np.float64) for p in trainer.model.parameters())
        slope = weight[0] / self.normalize.std  # for petals in cm
        line = [*slope, bias[0] - slope @ self.normalize.mean]
        if plots:
            self._draw(out / "line.png", trainer, test, line)
        return {"line": dict(zip(("length", "width", "constant"), map(float, line), strict=True))}

    def _draw(self, path, trainer, test, line):
        figure, (axis,) = draw.figure_of(6.4, 4.8, 1, 1)
        low, high = np.inf, -np.inf
        for loader, face, name in ((trainer.train, True, "learnt from"), (test, False, "test")):
            x, y = loader.dataset.arrays
            petals = self.normalize.inverse(x)
            low, high = np.minimum(low, petals.min(0)), np.maximum(high, petals.max(0))
            for label, color in enumerate((draw.BLUE, draw.ORANGE)):
                length, width = petals[y[:, 0] == label].T
                style = {"color": color} if face else {"facecolors": "none", "edgecolors": color}
                words = f"{self.pair.split('-')[label]}, {name}"
                axis.scatter(length, width, s=34, label=words, zorder=3, **style)
        margin = 0.15 * (high - low)
        low, high = low - margin, high + margin
        grid = np.meshgrid(*(np.linspace(a, b, 200) for a, b in zip(low, high, strict=True)))
        height = line[0] * grid[0] + line[1] * grid[1] + line[2]
        self.draw_sides(axis, *grid, height)
        axis.set_xlim(low[0], high[0])
        axis.set_ylim(low[1], high[1])
        axis.set_xlabel("length of the petals in cm")
        axis.set_ylabel("width of the petals in cm")
        share = 100 * trainer.evaluate(test)["accuracy"]
        axis.set_title(f"{self.name}: {share:.0f} % of the test flowers on their side", fontsize=11)
        axis.legend(fontsize=9, loc="upper left", edgecolor="none", framealpha=0.9)
        draw.save(figure, path)

    def draw_sides(self, axis, length, width, height):
        """The line where the neuron changes its mind, and shades of both sides."""
        axis.contourf(length, width, height > 0, [-0.5, 0.5, 1.5], colors=["#eaf1f8", "#fbf1e8"])
        axis.contour(length, width, height, [0], colors="black", linewidths=1.4)


class Side(train.Metric):
    """Share of samples whose output is on the side of 0 that the target says: 1 above, 0 below."""

    start = {"right": 0, "count": 0}

    def update(self, outputs, targets) -> None:
        scores, labels = (x.data if isinstance(x, Tensor) else x for x in (outputs, targets))
        self.right = self.right + ((scores >= 0) == (labels > 0.5)).sum()
        self.count += len(labels)

    def compute(self) -> float:
        return int(self.right) / self.count if self.count else float("nan")
