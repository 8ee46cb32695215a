"""BTXRD's own 3,746 rows: table, cases, splits and leaks at full size, on tiny stand-ins for the films."""

import io
import json
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from btxrd.data.leakage import total
from btxrd.data.table import COLUMNS

RENAMED = {
    "ankle": "ankle-joint", "knee": "knee-joint", "hip": "hip-joint", "wrist": "wrist-joint", "elbow": "elbow-joint",
    "shoulder": "shoulder-joint", "lower limbs": "lower limb",
}  # fmt: skip

SPLITS = {"official": {}, "by_image": {}, "kfold": {}, "leave_one_center_out": {}, "leave_one_hospital_out": {}}
OTHER_SPLITS = ("official", "by_image", "kfold_1", "kfold_5", "without_center_2", "without_hospital_g")


@pytest.fixture(scope="module")
def full(tmp_path_factory, real_material):
    """A folder in which table, cases and the splits ran on all rows."""
    from btxrd.cli import main

    folder, before = tmp_path_factory.mktemp("full"), Path.cwd()
    os.chdir(folder)
    try:
        names = [str(real_material / f"case_names_{part}.xlsx") for part in ("train", "val")]
        rows = pd.concat([pd.read_excel(name) for name in names]).rename(columns=RENAMED)
        write_layout(rows)
        common = [f"data.case_names={json.dumps(names)}", f"splits={json.dumps(SPLITS)}", "data.image_size=64"]
        started = time.monotonic()
        for stage in ("table", "cache", "case_names", "cases"):
            assert main([stage, "--override", *common]) == 0
        for split in ("stratified", "center_holdout"):
            assert main(["split", "--override", *common, f"training.split_strategy={split}"]) == 0
        print(f"\ntable, cache, cases, both splits and their gates: {time.monotonic() - started:.1f} s")
        for split in OTHER_SPLITS:
            assert main(["split", "--override", *common, f"training.split_strategy={split}"]) == 0
    finally:
        os.chdir(before)
    return folder


def write_layout(rows):
    """The layout of BTXRD with a film of 12 × 12 px, different for each row; center-3 Normals end in .jpg."""
    images = Path("resources/btxrd/images")
    images.mkdir(parents=True)
    rows[list(COLUMNS)].to_excel("resources/btxrd/dataset.xlsx", index=False)
    rng = np.random.default_rng(0)
    for row in rows.itertuples():
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (12, 12), np.uint8)).save(buffer, "JPEG")
        ending = ".jpg" if row.center == 3 and row.tumor == 0 else ".jpeg"
        (images / row.image_id).with_suffix(ending).write_bytes(buffer.getvalue())


def partitions(full, split):
    return {part: pd.read_csv(full / f"resources/splits/{split}_{part}.csv") for part in ("train", "val", "test")}


def test_cases_are_those_of_the_authors_names(full):
    cases = pd.read_csv(full / "resources/cases.csv")
    named = cases[cases["reason"] != "unnamed"]["case_id"].value_counts()
    assert (named.sum(), len(named), (named > 1).sum()) == (2169, 1178, 688)
    assert cases["reason"].value_counts()["coded"] == 1361
    assert cases[cases["reason"] == "coded"]["hospital"].value_counts().to_dict() == {
        "b": 595,
        "y": 537,
        "g": 229,
    }


def summary(full, split):
    return json.loads((full / f"resources/splits/{split}.json").read_text())


def test_no_case_is_on_two_sides(full):
    for split in ("stratified", "center_holdout", "kfold_1", "kfold_5", "without_center_2", "without_hospital_g"):
        whole = pd.concat(partitions(full, split).values())
        assert len(whole) == whole["image_id"].nunique() == 3746
        assert whole.groupby("case_id")["partition"].nunique().max() == 1
        assert not any(found["images"] for found in summary(full, split)["leakage"].values())


def test_leak_of_the_official_split_is_the_published_one(full):
    leak = summary(full, "official")["leakage"]
    assert leak["val_in_train"]["case"] == {
        "Malignant": {"leaked": 48, "of": 64},
        "Benign": {"leaked": 206, "of": 310},
        "Normal": {"leaked": 41, "of": 377},
    }
    assert len(leak["test_in_val"]["same_ids"]) == 751
    assert "val and test share images" in summary(full, "official")["caveats"]


def test_a_split_by_image_leaks_as_much(full):
    leaked, of = total(summary(full, "by_image")["leakage"]["test_in_train"]["case"])
    assert of == pytest.approx(0.15 * 3746, rel=0.02)
    assert leaked / of > 0.3


@pytest.mark.parametrize("split", ["stratified", "kfold_1", "kfold_5"])
def test_shares_of_classes_and_centers_are_kept(full, split):
    parts = partitions(full, split)
    whole = pd.concat(parts.values())
    for part in parts.values():
        for column, allowed in (("label", 0.01), ("center", 0.03)):
            shares = part[column].value_counts(normalize=True) - whole[column].value_counts(normalize=True)
            assert shares.abs().max() < allowed


def test_stratified_is_seventy_fifteen_fifteen(full):
    parts = partitions(full, "stratified")
    for part, fraction in {"train": 0.70, "val": 0.15, "test": 0.15}.items():
        assert len(parts[part]) / 3746 == pytest.approx(fraction, abs=0.01)


def test_held_out_centers_and_hospitals_are_whole(full):
    parts = partitions(full, "center_holdout")
    assert len(parts["test"]) == 549 + 259
    assert set(parts["test"]["center"]) == {2, 3}
    assert set(parts["train"]["center"]) == set(parts["val"]["center"]) == {1}
    assert len(partitions(full, "without_center_2")["test"]) == 549
    assert partitions(full, "without_hospital_g")["test"]["label"].value_counts().to_dict() == {
        "Malignant": 173, "Benign": 55, "Normal": 1,
    }  # fmt: skip
