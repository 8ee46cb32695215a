"""Charts of the data: film size by class, and class by whatever could stand in for it."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from btxrd import CLASSES
from btxrd.audit.checks import small_hospitals
from btxrd.audit.outputs import CENTERS
from btxrd.plots import CLASS_STYLES, GRAY, save_with_note

WIDTH = 6.0  # inches; narrow, so that words stay legible on a small screen
BAR = 0.285  # inches a bar takes
HEADING = 1.35  # bars that the heading of a group takes
LEGIBLE = 0.06  # the least share whose number fits into its part of a bar
CROWD = 400  # films in a panel; more are drawn smaller
MOST_BARS = 8  # in a group; rarer values are one bar


def draw_sizes(images: pd.DataFrame, path: Path, note: str) -> None:
    """Width and height of each film by class, one panel a center; films of a hospital of small films are ringed."""
    figure = Figure(figsize=(WIDTH, 7.6))
    panels = figure.subplot_mosaic([["1", "1"], ["2", "3"]], height_ratios=(1.35, 1))
    limits = {"xlim": (0, 1.05 * images["width"].max()), "ylim": (0, 1.05 * images["height"].max())}
    small = small_hospitals(images)
    for center in CENTERS:
        films = images[images["center"] == center]
        axes = panels[str(center)]
        _draw_center(axes, films, [hospital for place, hospital in small if place == center])
        words = f"{len(films):,} films" if len(films) else "no film"
        axes.set(xlabel="width (px)", ylabel="height (px)", **limits)
        axes.set_title(f"Center {center}: {words}", loc="left", fontsize=11)
    panels["3"].set_ylabel("")
    figure.suptitle("Film Size by Class", x=0.5, fontsize=13)
    save_with_note(figure, path, note)


def _draw_center(axes: Axes, films: pd.DataFrame, ringed: Sequence[str]) -> None:
    crowded = len(films) > CROWD
    size, alpha, edge = (8, 0.5, 0.3) if crowded else (20, 0.6, 0.7)
    for name, (color, marker) in CLASS_STYLES.items():
        rows = films[films["label"] == name]
        if len(rows):
            label = f"{name}, {len(rows):,}"
            axes.scatter(rows["width"], rows["height"], s=size, c=color, marker=marker, alpha=alpha, lw=0, label=label)
    for name, (_, marker) in CLASS_STYLES.items():
        rows = films[films["hospital"].isin(ringed) & (films["label"] == name)]
        axes.scatter(
            rows["width"], rows["height"], s=size, facecolors="none", edgecolors="black", marker=marker, lw=edge
        )
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.tick_params(labelsize=9)
    handles = axes.get_legend_handles_labels()[0]
    handles += [_ring(f"hospital {hospital}, {(films['hospital'] == hospital).sum():,}") for hospital in ringed]
    if handles:
        axes.legend(handles=handles, frameon=False, fontsize=9, loc="lower right", markerscale=1.6 if crowded else 1)
    known = films.loc[films["hospital"] != "", "hospital"].unique()
    if len(known):
        axes.text(0.015, 0.98, _median_heights(films), transform=axes.transAxes, va="top", fontsize=9, color=GRAY)


def _ring(label: str) -> Line2D:
    return Line2D([], [], ls="", marker="o", markerfacecolor="none", markeredgecolor="black", ms=4, label=label)


def _median_heights(films: pd.DataFrame) -> str:
    medians = films.groupby("hospital")["height"].median().sort_index(ascending=False)
    lines = [f"{f'hospital {name}' if name else 'not known'}: {height:,.0f} px" for name, height in medians.items()]
    return "\n".join(["median height", *lines])


def draw_composition(images: pd.DataFrame, path: Path, note: str) -> None:
    """Class shares by center, hospital, sex, age, view and region as stacked bars, with the number of images."""
    groups = {title: counts for title, counts in _groups(images).items() if len(counts)}
    rows = sum(len(counts) + HEADING for counts in groups.values())
    figure = Figure(figsize=(WIDTH, BAR * rows + 1.3))
    axes = figure.subplots()
    ticks, row = {}, 0.0
    for title, counts in groups.items():
        row += HEADING
        axes.text(0, row - 0.62, title, va="bottom", fontsize=10, weight="bold")
        _draw_bars(axes, counts, row)
        ticks |= {row + number: name for number, name in enumerate(counts.index)}
        row += len(counts)
    axes.set(xlim=(0, 1), ylim=(row - 0.5, 0), xticks=[], title="Class Shares and Number of Images")
    axes.set_yticks(list(ticks), list(ticks.values()), fontsize=9.5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    handles = [Line2D([], [], ls="", marker="s", ms=9, color=CLASS_STYLES[name][0], label=name) for name in CLASSES]
    legend = {"loc": "center right", "bbox_to_anchor": (1.02, 1 - 0.35 / row), "ncols": 3, "frameon": False}
    axes.legend(handles=handles, handletextpad=0, columnspacing=1.2, fontsize=9, **legend)
    save_with_note(figure, path, note)


def _groups(images: pd.DataFrame) -> dict[str, pd.DataFrame]:
    named = images[images["hospital"] != ""]
    columns = {
        "Center": images["center"].astype(str), "Hospital": named["hospital"],
        "Sex": images["sex"].replace({"F": "female", "M": "male"}), "Age": images["age_band"],
        "View": images["view"].replace("", "none"), "Region": images["region"].replace("", "none"),
    }  # fmt: skip
    return {title: _counts(values, images.loc[values.index, "label"]) for title, values in columns.items()}


def _counts(values: pd.Series, labels: pd.Series) -> pd.DataFrame:
    counts = pd.crosstab(values.astype(str), labels).reindex(columns=CLASSES, fill_value=0)
    if len(counts) <= MOST_BARS:
        return counts
    order = counts.sum(axis=1).sort_values(ascending=False).index
    kept = counts.loc[counts.index.isin(order[: MOST_BARS - 1])]
    return pd.concat([kept, counts.drop(kept.index).sum().rename("others").to_frame().T])


def _draw_bars(axes: Axes, counts: pd.DataFrame, first_row: float) -> None:
    totals = counts.sum(axis=1)
    shares = counts.div(totals, axis=0)
    ends = shares.cumsum(axis=1)
    rows = [first_row + number for number in range(len(counts))]
    words = {"ha": "center", "va": "center_baseline", "fontsize": 8.5, "color": "white", "weight": "bold"}
    for name in CLASSES:
        axes.barh(rows, shares[name], left=ends[name] - shares[name], color=CLASS_STYLES[name][0], height=0.8, lw=0)
        for row, part, end in zip(rows, shares[name], ends[name], strict=True):
            if part >= LEGIBLE:
                axes.text(end - part / 2, row, f"{100 * part:.0f} %", **words)
    for row, total in zip(rows, totals, strict=True):
        axes.text(1.012, row, f"{total:,}", va="center_baseline", fontsize=9.5, color=GRAY)
