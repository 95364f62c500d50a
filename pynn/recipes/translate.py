"""Translates numbers from words to digits and dates between formats, without any fault.

Learnt: "two thousand three hundred and four" is 2304, "7 march 1994" and "3/7/1994" are 1994-03-07.
From: pairs made here, half numbers below a million, half dates of two centuries in three formats;
no number and no date of the training is in the test. How: an encoder reads the source, word by
word, a decoder writes the target, sign by sign, and looks back at the source by attention: two
LSTMs (--network lstm) or a Transformer (--network transformer). In training the decoder reads the
true signs before each; in the test those that it wrote itself, and a pair counts as right if all
its signs are.

Sutskever, Vinyals, Le 2014, "Sequence to sequence learning with neural networks".
Luong, Pham, Manning 2015, "Effective approaches to attention-based neural machine translation".
Vaswani et al. 2017, "Attention is all you need", arXiv:1706.03762.
"""

import numpy as np

import pynn.functional as F
from pynn import data, nn, no_grad, train
from pynn.data.phrases import BEGIN, PAD, SOURCE, TARGET, phrases, spelt
from pynn.recipes._goal import Goal
from pynn.recipes._recipe import Option, Recipe
from pynn.tensor import Tensor


class Translate(Recipe):
    """Encoder, attention, decoder."""

    goal = Goal("phrases exact", lambda r: r["exact"], at_least=0.99, seconds=240)
    others = ({"network": "transformer"},)
    epochs = 10
    batch_size = 64
    lr = 4e-3
    clip_norm = 1.0
    network = Option("lstm", "lstm or transformer", choices=("lstm", "transformer"))
    width = Option(96, "of all vectors", least=4)
    pairs = Option(10000, "phrases to learn from", least=64)

    quick = {"epochs": 2, "pairs": 1500, "width": 32}

    def data(self):
        held = max(50, self.pairs // 10)
        rest, test = phrases(self.pairs + held, held)
        learn, validation = (_Taught(*rest[part]) for part in (slice(held, None), slice(0, held)))
        return (
            self.loader(learn, shuffle=True),
            self.loader(validation),
            self.loader(_Taught(*test[:])),
        )

    @staticmethod
    def loss(scores, targets):
        return F.cross_entropy(scores, targets, ignore_index=PAD)

    def metrics(self):
        return {"accuracy": train.Accuracy(ignore_index=PAD)}

    def model(self):
        kind = {"lstm": _Recurrent, "transformer": _Transformer}[self.network]
        return kind(self.width)

    def headline(self, result):
        return f"{100 * result['exact']:.2f} % of unseen phrases exact"

    def report(self, trainer, test, out, plots):
        trainer.model.eval()
        sources, _, targets = test.dataset[:]
        written = np.concatenate(
            [self._write(trainer.model, batch[0], targets.shape[1]) for batch in test]
        )
        exact = [_string(a) == _string(b) for a, b in zip(written, targets, strict=True)]
        lines = [
            f"{'right' if good else 'WRONG'}  {' '.join(spelt(source, SOURCE))}  =  {_string(got)}"
            for good, source, got in zip(exact, sources, written, strict=True)
        ]
        (out / "translations.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        for line in lines[:6]:
            trainer.progress.say(line)
        if plots:
            self._draw(trainer.model, sources[:2], written[:2], out)
        return {"exact": float(np.mean(exact)), "test_phrases": len(exact)}

    @no_grad()
    def _write(self, model, sources, steps):
        """The likeliest sign at each step, from those that were written before: (N, steps)."""
        memory = model.encode(sources)
        ids = np.full((len(sources), 1), BEGIN, np.int64)
        for _ in range(steps):
            scores, _ = model.decode(Tensor(ids, device=self.device), *memory)
            best = scores[:, -1].argmax(-1).numpy()
            ids = np.hstack([ids, best[:, None]])
        return ids[:, 1:]

    @no_grad()
    def _draw(self, model, sources, written, out):
        """Where the decoder looked for each sign of two phrases."""
        begun = np.hstack([np.full((2, 1), BEGIN), written[:, :-1]])
        memory = model.encode(Tensor(sources, device=self.device))
        _, weights = model.decode(Tensor(begun, device=self.device), *memory)
        weights = weights.astype("float32").numpy()
        title = "where the decoder looks (dark) for each sign that it writes"
        figure, axes = train.plots.figure_of(12, 5.4, 1, 2, title)
        for axis, look, source, target in zip(axes, weights, sources, written, strict=True):
            words, signs = [*spelt(source, SOURCE), "end"], [*spelt(target, TARGET), "end"]
            axis.imshow(look[: len(signs), : len(words)], cmap="Blues", vmin=0, vmax=1)
            axis.set_xticks(range(len(words)), words, rotation=60, ha="right")
            axis.set_yticks(range(len(signs)), signs)
            axis.set_xlabel("read")
            axis.set_ylabel("written")
        train.plots.save(figure, out / "attention.png")


class _Taught(data.ArrayDataset):
    """Samples (source, target moved on by one behind BEGIN, target)."""

    def __init__(self, sources, targets):
        begun = np.hstack([np.full((len(targets), 1), BEGIN), targets[:, :-1]])
        super().__init__(sources, begun, targets)


class _Network(nn.Module):
    """`encode(source)` gives what `decode(begun, ...)` needs, which gives scores and weights."""

    def forward(self, source, begun):
        return self.decode(begun, *self.encode(source))[0]


class _Recurrent(_Network):
    """A bidirectional LSTM reads; an LSTM writes, each of its states asking the encoder's."""

    def __init__(self, width):
        super().__init__()
        self.source, self.target = (
            nn.Embedding(len(SOURCE), width),
            nn.Embedding(len(TARGET), width),
        )
        self.encoder = nn.LSTM(width, width, bidirectional=True)
        self.decoder = nn.LSTM(width, width)
        self.key, self.value = nn.Linear(2 * width, width), nn.Linear(2 * width, width)
        self.mix = nn.Linear(2 * width, width)
        self.linear = nn.Linear(width, len(TARGET))

    def encode(self, source):
        kept = source != PAD
        states, _ = self.encoder(self.source(source), lengths=kept.sum(1))
        return self.key(states), self.value(states), kept

    def decode(self, begun, key, value, kept):
        asked, _ = self.decoder(self.target(begun))
        found, weights = F.scaled_dot_product_attention(
            asked.unsqueeze(1),
            key.unsqueeze(1),
            value.unsqueeze(1),
            kept.reshape(len(kept), 1, 1, -1),
            need_weights=True,
        )
        mixed = F.tanh(self.mix(F.cat([asked, found[:, 0]], -1)))
        return self.linear(mixed), weights[:, 0]


class _Transformer(_Network):
    """Two layers read, two write; the weights shown are the last layer's, the mean of its heads."""

    def __init__(self, width):
        super().__init__()
        self.source, self.target = (
            nn.Embedding(len(SOURCE), width),
            nn.Embedding(len(TARGET), width),
        )
        self.positions = nn.SinusoidalPositions(width)
        options = {"dim_feedforward": 2 * width, "dropout": 0.0, "norm_first": True}
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(width, 4, **options), 2, nn.LayerNorm(width)
        )
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(width, 4, **options), 2)
        self.look = nn.MultiheadAttention(width, 4)
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, len(TARGET))

    def encode(self, source):
        padded = source == PAD
        x = self.positions(self.source(source))
        return self.encoder(x, src_key_padding_mask=padded), padded

    def decode(self, begun, memory, padded):
        x = self.positions(self.target(begun))
        x = self.decoder(x, memory, tgt_is_causal=True, memory_key_padding_mask=padded)
        found, weights = self.look(self.norm(x), memory, key_padding_mask=padded)
        return self.linear(x + found), weights


def _string(ids):
    return "".join(spelt(ids, TARGET))
