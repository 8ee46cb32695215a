"""Sheets of films and words at exact pixels, so that no film is resampled twice."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from btxrd.plots import DPI, GRAY, save_figure

LINE = 26  # px from one line of words to the next
MARGIN = 16  # px
INK = "#222222"


class Sheet:
    """A white sheet of `width` × `height` px; places are counted from its top left."""

    def __init__(self, width: int, height: int):
        self.width, self.height = width, height
        self.canvas = np.full((height, width, 3), 255, np.uint8)
        self.figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)

    def picture(self, picture: np.ndarray, left: int, top: int) -> None:
        """Put a picture there, uint8 (height, width) or (height, width, 3)."""
        height, width = picture.shape[:2]
        colored = picture if picture.ndim == 3 else picture[:, :, None]
        self.canvas[top : top + height, left : left + width] = colored

    def words(self, text: str, left: float, top: float, size: float = 9, color: str = INK, **style: Any) -> None:
        """Put a line of words there; `top` is its upper edge."""
        place = left / self.width, 1 - top / self.height
        self.figure.text(*place, text, fontsize=size, color=color, va="top", **style)

    def save(self, path: Path, note: str) -> None:
        """Write the sheet with `note` at its foot."""
        self.words(note, self.width - MARGIN, self.height - LINE, size=7.5, color=GRAY, ha="right")
        self.figure.figimage(self.canvas, origin="upper")
        save_figure(self.figure, path)
