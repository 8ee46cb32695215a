"""The pages that people read: each one file that shows everything, and fetches nothing."""

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from btxrd.files import written_whole

MEDIA_TYPES = {".png": "image/png", ".webp": "image/webp"}


def write_page(template: str, page: str | Path, **content: Any) -> None:
    """Fill a template of this folder and write it to `page`; texts are escaped in HTML, and not in Markdown."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=".html" in template,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = _cell
    with written_whole(page) as temporary:
        temporary.write_text(environment.get_template(template).render(**content), encoding="utf-8")


def data_uri(picture: Path) -> str:
    """A picture as part of a page."""
    return f"data:{MEDIA_TYPES[picture.suffix]};base64,{base64.b64encode(picture.read_bytes()).decode('ascii')}"


def _cell(value: Any) -> str:
    """A number with its thousands apart; a text as it is."""
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)
