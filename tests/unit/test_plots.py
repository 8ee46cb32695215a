import numpy as np
from PIL import Image

from btxrd.plots import draw_curves, plot_training_curves
from btxrd.training.history import make_row, save_training_log


def rows(number=5):
    return [
        make_row(e, 1 / e, 1.2 / e + 0.05 * (e - 3) ** 2, 0.5, np.array([0.9, 0.5, np.nan]), 1e-3)
        for e in range(1, number + 1)
    ]


def test_curves_are_drawn_from_the_log_alone(tmp_path):
    save_training_log(rows(), tmp_path / "log.csv")
    loss, recall = tmp_path / "loss.png", tmp_path / "recall.png"
    draw_curves(tmp_path / "log.csv", loss, recall, "stratified · SYNTHETIC phantoms")
    for path in (loss, recall):
        with Image.open(path) as picture:
            assert picture.size == (1200, 750)
            assert round(picture.info["dpi"][0]) == 150


def test_titles_name_what_is_shown(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    from btxrd import plots

    drawn: list[Figure] = []
    monkeypatch.setattr(plots, "save_with_note", lambda figure, path, note: drawn.append((figure, note)))
    plot_training_curves(rows(), tmp_path / "x.png", "center_holdout · a note")
    figure, note = drawn[0]
    loss, recall = figure.axes
    assert loss.get_title() == "Training and Validation Loss"
    assert [text.get_text() for text in recall.get_legend().get_texts()] == ["Normal", "Benign", "Malignant"]
    assert "best epoch: 4 (0.350)" in [text.get_text() for text in loss.get_legend().get_texts()]
    assert note == "center_holdout · a note"


def test_a_single_epoch_can_be_drawn(tmp_path):
    plot_training_curves(rows(1), tmp_path / "x.png", "stratified")
    assert (tmp_path / "x.png").stat().st_size > 10_000
