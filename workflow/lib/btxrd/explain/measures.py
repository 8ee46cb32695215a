"""How far a heat map lies on the lesion, and how far that is more than luck.

Pointing game: Zhang et al., Top-down neural attention by excitation backprop, ECCV 2016, with tolerance 0. Energy:
Wang et al., Score-CAM, CVPR 2020 workshops, there with boxes, here with outlines.
"""

from collections.abc import Mapping

import numpy as np

from btxrd.data.decoding import placement
from btxrd.data.outlines import Outlines, lesion_mask

TOLERANCE = 0  # px that the maximum may lie outside the outline and still be a hit
BLOB_SIGMA = 0.25  # of the film's height, and of its width


def measure(heat: np.ndarray, outlines: Outlines, resize: str) -> Mapping[str, float | bool]:
    """Pointing game and energy of a heat map, (size, size), of the film with these outlines, and of two baselines.

    `chance` is both that of a pixel drawn from the film, without the padding, to be a hit, and the energy of a map
    that is the same all over the film. The blob is a map too, that of someone who knows where films are centered.
    """
    mask = lesion_mask(outlines, len(heat), resize)
    film = placement(outlines.height, outlines.width, len(heat), resize)
    blob = centered_blob(len(heat), film)
    _, _, height, width = film
    share = float(mask.sum() / (height * width))
    return {
        "lesion_share": share,
        "hit": is_hit(heat, mask),
        "energy": energy_inside(heat, mask),
        "chance": share,
        "blob_hit": is_hit(blob, mask),
        "blob_energy": energy_inside(blob, mask),
    }


def maximum(heat: np.ndarray) -> tuple[int, int] | None:
    """Row and column of the hottest pixel; None for a map without heat.

    Toward an edge the hottest cell of a coarse map becomes a patch of equal pixels: its middle counts.
    """
    if not heat.any():
        return None
    row, column = np.argwhere(heat == heat.max()).mean(axis=0).round().astype(int)
    return int(row), int(column)


def is_hit(heat: np.ndarray, mask: np.ndarray) -> bool:
    """Whether the hottest pixel lies in the mask; a map without heat points nowhere."""
    place = maximum(heat)
    return place is not None and bool(mask[place])


def energy_inside(heat: np.ndarray, mask: np.ndarray) -> float:
    """The part of the map's sum that lies in the mask, 0 to 1; 0 for a map without heat."""
    total = heat.sum(dtype=float)
    return float(heat[mask].sum(dtype=float) / total) if total > 0 else 0.0


def centered_blob(size: int, film: tuple[int, int, int, int]) -> np.ndarray:
    """A Gaussian on the middle of a film that lies at `film` (top, left, height, width) in the square; 0 around it."""
    top, left, height, width = film
    blob = np.zeros((size, size))
    blob[top : top + height, left : left + width] = np.outer(_bell(height), _bell(width))
    return blob


def _bell(length: int) -> np.ndarray:
    middles = (np.arange(length) + 0.5) / length - 0.5
    return np.exp(-0.5 * (middles / BLOB_SIGMA) ** 2)
