"""A sheet per class: films that were called right and wrong, each beside itself with its heat map."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pandas as pd

from btxrd.data.cache import Cache
from btxrd.data.outlines import Outlines, on_cached_film
from btxrd.explain.measures import maximum
from btxrd.plots import CLASS_STYLES, GRAY, VERMILION
from btxrd.sheet import LINE, MARGIN, Sheet

RIGHT, SUREST, WRONG = "Right", "Wrong, most confident", "Wrong, others"
MOST = {RIGHT: 4, SUREST: 4, WRONG: 2}  # films in a section

FILM, GAP, GUTTER = 232, 4, 28  # px
PAIR = 2 * FILM + GAP
WIDTH = 2 * MARGIN + 2 * PAIR + GUTTER
ITEM = FILM + LINE + 14  # px from one row of films to the next
HEAD = MARGIN + 5 * LINE + 8
SECTION = 44  # px that the heading of a section takes
LEGEND_FILM = 90  # the gray that the legend's heat lies on

HEAT = matplotlib.colormaps["inferno"]  # gets brighter all the way: readable without seeing its hues
OPACITY = 0.75  # of the hottest pixel; what is cold stays film
OUTLINE, POINT = (86, 180, 233), (255, 255, 255)


@dataclass(frozen=True)
class Exhibits:
    """What the sheets show, by image id; films without an outline are in no `outlines`."""

    cache: Cache
    heat: Mapping[str, np.ndarray]
    outlines: Mapping[str, Outlines]
    cells: int  # of the network's map, in each direction


def choose_films(films: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Up to MOST films of each section, of the films of one class: no one picks them.

    `films` has the columns image_id, label, predicted and confidence, that of the predicted class.
    """
    films = films.sort_values("image_id")
    right = films["label"] == films["predicted"]
    by_confidence = films[~right].sort_values("confidence", ascending=False, kind="stable")
    surest = by_confidence.head(MOST[SUREST])
    others = films[~right].drop(surest.index)
    return {RIGHT: _spread(films[right], MOST[RIGHT]), SUREST: surest, WRONG: _spread(others, MOST[WRONG])}


def _spread(films: pd.DataFrame, most: int) -> pd.DataFrame:
    """Up to `most` films, spread evenly over the table."""
    return films.iloc[np.linspace(0, len(films) - 1, min(len(films), most)).round().astype(int)]


def draw_gallery(label: str, films: pd.DataFrame, exhibits: Exhibits, path: Path, note: str) -> None:
    """Draw the films that choose_films chooses of the films of a class."""
    sections = choose_films(films)
    sheet = Sheet(WIDTH, HEAD + sum(_height(rows) for rows in sections.values()) + LINE)
    _draw_head(sheet, label, len(films), exhibits.cells)
    right = int((films["label"] == films["predicted"]).sum())
    top = HEAD
    for title, rows in sections.items():
        _draw_section(sheet, title, rows, right if title == RIGHT else len(films) - right, exhibits, top)
        top += _height(rows)
    sheet.save(path, note)


