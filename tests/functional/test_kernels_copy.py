"""The copy kernels in the simulator: every word size, and concatenation along every axis."""

import numpy as np
import pytest

from pynn.functional.shape import Cat
from pynn.testing import check

sim = pytest.importorskip("pynn._sim", reason="pynn was built without pynn._sim")


@pytest.mark.parametrize("dtype", ["u1", "f2", "f4", "f8"])
def test_columns_of_every_width_and_nothing_beside_them(dtype):
    rng = np.random.default_rng(0)
    for order in ("ascending", "random"):
        sim.set_schedule(order)
        for rows, A, B, start, to, count in [
            (5, 32, 48, 0, 16, 32),
            (5, 32, 48, 8, 0, 16),
            (3, 7, 9, 2, 1, 5),
            (1, 5000, 5001, 0, 1, 5000),
            (4, 8, 8, 0, 0, 8),
            (300, 2, 3, 1, 2, 1),
            (2, 3, 3, 3, 0, 0),
            (0, 3, 3, 0, 0, 3),
        ]:
            x = rng.integers(0, 100, (rows, A)).astype(dtype)
            y = np.full((rows, B), 101, dtype)
            wanted = y.copy()
            wanted[:, to : to + count] = x[:, start : start + count]
            sim.copy_columns(x, y, start, to, count)
            np.testing.assert_array_equal(y, wanted)
    sim.set_schedule()


def test_cat_asks_the_six_questions():
    rng = np.random.default_rng(1)
    cases = [
        (0, [(2, 3), (4, 3)]),
        (1, [(2, 3), (2, 1), (2, 0)]),
        (1, [(3, 4, 8), (3, 2, 8)]),
        (2, [(2, 3, 8), (2, 3, 16)]),
        (0, [(5,), (7,), (1,)]),
        (1, [(0, 2), (0, 3)]),
    ]
    for axis, shapes in cases:
        check(
            lambda axis=axis: Cat(axis),
            tuple(rng.standard_normal(shape) for shape in shapes),
            truth=lambda *xs, axis=axis: np.concatenate(xs, axis),
        )


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((0, 0, 4), r"from: expected columns of x, got 0"),
        ((-1, 0, 2), r"from: expected columns of x, got -1"),
        ((0, 4, 2), r"to: expected columns of y, got 4"),
        ((0, 0, -1), r"count: expected 0 or more, got -1"),
    ],
)
def test_the_launcher_names_what_was_expected(numbers, message):
    x, y = np.zeros((2, 3)), np.zeros((2, 5))
    with pytest.raises(ValueError, match=r"\[copy_columns\] " + message):
        sim.copy_columns(x, y, *numbers)
