"""Lets a network paint what it sees: a photograph to which it answers ten times as strongly.

Learnt first, in the same run: which of ten photographs of scikit-image a patch of 32 x 32 pixels
was cut from, by four convolutions, its colours exchanged so that textures must tell. Then the
network stays as it is and the image learns: its gradient says how each pixel raises the mean square
of what one channel of a layer finds, a channel whose answer to the photograph is weaker than three
quarters of the others', and the image climbs along it in steps of a fixed mean length, first at
half its size, then in full. It is moved at random before each step, so that no grid appears. What
counts is the objective of the last image over that of the photograph.

Mordvintsev, Olah, Tyka 2015, "Inceptionism: going deeper into neural networks".
"""

import numpy as np

import pynn.functional as F
from pynn import no_grad, train
from pynn.data._draw import generator
from pynn.recipes._goal import Goal
from pynn.recipes._painting import Painting
from pynn.recipes._recipe import Option
from pynn.tensor import Tensor
from pynn.train.files import write_csv

_PHOTO = "coffee.png"


class DeepDream(Painting):
    """Gradient ascent on an image, for each of the three upper layers."""

    goal = Goal(
        "rise of the objective",
        lambda r: min(r["objective_rise"].values()),
        at_least=10,
        seconds=120,
        form=".1f",
    )
    climb = Option(60, "steps of the image at each of two sizes", least=1)
    stride = Option(0.04, "mean change of a pixel in a step, in deviations", above=0)

    quick = {"epochs": 2, "patches": 160, "width": 4, "size": 32, "climb": 4}

    def headline(self, result):
        rise = result["objective_rise"]
        layers = ", ".join(f"{rise[layer]:.1f}" for layer in rise)
        return f"the objective rises {min(rise.values()):.1f}-fold or more (by layer {layers})"

    def report(self, trainer, test, out, plots):
        found = super().report(trainer, test, out, plots)
        model, rows = trainer.model.eval(), []
        photo = self.picture(_PHOTO)
        answers = self._answers(model, photo)
        channels = {layer: _quiet(answers[layer]) for layer in (1, 2, 3)}
        dreams = {at: self._dream(model, photo, at, rows) for at in channels.items()}
        write_csv(out / "dream.csv", [rows[0], *(row.values() for row in rows)])
        rise = {
            f"layer{layer + 1}": float(
                self._answers(model, image)[layer][channel] / answers[layer][channel]
            )
            for (layer, channel), image in dreams.items()
        }
        if plots:
            columns = ["photograph"]
            columns += [
                f"layer {layer + 1}: x {rise[f'layer{layer + 1}']:.1f}" for layer in channels
            ]
            images = np.stack([[photo, *dreams.values()]])
            title = "what a channel of each layer makes of it, and how far its answer rises"
            train.plots.sheet(out / "dream.png", images, title, (), columns, size=2.8)
        return {**found, "objective_rise": rise}

    def _dream(self, model, photo, at, rows):
        """The image to which layer and channel `at` answer strongly; a row of `rows` each step."""
        rng = generator(self.seed, *at)
        whole = self.tensor(model, photo)
        half = F.interpolate(whole, scale_factor=0.5, mode="bilinear")
        change = F.interpolate(
            self._climb(model, half, at, rng, rows) - half, size=self.size, mode="bilinear"
        )
        return self.image(self._climb(model, whole + change, at, rng, rows))

    def _climb(self, model, x, at, rng, rows):
        layer, channel = at
        for _ in range(self.climb):
            shift = tuple(int(n) for n in rng.integers(-8, 9, 2))
            pixels = np.roll(x.detach().astype("float32").numpy(), shift, (1, 2))
            moved = _like(x, pixels, learnt=True)
            objective = model.features(moved)[layer][..., channel].square().mean()
            objective.backward()
            rows.append({"layer": layer + 1, "size": x.shape[1], "objective": float(objective)})
            g = moved.grad.astype("float32").numpy()
            pixels += self.stride * g / (np.abs(g).mean() + 1e-12)
            pixels = np.roll(pixels, tuple(-n for n in shift), (1, 2))
            x = _like(x, self.normalize(np.clip(self.normalize.inverse(pixels), 0, 1)))
        return x

    def _answers(self, model, image):
        """For each layer, the mean square of what each channel finds: [(C,), ...]."""
        with no_grad():
            found = model.features(self.tensor(model, image))
        return [y.astype("float32").square().mean((0, 1, 2)).numpy() for y in found]


def _quiet(answers):
    """The channel at the lowest quarter of the answers, of those that answer at all."""
    order = [i for i in np.argsort(answers, kind="stable") if answers[i] > 0]
    return int(order[len(order) // 4])


def _like(x, pixels, learnt=False):
    """A tensor of pixels with the dtype and device of x."""
    return Tensor(pixels, learnt, dtype=x.dtype, device=x.device)
