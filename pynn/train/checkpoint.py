"""Checkpoints: all that a run needs to go on, in one safetensors file, replaced as a whole.

One file rather than a folder of them, since one renaming then puts all of it in place: a kill or a
full disk at any moment leaves the former checkpoint. Arrays stand in it under their path
("model.0.weight", "optimizer.state.3.exp_avg"), so other tools can read the weights; everything
else is JSON in the file's metadata, in which {"$array": path} stands for an array.
"""

import copy
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from pynn import backend
from pynn.tensor import Tensor
from pynn.train import safetensors

FORMAT = 1
_SHOWN = 5  # names that an error lists of each kind


def save(path: str | os.PathLike, state: dict[str, Any]) -> None:
    """Write `state`, dicts and lists of tensors, arrays, numbers, texts and None, to `path`.

    Keys of dicts become text and tuples lists, as in JSON. Raises OSError, with the former file
    intact, if the disk is full or the folder cannot be written; TypeError for other things in it.
    """
    arrays = {}
    tree = _pack(state, "", arrays)
    metadata = {"pynn_checkpoint": str(FORMAT), "state": json.dumps(tree, separators=(",", ":"))}
    try:
        safetensors.save(path, arrays, metadata)
    except OSError as error:
        intact = "; the former checkpoint is intact" if Path(path).exists() else ""
        raise OSError(
            error.errno, f"[checkpoint] expected to write {path}, got {error.strerror}{intact}"
        ) from error


def load(path: str | os.PathLike) -> dict[str, Any]:
    """What `save` wrote, with NumPy arrays in it; nothing is executed.

    Raises ValueError, naming the fault, if the file is damaged or no checkpoint; FileNotFoundError.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"[checkpoint] expected a checkpoint, got no file {str(path)!r}")
    arrays, metadata = safetensors.load(path, require_checksum=True)
    if "state" not in metadata or "pynn_checkpoint" not in metadata:
        raise ValueError(f"[checkpoint] {path}: expected a checkpoint, got a file of weights only")
    if metadata["pynn_checkpoint"] != str(FORMAT):
        got = metadata["pynn_checkpoint"]
        raise ValueError(f"[checkpoint] {path}: expected format {FORMAT}, got {got!r}")
    return _unpack(json.loads(metadata["state"]), arrays)


def save_weights(path: str | os.PathLike, model, metadata: dict[str, str] | None = None) -> None:
    """Write a model's state_dict alone as a safetensors file, which other libraries read too."""
    arrays = {name: _host(value) for name, value in model.state_dict().items()}
    safetensors.save(path, arrays, metadata)


def load_weights(path: str | os.PathLike, model) -> None:
    """Load a safetensors file of weights into a model. Raises ValueError, the model unchanged,
    if the file is damaged or belongs to another model.
    """
    arrays, _ = safetensors.load(path)
    require_fit(path, arrays, model)
    model.load_state_dict(arrays)


def require_fit(path: str | os.PathLike, arrays: dict[str, np.ndarray], model, exact=False) -> None:
    """Raise ValueError, listing what differs, unless names and shapes are those of the model.

    exact  the dtypes must be the model's, too
    """
    own = model.state_dict()
    complaints = [
        ("missing", [f"{n} {tuple(own[n].shape)}" for n in own if n not in arrays]),
        ("unknown", [f"{n} {arrays[n].shape}" for n in arrays if n not in own]),
        (
            "of another shape",
            [
                f"{n}: expected {tuple(own[n].shape)}, got {arrays[n].shape}"
                for n in own
                if n in arrays and tuple(own[n].shape) != arrays[n].shape
            ],
        ),
    ]
    if exact:
        dtypes = {n: (own[n].dtype, arrays[n].dtype) for n in own if n in arrays}
        wrong = [f"{n}: expected {a}, got {b}" for n, (a, b) in dtypes.items() if a != b]
        complaints.append(("of another dtype", wrong))
    if any(found for _, found in complaints):
        raise ValueError(
            f"[checkpoint] {path}: expected the weights of this model, got those of another: "
            + "; ".join(f"{what}: {_some(found)}" for what, found in complaints if found)
        )


def load_parts(path: str | os.PathLike, state: dict[str, Any], parts: dict[str, Any]) -> None:
    """Call load_state_dict of each part with its entry of `state`; if one fails, undo those before.

    Raises ValueError, naming the file, if an entry is missing or does not fit.
    """
    extra = {"schedule"} & set(state) - set(parts)
    missing = sorted(set(parts) - set(state))
    if missing or extra:
        raise ValueError(
            f"[checkpoint] {path}: expected the state of {sorted(parts)}, "
            f"got none of {missing}" + (f" but one of {sorted(extra)}" if extra else "")
        )
    done = []
    for name, part in parts.items():
        former = copy.deepcopy(part.state_dict())
        try:
            part.load_state_dict(state[name])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            for other, other_state in done:
                other.load_state_dict(other_state)
            raise ValueError(f"[checkpoint] {path}, {name}: {error}") from error
        done.append((part, former))


def _some(names):
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _pack(node, path, arrays):
    """The node as JSON, its arrays put into `arrays` under their path."""
    if isinstance(node, dict):
        return {
            str(k): _pack(v, f"{path}.{k}" if path else str(k), arrays) for k, v in node.items()
        }
    if isinstance(node, list | tuple):
        return [_pack(v, f"{path}.{i}", arrays) for i, v in enumerate(node)]
    if isinstance(node, np.generic):
        return node.item()
    if isinstance(node, Tensor) or backend.is_array(node):
        while path in arrays:  # {"a.b": x, "a": {"b": y}}
            path += "'"
        arrays[path] = _host(node)
        return {"$array": path}
    if node is None or isinstance(node, bool | int | float | str):
        return node
    raise TypeError(f"[checkpoint] {path}: expected arrays, numbers and texts, got {type(node)}")


def _unpack(node, arrays):
    if isinstance(node, dict):
        if set(node) == {"$array"}:
            return arrays[node["$array"]]
        return {key: _unpack(value, arrays) for key, value in node.items()}
    if isinstance(node, list):
        return [_unpack(value, arrays) for value in node]
    return node


def _host(value):
    return backend.to_device(value.data if isinstance(value, Tensor) else value, "cpu")
