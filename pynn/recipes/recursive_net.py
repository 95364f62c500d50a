"""Works out arithmetic by meaning: a TreeLSTM that goes on to deeper expressions than it learnt.

Learnt: the value, modulo 5, of expressions over +, - and *. From: 16000 trees of a depth of 1 to 6,
made here at random, with the value of each node; the test is on roots alone, in 2100 trees of a
depth of 7 and 8, the validation on those of 1600 trees of 1 to 7. How: a TreeLSTM for binary trees
composes the vectors of two children into that of their parent, all nodes of one height at once; one
linear layer reads the value. Fewer or shallower trees to learn from, and it generalizes worse.

Tai, Socher, Manning 2015, "Improved semantic representations from tree-structured long short-term
memory networks", arXiv:1503.00075. Socher et al. 2013, "Recursive deep models for semantic
compositionality over a sentiment treebank" (a label for each node).
"""

import textwrap

import numpy as np

import pynn.functional as F
from pynn import nn, train
from pynn.data.expressions import MODULUS, SYMBOLS, expressions, written
from pynn.nn.tree import heights_of
from pynn.recipes._goal import Goal
from pynn.recipes._recipe import Option, Recipe


class RootAccuracy(train.Accuracy):
    """Share of trees whose root, node 0, has the right value."""

    def update(self, outputs, targets):
        super().update(outputs[:, 0], targets[:, 0])


class RecursiveNet(Recipe):
    """Embedding - TreeLSTM - linear, at each node."""

    goal = Goal(
        "deeper expressions right", lambda r: r["test"]["accuracy"], at_least=0.95, seconds=180
    )
    epochs = 6
    batch_size = 64
    lr = 1e-2
    clip_norm = 1.0
    hidden = Option(64, "width of the TreeLSTM", least=1)
    trees = Option(16000, "expressions to learn from", least=64)

    quick = {"epochs": 2, "trees": 640}
    loss = staticmethod(F.cross_entropy)

    def data(self):
        learn = expressions(self.trees, range(1, 7), seed=1)
        validation = expressions(max(50, self.trees // 10), range(1, 8), seed=2)
        test = expressions(max(50, self.trees * 2 // 15), range(7, 9), seed=3)
        return self.loader(learn, shuffle=True), self.loader(validation), self.loader(test)

    def metrics(self):
        return {"accuracy": RootAccuracy()}

    def model(self):
        return _Network(self.hidden)

    def headline(self, result):
        return f"{100 * result['test']['accuracy']:.2f} % of deeper expressions right"

    def report(self, trainer, test, out, plots):
        right, shares = {}, {}
        for loader in (trainer.validation, test):
            scores, values = trainer.predict(loader)
            hits = scores[:, 0].argmax(axis=-1) == values[:, 0]
            depths = [heights_of(children)[0] for children in loader.dataset.arrays[1]]
            for depth, hit in zip(depths, hits, strict=True):
                right.setdefault(int(depth), []).append(bool(hit))
        shares = {depth: float(np.mean(right[depth])) for depth in sorted(right)}
        if plots:
            _draw_depths(out / "depths.png", shares)
            _draw_tree(out / "tree.png", test.dataset, scores)
        return {"accuracy_of_depth": {str(depth): share for depth, share in shares.items()}}


class _Network(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.embedding = nn.Embedding(len(SYMBOLS), hidden)
        self.tree = nn.TreeLSTM(nn.NaryTreeLSTMCell(hidden, hidden))
        self.linear = nn.Linear(hidden, MODULUS)

    def forward(self, symbols, children):
        """Scores (N, M, values) of all nodes of N trees, which are one forest here."""
        N, M = symbols.shape
        children = children.numpy().reshape(N * M, 2)
        ids = symbols.numpy().reshape(-1)
        kept = np.flatnonzero(ids)  # the nodes that are there
        place = np.zeros(N * M, np.int64)
        place[kept] = np.arange(len(kept))
        first = M * (kept // M)[:, None]  # of each node's own tree
        below = children[kept]
        forest = np.where(below < 0, -1, place[below + first])
        h, _ = self.tree(F.take(self.embedding.weight, ids[kept]), forest)
        return F.take(self.linear(h), place).reshape(N, M, MODULUS)


def _draw_depths(path, shares):
    title = "share of expressions with the right value, by depth"
    figure, (axis,) = train.plots.figure_of(6.4, 3.6, 1, 1, title)
    colors = [train.plots.GREY if depth < 7 else train.plots.BLUE for depth in shares]
    axis.bar(list(shares), list(shares.values()), color=colors)
    for depth, share in shares.items():
        axis.text(depth, share, f"{100 * share:.1f} %", ha="center", va="bottom", fontsize=9)
    axis.axhline(1 / MODULUS, color=train.plots.RED, lw=1, ls="--")
    axis.text(max(shares) + 0.55, 1 / MODULUS, "chance", color=train.plots.RED, va="bottom")
    axis.set_xlim(min(shares) - 0.6, max(shares) + 1.3)
    axis.set_ylim(0, 1.1)
    axis.set_xticks(list(shares))
    axis.set_xlabel("depth: grey as in training (unseen trees), blue deeper")
    train.plots.save(figure, path)


def _draw_tree(path, dataset, scores):
    """The tree of a moderate size, with what the network says at each of its nodes."""
    symbols, children, values = dataset[:]
    sizes = (symbols > 0).sum(axis=1)
    i = int(np.argmin(np.abs(sizes - 25)))
    symbols, children, values = symbols[i], children[i], values[i]
    taken = scores[i].argmax(axis=-1)
    places = {}

    def place(node, depth):
        """Leaves stand side by side, each operation over the middle of its sides."""
        left, right = children[node]
        if left < 0:
            places[node] = (sum(children[n][0] < 0 for n in places), -depth)
            return places[node][0]
        x = (place(left, depth + 1) + place(right, depth + 1)) / 2
        places[node] = (x, -depth)
        return x

    place(0, 0)
    title = textwrap.fill(written(symbols, children), 90)
    title += "\nin each box the symbol, and the value by the network: blue right, red wrong"
    figure, (axis,) = train.plots.figure_of(11, 5.6, 1, 1, title)
    xs, ys = zip(*places.values(), strict=True)
    axis.set_xlim(min(xs) - 0.5, max(xs) + 0.5)
    axis.set_ylim(min(ys) - 0.5, 0.5)
    for node, (x, y) in places.items():
        for child in children[node]:
            if child >= 0:
                axis.plot([x, places[child][0]], [y, places[child][1]], color="#cccccc", zorder=1)
        good = taken[node] == values[node]
        color = train.plots.BLUE if good else train.plots.RED
        text = f"{SYMBOLS[symbols[node]]}\n{taken[node]}"
        box = {"boxstyle": "round", "fc": "white", "ec": color}
        axis.text(x, y, text, ha="center", va="center", color=color, bbox=box, fontsize=10)
    axis.set_axis_off()
    train.plots.save(figure, path)
