"""The model card: what a person must know before using a network, every figure from the files of its evaluation.

Sections after Mitchell et al., Model cards for model reporting, FAT* 2019; the checklist after CLAIM 2024 (Tejani et
al., Radiology: Artificial Intelligence) and TRIPOD+AI (Collins et al., BMJ 2024).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from btxrd import CLASSES
from btxrd.evaluation.judgement import shown
from btxrd.evaluation.metrics import HEADLINE
from btxrd.pages import write_page

CHECKLIST = Path(__file__).with_name("checklist.yaml")
TITLES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "mcc": "MCC",
    "macro_auc": "macro AUC",
    "macro_average_precision": "macro average precision",
}


def write_card(
    config: Mapping[str, Any],
    metrics: Mapping[str, Path],
    summaries: Mapping[str, Path],
    caveats: Mapping[str, Sequence[str]],
    archive: Path | None,
    target: Path,
) -> None:
    """Write the card of all splits' networks, Markdown; `metrics`, `summaries` and `caveats` are by split."""
    results = {name: _read(path) for name, path in metrics.items()}
    write_page(
        "model_card.md.j2",
        target,
        config=config,
        synthetic=config["data"]["source"] == "phantom",
        archive=_read(archive) if archive else None,
        classes=CLASSES,
        headline=[(TITLES[name], {split: _test(found, name) for split, found in results.items()}) for name in HEADLINE],
        by_class=[(name, split, _of_class(found, name)) for split, found in results.items() for name in CLASSES],
        results=results,
        summaries={name: _read(path) for name, path in summaries.items()},
        caveats=caveats,
        operating_points=[(split, name, point) for split, found in results.items() for name, point in _points(found)],
        few=[(split, row) for split, found in results.items() for row in found["subgroups"]],
        checklist=yaml.safe_load(CHECKLIST.read_text(encoding="utf-8")),
        shown=shown,
        exact=_exact,
    )


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _test(found: Mapping[str, Any], name: str) -> str:
    return shown(found["partitions"]["test"]["metrics"][name])


def _of_class(found: Mapping[str, Any], name: str) -> list[str]:
    test = found["partitions"]["test"]
    metrics = ("sensitivity", "specificity", "ppv", "npv", "auc")
    return [str(test["support"][name]), *(shown(test["metrics"][f"{name}.{metric}"], 2) for metric in metrics)]


def _points(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, point) for name, point in found["partitions"]["test"]["operating_points"].items() if point]


def _exact(share: Mapping[str, Any]) -> str:
    """`9 of 9 (0.66–1.00)`, with the exact interval."""
    if not share["of"]:
        return "–"
    return f"{share['count']} of {share['of']} ({share['exact'][0]:.2f}–{share['exact'][1]:.2f})"
