"""Tensor: construction, dtypes, conversion, repr."""

import copy

import numpy as np
import pytest

import pynn


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.5, "float32"),
        ([1.0, 2.0], "float32"),
        ([1, 2], "int64"),
        ([True], "bool"),
        (np.ones(2), "float64"),
        (np.float16(1), "float16"),
        (np.ones(2, pynn.bfloat16), "bfloat16"),
        ([[1, 2.5]], "float32"),
        ([pynn.ones(2), pynn.zeros(2)], "float32"),
    ],
)
def test_dtype_of_data(data, dtype):
    assert pynn.tensor(data).dtype.name == dtype


def test_tensor_copies_and_from_numpy_shares():
    a = np.zeros(3, np.float32)
    shared, copied = pynn.from_numpy(a), pynn.tensor(a)
    a[0] = 7
    assert shared[0].item() == 7
    assert copied[0].item() == 0
    assert np.shares_memory(np.asarray(shared), a)


@pytest.mark.parametrize(
    "name", ["float64", "float32", "float16", "int64", "int8", "uint8", "bool"]
)
def test_dlpack_round_trip(name):
    x = pynn.tensor(np.arange(6).reshape(2, 3) % 2, dtype=name)
    y = np.from_dlpack(x)
    assert np.shares_memory(y, x.data)
    z = pynn.from_dlpack(x)
    assert z.dtype == x.dtype
    np.testing.assert_array_equal(z.numpy(), x.numpy())


def test_dlpack_with_pytorch(torch):
    t = torch.arange(6.0).reshape(2, 3)
    x = pynn.from_dlpack(t)
    t[0, 0] = 9
    assert x[0, 0].item() == 9
    np.testing.assert_array_equal(torch.from_dlpack(x).numpy(), x.numpy())
    np.testing.assert_array_equal(pynn.Tensor(t).numpy(), t.numpy())


def test_bfloat16_through_dlpack_is_refused_by_numpy():
    with pytest.raises(BufferError):
        pynn.ones(2, dtype="bfloat16").__dlpack__()


def test_repr_shows_device_dtype_and_grad():
    x = pynn.tensor([1.0, 2.0], requires_grad=True)
    assert repr(x) == "tensor([1., 2.], requires_grad=True)"
    assert repr(x * 2) == "tensor([2., 4.], creator=mul)"
    assert repr(pynn.ones(1, dtype="bfloat16")) == "tensor([1.], dtype=bfloat16)"
    assert "shape=(0, 3)" in repr(pynn.zeros(0, 3))
    assert len(repr(pynn.zeros(1000, 1000))) < 1000


def test_python_protocols():
    x = pynn.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert len(x) == 2
    assert [row.tolist() for row in x] == [[1, 2], [3, 4]]
    assert float(x[1, 1]) == 4
    assert [10, 20, 30][pynn.tensor(1)] == 20
    assert bool(pynn.tensor([0.0])) is False
    assert x.T.tolist() == [[1, 3], [2, 4]]
    assert hash(x) != hash(x.clone())
    with pytest.raises(ValueError, match=r"\[item\] expected one element, got shape \(2, 2\)"):
        bool(x)
    with pytest.raises(TypeError, match=r"\[len\] expected at least 1 dimension"):
        len(pynn.tensor(1.0))
    with pytest.raises(TypeError, match=r"\[index\] expected an integer tensor, got float32"):
        [1, 2][pynn.tensor(1.0)]


def test_grad_is_checked_and_shared():
    x = pynn.zeros(2, requires_grad=True)
    x.grad = pynn.ones(2)
    x.grad.data[0] = 5
    assert x.grad.tolist() == [5, 1]
    with pytest.raises(
        ValueError, match=r"\[grad\] expected shape \(2,\) float32, got \(3,\) float32"
    ):
        x.grad = pynn.ones(3)


def test_deepcopy():
    x = pynn.ones(2, requires_grad=True)
    x.grad = pynn.ones(2)
    y = copy.deepcopy(x)
    y.data[0] = 9
    assert x[0].item() == 1
    assert y.requires_grad
    assert y.grad.tolist() == [1, 1]
    with pytest.raises(RuntimeError, match=r"\[deepcopy\] expected a leaf"):
        copy.deepcopy(x * 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: pynn.tensor([1j]),
            TypeError,
            r"\[tensor\] expected numbers, got list of complex128",
        ),
        (lambda: pynn.tensor(["a"]), TypeError, r"\[tensor\] expected numbers, got list of <U1"),
        (
            lambda: pynn.tensor([[1], [1, 2]]),
            ValueError,
            r"\[tensor\] expected numbers in a regular shape",
        ),
        (
            lambda: pynn.Tensor(np.zeros(2, "uint16")),
            TypeError,
            r"\[tensor\] expected a dtype out of .* got uint16",
        ),
        (
            lambda: pynn.tensor([1], requires_grad=True),
            TypeError,
            r"\[requires_grad\] expected a float dtype, got int64",
        ),
        (
            lambda: pynn.zeros(2, device="gpu"),
            ValueError,
            r'\[device\] expected "cpu", "cuda" or "cuda:N", got \'gpu\'',
        ),
        (
            lambda: pynn.zeros(2, dtype="float8"),
            TypeError,
            r"\[dtype\] expected one of .* got 'float8'",
        ),
        (
            lambda: pynn.manual_seed(-1),
            ValueError,
            r"\[manual_seed\] expected 0 <= seed < 2\^64, got -1",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_creation():
    assert pynn.arange(5).tolist() == [0, 1, 2, 3, 4]
    assert pynn.arange(1, 2, 0.5).tolist() == [1, 1.5]
    assert pynn.full((2,), 3).tolist() == [3, 3]
    assert pynn.zeros_like(pynn.ones(2, dtype="int8")).dtype.name == "int8"
    a = pynn.randn(4).tolist()
    b = pynn.randn(4).tolist()
    pynn.manual_seed(0)
    assert pynn.randn(4).tolist() == a != b
    assert pynn.eye(2, 3).tolist() == [[1, 0, 0], [0, 1, 0]]
    assert pynn.linspace(0, 1, 5).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert pynn.empty(2, 0, dtype="bfloat16").shape == (2, 0)
    drawn = pynn.randint(-2, 3, (1000,))
    assert sorted(set(drawn.tolist())) == [-2, -1, 0, 1, 2]
    assert sorted(pynn.randperm(50).tolist()) == list(range(50)) != pynn.randperm(50).tolist()
    with pytest.raises(ValueError, match=r"\[randint\] expected low < high, got 3 and 3"):
        pynn.randint(3, 3, (2,))


def test_casts_in_pytorch_words():
    x = pynn.ones(2, requires_grad=True)
    casts = {"half": "float16", "bfloat16": "bfloat16", "double": "float64", "long": "int64"}
    for name, dtype in {**casts, "int": "int32", "bool": "bool", "float": "float32"}.items():
        assert getattr(x, name)().dtype.name == dtype
    assert x.float() is x and x.cpu() is x and x.contiguous() is x
    x.double().sum().backward()
    assert x.grad.dtype == pynn.float32
    assert pynn.ones(2, 3).T.contiguous().data.flags.c_contiguous
