#!/usr/bin/env python3
"""Runs recipes in full and records what they reach, in figures.csv, README.md and docs/.

    python tools/record_figures.py               all of them, about a quarter of an hour
    python tools/record_figures.py gan "translate --network transformer"
    python tools/record_figures.py --readme      run nothing: write the README's table again

Seconds are of computing, whatever else the machine does. A goal or a limit that is missed is
recorded, too, and makes the exit code 1. Runs are left in runs/figures. A row says which commit
ran, with a + if the sources had changed since.
"""

import argparse
import datetime
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNS = ROOT / "runs/figures"
README = ROOT / "README.md"
BEGIN, END = "<!-- figures: tools/record_figures.py -->\n", "<!-- end of figures -->\n"

# {picture in docs/: the file of the run that it is}
PICTURES = {
    "segmentation.png": "segmentation/masks.png",
    "gan.png": "gan/training.png",
    "translate.png": "translate/attention.png",
    "variational-autoencoder.png": "variational-autoencoder/samples.png",
}


def main(argv=None) -> int:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", nargs="*", help='such as "gan"; all if none is named')
    parser.add_argument("--readme", action="store_true", help="only write the README's table")
    args = parser.parse_args(argv)
    sys.path.insert(0, str(ROOT))
    from pynn.recipes import _figures

    unknown = set(args.run) - set(_figures.runs())
    if unknown:
        parser.error(f"expected runs out of {list(_figures.runs())}, got {sorted(unknown)}")
    good = args.readme or record(args.run or None)
    text = README.read_text(encoding="utf-8")
    README.write_text(with_table(text, _figures.read()), encoding="utf-8")
    return 0 if good else 1


def record(only) -> bool:
    """Run, and replace the table's row after each run; False if any missed its goal or limit."""
    from pynn.recipes import _figures

    ran, missed = commit(), []
    chosen = [run for run in _figures.runs() if not only or run in only]
    for i, run in enumerate(chosen, 1):
        print(f"{i} of {len(chosen)}: {run} ... ", end="", flush=True)
        (outcome,) = _figures.outcomes(False, folder_of, [run], overwrite=True)
        print(f"{outcome.words}, {outcome.seconds:.0f} s", "" if outcome.good else "MISSED")
        missed += [] if outcome.good else [run]
        if outcome.row is None:  # it raised
            continue
        row = replace(outcome.row, commit=ran, date=str(datetime.date.today()))
        _figures.write({**_figures.read(), run: row})
        for picture, source in PICTURES.items():
            if source.startswith(f"{folder_of(run).name}/"):
                shutil.copyfile(RUNS / source, ROOT / "docs" / picture)
    print(f"{len(chosen) - len(missed)} of {len(chosen)} recorded and good", *missed, sep="; not ")
    return not missed


def folder_of(run):
    return RUNS / run.replace(" --", "-").replace(" ", "-")


def commit():
    """The commit of the source, marked if it has been changed since."""

    def git(*args):
        return subprocess.check_output(["git", "-C", str(ROOT), *args], text=True).strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "pynn/*.py")
    return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")


def with_table(readme: str, rows: dict) -> str:
    """The README with the table of these rows between its two marks."""
    before, _, rest = readme.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"[record_figures] README.md: expected {BEGIN!r} and {END!r}, got neither")
    lines = ["| `pynn train` | figure | reached | goal | seconds | limit |"]
    lines += ["|---|---|---|---|---|---|"]
    for row in rows.values():
        cells = row.run, row.figure, row.reached, row.goal, row.seconds, row.limit
        lines.append(f"| {' | '.join(cells)} |")
    return before + BEGIN + "\n".join(lines) + "\n" + mark + after


if __name__ == "__main__":
    sys.exit(main())
