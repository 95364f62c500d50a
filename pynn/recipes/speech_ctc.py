"""Writes down spoken words without being told when each was said: CTC over spectrograms.

Learnt: which of eight words were said, in which order. From: 3000 utterances of two to six words,
synthesised here: harmonics of a voice's pitch under two gliding formants, words of 90 to 200 ms
with pauses between them, other pitch, throat and noise each time; 300 others are the test. How: a
convolution over five frames of the spectrogram that halves their number, a GRU in both directions,
and at each step a word or a blank; connectionist temporal classification sums over all times at
which the words may have been said. What is read is the likeliest label of each step, repetitions
and blanks left out; label errors are changes, omissions and additions per word said.

Graves, Fernandez, Gomez, Schmidhuber 2006, "Connectionist temporal classification: labelling
unsegmented sequence data with recurrent neural networks".
"""

import numpy as np

import pynn.functional as F
from pynn import data, nn, train
from pynn.data.tones import BANDS, WORDS, utterances
from pynn.recipes._goal import Goal
from pynn.recipes._recipe import Option, Recipe

_BLANK = len(WORDS)


class LabelErrors(train.Metric):
    """Changes, omissions and additions per label said."""

    start = {"errors": 0, "count": 0}
    higher_is_better = False

    def update(self, outputs, targets):
        scores, steps = _apart(outputs.astype("float32").numpy())
        for row, n, labels in zip(scores, steps, targets.numpy(), strict=True):
            labels = labels[labels >= 0].tolist()
            self.errors += distance(read(row[:n]), labels)
            self.count += len(labels)

    def compute(self):
        return self.errors / self.count if self.count else float("nan")


def read(scores: np.ndarray) -> list[int]:
    """The labels of (steps, classes) scores: the best of each step, without repetitions, blanks."""
    best = scores.argmax(axis=-1)
    new = np.append(True, best[1:] != best[:-1])
    return best[new & (best != _BLANK)].tolist()


def distance(a: list, b: list) -> int:
    """The fewest changes, omissions and additions that make b of a.

    Levenshtein 1966, "Binary codes capable of correcting deletions, insertions and reversals".
    """
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        corner, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (x != y))
    return row[-1]


class SpeechCtc(Recipe):
    """Conv over time - ReLU - GRU in both directions - linear, to a word or a blank each step."""

    goal = Goal(
        "label error", lambda r: r["test"]["label_errors"], at_most=0.05, seconds=180, form=".2%"
    )
    epochs = 10
    batch_size = 32
    lr = 4e-3
    clip_norm = 5.0
    hidden = Option(48, "width of the GRU in each direction", least=1)
    spoken = Option(3000, "utterances to learn from", least=32)

    quick = {"epochs": 2, "spoken": 240, "hidden": 24, "batch_size": 8}

    def data(self):
        held = max(32, self.spoken // 10)
        learn = utterances(self.spoken, seed=1)
        validation, test = (utterances(held, seed=seed) for seed in (2, 3))
        return self.loader(learn, shuffle=True), self.loader(validation), self.loader(test)

    @staticmethod
    def loss(outputs, labels):
        scores, steps = _apart(outputs)
        labels = labels.numpy()
        lengths = (labels >= 0).sum(axis=1)
        chances = F.log_softmax(scores, -1)
        return F.ctc_loss(chances, np.maximum(labels, 0), steps, lengths, _BLANK)

    def metrics(self):
        return {"label_errors": LabelErrors()}

    def model(self):
        return _Network(self.hidden)

    def headline(self, result):
        return f"label error {100 * result['test']['label_errors']:.2f} %"

    def report(self, trainer, test, out, plots):
        few = data.ArrayDataset(*test.dataset[:6])
        frames, steps, _ = few[:]
        outputs, labels = trainer.predict(self.loader(few))
        scores, lengths = _apart(outputs.astype(np.float32))
        for row, n, true in zip(scores, lengths, labels, strict=True):
            said = " ".join(WORDS[i] for i in true if i >= 0)
            trainer.progress.say(f"said {said}; read {' '.join(WORDS[i] for i in read(row[:n]))}")
        if plots:
            _draw(out / "alignment.png", frames, steps, labels, scores)
        return {"test_utterances": len(test.dataset)}


class _Network(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.conv = nn.Conv1d(BANDS, 2 * hidden, 5, stride=2, padding=2, activation="relu")
        self.recurrent = nn.GRU(2 * hidden, hidden, bidirectional=True)
        self.linear = nn.Linear(2 * hidden, len(WORDS) + 1)

    def forward(self, frames, steps):
        """Scores (N, T', classes + 1), whose last column holds each sample's number of steps."""
        steps = (steps + 1) // 2
        y, _ = self.recurrent(self.conv(frames), lengths=steps)
        scores = self.linear(y)
        N, T, _ = scores.shape
        column = steps.astype(scores.dtype).reshape(N, 1, 1).expand(N, T, 1)
        return F.cat([scores, column], -1)


def _apart(outputs):
    """Scores (N, T, classes), and as integers on the host the steps of each sample."""
    steps = outputs[:, 0, -1]
    steps = steps if isinstance(steps, np.ndarray) else steps.astype("float32").numpy()
    return outputs[..., :-1], steps.astype(np.int64)


def _draw(path, frames, steps, labels, scores):
    """Spectrograms of three utterances, below each the probability of every word in its time."""
    title = "what was heard, and when the network says which word"
    figure, axes = train.plots.figure_of(11, 9, 6, 1, title)
    for i in range(3):
        heard, said = axes[2 * i : 2 * i + 2]
        n = int(steps[i])
        heard.imshow(frames[i, :n].T, origin="lower", aspect="auto", cmap="magma")
        words = " ".join(WORDS[k] for k in labels[i] if k >= 0)
        heard.set_title(f"said: {words}", loc="left", fontsize=11)
        heard.set_ylabel("frequency")
        heard.set_xticks([])
        heard.set_yticks([])
        half = (n + 1) // 2
        powers = np.exp(scores[i, :half] - scores[i, :half].max(axis=-1, keepdims=True))
        chances = powers / powers.sum(axis=-1, keepdims=True)
        for k, word in enumerate(WORDS):
            said.plot(chances[:, k], color=f"C{k}", lw=1.6)
            peaks = np.flatnonzero((chances[:, k] > 0.5) & (np.roll(chances[:, k], 1) <= 0.5))
            for peak in peaks:
                said.text(peak, 1.06, word, color=f"C{k}", ha="left", fontsize=11)
        said.plot(chances[:, _BLANK], color=train.plots.GREY, lw=0.7, ls="--")
        said.set_xlim(-0.5, half - 0.5)
        said.set_ylim(0, 1.3)
        said.set_ylabel("probability")
        said.set_xticks([])
    axes[-1].set_xlabel("time; dashed grey: blank")
    train.plots.save(figure, path)
