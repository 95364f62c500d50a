"""Reads handwritten digits with a small convolutional network.

Learnt: which digit, 0 to 9, an image of 8 x 8 pixels shows. From: 1797 digits by 43 writers
(scikit-learn's "digits"); a stratified fifth is held out and looked at once, at the end. How: two
convolutions, pooling, one more, and a linear layer; batch normalization; training images turned by
up to 12 degrees and shifted by up to one pixel; dropout; AdamW with warm-up and cosine cooling.

LeCun, Bottou, Bengio, Haffner 1998, "Gradient-based learning applied to document recognition".
Alpaydin, Kaynak 1998, "Cascading classifiers" (the data).
"""

from pynn import nn
from pynn.recipes._digits import Digits
from pynn.recipes._goal import Goal
from pynn.recipes._recipe import Option


class DigitsCnn(Digits):
    """conv 3x3 - conv 3x3 - pool - conv 3x3 - pool - linear, batch norm and ReLU after each."""

    goal = Goal("test accuracy", lambda r: r["test"]["accuracy"], at_least=0.985, seconds=60)
    epochs = 30
    lr = 3e-3
    width = Option(
        32, "channels of the first two convolutions; the third has twice as many", least=1
    )
    dropout = Option(0.3, "share of the last layer's inputs left out in training", least=0.0)

    def model(self):
        C = self.width
        return nn.Sequential(
            nn.ConvBatchNorm2d(1, C, 3, padding=1, activation="relu"),
            nn.ConvBatchNorm2d(C, C, 3, padding=1, activation="relu"),
            nn.MaxPool2d(2),
            nn.ConvBatchNorm2d(C, 2 * C, 3, padding=1, activation="relu"),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(self.dropout),
            nn.Linear(2 * C * 2 * 2, 10),
        )
