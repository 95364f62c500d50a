"""What the autoencoders share: digits as input and target, PCA to compare with, sheets and maps."""

import numpy as np

import pynn
import pynn.functional as F
from pynn import data, nn
from pynn.recipes._goal import Goal
from pynn.recipes._recipe import Option, Recipe
from pynn.tensor import Tensor
from pynn.train import plots as draw


class Autoencoding(Recipe):
    """1797 digits of 8 x 8 pixels, of which a stratified fifth is the test and a tenth of the rest
    the validation. The model has `encoder` and `decoder`; the error is the mean squared one of a
    pixel, beside that of PCA of as many components, fitted on the same images.
    """

    goal = Goal(
        "error over that of PCA",
        lambda r: r["error"]["network"] / r["error"]["PCA"],
        at_most=1,
        seconds=60,
        form=".3f",
    )
    epochs = 60
    lr = 3e-3
    quick = {"epochs": 4}
    hidden = Option(256, "width of the hidden layers", least=1)
    code = Option(8, "numbers that an image is squeezed into", least=1)
    loss = staticmethod(F.mse_loss)

    def data(self):
        rest, test = data.digits()
        learn, validation = data.train_test_split(rest, 0.1, seed=0, stratify=rest.arrays[1])
        self.labels = test.arrays[1]
        parts = [part[:][0] for part in (learn, validation, test)]
        seen = [self.seen(x, i) for i, x in enumerate(parts)]
        self.pca = Pca(seen[0], self.code)
        return tuple(
            self.loader(data.ArrayDataset(x, y), shuffle=i == 0, transform=self.augment(i == 0))
            for i, (x, y) in enumerate(zip(seen, parts, strict=True))
        )

    def seen(self, images, part):
        """What the network gets to see of images; `part` 0 is training, 1 validation, 2 test."""
        return images

    def augment(self, training):
        """The transform of the training images, or of the others."""

    def model(self):
        return Autoencoder(self.hidden, self.code)

    def headline(self, result):
        error, pca = result["error"]["network"], result["error"]["PCA"]
        return f"error of a test pixel {error:.4f} (PCA of {self.code} components: {pca:.4f})"

    def report(self, trainer, test, out, plots):
        seen, images = test.dataset.arrays
        trainer.model.eval()
        with pynn.no_grad():
            x = Tensor(seen, dtype=trainer.dtype, device=trainer.device)
            codes = trainer.model.encode(x)
            rebuilt = trainer.model.decoder(codes).numpy().astype(np.float32)
        found = {"network": rebuilt, "PCA": self.pca(seen)}
        if seen is not images:
            found["nothing done"] = seen
        if plots:
            shown = [np.flatnonzero(self.labels == i)[j] for j in range(2) for i in range(10)]
            rows = {"image": images, "seen": seen, "network": rebuilt, "PCA": found["PCA"]}
            if seen is images:
                del rows["seen"]
            self.draw_rebuilt(out, {name: x[shown] for name, x in rows.items()})
            self.draw_codes(out, codes.numpy().astype(np.float32))
            self.draw_samples(out, trainer)
        return {"error": {name: float(np.mean((x - images) ** 2)) for name, x in found.items()}}

    def draw_rebuilt(self, out, rows):
        images = np.clip(np.stack(list(rows.values())), 0, 1)
        title = f"test digits, squeezed into {self.code} numbers and rebuilt"
        draw.sheet(out / "rebuilt.png", images, title, list(rows))

    def draw_codes(self, out, codes):
        """The codes of the test digits on the plane where they spread most."""
        if self.code < 2:
            return
        plane = codes if self.code == 2 else (codes - codes.mean(0)) @ Pca(codes, 2).axes.T
        figure, (axis,) = draw.figure_of(6.4, 5.6, 1, 1)
        for digit in range(10):
            x, y = plane[self.labels == digit].T
            color = draw.TEN[digit]
            axis.scatter(x, y, s=12, color=color, alpha=0.7)
            words = {"ha": "center", "va": "center", "fontsize": 15, "weight": "bold"}
            box = {"boxstyle": "circle,pad=0.15", "fc": "white", "ec": color, "alpha": 0.85}
            axis.text(np.median(x), np.median(y), digit, color=color, bbox=box, **words)
        words = "the code" if self.code == 2 else "the codes' plane of largest spread"
        axis.set_title(f"{self.name}: test digits in {words}", fontsize=11)
        axis.set_aspect("equal", "datalim")
        draw.save(figure, out / "codes.png")

    def draw_samples(self, out, trainer):
        """On the way from one digit's code to another's."""
        seen, images = trainer.validation.dataset.arrays
        rng = np.random.default_rng(0)
        ends = rng.choice(len(seen), (2, 10), replace=False)
        with pynn.no_grad():
            x = Tensor(seen[ends.reshape(-1)], dtype=trainer.dtype, device=trainer.device)
            a, b = trainer.model.encode(x).numpy().astype(np.float32).reshape(2, 10, -1)
            shares = np.linspace(0, 1, 8, dtype=np.float32)[None, :, None]
            codes = a[:, None] * (1 - shares) + b[:, None] * shares  # (10, 8, code)
            codes = Tensor(codes.reshape(80, -1), dtype=trainer.dtype, device=trainer.device)
            between = trainer.model.decoder(codes).numpy().astype(np.float32)
        sheet = np.clip(between.reshape(10, 8, 8, 8, 1), 0, 1).transpose(1, 0, 2, 3, 4)
        title = "from one digit down to another, by steps in the code"
        draw.sheet(out / "between.png", sheet, title)


class Autoencoder(nn.Module):
    """image 8 x 8 - hidden - hidden - code - hidden - hidden - image."""

    def __init__(self, hidden, code):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), *perceptron(64, hidden, code))
        self.decoder = nn.Sequential(
            *perceptron(code, hidden, 64), nn.Sigmoid(), nn.Unflatten(1, (8, 8, 1))
        )

    def encode(self, x):
        """The code of images, (N, code)."""
        return self.encoder(x)

    def forward(self, x):
        return self.decoder(self.encode(x))


def perceptron(inputs, hidden, outputs):
    """Layers with two hidden ones."""
    return (
        nn.Linear(inputs, hidden, activation="gelu"),
        nn.Linear(hidden, hidden, activation="gelu"),
        nn.Linear(hidden, outputs),
    )


class Pca:
    """The best linear squeezing: onto the directions in which images spread most. Pearson 1901."""

    def __init__(self, x, components):
        flat = x.reshape(len(x), -1).astype(np.float64)
        self.mean = flat.mean(0)
        _, _, axes = np.linalg.svd(flat - self.mean, full_matrices=False)
        self.axes = axes[:components]

    def __call__(self, x):
        """x squeezed and rebuilt."""
        flat = x.reshape(len(x), -1) - self.mean
        return (flat @ self.axes.T @ self.axes + self.mean).reshape(x.shape).astype(np.float32)
