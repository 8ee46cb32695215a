"""Pictures of an evaluation, in the style of plots.py: readable in print and for the colour-blind."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from btxrd import CLASSES
from btxrd.evaluation.calibration import reliability
from btxrd.evaluation.judgement import shown
from btxrd.plots import BLUE, CLASS_STYLES, GRAY, VERMILION, save_with_note

SIDE = (6.2, 5.6)  # inches
POINT_MARKERS = {"youden": "*", "sensitivity_0.90": "D", "specificity_0.90": "P"}


def draw_confusion(confusion: np.ndarray, path: Path, note: str) -> None:
    """Counts and row shares; `confusion` has shape (3, 3), rows are the classes, columns what they were called."""
    figure = Figure(figsize=SIDE)
    axes = figure.subplots()
    rows = confusion.sum(axis=1, keepdims=True)
    shares = np.divide(confusion, rows, out=np.zeros(confusion.shape), where=rows > 0)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(confusion):
        share = f"{100 * shares[row, column]:.0f}\N{NO-BREAK SPACE}%" if rows[row] else "–"
        color = "white" if shares[row, column] > 0.55 else "black"
        axes.text(column, row, f"{count}\n{share}", ha="center", va="center", color=color, fontsize=14)
    numbers = range(len(CLASSES))
    axes.set_xticks(numbers, CLASSES)
    axes.set_yticks(numbers, [f"{name}\n(n={rows[number, 0]})" for number, name in enumerate(CLASSES)])
    axes.set(title="Confusion Matrix on Test", xlabel="predicted", ylabel="label")
    axes.spines[:].set_visible(False)
    save_with_note(figure, path, note)


def draw_roc(
    labels: np.ndarray,
    probabilities: np.ndarray,
    metrics: Mapping[str, Any],
    thresholds: Mapping[str, float | None],
    path: Path,
    note: str,
) -> None:
    """Each class against the rest, and where the thresholds of val for Malignant lie on test."""
    figure = Figure(figsize=SIDE)
    axes = figure.subplots()
    for number, name in enumerate(CLASSES):
        if metrics[f"{name}.auc"]["value"] is None:
            continue
        false_positives, hits, _ = roc_curve(labels == number, probabilities[:, number])
        axes.plot(
            false_positives, hits, color=CLASS_STYLES[name][0], label=f"{name}  {shown(metrics[f'{name}.auc'], 2)}"
        )
    _mark_thresholds(axes, labels, probabilities, thresholds)
    axes.plot([0, 1], [0, 1], color=GRAY, linestyle=":", linewidth=1)
    axes.set(title="ROC, One Class against the Rest, on Test", xlabel="1 - specificity", ylabel="sensitivity")
    _finish(axes, "AUC (95 % over cases)", "lower right")
    save_with_note(figure, path, note)


def _mark_thresholds(
    axes: Axes, labels: np.ndarray, probabilities: np.ndarray, thresholds: Mapping[str, float | None]
) -> None:
    malignant = CLASSES.index("Malignant")
    is_malignant = labels == malignant
    if not 0 < is_malignant.sum() < len(labels):
        return
    for name, threshold in thresholds.items():
        if threshold is not None:
            called = probabilities[:, malignant] >= threshold
            point = called[~is_malignant].mean(), called[is_malignant].mean()
            label = f"{name.replace('_', ' ≥ ')}, from val"
            axes.plot(*point, POINT_MARKERS[name], color=VERMILION, markersize=10, mec="white", label=label)


def draw_precision_recall(
    labels: np.ndarray, probabilities: np.ndarray, metrics: Mapping[str, Any], path: Path, note: str
) -> None:
    """Each class against the rest; dotted: the precision of a guess, the share of the class."""
    figure = Figure(figsize=SIDE)
    axes = figure.subplots()
    for number, name in enumerate(CLASSES):
        judged = metrics[f"{name}.average_precision"]
        if judged["value"] is None:
            continue
        precision, recall, _ = precision_recall_curve(labels == number, probabilities[:, number])
        color = CLASS_STYLES[name][0]
        axes.plot(recall, precision, color=color, drawstyle="steps-post", label=f"{name}  {shown(judged, 2)}")
        axes.axhline((labels == number).mean(), color=color, linestyle=":", linewidth=1)
    axes.set(title="Precision and Recall on Test", xlabel="recall (sensitivity)", ylabel="precision (PPV)")
    _finish(axes, "average precision (95 % over cases)", "lower left")
    save_with_note(figure, path, note)


def draw_calibration(
    labels: np.ndarray,
    probabilities: np.ndarray,
    calibrated: np.ndarray,
    scores: Mapping[str, Mapping[str, float]],
    path: Path,
    note: str,
) -> None:
    """Accuracy by confidence, before and after the temperature; a larger mark stands for more images."""
    figure = Figure(figsize=SIDE)
    axes = figure.subplots()
    for values, name, when, color, marker in (
        (probabilities, "as trained", "before", VERMILION, "s"),
        (calibrated, "with temperature", "after", BLUE, "o"),
    ):
        count, confidence, accuracy = reliability(values, labels)
        label = f"{name}: ECE {scores[when]['ece']:.3f}, NLL {scores[when]['nll']:.3f}"
        axes.plot(confidence, accuracy, color=color, linewidth=1, alpha=0.6)
        axes.scatter(confidence, accuracy, s=20 + 400 * count / len(labels), color=color, marker=marker, alpha=0.7)
        axes.plot([], [], marker, color=color, label=label)
    axes.plot([0, 1], [0, 1], color=GRAY, linestyle=":", linewidth=1)
    axes.set(title="Calibration on Test", xlabel="confidence", ylabel="accuracy")
    _finish(axes, None, "upper left")
    save_with_note(figure, path, note)


def _finish(axes: Axes, legend_title: str | None, place: str) -> None:
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc=place, title=legend_title, alignment="left")
