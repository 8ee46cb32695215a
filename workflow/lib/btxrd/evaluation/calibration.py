"""Whether a probability means what it says, and the temperature that mends it."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

BINS = 15
TEMPERATURES = (0.05, 20.0)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The number that val's logits, (n, 3), are divided by to lower their negative log-likelihood most.

    Guo et al., On calibration of modern neural networks, ICML 2017. It changes no prediction.
    """

    def loss(log_temperature: float) -> float:
        return negative_log_likelihood(logits / np.exp(log_temperature), labels)

    return float(np.exp(minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded").x))


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over images, natural logarithm: the unweighted cross-entropy of validation."""
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def calibration_metrics(logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> dict[str, float]:
    """Expected calibration error (15 bins of confidence), Brier score over the classes, NLL; lower is better."""
    scaled = logits / temperature
    probabilities = softmax(scaled, axis=1)
    brier = ((probabilities - np.eye(logits.shape[1])[labels]) ** 2).sum(axis=1).mean()
    count, confidence, accuracy = reliability(probabilities, labels)
    ece = (count * np.abs(confidence - accuracy)).sum() / count.sum()
    return {"ece": float(ece), "brier": float(brier), "nll": negative_log_likelihood(scaled, labels)}


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, mean confidence and accuracy of each bin that holds any: three arrays of shape (bins,)."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    number = np.minimum((confidence * BINS).astype(int), BINS - 1)
    count = np.bincount(number, minlength=BINS)
    sums = [np.bincount(number, weights=values, minlength=BINS) for values in (confidence, right)]
    filled = count > 0
    return count[filled], sums[0][filled] / count[filled], sums[1][filled] / count[filled]
