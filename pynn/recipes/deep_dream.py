"""Lets a network paint what it sees: a photograph to which it answers ten times as strongly.

Learnt: not the network, but the image. The network is one that another recipe has trained: of
photo-patches, trained first in the same run, or of the run that `--network FOLDER` names. It is
shown a photograph of scikit-image, and its gradient says how each pixel raises the mean square of
what one channel of a layer finds: a channel whose answer to the photograph is weaker than three
quarters of the others'. How: Adam, on the images for each of the last three layers at once, which
the network sees at half their size in the first half of the steps and in full in the second, moved
at random before each step, so that no grid appears. What counts is the objective of the last image
over that of the photograph.

Mordvintsev, Olah, Tyka 2015, "Inceptionism: going deeper into neural networks".
Olah, Mordvintsev, Schubert 2017, "Feature visualization".
"""

import numpy as np

import pynn.functional as F
from pynn import no_grad, train
from pynn.recipes._goal import Goal
from pynn.recipes._painting import Canvas, Painter, Painting, look
from pynn.tensor import Tensor

_SHIFT = 8  # pixels that the images are moved by, at most


class Dreaming(Painter):
    """Shows the network the images at half their size first."""

    def train_step(self, batches):
        self.model.half = self.step < self.total_steps // 2
        super().train_step(batches)


class Rise(train.Mean):
    """The least rise of an objective over that of the photograph."""

    higher_is_better = True

    def update(self, rises, targets) -> None:
        super().update(rises.detach().min())


class DeepDream(Painting):
    """An image for each of the last three layers, from one photograph."""

    goal = Goal(
        "rise of the objective",
        lambda r: min(r["objective_rise"].values()),
        at_least=10,
        seconds=120,
        form=".1f",
    )
    pictures = ("chelsea.png",)
    trainer = Dreaming
    stages = 2
    epochs = 16
    quick = {"epochs": 4, "steps": 3, "studied": 20, "size": 48}

    @staticmethod
    def moved(batch, rng):
        return rng.integers(-_SHIFT, _SHIFT + 1, batch.shape)

    def model(self):
        return Dream(self.seeing, self.seen(self.photos[0]), *self.ends())

    @staticmethod
    def loss(rises, targets):
        return -F.log1p(rises).mean()

    def metrics(self):
        return {"rise": Rise()}

    def headline(self, result):
        rise = result["objective_rise"]
        layers = ", ".join(f"{value:.1f}" for value in rise.values())
        return f"the objective rises {min(rise.values()):.1f}-fold or more (by layer {layers})"

    def report(self, trainer, test, out, plots):
        model = trainer.model
        rises, _ = trainer.predict(test)
        names = [f"layer {layer + 1}" for layer, _ in model.places]
        rise = dict(zip(names, map(float, rises), strict=True))
        if plots:
            columns = ["photograph", *(f"{name}: x {rise[name]:.1f}" for name in names)]
            images = np.concatenate([self.photos[0][None], self.shown(model)])[None]
            title = "what a channel of each layer makes of it, and how far its answer rises"
            train.plots.sheet(out / "dream.png", images, title, (), columns, "gray", size=2.8)
        return {"objective_rise": rise}


class Dream(Canvas):
    """The photograph, once for each of the last three layers, which are to answer more strongly.

    places  (layer, channel) for each image
    """

    half = False

    def __init__(self, network, photo, *ends):
        with no_grad():
            found = look(network, Tensor(photo[None]))
        answers = [y.square().mean((0, 1, 2)).numpy() for y in found]
        self.places = [(i, _quiet(answers[i])) for i in range(len(found))[-3:]]
        super().__init__(network, np.tile(photo, (len(self.places), 1, 1, 1)), *ends)
        first = [answers[layer][channel] for layer, channel in self.places]
        self.register_buffer("first", Tensor(np.array(first)))

    def forward(self, shift):
        """How far the objectives have risen, one for each image; `shift` (1, 2) in training."""
        x = self.images
        if self.training:
            for axis, n in enumerate(shift.numpy()[0], 1):
                x = F.roll(x, int(n), axis)
            if self.half:
                x = F.interpolate(x, scale_factor=0.5, mode="bilinear")
        found = look(self.network, x)
        answers = [
            found[layer][i, ..., channel].astype("float32").square().mean()
            for i, (layer, channel) in enumerate(self.places)
        ]
        return F.stack(answers) / self.first


def _quiet(answers):
    """The channel at the lowest quarter of the answers, of those that answer at all."""
    order = [i for i in np.argsort(answers, kind="stable") if answers[i] > 0]
    if not order:
        raise ValueError("[deep-dream] network: expected layers that answer, got a dead one")
    return int(order[len(order) // 4])
