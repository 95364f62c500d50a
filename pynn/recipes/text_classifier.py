"""Tells which of ten Python packages 50 words of source code come from, by their word vectors.

Learnt: a vector for each word, and which of ten packages of the standard library a window of 50
words was cut from. From: the sources of these packages on this machine, 24,000 windows; every
fourth file is held out, whole, and looked at once, at the end. How: word vectors, half of them
left out in training, then their mean (--network mean) or 1-D convolutions over three words and the
strongest answer of each filter (--network cnn); one linear layer.

Joulin et al. 2016, "Bag of tricks for efficient text classification", arXiv:1607.01759 (mean).
Kim 2014, "Convolutional neural networks for sentence classification", arXiv:1408.5882 (cnn).
"""

from pynn import nn
from pynn.data.library import PACKAGES, package_windows
from pynn.recipes._goal import Goal
from pynn.recipes._recipe import Option
from pynn.recipes._supervised import Classification


class TextClassifier(Classification):
    """Embedding - mean - linear, or embedding - conv 3 - ReLU - max over the window - linear."""

    goal = Goal("test accuracy", lambda r: r["test"]["accuracy"], at_least=0.85, seconds=120)
    others = ({"network": "cnn"},)
    classes = PACKAGES
    epochs = 8
    batch_size = 128
    lr = 1e-2
    network = Option("mean", "mean of the word vectors, or cnn", choices=("mean", "cnn"))
    length = Option(50, "words in a window", least=3)
    width = Option(128, "of a word vector", least=1)
    filters = Option(128, "of the convolution", least=1)
    dropout = Option(0.5, "share of words and features left out in training", least=0.0)

    quick = {"epochs": 2, "width": 16, "filters": 16}

    def data(self):
        parts, self.vocabulary = package_windows(self.length)
        return tuple(self.loader(part, name == "train") for name, part in parts.items())

    def model(self):
        return _Network(len(self.vocabulary), self)


class _Network(nn.Module):
    def __init__(self, words, options):
        super().__init__()
        self.embedding = nn.Embedding(words, options.width)
        self.dropout = nn.Dropout(options.dropout)
        self.conv = None
        features = options.width
        if options.network == "cnn":
            features = options.filters
            self.conv = nn.Conv1d(options.width, features, 3, activation="relu")
        self.linear = nn.Linear(features, len(PACKAGES))

    def forward(self, ids):
        x = self.dropout(self.embedding(ids))  # (N, T, width)
        x = x.mean(1) if self.conv is None else self.conv(x).max(1)
        return self.linear(self.dropout(x))
