"""The folder of a run: where a new one goes, which one is resumed, what it says of itself."""

import os
import re
import shutil
from pathlib import Path

from pynn.recipes import load
from pynn.train import load_weights
from pynn.train.files import read_json
from pynn.train.loop import WEIGHTS

CONFIG, RESULT = "config.json", "result.json"
ROOT = Path("runs")


def new(name: str, out: str | os.PathLike | None, overwrite: bool) -> Path:
    """Where a new run of a recipe goes: `out`, or the first free one of runs/NAME, runs/NAME-2, ...

    overwrite  use `out`, or runs/NAME, though a run is there: its files are removed

    Raises FileExistsError if `out` holds a run and may not be overwritten, or something else.
    """
    folder = ROOT / name if out is None else Path(out)
    if out is None and not overwrite:
        number = 1
        while _holds_something(folder):
            number += 1
            folder = ROOT / f"{name}-{number}"
        return folder
    require_free(folder, overwrite)
    return folder


def require_free(folder: Path, overwrite: bool) -> None:
    """Raise FileExistsError if a folder holds a run, not to be overwritten, or something else."""
    if not _holds_something(folder):
        return
    if not (folder / CONFIG).is_file():
        raise FileExistsError(f"[train] out: expected a new or empty folder, got {folder}")
    if not overwrite:
        raise FileExistsError(
            f"[train] out: expected a new folder, got {folder}, which holds a run: "
            "resume goes on with it, overwrite replaces it"
        )


def clear(folder: Path) -> None:
    """Remove the files of an earlier run, so that none of them is taken for the new run's."""
    for file in folder.iterdir() if folder.is_dir() else ():
        if file.is_file():
            file.unlink()
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)


def last(name: str) -> Path:
    """The latest run of a recipe in runs/. Raises FileNotFoundError if there is none."""
    pattern = re.compile(re.escape(name) + r"(-\d+)?")
    folders = [f for f in ROOT.glob(f"{name}*") if pattern.fullmatch(f.name)]
    found = [f for f in folders if (f / CONFIG).is_file()]
    if not found:
        raise FileNotFoundError(f"[train] resume: expected a run of {name} in {ROOT}/, got none")
    return max(found, key=lambda f: (f / CONFIG).stat().st_mtime_ns)


def read(folder: str | os.PathLike) -> dict:
    """The config.json of a run: {"recipe", "options", "state", "versions"}.

    Raises FileNotFoundError if the folder holds no run, ValueError if the file is damaged.
    """
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"[run] expected the folder of a run, with {CONFIG}, got {folder}")
    config = read_json(path)
    for name, kind in (("recipe", str), ("options", dict), ("state", dict)):
        if not isinstance(config.get(name), kind):
            raise ValueError(f"[run] {path}: expected an entry {name!r}, got {config.get(name)!r}")
    return config


def recipe_of(config: dict):
    """The recipe of a run, with its options and state."""
    recipe = load(config["recipe"])(**config["options"])
    recipe.load_state_dict(config["state"])
    return recipe


def trained(folder: str | os.PathLike):
    """(recipe, its network in evaluation mode) of the finished run of a recipe on images.

    Raises FileNotFoundError if the folder holds no finished run, ValueError for other recipes.
    """
    recipe, weights = recipe_of(read(folder)), Path(folder) / WEIGHTS
    if getattr(recipe, "image_shape", None) is None:
        raise ValueError(f"[run] expected a recipe that reads images, got {recipe.name}: {folder}")
    if not weights.is_file():
        raise FileNotFoundError(
            f"[run] expected a finished run, got no {weights}: `pynn train --resume {folder}`"
        )
    network = recipe.model().to(dtype=recipe.dtype)
    load_weights(weights, network)
    return recipe, network.eval()


def outermost(folder: Path) -> Path:
    """The run that a folder belongs to, where a recipe has another one run inside its own."""
    while (folder.parent / CONFIG).is_file():
        folder = folder.parent
    return folder


def _holds_something(folder):
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
