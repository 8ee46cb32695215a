"""The names of what the evaluation writes; free of heavy imports, so that a Snakefile can list them."""

PREDICTIONS, METRICS, INFERENCE = "predictions.csv", "metrics.json", "inference.json"
CONFUSION, ROC, PRECISION_RECALL = "confusion_matrix.png", "roc_curve.png", "precision_recall_curve.png"
CALIBRATION = "calibration.png"
EVALUATION_PICTURES = {
    "confusion matrix": CONFUSION,
    "ROC": ROC,
    "precision and recall": PRECISION_RECALL,
    "calibration": CALIBRATION,
}
EVALUATION_FILES = (PREDICTIONS, METRICS, INFERENCE, *EVALUATION_PICTURES.values())
