"""The audit of the data: what a reader of results must know before believing one."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from btxrd import CLASSES
from btxrd.audit.annotations import findings_of_annotations
from btxrd.audit.charts import draw_composition, draw_sizes
from btxrd.audit.checks import findings_of_images
from btxrd.audit.evidence import Evidence
from btxrd.audit.findings import Finding, by_severity
from btxrd.audit.outputs import CENTERS, COMPOSITION, DUPLICATES, FACTS, PAGE, SIZES, contact_sheet
from btxrd.audit.page import write_audit_page
from btxrd.audit.sheets import draw_contact_sheet, draw_duplicates
from btxrd.audit.splits import SplitOnDisk, findings_of_splits
from btxrd.audit.tables import annotation_tables, case_tables, composition_tables, duplicate_tables, split_tables
from btxrd.caveats import footnote_of_data
from btxrd.errors import raise_all
from btxrd.files import write_json

log = logging.getLogger("btxrd")


def make_audit(evidence: Evidence, synthetic: bool, folder: Path) -> None:
    """Write AUDIT_FILES to `folder`: findings, tables and pictures of the data and of its splits.

    Raises UserError that lists the findings that make results wrong, after everything is written.
    """
    findings = find(evidence)
    facts = facts_of(evidence, findings, synthetic)
    write_json(facts, folder / FACTS)
    draw_pictures(evidence, folder, footnote_of_data(synthetic))
    write_audit_page(facts, folder, folder / PAGE)
    for finding in findings:
        if finding.severity != "error":
            log.info("%s: %s: %s", finding.severity, finding.title, finding.sentence)
    raise_all([finding.sentence for finding in findings if finding.severity == "error"], str(folder / PAGE))


def find(evidence: Evidence) -> list[Finding]:
    """Everything that is found, the gravest first."""
    return by_severity(
        [
            *findings_of_images(evidence),
            *findings_of_splits(evidence.splits),
            *findings_of_annotations(evidence.annotations, evidence.images),
        ]
    )


def facts_of(evidence: Evidence, findings: Sequence[Finding], synthetic: bool) -> dict[str, Any]:
    """All that the page shows, as primitives."""
    tables = {
        "composition": composition_tables(evidence.images),
        "annotations": annotation_tables(evidence),
        "cases": case_tables(evidence.images),
        "duplicates": duplicate_tables(evidence.duplicates),
    }
    return {
        "synthetic": synthetic,
        "images": len(evidence.images),
        "cases": int(evidence.images["case_id"].nunique()),
        "findings": [asdict(finding) for finding in findings],
        "tables": {name: [table.facts() for table in group] for name, group in tables.items()},
        "splits": [_facts_of_split(split) for split in evidence.splits],
    }


def _facts_of_split(split: SplitOnDisk) -> dict[str, Any]:
    known = {
        key: split.summary[key] for key in ("strategy", "seed", "promises_no_leak", "caveats", "left_out", "sha256")
    }
    return known | {
        "name": split.name,
        "edited": list(split.edited),
        "leaks": any(found["images"] for found in split.leakage.values()),
        "leakage": split.leakage,
        "tables": [table.facts() for table in split_tables(split)],
    }


def draw_pictures(evidence: Evidence, folder: Path, note: str) -> None:
    """Draw every picture of the audit, with `note` at the foot of each."""
    draw_sizes(evidence.images, folder / SIZES, note)
    draw_composition(evidence.images, folder / COMPOSITION, note)
    draw_duplicates(evidence, folder / DUPLICATES, note)
    for label in CLASSES:
        for center in CENTERS:
            draw_contact_sheet(evidence, label, center, folder / contact_sheet(label, center), note)
