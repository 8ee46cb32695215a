"""The splits that a configuration lists: its entries, each expanded to the splits that it stands for."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from btxrd.schema import split_defaults

Selection = Mapping[str, Any]  # {centers: [...], hospitals: [...]}, either may be null

STRATEGIES = (
    "stratified", "center_holdout", "by_image", "official", "leave_one_center_out", "leave_one_hospital_out",
    "kfold", "manifest",
)  # fmt: skip
REPORTS_ITS_LEAK = ("by_image", "official")  # the others promise that no case is on two sides
LEAVES_OUT = {"leave_one_center_out": ("centers", (1, 2, 3)), "leave_one_hospital_out": ("hospitals", ("b", "g", "y"))}
PREFIX = {"leave_one_center_out": "without_center", "leave_one_hospital_out": "without_hospital"}


@dataclass(frozen=True)
class SplitPlan:
    """One value of the wildcard `{split}`: what is dealt out, what is fixed, what is promised."""

    name: str
    strategy: str
    seed: int
    val_fraction: float
    test_fraction: float
    train: Selection | None
    val: Selection | None
    test: Selection | None
    folds: int
    fold: int | None  # of `folds`, counted from 1
    file: str | None
    promises_no_leak: bool
    training: Mapping[str, Any]  # the training keys that this split has of its own
    model: Mapping[str, Any]  # the model keys, likewise

    def settings(self) -> str:
        """What shapes the tables of the split, as one canonical text."""
        tables = {key: value for key, value in asdict(self).items() if key not in ("training", "model")}
        return json.dumps(tables, sort_keys=True)


def split_plans(config: Mapping[str, Any]) -> dict[str, SplitPlan]:
    """The plans of a complete configuration by name, in its order."""
    return {plan.name: plan for name, entry in _entries(config).items() for plan in _plans(name, entry, config["seed"])}


def problems_of_splits(config: Mapping[str, Any]) -> Iterator[str]:
    """What the schema can't say of a complete configuration's splits, a sentence each."""
    names = []
    for name, entry in _entries(config).items():
        strategy = entry["strategy"] or name
        if strategy not in STRATEGIES:
            yield f"splits.{name}.strategy is missing; it must be one of {', '.join(STRATEGIES)}."
            continue
        if strategy == "manifest" and not entry["file"]:
            yield f"splits.{name}.file must name the manifest, a CSV with the columns image_id and partition."
        if entry["val_fraction"] + entry["test_fraction"] >= 1:
            yield f"splits.{name}: val_fraction and test_fraction leave nothing to train on."
        names += [plan.name for plan in _plans(name, entry, config["seed"])]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"splits: two entries make a split {name}; rename one."
    chosen = config["training"]["split_strategy"]
    if chosen not in names:
        yield f"training.split_strategy is {chosen!r}; it must be one of the splits: {', '.join(names)}."


def _entries(config: Mapping[str, Any]) -> dict[str, Any]:
    """The entries in full; one that is null stands for no split, so that an overlay can take it away."""
    return {name: split_defaults() | entry for name, entry in config["splits"].items() if entry is not None}


def _plans(name: str, entry: Mapping[str, Any], seed: int) -> Iterator[SplitPlan]:
    strategy = entry["strategy"] or name
    usual_leakage = "report" if strategy in REPORTS_ITS_LEAK else "refuse"
    common = {
        **{key: entry[key] for key in ("val_fraction", "test_fraction", "train", "val", "test", "folds")},
        **{key: entry[key] for key in ("training", "model")},
        "strategy": strategy,
        "seed": seed if entry["seed"] is None else entry["seed"],
        "fold": None,
        "file": entry["file"] if strategy == "manifest" else None,
        "promises_no_leak": (entry["leakage"] or usual_leakage) == "refuse",
    }
    for suffix, own in _parts(strategy, entry):
        yield SplitPlan(**common | own, name=PREFIX.get(name, name) + suffix)


def _parts(strategy: str, entry: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The splits that an entry stands for: what is added to its name, and what each has of its own."""
    if strategy in LEAVES_OUT:
        kind, usual = LEAVES_OUT[strategy]
        for one in entry["leave_out"] or usual:
            yield f"_{one}", {"test": {kind: [one]}}
    elif strategy == "kfold":
        for fold in range(1, entry["folds"] + 1):
            yield f"_{fold}", {"fold": fold}
    elif strategy == "center_holdout" and not (entry["train"] or entry["test"]):
        yield "", {"train": {"centers": [1]}}
    else:
        yield "", {}
