"""Paints one photograph in the manner of another, by the gradient with respect to the image.

Learnt first, in the same run: which of ten photographs of scikit-image a patch of 32 x 32 pixels
was cut from, by four convolutions. Then the network stays as it is and an image, at first clouds,
learns by Adam: in the second layer it is to find what it finds in the astronaut (content), and in
every layer, and in the pixels themselves, the same products of any two channels, summed over all
places, as in a stained tissue under the microscope (style). What counts is that both
losses fall, each given as a share of what it was for the clouds.

The network is small and knows ten photographs: it gives colours and grain, but neither brush
strokes nor a clean face.

Gatys, Ecker, Bethge 2016, "Image style transfer using convolutional neural networks".
"""

import numpy as np

import pynn.functional as F
from pynn import no_grad, optim, train
from pynn.data._draw import generator
from pynn.nn import Parameter
from pynn.recipes._goal import Goal
from pynn.recipes._painting import Painting
from pynn.recipes._recipe import Option
from pynn.train.files import write_csv

_CONTENT, _STYLE = "astronaut.png", "ihc.png"
_LAYER = 1  # that of the content


class StyleTransfer(Painting):
    """Content from one layer, style from the Gram matrices of all."""

    goal = Goal(
        "larger loss left", lambda r: max(r["losses_left"].values()), at_most=0.1, seconds=120
    )
    size = 96
    paint = Option(150, "steps of the image", least=1)
    speed = Option(0.05, "learning rate of the image", above=0)
    style = Option(1.0, "weight of the style's loss; that of the content is 1", least=0.0)

    quick = {"epochs": 2, "patches": 160, "width": 4, "size": 32, "paint": 8}

    def headline(self, result):
        left = result["losses_left"]
        return (
            f"content loss down to {100 * left['content']:.1f} %, "
            f"style loss to {100 * left['style']:.1f} %"
        )

    def report(self, trainer, test, out, plots):
        found = super().report(trainer, test, out, plots)
        model = trainer.model.eval()
        content, style = self.picture(_CONTENT), self.picture(_STYLE)
        with no_grad():
            wanted = model.features(self.tensor(model, content))[_LAYER]
            pixels = self.tensor(model, style)
            grams = [gram(y) for y in (pixels, *model.features(pixels))]
        clouds = generator(self.seed).uniform(0.2, 0.8, (self.size // 8, self.size // 8, 3))
        clouds = self.tensor(model, clouds.astype(np.float32))
        x = Parameter(F.interpolate(clouds, size=self.size, mode="bilinear"))
        optimizer = optim.Adam([x], lr=self.speed)
        rows, scale = [], None
        for _ in range(self.paint):
            features = model.features(x)
            losses = [
                (features[_LAYER] - wanted).square().mean(),
                sum(
                    (gram(y) - g).square().sum() / g.square().sum()
                    for y, g in _pairs((x, *features), grams)
                ),
            ]
            scale = scale or [float(loss) for loss in losses]
            shares = [loss / first for loss, first in zip(losses, scale, strict=True)]
            optimizer.zero_grad()
            (shares[0] + self.style * shares[1]).backward()
            optimizer.step()
            rows.append({"content": float(shares[0]), "style": float(shares[1])})
        write_csv(out / "painting.csv", [rows[0], *(row.values() for row in rows)])
        if plots:
            images = np.stack([[content, style, self.image(x)]])
            columns = ["content", "style", "painted from clouds"]
            train.plots.sheet(out / "painting.png", images, "", (), columns, size=3)
            _draw(out / "losses.png", rows)
        return {**found, "losses_left": rows[-1]}


def gram(y):
    """The mean products of any two channels, (C, C), of what was found in (1, H, W, C)."""
    y = y.astype("float32").reshape(-1, y.shape[-1])
    return y.transpose(0, 1) @ y / len(y)


def _pairs(features, grams):
    return zip(features, grams, strict=True)


def _draw(path, rows):
    figure, (axis,) = train.plots.figure_of(6.4, 3.6, 1, 1, "both losses, as shares of the clouds'")
    for name, color in (("content", train.plots.BLUE), ("style", train.plots.ORANGE)):
        axis.plot([row[name] for row in rows], color=color, label=name)
    axis.set_yscale("log")
    axis.set_xlabel("step")
    axis.grid(color="#e6e6e6", lw=0.7)
    axis.legend(frameon=False)
    train.plots.save(figure, path)
