"""The splits side by side, with what needs no pixels and with what was published."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from btxrd import CLASSES
from btxrd.evaluation.bootstrap import bootstrap, interval
from btxrd.evaluation.judgement import ends
from btxrd.files import written_whole
from btxrd.pages import data_uri, write_page
from btxrd.plots import BLUE, GRAY, GREEN, VERMILION, save_with_note

log = logging.getLogger("btxrd")

METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "macro_auc": "macro AUC",
    "Malignant.sensitivity": "Malignant recall",
}
DRAWN = ("accuracy", "macro_f1", "macro_auc", "Malignant.sensitivity")
GAP = ("center_holdout", "stratified")
PUBLISHED = Path(__file__).with_name("published.yaml")
KINDS = {"network": BLUE, "gap": VERMILION, "no pixels": GREEN, "published": GRAY}
Value = dict[str, Any]  # value, low, high; of a network with several seeds also mean and sd


@dataclass
class Line:
    """A row of the comparison."""

    kind: str  # one of KINDS
    name: str
    about: str
    images: int | None = None
    cases: int | None = None
    seeds: int | None = None
    metrics: dict[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class SplitResults:
    """Where the results of a split lie: its folder, and those of its further seeds."""

    name: str
    folder: Path
    further: Sequence[Path]
    caveats: Sequence[str]


def compare(splits: Sequence[SplitResults], synthetic: bool, note: str, csv: Path, page: Path, picture: Path) -> None:
    """Write the comparison of all splits as a table, a page and a picture."""
    lines = [_line_of_split(split) for split in splits]
    lines += _gap({split.name: split for split in splits})
    lines += [line for split in splits for line in _lines_of_baselines(split)]
    lines += _published()
    with written_whole(csv) as temporary:
        pd.DataFrame([_flat(line) for line in lines]).to_csv(temporary, index=False, float_format="%.6f")
    _draw(lines, picture, note)
    write_page(
        "comparison.html.j2",
        page,
        synthetic=synthetic,
        picture=data_uri(picture),
        columns=list(METRICS.values()),
        groups=[(kind, [_shown_line(line) for line in lines if line.kind == kind]) for kind in KINDS],
    )
    for line in lines:
        if line.kind in ("network", "gap"):
            log.info(
                "%s: %s", line.name, "; ".join(f"{METRICS[name]} {', '.join(_shown(line, name))}" for name in METRICS)
            )


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _line_of_split(split: SplitResults) -> Line:
    test = _read(split.folder / "metrics.json")["partitions"]["test"]
    further = [_read(folder / "metrics.json")["partitions"]["test"] for folder in split.further]
    line = Line("network", split.name, "; ".join(split.caveats), test["images"], test["cases"], 1 + len(further))
    for name in METRICS:
        line.metrics[name] = _value(test["metrics"][name])
        by_seed = [run["metrics"][name]["value"] for run in (test, *further)]
        if further and None not in by_seed:
            line.metrics[name] |= {"mean": float(np.mean(by_seed)), "sd": float(np.std(by_seed, ddof=1))}
    return line


def _value(judged: Mapping[str, Any]) -> Value:
    low, high = ends(judged) or (None, None)
    return {"value": judged["value"], "low": low, "high": high}


def _gap(splits: Mapping[str, SplitResults]) -> Iterator[Line]:
    """How much worse the held-out centers are, with an interval over the cases of both test partitions.

    The two are taken for independent. They share held-out cases, so the interval is, if anything, too wide.
    """
    if not all(name in splits for name in GAP):
        return
    tests = [_test_predictions(splits[name].folder) for name in GAP]
    drawn = [bootstrap(labels, probabilities, cases, seed) for seed, (labels, probabilities, cases) in enumerate(tests)]
    judged = [_read(splits[name].folder / "metrics.json")["partitions"]["test"]["metrics"] for name in GAP]
    line = Line("gap", " − ".join(GAP), "below 0: worse on centers never seen")
    for name in METRICS:
        values = [metrics[name]["value"] for metrics in judged]
        if None not in values:
            low, high = interval(drawn[0][name] - drawn[1][name]) or (None, None)
            line.metrics[name] = {"value": values[0] - values[1], "low": low, "high": high}
    yield line


def _test_predictions(folder: Path) -> tuple[np.ndarray, np.ndarray, pd.Series]:
    rows = pd.read_csv(folder / "predictions.csv", dtype={"case_id": str})
    rows = rows[rows["partition"] == "test"]
    probabilities = rows[[f"probability_{name.lower()}" for name in CLASSES]].to_numpy()
    return rows["label"].map(CLASSES.index).to_numpy(), probabilities, rows["case_id"]


def _lines_of_baselines(split: SplitResults) -> Iterator[Line]:
    for name, found in _read(split.folder / "baselines.json")["baselines"].items():
        line = Line("no pixels", f"{split.name}: {name}", ", ".join(found["features"]))
        line.metrics = {metric: _value(found["test"][metric]) for metric in METRICS}
        yield line


def _published() -> Iterator[Line]:
    for entry in yaml.safe_load(PUBLISHED.read_text(encoding="utf-8")):
        line = Line("published", f"{entry['who']}; {entry['protocol']}", entry["caveat"])
        for name in METRICS:
            if name in entry:
                value, low, high = (*entry[name], None, None)[:3]
                line.metrics[name] = {"value": value, "low": low, "high": high}
        yield line


def _flat(line: Line) -> dict[str, Any]:
    row = {"kind": line.kind, "name": line.name, "about": line.about, "images": line.images, "cases": line.cases}
    row["seeds"] = line.seeds
    for name in METRICS:
        for part in ("value", "low", "high", "mean", "sd"):
            row[f"{name}.{part}"] = line.metrics.get(name, {}).get(part)
    return row


def _shown_line(line: Line) -> dict[str, Any]:
    cells = [_shown(line, name) for name in METRICS]
    return {"name": line.name, "about": line.about, "images": line.images, "cases": line.cases, "cells": cells}


def _shown(line: Line, name: str) -> list[str]:
    """The value, its interval, and mean and deviation of several seeds, as far as they are known."""
    value = line.metrics.get(name, {})
    if value.get("value") is None:
        return ["–"]
    sign = "+" if line.kind == "gap" else ""
    texts = [f"{value['value']:{sign}.3f}"]
    if value["low"] is not None:
        texts.append(f"{value['low']:{sign}.3f} to {value['high']:{sign}.3f}")
    if "mean" in value:
        texts.append(f"{line.seeds} seeds: {value['mean']:.3f} ± {value['sd']:.3f}")
    return texts


def _draw(lines: Sequence[Line], path: Path, note: str) -> None:
    shown = [line for line in lines if line.kind != "gap"]
    figure = Figure(figsize=(11, 1.6 + 0.3 * len(shown)))
    panels = figure.subplots(1, len(DRAWN), sharey=True)
    for axes, name in zip(panels, DRAWN, strict=True):
        _draw_metric(axes, shown, name)
    panels[0].set_yticks(range(len(shown)), [line.name for line in shown], fontsize=9)
    panels[0].invert_yaxis()
    for kind, color in KINDS.items():
        if any(line.kind == kind for line in shown):
            panels[0].plot([], [], "o", color=color, label=kind)
    figure.suptitle("Test Results, 95 % Intervals over Cases")
    figure.legend(frameon=False, ncols=len(KINDS), loc="lower left", fontsize=9)
    save_with_note(figure, path, note)


def _draw_metric(axes: Axes, lines: Sequence[Line], name: str) -> None:
    for row, line in enumerate(lines):
        value = line.metrics.get(name, {})
        if value.get("value") is None:
            continue
        color = KINDS[line.kind]
        if value["low"] is not None:
            axes.plot([value["low"], value["high"]], [row, row], color=color, linewidth=2, alpha=0.6)
        axes.plot(value["value"], row, "o", color=color, markersize=5)
    axes.set(title=METRICS[name], xlim=(-0.02, 1.02))
    axes.title.set_fontsize(10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25)
    axes.tick_params(axis="x", labelsize=8)
