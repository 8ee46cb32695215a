"""The splits as they lie on disk now: whether anybody edited a table after the gate, and what leaks, measured anew."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from btxrd.audit.findings import Finding
from btxrd.data.leakage import SIDES, measure_leakage, total
from btxrd.files import sha256_of_file
from btxrd.words import counted, joined


@dataclass(frozen=True)
class SplitOnDisk:
    """A split: its summary, its partitions with what is known of each image, and what the tables show today."""

    name: str
    summary: Mapping[str, Any]
    partitions: Mapping[str, pd.DataFrame]
    edited: Sequence[str]  # tables that are not those of the summary
    leakage: Mapping[str, Any]

    @property
    def image_ids(self) -> set[str]:
        """The images of all partitions."""
        return {image_id for rows in self.partitions.values() for image_id in rows["image_id"]}


def read_split(name: str, images: pd.DataFrame, tables: Mapping[str, Path], summary_file: Path) -> SplitOnDisk:
    """Read a split; class, case, exposure and file of an image come from `images`, whatever its table says."""
    summary = json.loads(Path(summary_file).read_text(encoding="utf-8"))
    edited = [str(path) for part, path in tables.items() if sha256_of_file(path) != summary["sha256"][part]]
    partitions = {part: _read_partition(path, images) for part, path in tables.items()}
    return SplitOnDisk(name, summary, partitions, edited, measure_leakage(partitions))


def _read_partition(path: Path, images: pd.DataFrame) -> pd.DataFrame:
    try:
        rows = pd.read_csv(path, dtype=str, usecols=["image_id"])
    except ValueError:  # not what the gate wrote, and its hash says so already
        rows = pd.DataFrame({"image_id": []}, dtype=str)
    return rows.merge(images, on="image_id")


def findings_of_splits(splits: Sequence[SplitOnDisk]) -> Iterator[Finding]:
    """Edited tables, leaks against a promise, leaks of splits that promise nothing, images left out."""
    for split in splits:
        yield from _edited(split)
        yield from _leaks(split)
        yield from _left_out(split)


def _edited(split: SplitOnDisk) -> Iterator[Finding]:
    if split.edited:
        verb = "is" if len(split.edited) == 1 else "are"
        yield Finding(
            "error",
            f"Split {split.name}: edited after the gate",
            f"{joined(split.edited)} {verb} not what the split was checked with (another sha256), so its counts and "
            "its caveats are wrong; make the split anew.",
        )


def _leaks(split: SplitOnDisk) -> Iterator[Finding]:
    leaking = {sides: found for sides, found in split.leakage.items() if found["images"]}
    images = sorted({image_id for found in leaking.values() for image_id in found["images"]})
    if not leaking:
        return
    same = leaking.get("test_in_val", {}).get("same_ids", [])
    if len(same) == len(split.partitions["test"]):
        leaking.pop("test_in_train", None)  # what is said of val is said of test
    words = "; ".join(_leak_in_words(*sides.split("_in_"), found) for sides, found in leaking.items())
    if split.summary["promises_no_leak"]:
        title, end = f"Split {split.name}: leaks against its promise", "promises that no case is on two sides."
        yield Finding("error", title, f"By case, exposure or file, {words}; {split.name} {end}", images)
    else:
        title, end = f"Split {split.name}: leaks", "promises nothing, and its results are in part those of memory."
        yield Finding("warning", title, f"By case, exposure or file, {words}; {split.name} {end}", images)


def _leak_in_words(judged: str, other: str, found: Mapping[str, Any]) -> str:
    if len(found["same_ids"]) == total(found["any"])[1]:
        return f"{judged} and {other} are the same {counted(len(found['same_ids']), 'image')}"
    by_class = joined([f"{c['leaked']:,} of {c['of']:,} {name}" for name, c in found["any"].items() if c["of"]])
    return f"{by_class} images of {judged} are tied to {other}"


def _left_out(split: SplitOnDisk) -> Iterator[Finding]:
    images = split.summary["left_out"].get(
        "in no partition", []
    )  # contradicting duplicates have a finding of their own
    if images:
        are = "is" if len(images) == 1 else "are"
        sentence = f"{counted(len(images), 'image')} {are} in no partition of {split.name}."
        yield Finding("note", f"Split {split.name}: images left out", sentence, images)


def counts_of_split(split: SplitOnDisk, classes: Sequence[str]) -> pd.DataFrame:
    """Images of each class in each partition, and its cases."""
    rows = []
    for part, images in split.partitions.items():
        by_class = [int((images["label"] == name).sum()) for name in classes]
        rows.append([part, *by_class, len(images), images["case_id"].nunique()])
    return pd.DataFrame(rows, columns=["partition", *classes, "images", "cases"])


def leak_of_split(split: SplitOnDisk, classes: Sequence[str]) -> pd.DataFrame:
    """What of val and test is tied to training, by tie and class, as `48 of 64`."""
    rows = []
    for judged, other in SIDES:
        found = split.leakage[f"{judged}_in_{other}"]
        for tie in ("case", "near_duplicate", "identical_file"):
            by_class = [f"{found[tie][name]['leaked']:,} of {found[tie][name]['of']:,}" for name in classes]
            rows.append([f"{judged} in {other}", tie.replace("_", " "), *by_class])
    return pd.DataFrame(rows, columns=["images of", "tied by", *classes])
