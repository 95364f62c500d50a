"""Pictures of a run as PNG files. matplotlib is imported for the first; no window opens."""

import io
import math
import os
from collections.abc import Sequence

import numpy as np

from pynn.train.files import replacing

BLUE, ORANGE, RED, GREY = "#2066a8", "#d9741a", "#b3242a", "#8a8a8a"
TEN = (
    "#1f77b4",
    "#ff7f0e",
    "#2ca02c",
    "#d62728",
    "#9467bd",
    "#8c564b",
    "#e377c2",
    "#7f7f7f",
    "#a8a814",
    "#17a2b8",
)  # colours of ten classes


def curves(path: str | os.PathLike, history: Sequence[dict], title: str = "") -> None:
    """Loss, metrics and, if it changes, the learning rate over the epochs: one panel for each.

    history  rows with "epoch", and for each figure x a column x, val_x or both
    """
    names = [n for n in history[0] if n not in ("epoch", "step", "seconds", "lr")]
    panels = list(dict.fromkeys(n.removeprefix("val_") for n in names))
    panels += ["lr"] if len({row["lr"] for row in history}) > 1 else []
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure, axes = figure_of(4.6 * columns, 3.4 * rows, rows, columns, title)
    epochs = [row["epoch"] for row in history]
    for axis, name in zip(axes, panels, strict=False):
        for column, label, color in (
            (name, "training", GREY),
            (f"val_{name}", "validation", BLUE),
        ):
            values = [row.get(column) for row in history]
            if any(v is not None for v in values):
                values = np.array([math.nan if v is None else v for v in values], float)
                marker = "o" if len(values) < 15 else ""
                axis.plot(epochs, values, color=color, label=label, marker=marker, ms=3.5)
        if name == "loss" and _spans_decades(axis):
            axis.set_yscale("log")
        axis.set_title({"lr": "learning rate"}.get(name, name), loc="left", fontsize=11)
        axis.set_xlabel("epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(color="#e6e6e6", lw=0.7)
        if len(axis.lines) > 1:
            axis.legend(frameon=False, fontsize=9)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    save(figure, path)


def _spans_decades(axis):
    values = np.concatenate([line.get_ydata() for line in axis.lines])
    values = values[np.isfinite(values)]
    return values.size > 0 and values.min() > 0 and values.max() / values.min() > 20


def confusion(
    path: str | os.PathLike, matrix: np.ndarray, classes: Sequence[str], title: str = ""
) -> None:
    """How many samples of each true class (row) were taken for each class (column).

    matrix  (C, C) counts; the diagonal is blue, mistakes are red, both darker for more
    """
    C = len(classes)
    size = min(max(4.2, 1.6 + 0.46 * C), 15.4)  # inches; that of 30 classes is the largest
    figure, (axis,) = figure_of(size + 0.3, size, 1, 1, title)
    right, wrong = np.diag(np.diag(matrix)), matrix * (1 - np.eye(C, dtype=matrix.dtype))
    for part, colors in ((right, "Blues"), (wrong, "Reds")):
        shown = np.ma.masked_equal(part, 0)
        axis.imshow(shown, cmap=colors, vmin=0, vmax=max(1, part.max()) * 1.3)
    if C <= 30:
        for true, taken in np.argwhere(matrix > 0):
            count = matrix[true, taken]
            dark = count > 0.6 * (right if true == taken else wrong).max()
            color = "white" if dark else "black"
            axis.text(taken, true, count, ha="center", va="center", color=color, fontsize=9)
    ticks = range(C) if C <= 30 else range(0, C, C // 10)
    longest = max(len(str(name)) for name in classes)
    axis.set_xticks(ticks, [classes[i] for i in ticks], rotation=90 if longest > 3 else 0)
    axis.set_yticks(ticks, [classes[i] for i in ticks])
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    axis.spines[:].set_visible(True)
    axis.tick_params(length=0)
    save(figure, path)


def mistakes(
    path: str | os.PathLike,
    images: np.ndarray,
    true: Sequence[str],
    predicted: Sequence[str],
    confidence: Sequence[float],
    title: str = "",
    most: int = 32,
    dark_ink: bool = False,
) -> None:
    """A sheet of images that were mistaken, those with the greatest confidence first.

    images  (N, H, W, C), C 1 or 3;  confidence (N,) probability of the predicted class;
    dark_ink shows bright pixels as dark ones, as writing looks on paper
    """
    order = np.argsort(-np.asarray(confidence), kind="stable")[:most]
    columns = min(8, max(4, len(order)))
    rows = max(1, math.ceil(len(order) / columns))
    texts = [f"read as {predicted[i]}, {100 * confidence[i]:.0f} %" for i in order]
    width = max(1.35, 0.075 * max(map(len, texts), default=0))  # inches of a column
    figure, axes = figure_of(width * columns, 1.85 * rows + 0.3, rows, columns, title)
    for axis in axes:
        axis.set_axis_off()
    for axis, text, i in zip(axes, texts, order, strict=False):
        cmap = "gray_r" if dark_ink else "gray"
        axis.imshow(_picture(images[i]), cmap=cmap, vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(f"is {true[i]}", fontsize=10, color="black", pad=16)
        axis.text(
            0.5,
            1.03,
            text,
            ha="center",
            va="bottom",
            transform=axis.transAxes,
            fontsize=8,
            color=RED,
        )
    if not len(order):
        figure.text(0.5, 0.4, "no mistakes", ha="center", fontsize=14, color=BLUE)
    save(figure, path)


def filters(path: str | os.PathLike, weight: np.ndarray, title: str = "") -> None:
    """The filters of a first convolution, each scaled by itself: red is positive, blue negative.

    weight  (K, R, S, C); with three channels the filter is shown in their colours, with any other
            number but one, the mean over the channels
    """
    weight = np.asarray(weight, np.float32)
    columns = min(8, len(weight))
    rows = math.ceil(len(weight) / columns)
    figure, axes = figure_of(1.1 * columns, 1.1 * rows + 0.4, rows, columns, title)
    for axis in axes:
        axis.set_axis_off()
    for axis, kernel in zip(axes, weight, strict=False):
        most = max(np.abs(kernel).max(), 1e-12)
        if kernel.shape[-1] == 3:
            axis.imshow(0.5 + kernel / (2 * most), interpolation="nearest")
        else:
            kernel = kernel.mean(axis=-1)
            most = max(np.abs(kernel).max(), 1e-12)
            axis.imshow(kernel, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
    save(figure, path)


def sheet(
    path: str | os.PathLike,
    images: np.ndarray,
    title: str = "",
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    cmap: str = "gray_r",
    size: float = 0.62,
) -> None:
    """A table of images without gaps, white 0 and black 1 unless `cmap` says otherwise.

    images         (R, C, H, W, 1) or (R, C, H, W, 3), values in 0..1
    rows, columns  labels, or none;  size  inches of an image
    """
    R, C = images.shape[:2]
    left = 0.1 + 0.11 * max(map(len, rows), default=0)
    figure, axes = figure_of(max(size * C + left, 3.4), size * R + 0.6, R, C, title)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    for i, axis in enumerate(axes):
        row, column = divmod(i, C)
        axis.imshow(_picture(images[row, column]), cmap=cmap, vmin=0, vmax=1)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set(visible=True, color="#dddddd", lw=0.5)
        if column == 0 and rows:
            words = {"rotation": 0, "ha": "right", "va": "center", "fontsize": 10}
            axis.set_ylabel(rows[row], **words)
        if row == 0 and columns:
            axis.set_title(columns[column], fontsize=10, pad=3)
    save(figure, path)


def scatter(
    path: str | os.PathLike, true: np.ndarray, predicted: dict[str, np.ndarray], title: str = ""
) -> None:
    """Predicted against true values, with the diagonal on which all points would ideally lie.

    true  (N,);  predicted  {label: (N,)}, the first drawn foremost
    """
    figure, (axis,) = figure_of(5.4, 5.2, 1, 1, title)
    everything = np.concatenate([true, *predicted.values()])
    low, high = everything.min(), everything.max()
    margin = 0.04 * (high - low or 1)
    ends = [low - margin, high + margin]
    axis.plot(ends, ends, color=GREY, lw=1, ls="--", label="predicted = true", zorder=1)
    styles = [(BLUE, "o", 3), (ORANGE, "x", 2), (GREY, "+", 2)]
    for (label, values), (color, marker, order) in zip(predicted.items(), styles, strict=False):
        axis.scatter(
            true, values, s=26, c=color, marker=marker, lw=1, alpha=0.8, label=label, zorder=order
        )
    axis.set_xlim(ends)
    axis.set_ylim(ends)
    axis.set_aspect("equal")
    axis.set_xlabel("true")
    axis.set_ylabel("predicted")
    axis.grid(color="#e6e6e6", lw=0.7)
    axis.legend(frameon=False, fontsize=9, loc="upper left")
    save(figure, path)


def _picture(image):
    return image[..., 0] if image.shape[-1] == 1 else np.clip(image, 0, 1)


def figure_of(width: float, height: float, rows: int, columns: int, title: str = ""):
    """A figure of width x height inches, and its rows x columns axes in reading order."""
    figure = figure_class()(
        figsize=(width, height), dpi=110, layout="constrained"
    )  # Agg is its canvas
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    if title:
        figure.suptitle(title, fontsize=12)
    return figure, axes


def figure_class() -> type:
    """matplotlib's Figure. Raises ImportError with the cure where there is none."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "[plots] expected matplotlib, got no such module: "
            'pip install "pynn-cuda[examples]", or train with --no-plots'
        ) from error
    return Figure


def save(figure, path: str | os.PathLike) -> None:
    """Write a figure as PNG, in the place of an older one."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    with replacing(path) as file:
        file.write(picture.getvalue())
