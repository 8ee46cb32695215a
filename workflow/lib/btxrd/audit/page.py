"""The page of the audit: one file that shows everything, and fetches nothing."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment

from btxrd import CLASSES
from btxrd.audit.outputs import CENTERS, COMPOSITION, CONTACT_SHEETS, DUPLICATES, SIZES, contact_sheet
from btxrd.files import written_whole

TEMPLATE = Path(__file__).with_name("page.html.j2")
MOST_IDS = 60  # of a finding; audit.json has all
MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg"}


def write_page(facts: Mapping[str, Any], folder: Path, page: Path) -> None:
    """Write `page` from what audit.json holds and the pictures in `folder`."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["cell"] = _cell
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    names = (SIZES, COMPOSITION, DUPLICATES, *CONTACT_SHEETS)
    text = template.render(
        facts,
        most_ids=MOST_IDS,
        pictures={name: _data_uri(folder / name) for name in names},
        charts=CHARTS,
        contact_sheets={f"{label}, center {center}": contact_sheet(label, center)
                        for label in CLASSES for center in CENTERS},
    )  # fmt: skip
    with written_whole(page) as temporary:
        temporary.write_text(text, encoding="utf-8")


# Picture, title, what to see in it.
CHARTS = (
    (COMPOSITION, "Class shares", "Where the bars of a group differ, a model can guess the class without the lesion."),
    (SIZES, "Film size by class", "One mark is one film. Ringed: a hospital whose films are smaller than the others."),
    (DUPLICATES, "Duplicates", "Pairs of films that are one, or that only look so to the perceptual hash."),
)


def _data_uri(path: Path) -> str:
    return f"data:{MEDIA_TYPES[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def _cell(value: Any) -> str:
    """A number with its thousands apart; a text as it is."""
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)
