"""What is said of predictions, computed by scikit-learn; a class that is absent gives None, never a made-up number."""

from typing import Any

import numpy as np
from sklearn.metrics import f1_score, matthews_corrcoef, recall_score, roc_auc_score

from btxrd import CLASSES

Metrics = dict[str, Any]
CLASS_NUMBERS = list(range(len(CLASSES)))


def headline_metrics(labels: np.ndarray, probabilities: np.ndarray) -> Metrics:
    """Accuracy, balanced accuracy, macro-F1, MCC, macro one-vs-rest AUC and the recall of each class.

    `labels` are class numbers, shape (n,); `probabilities` have shape (n, 3). Where a class has no image, its recall
    and every mean over classes is None.
    """
    predicted = probabilities.argmax(axis=1)
    present = np.isin(CLASS_NUMBERS, labels)
    recall = recall_score(labels, predicted, labels=CLASS_NUMBERS, average=None, zero_division=0)
    everyone = bool(present.all())
    return {
        "accuracy": float((labels == predicted).mean()),
        "balanced_accuracy": float(recall.mean()) if everyone else None,
        "macro_f1": _macro_f1(labels, predicted) if everyone else None,
        "mcc": float(matthews_corrcoef(labels, predicted)),
        "macro_auc": _macro_auc(labels, probabilities) if everyone else None,
        "recall": {name: float(recall[k]) if present[k] else None for k, name in enumerate(CLASSES)},
    }


def _macro_f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    return float(f1_score(labels, predicted, labels=CLASS_NUMBERS, average="macro", zero_division=0))


def _macro_auc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    return float(np.mean([roc_auc_score(labels == k, probabilities[:, k]) for k in CLASS_NUMBERS]))
