"""Intervals by bootstrap over cases, for every metric at once.

Images of one case are alike, so a resample draws whole cases (Field and Welsh, Bootstrapping clustered data, 2007);
drawing single images makes intervals too narrow. A resample is a weight for each image, and every metric is computed
for all resamples together, as sums of weights.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from btxrd import CLASSES
from btxrd.evaluation.metrics import CLASS_NUMBERS, PROPORTIONS

RESAMPLES = 1000
LEVEL = 0.95
AT_ONCE = 100  # resamples; bounds the memory
Interval = tuple[float, float] | None
Values = dict[str, np.ndarray]


def resample_weights(groups: Sequence[str], seed: int, resamples: int = RESAMPLES) -> Iterator[np.ndarray]:
    """How often each image is drawn when whole groups are, float64, shape (up to AT_ONCE, n), `resamples` in all."""
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, AT_ONCE):
        rows = min(AT_ONCE, resamples - start)
        drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=rows)
        yield drawn[:, codes].astype(float)


def bootstrap(labels: np.ndarray, probabilities: np.ndarray, groups: Sequence[str], seed: int) -> Values:
    """The metrics of classification_metrics in RESAMPLES resamples of groups, each shape (RESAMPLES,).

    NaN where a resample lacks what a metric needs.
    """
    parts = [weighted_metrics(labels, probabilities, weights) for weights in resample_weights(groups, seed)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def interval(values: np.ndarray) -> Interval:
    """The middle 95 % of a metric's values in resamples; None where most resamples can't tell."""
    known = values[np.isfinite(values)]
    if len(known) <= len(values) / 2:
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def interval_of_mean(values: np.ndarray, cases: Sequence[str], seed: int) -> tuple[np.ndarray, np.ndarray] | None:
    """95 % interval of the mean over images of each column of `values`, (n, k): low (k,) and high (k,), over cases.

    None where there are fewer than two cases.
    """
    if len(set(cases)) < 2:
        return None
    drawn = [weights @ values / weights.sum(axis=1, keepdims=True) for weights in resample_weights(cases, seed)]
    low, high = np.quantile(np.concatenate(drawn), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high


def weighted_metrics(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> Values:
    """The metrics of classification_metrics for weights of shape (r, n), each of shape (r,)."""
    predicted = probabilities.argmax(axis=1)
    confusion = _confusion(labels, predicted, weights)
    metrics = _headline_of_confusion(confusion)
    for number, name in enumerate(CLASSES):
        cells = _cells(confusion, number)
        metrics |= {f"{name}.{metric}": _ratio(cells, *PROPORTIONS[metric]) for metric in PROPORTIONS}
        metrics[f"{name}.f1"] = _f1(cells)
        ranked = _ranking_metrics(labels == number, probabilities[:, number], weights)
        metrics |= {f"{name}.{metric}": values for metric, values in ranked.items()}
    metrics["macro_f1"] = _macro(metrics, "f1")
    for metric in ("auc", "average_precision"):
        metrics[f"macro_{metric}"] = _macro(metrics, metric)
    return metrics


def _confusion(labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weight of images by (class, prediction), shape (r, 3, 3)."""
    cell = np.eye(len(CLASSES) ** 2)[labels * len(CLASSES) + predicted]
    return (weights @ cell).reshape(-1, len(CLASSES), len(CLASSES))


def _headline_of_confusion(confusion: np.ndarray) -> Values:
    total, right = confusion.sum(axis=(1, 2)), np.trace(confusion, axis1=1, axis2=2)
    of_class, called = confusion.sum(axis=2), confusion.sum(axis=1)
    with np.errstate(invalid="ignore"):
        recall = np.diagonal(confusion, axis1=1, axis2=2) / of_class
    agreement = right * total - (of_class * called).sum(axis=1)
    spread = (total**2 - (called**2).sum(axis=1)) * (total**2 - (of_class**2).sum(axis=1))
    # As scikit-learn has it, 0 where all images are called one class.
    mcc = np.divide(agreement, np.sqrt(spread), out=np.zeros_like(agreement), where=spread > 0)
    mcc[(of_class > 0).sum(axis=1) < 2] = np.nan
    return {"accuracy": right / total, "balanced_accuracy": recall.mean(axis=1), "mcc": mcc}


def _cells(confusion: np.ndarray, number: int) -> Values:
    """Weights of true and false positives and negatives of a class, shape (r,) each."""
    tp = confusion[:, number, number]
    fn, fp = confusion[:, number].sum(axis=1) - tp, confusion[:, :, number].sum(axis=1) - tp
    return {"tp": tp, "fn": fn, "fp": fp, "tn": confusion.sum(axis=(1, 2)) - tp - fn - fp}


def _ratio(cells: Mapping[str, np.ndarray], counted: Sequence[str], of: Sequence[str]) -> np.ndarray:
    whole = sum(cells[cell] for cell in of)
    part = sum(cells[cell] for cell in counted)
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0)


def _f1(cells: Mapping[str, np.ndarray]) -> np.ndarray:
    there = cells["tp"] + cells["fn"] > 0
    f1 = np.full_like(cells["tp"], np.nan)
    np.divide(2 * cells["tp"], 2 * cells["tp"] + cells["fp"] + cells["fn"], out=f1, where=there)
    return f1


def _macro(metrics: Values, metric: str) -> np.ndarray:
    return np.mean([metrics[f"{CLASSES[number]}.{metric}"] for number in CLASS_NUMBERS], axis=0)


def _ranking_metrics(is_class: np.ndarray, score: np.ndarray, weights: np.ndarray) -> Values:
    """AUC and average precision, ties counted as scikit-learn does: images of one score are one step."""
    order = np.argsort(-score, kind="stable")
    steps = np.flatnonzero(np.diff(score[order], prepend=np.inf))  # where a new score begins
    ordered = weights[:, order]
    hits = np.add.reduceat(ordered * is_class[order], steps, axis=1)
    misses = np.add.reduceat(ordered * ~is_class[order], steps, axis=1)
    found, wrong = hits.cumsum(axis=1), misses.cumsum(axis=1)
    positives, negatives = found[:, -1], wrong[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        below = negatives[:, None] - wrong + misses / 2  # negatives ranked below, those of equal score half
        auc = (hits * below).sum(axis=1) / (positives * negatives)
        precision = np.nan_to_num(found / (found + wrong))
        average_precision = (hits * precision).sum(axis=1) / positives
    both = (positives > 0) & (negatives > 0)
    return {"auc": np.where(both, auc, np.nan), "average_precision": np.where(both, average_precision, np.nan)}
