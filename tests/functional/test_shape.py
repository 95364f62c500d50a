"""Shape and selection ops: the six questions, views, PyTorch, and errors."""

import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn.functional import shape as ops
from pynn.testing import check

rng = np.random.default_rng(0)
A = (rng.standard_normal((3, 5)),)
B = (rng.standard_normal((33, 31)),)
E = (rng.standard_normal((0, 4)),)
ROWS = np.array([2, 0, 2, 1])
MASK = np.arange(15).reshape(3, 5) % 3 == 0


@pytest.mark.parametrize(
    ("op", "truth", "cases"),
    [
        (lambda: ops.Reshape((-1,)), lambda x: x.reshape(-1), (A, B, E)),
        (lambda: ops.Transpose((1, 0)), lambda x: x.T, (A, B, E)),
        (lambda: ops.Expand((2, 3, 5)), lambda x: np.stack([x, x]), (A,)),
        (lambda: ops.Flip((0, 1)), lambda x: x[::-1, ::-1], (A, B, E)),
        (
            lambda: ops.Pad(((1, 0), (2, 3)), 0.5),
            lambda x: np.pad(x, ((1, 0), (2, 3)), constant_values=0.5),
            (A, B, E),
        ),
        (lambda: ops.Index((slice(None, None, 2), 1)), lambda x: x[::2, 1], (A, B, E)),
        (lambda: ops.Index(ROWS), lambda x: x[ROWS], (A, B)),
        (lambda: ops.Index((ROWS[:3], ROWS[1:])), lambda x: x[ROWS[:3], ROWS[1:]], (A, B)),
        (lambda: ops.Index(MASK), lambda x: x[MASK], (A,)),
        (lambda: ops.Cat(1), lambda *xs: np.concatenate(xs, 1), (A + A, B + B + B, E + E)),
        (lambda: ops.Where(MASK), lambda a, b: np.where(MASK, a, b), (A + A,)),
        (
            lambda: ops.Gather(ROWS[:3, None] + np.arange(2), 1),
            lambda x: np.take_along_axis(x, ROWS[:3, None] + np.arange(2), 1),
            (A,),
        ),
    ],
)
def test_six_questions(op, truth, cases):
    check(op, *cases, truth=truth)


def test_views_share_memory_and_copies_do_not():
    x = pynn.zeros(2, 3)
    for view in (
        x.reshape(6),
        x.T,
        x[1],
        x[:, ::2],
        x.flatten(),
        x.expand(4, 2, 3),
        x.flip(0),
        x.unsqueeze(1),
        x.detach(),
    ):
        assert np.shares_memory(view.data, x.data)
        assert view.base is x
    for copy in (x[np.array([0, 1])], x.clone(), pynn.cat([x, x]), x + 0):
        assert not np.shares_memory(copy.data, x.data)


def test_triangles_hide_nan():
    x = pynn.full((3, 3), np.nan)
    assert np.isnan(x.tril(-1).numpy()).sum() == 3
    assert np.isnan(x.triu().numpy()).sum() == 6


def test_repeat_roll_unbind():
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    t = pynn.tensor(x)
    np.testing.assert_array_equal(t.repeat(2, 1, 1, 3).numpy(), np.tile(x, (2, 1, 1, 3)))
    assert t.repeat(1, 0, 1).shape == (2, 0, 4)
    for shift in (0, 1, -1, 5):
        np.testing.assert_array_equal(t.roll(shift, 1).numpy(), np.roll(x, shift, 1))
    for part, wanted in zip(t.unbind(-1), np.moveaxis(x, -1, 0), strict=True):
        np.testing.assert_array_equal(part.numpy(), wanted)


