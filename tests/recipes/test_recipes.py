"""Recipes: found by their files, checked options, what a run leaves, image files."""

import json

import numpy as np
import pytest

from pynn import recipes
from pynn.recipes import _folder
from pynn.recipes._images import fit_ink, read, resize, to_channels
from pynn.train import safetensors


def test_a_run_leaves_everything(tmp_path):
    out = tmp_path / "run"
    result = recipes.load("digits-cnn")(quick=True).run(out, progress=False)
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    assert rows[1]["loss"] < rows[0]["loss"]
    assert rows[1]["val_loss"] < rows[0]["val_loss"]
    assert json.loads((out / "result.json").read_text()) == result
    assert result["test_samples"] == 359
    assert result["test_mistakes"] == round(359 * (1 - result["test"]["accuracy"]))
    names = {file.name for file in out.iterdir()}
    assert names >= {"config.json", "log.csv", "model.safetensors", "checkpoint.safetensors"}
    for picture in ("confusion.png", "curves.png", "filters.png", "mistakes.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")
    arrays, _ = safetensors.load(out / "model.safetensors")
    assert result["parameters"] <= sum(a.size for a in arrays.values())


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"lr": -1}, ValueError, r"\[train\] lr: expected a positive number, got -1$"),
        ({"lr": float("inf")}, ValueError, r"\[train\] lr: expected a finite number, got inf"),
        ({"lr": float("nan")}, ValueError, r"\[train\] lr: expected a positive number, got nan"),
        ({"epochs": -1}, ValueError, r"\[train\] epochs: expected a number >= 0, got -1"),
        ({"epochs": 1.5}, TypeError, r"\[train\] epochs: expected int, got 1\.5"),
        ({"epochs": True}, TypeError, r"\[train\] epochs: expected int, got True"),
        ({"batch_size": 0}, ValueError, r"\[train\] batch_size: expected at least 1, got 0"),
        (
            {"dtype": "int8"},
            ValueError,
            r"\[train\] dtype: expected one of float64, .*, got 'int8'",
        ),
        ({"device": "tpu"}, ValueError, r'\[device\] expected "cpu", "cuda" or "cuda:N", got'),
        ({"width": 3}, ValueError, r"expected options out of .*'hidden'.*, got \['width'\]"),
        ({"activation": "sin"}, ValueError, r"activation: expected one of relu, .*, got 'sin'"),
    ],
)
def test_options_out_of_range(options, error, words):
    with pytest.raises(error, match=words):
        recipes.load("digits-mlp")(**options)


def test_dropout_out_of_range_leaves_no_folder(tmp_path):
    recipe = recipes.load("digits-cnn")(dropout=2.0)
    with pytest.raises(ValueError, match="expected .*, got 2"):
        recipe.run(tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_names_and_suggestions():
    assert recipes.DEFAULT in recipes.names()
    assert recipes.names() == sorted(recipes.names())
    assert recipes.load("digits_cnn") is recipes.load("digits-cnn")
    for name in recipes.names():
        assert recipes.load(name)().name == name
        assert recipes.summary(name).endswith(".") and len(recipes.summary(name)) <= 100
    with pytest.raises(ValueError, match="got 'digit-cn'; did you mean 'digits-cnn'"):
        recipes.load("digit-cn")
    with pytest.raises(ValueError, match="got '_recipe'"):
        recipes.load("_recipe")


def test_where_a_run_goes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def held(folder):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        return folder

    with pytest.raises(FileNotFoundError, match="expected a run of digits-mlp in runs/, got none"):
        _folder.last("digits-mlp")
    assert str(_folder.new("digits-mlp", None, False)) == "runs/digits-mlp"
    first = held(tmp_path / "runs/digits-mlp")
    assert str(_folder.new("digits-mlp", None, False)) == "runs/digits-mlp-2"
    assert str(_folder.new("digits-mlp", None, True)) == "runs/digits-mlp"
    held(tmp_path / "runs/digits-mlp-10")
    held(tmp_path / "runs/digits-mlp-other")
    assert _folder.last("digits-mlp").name == "digits-mlp-10"
    with pytest.raises(FileExistsError, match="holds a run: resume goes on with it"):
        _folder.new("digits-mlp", first, False)
    assert _folder.new("digits-mlp", first, True) == first
    (tmp_path / "letters").mkdir()
    assert _folder.new("digits-mlp", "letters", False).name == "letters"  # empty
    (tmp_path / "letters/mine.txt").write_text("dear")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match="expected a new or empty folder, got letters"):
            _folder.new("digits-mlp", "letters", overwrite)
    _folder.clear(first)
    assert list(first.iterdir()) == []


