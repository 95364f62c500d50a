"""State dicts from PyTorch and to it. Names agree; what differs is the layout of convolutions.

    PyTorch  images NCHW, weights (K, C, R, S)      pynn  images NHWC, weights (K, R, S, C)

A Linear that follows a Flatten of (C, H, W) images sees its inputs in another order: its columns
are permuted if its name and (C, H, W) are given. PyTorch itself is never imported.
"""

import numpy as np

from pynn import backend, dtypes
from pynn.tensor import Tensor


def from_torch(state_dict, model=None, flatten=None) -> dict:
    """A PyTorch state dict in pynn's layout, for `model.load_state_dict`.

    state_dict  {name: PyTorch tensor, or any array}
    model       the pynn module it is for: then just the weights of its convolutions are permuted.
                Without it every "weight" of 3 or 4 dimensions is taken for a convolution's
    flatten     {name of a Linear's weight: (C, H, W) of the images flattened in front of it}

    Raises ValueError if a name in `flatten` is not in the state dict or its columns are not C H W.
    """
    return _converted(state_dict, model, flatten, _to_channels_last, "from_torch")


def to_torch_layout(state_dict, model=None, flatten=None) -> dict:
    """The inverse of `from_torch`: NumPy arrays in PyTorch's layout; the same arguments."""
    return {
        name: tensor.numpy()
        for name, tensor in _converted(
            state_dict, model, flatten, _to_channels_first, "to_torch_layout"
        ).items()
    }


def _converted(state_dict, model, flatten, move, op):
    flatten = dict(flatten or {})
    unknown = [name for name in flatten if name not in state_dict]
    if unknown:
        raise ValueError(f"[{op}] flatten: expected names of the state dict, got {unknown}")
    convolutions = None if model is None else set(convolution_weights(model))
    out = {}
    for name, value in state_dict.items():
        array = array_of(value)
        if name in flatten:
            array = _permute_columns(array, tuple(flatten[name]), move, op, name)
        elif array.ndim in (3, 4):
            convolves = name.endswith("weight") if model is None else name in convolutions
            array = move(array) if convolves else array
        out[name] = Tensor(
            backend.array_module(array).ascontiguousarray(array).reshape(array.shape)
        )
    return out


def convolution_weights(model):
    """The dotted names of the weights of a module's convolutions."""
    for path, module in model.named_modules(remove_duplicate=False):
        if module.convolves:
            yield f"{path}.weight" if path else "weight"


def _to_channels_last(array):
    return array.transpose(0, *range(2, array.ndim), 1)


def _to_channels_first(array):
    return array.transpose(0, array.ndim - 1, *range(1, array.ndim - 1))


def _permute_columns(array, chw, move, op, name):
    if len(chw) != 3 or array.ndim != 2 or array.shape[1] != np.prod(chw):
        raise ValueError(
            f"[{op}] flatten: expected (C, H, W) with C H W = {array.shape[-1]} for {name} "
            f"{array.shape}, got {chw}"
        )
    C, H, W = chw
    held = (C, H, W) if move is _to_channels_last else (H, W, C)
    return move(array.reshape(-1, *held)).reshape(array.shape)


def looks_like_torch(shape, expected) -> bool:
    """Whether a shape is the expected one with the channels in PyTorch's place."""
    return len(shape) in (3, 4) and tuple(shape) == (expected[0], expected[-1], *expected[1:-1])


def array_of(value):
    """The NumPy or CuPy array of a tensor, an array, or a PyTorch tensor, which is copied."""
    if isinstance(value, Tensor):
        return value.data
    if backend.is_array(value):
        return value
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        value = value.detach().cpu()
        if str(value.dtype).endswith("bfloat16"):  # NumPy has no such dtype to ask for
            return value.float().numpy().astype(dtypes.bfloat16)
        return value.numpy().copy()
    return np.asarray(value)
