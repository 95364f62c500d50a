"""All recipes at once: does each learn, does each reach its goal, and the table of what they reach.

The table, figures.csv, lies beside this file. tools/record_figures.py runs the recipes and writes
it; `pynn train --list` and the README show it.
"""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path

from pynn import recipes
from pynn.recipes import _folder
from pynn.train.files import write_csv

TABLE = Path(__file__).with_name("figures.csv")


@dataclass(frozen=True)
class Figure:
    """A row of the table, all of it text.

    run      the recipe's name, and options where they are not the defaults
    figure, reached, goal   what is measured, what it came to, what is wanted
    seconds, limit   of computing (CPU time), and how many it may take
    commit, date     of the source that ran, and when
    """

    run: str
    figure: str
    reached: str
    goal: str
    seconds: str
    limit: str
    commit: str = ""
    date: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a run went: words that say it, and whether that is good; `row` if it was a whole run."""

    run: str
    words: str
    good: bool
    seconds: float = 0.0
    row: Figure | None = None


def read() -> dict[str, Figure]:
    """{run: row} of the table; none if there is no table."""
    if not TABLE.is_file():
        return {}
    with open(TABLE, newline="", encoding="utf-8") as file:
        rows = [Figure(**row) for row in csv.DictReader(file)]
    return {row.run: row for row in rows}


def write(rows: dict[str, Figure]) -> None:
    """Replace the table by these rows, in the order of `runs`; what is no run is left out."""
    names = [field.name for field in fields(Figure)]
    write_csv(TABLE, [names, *(astuple(rows[run]) for run in runs() if run in rows)])


def runs() -> dict[str, tuple[type, dict]]:
    """{"translate --network transformer": (recipe, options)}: all whose figures are kept."""
    found = {}
    for name in recipes.names():
        kind = recipes.load(name)
        for options in ({}, *kind.others):
            words = [f"--{key.replace('_', '-')} {value}" for key, value in options.items()]
            found[" ".join([name, *words])] = kind, options
    return found


def outcomes(
    quick: bool,
    folder_of: Callable[[str], Path],
    only: list[str] | None = None,
    options: dict | None = None,
    **how,
) -> Iterator[Outcome]:
    """Run one recipe after the other, and yield how each went.

    quick      a few seconds each, good if the loss has fallen; else whole runs, good if the goal
               of the recipe is met, and in its time
    folder_of  {run: where its files go}
    only       the runs meant; all if None
    options    of all recipes, such as {"device": "cuda"}
    how        overwrite, plots, ... as in Recipe.run

    A recipe that raises is an outcome that is not good, with the error in one line.
    """
    for run, (kind, own) in runs().items():
        if only is None or run in only:
            try:
                recipe = kind(quick=quick, **own, **(options or {}))
                yield _outcome(run, recipe, quick, folder_of(run), how)
            except Exception as error:  # the others go on
                words = str(error).partition("\n")[0]
                yield Outcome(run, f"{type(error).__name__}: {words}", False)


def _outcome(run, recipe, quick, folder, how):
    result = recipe.run(folder, progress=False, **how)
    seconds, goal = result["cpu_seconds"], recipe.goal
    if quick:
        rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        whole = [row["loss"] for row in rows]
        size = max(1, len(whole) // recipe.stages)
        parts = [whole[i : i + size] for i in range(0, len(whole), size)]
        words = ", ".join(f"{part[0]:.4g} -> {part[-1]:.4g}" for part in parts)
        return Outcome(run, f"loss {words}", all(p[-1] < p[0] for p in parts), seconds)
    value = goal.of(result)
    texts = goal.text(value), goal.bound, f"{seconds:.0f}", f"{goal.seconds}"
    in_time = seconds <= goal.seconds
    words = f"{goal.figure} {texts[0]} ({texts[1]})"
    words += "" if in_time else f", expected in {goal.seconds} s"
    good = goal.met(value) and in_time
    return Outcome(run, words, good, seconds, Figure(run, goal.figure, *texts))


# ------------------------------------------------------------------ on the command line


def run(quick: bool, out: str | None, as_json: bool, options: dict, **how) -> int:
    """Run them all and print a row for each; 1 if any did not learn, or missed its goal.

    out  the folder in which each gets one of its own; runs/ if None
    quick, options, how  as in `outcomes`
    """

    def folder_of(run):
        name = run.replace(" --", "-").replace(" ", "-")
        return _folder.new(name, None if out is None else Path(out) / name, how["overwrite"])

    done = []
    for outcome in outcomes(quick, folder_of, options=options, **how):
        done.append(outcome)
        if not as_json:
            verdict = "ok" if outcome.good else "FAIL"
            words = f"{outcome.run:<32}{outcome.seconds:6.1f} s  {outcome.words}"
            print(f"{verdict:<5}{words}", flush=True)
    failed = [outcome.run for outcome in done if not outcome.good]
    if as_json:
        print(json.dumps([asdict(outcome) for outcome in done]))
    else:
        what = "learn" if quick else "reach their goals"
        good = f"{len(done) - len(failed)} of {len(done)} {what}"
        print(good, *failed, sep="; not " if failed else "")
    return 1 if failed else 0


def show(as_json: bool) -> int:
    """Print what each recipe does and what it last reached."""
    names = recipes.names()
    summaries = {name: recipes.summary(name) for name in names}
    figures = {
        name: [row for run, row in read().items() if run.split()[0] == name] for name in names
    }
    if as_json:
        found = {
            name: {"summary": summaries[name], "figures": [vars(row) for row in figures[name]]}
            for name in names
        }
        print(json.dumps(found))
        return 0
    for name in names:
        print(f"{name:<24}{summaries[name]}")
        for row in figures[name]:
            own = row.run.removeprefix(name).strip()
            print(
                f"{'':<24}{own + ': ' if own else ''}{row.figure} {row.reached} ({row.goal}), "
                f"{row.seconds} s of computing (<= {row.limit})"
            )
    return 0
