"""The outlines of lesions: read from LabelMe files, and put where the lesion is on a cached film."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from btxrd.data.decoding import placement

LESION_SIZES = {"under 1 %": 0.01, "1 to 5 %": 0.05, "5 % and more": 1.01}  # below this share of the film


@dataclass(frozen=True)
class Outlines:
    """The lesions of a film of `width` × `height` px; each polygon has shape (points, 2) as x, y in px."""

    width: int
    height: int
    polygons: tuple[np.ndarray, ...]


def read_outlines(path: Path) -> Outlines:
    """Read a LabelMe file. Each lesion stands there twice, as polygon and as rectangle: the polygon counts.

    Raises ValueError, in words, for a file that can't be used.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        width, height = int(content["imageWidth"]), int(content["imageHeight"])
        shapes = [shape["points"] for shape in content["shapes"] if shape["shape_type"] == "polygon"]
        return Outlines(width, height, tuple(_polygon(points) for points in shapes))
    except OSError as error:
        raise ValueError(str(error.strerror)) from None
    except KeyError as error:
        raise ValueError(f"{error.args[0]} missing") from None
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"not as LabelMe writes it: {error}") from None


def _polygon(points: Any) -> np.ndarray:
    polygon = np.asarray(points, dtype=float)
    if polygon.ndim != 2 or polygon.shape[0] < 3 or polygon.shape[1] != 2 or not np.isfinite(polygon).all():
        raise ValueError("a polygon that is not a list of three or more points")
    return polygon


def outlines_of(folder: Path, image_id: str) -> Outlines | None:
    """The outlines of a film; None where it has no file or no polygon, or one that can not be read: see the audit."""
    path = folder / f"{image_id}.json"
    if not path.exists():
        return None
    try:
        outlines = read_outlines(path)
    except ValueError:
        return None
    return outlines if outlines.polygons else None


def on_cached_film(outlines: Outlines, size: int, resize: str) -> list[np.ndarray]:
    """The polygons in the pixels of the film as cached, (size, size); see data/decoding.py, `fit`."""
    top, left, height, width = placement(outlines.height, outlines.width, size, resize)
    scale = np.array([width / outlines.width, height / outlines.height])
    return [polygon * scale + (left, top) for polygon in outlines.polygons]


def lesion_mask(outlines: Outlines, size: int, resize: str) -> np.ndarray:
    """True where the cached film, (size, size), shows a lesion; what lies outside the film is cut off."""
    return _coverage(outlines, size, resize) >= 0.5


def lesion_share(outlines: Outlines, size: int, resize: str) -> float:
    """The part of the film's area that its lesions cover, 0 to 1."""
    *_, height, width = placement(outlines.height, outlines.width, size, resize)
    return float(_coverage(outlines, size, resize).sum() / (height * width))


def _coverage(outlines: Outlines, size: int, resize: str, fine: int = 4) -> np.ndarray:
    """How much of each pixel of the cached film is lesion, (size, size), 0 to 1.

    Drawn `fine` times as large: OpenCV's polygons are half a pixel too wide on each side.
    """
    canvas = np.zeros((fine * size, fine * size), np.uint8)
    for polygon in on_cached_film(outlines, size, resize):
        # A coordinate names a corner of a pixel, to OpenCV its middle; 4 bits of it are parts of a pixel.
        corners = np.round((fine * polygon - 0.5) * 2**4).astype(np.int32)
        cv2.fillPoly(canvas, [corners], 1, shift=4)
    coverage = cv2.resize(canvas.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    top, left, height, width = placement(outlines.height, outlines.width, size, resize)
    on_film = np.zeros_like(coverage)
    on_film[top : top + height, left : left + width] = 1
    return coverage * on_film


def lesion_size(shares: pd.Series) -> pd.Series:
    """The band of each lesion's share of its film; empty where there is no outline."""
    bands = pd.cut(shares, [0, *LESION_SIZES.values()], right=False, labels=list(LESION_SIZES))
    return bands.cat.add_categories("").fillna("")
