"""Rows of a bench as lines of text."""

from bench import device as devices

_COLUMNS = (
    f"{'op':<22}{'pass':<9}{'shape':<24}{'dtype':<9}{'us':>11}{'+-%':>5}{'GB/s':>8}{'TFLOP/s':>9}"
    f"{'peak':>6}{'others':>7}  peer's time / pynn's"
)


def head(device, found, absent):
    """Two lines on what runs where, and the names of the columns."""
    about = devices.facts(device)
    lines = [
        f"{about['device']}, {about['cores']} cores, last cache {about['cache'] >> 20} MiB",
        f"peers: {', '.join(found) or 'none'}"
        + "".join(f"; no {name}: {why}" for name, why in absent.items()),
        _COLUMNS + (" (the fastest calls')" if device == "cpu" else ""),
    ]
    return "\n".join(lines)


def line(row):
    """A row; one that was refused says why."""
    short = {"float32": "f32", "float16": "f16", "bfloat16": "bf16", "float64": "f64"}
    start = f"{row['op']:<22}{row['pass']:<9}{row['shape']:<24}"
    start += f"{short.get(row['dtype'], row['dtype']):<9}"
    if "refused" in row:
        return f"{start}REFUSED  {row['refused']}"
    if "skipped" in row:
        return f"{start}skipped  {row['skipped']}"
    us, of_peak = row["us"], row["of_peak"]
    spread = 50 * (us["p90"] - us["p10"]) / us["p50"]
    share = "-" if of_peak is None else f"{100 * of_peak:.0f}%"
    peers = "  ".join(
        f"{name} {peer['speedup']:.2f}"
        + ("" if row["kind"] == "cuda" else f" ({peer['speedup_fastest']:.2f})")
        for name, peer in row["peers"].items()
    )
    failed = [name for name, why in row["absent"].items() if why.startswith(("failed", "refused"))]
    peers += "".join(f"  {name} failed" for name in failed)
    return (
        f"{start}{us['p50']:>11,.1f}{spread:>5.0f}{row['gb_s']:>8,.1f}{row['tflop_s']:>9.3f}"
        f"{share:>6}{_others(row):>7}  {peers}{'' if row['cold'] else '  in cache'}"
        f"{'  partly by the reference' if row.get('fallbacks') else ''}"
    )


def _others(row):
    """How many CPUs other processes kept busy: much more than 0 makes a row worthless."""
    return "-" if row.get("others") is None else f"{row['others']:.1f}"
