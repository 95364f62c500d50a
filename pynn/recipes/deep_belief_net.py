"""Learns what digits look like, untold which they are, and then to tell them apart.

Learnt: first, by two restricted Boltzmann machines, a distribution over images of digits; then,
starting from their weights, which digit an image shows. From: 1797 digits by 43 writers
(scikit-learn's "digits"); a stratified fifth is held out and looked at once, at the end. How: each
machine learns by contrastive divergence, the second from what the first makes of the images,
without labels; grey levels are taken for probabilities of bits, which are drawn. That takes two
thirds of the epochs, in which the loss is the error of reconstruction. Then their weights begin a
network, which is fine-tuned by backpropagation; the machines stay as they are, for their fantasies.

weights.png shows what units of the first machine look for; fantasies.png what the belief net
believes in: samples of the upper machine's chain, passed down.

Hinton, Osindero, Teh 2006, "A fast learning algorithm for deep belief nets". Hinton 2002, "Training
products of experts by minimizing contrastive divergence".
"""

import math

import numpy as np

import pynn
import pynn.functional as F
from pynn import data, nn, optim, train
from pynn.nn.rbm import bernoulli
from pynn.recipes._digits import Digits
from pynn.recipes._goal import Goal
from pynn.recipes._recipe import Option
from pynn.train import plots as draw


class Greedy(train.Trainer):
    """Trains one machine after the other, then the network that begins with their weights."""

    def forward(self, batch):
        images, labels = self._moved(batch)
        scores = self.model(images)
        stage = self.stage(self.step)
        if stage == len(self.model.machines):
            return self.loss(scores, labels), scores, labels
        v, machine = self.model.below(images, stage), self.model.machines[stage]
        divergence, _ = machine.contrastive_divergence(bernoulli(v))
        error = F.mse_loss(machine.reconstruct(v), v)
        # its gradient is that of the divergence, whose value says nothing; its value is the error
        return divergence - divergence.detach() + error, scores, labels

    def train_step(self, batches):
        network = len(self.model.machines)
        if self.stage(self.step) == network and self.stage(self.step - 1) != network:
            self.model.unroll()
        super().train_step(batches)

    def stage(self, step):
        """Which machine learns in a step, from 0 on; their number stands for the network."""
        stages = len(self.model.machines) + 1
        return max(0, min(stages - 1, stages * step // max(1, self.total_steps)))


class DeepBeliefNet(Digits):
    """Machines 64 - hidden and hidden - hidden; then the network 64 - hidden - hidden - 10."""

    goal = Goal("test accuracy", lambda r: r["test"]["accuracy"], at_least=0.96, seconds=120)
    trainer = Greedy
    stages = 3
    epochs = 60
    batch_size = 32
    lr = 0.01
    quick = {"epochs": 6}
    hidden = Option(200, "units of each machine", least=1)
    tuning = Option(0.01, "learning rate of the fine-tuning", above=0)

    def data(self):
        rest, test = self.source()
        learn, validation = data.train_test_split(rest, 0.1, seed=0, stratify=rest.arrays[1])
        shares = learn[:][0].mean(0).reshape(-1).clip(0.01, 0.99)  # of ink in each pixel
        self.bias = np.log(shares / (1 - shares))
        turned = data.RandomRotation(8)
        return (
            self.loader(learn, shuffle=True, transform=turned),
            self.loader(validation),
            self.loader(test),
        )

    def model(self):
        net = BeliefNet(64, self.hidden, self.hidden)
        for machine in net.machines:
            nn.init.normal_(machine.weight, std=0.1)
        net.machines[0].visible_bias.data[...] = self.bias
        return net

    def make_optimizer(self, model):
        optimizer = super().make_optimizer(model.machines)
        network = [*model.layers.parameters(), *model.last.parameters()]
        optimizer.add_param_group({"params": network, "lr": self.tuning})
        return optimizer

    def make_schedule(self, optimizer, steps):
        """A cosine for each machine and for the network, each from the whole rate down."""
        return optim.LambdaLR(
            optimizer, lambda step: (1 + math.cos(math.pi * (self.stages * step / steps % 1))) / 2
        )

    def report(self, trainer, test, out, plots):
        net = trainer.model
        if plots:
            most = np.abs(weight := net.machines[0].weight.numpy().astype(np.float32)).max()
            units = len(weight) // 16 * 16
            sheet = 0.5 + weight[: min(64, units)].reshape(-1, 16, 8, 8, 1) / (2 * most)
            if units:
                title = "what units of the first machine look for: red ink, blue none"
                draw.sheet(out / "weights.png", sheet, title, cmap="RdBu_r")
            images = net.dream(96).numpy().astype(np.float32).reshape(6, 16, 8, 8, 1)
            draw.sheet(out / "fantasies.png", images, "what the deep belief net believes in")
        return super().report(trainer, test, out, plots)


class BeliefNet(nn.Module):
    """Machines upon each other, and the network with layers of their sizes."""

    def __init__(self, *sizes):
        super().__init__()
        pairs = list(zip(sizes, sizes[1:], strict=False))
        self.machines = nn.ModuleList(nn.RBM(a, b) for a, b in pairs)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairs)
        self.last = nn.Linear(sizes[-1], 10)

    def forward(self, images):
        x = images.flatten(1)
        for layer in self.layers:
            x = F.sigmoid(layer(x))
        return self.last(x)

    def below(self, images, stage):
        """What a machine sees of images: the probabilities of the units below; without a graph."""
        v = images.flatten(1).detach()
        with pynn.no_grad():
            for machine in list(self.machines)[:stage]:
                v = machine(v)
        return v

    def unroll(self):
        """Give the machines' weights to the network."""
        for machine, layer in zip(self.machines, self.layers, strict=True):
            layer.weight.data[...] = machine.weight.data
            layer.bias.data[...] = machine.hidden_bias.data

    def dream(self, count, steps=500):
        """`count` fantasies: rounds of the topmost machine's chain from noise, passed down."""
        *lower, top = self.machines
        with pynn.no_grad():
            v = top.sample(count, steps)
            for machine in reversed(lower):
                v = machine.visible_probabilities(v)
        return v
