"""What deep-dream and style-transfer share: a network that knows photographs, and its features."""

import numpy as np

from pynn import data, nn
from pynn.data.scenes import PHOTOS, halved, patches, photo
from pynn.recipes._recipe import Option
from pynn.recipes._supervised import Classification
from pynn.tensor import Tensor

_SIZE = 32  # pixels of a patch's side


class Painting(Classification):
    """Learns which of ten photographs a patch of 32 x 32 pixels was cut from; then, in `report`,
    a subclass changes an image along the gradient of what the trained network makes of it.

    The rows of the photographs are split: the upper 55 % are learnt from, the next 22.5 % are the
    validation, the lowest 22.5 % the test.
    """

    classes = tuple(name.partition(".")[0] for name in PHOTOS)
    epochs = 5
    batch_size = 32
    lr = 4e-3
    width = Option(12, "channels of the first convolution", least=1)
    patches = Option(1600, "pieces of photographs to learn from", least=20)
    size = Option(128, "pixels of the image's side", least=32)

    def data(self):
        held = max(20, self.patches // 4)
        parts = (self.patches, (0, 0.55)), (held, (0.55, 0.775)), (held, (0.775, 1))
        made = [patches(count, _SIZE, rows, seed=i) for i, (count, rows) in enumerate(parts)]
        self.normalize = data.Normalize().fit(made[0].arrays[0])
        recoloured = data.Compose([_recoloured, self.normalize])
        return (
            self.loader(made[0], shuffle=True, transform=recoloured),
            *(self.loader(part, transform=self.normalize) for part in made[1:]),
        )

    def model(self):
        return Features(3, self.width, len(PHOTOS))

    def picture(self, name: str) -> np.ndarray:
        """The middle of a photograph, (size, size, 3) float32 in 0..1, as large as will fit."""
        pixels = photo(name)
        while min(pixels.shape[:2]) >= 2 * self.size:
            pixels = halved(pixels)
        y, x = ((length - self.size) // 2 for length in pixels.shape[:2])
        return pixels[y : y + self.size, x : x + self.size]

    def tensor(self, model, image: np.ndarray, learnt: bool = False) -> Tensor:
        """An image in 0..1 as a batch of one for the model, with a gradient if `learnt`."""
        first = next(iter(model.parameters()))
        x = Tensor(self.normalize(image)[None], dtype=first.dtype, device=first.device)
        x.requires_grad = learnt
        return x

    def image(self, x: Tensor) -> np.ndarray:
        """A batch of one as an image in 0..1."""
        pixels = self.normalize.inverse(x.detach().astype("float32").numpy()[0])
        return np.clip(pixels, 0, 1)


def _recoloured(images, rng):
    """Images with their colours exchanged and moved, so that textures are what tells them apart."""
    orders = rng.permuted(np.tile(np.arange(3), (len(images), 1)), axis=1)
    images = np.take_along_axis(images, orders[:, None, None], axis=-1)
    moves = rng.uniform(-0.3, 0.3, (len(images), 1, 1, 3))
    return np.clip(images + moves, 0, 1).astype(np.float32)


class Features(nn.Module):
    """Four convolutions, each but the first behind pooling, then the mean and a linear layer."""

    def __init__(self, channels, width, classes):
        super().__init__()
        sizes = [channels, width, 2 * width, 3 * width, 4 * width]
        self.convs = nn.ModuleList(
            [nn.Conv2d(a, b, 3, padding=1) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]
        )
        self.pool = nn.AvgPool2d(2)
        self.linear = nn.Linear(sizes[-1], classes)

    def forward(self, x):
        return self.linear(self.features(x)[-1].mean((1, 2)))

    def features(self, x):
        """What each convolution finds, after ReLU: (N, H, W, C), (N, H/2, W/2, 2 C), ..."""
        found = []
        for i, conv in enumerate(self.convs):
            x = conv(x if i == 0 else self.pool(x)).relu()
            found.append(x)
        return found
