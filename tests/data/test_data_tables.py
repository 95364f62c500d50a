"""table(): CSV and NPZ files written here, read back; bad cells named by line and column."""

import numpy as np
import pytest

from pynn.data import table

PETS = """name;weight;height;kind
"a;b";1.5;10;dog

c;-2e3;0x;cat
"""


def write(tmp_path, text, name="t.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_round_trip_is_exact(tmp_path):
    values = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    lines = ["a,b,c,y", *(",".join(map(repr, map(float, row))) for row in values)]
    got = table(write(tmp_path, "\n".join(lines)), "y")
    x, y = got[:]
    assert x.dtype == y.dtype == np.float32
    np.testing.assert_array_equal(x, values[:, :3])
    np.testing.assert_array_equal(y, values[:, 3:])
    assert got.columns == ("a", "b", "c") and got.classes is None


def test_columns_by_name_and_number_in_the_order_asked_for(tmp_path):
    path = write(tmp_path, "a,b,c\n1,2,3\n4,5,6\n")
    got = table(path, target=0, features=["c", 1])
    assert got[:][0].tolist() == [[3, 2], [6, 5]] and got[:][1].tolist() == [[1], [4]]
    assert got.columns == ("c", "b")
    assert table(path, target=-1)[:][1].tolist() == [[3], [6]]


def test_without_header(tmp_path):
    got = table(write(tmp_path, "1,2\n3,4\n"), 1, header=False)
    assert got[:][0].tolist() == [[1], [3]] and got.columns == ("0",)


def test_numbered_columns_are_a_header(tmp_path):
    assert table(write(tmp_path, "0,1\n7,8\n"), "1")[:][0].tolist() == [[7]]


def test_quotes_delimiters_and_unused_cells(tmp_path):
    got = table(write(tmp_path, PETS), "kind", ["weight"], labels=True, delimiter=";")
    assert got[:][0].tolist() == [[1.5], [-2000]] and got[:][1].tolist() == [1, 0]
    assert got.classes == ("cat", "dog")


def test_byte_order_mark_is_not_part_of_the_first_name(tmp_path):
    assert table(write(tmp_path, "\ufeffa,y\n1,2\n"), "y").columns == ("a",)


def test_labels_that_are_numbers_sort_as_numbers(tmp_path):
    got = table(write(tmp_path, "x,y\n0,10\n0,9\n0,10.0\n0,-1\n"), "y", labels=True)
    assert got[:][1].tolist() == [2, 1, 2, 0] and got[:][1].dtype == np.int64
    assert got.classes == ("-1", "9", "10")


MISSING = "a,b,note,y\n1,2,,0\n,2,,1\n1,NaN,,2\n5,6,?,7\n1,2,,n/a\n"


def test_missing_values_are_dropped_when_asked(tmp_path):
    got = table(write(tmp_path, MISSING), "y", ["a", "b"], missing="drop")
    assert got[:][0].tolist() == [[1, 2], [5, 6]] and got[:][1].tolist() == [[0], [7]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MISSING, r"line 3, column 'a': .*finite number, got ''; missing=\"drop\""),
        ("a,y\n1,2\n3,inf\n", "line 3, column 'y': expected a finite number, got 'inf'"),
        ("a,y\n1,2\n\n\nnan,2\n", r"line 5, column 'a': .* got 'nan'; missing"),
        ("a,y\n1,2\n3,four\n", "line 3, column 'y': expected a finite number, got 'four'$"),
        ("a,y\n1,2\n1_0,4\n", "line 3, column 'a': .* got '1_0'"),
        ("a,y\n1,2\n3\n", "line 3: expected 2 cells as in line 1, got 1"),
        ("a,y\n1,2\n3,4,5\n", "line 3: expected 2 cells as in line 1, got 3"),
        ("1.5,2\n3,4\n", "line 1: expected a header, got only numbers; header=False"),
        ("a,y,a\n1,2,3\n", "expected distinct column names, got 'a' twice"),
        ("a,b\n1,2\n", r"expected a column out of \['a', 'b'\], got 'y'"),
        ("y\n1\n", "expected at least one feature"),
        ("a,y\n", "expected at least one row of values, got none"),
        ("", "expected at least one row, got an empty file"),
        ('a,y\n"1,2\n', "expected CSV in UTF-8, got unexpected end of data"),
        ("a,y\n1e39,2\n", r"at most 3.4e38, float32's largest, got 1e\+39"),
    ],
)
def test_bad_csv_names_file_line_and_column(tmp_path, text, message):
    path = write(tmp_path, text, "bad.csv")
    with pytest.raises(ValueError, match=rf"\[table\] .*bad.csv.*{message}"):
        table(path, "y")


