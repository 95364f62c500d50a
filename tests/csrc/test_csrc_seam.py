"""pynn._cuda without a GPU: the module, the checks of its launchers, and what a launch then says.

The arrays are CuPy arrays over host memory. A launcher reads their pointer, shape and dtype as it
would on a GPU; only the launch itself fails.
"""

import threading

import ml_dtypes
import numpy as np
import pytest

_cuda = pytest.importorskip("pynn._cuda", reason="pynn was built without pynn._cuda")
cupy = pytest.importorskip("cupy", reason="CuPy is not installed: pip install .[cuda13]")

BACKWARD = sorted(name for name in _cuda.kernels() if name.endswith("_bwd"))
DTYPES = [np.float32, np.float16, ml_dtypes.bfloat16]
PARAMETERS = {
    "leaky_relu": (0.01,),
    "elu": (1.0,),
    "hardtanh": (-1.0, 1.0),
    "softplus": (1.0, 20.0),
}
SAVES_Y = {"relu", "sigmoid", "tanh"}
ACTIVATIONS = [
    *("relu", "leaky_relu", "elu", "selu", "gelu", "gelu_tanh", "silu", "mish", "softplus"),
    *("sigmoid", "tanh", "arctan", "hardtanh", "hardswish"),
]
WITHOUT_GPU = pytest.mark.skipif(
    cupy.cuda.is_available(), reason="host memory must not reach a real GPU"
)


def on_host(shape, dtype=np.float32):
    """A cupy.ndarray whose memory is the host's."""
    host = np.zeros(shape, dtype)
    memory = cupy.cuda.UnownedMemory(host.ctypes.data, max(host.nbytes, 1), host, 0)
    return cupy.ndarray(shape, host.dtype, cupy.cuda.MemoryPointer(memory, 0))


def test_every_activation_is_exported():
    expected = {f"{name}_{way}" for name in ACTIVATIONS for way in ("fwd", "bwd")} | {"step_fwd"}
    assert expected <= set(_cuda.kernels())
    assert all(callable(getattr(_cuda, name)) for name in _cuda.kernels())


def test_docstring_begins_with_the_signature():
    assert _cuda.gelu_fwd.__doc__.startswith("gelu_fwd(x: array, y: out) -> None\n\ny = ")
    assert _cuda.softplus_bwd.__doc__.startswith(
        "softplus_bwd(x: array, dy: array, dx: out, beta: float, threshold: float) -> None"
    )


def test_build_info_names_its_compilers():
    info = _cuda.build_info()
    assert info["simulated"] is False
    assert int(info["nvcc"].split(".")[0]) >= 12
    assert int(info["cudart"].split(".")[0]) >= 12
    assert info["archs"]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_size_zero_launches_nothing(name, dtype):
    x, y, dy, dx = (on_host((0, 4), dtype) for _ in range(4))
    parameters = PARAMETERS.get(name, ())
    assert getattr(_cuda, f"{name}_fwd")(x, y, *parameters) is None
    saved = y if name in SAVES_Y else x
    assert getattr(_cuda, f"{name}_bwd")(saved, dy, dx, *parameters) is None


@WITHOUT_GPU
@pytest.mark.parametrize("name", [f"{a}_{way}" for a in ACTIVATIONS for way in ("fwd", "bwd")])
def test_launch_without_a_gpu_names_kernel_and_site(name):
    arrays = [on_host((3, 5)) for _ in range(2 if name.endswith("_fwd") else 3)]
    with pytest.raises(RuntimeError, match=rf"^\[{name}\] launch .*got cuda\w+ .* at csrc/.*:\d+$"):
        getattr(_cuda, name)(*arrays, *PARAMETERS.get(name[:-4], ()))


@WITHOUT_GPU
@pytest.mark.parametrize("scalar", [1, 1.5, np.float32(0.5), np.int64(2), np.float64(0.1)])
def test_python_and_numpy_scalars_are_floats(scalar):
    with pytest.raises(RuntimeError, match="launch"):
        _cuda.leaky_relu_fwd(on_host(4), on_host(4), scalar)


