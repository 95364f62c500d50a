"""The command `pynn`: train a recipe, predict with what it left, tell what is installed.

A command is a function that takes the parsed arguments and returns an exit code, a function that
declares those arguments, and a line in COMMANDS. Heavy imports stand inside the functions.

Exit codes: 0 done; 2 wrong input, with one line on stderr (PYNN_DEBUG=1 shows the traceback);
130 Ctrl-C and 143 termination, after saving.
"""

import argparse
import difflib
import json
import os
import re
import sys
from pathlib import Path

_DEBUG = "PYNN_DEBUG"
_EXPECTED = (
    ValueError,
    TypeError,
    LookupError,
    RuntimeError,
    OSError,
    ImportError,
    ArithmeticError,
    MemoryError,
)
_MAY_CHANGE = ("epochs", "max_steps", "patience", "device", "threads")  # in the middle of a run


class _Parser(argparse.ArgumentParser):
    """Errors in one line."""

    def error(self, message):
        print(f"[{self.prog}] {message}; `{self.prog} --help` says more", file=sys.stderr)
        sys.exit(2)


# ------------------------------------------------------------------ train


def train_arguments(parser, argv):
    """Shared options, and those of the recipe that `argv` names, with its defaults in the help."""
    from pynn import recipes

    words = f"one of those that --list shows (default: {recipes.DEFAULT})"
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help=words)
    words = "show all recipes, with the figures that they last reached, and exit"
    parser.add_argument("--list", action="store_true", help=words)
    words = "run every recipe and say which reach their goals; with --quick, whose loss falls"
    parser.add_argument("--all", action="store_true", help=words)
    run = parser.add_argument_group("the run")
    words = "where all is left (default: runs/RECIPE, or RECIPE-2, ... if that is taken)"
    run.add_argument("--out", metavar="FOLDER", help=words)
    words = "go on with an interrupted run, to the bit (default: the latest of RECIPE in runs/)"
    run.add_argument("--resume", nargs="?", const="", metavar="FOLDER", help=words)
    run.add_argument("--overwrite", action="store_true", help="remove the run in the folder first")
    run.add_argument("--quick", action="store_true", help="a few epochs, to see that all works")
    run.add_argument("--no-plots", action="store_true", help="no pictures (needs no matplotlib)")
    run.add_argument("--save-every", type=int, metavar="N", help="save every N steps, too")
    run.add_argument("--tensorboard", action="store_true", help="write TensorBoard files, too")
    run.add_argument("--quiet", action="store_true", help="show no progress")
    run.add_argument("--json", action="store_true", help="print the result, or the list, as JSON")
    recipe = _recipe_class(parser, argv)
    parser.set_defaults(recipe_class=recipe)
    if recipe is None:
        return
    title = "options of all recipes"
    if _name(recipe) in recipes.names():
        parser.epilog = f"{_name(recipe)}: {recipes.summary(_name(recipe))}"
        title = f"options of {_name(recipe)}"
    _add_options(parser, recipe, title)


def _recipe_class(parser, argv):
    """The recipe that is meant, found before its own options are known; None for --list, and for
    --all the base of them all.
    """
    from pynn import recipes
    from pynn.recipes import _folder
    from pynn.recipes._recipe import Recipe

    first = _Parser(prog=parser.prog, parents=[parser], add_help=False, conflict_handler="resolve")
    _add_options(first, Recipe, "options of all recipes")
    args, _ = first.parse_known_args([a for a in argv if a not in ("-h", "--help")])
    if args.list:
        return None
    if args.all:
        return Recipe
    if args.recipe is None and _is_folder(args.resume):
        return recipes.load(_folder.read(args.resume)["recipe"])
    return recipes.load(args.recipe or args.resume or recipes.DEFAULT)


def _is_folder(resume):
    """Whether --resume is followed by a folder, not by a recipe's name or nothing."""
    from pynn import recipes

    return bool(resume) and (os.path.exists(resume) or resume not in recipes.names())


def _add_options(parser, recipe, title):
    group = parser.add_argument_group(title)
    for name, option in recipe.options().items():
        flag = "--" + name.replace("_", "-")
        kind = option.kind or type(option.default)
        words = f"{option.help} (default: {option.default})".replace("%", "%%")
        if kind is bool:
            action = argparse.BooleanOptionalAction
            group.add_argument(flag, action=action, default=None, help=words)
        else:
            shown = kind.__name__.upper()
            if option.choices:
                shown = "{" + ",".join(option.choices) + "}"
            group.add_argument(flag, type=kind, default=None, metavar=shown, help=words)