def test_other_bad_calls(tmp_path):
    path = write(tmp_path, "a,y\n?,1\n")
    with pytest.raises(ValueError, match="expected at least one row of values, got none"):
        table(path, "y", missing="drop")
    with pytest.raises(ValueError, match='"error" or "drop", got \'mean\''):
        table(path, "y", missing="mean")
    with pytest.raises(ValueError, match="none of them the target 'y', got"):
        table(path, "y", ["a", "y"])
    with pytest.raises(ValueError, match=r"expected a column .* got 2"):
        table(path, 2)
    with pytest.raises(ValueError, match="line 2, column 'a': expected a class, got '?'"):
        table(path, "a", labels=True)
    with pytest.raises(FileNotFoundError, match="expected a file, got .*nowhere.csv"):
        table(tmp_path / "nowhere.csv", "y")
    (tmp_path / "latin.csv").write_bytes(b"a,y\n\xe9,2\n")
    with pytest.raises(ValueError, match="expected CSV in UTF-8, got 'utf-8' codec"):
        table(tmp_path / "latin.csv", "y")


def npz(tmp_path, **arrays):
    np.savez(tmp_path / "t.npz", **arrays)
    return tmp_path / "t.npz"


def test_npz_puts_arrays_side_by_side(tmp_path):
    x, z, y = np.arange(6.0).reshape(3, 2), np.array([7, 8, 9]), np.array([0.5, 1.5, 2.5])
    path = npz(tmp_path, x=x, z=z, y=y)
    got = table(path, "y")
    assert got.columns == ("x[0]", "x[1]", "z")
    np.testing.assert_array_equal(got[:][0], np.column_stack([x, z]).astype(np.float32))
    np.testing.assert_array_equal(got[:][1], y[:, None].astype(np.float32))
    assert table(path, "y", ["z"])[:][0].tolist() == [[7], [8], [9]]


def test_npz_labels_and_missing(tmp_path):
    path = npz(tmp_path, x=np.array([1.0, np.nan, 3.0]), y=np.array(["b", "a", "a"]))
    got = table(path, "y", labels=True, missing="drop")
    assert got[:][0].tolist() == [[1], [3]] and got[:][1].tolist() == [1, 0]
    assert got.classes == ("a", "b")
    path = npz(tmp_path, x=np.arange(3.0), y=np.array([1, np.nan, 3]))
    assert table(path, "y", missing="drop")[:][1].tolist() == [[1], [3]]


class Trap:
    def __reduce__(self):
        return pytest.fail, ("unpickled",)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.array([Trap()]), "y": np.ones(1)}, "array 'x': .*Object arrays cannot be loaded"),
        ({"x": np.array([1.0, np.nan]), "y": np.ones(2)}, "row 1 from 0, column 'x': .* got nan"),
        ({"x": np.ones((2, 2)), "y": np.array([0, -np.inf])}, "row 1 from 0, column 'y': .*-inf"),
        ({"x": np.ones(3), "y": np.ones(2)}, "'x': expected 2 rows as in 'y', got 3"),
        ({"x": np.ones((2, 2, 2)), "y": np.ones(2)}, r"\(n,\) or \(n, F\), got \(2, 2, 2\)"),
        ({"x": np.ones(2), "y": np.ones((2, 2))}, r"\(n,\) or \(n, 1\), n > 0, got \(2, 2\)"),
        ({"x": np.ones(2), "y": np.array(["a", "b"])}, "expected numbers, got <U1; labels=True"),
        ({"x": np.ones(2) * 1j, "y": np.ones(2)}, "expected numbers, got complex128"),
        ({"x": np.ones(2)}, r"expected an array out of \['x'\], got 'y'"),
        ({"y": np.ones(2)}, r"at least one feature array, .* got \[\]"),
    ],
)
def test_bad_npz(tmp_path, arrays, message):
    with pytest.raises(ValueError, match=rf"\[table\] .*t.npz.*{message}"):
        table(npz(tmp_path, **arrays), "y")


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_truncated_npz(tmp_path, kept):
    path = npz(tmp_path, x=np.ones(1000), y=np.ones(1000))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ValueError, match=r"t.npz: expected a whole NPZ file, got"):
        table(path, "y")


def test_flipped_bit_in_npz(tmp_path):
    path = npz(tmp_path, x=np.ones(1000), y=np.ones(1000))
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)
    with pytest.raises(ValueError, match="expected a whole NPZ file, got Bad CRC-32"):
        table(path, "y")