@pytest.mark.oracle
def test_agrees_with_pytorch(torch):
    x = rng.standard_normal((4, 3, 5)).astype(np.float32)
    index = rng.integers(0, 3, (4, 2, 5))
    table = {
        "permute": (lambda t: t.permute(2, 0, 1), None),
        "transpose": (lambda t: t.transpose(0, -1), None),
        "reshape": (lambda t: t.reshape(2, -1, 5), None),
        "flatten": (lambda t: t.flatten(1), None),
        "unsqueeze": (lambda t: t.unsqueeze(-1), None),
        "squeeze": (lambda t: t[:, :1].squeeze(1), None),
        "expand": (lambda t: t[:, :1].expand(4, 7, -1), None),
        "flip": (lambda t: t.flip((0, 2)), lambda t: t.flip((0, 2))),
        "index": (lambda t: t[1:, [0, 2], None], None),
        "mask": (lambda t: t[t > 0], None),
        "split": (lambda t: t.split([2, 1], 1)[1] * 2, None),
        "chunk": (lambda t: t.chunk(2, 2)[0], None),
        "cat": (lambda t: pynn.cat([t, t * 2], -1), lambda t: torch.cat([t, t * 2], -1)),
        "stack": (lambda t: pynn.stack([t, t], 1), lambda t: torch.stack([t, t], 1)),
        "pad": (
            lambda t: F.pad(t, (1, 2, 0, 1)),
            lambda t: torch.nn.functional.pad(t, (1, 2, 0, 1)),
        ),
        "gather": (
            lambda t: t.gather(1, pynn.Tensor(index)),
            lambda t: t.gather(1, torch.tensor(index)),
        ),
        "where": (lambda t: pynn.where(t > 0, t, 0.0), lambda t: torch.where(t > 0, t, 0.0)),
        "masked_fill": (lambda t: t.masked_fill(t > 0, 2.0), None),
        "take": (lambda t: t.take(np.array([0, 2, 2]), 1), lambda t: t[:, [0, 2, 2]]),
        "tril": (lambda t: t.tril(-1), None),
        "triu": (lambda t: t.triu(1), None),
        "roll": (lambda t: t.roll(-2, 1), None),
        "repeat": (lambda t: t.repeat(2, 1, 1, 1), None),
        "unbind": (lambda t: t.unbind(1)[2], None),
    }
    for name, (ours, theirs) in table.items():
        a, b = pynn.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        y, z = ours(a), (theirs or ours)(b)
        dy = rng.standard_normal(y.shape).astype(np.float32)
        y.backward(pynn.Tensor(dy))
        z.backward(torch.tensor(dy))
        np.testing.assert_array_equal(y.numpy(), z.detach().numpy(), err_msg=name)
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-6, err_msg=name)


def test_assign():
    x = pynn.zeros(2, 3)
    x[0, 1:] = pynn.tensor([1.0, 2.0])
    np.testing.assert_array_equal(x.numpy(), [[0, 1, 2], [0, 0, 0]])
    y = x.requires_grad_() * 2
    with pytest.raises(RuntimeError, match=r"\[assign\] expected tensors without gradient"):
        y[0] = 1.0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda x: x.reshape(4, 2),
            ValueError,
            r"\[reshape\] expected a shape of 6 elements, got \(4, 2\)",
        ),
        (lambda x: x.reshape(-1, -1), ValueError, r"\[reshape\]"),
        (
            lambda x: x.permute(0, 0),
            ValueError,
            r"\[permute\] expected each of 2 axes once, got \(0, 0\)",
        ),
        (
            lambda x: x.transpose(0, 2),
            ValueError,
            r"\[transpose\] expected an axis in \[-2, 2\), got 2",
        ),
        (
            lambda x: x.squeeze(0),
            ValueError,
            r"\[squeeze\] expected length 1 along axis 0, got shape \(2, 3\)",
        ),
        (
            lambda x: x.expand(2, 4),
            ValueError,
            r"\[expand\] expected a shape that \(2, 3\) broadcasts to, got \(2, 4\)",
        ),
        (
            lambda x: x.split([1, 1], 1),
            ValueError,
            r"\[split\] expected sizes that add up to 3, got \[1, 1\]",
        ),
        (lambda x: x.split(0), ValueError, r"\[split\] expected a positive size, got 0"),
        (lambda x: pynn.cat([]), ValueError, r"\[cat\] expected at least one tensor"),
        (
            lambda x: pynn.cat([x, pynn.zeros(2, 4)]),
            ValueError,
            r"\[cat\] expected shapes equal but for axis 0, got \(2, 3\) and \(2, 4\)",
        ),
        (lambda x: pynn.stack([x, x[0]]), ValueError, r"\[stack\] expected equal shapes"),
        (lambda x: F.pad(x, (1,)), ValueError, r"\[pad\] expected \(before, after\)"),
        (lambda x: F.pad(x, (1, -1)), ValueError, r"\[pad\] expected non-negative"),
        (
            lambda x: x.gather(1, pynn.tensor([[3], [0]])),
            IndexError,
            r"\[gather\] expected indices in \[-3, 3\), got 0 to 3",
        ),
        (
            lambda x: x.gather(0, pynn.tensor([1])),
            ValueError,
            r"\[gather\] expected an index of shape \(2, 3\) but for axis 0",
        ),
        (
            lambda x: x.take(np.array([2])),
            IndexError,
            r"\[take\] expected indices in \[-2, 2\), got 2 to 2",
        ),
        (
            lambda x: x.take(np.array([0.5])),
            TypeError,
            r"\[take\] expected an integer index, got float64",
        ),
        (lambda x: x[2], IndexError, "out of bounds"),
        (lambda x: x.repeat(2), ValueError, r"\[tile\] expected 2 or more counts >= 0, got \(2,\)"),
        (lambda x: x[0].tril(), ValueError, r"\[tril\] expected at least 2 dimensions"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call(pynn.zeros(2, 3))
