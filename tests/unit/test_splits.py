import json
from pathlib import Path

import pandas as pd
import pytest

from btxrd.data.splits import STRATIFIED, center_holdout, deal_cases, make_split, stratified
from btxrd.errors import UserError
from btxrd.paths import split_tables


def images(*groups):
    """Rows from (case_id, label, center, number of images)."""
    rows = [(case, label, center) for case, label, center, number in groups for _ in range(number)]
    table = pd.DataFrame(rows, columns=["case_id", "label", "center"])
    return table.assign(image_id=[f"IMG{row:04d}" for row in range(len(table))])


def many_cases():
    """600 cases of 1 to 4 images with BTXRD-like shares."""
    labels = ["Normal"] * 50 + ["Benign"] * 40 + ["Malignant"] * 10
    return images(
        *((f"c{case}", labels[case % 100], 1 + (case % 7 == 0) + (case % 13 == 0), 1 + case % 4) for case in range(600))
    )


def sides(assigned):
    return assigned.groupby("case_id")["partition"].nunique().max()


def test_cases_stay_together_and_shares_are_kept():
    table = many_cases()
    assigned = stratified(table, seed=42)
    assert sides(assigned) == 1
    assert len(assigned) == len(table)
    whole = table["label"].value_counts(normalize=True)
    for partition, fraction in STRATIFIED.items():
        rows = assigned[assigned["partition"] == partition]
        assert len(rows) / len(table) == pytest.approx(fraction, abs=0.01)
        assert (rows["label"].value_counts(normalize=True) - whole).abs().max() < 0.01
        centers = rows["center"].value_counts(normalize=True) - table["center"].value_counts(normalize=True)
        assert centers.abs().max() < 0.03


def test_large_cases_are_spread_over_all_partitions():
    assigned = stratified(many_cases(), seed=42)
    sizes = assigned.groupby("partition")["case_id"].value_counts().groupby("partition").mean()
    assert sizes.max() / sizes.min() < 1.1


def test_order_of_rows_does_not_matter_and_the_seed_does():
    table = many_cases()
    one = stratified(table, seed=42)
    assert stratified(table.sample(frac=1, random_state=0), seed=42).equals(one)
    assert not stratified(table, seed=43)["partition"].equals(one["partition"])


def test_a_case_with_two_labels_stays_together():
    table = many_cases()
    table.loc[table["case_id"] == "c1", "label"] = ["Benign", "Malignant"]
    assert sides(stratified(table, seed=42)) == 1


def test_held_out_centers_are_never_trained_on():
    table = many_cases()
    assigned = center_holdout(table, seed=42)
    assert set(assigned.loc[assigned["partition"] == "test", "center"]) == {2, 3}
    trained = assigned[assigned["partition"] != "test"]
    assert set(trained["center"]) == {1}
    assert (trained["partition"] == "train").mean() == pytest.approx(0.85, abs=0.01)


def test_a_case_seen_inside_and_outside_is_kept_out_of_training():
    table = many_cases()
    table.loc[table["case_id"].isin(["c1", "c7"]), "case_id"] = "both"
    assigned = center_holdout(table, seed=42)
    rows = assigned[assigned["case_id"] == "both"]
    assert set(rows["partition"]) == {"test"}
    assert set(rows["center"]) == {2}


def test_class_with_too_few_cases_is_named_with_its_number():
    benign = ((f"b{n}", "Benign", 1, 1) for n in range(5))
    table = images(("a", "Normal", 1, 9), *benign, ("m1", "Malignant", 1, 4), ("m2", "Malignant", 1, 1))
    with pytest.raises(UserError) as error:
        stratified(table, seed=42)
    assert "Normal: 1 cases in 9 images, but at least 3 cases" in str(error.value)
    assert "Malignant: 2 cases in 5 images" in str(error.value)
    assert "Benign" not in str(error.value)


def test_center_holdout_needs_another_center():
    with pytest.raises(UserError, match="no image outside center 1"):
        center_holdout(many_cases().query("center == 1"), seed=42)


def test_smallest_possible_data_puts_each_class_into_each_partition():
    table = images(*((f"{label}{n}", label, 1, 1 + n) for label in ("Normal", "Benign", "Malignant") for n in range(3)))
    for seed in range(20):
        assigned = deal_cases(table, STRATIFIED, seed, "test")
        assert (assigned.groupby(["partition", "label"]).size() > 0).sum() == 9


def test_tables_and_summary_are_written(phantoms):
    tables = {partition: Path(f"{partition}.csv") for partition in STRATIFIED}
    make_split(
        "center_holdout",
        phantoms / "resources/metadata.csv",
        phantoms / "resources/cases.csv",
        42,
        tables,
        Path("s.json"),
    )
    summary = json.loads(Path("s.json").read_text())
    assert summary["cases_on_two_sides"] == []
    for partition, path in tables.items():
        rows = pd.read_csv(path)
        assert list(rows.columns)[:3] == ["image_id", "split", "label"]
        assert set(rows["split"]) == {"center_holdout"}
        assert sum(summary["images"][partition].values()) == len(rows)


def test_paths_of_tables():
    assert str(split_tables({"data": {"splits_dir": "s"}}, "x")["val"]) == "s/x_val.csv"
