"""Paints one photograph in the manner of another, by the gradient with respect to the image.

Learnt: not the network, but the image, at first clouds. The network is one that another recipe has
trained: of photo-patches, trained first in the same run, or of the run that `--network FOLDER`
names. Its first layer is to find in the image what it finds in scikit-image's astronaut (content),
and in every layer, and in the pixels themselves, the products of any two channels, meant over all
places, are to be those of a stained tissue under the microscope (style). How: Adam. What counts is
that both losses fall, each given as a share of what it was for the clouds.

photo-patches is small and knows ten photographs: it gives grain and threads, but no brush strokes;
and of a higher layer's content it leaves more than a tenth while the style falls.

Gatys, Ecker, Bethge 2016, "Image style transfer using convolutional neural networks".
"""

import numpy as np

import pynn.functional as F
from pynn import no_grad, train
from pynn.data._draw import generator
from pynn.recipes._goal import Goal
from pynn.recipes._images import to_channels
from pynn.recipes._painting import Canvas, Painting, look
from pynn.recipes._recipe import Option
from pynn.tensor import Tensor

_LAYER = 0  # that of the content


class Share(train.Mean):
    """One of the two losses, as a share of what it was for the clouds."""

    def __init__(self, which):
        super().__init__()
        self.which = which

    def update(self, shares, targets) -> None:
        super().update(shares.detach()[self.which])


class StyleTransfer(Painting):
    """Content from one layer, style from the Gram matrices of all."""

    goal = Goal(
        "larger loss left", lambda r: max(r["losses_left"].values()), at_most=0.1, seconds=120
    )
    pictures = ("astronaut.png", "ihc.png")
    epochs = 25
    style = Option(0.4, "weight of the style's loss; that of the content is 1", least=0.0)
    quick = {"epochs": 3, "steps": 4, "studied": 20, "size": 32}

    def model(self):
        images = map(self.seen, (*self.photos, self.clouds()))
        return Painted(self.seeing, *images, *self.ends())

    def clouds(self) -> np.ndarray:
        """Random colours that change slowly over the image."""
        small = generator(self.seed).uniform(0.2, 0.8, (1, *(self.size // 8,) * 2, 3))
        x = F.interpolate(Tensor(small.astype(np.float32)), size=self.size, mode="bilinear")
        return to_channels(x.numpy()[0], self.eye.image_shape[2])

    def loss(self, shares, targets):
        return shares[0] + self.style * shares[1]

    def metrics(self):
        return {"content": Share(0), "style": Share(1)}

    def headline(self, result):
        left = result["losses_left"]
        return (
            f"content loss down to {100 * left['content']:.1f} %, "
            f"style loss to {100 * left['style']:.1f} %"
        )

    def report(self, trainer, test, out, plots):
        if plots:
            images = np.stack([*self.photos, self.shown(trainer.model)[0]])[None]
            columns = ["content", "style", "painted from clouds"]
            train.plots.sheet(out / "painting.png", images, "", (), columns, "gray", size=3)
        found = trainer.evaluate(test)
        return {"losses_left": {name: found[name] for name in ("content", "style")}}


class Painted(Canvas):
    """An image, what is to be found in it, and how far it was from that at first."""

    def __init__(self, network, content, style, clouds, *ends):
        super().__init__(network, clouds[None], *ends)
        with no_grad():
            self.register_buffer("content", look(network, Tensor(content[None]))[_LAYER])
            image = Tensor(style[None])
            products = [gram(y) for y in (image, *look(network, image))]
            self.names = [f"gram{i}" for i in range(len(products))]
            for name, product in zip(self.names, products, strict=True):
                self.register_buffer(name, product)
            self.register_buffer("first", self.losses())

    def forward(self, step):
        """(content, style), the two losses as shares of the first ones."""
        return self.losses() / self.first

    def losses(self):
        """(content, style)."""
        image = self.images
        found = look(self.network, image)
        content = (found[_LAYER] - self.content).astype("float32").square().mean()
        wanted = [getattr(self, name).astype("float32") for name in self.names]
        style = sum(
            (gram(y) - g).square().sum() / g.square().sum()
            for y, g in zip((image, *found), wanted, strict=True)
        )
        return F.stack([content, style])


def gram(y):
    """The mean products of any two channels, (C, C), of what was found in (1, H, W, C)."""
    y = y.astype("float32").reshape(-1, y.shape[-1])
    return y.transpose(0, 1) @ y / len(y)
