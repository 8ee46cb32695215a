"""Where the network looks on the films of anybody, as pictures."""

from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from threading import Lock

import cv2
import numpy as np
import torch

from btxrd import CLASSES
from btxrd.data.decoding import placement
from btxrd.data.films import ReadFilm, content_of, read_film
from btxrd.explain.gallery import overlay
from btxrd.explain.heat import find_map_layer, heat_maps
from btxrd.plots import GRAY, VERMILION
from btxrd.prediction.predictor import Prediction, Predictor
from btxrd.sheet import LINE, MARGIN, Sheet
from btxrd.training.trained import load_trained

LONG_SIDE = 720  # px of a film as it is shown
LEAST_WIDTH = 800  # px of a picture, so that its words fit


class Explainer:
    """Makes heat maps, one at a time, with a network of its own: Grad-CAM hangs hooks into it."""

    def __init__(self, predictor: Predictor):
        self.predictor = predictor
        self._trained = load_trained(predictor.checkpoint, predictor.trained.device)
        self._layer, self._lock = None, Lock()

    def heat(self, film: ReadFilm, label: str) -> tuple[np.ndarray, int]:
        """What speaks for a class, float32 (size, size), 0 to 1, and the cells of the map it is made from, a side."""
        with self._lock:
            if self._layer is None:
                self._layer = find_map_layer(self._trained.model, film.square)
            square = torch.from_numpy(film.square)[None, None].to(self._trained.device)
            heat = heat_maps(self._trained.model, self._layer, square, [CLASSES.index(label)])
            return heat[0], self._layer.cells


def as_shown(content: bytes, film: ReadFilm, heat: np.ndarray, resize: str) -> tuple[np.ndarray, np.ndarray]:
    """A film in its own shape, uint8 (H, W) with LONG_SIDE px, and the heat that lies on it, float32 (H, W)."""
    large = read_film(content, LONG_SIDE, "pad").square
    shown = _inside(large, film, LONG_SIDE, "pad")
    size = shown.shape[::-1]
    return shown, cv2.resize(_inside(heat, film, len(heat), resize), size, interpolation=cv2.INTER_LINEAR)


def _inside(square: np.ndarray, film: ReadFilm, size: int, resize: str) -> np.ndarray:
    place = placement(film.height, film.width, size, resize)
    return square[place.top : place.top + place.height, place.left : place.left + place.width]


class HeatMaps:
    """Draws a picture for each film into a folder: the film, and beside it the heat for the predicted class."""

    def __init__(self, predictor: Predictor, folder: Path, paths: Sequence[Path]):
        self._explainer, self._lock = Explainer(predictor), Lock()
        paths = list(dict.fromkeys(paths))  # one that was named twice is one film
        self._pictures = dict(zip(paths, _names(folder, paths), strict=True))

    def __call__(self, path: Path, film: ReadFilm, prediction: Prediction) -> None:
        """Draw the picture of a film."""
        predictor = self._explainer.predictor
        heat, cells = self._explainer.heat(film, prediction.predicted)
        shown, heat = as_shown(content_of(path), film, heat, predictor.resize)
        with self._lock:  # matplotlib draws for one thread at a time
            _draw(shown, heat, cells, prediction, predictor.footnote, self._pictures[path])


def _names(folder: Path, paths: Sequence[Path]) -> list[Path]:
    """`<stem>.png` for each film; where that is taken, `<stem>_2.png` and so on."""
    taken: dict[str, None] = {}  # in order
    for path in paths:
        numbered = (f"{path.stem}_{number}" for number in count(2))
        taken[next(name for name in chain([path.stem], numbered) if name not in taken)] = None
    return [folder / f"{name}.png" for name in taken]


def _draw(film: np.ndarray, heat: np.ndarray, cells: int, prediction: Prediction, note: str, target: Path) -> None:
    height, width = film.shape
    warnings = "; ".join(prediction.warnings)
    top = MARGIN + (3 if warnings else 2) * LINE + 8
    sheet = Sheet(max(2 * width + 3 * MARGIN, LEAST_WIDTH), top + height + 2 * LINE + 8)
    words = " · ".join(f"{name} {value:.2f}" for name, value in zip(CLASSES, prediction.probabilities, strict=True))
    sheet.words(f"predicted {prediction.predicted}", MARGIN, MARGIN, size=12, weight="bold")
    sheet.words(words, sheet.width - MARGIN, MARGIN + 3, ha="right")
    limits = f"Right: where something speaks for {prediction.predicted}, not why (Grad-CAM, {cells} × {cells} cells)"
    sheet.words(limits, MARGIN, MARGIN + LINE + 4, size=8, color=GRAY)
    sheet.words(warnings, MARGIN, MARGIN + 2 * LINE + 2, size=8, color=VERMILION)
    sheet.picture(film, MARGIN, top)
    sheet.picture(overlay(film, heat), 2 * MARGIN + width, top)
    sheet.save(target, note)
