"""What deep-dream and style-transfer share: images that learn, and a network that looks at them."""

from pathlib import Path

import numpy as np

import pynn.functional as F
from pynn import data, nn, no_grad, train
from pynn.data.scenes import halved, photo
from pynn.recipes import _folder
from pynn.recipes._images import to_channels
from pynn.recipes._recipe import Option, Recipe
from pynn.recipes.photo_classifier import Residual
from pynn.recipes.photo_patches import PhotoPatches
from pynn.tensor import Tensor
from pynn.train.files import write_json


class Painter(train.Trainer):
    """Keeps the images between black and white."""

    def train_step(self, batches):
        super().train_step(batches)
        self.model.clip()


class Painting(Recipe):
    """Learns an image by the gradient with respect to its pixels of what a network makes of it,
    which another recipe has trained and which stays as it is.

    An epoch is so many steps of the image. A subclass writes `model`, a Canvas.
    """

    pictures: tuple  # files of the photographs that it begins from
    moved = None  # a transform of the (1, 2) zeros that a batch is
    trainer = Painter
    optimizer = "adam"
    batch_size = 1
    lr = 0.05
    network = Option(
        None,
        "folder of a run of a recipe on images, such as runs/photo-classifier, whose network is "
        "asked; by default photo-patches is trained first, in OUT/network",
        kind=str,
    )
    studied = Option(None, "stop training photo-patches after so many steps", kind=int, least=1)
    steps = Option(10, "steps of the image in an epoch", least=1)
    size = Option(128, "pixels of the image's side", least=32)

    def data(self):
        self.photos = [self._middle(photo(name)) for name in self.pictures]
        steps = data.ArrayDataset(np.zeros((self.steps, 2), np.int64), np.arange(self.steps))
        last = data.ArrayDataset(*steps[:1])
        return self.loader(steps, transform=self.moved), None, self.loader(last)

    def _middle(self, pixels):
        """The middle of a photograph, (size, size, 3), as large as will fit."""
        least = min(pixels.shape[:2])
        if least < self.size:
            raise ValueError(f"[{self.name}] size: expected at most {least}, got {self.size}")
        while min(pixels.shape[:2]) >= 2 * self.size:
            pixels = halved(pixels)
        y, x = ((length - self.size) // 2 for length in pixels.shape[:2])
        return pixels[y : y + self.size, x : x + self.size]

    def ready(self, out, resume, progress):
        folder = Path(self.network or out / "network")
        if self.network is None and not (resume and (folder / _folder.RESULT).is_file()):
            self._train_network(out, folder, resume, progress)
        self.eye, network = _folder.trained(folder)
        self.seeing = network.to(dtype="float32")
        channels = self.eye.image_shape[2]
        self.photos = [to_channels(pixels, channels) for pixels in self.photos]
        layers = list(network) if isinstance(network, nn.Sequential) else []
        if sum(isinstance(layer, _LOOKED_AT) for layer in layers) < 3:
            raise ValueError(
                f"[{self.name}] network: expected a run whose network has three convolutions or "
                f"more, one after the other, got one of {self.eye.name}: {folder}"
            )

    def _train_network(self, out, folder, resume, progress):
        resume = resume and (folder / _folder.CONFIG).is_file()
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / _folder.CONFIG, self._config())  # from here on it can be resumed
        options = {name: self.settings[name] for name in ("device", "dtype", "seed")}
        recipe = PhotoPatches(max_steps=self.studied, **options)
        recipe.run(folder, resume=resume, overwrite=True, progress=progress, plots=False)

    def make_schedule(self, optimizer, steps):
        return None

    def ends(self) -> tuple:
        """Black and white, (C,) each, as the network sees them."""
        return tuple(self.seen(np.full(self.eye.image_shape[2], v, np.float32)) for v in (0, 1))

    def seen(self, images: np.ndarray) -> np.ndarray:
        """Images in 0..1 as the network has learnt to see them."""
        return images if self.eye.normalize is None else self.eye.normalize(images)

    def shown(self, canvas) -> np.ndarray:
        """The images of a canvas, (N, H, W, C) in 0..1."""
        images = canvas.images.detach().astype("float32").numpy()
        return images if self.eye.normalize is None else self.eye.normalize.inverse(images)


_LOOKED_AT = (nn.ReLU, nn.ConvBatchNorm2d, Residual)


def look(network, x):
    """What each layer of a network finds in images, behind its activation: [(N, H, W, C), ...]."""
    found = []
    for layer in network:
        x = layer(x)
        if x.ndim != 4:
            break
        if isinstance(layer, _LOOKED_AT):
            found.append(x)
    return found


class Canvas(nn.Module):
    """Images (N, H, W, C) that learn, and the network that looks at them and does not."""

    def __init__(self, network, images, black, white):
        super().__init__()
        self.network = network.requires_grad_(False)
        self.images = nn.Parameter(images)
        self.register_buffer("black", Tensor(black))
        self.register_buffer("white", Tensor(white))

    @no_grad()
    def clip(self):
        """Make what is darker than black black, and what is brighter than white white."""
        self.images[...] = F.minimum(F.maximum(self.images, self.black), self.white)

    def train(self, mode=True):
        """As of any module, but that the network stays in evaluation mode."""
        super().train(mode)
        self.network.eval()
        return self
