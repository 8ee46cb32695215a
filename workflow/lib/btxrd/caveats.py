"""What must stand beside every result of a split: on its pictures, in its checkpoints, in its report."""

import json
from collections.abc import Mapping
from typing import Any

from btxrd import paths
from btxrd.errors import UserError

NOT_CLINICAL = "research only, not for clinical use"
SYNTHETIC = "SYNTHETIC phantoms"


def caveats(config: Mapping[str, Any], split: str) -> list[str]:
    """A few words each: synthetic films, cases unknown, images of val or test whose case is in train."""
    synthetic = [SYNTHETIC] if config["data"]["source"] == "phantom" else []
    summary = paths.split_summary(config, split)
    if not summary.exists():
        raise UserError(f"{summary}: no such file; make the split first.")
    return [*synthetic, *json.loads(summary.read_text(encoding="utf-8"))["caveats"]]


def footnote(config: Mapping[str, Any], split: str) -> str:
    """The line under a picture."""
    return " · ".join([split, *caveats(config, split), NOT_CLINICAL])


def footnote_of_data(synthetic: bool) -> str:
    """The line under a picture that is of no single split."""
    return " · ".join([*([SYNTHETIC] if synthetic else []), NOT_CLINICAL])
