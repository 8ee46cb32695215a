"""The names of what explaining a split writes; free of heavy imports, so that a Snakefile can list them."""

from btxrd import CLASSES

FACTS, TUMOURS, CHART = "explanation.json", "explanation.csv", "pointing.png"


def gallery(label: str) -> str:
    """The picture of some films of a class with their heat maps."""
    return f"gallery_{label.lower()}.png"


EXPLANATION_PICTURES = {"pointing game": CHART, **{f"gallery, {label}": gallery(label) for label in CLASSES}}
EXPLANATION_FILES = (FACTS, TUMOURS, *EXPLANATION_PICTURES.values())
