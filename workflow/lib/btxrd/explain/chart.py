"""Pointing game and energy of each group of tumours, against a random pixel and a centered blob."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator, PercentFormatter

from btxrd.plots import BLUE, GRAY, VERMILION, save_with_note
from btxrd.words import counted

PANELS = {
    "Pointing game: hottest pixel in the lesion": ("hit", "chance", "blob_hit"),
    "Energy: share of the heat in the lesion": ("energy", "chance", "blob_energy"),
}
HEADINGS = {"class": "Class", "lesion size": "Lesion's share of the film", "prediction": "Prediction"}
SPACE = 0.85  # rows that a heading takes
APART = 0.2  # rows that the network's mark stands above those of the baselines
PALE = 0.4  # how strongly a group of few images is drawn
STEP = 0.2  # the axis ends at a multiple of it
THIN = "\N{NARROW NO-BREAK SPACE}"
Group = Mapping[str, Any]


def draw_chart(groups: Sequence[Group], few: int, cells: int, path: Path, note: str) -> None:
    """Draw the groups of summarise, one row each; those of fewer than `few` images are pale.

    `cells` is how many the network's map has in each direction.
    """
    rows = _rows(groups)
    figure = Figure(figsize=(9.2, 6.2))
    figure.suptitle(
        f"Do the Heat Maps, {cells} × {cells} Cells, Lie on the Lesions?\n ", fontsize=13
    )  # the second line is the legend's
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (title, measures) in zip(panels, PANELS.items(), strict=True):
        for group, row in zip(groups, rows, strict=True):
            _draw_group(axes, row, [group["measures"][name] for name in measures], PALE if group["few"] else 1)
        axes.set(xlim=(-0.01, _end(groups)), ylim=(rows[-1] + 0.6, -0.6))
        _finish(axes, title)
    _name_rows(panels[0], groups, rows)
    legend = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.955), "ncols": 4, "frameon": False}
    figure.legend(handles=_legend(few), fontsize=9, handletextpad=0.5, columnspacing=1.8, **legend)
    save_with_note(figure, path, note)


def _rows(groups: Sequence[Group]) -> list[float]:
    """The height of each group's row, downward; the heading of a kind of group stands in the space above its first."""
    rows, row, before = [], 0.0, "all"
    for group in groups:
        row += SPACE if group["by"] != before else 0
        rows.append(row)
        row, before = row + 1, group["by"]
    return rows


def _end(groups: Sequence[Group]) -> float:
    """Where the axis ends: past everything drawn."""
    found = [values for group in groups for values in group["measures"].values() if values is not None]
    most = max((value for values in found for value in values.values() if value is not None), default=1)
    return min(1.0, STEP * math.ceil(most / STEP + 0.1)) + 0.01


def _draw_group(axes: Axes, row: float, measures: Sequence[Mapping[str, float | None] | None], strength: float) -> None:
    network, chance, blob = measures
    if network is None:
        axes.text(0, row - APART, "no outlined image", va="center_baseline", fontsize=9, color=GRAY)
        return
    style = {"alpha": strength, "clip_on": False}
    above, below = row - APART, row + APART
    if network["low"] is not None:
        axes.plot([network["low"], network["high"]], [above, above], color=BLUE, lw=2, **style)
    axes.plot(network["mean"], above, "o", color=BLUE, ms=6.5, **style)
    axes.plot(chance["mean"], below, "|", color="black", ms=9, mew=1.6, **style)
    axes.plot(blob["mean"], below, "D", color=VERMILION, mfc="none", ms=5.5, **style)


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10.5, loc="left")
    axes.xaxis.set_major_locator(MultipleLocator(STEP))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=f"{THIN}%"))
    axes.set_yticks([])
    axes.tick_params(labelsize=9)
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _name_rows(axes: Axes, groups: Sequence[Group], rows: Sequence[float]) -> None:
    place = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "center_baseline"}
    before = "all"
    for group, row in zip(groups, rows, strict=True):
        axes.text(-0.05, row - APART, group["group"], fontsize=9.5, **place)
        axes.text(-0.05, row + APART, _numbers(group), fontsize=8.5, color=GRAY, **place)
        if group["by"] != before:
            axes.text(-0.05, row - SPACE, HEADINGS[group["by"]], fontsize=9.5, weight="bold", **place)
        before = group["by"]


def _numbers(group: Group) -> str:
    return f"{counted(group['images'], 'image')}, {counted(group['cases'], 'case')}" if group["images"] else ""


def _legend(few: int) -> list[Line2D]:
    dots = {"ls": ""}
    return [
        Line2D([], [], color=BLUE, marker="o", ms=6.5, lw=2, label=f"network, 95{THIN}% interval over cases"),
        Line2D([], [], color="black", marker="|", ms=9, mew=1.6, label="random pixel, even map", **dots),
        Line2D([], [], color=VERMILION, mfc="none", marker="D", ms=5.5, label="centered blob", **dots),
        Line2D([], [], color=BLUE, marker="o", ms=6.5, alpha=PALE, label=f"pale: fewer than {few} images", **dots),
    ]
