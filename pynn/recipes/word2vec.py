"""Learns what words mean from their neighbours alone, and shows each word's nearest.

Learnt: a vector for each of 5,000 words of Python source code, such that words with like neighbours
have like vectors. From: 200 source files of the standard library on this machine, whose frequent
words are thinned out; a twentieth of the files is the validation and as many are the test. How:
skip-gram with negative sampling. From a word's vector the network tells a true neighbour from five
words drawn at random, by frequency^0.75.

What counts is how often it does so in unseen files: one in six by chance, two in six are asked for.

Mikolov, Sutskever, Chen, Corrado, Dean 2013, "Distributed representations of words and phrases and
their compositionality", arXiv:1310.4546.
"""

import numpy as np

import pynn.functional as F
from pynn import data, nn, train
from pynn.data._draw import generator, permutation
from pynn.data.library import Vocabulary, library_files, words_of
from pynn.recipes._goal import Goal
from pynn.recipes._recipe import Option, Recipe
from pynn.train.files import write_json

SHOWN = ("open", "thread", "read", "self", "index", "json") + (
    "error",
    "socket",
    "true",
    "parse",
    "int",
    "key",
)


class Word2vec(Recipe):
    """Two tables of vectors: one for words, one for their neighbours."""

    goal = Goal(
        "true neighbour found", lambda r: r["test"]["accuracy"], at_least=0.333, seconds=120
    )
    epochs = 2
    batch_size = 2048
    lr = 1e-2
    optimizer = "adam"
    width = Option(64, "of a word vector", least=2)
    window = Option(4, "words to either side that count as neighbours", least=1)
    negatives = Option(5, "words drawn at random for each true neighbour", least=1)
    most_words = Option(5000, "size of the vocabulary", least=20)
    texts = Option(200, "files to read, drawn at random", least=20)

    quick = {"epochs": 2, "texts": 25, "batch_size": 1024}

    def data(self):
        files = library_files()
        rng = generator(0)  # the split never changes
        texts = [words_of(files[i]) for i in permutation(rng, len(files))[: self.texts]]
        self.vocabulary = Vocabulary(texts)
        del self.vocabulary.words[self.most_words :]
        self.counts = self.vocabulary.counts[: self.most_words]
        share = self.counts**0.75
        share[0] = 0  # "?", all words left out
        self.chances = np.cumsum(share / share.sum())
        held = max(1, len(texts) // 20)
        parts = texts[: -2 * held], texts[-2 * held : -held], texts[-held:]
        return tuple(
            self.loader(self._pairs(part, rng), shuffle=i == 0, transform=self._with_negatives)
            for i, part in enumerate(parts)
        )

    def _pairs(self, texts, rng):
        """(word, neighbour) for all pairs nearer than a distance drawn for each word."""
        rate = np.maximum(self.counts / self.counts.sum(), 1e-12)
        kept = np.minimum(1, np.sqrt(1e-3 / rate))
        kept[0] = 0
        found = []
        for text in texts:
            ids = self.vocabulary.encode(text)
            ids = np.where(ids < self.most_words, ids, 0)
            ids = ids[rng.random(len(ids)) < kept[ids]]
            reach = rng.integers(1, self.window + 1, len(ids))
            for step in range(1, min(self.window, len(ids) - 1) + 1):
                left, right = ids[:-step], ids[step:]
                found.append(np.stack([left, right], 1)[reach[:-step] >= step])
                found.append(np.stack([right, left], 1)[reach[step:] >= step])
        pairs = np.concatenate(found)
        return data.ArrayDataset(pairs, np.zeros(len(pairs), np.int64))

    def _with_negatives(self, pairs, rng):
        drawn = np.searchsorted(self.chances, rng.random((len(pairs), self.negatives)))
        return np.hstack([pairs, np.minimum(drawn, len(self.chances) - 1)])

    def model(self):
        return _Network(len(self.vocabulary.words), self.width)

    @staticmethod
    def loss(scores, targets):
        """Binary cross-entropy of "is a neighbour": true in column 0, false in the others."""
        true, false = scores[:, :1], scores[:, 1:]
        return F.softplus(-true).mean() + F.softplus(false).sum(1).mean()

    def metrics(self):
        return {"accuracy": train.Accuracy()}

    def headline(self, result):
        one_in = 100 / (1 + self.negatives)
        right = 100 * result["test"]["accuracy"]
        return f"the true neighbour found in {right:.1f} % (chance: {one_in:.1f} %)"

    def report(self, trainer, test, out, plots):
        vectors = trainer.model.words.weight.astype("float32").numpy()
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors[0] = 0
        nearest = {word: self.nearest(word, vectors) for word in SHOWN}
        nearest = {word: found for word, found in nearest.items() if found}
        for word, found in nearest.items():
            trainer.progress.say(f"{word:>8}  {', '.join(other for other, _ in found)}")
        write_json(out / "nearest.json", nearest)
        if plots:
            self._draw(nearest, vectors, out)
        return {"words": len(vectors), "pairs": len(trainer.train.dataset)}

    def nearest(self, word: str, vectors: np.ndarray, most: int = 7) -> list:
        """The words with the most similar vectors, each with its cosine; none if unknown."""
        if word not in self.vocabulary.words:
            return []
        own = self.vocabulary.words.index(word)
        cosine = vectors @ vectors[own]
        order = [i for i in np.argsort(-cosine, kind="stable")[: most + 1] if i != own]
        return [(self.vocabulary.words[i], round(float(cosine[i]), 4)) for i in order[:most]]

    def _draw(self, nearest, vectors, out):
        figure, axes = train.plots.figure_of(11, 8.2, 3, 4, "the nearest words, by cosine")
        for axis in axes:
            axis.set_axis_off()
        for axis, (word, found) in zip(axes, nearest.items(), strict=False):
            axis.set_title(word, loc="left", fontsize=12, color=train.plots.BLUE)
            for row, (other, cosine) in enumerate(found):
                axis.barh(-row, cosine, color="#cfdfee", height=0.85)
                axis.text(0.02, -row, f"{other}  {cosine:.2f}", va="center", fontsize=10)
            axis.set_xlim(0, 1)
        train.plots.save(figure, out / "nearest.png")
        self._draw_map(nearest, vectors, out)

    def _draw_map(self, nearest, vectors, out):
        """The words shown and their neighbours in the plane of their greatest spread."""
        groups = [[word, *(other for other, _ in found[:5])] for word, found in nearest.items()]
        rows = [self.vocabulary.words.index(word) for group in groups for word in group]
        points = vectors[rows] - vectors[rows].mean(axis=0)
        points = points @ np.linalg.svd(points, full_matrices=False)[2][:2].T
        title = "words and their neighbours, in the plane of the first two principal components"
        figure, (axis,) = train.plots.figure_of(10, 8, 1, 1, title)
        colors = [f"C{i % 10}" for i, group in enumerate(groups) for _ in group]
        axis.scatter(points[:, 0], points[:, 1], c=colors, s=14)
        for row, color, (x, y) in zip(rows, colors, points, strict=True):
            axis.text(x, y, " " + self.vocabulary.words[row], color=color, fontsize=9)
        train.plots.save(figure, out / "map.png")


class _Network(nn.Module):
    def __init__(self, words, width):
        super().__init__()
        self.words, self.neighbours = nn.Embedding(words, width), nn.Embedding(words, width)
        for table in (self.words, self.neighbours):
            nn.init.normal_(table.weight, std=width**-0.5)

    def forward(self, ids):
        """Scores (N, 1 + negatives) of the candidates in columns 1, 2, ... for the word in 0."""
        word, others = self.words(ids[:, 0]), self.neighbours(ids[:, 1:])
        return (others * word.unsqueeze(1)).sum(-1)
