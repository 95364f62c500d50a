"""Foretells how many stars a user gives an item, within 5 % of what noise allows.

Learnt: for each user and each item 4 numbers and one of its own, such that they tell the rating.
From: 120000 ratings of 400 items by 400 users, made by the generator that `pynn.data.ratings`
states: tastes, qualities, and noise of half a star, below which no error can fall; a fifth is held
out and looked at once, at the end. How: the numbers' products are added up, as in matrix
factorisation, and a small network looks at the numbers and the sum, since the generator bends it by
a tanh; the squares of all numbers join the loss, weighed as the noise is against the spread of
tastes. The best that does without tastes, a number for each user and item, is computed on the same
ratings.

Salakhutdinov, Mnih 2007, "Probabilistic matrix factorization". Koren, Bell, Volinsky 2009, "Matrix
factorization techniques for recommender systems". He et al. 2017, "Neural collaborative filtering",
arXiv:1708.05031.
"""

import numpy as np

import pynn.functional as F
from pynn import data, nn, optim, train
from pynn.data.ratings import NOISE
from pynn.recipes._goal import Goal
from pynn.recipes._recipe import Option, Recipe
from pynn.train import plots as draw

_SHOWN = 500  # test pairs in the picture


class Recommender(Recipe):
    """user's + item's + p q + mlp(p, q, p q), with p and q learnt for each user and item."""

    goal = Goal(
        "error over the noise",
        lambda r: r["rmse"]["network"] / r["rmse"]["noise"],
        at_most=1.05,
        seconds=60,
        form=".3f",
    )
    epochs = 16
    optimizer = "adam"
    batch_size = 256
    lr = 0.01
    factors = Option(4, "numbers learnt for each user and each item", least=1)
    hidden = Option(32, "width of the hidden layer", least=1)
    prior = Option(1e-5, "weight of the squares of all numbers in the loss, halved", least=0.0)
    loss = staticmethod(F.mse_loss)

    def data(self):
        rest, test = data.ratings()
        learn, validation = data.train_test_split(rest, 0.1, seed=0)
        self.rest, self.test = rest[:], test[:]
        return self.loader(learn, shuffle=True), self.loader(validation), self.loader(test)

    def model(self):
        return Factors(400, 400, self.factors, self.hidden)

    def make_optimizer(self, model):
        if self.optimizer != "adam":
            return super().make_optimizer(model)
        return optim.Adam(model.parameters(), lr=self.lr, weight_decay=self.prior)

    def metrics(self):
        return {"r2": train.R2()}

    def headline(self, result):
        found = result["rmse"]
        return f"error {found['network']:.4f} stars (noise: {found['noise']:.4f})"

    def report(self, trainer, test, out, plots):
        predicted, true = (y.astype(np.float64)[:, 0] for y in trainer.predict(test))
        means = biases(*self.rest)(*self.test[:2])
        rmse = {
            "noise": NOISE,
            "network": float(np.sqrt(np.mean((predicted - true) ** 2))),
            "means of user and item": float(np.sqrt(np.mean((means - true) ** 2))),
            "mean of all": float(np.sqrt(np.mean((self.rest[2].mean() - true) ** 2))),
        }
        if plots:
            named = {
                f"network, error {rmse['network']:.3f}": predicted[:_SHOWN],
                f"means, error {rmse['means of user and item']:.3f}": means[:_SHOWN],
            }
            title = f"stars of {len(true)} test pairs, {_SHOWN} of them shown; noise {NOISE}"
            draw.scatter(out / "scatter.png", true[:_SHOWN], named, title)
        return {"rmse": rmse}


class Factors(nn.Module):
    """A number for each user and each item, p_u . q_i, and a small network over p_u, q_i and it."""

    def __init__(self, users, items, factors, hidden):
        super().__init__()
        self.user, self.item = nn.Embedding(users, factors), nn.Embedding(items, factors)
        self.user_bias, self.item_bias = nn.Embedding(users, 1), nn.Embedding(items, 1)
        self.mlp = nn.Sequential(
            nn.Linear(2 * factors + 1, hidden, activation="gelu"), nn.Linear(hidden, 1)
        )
        for table, std in (
            (self.user, 0.3),
            (self.item, 0.3),
            (self.user_bias, 0.01),
            (self.item_bias, 0.01),
        ):
            nn.init.normal_(table.weight, std=std)
        nn.init.constant_(self.mlp[-1].bias, 3.0)

    def forward(self, user, item):
        p, q = self.user(user), self.item(item)
        likes = (p * q).sum(-1, keepdims=True)
        likes = likes + self.mlp(F.cat([p, q, likes], -1))
        return likes + self.user_bias(user) + self.item_bias(item)


def biases(user, item, stars, rounds=20, shrink=1.0):
    """The best that does without tastes: mean + user's + item's, by alternating least squares."""
    mean = stars.mean(dtype=np.float64)
    a, b = np.zeros(user.max() + 1), np.zeros(item.max() + 1)
    rest = stars[:, 0].astype(np.float64) - mean
    for _ in range(rounds):
        a = np.bincount(user, rest - b[item], len(a)) / (np.bincount(user) + shrink)
        b = np.bincount(item, rest - a[user], len(b)) / (np.bincount(item) + shrink)
    return lambda user, item: mean + a[user] + b[item]
