"""Train, validation and test partitions that keep the images of a case together, and a gate that no case slips through.

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
from btxrd.data.cases import named_tables, read_cases
from btxrd.data.leakage import leaked_images, measure_leakage, total
from btxrd.data.table import read_metadata
from btxrd.errors import UserError, raise_all
from btxrd.files import sha256_of_file, write_json, written_whole
from btxrd.plans import Selection, SplitPlan

log = logging.getLogger("btxrd")

COLUMNS = ("image_id", "split", "label", "partition", "center", "hospital", "case_id")


def make_split(
    plan: SplitPlan,
    conflicting_labels: str,
    metadata_file: str | Path,
    cases_file: str | Path,
    names_record: str | Path,
    tables: Mapping[str, Path],
    summary: Path,
) -> None:
    """Write the tables of a split's partitions (columns: COLUMNS) and its summary (JSON: counts, leakage, caveats).

    Raises UserError, with class and number, for a plan that the data can't satisfy, and with the images for a leak
    where the plan promises none; then nothing is written.
    """
    images = read_images(metadata_file, cases_file)
    dropped = conflicting_images(images) if conflicting_labels == "drop" else set()
    assigned = assign_partitions(plan, images, dropped, names_record)
    partitions = {name: assigned[assigned["partition"] == name] for name in PARTITIONS}
    leakage = measure_leakage(partitions)
    if plan.promises_no_leak:
        advice = f" (splits.{plan.name}.leakage: report goes on)" if plan.strategy == "manifest" else ""
        raise_all(list(leaked_images(leakage)), f"split {plan.name} must not leak{advice}")
    for name, path in tables.items():
        with written_whole(path) as temporary:
            partitions[name].assign(split=plan.name)[list(COLUMNS)].to_csv(temporary, index=False)
    facts = {
        "split": plan.name,
        "strategy": plan.strategy,
        "seed": plan.seed,
        "partitions": {
            name: {"images": len(rows), "cases": rows["case_id"].nunique()} for name, rows in partitions.items()
        },
        "counts": count_images(assigned),
        "leakage": leakage,
        "promises_no_leak": plan.promises_no_leak,
        "left_out": {
            "duplicates with contradicting labels": sorted(dropped - set(assigned["image_id"])),
            "in no partition": sorted(set(images["image_id"]) - dropped - set(assigned["image_id"])),
        },
        "caveats": caveats(images, leakage),
        "sha256": {name: sha256_of_file(path) for name, path in tables.items()},
    }
    write_json(facts, summary)
    _log_summary(facts, assigned)


def read_images(metadata_file: str | Path, cases_file: str | Path) -> pd.DataFrame:
    """metadata.csv and cases.csv side by side, one row an image."""
    return read_metadata(metadata_file).merge(read_cases(cases_file), on="image_id", validate="one_to_one")


def conflicting_images(images: pd.DataFrame) -> set[str]:
    """The ids of duplicates with contradicting labels."""
    labels = images.groupby("duplicate_group")["label"].transform("nunique")
    return set(images.loc[(images["duplicate_group"] != "") & (labels > 1), "image_id"])


def assign_partitions(
    plan: SplitPlan, images: pd.DataFrame, dropped: set[str], names_record: str | Path
) -> pd.DataFrame:
    """`images` with the column partition, without those that the plan leaves out, and without `dropped`.

    `official` is the authors' as it is: nothing is dropped, and each image of val has a second row, in test.
    """
    usable = images[~images["image_id"].isin(dropped)].reset_index(drop=True)
    if plan.strategy == "official":
        return _official(images, named_tables(names_record))
    if plan.strategy == "manifest":
        return _from_manifest(usable, Path(plan.file), known=set(images["image_id"]))
    if plan.strategy == "by_image":
        dealt = _dealt(plan, usable.assign(case_id=usable["image_id"]))
        return dealt.assign(case_id=dealt["image_id"].map(images.set_index("image_id")["case_id"]))
    return _dealt(plan, usable)


def _dealt(plan: SplitPlan, images: pd.DataFrame) -> pd.DataFrame:
    """Fix the partitions that the plan selects, and deal the other images out among the rest.

    A case that stands in two of these is kept in test before val, and in val before training.
    """
    fixed = _fixed_partitions(plan, images)
    for name, mask in fixed.items():
        if not mask.any():
            raise UserError(f"split {plan.name}: no image is in the centers or hospitals that {name} is made of.")
    free = _selected(images, plan.train) & ~_any_of(fixed.values(), images)
    chosen, taken = [], set()
    for name in ("test", "val"):
        if name in fixed:
            mask = fixed[name] & ~images["case_id"].isin(taken)
            chosen.append(images[mask].assign(partition=name))
            taken |= set(images.loc[mask, "case_id"])
    free &= ~images["case_id"].isin(taken)
    shares = _fractions(plan, fixed)
    chosen.append(deal_cases(images[free], shares, plan.seed, plan.name))
    return pd.concat(chosen).sort_values("image_id", ignore_index=True)


def _fixed_partitions(plan: SplitPlan, images: pd.DataFrame) -> dict[str, pd.Series]:
    if plan.fold is not None:
        parts = {str(fold): 1 / plan.folds for fold in range(1, plan.folds + 1)}
        dealt = deal_cases(images, parts, plan.seed, plan.name).set_index("image_id")["partition"]
        return {"test": images["image_id"].map(dealt) == str(plan.fold)}
    fixed = {name: _selected(images, getattr(plan, name)) for name in ("val", "test") if getattr(plan, name)}
    if plan.strategy == "center_holdout" and "test" not in fixed:
        fixed["test"] = ~_any_of([_selected(images, plan.train), *fixed.values()], images)
    return fixed


def _selected(images: pd.DataFrame, selection: Selection | None) -> pd.Series:
    mask = pd.Series(True, index=images.index)
    for column, key in (("center", "centers"), ("hospital", "hospitals")):
        if (selection or {}).get(key):
            mask &= images[column].isin(selection[key])
    return mask


def _any_of(masks: Iterable[pd.Series], images: pd.DataFrame) -> pd.Series:
    return pd.concat([pd.Series(False, index=images.index), *masks], axis=1).any(axis=1)


def _fractions(plan: SplitPlan, fixed: Mapping[str, Any]) -> dict[str, float]:
    """Shares of the partitions among which images are dealt: those that are not fixed."""
    shares = {"val": plan.val_fraction, "test": plan.test_fraction}
    dealt = {name: share for name, share in shares.items() if name not in fixed}
    return {"train": 1 - sum(dealt.values()), **dealt}


def _official(images: pd.DataFrame, lists: list[dict[str, str]]) -> pd.DataFrame:
    """The authors' lists: the first table of names is their training list, the second their validation list."""
    if len(lists) != 2:
        raise UserError(
            "split official: it needs the authors' two tables (data.case_names: the training list, then the "
            f"validation list), found {len(lists)}."
        )
    train, val = (images["image_id"].isin(names) for names in lists)
    parts = ((train, "train"), (val, "val"), (val, "test"))  # they chose the best epoch on the images they report
    return pd.concat([images[mask].assign(partition=name) for mask, name in parts], ignore_index=True)


