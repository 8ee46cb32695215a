"""The page of the audit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from btxrd import CLASSES
from btxrd.audit.outputs import CENTERS, COMPOSITION, CONTACT_SHEETS, DUPLICATES, SIZES, contact_sheet
from btxrd.pages import data_uri, write_page

MOST_IDS = 60  # of a finding; audit.json has all
# Picture, title, what to see in it.
CHARTS = (
    (COMPOSITION, "Class shares", "Where the bars of a group differ, a model can guess the class without the lesion."),
    (SIZES, "Film size by class", "One mark is one film. Ringed: a hospital whose films are smaller than the others."),
    (DUPLICATES, "Duplicates", "Pairs of films that are one, or that only look so to the perceptual hash."),
)


def write_audit_page(facts: Mapping[str, Any], folder: Path, page: Path) -> None:
    """Write `page` from what audit.json holds and the pictures in `folder`."""
    names = (SIZES, COMPOSITION, DUPLICATES, *CONTACT_SHEETS)
    sheets = {f"{label}, center {center}": contact_sheet(label, center) for label in CLASSES for center in CENTERS}
    write_page(
        "audit.html.j2",
        page,
        **facts,
        most_ids=MOST_IDS,
        pictures={name: data_uri(folder / name) for name in names},
        charts=CHARTS,
        contact_sheets=sheets,
    )
