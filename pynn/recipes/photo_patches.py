"""Tells which of ten photographs a piece was cut from, by its texture.

Learnt: of which photograph a patch of 32 x 32 pixels is a part. From: ten photographs of
scikit-image, whose rows are split: pieces of the upper 55 % are learnt from, of the next 22.5 % the
validation, of the lowest 22.5 % the test, looked at once, at the end; many a photograph looks
otherwise at its foot than at its top. How: four convolutions, each but the first behind pooling,
the mean over the image, a linear layer; in training the colours are exchanged and moved, so that
textures must tell.

`pynn train deep-dream` and `style-transfer` paint with this network.

Krizhevsky, Sutskever, Hinton 2012, "ImageNet classification with deep convolutional neural
networks". Geirhos et al. 2019, arXiv:1811.12231 (such networks go by texture).
"""

import re

import numpy as np

from pynn import data, nn
from pynn.data.scenes import PHOTOS, patches
from pynn.recipes._goal import Goal
from pynn.recipes._recipe import Option
from pynn.recipes._supervised import Classification

_SIZE = 32  # pixels of a patch's side


class PhotoPatches(Classification):
    """conv 3x3 - (pool - conv 3x3) three times - mean - linear, ReLU after each convolution."""

    goal = Goal("test accuracy", lambda r: r["test"]["accuracy"], at_least=0.6, seconds=60)
    classes = tuple(re.match("[a-z]+", name)[0] for name in PHOTOS)
    image_shape = (_SIZE, _SIZE, 3)
    epochs = 10
    batch_size = 32
    lr = 4e-3
    quick = {"epochs": 2, "patches": 320}
    width = Option(12, "channels of the first convolution; the next have 2, 3, 4 times", least=1)
    patches = Option(3200, "pieces of photographs to learn from", least=20)

    def data(self):
        held = max(20, self.patches // 4)
        parts = (self.patches, (0, 0.55)), (held, (0.55, 0.775)), (held, (0.775, 1))
        made = [patches(count, _SIZE, rows, seed=i) for i, (count, rows) in enumerate(parts)]
        self.normalize = data.Normalize().fit(made[0].arrays[0])
        moved = data.Compose([recoloured, self.normalize])
        return (
            self.loader(made[0], shuffle=True, transform=moved),
            *(self.loader(part, transform=self.normalize) for part in made[1:]),
        )

    def model(self):
        C = self.width
        layers = [nn.Conv2d(3, C, 3, padding=1), nn.ReLU()]
        for i in (1, 2, 3):
            layers += [nn.AvgPool2d(2), nn.Conv2d(i * C, (i + 1) * C, 3, padding=1), nn.ReLU()]
        return nn.Sequential(*layers, nn.GlobalAvgPool2d(), nn.Linear(4 * C, len(self.classes)))


def recoloured(images, rng):
    """Images with their colours exchanged and moved, so that textures are what tells them apart."""
    orders = rng.permuted(np.tile(np.arange(3), (len(images), 1)), axis=1)
    images = np.take_along_axis(images, orders[:, None, None], axis=-1)
    moves = rng.uniform(-0.3, 0.3, (len(images), 1, 1, 3))
    return np.clip(images + moves, 0, 1).astype(np.float32)
