"""Learns a plane each place of which is a digit, and draws new digits from it.

Learnt: for each image a cloud of codes, N(mean, variance), in the plane, and for each code an
image. From: 1797 digits by 43 writers (scikit-learn's "digits"), without their labels; a fifth is
held out and looked at once, at the end. How: a code is drawn from the image's cloud and decoded;
the loss, in nats, is the squared error over twice the variance of a pixel, plus how far the cloud
is from N(0, 1). So codes of all digits fill the plane without gaps, and a place drawn from N(0, 1)
makes a digit: see samples.png, and codes.png for where the test digits lie.

Kingma, Welling 2013, "Auto-encoding variational Bayes", arXiv:1312.6114.
"""

from statistics import NormalDist

import numpy as np

import pynn
import pynn.functional as F
from pynn import train
from pynn.recipes._autoencoding import Autoencoder, Autoencoding
from pynn.recipes._recipe import Option
from pynn.tensor import Tensor
from pynn.train import plots as draw


class VariationalAutoencoder(Autoencoding):
    """64 - hidden - hidden - mean and variance of the code - hidden - hidden - 64."""

    code = 2
    epochs = 80
    spread = Option(0.12, "standard deviation of a pixel about what the decoder says", above=0)

    def model(self):
        return Variational(self.hidden, self.code)

    def loss(self, outputs, images):
        """Nats: -log p(image | code) up to a constant, plus how far the code is from N(0, 1)."""
        rebuilt, mean, logvar = outputs
        misfit = F.square(rebuilt - images).sum((1, 2, 3)) / (2 * self.spread**2)
        return (misfit + divergence(mean, logvar)).mean()

    def metrics(self):
        return {"error": Error(), "divergence": Divergence()}

    def draw_samples(self, out, trainer):
        model, (rows, columns) = trainer.model, (12, 12)
        with pynn.no_grad():
            if self.code == 2:
                places = quantiles(rows)
                codes = np.stack(np.meshgrid(places, -places), -1).reshape(-1, 2)
                title = "what the decoder makes of each place of the plane"
            else:
                rng = np.random.default_rng(self.seed)
                codes = rng.standard_normal((rows * columns, self.code))
                title = "what the decoder makes of random codes"
            codes = Tensor(codes.astype(np.float32), dtype=trainer.dtype, device=trainer.device)
            images = model.decoder(codes).numpy().astype(np.float32)
        sheet = images.reshape(rows, columns, 8, 8, 1)
        draw.sheet(out / "samples.png", sheet, title, size=0.45)


class Variational(Autoencoder):
    """An autoencoder whose code is drawn: mean + e^(logvar / 2) noise."""

    def __init__(self, hidden, code):
        super().__init__(hidden, 2 * code)
        self.decoder = Autoencoder(hidden, code).decoder

    def encode(self, x):
        """The mean of the codes of images, (N, code)."""
        return F.chunk(self.encoder(x), 2, 1)[0]

    def forward(self, x):
        mean, logvar = F.chunk(self.encoder(x), 2, 1)
        code = mean
        if self.training:
            noise = pynn.randn(*mean.shape, dtype=mean.dtype, device=mean.device)
            code = mean + F.exp(logvar / 2) * noise
        return self.decoder(code), mean, logvar


def divergence(mean, logvar):
    """Kullback-Leibler divergence of N(mean, e^logvar) from N(0, 1), summed over the code, (N,)."""
    return (F.square(mean) + F.exp(logvar) - logvar - 1).sum(1) / 2


class Error(train.Mean):
    """Mean squared error of a pixel."""

    def update(self, outputs, images) -> None:
        super().update(F.mse_loss(outputs[0].detach(), images), len(images))


class Divergence(train.Mean):
    """Nats that a code says about its image."""

    def update(self, outputs, images) -> None:
        _, mean, logvar = (x.detach() for x in outputs)
        super().update(divergence(mean, logvar).mean(), len(images))


def quantiles(count):
    """`count` places such that as much of N(0, 1) lies between each two."""
    return np.array([NormalDist().inv_cdf((i + 0.5) / count) for i in range(count)])
