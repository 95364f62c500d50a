"""What the recipes on handwritten digits share: the data, its augmentation, reading image files."""

import numpy as np

from pynn import data
from pynn.recipes._images import fit_ink, resize, to_channels
from pynn.recipes._supervised import Classification


class Digits(Classification):
    """1797 digits of 8 x 8 pixels, of which a stratified fifth is the test and a tenth of the rest
    the validation; the split never changes.
    """

    classes = tuple("0123456789")
    image_shape = (8, 8, 1)
    margin = 0  # pixels around the digit in each image
    ink = True

    def data(self):
        rest, test = self.source()
        learn, validation = data.train_test_split(rest, 0.1, seed=0, stratify=rest.arrays[1])
        images, _ = learn[:]
        self.normalize = data.Normalize().fit(images)
        augment = data.Compose([*self.augmentation(), self.normalize])
        return (
            self.loader(learn, shuffle=True, transform=augment),
            self.loader(validation, transform=self.normalize),
            self.loader(test, transform=self.normalize),
        )

    def source(self) -> tuple:
        """(all to learn from, test), two datasets of images and labels."""
        return data.digits()

    def augmentation(self) -> list:
        """Transforms of the training images, before normalization."""
        return [data.RandomRotation(12), data.RandomCrop(1)]

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """The digit of an image of any size, cut out and made as large as those of the data set
        are; an image of the size of those is taken as it is.
        """
        H, W, _ = self.image_shape
        if image.shape[:2] == (H, W):
            return super().prepare(image)
        image = to_channels(image, 1)
        border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        digit = fit_ink(1 - image if border.mean() > 0.5 else image)
        m = self.margin
        return np.pad(resize(digit, H - 2 * m, W - 2 * m), ((m, m), (m, m), (0, 0)))
