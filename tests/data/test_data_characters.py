"""Text: encode and decode are inverse, the split is contiguous; Windows against slices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pynn.data import DataLoader, Text, Windows, pydoc_text, text


@given(st.text(min_size=2), st.floats(0.01, 0.99))
def test_encode_and_decode_are_inverse(content, fraction):
    corpus = Text(content, fraction)
    assert corpus.vocabulary == "".join(sorted(set(content)))
    ids = np.concatenate([corpus.train, corpus.test])
    assert ids.tolist() == [corpus.vocabulary.index(c) for c in content]
    assert corpus.decode(corpus.train) + corpus.decode(corpus.test) == content
    assert len(corpus.test) == min(max(round(len(content) * fraction), 1), len(content) - 1)
    assert len(corpus) == len(content) and ids.dtype == np.int64


def test_text_from_a_file_a_name_and_a_string(tmp_path):
    content = "Zwölf Boxkämpfer\njagen Viktor \U0001f98a"
    path = tmp_path / "corpus.txt"
    path.write_bytes(content.replace("\n", "\r\n").encode())
    assert text(path).content == text(str(path)).content == text(content).content == content
    long = "ACGT" * 100
    assert text(long).vocabulary == "ACGT"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: text("shakespear.txt"), FileNotFoundError, "got 'shakespear.txt': no file"),
        (lambda: text(b"bytes"), TypeError, "a path or a string, got bytes"),
        (lambda: text(""), ValueError, "at least 2 characters, got 0"),
        (lambda: Text("abc", 1.0), ValueError, "0 < fraction < 1, got 1.0"),
        (lambda: Text("abc").encode("cxa"), ValueError, "vocabulary's 3, got 'x' at position 1"),
        (lambda: Text("abc").encode("az"), ValueError, "got 'z' at position 1"),
        (lambda: Text("abc").decode([0, 3]), ValueError, "expected 0..2, got 3 at position 1"),
        (lambda: Text("abc").decode([-1]), ValueError, "expected 0..2, got -1 at position 0"),
        (lambda: Text("abc").decode([0.0]), TypeError, "expected integers, got float64"),
        (lambda: Text("abc").decode([[0]]), ValueError, r"expected shape \(n,\), got \(1, 1\)"),
        (lambda: Windows(np.arange(4), 4), ValueError, r"n > 4, the length, got \(4,\)"),
        (lambda: Windows(np.arange(4), 0), ValueError, "of at least 1, got 0 and None"),
        (lambda: Windows(np.arange(4), 2, 0), ValueError, "of at least 1, got 2 and 0"),
        (lambda: Windows(np.arange(4), 2)[1], IndexError, "expected -1 <= i < 1, got 1"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_file_that_is_not_utf8(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes("café au lait".encode("latin-1"))
    with pytest.raises(ValueError, match="latin.txt: expected UTF-8, got byte 0xe9 at position 3"):
        text(path)


def test_a_lone_surrogate_is_a_character():
    corpus = Text("a\udc80b")
    assert corpus.decode(corpus.encode("\udc80a")) == "\udc80a"


def test_empty_strings():
    corpus = Text("abc")
    assert corpus.decode([]) == "" and corpus.encode("").tolist() == []


@given(
    n=st.integers(2, 60), length=st.integers(1, 20), stride=st.one_of(st.none(), st.integers(1, 25))
)
def test_windows_are_slices(n, length, stride):
    if n <= length:
        return
    ids = np.arange(n) * 3
    windows = Windows(ids, length, stride)
    step = length if stride is None else stride
    starts = [a for a in range(0, n, step) if a + length + 1 <= n]
    assert len(windows) == len(starts)
    xs, ys = windows[:]
    for i, a in enumerate(starts):
        for x, y in (windows[i], windows[i - len(starts)], (xs[i], ys[i])):
            np.testing.assert_array_equal(x, ids[a : a + length])
            np.testing.assert_array_equal(y, ids[a + 1 : a + length + 1])


def test_default_windows_predict_each_character_once():
    corpus = Text("to be or not to be, that is the question", 0.2)
    batches = DataLoader(Windows(corpus.train, 5), 2)
    targets = "".join(corpus.decode(row) for _, y in batches for row in y.numpy())
    assert targets == "o be or not to be, that is the"


def test_windows_do_not_share_memory():
    ids = np.arange(10)
    x, y = Windows(ids, 3)[[0, -1]]
    x[:] = -1
    assert y.tolist() == [[1, 2, 3], [7, 8, 9]]
    assert ids.tolist() == list(range(10))


def test_pydoc_text_is_python_s_help():
    corpus = pydoc_text()
    assert len(corpus) > 100_000 and len(corpus.vocabulary) >= 90
    assert "The assert statement" in corpus.content.replace('"assert"', "assert")
    assert len(corpus.test) == round(0.1 * len(corpus))
    assert corpus.decode(corpus.test) == corpus.content[-len(corpus.test) :]
