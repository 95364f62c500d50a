"""Recipes: networks that train on real data, run by `pynn train NAME`.

A recipe is one file in this folder with one class in it, derived from Classification, Regression or
Recipe. To add one is to add that file: its name, with hyphens, is the name on the command line, and
the first line of its docstring is its line in `pynn train --list`; its `goal` is the figure that it
must reach. Files that begin with an underscore are no recipes.

    from pynn import recipes
    recipes.load("digits-cnn")(epochs=5, lr=1e-3).run("runs/mine")
"""

import ast
import difflib
import importlib
from pathlib import Path

DEFAULT = "digits-cnn"
_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The names of all recipes, as on the command line, in alphabetical order."""
    files = _FOLDER.glob("[!_]*.py")
    return sorted(file.stem.replace("_", "-") for file in files)


def summary(name: str) -> str:
    """The first line of the recipe's docstring, read without running the recipe."""
    tree = ast.parse(_file(name).read_bytes())
    return (ast.get_docstring(tree) or "").partition("\n")[0]


def load(name: str) -> type:
    """The class of a recipe. Raises ValueError, with the likeliest name, if there is none."""
    if name.replace("_", "-") not in names():
        near = difflib.get_close_matches(name, names(), 1, 0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"[train] recipe: expected one of {', '.join(names())}, got {name!r}{hint}"
        )
    module = importlib.import_module(f"pynn.recipes.{_file(name).stem}")
    own = [v for v in vars(module).values() if getattr(v, "__module__", None) == module.__name__]
    classes = [v for v in own if isinstance(v, type) and hasattr(v, "run")]
    if len(classes) != 1:
        raise TypeError(f"[train] {_file(name)}: expected one recipe class, got {len(classes)}")
    return classes[0]


def _file(name):
    return _FOLDER / f"{name.replace('-', '_')}.py"
