"""Thresholds for calling a film Malignant: chosen on val, applied to test unchanged."""

from collections.abc import Callable

import numpy as np
from sklearn.metrics import roc_curve

WANTED = 0.90
Rule = Callable[[np.ndarray, np.ndarray], int | None]


def choose_thresholds(is_malignant: np.ndarray, probability: np.ndarray) -> dict[str, float | None]:
    """The least probability at which a film is called Malignant, by rule; None where val can't tell.

    `youden` has the highest sensitivity + specificity - 1; the other two reach 0.90 of one and as much as possible of
    the other.
    """
    if not 0 < is_malignant.sum() < len(is_malignant):
        return dict.fromkeys(RULES)
    false_positive_rate, sensitivity, thresholds = roc_curve(is_malignant, probability, drop_intermediate=False)
    found = {name: rule(sensitivity, 1 - false_positive_rate) for name, rule in RULES.items()}
    # The first point of the curve calls nothing Malignant; its threshold is infinite, which JSON can't say.
    finite = np.where(np.isfinite(thresholds), thresholds, 1.0 + 1e-6)
    return {name: None if place is None else float(finite[place]) for name, place in found.items()}


def _youden(sensitivity: np.ndarray, specificity: np.ndarray) -> int:
    return int(np.argmax(sensitivity + specificity))


def _sensitive(sensitivity: np.ndarray, specificity: np.ndarray) -> int | None:
    return _best(specificity, sensitivity, sensitivity >= WANTED)


def _specific(sensitivity: np.ndarray, specificity: np.ndarray) -> int | None:
    return _best(sensitivity, specificity, specificity >= WANTED)


def _best(values: np.ndarray, others: np.ndarray, allowed: np.ndarray) -> int | None:
    """The allowed place of the highest value; of several, that of the highest other value."""
    places = np.flatnonzero(allowed)
    return int(max(places, key=lambda place: (values[place], others[place]))) if len(places) else None


RULES: dict[str, Rule] = {"youden": _youden, "sensitivity_0.90": _sensitive, "specificity_0.90": _specific}
