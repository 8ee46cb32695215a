"""The curves of a training, from its rows alone; readable in print and for the colour-blind."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from btxrd import CLASSES
from btxrd.files import written_whole
from btxrd.training.history import RECALLS, Row, read_training_log

DPI = 150
BLUE, VERMILION, GREEN, GRAY = "#0072B2", "#D55E00", "#009E73", "#666666"  # Okabe and Ito's palette
CLASS_STYLES = dict(zip(CLASSES, ((GREEN, "o"), (BLUE, "s"), (VERMILION, "^")), strict=True))


def draw_curves(log_file: str | Path, loss_file: Path, recall_file: Path, note: str) -> None:
    """Draw loss_curve.png and recall_curve.png from training_log.csv, with `note` at the foot."""
    rows = read_training_log(log_file)
    plot_loss_curves(rows, loss_file, note)
    figure = Figure(figsize=(8, 5))
    _draw_recall(figure.subplots(), rows)
    save_with_note(figure, recall_file, note)


def plot_loss_curves(rows: Sequence[Row], path: str | Path, note: str = "") -> None:
    """Draw both losses over the epochs, the best epoch marked."""
    figure = Figure(figsize=(8, 5))
    _draw_losses(figure.subplots(), rows)
    save_with_note(figure, path, note)


def plot_training_curves(rows: Sequence[Row], path: str | Path, note: str) -> None:
    """Draw losses and recalls side by side; made anew after each epoch of a running training."""
    figure = Figure(figsize=(13, 5))
    left, right = figure.subplots(1, 2)
    _draw_losses(left, rows)
    _draw_recall(right, rows)
    save_with_note(figure, path, note)


def _draw_losses(axes: Axes, rows: Sequence[Row]) -> None:
    epochs = [row["epoch"] for row in rows]
    axes.plot(epochs, [row["train_loss"] for row in rows], color=BLUE, marker=".", label="training (weighted)")
    axes.plot(epochs, [row["val_loss"] for row in rows], color=VERMILION, marker=".", label="validation")
    best = _best(rows)
    label = f"best epoch: {best['epoch']:.0f} ({best['val_loss']:.3f})"
    axes.plot(best["epoch"], best["val_loss"], "*", color=VERMILION, markersize=15, zorder=3, label=label)
    axes.set(title="Training and Validation Loss", ylabel="cross-entropy", ylim=(0, None))
    _finish(axes, rows)


def _draw_recall(axes: Axes, rows: Sequence[Row]) -> None:
    for name, column in zip(CLASSES, RECALLS, strict=True):
        color, marker = CLASS_STYLES[name]
        values = [row[column] for row in rows]
        axes.plot([row["epoch"] for row in rows], values, color=color, marker=marker, markersize=4, label=name)
    axes.set(title="Validation Recall by Class", ylabel="recall", ylim=(-0.03, 1.03))
    _finish(axes, rows)


def _finish(axes: Axes, rows: Sequence[Row]) -> None:
    axes.axvline(_best(rows)["epoch"], color=GRAY, linestyle=":", linewidth=1, zorder=0)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)


def _best(rows: Sequence[Row]) -> Row:
    return min(rows, key=lambda row: row["val_loss"])


def save_with_note(figure: Figure, path: str | Path, note: str) -> None:
    """Write a figure with `note` at its foot."""
    height = figure.get_size_inches()[1]
    figure.text(0.99, 0.05 / height, note, ha="right", va="bottom", fontsize=8, color=GRAY)
    figure.tight_layout(rect=(0, 0.15 / height, 1, 1))
    save_figure(figure, path)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure, whole or not at all, in the format that its ending names."""
    ending = Path(path).suffix
    # A browser shows no page of a report above 1.5 MB, and the audit has ten sheets of films.
    options = {"pil_kwargs": {"quality": 60}} if ending == ".webp" else {}
    with written_whole(path) as temporary:
        FigureCanvasAgg(figure).print_figure(temporary, dpi=DPI, format=ending[1:], **options)
