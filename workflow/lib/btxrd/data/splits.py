"""Train, validation and test partitions that keep the images of a case together.

Cases are dealt out one by one, large ones first, each to the partition that lacks its classes and centers most
(in the manner of Sechidis et al., On the stratification of multi-label data, ECML PKDD 2011, applied to groups).
"""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from btxrd import CLASSES, PARTITIONS
from btxrd.data.table import read_metadata
from btxrd.errors import UserError, raise_all
from btxrd.files import sha256_of_file, write_json, written_whole

log = logging.getLogger("btxrd")

STRATIFIED = {"train": 0.70, "val": 0.15, "test": 0.15}
WITHIN_TRAINING_CENTERS = {"train": 0.85, "val": 0.15}
TRAINING_CENTERS = (1,)
COLUMNS = ("image_id", "split", "label", "partition", "center", "case_id")


def make_split(
    split: str,
    metadata_file: str | Path,
    cases_file: str | Path,
    seed: int,
    tables: Mapping[str, Path],
    summary: Path,
) -> None:
    """Write the tables of a split's partitions (columns: COLUMNS) and its summary (JSON: counts, leakage).

    Raises UserError, with class and number, for a strategy that the data can't satisfy.
    """
    images = read_metadata(metadata_file).merge(
        pd.read_csv(cases_file, dtype=str, keep_default_na=False), on="image_id", validate="one_to_one"
    )
    assigned = STRATEGIES[split](images, seed)
    for partition, path in tables.items():
        rows = assigned[assigned["partition"] == partition].assign(split=split)
        with written_whole(path) as temporary:
            rows[list(COLUMNS)].to_csv(temporary, index=False)
    facts = summarize(assigned, left_out=sorted(set(images["image_id"]) - set(assigned["image_id"])))
    facts["sha256"] = {partition: sha256_of_file(path) for partition, path in tables.items()}
    write_json({"split": split, "seed": seed, **facts}, summary)
    log.info("%s:\n%s", split, pd.DataFrame(facts["images"]).T.to_string())
    if facts["left_out"]:
        log.info("left out, its case is in training centers and in held-out ones: %s", ", ".join(facts["left_out"]))


def stratified(images: pd.DataFrame, seed: int) -> pd.DataFrame:
    """70/15/15 over all centers, with the class and center shares of the whole."""
    return deal_cases(images, STRATIFIED, seed, "stratified")


def center_holdout(images: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Center 1 → train and val (85/15); every other center → test. A case seen in both is kept out of training."""
    inside = images["center"].isin(TRAINING_CENTERS)
    held_out = images[~inside].assign(partition="test")
    if held_out.empty:
        raise UserError("split center_holdout: no image outside center 1, so there is nothing to test on.")
    shared = images["case_id"].isin(held_out["case_id"])
    trained = deal_cases(images[inside & ~shared], WITHIN_TRAINING_CENTERS, seed, "center_holdout, center 1")
    return pd.concat([trained, held_out]).sort_values("image_id", ignore_index=True)


STRATEGIES = {"stratified": stratified, "center_holdout": center_holdout}


def deal_cases(images: pd.DataFrame, fractions: Mapping[str, float], seed: int, name: str) -> pd.DataFrame:
    """Return `images` (columns image_id, case_id, label, center) sorted by id, with a `partition` column.

    The partitions get `fractions` of each class and of each class in each center as nearly as whole cases allow.
    The result depends on the ids and the seed, not on the order of rows. Raises UserError where a class has fewer
    cases than there are partitions.
    """
    images = images.sort_values("image_id", ignore_index=True)
    _check_enough_cases(images, fractions, name)
    strata = _stratum_counts(images)
    counts = strata.groupby(images["case_id"]).sum()
    by_case = dict(zip(counts.index, counts.to_numpy(), strict=True))
    target = np.outer(list(fractions.values()), strata.sum())  # (partitions, strata), in images
    lacking = target.copy()
    chosen = {}
    for case in sorted(by_case, key=lambda case: (-by_case[case].sum(), _draw(seed, case))):
        need = (lacking / target) @ by_case[case]
        best = np.flatnonzero(np.isclose(need, need.max()))
        partition = best[_draw(seed, f"tie {case}") % len(best)]
        lacking[partition] -= by_case[case]
        chosen[case] = list(fractions)[partition]
    return images.assign(partition=images["case_id"].map(chosen))


def _stratum_counts(images: pd.DataFrame) -> pd.DataFrame:
    """Image by stratum, 0/1: its class, and its class in its center."""
    by_center = images["label"] + " " + images["center"].astype(str)
    return pd.concat([pd.get_dummies(images["label"]), pd.get_dummies(by_center)], axis=1).astype(float)


def _check_enough_cases(images: pd.DataFrame, partitions: Iterable[str], name: str) -> None:
    wanted = list(partitions)
    cases = images.groupby("label")["case_id"].nunique().reindex(CLASSES, fill_value=0)
    raise_all(
        [
            f"{label}: {number} cases in {(images['label'] == label).sum()} images, but at least {len(wanted)} cases "
            f"are needed for {', '.join(wanted)}"
            for label, number in cases.items()
            if number < len(wanted)
        ],
        f"split {name}",
    )


def _draw(seed: int, text: str) -> int:
    """A large number that depends on the seed and the text alone, on every machine."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{text}".encode()).digest()[:8], "big")


def summarize(assigned: pd.DataFrame, left_out: list[str]) -> dict[str, Any]:
    """Images and cases by class and center in each partition, and the cases that stand on two sides."""
    partitions = {name: assigned[assigned["partition"] == name] for name in PARTITIONS}
    sides = assigned.groupby("case_id")["partition"].nunique()
    return {
        "images": {name: _by_class(rows["label"]) for name, rows in partitions.items()},
        "cases": {
            name: _by_class(rows.drop_duplicates(["case_id", "label"])["label"]) for name, rows in partitions.items()
        },
        "centers": {
            name: {str(center): int(count) for center, count in rows["center"].value_counts().items()}
            for name, rows in partitions.items()
        },
        "cases_on_two_sides": sorted(sides[sides > 1].index),
        "left_out": left_out,
    }


def _by_class(labels: pd.Series) -> dict[str, int]:
    return {name: int((labels == name).sum()) for name in CLASSES}
