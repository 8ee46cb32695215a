"""What of val and test a model could know from training: measured on the tables of a split, however they were made."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from btxrd import CLASSES

# (partition that is judged, partition that must not know of it)
SIDES = (("val", "train"), ("test", "train"), ("test", "val"))
# What two images can have in common, by the column that says so; an empty cell is nothing in common.
TIES = {"case": "case_id", "near_duplicate": "duplicate_group", "identical_file": "sha256"}
WORDS = {"case": "another image of its case", "near_duplicate": "a near duplicate", "identical_file": "the same file"}


def measure_leakage(partitions: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """The images of a partition that share a case, an exposure or a file with one of another partition.

    `partitions` hold tables with the columns image_id, label and those of TIES. For each pair of SIDES, e.g.
    `val_in_train`: images of val tied to train, by tie and class, as {leaked, of}; `images`, the closest tie of each
    by id; `same_ids`, those that stand in both.
    """
    return {f"{judged}_in_{other}": _leakage_of(partitions[judged], partitions[other]) for judged, other in SIDES}


def _leakage_of(judged: pd.DataFrame, other: pd.DataFrame) -> dict[str, Any]:
    tied = {tie: judged[column].isin(set(other[column]) - {""}) for tie, column in TIES.items()}
    anyhow = pd.concat(tied, axis=1).any(axis=1)
    return {
        **{tie: _by_class(judged["label"], leaked) for tie, leaked in tied.items()},
        "any": _by_class(judged["label"], anyhow),
        "images": {image_id: tie for tie, leaked in tied.items() for image_id in judged.loc[leaked, "image_id"]},
        "same_ids": sorted(set(judged["image_id"]) & set(other["image_id"])),
    }


def _by_class(labels: pd.Series, leaked: pd.Series) -> dict[str, dict[str, int]]:
    return {
        name: {"leaked": int((leaked & (labels == name)).sum()), "of": int((labels == name).sum())} for name in CLASSES
    }


def leaked_images(leakage: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each image that leaks, and from where."""
    for sides, found in leakage.items():
        judged, other = sides.split("_in_")
        for image_id, tie in sorted(found["images"].items()):
            yield f"{image_id} is in {judged}, and {WORDS[tie]} is in {other}"


def total(by_class: Mapping[str, Mapping[str, int]]) -> tuple[int, int]:
    """Leaked images and images of all classes."""
    return sum(cell["leaked"] for cell in by_class.values()), sum(cell["of"] for cell in by_class.values())
