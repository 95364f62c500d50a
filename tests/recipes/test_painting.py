"""deep-dream and style-transfer: whose network looks at the image, and what happens to it."""

import os
import signal

import numpy as np
import pytest

from pynn import cli, recipes
from pynn.recipes import _folder, _painting
from pynn.recipes.photo_patches import PhotoPatches
from pynn.tensor import Tensor
from pynn.train import Interrupted, Trainer

pytest.importorskip("skimage")
SMALL = {"size": 32, "epochs": 2, "steps": 2}


def run(name, out, resume=False, **options):
    recipe = recipes.load(name)(**SMALL, **options)
    return recipe.run(out, resume=resume, progress=False, plots=False)


@pytest.fixture(scope="module")
def patches(tmp_path_factory):
    """A run of photo-patches of two steps."""
    folder = tmp_path_factory.mktemp("runs") / "photo-patches"
    PhotoPatches(max_steps=2).run(folder, progress=False, plots=False)
    return folder


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["deep-dream", "style-transfer"])
def test_a_network_of_another_run_or_of_its_own(tmp_path, patches, name):
    run(name, tmp_path / "own", studied=2)
    assert weights(tmp_path / "own/network") == weights(patches)
    run(name, tmp_path / "given", network=str(patches))
    assert weights(tmp_path / "given") == weights(tmp_path / "own")
    assert not (tmp_path / "given/network").exists()


def test_interrupted_while_its_network_learns(tmp_path, monkeypatch, patches):
    train_step, out = Trainer.train_step, tmp_path / "run"

    def interrupted(self, batches):
        train_step(self, batches)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Trainer, "train_step", interrupted)
    with pytest.raises(Interrupted) as stop:
        run("style-transfer", out, studied=2)
    monkeypatch.undo()
    assert stop.value.checkpoint.parent == out / "network"
    assert _folder.outermost(stop.value.checkpoint.parent) == out  # which is what to resume
    run("style-transfer", out, resume=True, studied=2)
    run("style-transfer", tmp_path / "straight", network=str(patches))
    assert weights(out) == weights(tmp_path / "straight")


def test_the_network_stays_and_the_image_keeps_to_what_can_be_shown(tmp_path, patches):
    recipe = recipes.load("deep-dream")(**SMALL, network=str(patches), lr=9.0)
    found = {}
    recipe.report = lambda trainer, *_: found.update(canvas=trainer.model) or {}
    recipe.headline = lambda result: ""
    recipe.run(tmp_path, progress=False)
    canvas, (_, network) = found["canvas"], _folder.trained(patches)
    for name, value in network.state_dict().items():
        np.testing.assert_array_equal(canvas.network.state_dict()[name].numpy(), value.numpy())
    images = canvas.images.numpy()
    assert (images >= canvas.black.numpy()).all() and (images <= canvas.white.numpy()).all()
    assert not canvas.network.training and canvas.train().training
    assert not canvas.network.training


def test_a_network_for_grey_digits_dreams_in_grey(tmp_path):
    pytest.importorskip("sklearn")
    digits = recipes.load("digits-cnn")(width=2, max_steps=1)
    digits.run(tmp_path / "digits", progress=False, plots=False)
    recipe = recipes.load("deep-dream")(**SMALL, network=str(tmp_path / "digits"))
    assert recipe.run(tmp_path / "dream", progress=False)["objective_rise"]
    assert recipe.photos[0].shape == (32, 32, 1)


def test_networks_that_cannot_look(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    for name in ("digits-mlp", "perceptron"):
        options = {"max_steps": 1} | ({"hidden": 2} if name == "digits-mlp" else {})
        recipes.load(name)(**options).run(name, progress=False, plots=False)
    for network, words in (
        ("nowhere", "[run] expected the folder of a run, with config.json, got nowhere"),
        ("perceptron", "[run] expected a recipe that reads images, got perceptron: perceptron"),
        ("digits-mlp --size 512", "[deep-dream] size: expected at most 300, got 512"),
        ("digits-mlp", "whose network has three convolutions or more, one after the other, got"),
    ):
        args = ["train", "deep-dream", "--out", "dream", "--network", *network.split()]
        assert cli.main(args) == 2
        assert words in capsys.readouterr().err
        assert not (tmp_path / "dream").exists()


def test_look_finds_what_each_layer_finds():
    network = PhotoPatches(width=2).model().eval()
    x = Tensor(np.random.default_rng(0).standard_normal((1, 8, 8, 3)).astype(np.float32))
    found = _painting.look(network, x)
    assert [y.shape for y in found] == [(1, 8, 8, 2), (1, 4, 4, 4), (1, 2, 2, 6), (1, 1, 1, 8)]
    np.testing.assert_array_equal(network[-1](found[-1].mean((1, 2))).numpy(), network(x).numpy())
