"""The measures of all tumours, by class, lesion size and prediction, each with its interval and its numbers."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from btxrd import CLASSES
from btxrd.data.outlines import LESION_SIZES, lesion_size
from btxrd.evaluation.bootstrap import interval_of_mean

FEW = 20  # images; below this a group is marked
MEASURES = ("hit", "energy", "chance", "blob_hit", "blob_energy")
GAINS = {  # what is said of one film, less what a baseline has on the same film
    "hit_above_chance": ("hit", "chance"),
    "hit_above_blob": ("hit", "blob_hit"),
    "energy_above_chance": ("energy", "chance"),
    "energy_above_blob": ("energy", "blob_energy"),
}


def summarise(tumours: pd.DataFrame, seed: int) -> list[dict[str, Any]]:
    """One entry a group: what it is, images, cases, whether they are few, and mean and interval of each measure.

    A group without an image stays, with null for each measure.
    """
    return [
        {
            "by": by,
            "group": name,
            "images": len(rows),
            "cases": int(rows["case_id"].nunique()),
            "few": len(rows) < FEW,
            "measures": _measures(rows, seed),
        }
        for by, name, rows in _groups(tumours)
    ]


def _groups(tumours: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    yield "all", "all tumours", tumours
    for label in CLASSES[1:]:
        yield "class", label, tumours[tumours["label"] == label]
    sizes = lesion_size(tumours["lesion_share"])
    for name in LESION_SIZES:
        yield "lesion size", name, tumours[sizes == name]
    right = tumours["label"] == tumours["predicted"]
    yield "prediction", "right", tumours[right]
    yield "prediction", "wrong", tumours[~right]


def _measures(rows: pd.DataFrame, seed: int) -> dict[str, dict[str, float | None] | None]:
    names = [*MEASURES, *GAINS]
    if rows.empty:
        return dict.fromkeys(names)
    known = rows[list(MEASURES)].to_numpy(float)
    gains = [known[:, MEASURES.index(a)] - known[:, MEASURES.index(b)] for a, b in GAINS.values()]
    values = np.column_stack([known, *gains])
    bounds = interval_of_mean(values, list(rows["case_id"]), seed)
    low, high = ([None] * len(names), [None] * len(names)) if bounds is None else (bound.tolist() for bound in bounds)
    means = values.mean(axis=0).tolist()
    return {name: {"mean": means[k], "low": low[k], "high": high[k]} for k, name in enumerate(names)}
