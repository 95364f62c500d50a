"""Tells faces from other photos, or CIFAR-10's ten things, by a small residual network.

Learnt: whether a grey photo of 25 x 25 pixels shows a face. From: 200 photos inside scikit-image,
half of them faces, of which 60 are held out and looked at once, at the end; or, with `--files
FOLDER`, which of ten things a colour photo of 32 x 32 pixels shows, from the binary version of
CIFAR-10. A tenth of the rest is the validation. How: residual blocks, in each of which two
convolutions learn what to add to their input; batch normalization; the mean over the image; photos
mirrored and shifted by up to two pixels; AdamW with warm-up and cosine cooling.

For CIFAR-10, which has 350 times as many photos, take a GPU and `--width 32 --blocks 3 --batch-size
128`; no figure is stated for it here.

He, Zhang, Ren, Sun 2015, "Deep residual learning for image recognition", arXiv:1512.03385.
Krizhevsky 2009, "Learning multiple layers of features from tiny images" (CIFAR-10). Huang, Jain,
Learned-Miller 2007, "Labeled faces in the wild".
"""

from pynn import data, nn
from pynn.recipes._goal import Goal
from pynn.recipes._recipe import Option
from pynn.recipes._supervised import Classification

_THINGS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class PhotoClassifier(Classification):
    """conv 3x3 - three stages of residual blocks, 1, 2 and 4 times as wide - mean - linear."""

    goal = Goal("test accuracy", lambda r: r["test"]["accuracy"], at_least=0.95, seconds=120)
    epochs = 30
    batch_size = 16
    lr = 3e-3
    quick = {"epochs": 3, "width": 4}
    files = Option(None, "folder with CIFAR-10's six binary files", kind=str)
    width = Option(16, "channels of the first stage", least=1)
    blocks = Option(1, "residual blocks in each stage", least=1)

    @property
    def classes(self):
        return ("no face", "face") if self.files is None else _THINGS

    @property
    def image_shape(self):
        return (25, 25, 1) if self.files is None else (32, 32, 3)

    def data(self):
        rest, test = data.faces() if self.files is None else data.cifar10(self.files)
        learn, validation = data.train_test_split(rest, 0.1, seed=0, stratify=rest.arrays[1])
        self.normalize = data.Normalize().fit(learn[:][0])
        moved = [data.RandomHorizontalFlip(), data.RandomShift(2), self.normalize]
        return (
            self.loader(learn, shuffle=True, transform=data.Compose(moved)),
            self.loader(validation, transform=self.normalize),
            self.loader(test, transform=self.normalize),
        )

    def model(self):
        C = self.width
        stages, before = [], C
        for outputs, stride in ((C, 1), (2 * C, 2), (4 * C, 2)):
            for i in range(self.blocks):
                stages.append(Residual(before, outputs, stride if i == 0 else 1))
                before = outputs
        return nn.Sequential(
            nn.ConvBatchNorm2d(self.image_shape[2], C, 3, padding=1, activation="relu"),
            *stages,
            nn.GlobalAvgPool2d(),
            nn.Linear(4 * C, len(self.classes)),
        )


class Residual(nn.Module):
    """relu(x + f(x)), f two convolutions; where the shape changes x goes through a 1x1 one."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        first = {"stride": stride, "padding": 1, "activation": "relu"}
        self.first = nn.ConvBatchNorm2d(inputs, outputs, 3, **first)
        self.second = nn.ConvBatchNorm2d(outputs, outputs, 3, padding=1, activation="relu")
        self.shortcut = nn.Identity()
        if inputs != outputs or stride != 1:
            self.shortcut = nn.ConvBatchNorm2d(inputs, outputs, 1, stride=stride)

    def forward(self, x):
        return self.second(self.first(x), self.shortcut(x))
