"""Convolution: the six questions against naive loops, the adjoint, blocks, bad input, PyTorch."""

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pynn
import pynn.functional as F
from pynn import backend
from pynn.functional import window
from pynn.functional.conv import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from pynn.testing import check


def naive(x, w, b, stride, padding, dilation, groups):
    """conv2d as its definition: seven loops, float64."""
    (N, H, W, _), (K, R, S, C_group) = x.shape, w.shape
    (top, bottom), (left, right) = padding
    P = (H + top + bottom - dilation[0] * (R - 1) - 1) // stride[0] + 1
    Q = (W + left + right - dilation[1] * (S - 1) - 1) // stride[1] + 1
    y = np.zeros((N, P, Q, K)) + (0 if b is None else b)
    for n, p, q, k in np.ndindex(N, P, Q, K):
        first = k // (K // groups) * C_group
        for r, s in np.ndindex(R, S):
            h, v = p * stride[0] + r * dilation[0] - top, q * stride[1] + s * dilation[1] - left
            if 0 <= h < H and 0 <= v < W:
                y[n, p, q, k] += x[n, h, v, first : first + C_group] @ w[k, r, s]
    return y


def arrays(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal(shape) for shape in shapes)


def tensors(*shapes, dtype=np.float64, seed=0):
    return [pynn.Tensor(a.astype(dtype), requires_grad=True) for a in arrays(*shapes, seed=seed)]