def _name(recipe):
    return recipe.__module__.rpartition(".")[2].replace("_", "-")


def train(args):
    """Train a recipe, or all of them."""
    from pynn.recipes import _figures, _folder

    if args.list:
        return _figures.show(args.json)
    kind = args.recipe_class
    given = {name: getattr(args, name) for name in kind.options()}
    given = {name: value for name, value in given.items() if value is not None}
    if args.save_every is not None and args.save_every < 1:
        raise ValueError(f"[train] save_every: expected a positive number, got {args.save_every}")
    how = {
        "overwrite": args.overwrite,
        "plots": not args.no_plots,
        "tensorboard": args.tensorboard,
        "save_every": args.save_every,
    }
    if args.all:
        other = args.recipe or ("--resume" if args.resume is not None else None)
        if other is not None:
            raise ValueError(f"[train] expected --all or {other}, got both")
        return _figures.run(args.quick, args.out, args.json, given, **how)
    if args.resume is not None:
        folder = _resumed_folder(args, kind)
        recipe = _resumed_recipe(folder, kind, given)
    else:
        recipe = kind(quick=args.quick, **given)
        folder = _folder.new(recipe.name, args.out, args.overwrite)
    quiet = args.quiet or args.json
    if not quiet:
        verb = "training" if args.resume is None else "resuming"
        print(f"{verb} {recipe.name} in {folder}", flush=True)
    resume = args.resume is not None
    result = recipe.run(folder, resume=resume, progress=not quiet, **how)
    files = sorted(file.name for file in folder.iterdir() if file.is_file())
    if args.json:
        print(json.dumps({"recipe": recipe.name, "folder": str(folder), **result, "files": files}))
    else:
        print(f"{folder}: {', '.join(files)}")
        print(f"{recipe.name}: {recipe.headline(result)}, in {result['seconds']:.1f} s")
    return 0


def _resumed_folder(args, kind):
    from pynn.recipes import _folder

    for flag in ("overwrite", "out", "quick"):
        if getattr(args, flag):
            raise ValueError(f"[train] {flag}: expected --resume without --{flag}, got both")
    return Path(args.resume) if _is_folder(args.resume) else _folder.last(_name(kind))


def _resumed_recipe(folder, kind, given):
    """The recipe as it was begun, with what may change in the middle of a run."""
    from pynn.recipes import _folder

    config = _folder.read(folder)
    if config["recipe"] != _name(kind):
        raise ValueError(
            f"[train] resume: expected a run of {_name(kind)}, got one of {config['recipe']}"
        )
    for name, value in given.items():
        was = config["options"].get(name)
        if name not in _MAY_CHANGE and value != was:
            raise ValueError(
                f"[train] {name}: expected {was}, with which the run was begun, got {value}"
            )
    return kind(**{**config["options"], **given})


# ------------------------------------------------------------------ predict


def predict_arguments(parser, argv):
    parser.add_argument("run", metavar="RUN", help="the folder of a run, such as runs/digits-cnn")
    parser.add_argument("image", nargs="+", metavar="IMAGE", help="a PNG (or other) image, or .npy")
    parser.add_argument("--device", default="cpu", help='"cpu" (the default), "cuda" or "cuda:N"')
    parser.add_argument("--json", action="store_true", help="print all probabilities as JSON")


def predict(args):
    """Say what images show, by the network of a run."""
    from pynn import no_grad
    from pynn.recipes import _folder

    recipe, model = _folder.trained(args.run)
    with no_grad():
        found = recipe.predict(model.to(device=args.device), args.image)
    if args.json:
        print(json.dumps(found))
    else:
        width = max(len(row["file"]) for row in found)
        for row in found:
            print(f"{row['file']:<{width}}  {row['label']}  {100 * row['probability']:.1f} %")
    return 0


# ------------------------------------------------------------------ info


def info_arguments(parser, argv):
    parser.add_argument("--json", action="store_true", help="print as JSON")


