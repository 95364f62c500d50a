"""Plots of rows, by matplotlib without a display: a roofline, ratios to peers, sweeps over size."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import LogLocator, NullFormatter  # noqa: E402

INK, PALE, GRID = "#1f2933", "#7b8794", "#e4e7eb"
COLOURS = ["#1f6feb", "#d9480f", "#2b8a3e", "#862e9c", "#b08900", "#0b7285", "#c2255c", "#495057"]
COLOURS += ["#74b816", "#f76707", "#3b5bdb", "#099268"]
PLATE = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
MARKERS = "osD^vP*X<>hd"


def styled(width, height, title):
    figure, axes = plt.subplots(figsize=(width, height), dpi=110, layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9)
    axes.set_title(title, fontsize=9.5, color=INK, loc="left")
    return figure, axes


def rate_unit(rows):
    """("TFLOP/s", 1), or, where the fastest is below a tenth of one, ("GFLOP/s", 1000)."""
    fast = max(row["tflop_s"] for row in rows) >= 0.2
    return ("TFLOP/s", 1) if fast else ("GFLOP/s", 1000)


def families_of(rows):
    return sorted({row["family"] for row in rows})


def roofline(rows, peaks, path):
    """Every kernel by FLOPs a byte and FLOP/s, under the roofs of the device."""
    figure, axes = styled(9, 5.4, rows[0]["device"])
    rows = [row for row in rows if row["flops"] and row["bytes"]]
    unit, scale = rate_unit(rows)
    for i, family in enumerate(families_of(rows)):
        own = [row for row in rows if row["family"] == family]
        axes.scatter(
            [row["flops"] / row["bytes"] for row in own],
            [scale * row["tflop_s"] for row in own],
            s=70 if MARKERS[i % len(MARKERS)] in "*P" else 40,
            marker=MARKERS[i % len(MARKERS)],
            color=COLOURS[i % len(COLOURS)],
            edgecolor="white",
            linewidth=0.6,
            alpha=0.85,
            label=family,
            zorder=3,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    if peaks:
        low, high = axes.get_xlim()
        _roofs(axes, peaks, low, high, {row["dtype"] for row in rows}, unit, scale)
    axes.set_xlabel("FLOPs a byte, by the formulae")
    axes.set_ylabel(unit)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path)
    plt.close(figure)


def _roofs(axes, peaks, low, high, types, unit, scale):
    memory = scale * peaks["memory"] / 1e12
    matrix = {t: scale * r / 1e12 for t, r in peaks["matrix"].items() if t in types}
    top = max(matrix.values(), default=None)
    corner = high if top is None else min(high, top / memory)
    axes.plot([low, corner], [memory * low, memory * corner], color=INK, linewidth=1.3, zorder=2)
    middle = (low * corner) ** 0.5
    axes.text(
        middle,
        1.25 * memory * middle,
        f"memory {peaks['memory'] / 1e9:,.0f} GB/s",
        fontsize=8,
        ha="right",
        va="bottom",
        color=INK,
    )
    for dtype, rate in matrix.items():
        axes.hlines(rate, rate / memory, high, color=INK, linewidth=1.3)
        at = {"ha": "right", "va": "bottom", "bbox": PLATE, "zorder": 4}
        text = f"matrix {dtype} {rate:,.3g} {unit}"
        axes.text(high, 1.06 * rate, text, fontsize=8, color=INK, **at)
    axes.set_xlim(low, high)


def ratios(rows, path, peers, most=40):
    """For each row, its peers' times over pynn's: right of 1 pynn is faster."""
    rows = [row for row in rows if any(name in row["peers"] for name in peers)][:most]
    title = f"{rows[0]['device']}: {rows[0]['family']}"
    figure, axes = styled(9, 1.2 + 0.19 * len(rows) * max(1, len(peers)), title)
    height = 0.8 / len(peers)
    for k, peer in enumerate(peers):
        at = [i + k * height for i, row in enumerate(rows) if peer in row["peers"]]
        values = [row["peers"][peer]["speedup"] for row in rows if peer in row["peers"]]
        widths = [value - 1 for value in values]
        colour = COLOURS[k % len(COLOURS)]
        axes.barh(at, widths, height * 0.9, left=1, align="edge", color=colour, label=peer)
        for y, value in zip(at, values, strict=True):
            side = "left" if value >= 1 else "right"
            text = f" {value:.2f} "
            axes.text(value, y + height / 2, text, fontsize=7, va="center", ha=side, color=INK)
    axes.axvline(1, color=INK, linewidth=1.2)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(min(low / 1.4, 0.5), max(high * 1.4, 2))
    axes.xaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks([i + 0.4 for i in range(len(rows))], [label(row) for row in rows], fontsize=7.5)
    axes.invert_yaxis()
    axes.set_ylim(len(rows), -0.3)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("the peer's time / pynn's; right of the line pynn is faster")
    axes.legend(fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4)
    figure.savefig(path)
    plt.close(figure)


def label(row):
    return f"{row['op']} {row['pass']}  {row['shape']}  {row['dtype']}"


def sweep(rows, path, matrix, peaks):
    """Rate over size: a line for each op and pass, dashed for PyTorch, and the measured limit."""
    figure, axes = styled(9, 4.6, f"{rows[0]['device']}: {rows[0]['family']}")
    unit, scale = rate_unit(rows) if matrix else ("GB/s", 1)
    key = "tflop_s" if matrix else "gb_s"
    lines = {}
    for row in rows:
        lines.setdefault((row["op"], row["pass"], row["dtype"]), []).append(row)
    for i, ((op, direction, dtype), own) in enumerate(sorted(lines.items())):
        own = sorted(own, key=lambda row: row["labels"]["n"])
        colour, x = COLOURS[i % len(COLOURS)], [row["labels"]["n"] for row in own]
        rates = [scale * row[key] for row in own]
        text = f"{op} {direction} {dtype}"
        axes.plot(x, rates, "o-", color=colour, markersize=4, label=text)
        torch = [row["peers"].get("torch", {}).get("speedup") for row in own]
        y = [rate / ratio if ratio else None for rate, ratio in zip(rates, torch, strict=True)]
        if any(y):
            axes.plot(x, y, "x--", color=colour, markersize=4, linewidth=0.9, alpha=0.7)
    for name, limit in _limits(peaks, rows, matrix).items():
        axes.axhline(scale * limit, color=INK, linewidth=1.1, linestyle=":")
        at = {"fontsize": 8, "color": PALE, "ha": "right", "va": "bottom"}
        axes.text(1.0, scale * limit, name, transform=axes.get_yaxis_transform(), **at)
    sizes = sorted({row["labels"]["n"] for row in rows})
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{n:,}" for n in sizes], fontsize=8, rotation=30 * (len(sizes) > 6))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(bottom=0)
    axes.set_xlabel("n" if matrix else "elements of a row")
    axes.set_ylabel(unit)
    axes.set_title("crosses: PyTorch eager", fontsize=9, color=PALE, loc="right")
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path)
    plt.close(figure)


def _limits(peaks, rows, matrix):
    """{words: limit} that the rows may reach, in the unit of their rates."""
    if not peaks:
        return {}
    if not matrix:
        return {"measured peak of memory": peaks["memory"] / 1e9}
    types = {row["dtype"] for row in rows}
    return {f"peak {t}": r / 1e12 for t, r in peaks["matrix"].items() if t in types}