def _draw_section(sheet: Sheet, title: str, rows: pd.DataFrame, of: int, exhibits: Exhibits, top: int) -> None:
    sheet.words(title, MARGIN, top, size=11, weight="bold")
    shown = f"{len(rows)} of {of:,}" if len(rows) else "none"
    sheet.words(shown, WIDTH - MARGIN, top + 2, color=GRAY, ha="right")
    for position, row in enumerate(rows.itertuples()):
        left = MARGIN + position % 2 * (PAIR + GUTTER)
        _draw_film(sheet, row, exhibits, left, top + SECTION + position // 2 * ITEM)


def _height(rows: pd.DataFrame) -> int:
    return SECTION + -(-len(rows) // 2) * ITEM + 8


def _draw_head(sheet: Sheet, label: str, number: int, cells: int) -> None:
    sheet.words("■", MARGIN, MARGIN, size=13, color=CLASS_STYLES[label][0])
    sheet.words(f"{label}: what the network looks at", MARGIN + 32, MARGIN, size=13, weight="bold")
    count = f"{number:,} test image{'s' if number != 1 else ''}" if number else "no test image"
    sheet.words(count, WIDTH - MARGIN, MARGIN + 4, size=10, color=GRAY, ha="right")
    words = f"Grad-CAM: where something speaks for {label}, not why; {cells} × {cells} cells, smoothed"
    sheet.words(words, MARGIN, MARGIN + LINE + 18, color=GRAY)
    _draw_legend(sheet, label, MARGIN + 2 * LINE + 22)


def _draw_legend(sheet: Sheet, label: str, top: int) -> None:
    sheet.words("no heat", MARGIN, top, color=GRAY)
    sheet.picture(_scale_of_heat(), MARGIN + 90, top + 4)
    sheet.words("most heat", MARGIN + 262, top, color=GRAY)
    sheet.picture(_sample_of_point(), MARGIN + 400, top)
    sheet.words("hottest pixel", MARGIN + 430, top, color=GRAY)
    if label != "Normal":
        sheet.picture(np.full((3, 28, 3), OUTLINE, np.uint8), MARGIN + 612, top + 10)
        sheet.words("outline of the lesion", MARGIN + 652, top, color=GRAY)


def _scale_of_heat() -> np.ndarray:
    heat = np.tile(np.linspace(0, 1, 160), (14, 1))
    return overlay(np.full(heat.shape, LEGEND_FILM, np.uint8), heat)


def _sample_of_point() -> np.ndarray:
    sample = np.full((21, 21, 3), LEGEND_FILM, np.uint8)
    return _with_point(sample, (10, 10))


def _draw_film(sheet: Sheet, row: tuple, exhibits: Exhibits, left: int, top: int) -> None:
    film = exhibits.cache.film_of(row.image_id)
    bare = _enlarged(film)
    sheet.picture(bare, left, top)
    heat = exhibits.heat[row.image_id]
    picture = overlay(bare, _enlarged(heat))
    scale = FILM / len(film)
    if row.image_id in exhibits.outlines:
        outlines = on_cached_film(exhibits.outlines[row.image_id], len(film), exhibits.cache.index["resize"])
        picture = _with_outlines(picture, [scale * polygon for polygon in outlines])
    place = maximum(heat)
    if place is not None:
        picture = _with_point(picture, tuple(round(scale * (pixel + 0.5)) for pixel in place))
    sheet.picture(picture, left + FILM + GAP, top)
    if place is None:
        backing = {"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 2}
        sheet.words("no heat", left + FILM + GAP + 8, top + 8, size=8, color="white", bbox=backing)
    _draw_caption(sheet, row, left, top + FILM + 5)


def _draw_caption(sheet: Sheet, row: tuple, left: int, top: int) -> None:
    sheet.words(row.image_id, left, top, size=8)
    sheet.words(row.label, left + FILM, top, size=8, color=CLASS_STYLES[row.label][0], ha="right")
    style = {"color": GRAY} if row.predicted == row.label else {"color": VERMILION}
    predicted = f"predicted {row.predicted} {row.confidence:.2f}"
    sheet.words(predicted, left + PAIR, top, size=8, ha="right", **style)


def _enlarged(picture: np.ndarray) -> np.ndarray:
    """A film or a heat map, (size, size), as (FILM, FILM)."""
    method = cv2.INTER_AREA if len(picture) > FILM else cv2.INTER_LINEAR
    return cv2.resize(picture, (FILM, FILM), interpolation=method)


def overlay(film: np.ndarray, heat: np.ndarray, hottest: float = OPACITY) -> np.ndarray:
    """A gray film with heat over it, uint8 (height, width, 3); the colder, the more of the film is seen.

    `hottest` is the opacity of the hottest pixel.
    """
    opacity = hottest * heat[:, :, None]
    colors = 255 * HEAT(heat)[:, :, :3]
    return (opacity * colors + (1 - opacity) * film[:, :, None]).round().astype(np.uint8)


def _with_outlines(picture: np.ndarray, polygons: list[np.ndarray]) -> np.ndarray:
    subpixels = 4  # bits
    # A coordinate names a corner of a pixel, to OpenCV its middle.
    corners = [np.round((polygon - 0.5) * 2**subpixels).astype(np.int32) for polygon in polygons]
    return cv2.polylines(picture.copy(), corners, True, OUTLINE, 2, cv2.LINE_AA, subpixels)


def _with_point(picture: np.ndarray, place: tuple[int, int]) -> np.ndarray:
    """A ring around a row and column."""
    center = place[::-1]
    ringed = cv2.circle(picture.copy(), center, 7, (0, 0, 0), 4, cv2.LINE_AA)
    return cv2.circle(ringed, center, 7, POINT, 2, cv2.LINE_AA)
