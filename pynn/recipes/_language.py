"""What the recipes that learn to write share: the text, its measure in bits, rivals, a sample."""

import gzip
import math
from collections import Counter, defaultdict

import numpy as np

import pynn.functional as F
from pynn import data, nn, no_grad, train
from pynn.data._draw import generator
from pynn.recipes._goal import Goal
from pynn.recipes._recipe import Option, Recipe
from pynn.recipes._supervised import softmax
from pynn.tensor import Tensor

_UNCOUNTED = -100  # a target that F.cross_entropy leaves out
_ORDER = 5  # characters before the next that the n-gram model looks at


class Bits(train.Perplexity):
    """Bits per character: log2 of the perplexity."""

    def compute(self):
        return math.log2(super().compute())


class Language(Recipe):
    """The next character of Python's help topics; the last tenth of the text is the test.

    A subclass writes `model`, of ids (N, T) to scores (N, T, vocabulary).
    """

    goal = Goal(
        "bits per character",
        lambda r: r["test"]["bits"],
        at_most=2.4,
        seconds=360,
        form=".3f",
    )
    batch_size = 32
    clip_norm = 1.0
    length = Option(64, "characters in a training passage", least=2)
    most = Option(None, "learn from so many characters only", kind=int, least=2000)
    sample = Option(600, "characters to write at the end", least=0)
    temperature = Option(0.7, "of the sample: below 1 more cautious", above=0)

    loss = staticmethod(F.cross_entropy)

    def data(self):
        self.text = data.pydoc_text()
        learn = self.text.train[: self.most]
        test = self.text.test if self.most is None else self.text.test[: self.most // 4]
        cut = len(learn) * 19 // 20
        self.parts = learn, test
        return (
            self.loader(data.Windows(learn[:cut], self.length), shuffle=True),
            self.loader(_WithPast(learn[cut:], self.length)),
            self.loader(_WithPast(test, self.length)),
        )

    def metrics(self):
        return {"bits": Bits()}

    def headline(self, result):
        return (
            f"{result['test']['bits']:.3f} bits per character "
            f"(order-{_ORDER} n-grams {result['ngram_bits']:.3f}, gzip {result['gzip_bits']:.3f})"
        )

    def report(self, trainer, test, out, plots):
        found = {
            "ngram_bits": ngram_bits(*self.parts, len(self.text.vocabulary)),
            "gzip_bits": gzip_bits(*(self.text.decode(part) for part in self.parts)),
        }
        written = self.write(trainer.model, self.sample)
        (out / "sample.txt").write_text(written, encoding="utf-8")
        trainer.progress.say(f"--- a sample\n{written}\n---")
        if plots:
            bits = {"this network": trainer.evaluate(test)["bits"]}
            bits |= {f"order-{_ORDER} n-grams": found["ngram_bits"], "gzip -9": found["gzip_bits"]}
            _draw_bits(out / "bits.png", bits)
            passage = self.parts[1][: 10 * self.length + 1]
            _draw_surprise(out / "surprise.png", self.text, passage, self._surprise(trainer.model))
        return found

    def write(self, model, count: int) -> str:
        """A text of so many characters that the network goes on with after the training text."""
        rng = generator(self.seed)
        ids = list(self.text.train[-self.length :])
        for _ in range(count):
            scores = self._scores(model, np.array(ids[-self.length :])[None])[0, -1]
            chances = np.cumsum(softmax(scores / self.temperature))
            ids.append(min(int(np.searchsorted(chances, rng.random())), len(chances) - 1))
        return self.text.decode(np.array(ids[self.length :], np.int64))

    def _surprise(self, model):
        """Bits of each of ten passages' characters, from the beginning of the test part."""
        inputs, targets = data.Windows(self.parts[1], self.length)[:10]
        chances = softmax(self._scores(model, inputs))
        return -np.log2(np.take_along_axis(chances, targets[..., None], -1)[..., 0]).reshape(-1)

    def _scores(self, model, ids):
        model.eval()
        with no_grad():
            return model(Tensor(ids, device=self.device)).astype("float32").numpy()


class RecurrentLanguage(Language):
    """Embedding - recurrent layer - linear; a subclass names the layer."""

    layer: type[nn.Module]
    lr = 4e-3
    hidden = Option(192, "width of the recurrent layer", least=1)
    dropout = Option(0.1, "share of its outputs left out in training", least=0.0)

    quick = {"epochs": 2, "hidden": 48, "most": 40000, "sample": 100}

    def model(self):
        return Recurrent(self.layer, len(self.text.vocabulary), self.hidden, self.dropout)


class Recurrent(nn.Module):
    """Ids (N, T) to scores (N, T, classes) by a recurrent layer of some kind."""

    def __init__(self, kind, classes, hidden, dropout):
        super().__init__()
        self.embedding = nn.Embedding(classes, 64)
        self.recurrent = kind(64, hidden)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(hidden, classes)

    def forward(self, ids):
        y, _ = self.recurrent(self.embedding(ids))
        return self.linear(self.dropout(y))


class _WithPast(data.Windows):
    """Passages that overlap by half, of which the second half counts: so each character that
    counts is foretold from at least half a passage before it.
    """

    def __init__(self, ids, length):
        super().__init__(ids, length, max(1, length // 2))

    def __getitem__(self, index):
        inputs, targets = super().__getitem__(index)
        targets[..., : self.length - self.stride] = _UNCOUNTED
        return inputs, targets


def ngram_bits(learn: np.ndarray, test: np.ndarray, classes: int, order: int = _ORDER) -> float:
    """Bits per character of a test text under n-grams of all lengths, backed off by Witten and
    Bell: p(c | s) = (count(s c) + kinds(s) p(c | s without its first)) / (count(s) + kinds(s)).

    learn, test  (n,) ids below `classes`, the test being what follows

    Witten, Bell 1991, "The zero-frequency problem".
    """
    follows = [defaultdict(Counter) for _ in range(order + 1)]
    learn, test = _text(learn), _text(test)
    for n, table in enumerate(follows):
        for i in range(n, len(learn)):
            table[learn[i - n : i]][learn[i]] += 1
    totals = [{s: found.total() for s, found in table.items()} for table in follows]
    bits, whole = 0.0, learn[-order:] + test
    for i in range(order, len(whole)):
        p = 1 / classes
        for n, (table, total) in enumerate(zip(follows, totals, strict=True)):
            past = whole[i - n : i]
            if past not in total:
                break
            found = table[past]
            p = (found[whole[i]] + len(found) * p) / (total[past] + len(found))
        bits -= math.log2(p)
    return bits / len(test)


def _text(ids):
    """A string of one character for each id, which slices and hashes fast."""
    return np.asarray(ids).astype("<u4").tobytes().decode("utf-32-le")


def gzip_bits(learn: str, test: str) -> float:
    """Bits per character that gzip needs for the test text behind the training text."""
    sizes = [len(gzip.compress(text.encode(), 9, mtime=0)) for text in (learn, learn + test)]
    return 8 * (sizes[1] - sizes[0]) / len(test)


def _draw_bits(path, bits):
    figure, (axis,) = train.plots.figure_of(7, 2.6, 1, 1, "bits per character of unseen text")
    colors = [train.plots.BLUE, train.plots.GREY, train.plots.GREY]
    axis.barh(list(bits), list(bits.values()), color=colors)
    for row, value in enumerate(bits.values()):
        axis.text(value, row, f" {value:.3f}", va="center")
    axis.invert_yaxis()
    axis.set_xlim(0, 1.15 * max(bits.values()))
    train.plots.save(figure, path)


def _draw_surprise(path, text, ids, bits):
    """The characters of a passage, on a ground that is the darker, the less they were expected."""
    width = 64
    shown = text.decode(ids[1:]).replace("\n", "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}")
    rows = -(-len(shown) // width)
    title = "how much each character surprised the network: white 0, dark 8 bits or more"
    figure, (axis,) = train.plots.figure_of(11, 0.3 * rows + 0.9, 1, 1, title)
    ground = np.zeros(rows * width)
    ground[: len(bits)] = np.minimum(bits, 8)
    axis.imshow(ground.reshape(rows, width), cmap="Oranges", vmin=0, vmax=11, aspect="auto")
    for i, character in enumerate(shown):
        row, column = divmod(i, width)
        words = {"ha": "center", "va": "center", "family": "monospace", "fontsize": 10}
        axis.text(column, row, character.replace("$", r"\$"), **words)
    axis.set_axis_off()
    train.plots.save(figure, path)
