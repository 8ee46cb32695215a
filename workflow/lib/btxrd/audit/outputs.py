"""The names of what the audit writes; free of heavy imports, so that a Snakefile can list them."""

from btxrd import CLASSES

CENTERS = (1, 2, 3)
PAGE, FACTS = "audit.html", "audit.json"
SIZES, COMPOSITION, DUPLICATES = "size_by_class.png", "composition.png", "near_duplicates.webp"


def contact_sheet(label: str, center: int) -> str:
    """The picture of some films of a class and center."""
    return f"contact_{label.lower()}_center_{center}.webp"


CONTACT_SHEETS = tuple(contact_sheet(label, center) for label in CLASSES for center in CENTERS)
AUDIT_FILES = (PAGE, FACTS, SIZES, COMPOSITION, DUPLICATES, *CONTACT_SHEETS)
