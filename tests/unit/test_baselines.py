import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from btxrd import CLASSES
from btxrd.evaluation.baselines import make_baselines


def films(label_of_row, rows=300, **columns):
    """Metadata of films whose columns are noise unless given, with a center and labels in turn."""
    rng = np.random.default_rng(0)
    noise = {
        "width": rng.integers(200, 900, rows),
        "height": rng.integers(200, 900, rows),
        "bytes": rng.integers(10_000, 90_000, rows),
        "mode": rng.choice(["L", "RGB"], rows),
        "age": rng.integers(5, 80, rows),
        "sex": rng.choice(["M", "F"], rows),
        "view": rng.choice(["frontal", "lateral", "oblique"], rows),
        "region": "",
        "subtype": "",
    }
    labels = [CLASSES[label_of_row(row)] for row in range(rows)]
    ids = [f"IMG{row:04d}" for row in range(rows)]
    return pd.DataFrame(
        {"image_id": ids, "case_id": ids, "label": labels, "center": 1 + np.arange(rows) % 3} | noise | columns
    )


def baselines_of(metadata):
    metadata.drop(columns="case_id").assign(phash="", sha256="").to_csv("metadata.csv", index=False)
    tables = {}
    for number, name in enumerate(("train", "val", "test")):
        tables[name] = Path(f"{name}.csv")
        metadata[np.arange(len(metadata)) % 10 // 4 == number][["image_id", "case_id"]].to_csv(
            tables[name], index=False
        )
    make_baselines("stratified", "metadata.csv", tables, ["cases unknown"], 42, Path("baselines.json"))
    return json.loads(Path("baselines.json").read_text())


def test_shortcut_in_the_geometry_is_found_by_geometry_alone():
    labels = np.array([row % 7 % 3 for row in range(300)])
    result = baselines_of(films(lambda row: row % 7 % 3, height=300 + 200 * labels))
    assert result["caveats"] == ["cases unknown"]
    scores = {name: found["test"]["balanced_accuracy"]["value"] for name, found in result["baselines"].items()}
    assert scores["image geometry"] == 1
    assert scores["age, sex, view"] < 0.6
    assert scores["majority class"] == pytest.approx(1 / 3)


def test_center_prior_knows_the_centers_shares():
    result = baselines_of(films(lambda row: row % 3))  # each center has one class
    assert result["baselines"]["center prior"]["test"]["accuracy"]["value"] == 1


def test_columns_that_give_the_label_away_are_never_used():
    result = baselines_of(films(lambda row: row % 7 % 3))
    used = {feature for found in result["baselines"].values() for feature in found["features"]}
    assert used == {"center", "width", "height", "bytes", "mode", "age", "sex", "view"}


def test_class_that_training_lacks_is_given_no_probability():
    result = baselines_of(films(lambda row: 2 if row % 10 == 9 else row % 2))  # Malignant in test alone
    for found in result["baselines"].values():
        assert found["test"]["Malignant.sensitivity"]["value"] == 0


def test_baselines_are_the_same_every_time():
    metadata = films(lambda row: row % 7 % 3)
    assert baselines_of(metadata) == baselines_of(metadata)
