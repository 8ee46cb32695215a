"""Sheets of films: a look at each class of each center, and at the films that are one exposure."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from btxrd.audit.evidence import Evidence
from btxrd.data.cache import Cache
from btxrd.data.duplicates import CONFIRMED
from btxrd.plots import CLASS_STYLES, GRAY, VERMILION
from btxrd.sheet import LINE, MARGIN, Sheet
from btxrd.words import counted

FILM, GAP = 200, 10  # px
COLUMNS, MOST_FILMS = 4, 20  # of a contact sheet
MOST_PAIRS, MOST_HASH_PAIRS = 8, 4
LABEL_INDENT = 106  # px that an id takes
SHEET_WIDTH = 2 * MARGIN + COLUMNS * FILM + (COLUMNS - 1) * GAP


def _put_film(sheet: Sheet, cache: Cache, image_id: str, left: int, top: int) -> None:
    """Put a film there, as the cache holds it."""
    film = cache.film_of(image_id)
    method = cv2.INTER_AREA if len(film) > FILM else cv2.INTER_CUBIC
    sheet.picture(cv2.resize(film, (FILM, FILM), interpolation=method), left, top)


def draw_contact_sheet(evidence: Evidence, label: str, center: int, path: Path, note: str) -> None:
    """Up to MOST_FILMS films of a class and center, spread evenly over the sorted ids, as a model sees them."""
    images = evidence.images
    films = images[(images["label"] == label) & (images["center"] == center)].sort_values("image_id")
    chosen = films.iloc[np.linspace(0, len(films) - 1, min(len(films), MOST_FILMS)).round().astype(int)]
    rows = -(-len(chosen) // COLUMNS)
    top = MARGIN + 2 * LINE
    sheet = Sheet(SHEET_WIDTH, top + max(rows * (FILM + LINE + GAP), 3 * LINE) + MARGIN + LINE)
    sheet.words("■", MARGIN, MARGIN, size=12, color=CLASS_STYLES[label][0])
    sheet.words(f"{label}, center {center}", MARGIN + 32, MARGIN, size=12, weight="bold")
    shown = f"{len(chosen)} of {len(films):,} films" if len(chosen) else "no image"
    sheet.words(shown, SHEET_WIDTH - MARGIN, MARGIN + 4, size=10, color=GRAY, ha="right")
    if chosen.empty:
        sheet.words("no image", SHEET_WIDTH / 2, top + LINE // 2, size=13, color=GRAY, ha="center")
    for position, row in enumerate(chosen.itertuples()):
        x = MARGIN + position % COLUMNS * (FILM + GAP)
        y = top + position // COLUMNS * (FILM + LINE + GAP)
        _put_film(sheet, evidence.cache, row.image_id, x, y)
        sheet.words(f"{row.image_id} {row.hospital}", x + FILM / 2, y + FILM + 3, size=9.5, ha="center")
    sheet.save(path, note)


def draw_duplicates(evidence: Evidence, path: Path, note: str) -> None:
    """Pairs of films that are one exposure, contradicting labels first, then pairs that share only the hash."""
    pairs = evidence.duplicates
    pairs = pairs.assign(contradicting=(pairs["label_a"] != pairs["label_b"]) & pairs["kind"].isin(CONFIRMED))
    pairs = pairs.sort_values(["contradicting", "correlation"], ascending=[False, True], kind="stable")
    same = pairs[pairs["kind"].isin(CONFIRMED)]
    other = pairs[~pairs["kind"].isin(CONFIRMED)].sort_values("correlation", ascending=False, kind="stable")
    sections = [("One exposure", same, MOST_PAIRS)]
    sections += [("Only the hash is shared: two films", other, MOST_HASH_PAIRS)] if len(other) else []
    sheet = Sheet(SHEET_WIDTH, sum(_section_height(min(len(rows), most)) for _, rows, most in sections) + MARGIN + LINE)
    top = MARGIN
    for title, rows, most in sections:
        _draw_section(sheet, evidence.cache, title, rows, most, top)
        top += _section_height(min(len(rows), most))
    sheet.save(path, note)


PAIR_HEIGHT = FILM + 3 * LINE + 2 * GAP
PAIR_STEP = 2 * (FILM + GAP)


def _section_height(pairs: int) -> int:
    return 2 * LINE + max(-(-pairs // 2) * PAIR_HEIGHT, 2 * LINE) + GAP


def _draw_section(sheet: Sheet, cache: Cache, title: str, pairs: pd.DataFrame, most: int, top: int) -> None:
    sheet.words(title, MARGIN, top, size=12, weight="bold")
    shown = f"{most} of {len(pairs):,} pairs" if len(pairs) > most else counted(len(pairs), "pair")
    sheet.words(shown, SHEET_WIDTH - MARGIN, top + 4, size=10, color=GRAY, ha="right")
    if pairs.empty:
        sheet.words(
            "no pair of films is one exposure", SHEET_WIDTH / 2, top + 2 * LINE, size=13, color=GRAY, ha="center"
        )
    for position, pair in enumerate(pairs.head(most).itertuples()):
        _draw_pair(sheet, cache, pair, MARGIN + position % 2 * PAIR_STEP, top + 2 * LINE + position // 2 * PAIR_HEIGHT)


def _draw_pair(sheet: Sheet, cache: Cache, pair: tuple, left: int, top: int) -> None:
    heading = f"{pair.kind}, contradicting labels" if pair.contradicting else pair.kind
    style = {"color": VERMILION, "weight": "bold"} if pair.contradicting else {"color": GRAY}
    sheet.words(heading, left, top, **style)
    films = ((pair.image_a, pair.label_a), (pair.image_b, pair.label_b))
    for x, (image_id, label) in zip((left, left + FILM + GAP // 2), films, strict=True):
        _put_film(sheet, cache, image_id, x, top + LINE)
        sheet.words(image_id, x, top + LINE + FILM + 3, size=8)
        sheet.words(label, x + LABEL_INDENT, top + LINE + FILM + 3, size=8, color=CLASS_STYLES[label][0])
    measured = f"{pair.distance} bits apart, correlation {pair.correlation:.2f}"
    sheet.words(measured, left, top + 2 * LINE + FILM - 1, size=8, color=GRAY)
