"""Parts of recipes: what a neuron can do, files of data sets, drawn digits, rivals, errors."""

import numpy as np
import pytest

from pynn import data, recipes
from pynn.data import images
from pynn.recipes import _folder
from pynn.recipes._language import gzip_bits, ngram_bits
from pynn.recipes.speech_ctc import distance, read


def run(name, out, **options):
    pytest.importorskip("sklearn")
    return recipes.load(name)(**options).run(out, progress=False, plots=False)


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


def test_losses_and_activations_of_the_perceptron_of_layers(tmp_path):
    """Each is another network's run, and is kept in the folder by its name."""
    found = set()
    for loss in recipes.load("digits-mlp").options()["loss"].choices:
        run("digits-mlp", tmp_path / loss, loss=loss, hidden=8, max_steps=2)
        found.add((tmp_path / loss / "model.safetensors").read_bytes())
        assert _folder.recipe_of(_folder.read(tmp_path / loss)).settings["loss"] == loss
    for activation in ("sigmoid", "tanh", "relu"):
        run("digits-mlp", tmp_path / activation, activation=activation, hidden=8, max_steps=2)
        found.add((tmp_path / activation / "model.safetensors").read_bytes())
    assert len(found) == 6  # ReLU with cross-entropy is met twice


def test_files_of_cifar10_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "CIFAR10_RECORDS", 40)
    rng = np.random.default_rng(0)
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        records = rng.integers(0, 256, (40, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(40) % 10
        (tmp_path / name).write_bytes(records.tobytes())
    options = {"files": str(tmp_path), "width": 2, "max_steps": 2}
    recipe = recipes.load("photo-classifier")(**options)
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
    train, validation, test = recipes.load("mnist-cnn")(files=str(tmp_path)).data()
    assert [len(loader.dataset) for loader in (train, validation, test)] == [180, 20, 20]


def test_a_drawn_digit_is_made_as_large_as_those_of_mnist():
    image = np.ones((90, 60, 1), np.float32)
    image[10:60, 20:30] = 0  # a black stroke on white
    found = recipes.load("mnist-cnn")().prepare(image)
    assert found.shape == (28, 28, 1)
    rows, columns, _ = np.nonzero(found > 0.5)
    assert (rows.min(), rows.max()) == (4, 23) and (columns.min(), columns.max()) == (12, 15)


def test_linear_regression_is_that_of_scikit_learn(tmp_path):
    linear_model = pytest.importorskip("sklearn.linear_model")
    train, test = data.diabetes()
    (x, y), (x_test, y_test) = train[:], test[:]
    theirs = linear_model.LinearRegression().fit(x.astype(float), y)
    found = run("diabetes-regression", tmp_path, epochs=1)["r2"]["linear regression"]
    assert found == pytest.approx(theirs.score(x_test.astype(float), y_test), abs=1e-4)


def test_reading_and_its_errors():
    scores = np.eye(9)[[8, 1, 1, 8, 1, 3, 8]]
    assert read(scores) == [1, 1, 3]
    assert distance([1, 1, 3], [1, 3]) == 1 == distance([1, 3], [1, 2]) == distance([], [4])
    assert distance(list("kitten"), list("sitting")) == 3


def test_rivals_of_the_language_models():
    rng = np.random.default_rng(0)
    even = rng.integers(0, 16, 6000)
    assert 3.9 < ngram_bits(even[:5000], even[5000:], 16) < 5.5  # nothing to learn: 4 at best
    period = np.tile(np.arange(16), 60)
    assert ngram_bits(period[:800], period[800:], 16) < 0.2
    assert gzip_bits("abcd" * 200, "abcd" * 100) < 0.5
