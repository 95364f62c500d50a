"""python -m bench.day_table OUT: what a day with a GPU showed, on one screen."""

import json
import math
import sys
from pathlib import Path

from bench.report import latest
from bench.run import load


def text(out) -> str:
    """Stages, limits, a line for each family, training steps: at most about forty lines."""
    out = Path(out)
    lines = [f"{'stage':<12}{'result':<14}seconds"]
    for line in (out / "stages.tsv").read_text().splitlines():
        stage, result, seconds = line.split("\t")
        lines.append(f"{stage:<12}{result:<14}{seconds:>7}")
    if (out / "peaks.json").exists():
        from bench import peaks

        lines += ["", peaks.text(json.loads((out / "peaks.json").read_text()))]
    rows = latest(load([p for p in (out / "rows.jsonl",) if p.exists()]))
    if rows:
        lines += ["", *_families(rows)]
    steps = load([p for p in (out / "train.jsonl",) if p.exists()])
    if steps:
        from bench.train.run import line

        lines += ["", *map(line, steps)]
    return "\n".join(lines)


def _families(rows):
    """Of each family and dtype: rows, refusals, the share of the limit, the ratio to each peer."""
    counts = f"{'rows':>5}{'refused':>8}{'skipped':>8}"
    lines = [f"{'family':<14}{'dtype':<10}{counts}{'of peak':>9}  peer / pynn"]
    for family, dtype in sorted({(r["family"], r["dtype"]) for r in rows}):
        own = [r for r in rows if (r["family"], r["dtype"]) == (family, dtype)]
        timed = [r for r in own if "us" in r]
        share = [r["of_peak"] for r in timed if r["of_peak"]]
        peers = sorted({name for r in timed for name in r["peers"]})
        ratios = ""
        for name in peers:
            found = [r["peers"][name]["speedup"] for r in timed if name in r["peers"]]
            ratios += f"  {name} {_mean(found):.2f}"
        best = f"{100 * _mean(share):.0f}%" if share else "-"
        refused, skipped = (sum(word in r for r in own) for word in ("refused", "skipped"))
        counts = f"{len(own):>5}{refused:>8}{skipped:>8}"
        lines.append(f"{family:<14}{dtype:<10}{counts}{best:>9}{ratios}")
    lines.append("shares and ratios are geometric means over the rows")
    return lines


def _mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


if __name__ == "__main__":
    print(text(sys.argv[1]))
