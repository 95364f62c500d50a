"""Finds discs, squares, triangles and horses put onto photographs, pixel by pixel, with a U-Net.

Learnt: for each pixel whether it shows the photograph, or which of three shapes and one object on
it. From: pieces of photographs of scikit-image with discs, squares, triangles and its horse put
onto them, striped, shaded and noisy, so that the true mask is known; in training the grounds'
colours are exchanged and moved. Validation and test take their grounds from photographs of their
own. How: convolutions that halve the image twice, transposed convolutions that double it again, and
beside each the features of the same size from the way down. What counts is the mean over the
classes of the intersection over the union: most is lost at legs a pixel wide, and where a small
shape might be a disc as well as a square.

Ronneberger, Fischer, Brox 2015, "U-Net: convolutional networks for biomedical image segmentation",
arXiv:1505.04597.
"""

import numpy as np

import pynn.functional as F
from pynn import data, nn, train
from pynn.data.scenes import PHOTOS, SHAPES, scenes
from pynn.recipes._goal import Goal
from pynn.recipes._recipe import Option, Recipe

CHOSEN = ("motorcycle_left.png", "brick.png")  # the grounds of the validation
HELD = ("chelsea.png", "coffee.png", "gravel.png")  # of the test: an animal, a thing, a texture
LEARNT = tuple(name for name in PHOTOS if name not in CHOSEN + HELD)


class MeanIou(train.ConfusionMatrix):
    """Mean over the classes of intersection / union; a class that never occurs counts for nothing.

    Jaccard 1901; Everingham et al. 2010, "The Pascal visual object classes challenge".
    """

    def compute(self):
        both = np.diag(self.matrix)
        union = self.matrix.sum(axis=0) + self.matrix.sum(axis=1) - both
        return float(np.mean(both[union > 0] / union[union > 0])) if union.any() else float("nan")


class Segmentation(Recipe):
    """Three levels of two convolutions each, batch norm and ReLU after each."""

    goal = Goal("test IoU", lambda r: r["test"]["iou"], at_least=0.85, seconds=240, form=".3f")
    epochs = 18
    batch_size = 16
    lr = 3e-3
    width = Option(12, "channels of the first level; each further one has twice as many", least=1)
    scenes = Option(2400, "images to learn from", least=16)
    size = Option(32, "pixels of an image's side, a multiple of 4", least=16)

    quick = {"epochs": 2, "scenes": 96, "width": 4, "batch_size": 8}
    loss = staticmethod(F.cross_entropy)

    def data(self):
        held = max(16, self.scenes // 8)
        parts = (self.scenes, LEARNT, 1), (held, CHOSEN, 2), (held, HELD, 3)
        made = [
            scenes(count, grounds, self.size, recolour=seed == 1, seed=seed)
            for count, grounds, seed in parts
        ]
        self.normalize = data.Normalize().fit(made[0].arrays[0])
        return tuple(
            self.loader(part, shuffle=i == 0, transform=self.normalize)
            for i, part in enumerate(made)
        )

    def metrics(self):
        return {"accuracy": train.Accuracy(), "iou": MeanIou(len(SHAPES))}

    def model(self):
        return UNet(3, len(SHAPES), self.width)

    def headline(self, result):
        return f"test IoU {result['test']['iou']:.3f}"

    def report(self, trainer, test, out, plots):
        scores, masks = trainer.predict(test)
        taken = scores.argmax(axis=-1)
        found = MeanIou(len(SHAPES))
        found.update(scores.astype(np.float32), masks)
        both = np.diag(found.matrix)
        union = found.matrix.sum(axis=0) + found.matrix.sum(axis=1) - both
        if plots:
            images, _ = test.dataset[:8]
            colors = np.array(
                [[0.9, 0.9, 0.9], [0.85, 0.46, 0.1], [0.13, 0.4, 0.66]]
                + [[0.3, 0.6, 0.3], [0.6, 0.24, 0.6]]
            )
            shown = np.stack([images, colors[masks[:8]], colors[taken[:8]]])
            title = "scenes on unseen photographs, the true masks, and what the network finds"
            rows = ["scene", "true", "network"]
            train.plots.sheet(out / "masks.png", shown, title, rows, size=1.25)
        return {
            "iou": {name: float(a / b) for name, a, b in zip(SHAPES, both, union, strict=True) if b}
        }


class UNet(nn.Module):
    """(N, H, W, channels) to (N, H, W, classes), H and W multiples of 4."""

    def __init__(self, channels, classes, width):
        super().__init__()
        C = width
        self.down1, self.down2, self.bottom = (
            _twice(channels, C),
            _twice(C, 2 * C),
            _twice(2 * C, 4 * C),
        )
        self.pool = nn.MaxPool2d(2)
        self.grow2 = nn.ConvTranspose2d(4 * C, 2 * C, 2, stride=2)
        self.up2 = _twice(4 * C, 2 * C)
        self.grow1 = nn.ConvTranspose2d(2 * C, C, 2, stride=2)
        self.up1 = _twice(2 * C, C)
        self.last = nn.Conv2d(C, classes, 1)

    def forward(self, x):
        fine = self.down1(x)
        coarse = self.down2(self.pool(fine))
        x = self.bottom(self.pool(coarse))
        x = self.up2(F.cat([coarse, self.grow2(x)], -1))
        x = self.up1(F.cat([fine, self.grow1(x)], -1))
        return self.last(x)


def _twice(inputs, outputs):
    return nn.Sequential(
        nn.ConvBatchNorm2d(inputs, outputs, 3, padding=1, activation="relu"),
        nn.ConvBatchNorm2d(outputs, outputs, 3, padding=1, activation="relu"),
    )