def test_errors_name_what_was_expected_and_what_came():
    x, y = on_host((3, 4)), on_host((3, 4))
    half = on_host((3, 4), ml_dtypes.bfloat16)
    cases = [
        (ValueError, (x, on_host(4)), "[gelu_fwd] y: expected shape (3, 4), got (4,)"),
        (ValueError, (on_host(()), x), "[gelu_fwd] y: expected shape (), got (3, 4)"),
        (TypeError, (x, half), "[gelu_fwd] y: expected float32, got bfloat16"),
        (TypeError, (half, y), "[gelu_fwd] y: expected bfloat16, got float32"),
        (
            TypeError,
            (on_host(3, np.int32), on_host(3, np.int32)),
            "[gelu_fwd] x: expected float32, float16 or bfloat16, got int32",
        ),
        (
            ValueError,
            (on_host((4, 3)).T, y),
            "[gelu_fwd] x: expected a C-contiguous array, got strides that skip",
        ),
        (ValueError, (on_host((1,) * 9), y), "[gelu_fwd] x: expected at most 8 dimensions, got 9"),
        (TypeError, (x,), "[gelu_fwd] arguments: expected 2 (x: array, y: out), got 1"),
        (TypeError, (x, y, 1), "[gelu_fwd] arguments: expected 2 (x: array, y: out), got 3"),
        (TypeError, (x, 3), "[gelu_fwd] y: expected a CuPy array, got int"),
        (TypeError, (None, y), "[gelu_fwd] x: expected a CuPy array, got NoneType"),
        (TypeError, (np.zeros(3), y), "[gelu_fwd] x: expected a CuPy array, got numpy.ndarray"),
    ]
    for kind, arguments, text in cases:
        with pytest.raises(kind) as caught:
            _cuda.gelu_fwd(*arguments)
        assert str(caught.value) == text


@pytest.mark.parametrize("dtype", ["complex64", ">f4"])
def test_a_dtype_without_kernels_is_named(dtype):
    x = on_host(3, dtype)
    with pytest.raises(TypeError, match=rf"^\[relu_fwd\] x: expected one of .*got {dtype}$"):
        _cuda.relu_fwd(x, x)


@pytest.mark.parametrize(
    ("name", "parameters", "text"),
    [
        ("leaky_relu_fwd", ("a",), "slope: expected a float, got str"),
        ("leaky_relu_fwd", (np.zeros(1),), "slope: expected a float, got numpy.ndarray"),
        ("elu_fwd", (None,), "alpha: expected a float, got NoneType"),
        ("hardtanh_fwd", (1.0, 0.0), "low: expected at most high = 0, got 1"),
        ("hardtanh_fwd", (float("nan"), 0.0), "low: expected at most high = 0, got nan"),
        ("softplus_fwd", (0.0, 20.0), "beta: expected a finite number other than 0, got 0"),
    ],
)
def test_bad_parameters(name, parameters, text):
    kind = TypeError if "a float" in text else ValueError
    with pytest.raises(kind) as caught:
        getattr(_cuda, name)(on_host(4), on_host(4), *parameters)
    assert str(caught.value) == f"[{name}] {text}"


@pytest.mark.parametrize("name", BACKWARD)
def test_backward_checks_dy_and_dx(name):
    parameters = PARAMETERS.get(name.removesuffix("_bwd"))
    if parameters is None and name.removesuffix("_bwd") not in ACTIVATIONS:
        pytest.skip("not an activation")
    call = getattr(_cuda, name)
    with pytest.raises(ValueError, match=r"dy: expected shape \(2, 3\), got \(3, 2\)"):
        call(on_host((2, 3)), on_host((3, 2)), on_host((2, 3)), *(parameters or ()))
    with pytest.raises(TypeError, match="dx: expected float32, got float16"):
        call(on_host(3), on_host(3), on_host(3, np.float16), *(parameters or ()))


def test_calls_from_many_threads():
    failures = []

    def work():
        try:
            for _ in range(200):
                _cuda.gelu_fwd(on_host((0,)), on_host((0,)))
                with pytest.raises(ValueError, match="expected shape"):
                    _cuda.gelu_fwd(on_host(1), on_host(2))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