@pytest.mark.parametrize(
    "config", ["", "[]", "{", '{"recipe": 3}', '{"recipe": "x", "options": []}']
)
def test_a_damaged_config_is_named(tmp_path, config):
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ValueError, match="config.json: expected"):
        _folder.read(tmp_path)


# ------------------------------------------------------------------ images


def test_resize_takes_the_mean_of_areas():
    image = np.arange(64, dtype=np.float32).reshape(8, 8, 1)
    np.testing.assert_allclose(resize(image, 4, 2), image.reshape(4, 2, 2, 4, 1).mean((1, 3)))
    np.testing.assert_allclose(resize(image, 16, 8), image.repeat(2, 0))
    assert resize(image, 3, 5).mean() == pytest.approx(image.mean(), rel=1e-6)
    np.testing.assert_array_equal(resize(image, 8, 8), image)


def test_grey_and_colour():
    grey = np.full((2, 2, 1), 0.25, np.float32)
    assert to_channels(grey, 3).shape == (2, 2, 3)
    np.testing.assert_allclose(to_channels(to_channels(grey, 3), 1), grey, rtol=1e-6)


def test_fit_ink_cuts_out_what_is_drawn():
    image = np.zeros((20, 30, 1), np.float32)
    image[4:10, 7:9] = 1
    found = fit_ink(image)
    assert found.shape == (6, 6, 1)
    assert found[:, 2:4].min() == 1 and found.sum() == image.sum()
    assert fit_ink(np.zeros((3, 4, 1), np.float32)).shape == (3, 4, 1)


def test_image_files(tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    levels = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    expected = levels[..., None].astype(np.float32) / 255
    image_module.fromarray(levels).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read(tmp_path / "grey.png"), expected)
    image_module.fromarray(np.stack([levels] * 3, -1)).save(tmp_path / "rgb.png")
    np.testing.assert_array_equal(read(tmp_path / "rgb.png"), expected.repeat(3, -1))
    clear = np.zeros((3, 4, 4), np.uint8)
    image_module.fromarray(clear).save(tmp_path / "clear.png")
    np.testing.assert_array_equal(read(tmp_path / "clear.png"), np.ones((3, 4, 3)))
    image_module.fromarray(levels.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    np.testing.assert_allclose(read(tmp_path / "deep.png"), expected, rtol=1e-6)
    np.save(tmp_path / "a.npy", levels)
    np.testing.assert_array_equal(read(tmp_path / "a.npy"), expected)
    np.save(tmp_path / "b.npy", expected)
    np.testing.assert_array_equal(read(tmp_path / "b.npy"), expected)


@pytest.mark.parametrize(
    ("name", "content", "error", "words"),
    [
        ("a.png", b"no picture", ValueError, "a.png: expected an image, got"),
        ("a.png", b"", ValueError, "a.png: expected an image"),
        ("a.npy", b"no array", ValueError, "a.npy: expected an array"),
        ("a.npy", np.array([print], object), ValueError, "a.npy: expected an array"),
        ("a.npy", np.zeros((2, 2), np.int64), TypeError, "expected uint8 or floats, got int64"),
        ("a.npy", np.full((2, 2), 16.0), ValueError, r"expected floats in 0\.\.1, got 16\.\.16"),
        ("a.npy", np.full((2, 2), np.nan), ValueError, r"expected floats in 0\.\.1, got nan"),
        ("a.npy", np.zeros((0, 2)), ValueError, r"got shape \(0, 2, 1\)"),
        ("a.npy", np.zeros(4), ValueError, r"expected an image \(H, W\) or \(H, W, C\), got shape"),
        ("none.png", None, FileNotFoundError, "got no file"),
    ],
)
def test_what_is_no_image(tmp_path, name, content, error, words):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        with open(path, "wb") as file:
            np.save(file, content, allow_pickle=True)
    with pytest.raises(error, match=words):
        read(path)
