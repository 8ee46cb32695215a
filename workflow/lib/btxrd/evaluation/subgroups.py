"""The same model, group by group: where it is better, where it is worse, where too few images say anything."""

from typing import Any

import numpy as np
import pandas as pd

from btxrd import CLASSES
from btxrd.data.outlines import LESION_SIZES
from btxrd.data.table import AGE_BANDS
from btxrd.evaluation.bootstrap import interval, resample_weights
from btxrd.evaluation.judgement import proportion
from btxrd.evaluation.metrics import classification_metrics

FEW_IMAGES, FEW_CASES = 20, 10  # below either, a group is marked: read nothing into it
GROUPINGS = ("center", "hospital", "view", "region", "sex", "age band", "subtype", "lesion size")


def judge_subgroups(images: pd.DataFrame, probabilities: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """A row for each value of each of GROUPINGS, columns of `images` beside case_id and class (a class number).

    Rows say grouping, group, images, cases, few (true: too few to read anything into), accuracy with its interval over
    cases, balanced_accuracy, macro_auc, and the sensitivity for Malignant with its exact interval.
    """
    labels = images["class"].to_numpy()
    right = (probabilities.argmax(axis=1) == labels).astype(float)
    weights = np.concatenate(list(resample_weights(images["case_id"], seed)))
    rows = []
    for grouping in GROUPINGS:
        for group in sorted(set(images[grouping].astype(str)) - {""}, key=_order):
            mask = (images[grouping].astype(str) == group).to_numpy()
            row = {"grouping": grouping, "group": group, "images": int(mask.sum())}
            row["cases"] = int(images.loc[mask, "case_id"].nunique())
            row["few"] = row["images"] < FEW_IMAGES or row["cases"] < FEW_CASES
            rows.append(row | _judge_group(labels[mask], probabilities[mask], right[mask], weights[:, mask]))
    return rows


def _order(group: str) -> tuple[int, str]:
    """Bands in their order, other groups by name."""
    bands = [*AGE_BANDS, *LESION_SIZES]
    return (bands.index(group), "") if group in bands else (len(bands), group)


def _judge_group(
    labels: np.ndarray, probabilities: np.ndarray, right: np.ndarray, weights: np.ndarray
) -> dict[str, Any]:
    metrics = classification_metrics(labels, probabilities)
    drawn = weights.sum(axis=1)
    accuracy = np.divide(weights @ right, drawn, out=np.full_like(drawn, np.nan), where=drawn > 0)
    malignant = labels == CLASSES.index("Malignant")
    return {
        "accuracy": {"value": metrics["accuracy"], "cases": interval(accuracy)},
        "balanced_accuracy": metrics["balanced_accuracy"],
        "macro_auc": metrics["macro_auc"],
        "malignant_sensitivity": proportion(int(right[malignant].sum()), int(malignant.sum())),
    }
