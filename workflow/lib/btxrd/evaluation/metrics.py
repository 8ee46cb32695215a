"""What is said of predictions, computed by scikit-learn; a class that is absent gives None, never a made-up number."""

import numpy as np
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    matthews_corrcoef,
    roc_auc_score,
)

from btxrd import CLASSES

Metrics = dict[str, float | None]
CLASS_NUMBERS = list(range(len(CLASSES)))
HEADLINE = ("accuracy", "balanced_accuracy", "macro_f1", "mcc", "macro_auc", "macro_average_precision")
# Of a class against the rest; each is a share of images: (cells that count, cells of which it is a share).
PROPORTIONS = {
    "sensitivity": (("tp",), ("tp", "fn")),
    "specificity": (("tn",), ("tn", "fp")),
    "ppv": (("tp",), ("tp", "fp")),
    "npv": (("tn",), ("tn", "fn")),
}


def classification_metrics(labels: np.ndarray, probabilities: np.ndarray) -> Metrics:
    """HEADLINE and, as `Malignant.sensitivity` and so on, what is said of each class against the rest.

    `labels` are class numbers, shape (n,); `probabilities` have shape (n, 3). None stands for what can't be said:
    a mean over classes where one has no image, a share of nothing, the AUC of one class alone.
    """
    predicted = probabilities.argmax(axis=1)
    complete = len(np.unique(labels)) == len(CLASSES)
    metrics: Metrics = {
        "accuracy": float((labels == predicted).mean()),
        "balanced_accuracy": float(balanced_accuracy_score(labels, predicted)) if complete else None,
        "macro_f1": float(f1_score(labels, predicted, average="macro", zero_division=0)) if complete else None,
        "mcc": float(matthews_corrcoef(labels, predicted)) if len(np.unique(labels)) > 1 else None,
    }
    of_classes = {}
    for number, name in enumerate(CLASSES):
        own = _one_against_the_rest(labels == number, predicted == number, probabilities[:, number])
        of_classes |= {f"{name}.{metric}": value for metric, value in own.items()}
    for metric in ("auc", "average_precision"):
        values = [of_classes[f"{name}.{metric}"] for name in CLASSES]
        metrics[f"macro_{metric}"] = float(np.mean(values)) if complete else None
    return metrics | of_classes


def _one_against_the_rest(is_class: np.ndarray, called: np.ndarray, score: np.ndarray) -> Metrics:
    cells = cells_of(is_class, called)
    shares = {name: share_of(cells, name) for name in PROPORTIONS}
    both = 0 < is_class.sum() < len(is_class)
    return {
        **{name: hits / of if of else None for name, (hits, of) in shares.items()},
        "f1": float(f1_score(is_class, called, zero_division=0)) if is_class.any() else None,
        "auc": float(roc_auc_score(is_class, score)) if both else None,
        "average_precision": float(average_precision_score(is_class, score)) if both else None,
    }


def cells_of(is_class: np.ndarray, called: np.ndarray) -> dict[str, int]:
    """True and false positives and negatives, as tp, fp, tn, fn."""
    (tn, fp), (fn, tp) = confusion_matrix(is_class, called, labels=[False, True]).tolist()
    return {"tp": tp, "fp": fp, "tn": tn, "fn": fn}


def share_of(cells: dict[str, int], name: str) -> tuple[int, int]:
    """Images that count for a proportion, and images of which it is a share."""
    counted, of = PROPORTIONS[name]
    return sum(cells[cell] for cell in counted), sum(cells[cell] for cell in of)
