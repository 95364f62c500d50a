"""Interpolation by its definition and against PyTorch; pixels from channels and back."""

import numpy as np
import pytest

import pynn
import pynn.functional as F
from pynn.functional.upsample import Interpolate, _linear, _nearest
from pynn.testing import check

SIZES = [(3, 6), (3, 7), (5, 2), (1, 4), (4, 1), (4, 4), (1, 1)]


def images(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def row_of(mode, corners, length, size):
    """The matrix (size, length) of one axis, by the definition of its centres."""
    A = np.zeros((size, length))
    for j in range(size):
        if mode == "nearest":
            A[j, int(j * length / size)] = 1
            continue
        at = (j + 0.5) * length / size - 0.5
        if corners:
            at = j * (length - 1) / (size - 1) if size > 1 else 0
        at = min(max(at, 0), length - 1)
        low = int(at)
        A[j, low] += 1 - (at - low)
        A[j, min(low + 1, length - 1)] += at - low
    return A


@pytest.mark.parametrize(("mode", "corners"), [("nearest", 0), ("linear", 0), ("linear", 1)])
def test_six_questions(mode, corners):
    def taps(length, size):
        if mode == "nearest":
            return _nearest(length, size, None)
        return _linear(length, size, None, corners)

    for (H, P), (W, Q) in zip(SIZES, SIZES[::-1], strict=True):
        rows, columns = row_of(mode, corners, H, P), row_of(mode, corners, W, Q)
        check(
            lambda H=H, P=P, W=W, Q=Q: Interpolate({1: taps(H, P), 2: taps(W, Q)}),
            (images(2, H, W, 3),),
            (images(0, H, W, 1),),
            truth=lambda x, r=rows, c=columns: np.einsum("ph,qw,nhwc->npqc", r, c, x),
        )
        check(
            lambda H=H, P=P: Interpolate({1: taps(H, P)}),
            (images(2, H, 1),),
            truth=lambda x, r=rows: np.einsum("ph,nhc->npc", r, x),
        )


def test_a_factor_repeats_pixels_and_keeps_constants():
    x = pynn.tensor(images(2, 3, 4, 5))
    wanted = x.numpy().repeat(2, 1).repeat(3, 2)
    np.testing.assert_array_equal(F.interpolate(x, scale_factor=(2, 3)).numpy(), wanted)
    ones = F.interpolate(pynn.ones(1, 3, 5, 2), (7, 4), mode="bilinear", align_corners=True)
    np.testing.assert_allclose(ones.numpy(), 1, rtol=1e-6)


def test_pixels_from_channels_and_back():
    x = pynn.tensor(images(2, 3, 4, 18), requires_grad=True)
    y = F.pixel_shuffle(x, 3)
    assert y.shape == (2, 9, 12, 2)
    assert y.numpy()[1, 3 * 2 + 1, 3 * 3 + 2, 1] == x.numpy()[1, 2, 3, 9 + 3 * 1 + 2]
    np.testing.assert_array_equal(F.pixel_unshuffle(y, 3).numpy(), x.numpy())
    dy = images(2, 9, 12, 2, seed=1)
    y.backward(pynn.tensor(dy))
    np.testing.assert_array_equal(x.grad.numpy(), F.pixel_unshuffle(pynn.tensor(dy), 3).numpy())
    assert F.pixel_shuffle(pynn.zeros(0, 2, 2, 4), 2).shape == (0, 4, 4, 1)


def test_errors_name_what_was_expected_and_got():
    x = pynn.zeros(2, 4, 4, 3)
    cases = [
        (r"\[interpolate\] mode: expected one of \('nearest', 'linear', 'bilinear'\), got 'cubic'",
         lambda: F.interpolate(x, 8, mode="cubic")),
        (r"x: expected shape \(N, L, C\) for mode 'linear', got \(2, 4, 4, 3\)",
         lambda: F.interpolate(x, 8, mode="linear")),
        (r"expected either size or scale_factor, got None and None", lambda: F.interpolate(x)),
        (r"size: expected 2 positive numbers, got \(8,\)", lambda: F.interpolate(x, (8,))),
        (r"expected lengths of at least 1, got \(4, 4\) to \(0, 0\)",
         lambda: F.interpolate(x, scale_factor=0.1)),
        (r"\[pixel_shuffle\] x: expected shape \(N, H, W, C r\^2\) for r = 2, got \(2, 4, 4, 3\)",
         lambda: F.pixel_shuffle(x, 2)),
        (r"\[pixel_shuffle\] upscale_factor: expected an int of at least 1, got 2\.0",
         lambda: F.pixel_shuffle(x, 2.0)),
        (r"\[pixel_unshuffle\] downscale_factor: expected an int of at least 1, got 0",
         lambda: F.pixel_unshuffle(x, 0)),
        (r"\[pixel_unshuffle\] x: expected shape \(N, r H, r W, C\) for r = 3, got",
         lambda: F.pixel_unshuffle(x, 3)),
    ]  # fmt: skip
    for text, call in cases:
        with pytest.raises(ValueError, match=text):
            call()
    with pytest.raises(TypeError, match=r"\[interpolate\] expected a float dtype, got int64"):
        F.interpolate(x.astype("int64"), 8)


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("mode", "corners"), [("nearest", None), ("linear", 0), ("linear", 1)])
def test_as_pytorch(torch, dtype, mode, corners):
    bound = {"rtol": 0, "atol": 40 * np.finfo(dtype).eps}
    options = {} if corners is None else {"align_corners": bool(corners)}
    for shape, dims in [((2, 3, 5, 4), 2), ((2, 6, 3), 1)]:
        name = "bilinear" if dims == 2 and mode == "linear" else mode
        for size in [{"size": (7, 3)[:dims]}, {"scale_factor": (2.0, 1.5)[:dims]},
                     {"scale_factor": 0.7}]:  # fmt: skip
            x = images(*shape).astype(dtype)
            a = pynn.tensor(x, requires_grad=True)
            b = torch.tensor(np.moveaxis(x, -1, 1).copy(), requires_grad=True)
            y = F.interpolate(a, mode=name, **size, **options)
            ty = torch.nn.functional.interpolate(b, mode=name, **size, **options)
            dy = np.cos(y.numpy())
            y.backward(pynn.tensor(dy))
            ty.backward(torch.tensor(np.moveaxis(dy, -1, 1).copy()))
            np.testing.assert_allclose(y.numpy(), np.moveaxis(ty.detach().numpy(), 1, -1), **bound)
            np.testing.assert_allclose(a.grad.numpy(), np.moveaxis(b.grad.numpy(), 1, -1), **bound)


@pytest.mark.oracle
def test_pixels_as_pytorch(torch):
    x = images(2, 3, 4, 8)
    t = torch.tensor(np.moveaxis(x, -1, 1).copy())
    for ours, theirs in [
        (F.pixel_shuffle(pynn.tensor(x), 2), torch.nn.functional.pixel_shuffle(t, 2)),
        (F.pixel_unshuffle(pynn.tensor(x[:, :2]), 2),
         torch.nn.functional.pixel_unshuffle(t[:, :, :2], 2)),
    ]:  # fmt: skip
        np.testing.assert_array_equal(ours.numpy(), np.moveaxis(theirs.numpy(), 1, -1))
