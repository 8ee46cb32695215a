"""Train and judge bone-tumour classifiers on BTXRD radiographs, reproducibly. Research only, not for clinical use."""

__version__ = "0.1.0"

CLASSES = ("Normal", "Benign", "Malignant")  # the order of every label, weight and recall: 0, 1, 2
PARTITIONS = ("train", "val", "test")
