"""Data made here, or found in the standard library and scikit-image, is what it says."""

import sys

import numpy as np
import pytest

from pynn.data.expressions import SYMBOLS, UNCOUNTED, expressions, written
from pynn.data.library import PACKAGES, Vocabulary, package_windows, words
from pynn.data.phrases import SOURCE, TARGET, number_words, phrases, spelt
from pynn.data.tones import WORDS, utterances


def test_data_without_its_package(monkeypatch):
    from pynn.data.scenes import photo
    from pynn.data.sunspots import sunspots

    for load, module in ((sunspots, "statsmodels"), (lambda: photo("cat"), "skimage")):
        for name in [name for name in sys.modules if name.partition(".")[0] == module]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ImportError, match=r'pip install "pynn-cuda\[examples\]"'):
            load()


def test_sunspots_are_statsmodels():
    sm = pytest.importorskip("statsmodels.datasets")
    from pynn.data.sunspots import sunspots

    years, numbers = sunspots()
    source = sm.sunspots.load_pandas().data
    np.testing.assert_array_equal(years, source["YEAR"].to_numpy())
    np.testing.assert_allclose(numbers, source["SUNACTIVITY"].to_numpy(), rtol=1e-6)


def test_words_and_vocabulary():
    assert words("class HTTPServer_2:") == ["class", "http", "server", "2", ":"]
    assert words("readLine(self)") == ["read", "line", "(", "self", ")"]
    vocabulary = Vocabulary([["b", "a", "a"], ["b", "c"]], least=2)
    assert vocabulary.words == ["?", "a", "b"]
    assert vocabulary.counts.tolist() == [1, 2, 2]
    assert vocabulary.encode(["b", "c", "a"]).tolist() == [2, 0, 1]


def test_packages_are_on_every_machine():
    """Some systems ship these on their own, or Python no longer has them."""
    apart = {"distutils", "ensurepip", "idlelib", "lib2to3", "tkinter", "turtledemo", "venv"}
    assert set(PACKAGES) <= sys.stdlib_module_names - apart
    assert list(PACKAGES) == sorted(PACKAGES) and len(PACKAGES) == 10


def test_package_windows_share_no_file():
    parts, vocabulary = package_windows(20)
    assert set(parts) == {"train", "validation", "test"}
    for part in parts.values():
        ids, labels = part[:]
        assert ids.shape == (len(labels), 20) and ids.max() < len(vocabulary)
    assert set(parts["test"].arrays[1].tolist()) == set(range(len(PACKAGES)))
    ids = parts["train"].arrays[0]
    np.testing.assert_array_equal(ids[0, 10:], ids[1, :10])  # they overlap by half


def test_expressions_mean_what_they_say():
    symbols, children, values = expressions(40, [1, 3], seed=5)[:]
    for row, below, value in zip(symbols, children, values, strict=True):
        assert eval(written(row, below)) % 5 == value[0]  # of digits and operators alone
    assert ((symbols == 0) == (values == UNCOUNTED)).all()
    assert set(np.unique(symbols)) <= set(range(len(SYMBOLS)))
    with pytest.raises(ValueError, match="expected numbers of at least 1, got"):
        expressions(1, [0])


def test_phrases_mean_the_same():
    assert " ".join(number_words(2304)) == "two thousand three hundred and four"
    assert " ".join(number_words(40017)) == "forty thousand and seventeen"
    assert number_words(0) == ["zero"]
    train, test = phrases(60, 20, seed=1)
    targets = ["".join(spelt(row, TARGET)) for row in np.concatenate([train[:][1], test[:][1]])]
    assert len(set(targets)) == len(targets)
    source = spelt(train[0][0], SOURCE)
    assert source == number_words(int(targets[0]))
    with pytest.raises(ValueError, match="at most 100000"):
        phrases(100_000, 1)


def test_utterances_are_told_apart_by_ear():
    frames, steps, labels = utterances(6, (2, 3), seed=2)[:]
    assert frames.shape[:2] == (6, steps.max()) and frames.dtype == np.float32
    assert labels.shape == (6, 3) and labels.max() < len(WORDS)
    assert ((labels >= 0).sum(axis=1) >= 2).all()
    assert all((frames[i, n:] == -2).all() for i, n in enumerate(steps))


def test_scenes_have_the_masks_that_they_show():
    pytest.importorskip("skimage")
    from pynn.data.scenes import patches, scenes

    images, masks = scenes(8, ("brick.png",), 32, seed=3)[:]
    assert images.shape == (8, 32, 32, 3) and 0 <= images.min() <= images.max() <= 1
    assert set(np.unique(masks)) <= set(range(5)) and (masks > 0).any(axis=(1, 2)).all()
    grey = np.ptp(images, axis=-1) < 1e-6  # bricks are grey, fillings are not
    assert grey[masks == 0].mean() > 0.9 and grey[masks > 0].mean() < 0.1
    horses = scenes(200, ("brick.png",), 32, 1, seed=4)[:][1]
    shares = [np.mean([(m == kind).mean() for m in horses if (m == kind).any()]) for kind in (1, 4)]
    assert 0.3 < shares[1] / shares[0] < 0.8  # a horse covers less than the disc about it
    again = scenes(8, ("brick.png",), 32, seed=3)[:]
    np.testing.assert_array_equal(images, again[0])
    pieces, labels = patches(20, 16, (0.5, 1.0))[:]
    assert pieces.shape == (20, 16, 16, 3) and np.bincount(labels).tolist() == [2] * 10
