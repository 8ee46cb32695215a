"""BTXRD's own 3,746 rows: table, cases and splits at full size, on tiny stand-ins for the films."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from btxrd.data.table import COLUMNS

RENAMED = {
    "ankle": "ankle-joint", "knee": "knee-joint", "hip": "hip-joint", "wrist": "wrist-joint", "elbow": "elbow-joint",
    "shoulder": "shoulder-joint", "lower limbs": "lower limb",
}  # fmt: skip


@pytest.fixture(scope="module")
def full(tmp_path_factory, real_material):
    """A folder in which table, cases and both splits ran on all rows."""
    import os

    from btxrd.cli import main

    folder, before = tmp_path_factory.mktemp("full"), Path.cwd()
    os.chdir(folder)
    try:
        names = [str(real_material / f"case_names_{part}.xlsx") for part in ("train", "val")]
        rows = pd.concat([pd.read_excel(name) for name in names]).rename(columns=RENAMED)
        write_layout(rows)
        overrides = [f"data.case_names={json.dumps(names)}"]
        for stage in ("table", "cases"):
            assert main([stage, "--override", *overrides]) == 0
        for split in ("stratified", "center_holdout"):
            assert main(["split", "--override", f"training.split_strategy={split}"]) == 0
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


def test_no_case_is_on_two_sides(full):
    for split in ("stratified", "center_holdout"):
        whole = pd.concat(partitions(full, split).values())
        assert len(whole) == whole["image_id"].nunique() == 3746
        assert whole.groupby("case_id")["partition"].nunique().max() == 1
        assert json.loads((full / f"resources/splits/{split}.json").read_text())["cases_on_two_sides"] == []


def test_class_shares_are_kept_within_one_percentage_point(full):
    parts = partitions(full, "stratified")
    whole = pd.concat(parts.values())["label"].value_counts(normalize=True)
    for part, fraction in {"train": 0.70, "val": 0.15, "test": 0.15}.items():
        shares = parts[part]["label"].value_counts(normalize=True)
        assert (shares - whole).abs().max() < 0.01, part
        assert len(parts[part]) / 3746 == pytest.approx(fraction, abs=0.01)


def test_held_out_centers_are_whole(full):
    parts = partitions(full, "center_holdout")
    assert len(parts["test"]) == 549 + 259
    assert set(parts["test"]["center"]) == {2, 3}
    assert set(parts["train"]["center"]) == set(parts["val"]["center"]) == {1}
