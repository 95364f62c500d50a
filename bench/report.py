"""python -m bench report ROWS ...: one page of HTML, its plots also as PNGs; what became slower.

python -m bench report rows.jsonl --out report
python -m bench report new.jsonl --compare old.jsonl --margin 5%     exit 1 if a row is slower
"""

import argparse
import base64
import html
import math
import tempfile
from pathlib import Path

from bench.run import load

KEY = ("device", "family", "op", "pass", "shape", "dtype", "variant", "threads")
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1f2933; max-width: 1080px; margin: 2em auto;
       padding: 0 1em }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 2em }
table { border-collapse: collapse; font-size: 12.5px; font-variant-numeric: tabular-nums }
th, td { padding: 2px 9px; text-align: right; border-bottom: 1px solid #e4e7eb;
         white-space: nowrap }
th { position: sticky; top: 0; background: #f5f7fa } td.word, th.word { text-align: left }
.slow { color: #b42318 } .quick { color: #1a7f37 } .pale { color: #7b8794 }
img { max-width: 100% } .wide { overflow-x: auto }
"""


# ------------------------------------------------------------------ comparison


def compared(new, old, margin):
    """(row, its median over the old one's, verdict) of the rows that both have; the verdict is
    "slower" or "faster" past the margin, else "".
    """
    former = {key(row): row for row in old if "us" in row}
    found = []
    for row in new:
        base = former.get(key(row))
        if base is None or "us" not in row:
            continue
        ratio = row["us"]["p50"] / base["us"]["p50"]
        verdict = "slower" if ratio > 1 + margin else "faster" if ratio < 1 / (1 + margin) else ""
        found.append((row, base, ratio, verdict))
    return sorted(found, key=lambda entry: -entry[2])


def key(row):
    return tuple(str(row.get(name)) for name in KEY)


def latest(rows):
    """Of rows that measured the same, the last; and the ratios to peers that it did not ask."""
    found = {}
    for row in rows:
        former = found.get(key(row))
        if former and "us" in former and "us" in row:
            row = row | {"peers": former["peers"] | row["peers"]}
        found[key(row)] = row
    return list(found.values())


def share(text):
    """0.05 for "5%" or "0.05". Raises ValueError for what is neither."""
    try:
        value = float(text.rstrip("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise ValueError(f"[bench] margin: expected a share such as 5%, got {text!r}") from None
    if not 0 <= value < math.inf:
        raise ValueError(f"[bench] margin: expected at least 0, got {text!r}")
    return value


# ------------------------------------------------------------------ the page


def page(rows, folder, against=None, margin=0.05):
    """Write index.html and the plots into a folder; returns the path of the page."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    parts = [_head(rows)]
    for device in sorted({row["device"] for row in rows}):
        own = [row for row in rows if row["device"] == device]
        timed = [row for row in own if "us" in row]
        parts.append(f"<h1>{html.escape(device)}</h1>{_about(own)}")
        if timed:
            parts += _plots(timed, device, folder)
        parts.append(f"<h2>All rows</h2>{_table(timed)}")
        parts.append(_left_out("Refused, not timed", own, "refused"))
        parts.append(_left_out("Skipped", own, "skipped"))
    if against is not None:
        parts.insert(1, _comparison(compared(rows, against, margin), margin))
    path = folder / "index.html"
    path.write_text("\n".join([*parts, "</body></html>"]))
    return path


def _head(rows):
    title = f"pynn bench, {len(rows)} rows"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body>"
    )


def _about(rows):
    row = rows[-1]
    versions = ", ".join(f"{name} {version}" for name, version in row["versions"].items())
    dates = sorted(r["date"] for r in rows)
    words = f"{len(rows)} rows of commit {row['commit']}, {dates[0]} to {dates[-1]}; driver "
    words += f"{row['driver']}; {versions}"
    absent = {name: why for r in rows for name, why in r.get("absent", {}).items() if _lacks(why)}
    if absent:
        words += "; absent: " + ", ".join(f"{name} ({why})" for name, why in absent.items())
    busy = [r["others"] for r in rows if r.get("others") is not None]
    if busy and max(busy) > 0.3 and row["kind"] == "cpu":
        words += f"; other processes kept up to {max(busy):.1f} CPUs busy: take times as rough"
    return f'<p class="pale">{html.escape(words)}</p>'


def _lacks(why):
    return "not installed" in why or "sees no GPU" in why


def _plots(rows, device, folder):
    from bench import plots

    peaks = _peaks(rows)
    name = "".join(c if c.isalnum() else "-" for c in device.lower()).strip("-")
    made = [("Roofline", f"{name}-roofline.png")]
    plots.roofline(rows, peaks, folder / made[0][1])
    for family in plots.families_of(rows):
        own = [row for row in rows if row["family"] == family]
        peers = sorted({peer for row in own for peer in row["peers"]})
        for k in range(0, len(own) if peers else 0, 40):
            file = f"{name}-ratios-{family}{f'-{k // 40 + 1}' if k else ''}.png"
            plots.ratios(own[k : k + 40], folder / file, peers)
            made.append((f"{family}: beside its peers", file))
        swept = [row for row in own if row.get("labels", {}).get("n")]
        if len({row["labels"]["n"] for row in swept}) > 1:
            file = f"{name}-sweep-{family}.png"
            plots.sweep(swept, folder / file, swept[0]["bound"] == "matrix", peaks)
            made.append((f"{family}: over size", file))
    return [f"<h2>{html.escape(t)}</h2>{_image(folder / file, t)}" for t, file in made]


def _peaks(rows):
    """The limits that the rows were measured against; {} where they were not known."""
    limits = [row["limits"] for row in rows if row.get("limits")]
    if not limits:
        return {}
    matrix = {dtype: rate for limit in limits for dtype, rate in limit["matrix"].items()}
    return {"memory": max(limit["memory"] for limit in limits), "matrix": matrix}


def _image(path, words):
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{html.escape(words)}" src="data:image/png;base64,{data}">'


def _table(rows):
    peers = sorted({peer for row in rows for peer in row["peers"]})
    head = ["op", "pass", "shape", "dtype", "us", "p10 to p90", "GB/s", "TFLOP/s", "of peak"]
    head += [f"{peer} / pynn" for peer in peers] + ["error"]
    lines = [_cells(head, "th")]
    for row in rows:
        us = row["us"]
        cells = [row["op"], row["pass"], row["shape"], row["dtype"], f"{us['p50']:,.1f}"]
        cells += [f"{us['p10']:,.1f} to {us['p90']:,.1f}", f"{row['gb_s']:,.1f}"]
        cells += [f"{row['tflop_s']:.3g}"]
        cells += ["" if row["of_peak"] is None else f"{100 * row['of_peak']:.0f}%"]
        for peer in peers:
            ratio = row["peers"].get(peer, {}).get("speedup")
            cells.append("" if ratio is None else (f"{ratio:.2f}", "quick" if ratio > 1 else ""))
        cells.append(f"{row['error']:.1e}")
        lines.append(_cells(cells))
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _cells(cells, tag="td"):
    out = []
    for i, cell in enumerate(cells):
        text, kind = cell if isinstance(cell, tuple) else (cell, "word" if i < 4 else "")
        out.append(f'<{tag} class="{kind}">{html.escape(str(text))}</{tag}>')
    return f"<tr>{''.join(out)}</tr>"


def _left_out(title, rows, why):
    lines = [
        f"<li>{html.escape(' '.join([r['op'], r['pass'], r['shape'], r['dtype']]))}: "
        f'<span class="slow">{html.escape(r[why])}</span></li>'
        for r in rows
        if why in r
    ]
    return f"<h2>{title}</h2><ul>{''.join(lines)}</ul>" if lines else ""


def _comparison(entries, margin):
    head = ["op", "pass", "shape", "dtype", "us before", "us now", "now / before", ""]
    lines = [_cells(head, "th")]
    for row, base, ratio, verdict in entries:
        kind = {"slower": "slow", "faster": "quick", "": ""}[verdict]
        cells = [row["op"], row["pass"], row["shape"], row["dtype"]]
        cells += [f"{base['us']['p50']:,.1f}", f"{row['us']['p50']:,.1f}"]
        cells += [(f"{ratio:.3f}", kind), (verdict, kind)]
        lines.append(_cells(cells))
    count = sum(verdict == "slower" for *_, verdict in entries)
    return (
        f"<h1>Compared: {count} of {len(entries)} rows slower by more than {100 * margin:g}%</h1>"
        f'<div class="wide"><table>{"".join(lines)}</table></div>'
    )


def main(argv) -> int:
    """`python -m bench report`; 1 if a row is slower than before by more than the margin."""
    parser = argparse.ArgumentParser(prog="python -m bench report", description=__doc__)
    parser.add_argument("rows", nargs="+", metavar="ROWS", help="files of JSON lines")
    parser.add_argument("--out", metavar="FOLDER", help="where the page goes")
    parser.add_argument("--compare", metavar="BASE", action="append", help="rows of before")
    parser.add_argument(
        "--margin", default="5%", help="by which a row may be slower (default: 5%%)"
    )
    args = parser.parse_args(argv)
    margin = share(args.margin)
    rows = [row for row in latest(load(args.rows)) if "family" in row]
    if not rows:
        raise ValueError(f"[bench] report: expected rows in {', '.join(args.rows)}, got none")
    against = latest(load(args.compare)) if args.compare else None
    if args.out or against is None:
        folder = args.out or tempfile.mkdtemp(prefix="pynn-report-")
        print(page(rows, folder, against, margin))
    if against is None:
        return 0
    entries = compared(rows, against, margin)
    if not entries:
        raise ValueError("[bench] compare: expected rows that both files have, got none")
    for row, base, ratio, verdict in entries:
        if verdict:
            words = " ".join([row["op"], row["pass"], row["shape"], row["dtype"]])
            times = f"{base['us']['p50']:,.1f} to {row['us']['p50']:,.1f} us"
            print(f"{verdict:<8}{ratio:>7.3f}  {words}  {times}")
    slower = sum(verdict == "slower" for *_, verdict in entries)
    print(f"{len(entries)} rows compared, {slower} slower by more than {100 * margin:g}%")
    return 1 if slower else 0
