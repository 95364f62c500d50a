"""Cleans noisy digits, better than PCA does that was fitted on clean ones.

Learnt: what a digit was before noise of standard deviation 0.4 was added to its pixels, which are
0..1. From: 1797 digits by 43 writers (scikit-learn's "digits"), without their labels; a fifth is
held out and looked at once, at the end. How: an autoencoder with a code of 16 numbers sees the
noisy image, other noise each time, and is asked for the clean one. Since noise leads away from what
digits look like, it learns the way back.

Vincent, Larochelle, Bengio, Manzagol 2008, "Extracting and composing robust features with denoising
autoencoders".
"""

import numpy as np

from pynn.recipes._autoencoding import Autoencoding
from pynn.recipes._recipe import Option


class DenoisingAutoencoder(Autoencoding):
    """64 - hidden - hidden - code - hidden - hidden - 64, noise added to what it sees."""

    code = 16
    noise = Option(0.4, "standard deviation of the noise; an image is 0..1", least=0.0)

    def seen(self, images, part):
        if part == 0:
            return images  # each time with other noise, see `augment`
        return self.noisy(images, np.random.default_rng(part))

    def augment(self, training):
        return self.noisy if training else None

    def noisy(self, images, rng):
        return images + self.noise * rng.standard_normal(images.shape, np.float32)