NONE = ((0, 0), (0, 0))
# x, w, stride, padding, dilation, groups
CASES = {
    "one pixel": ((1, 1, 1, 1), (1, 1, 1, 1), (1, 1), NONE, (1, 1), 1),
    "1x1": ((2, 3, 5, 7), (3, 1, 1, 7), (1, 1), NONE, (1, 1), 1),
    "1x1, stride": ((2, 5, 4, 3), (2, 1, 1, 3), (2, 3), NONE, (1, 1), 1),
    "1x1, padding": ((1, 2, 3, 2), (2, 1, 1, 2), (1, 1), ((1, 1), (0, 2)), (1, 1), 1),
    "few channels": ((2, 6, 5, 2), (3, 3, 3, 2), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "many channels": ((2, 5, 6, 9), (5, 3, 2, 9), (1, 1), ((1, 1), (0, 1)), (1, 1), 1),
    "stride and dilation": ((1, 9, 8, 5), (2, 2, 3, 5), (2, 3), ((2, 1), (0, 3)), (3, 2), 1),
    "groups": ((2, 4, 5, 6), (4, 3, 2, 3), (1, 2), ((1, 1), (1, 1)), (1, 1), 2),
    "depthwise": ((2, 5, 4, 3), (3, 3, 3, 1), (2, 1), ((1, 1), (1, 1)), (1, 1), 3),
    "depthwise, two kernels each": ((1, 4, 4, 3), (6, 2, 2, 1), (1, 1), NONE, (2, 1), 3),
    "the whole image": ((3, 4, 3, 5), (2, 4, 3, 5), (1, 1), NONE, (1, 1), 1),
    "empty batch": ((0, 4, 4, 2), (3, 3, 3, 2), (1, 1), NONE, (1, 1), 1),
    "no channels": ((2, 3, 3, 0), (2, 3, 3, 0), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "no kernels": ((2, 3, 3, 2), (0, 3, 3, 2), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
}


@pytest.mark.parametrize("name", CASES)
def test_conv2d_six_questions(name):
    x, w, *numbers = CASES[name]
    check(lambda: Conv2d(*numbers), arrays(x, w), truth=lambda x, w: naive(x, w, None, *numbers))
    check(lambda: Conv2d(*numbers), arrays(x, w, w[:1]), truth=lambda *case: naive(*case, *numbers))


@pytest.mark.parametrize("name", CASES)
def test_conv_transpose2d_six_questions(name):
    """y = A^T x, where the rows of A are what conv2d makes of each unit image."""
    shape, w, *numbers = CASES[name]
    _, H, W, C = shape
    P, Q = window.Geometry(*numbers[:3]).output_size((H, W), w[1:3])

    def truth(x, w, b):
        units = np.eye(H * W * C).reshape(H * W * C, H, W, C)
        A = naive(units, w, None, *numbers).reshape(H * W * C, P * Q * w.shape[0])
        return (x.reshape(len(x), A.shape[1]) @ A.T).reshape(len(x), H, W, C) + b

    case = arrays((shape[0], P, Q, w[0]), w, (C,))
    check(lambda: ConvTranspose2d((H, W), *numbers), case, truth=truth)


def test_conv1d_six_questions():
    numbers = (1, 2), ((0, 0), (1, 1)), (1, 2), 2

    def truth(x, w, b):
        return naive(x[:, None], w[:, None], b, *numbers)[:, 0]

    check(lambda: Conv1d(*numbers), arrays((2, 11, 4), (6, 3, 2), (6,)), truth=truth)
    check(lambda: ConvTranspose1d((1, 11), *numbers), arrays((2, 5, 6), (6, 3, 2), (4,)))


def test_nan_and_inf_stay_in_the_windows_that_see_them():
    x = np.zeros((1, 5, 5, 8))
    x[0, 2, 2] = np.nan
    x[0, 0, 4, 3] = np.inf
    w = np.ones((1, 2, 2, 8))
    y = np.zeros((1, 4, 4, 1))
    y[0, 1:3, 1:3] = np.nan
    y[0, 0, 3] = np.inf
    check(lambda: Conv2d((1, 1), NONE, (1, 1), 1), extremes=[((x, w), y, None)], types=("float32",))


@pytest.mark.parametrize("block, rows", [(1, 1), (64, 1), (1, 3)])
def test_blocks_change_nothing(monkeypatch, block, rows):
    """Images that fill many blocks, and blocks that cut an image between its rows."""
    for name in ("few channels", "many channels", "depthwise", "stride and dilation"):
        x, w, *numbers = CASES[name]
        results = []
        for size, least in ((1 << 19, 512), (block, rows)):
            monkeypatch.setattr(window, "_BLOCK", size)
            monkeypatch.setattr(window, "_BLOCK_ROWS", least)
            a = tensors((3, *x[1:]), w, w[:1])
            y = Conv2d(*numbers)(*a)
            y.backward(pynn.Tensor(np.random.default_rng(1).standard_normal(y.shape)))
            results.append([y.numpy(), *(t.grad.numpy() for t in a)])
        for whole, cut in zip(*results, strict=True):
            np.testing.assert_allclose(cut, whole, rtol=1e-13, atol=1e-13)


def test_integers_are_exact_in_every_dtype():
    rng = np.random.default_rng(0)
    x, w = rng.integers(-4, 5, (2, 6, 6, 3)), rng.integers(-2, 3, (4, 3, 3, 3))
    expected = naive(x.astype(float), w.astype(float), None, (1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    for dtype in pynn.dtypes.FLOATS:
        y = F.conv2d(pynn.Tensor(x.astype(dtype)), pynn.Tensor(w.astype(dtype)), padding=1)
        assert y.dtype == dtype
        np.testing.assert_array_equal(y.numpy().astype(float), expected)


def test_a_view_gives_the_same_as_its_copy():
    x, w = arrays((2, 3, 6, 5), (2, 3, 3, 3))
    view = x.transpose(0, 2, 3, 1)[:, ::-1]
    for padding in (0, 1):
        a, b = (
            F.conv2d(pynn.Tensor(v), pynn.Tensor(w), padding=padding) for v in (view, view.copy())
        )
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-13, atol=1e-13)


def test_only_wanted_gradients_are_computed():
    x, w, b = tensors((2, 5, 5, 3), (4, 3, 3, 3), (4,))
    for wanted in itertools.product((False, True), repeat=3):
        node = Conv2d((1, 1), NONE, (1, 1), 1)
        node.needs = wanted
        dxs = node.backward(node.forward(x.data, w.data, b.data))
        assert tuple(dx is not None for dx in dxs) == wanted


def test_an_empty_batch_gives_zero_gradients():
    for groups in (1, 2, 4):
        x, w, b = tensors((0, 5, 5, 4), (4, 3, 3, 4 // groups), (4,))
        y = F.conv2d(x, w, b, groups=groups)
        y.sum().backward()
        assert y.shape == (0, 3, 3, 4) and x.grad.shape == x.shape
        assert not w.grad.numpy().any() and not b.grad.numpy().any()


def test_same_padding_keeps_the_size():
    for kernel, dilation in itertools.product((1, 2, 3, 4, 5), (1, 2)):
        x, w = tensors((1, 7, 6, 2), (1, kernel, kernel, 2))
        y = F.conv2d(x, w, padding="same", dilation=dilation)
        assert y.shape == (1, 7, 6, 1)
        total = dilation * (kernel - 1)
        pads = ((total // 2, total - total // 2),) * 2
        expected = naive(x.data, w.data, None, (1, 1), pads, (dilation,) * 2, 1)
        np.testing.assert_allclose(y.numpy(), expected, rtol=1e-13, atol=1e-13)


# ------------------------------------------------------------------ bad input

NOT_NHWC = "looks like NCHW; pynn is NHWC: x.permute(0, 2, 3, 1)"
BAD = [
    (dict(x=(2, 8, 3)), ValueError, "[conv2d] x: expected shape (N, H, W, C), got (2, 8, 3)"),
    (dict(x=(2, 3, 8, 8)), ValueError, f"got (2, 3, 8, 8), which {NOT_NHWC}"),
    (dict(x=(2, 8, 8, 4)), ValueError, "expected 3 channels on the last axis"),
    (dict(w=(4, 3, 3)), ValueError, "[conv2d] weight: expected shape (K, R, S, C / groups)"),
    (dict(w=(4, 0, 3, 3)), ValueError, "[conv2d] weight: expected shape"),
    (dict(b=(3,)), ValueError, "[conv2d] bias: expected shape (4,), got (3,)"),
    (dict(stride=0), ValueError, "[conv2d] stride: expected an int of at least 1"),
    (dict(stride=(1, 2, 3)), ValueError, "or a pair of them, got (1, 2, 3)"),
    (dict(dilation=0), ValueError, "[conv2d] dilation: expected an int of at least 1"),
    (dict(padding=-1), ValueError, "[conv2d] padding: expected an int of at least 0"),
    (dict(padding="full"), ValueError, 'expected an int, a pair, "same" or "valid", got \'full\''),
    (dict(padding="same", stride=2), ValueError, 'padding "same": expected stride 1, got (2, 2)'),
    (dict(padding=1.5), ValueError, "[conv2d] padding: expected an int of at least 0"),
    (dict(groups=3), ValueError, "[conv2d] groups: expected a divisor of the 4 kernels, got 3"),
    (dict(groups=0), ValueError, "[conv2d] groups: expected a divisor"),
    (
        dict(groups=2),
        ValueError,
        "expected 6 channels on the last axis for weight (4, 3, 3, 3) and",
    ),
    (dict(w=(4, 9, 3, 3)), ValueError, "padded input (8, 8), got kernel (9, 3)"),
    (dict(dilation=4), ValueError, "got kernel (3, 3) with dilation (4, 4)"),
    (dict(dtype="int64"), TypeError, "[conv2d] x: expected a float dtype, got int64"),
    (
        dict(w_dtype="float64"),
        TypeError,
        "[conv2d] weight: expected x's dtype float32, got float64",
    ),
]


@pytest.mark.parametrize("change, error, message", BAD, ids=lambda part: str(part)[:40])
def test_bad_input(change, error, message):
    given_ = dict(x=(2, 8, 8, 3), w=(4, 3, 3, 3), b=None, dtype="float32", w_dtype=None) | change
    dtype, w_dtype = given_.pop("dtype"), given_.pop("w_dtype")
    x = pynn.Tensor(np.ones(given_.pop("x"), dtype))
    w = pynn.Tensor(np.ones(given_.pop("w"), w_dtype or dtype))
    b = given_.pop("b")
    with pytest.raises(error) as raised:
        F.conv2d(x, w, b if b is None else pynn.Tensor(np.ones(b, dtype)), **given_)
    assert message in str(raised.value)


def test_bad_input_of_the_others():
    x, w = pynn.Tensor(np.ones((2, 8, 8, 4), "f4")), pynn.Tensor(np.ones((4, 3, 3, 3), "f4"))
    line = pynn.Tensor(np.ones((2, 3, 8), "f4"))
    kernels = pynn.Tensor(np.ones((4, 3, 3), "f4"))
    for message, call in {
        "[conv_transpose2d] output_padding: expected less than": lambda: F.conv_transpose2d(
            x, w, output_padding=1
        ),
        "[conv_transpose2d] padding: expected an int": lambda: F.conv_transpose2d(
            x, w, padding="same"
        ),
        "expected an output of at least one pixel": lambda: F.conv_transpose2d(x, w, padding=9),
        "expected 4 channels on the last axis": lambda: F.conv_transpose2d(x[..., :3], w),
        "[conv1d] x: expected shape (N, L, C)": lambda: F.conv1d(x, kernels),
        "looks like NCL; pynn is NLC: x.permute(0, 2, 1)": lambda: F.conv1d(line, kernels),
        "[conv_transpose1d] bias: expected shape (3,)": lambda: F.conv_transpose1d(
            x[0], kernels, x[0, 0, 0]
        ),
    }.items():
        with pytest.raises(ValueError) as raised:
            call()
        assert message in str(raised.value)


# ------------------------------------------------------------------ PyTorch


@st.composite
def problems(draw):
    """Shapes and numbers that fit together."""
    number = lambda low, high: draw(st.integers(low, high))  # noqa: E731
    dims = number(1, 2)
    groups, each, times = number(1, 3), number(1, 6), number(1, 2)
    kernel = [number(1, 4) for _ in range(dims)]
    stride, dilation = ([number(1, 3) for _ in range(dims)] for _ in range(2))
    padding = [number(0, 3) for _ in range(dims)]
    size = [
        max(1, d * (k - 1) + 1 - 2 * pad) + number(0, 6)
        for k, d, pad in zip(kernel, dilation, padding, strict=True)
    ]
    extra = [number(0, max(s, d) - 1) for s, d in zip(stride, dilation, strict=True)]
    return dict(
        x=(number(0, 3), *size, groups * each),
        w=(groups * times, *kernel, each),
        stride=tuple(stride),
        padding=tuple(padding),
        dilation=tuple(dilation),
        groups=groups,
        extra=tuple(extra),
        seed=number(0, 1 << 30),
    )


@pytest.fixture(scope="module")
def torch_without_onednn(torch):
    """oneDNN's convolution in PyTorch 2.13 crashes on some images narrower than the stride."""
    enabled = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)  # the public context manager warns where there is no GPU
    yield torch
    torch._C._set_mkldnn_enabled(enabled)


def compare(torch, name, x, w, b, dtype, seed, **numbers):
    """Forward and gradients of an op here and in PyTorch, from the same numbers."""
    ours = tensors(x, w, b, dtype=dtype, seed=seed)
    theirs = [torch.tensor(t.data, requires_grad=True) for t in ours]
    first = [t if t.ndim == 1 else t.movedim(-1, 1) for t in theirs]
    y = getattr(F, name)(*ours, **numbers)
    dy = arrays(y.shape, seed=seed + 1)[0].astype(dtype)
    y.backward(pynn.Tensor(dy))
    z = getattr(torch.nn.functional, name)(*first, **numbers).movedim(1, -1)
    assert y.shape == tuple(z.shape)
    z.backward(torch.tensor(dy))
    eps = float(np.finfo(dtype).eps)
    for a, c in zip([y, *(t.grad for t in ours)], [z, *(t.grad for t in theirs)], strict=True):
        a, c = a.numpy(), c.detach().numpy()
        assert a.shape == c.shape and a.dtype == c.dtype
        np.testing.assert_allclose(
            a, c, rtol=32 * eps, atol=32 * eps * max(1, np.abs(c).max(initial=0))
        )


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("dtype", "kernels"), [("float32", "reference"), ("float64", "reference"), ("float32", "sim")]
)
@settings(
    max_examples=300,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(problem=problems())
def test_agrees_with_pytorch(torch_without_onednn, dtype, kernels, problem):
    if kernels == "sim" and backend.kernel_module("sim") is None:
        pytest.skip("pynn was built without pynn._sim")
    with pynn.use_kernels(kernels):
        agrees_with_pytorch(torch_without_onednn, dtype, dict(problem))


def agrees_with_pytorch(torch, dtype, problem):
    extra, x, w = problem.pop("extra"), problem.pop("x"), problem.pop("w")
    dims = len(extra)
    groups = problem["groups"]
    compare(torch, f"conv{dims}d", x, w, w[:1], dtype, **problem)
    numbers = zip(
        x[1:-1],
        w[1:-1],
        *(problem[k] for k in ("stride", "padding", "dilation")),
        extra,
        strict=True,
    )
    sizes = [(n - 1) * s - 2 * p + d * (k - 1) + 1 + e for n, k, s, p, d, e in numbers]
    if min(sizes) > 0:
        turned = (*x[:-1], w[0])
        channels = (groups * w[-1],)
        problem["output_padding"] = extra
        compare(torch, f"conv_transpose{dims}d", turned, w, channels, dtype, **problem)


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_agrees_with_pytorch_on_named_padding(torch_without_onednn, padding):
    for kernel, dilation in itertools.product((1, 2, 3, 4), (1, 2)):
        x, w = (2, 9, 8, 3), (5, kernel, kernel, 3)
        compare(
            torch_without_onednn,
            "conv2d",
            x,
            w,
            (5,),
            "float64",
            0,
            padding=padding,
            dilation=dilation,
        )
