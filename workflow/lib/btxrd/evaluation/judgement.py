"""Metrics with what is known of their uncertainty."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest

from btxrd import CLASSES
from btxrd.evaluation.bootstrap import bootstrap, interval
from btxrd.evaluation.metrics import PROPORTIONS, cells_of, classification_metrics, share_of

Judgement = dict[str, Any]


def judge(labels: np.ndarray, probabilities: np.ndarray, cases: Sequence[str], seed: int) -> dict[str, Judgement]:
    """Each metric of classification_metrics as {value, cases, images}: 95 % intervals over cases and over images.

    A proportion also has `count`, `of` and `exact`, its exact binomial interval, which takes images for independent.
    """
    values = classification_metrics(labels, probabilities)
    over_cases = bootstrap(labels, probabilities, cases, seed)
    over_images = bootstrap(labels, probabilities, [str(number) for number in range(len(labels))], seed)
    judged = {
        name: {
            "value": value,
            "cases": None if value is None else interval(over_cases[name]),
            "images": None if value is None else interval(over_images[name]),
        }
        for name, value in values.items()
    }
    predicted = probabilities.argmax(axis=1)
    judged["accuracy"] |= proportion(int((labels == predicted).sum()), len(labels))
    for number, name in enumerate(CLASSES):
        cells = cells_of(labels == number, predicted == number)
        for metric in PROPORTIONS:
            judged[f"{name}.{metric}"] |= proportion(*share_of(cells, metric))
    return judged


def proportion(count: int, of: int) -> Judgement:
    """A count with its share and the exact 95 % interval (Clopper and Pearson, 1934)."""
    exact = binomtest(count, of).proportion_ci(0.95, method="exact") if of else None
    return {"value": count / of if of else None, "count": count, "of": of, "exact": exact and (exact.low, exact.high)}


def ends(judgement: Mapping[str, Any]) -> tuple[float, float] | None:
    """The 95 % interval to show: over cases, or the exact one where no resample differs and the bootstrap is blind."""
    over_cases = judgement.get("cases")
    if judgement.get("exact") and (over_cases is None or over_cases[0] == over_cases[1]):
        return judgement["exact"]
    return over_cases


def shown(judgement: Mapping[str, Any], digits: int = 3) -> str:
    """`0.815 (0.780–0.850)`; a dash where nothing can be said."""
    if judgement.get("value") is None:
        return "–"
    text, interval = f"{judgement['value']:.{digits}f}", ends(judgement)
    return f"{text} ({'–'.join(f'{end:.{digits}f}' for end in interval)})" if interval else text