def _from_manifest(images: pd.DataFrame, path: Path, known: set[str]) -> pd.DataFrame:
    """A person's own table: image_id, partition."""
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: the manifest can't be read ({error}).") from None
    missing = [name for name in ("image_id", "partition") if name not in rows.columns]
    if missing:
        raise UserError(f"{path}: column {', '.join(missing)} missing; a manifest has image_id and partition.")
    problems = [f"{image_id}: no such image" for image_id in rows["image_id"] if image_id not in known]
    problems += [
        f"{image_id}: partition is {partition!r}, not train, val or test"
        for image_id, partition in zip(rows["image_id"], rows["partition"], strict=True)
        if partition not in PARTITIONS
    ]
    problems += [f"{name}: no image" for name in PARTITIONS if name not in set(rows["partition"])]
    raise_all(problems, str(path))
    listed = rows[["image_id", "partition"]].drop_duplicates()
    return listed.merge(images, on="image_id").sort_values("image_id", ignore_index=True)


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


def count_images(assigned: pd.DataFrame) -> list[dict[str, Any]]:
    """Images and cases of each class, center and hospital in each partition; cells without an image are left out."""
    cells = assigned.groupby(["partition", "label", "center", "hospital"])["case_id"].agg(["size", "nunique"])
    return [
        {"partition": partition, "label": label, "center": int(center), "hospital": hospital,
         "images": int(cell["size"]), "cases": int(cell["nunique"])}
        for (partition, label, center, hospital), cell in cells.iterrows()
    ]  # fmt: skip


def caveats(images: pd.DataFrame, leakage: Mapping[str, Any]) -> list[str]:
    """What must stand beside every result of the split, in a few words each."""
    found = [] if images["reason"].isin(["coded", "slug"]).any() else ["cases unknown"]
    if leakage.get("test_in_val", {}).get("same_ids"):
        found.append("val and test share images")
    for judged in ("val", "test"):
        leaked, of = total(leakage[f"{judged}_in_train"]["any"])
        if leaked:
            found.append(f"leaks: {leaked} of {of} {judged} images are of cases in train")
    return found


def _log_summary(facts: Mapping[str, Any], assigned: pd.DataFrame) -> None:
    counts = pd.crosstab(assigned["label"], assigned["partition"]).reindex(index=CLASSES, columns=PARTITIONS)
    log.info("%s:\n%s", facts["split"], counts.to_string())
    for reason, images in facts["left_out"].items():
        if images:
            log.info("left out, %s: %d images: %s", reason, len(images), ", ".join(images))
    for caveat in facts["caveats"]:
        log.warning("%s: %s", facts["split"], caveat)