def info(args):
    """Show versions, devices, kernels, what is missing and how to mend it."""
    from pynn import info

    facts = info.gather()
    print(json.dumps(facts, indent=2) if args.json else info.text(facts))
    return 0


# ------------------------------------------------------------------ check


def check_arguments(parser, argv):
    parser.add_argument(
        "families", nargs="*", metavar="FAMILY", help="families, or a .py with CASES; all if none"
    )
    parser.add_argument("--all", action="store_true", help="every family, as if none were named")
    parser.add_argument(
        "--schedules", action="store_true", help="under nine orders of threads and async timings"
    )
    parser.add_argument("--asan", action="store_true", help="also under Address- and UBSanitizer")
    parser.add_argument("--race", action="store_true", help="also under the race detector")
    parser.add_argument("--device", default="cpu", help="cpu (the simulator) or cuda (the kernels)")
    parser.add_argument("--json", action="store_true", help="print as JSON")


def check(args):
    """Run every kernel against its reference, in the simulator or on a GPU."""
    from pynn import check

    families = () if args.all else args.families
    return check.run(families, args.schedules, args.asan, args.race, args.device, args.json)


# ------------------------------------------------------------------ roofline


def roofline_arguments(parser, argv):
    from pynn import profiler

    profiler.roofline_arguments(parser)


def roofline(args):
    """Run a script and show where its time went, op by op and layer by layer."""
    from pynn import profiler

    return profiler.roofline(args)


# ------------------------------------------------------------------ all of them

COMMANDS = {
    "train": (train, train_arguments),
    "predict": (predict, predict_arguments),
    "info": (info, info_arguments),
    "check": (check, check_arguments),
    "roofline": (roofline, roofline_arguments),
}


def main(argv=None) -> int:
    """Run a command line, `sys.argv` by default; returns the exit code."""
    try:
        return _main(sys.argv[1:] if argv is None else list(argv))
    except KeyboardInterrupt as stop:
        return _interrupted(stop)
    except BrokenPipeError:  # `pynn train --list | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except _EXPECTED as error:
        if os.environ.get(_DEBUG) == "1":
            raise
        print(_one_line(error), file=sys.stderr)
        return 2


def _main(argv):
    from pynn import __version__

    words = "Neural networks from Python on CUDA kernels written by hand."
    parser = _Parser(prog="pynn", description=words)
    parser.add_argument("--version", action="version", version=f"pynn {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    asked = argv[0] if argv and not argv[0].startswith("-") else None
    if asked is not None and asked not in COMMANDS:
        hint = _nearest(asked, COMMANDS)
        raise ValueError(
            f"[pynn] command: expected one of {', '.join(COMMANDS)}, got {asked!r}{hint}"
        )
    for name, (run, arguments) in COMMANDS.items():
        words = run.__doc__.partition("\n")[0]
        sub = commands.add_parser(name, help=words, description=words)
        sub.set_defaults(run_command=run)
        if name == asked:
            arguments(sub, argv[1:])
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        flags = re.findall(r"--[a-z-]+", commands.choices[asked].format_help()) if asked else ()
        hint = _nearest(unknown[0], flags)
        raise ValueError(f"[pynn] expected known arguments, got {' '.join(unknown)}{hint}")
    if asked is None:
        parser.print_help()
        return 0
    return args.run_command(args)


def _nearest(word, words):
    near = difflib.get_close_matches(word, words, 1, 0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _interrupted(stop):
    """Say where the run was saved and how to go on; the exit code is the shell's for the signal."""
    from pynn.recipes import _folder

    checkpoint = getattr(stop, "checkpoint", None)
    if checkpoint is None:
        print("interrupted", file=sys.stderr)
        return 130
    run = _folder.outermost(checkpoint.parent)
    print(f"{stop}\ngo on with: pynn train --resume {run}", file=sys.stderr)
    return 128 + stop.signal


def _one_line(error):
    """The error without its traceback; one that pynn did not foresee says of what kind it is."""
    words = str(error).strip().partition("\n")[0]
    if words.startswith("[Errno"):  # "[Errno 13] Permission denied: 'runs'"
        words = words.partition("] ")[2]
        return words if words.startswith("[") else f"[pynn] {words}"
    if words.startswith("["):
        return words
    return f"[pynn] {type(error).__name__}: {words} ({_DEBUG}=1 shows where)"
