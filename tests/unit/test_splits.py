import json
from pathlib import Path

import pandas as pd
import pytest

from btxrd.config import load_config
from btxrd.data.splits import assign_partitions, conflicting_images, deal_cases, make_split
from btxrd.errors import UserError
from btxrd.paths import split_tables
from btxrd.plans import split_plans

STRATIFIED = {"train": 0.70, "val": 0.15, "test": 0.15}


def plan_of(name, seed=42, **entry):
    """The plan of a split whose entry is named after it, or after a part of it such as `kfold_2`."""
    entries = {"stratified": {}, entry.pop("entry", name): entry}
    return split_plans(load_config([json.dumps({"seed": seed, "splits": entries})]))[name]


def assign(table, name, seed=42, names="names.json", **entry):
    return assign_partitions(plan_of(name, seed, **entry), table, set(), names)


def stratified(table, seed):
    return assign(table, "stratified", seed)


def center_holdout(table, seed):
    return assign(table, "center_holdout", seed)


def images(*groups):
    """Rows from (case_id, label, center, number of images)."""
    rows = [(case, label, center) for case, label, center, number in groups for _ in range(number)]
    table = pd.DataFrame(rows, columns=["case_id", "label", "center"])
    ids = [f"IMG{row:04d}" for row in range(len(table))]
    return table.assign(image_id=ids, hospital="", duplicate_group="", sha256=ids, reason="coded")


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
    with pytest.raises(UserError, match="no image is in the centers or hospitals that test is made of"):
        center_holdout(many_cases().query("center == 1"), seed=42)


def test_smallest_possible_data_puts_each_class_into_each_partition():
    table = images(*((f"{label}{n}", label, 1, 1 + n) for label in ("Normal", "Benign", "Malignant") for n in range(3)))
    for seed in range(20):
        assigned = deal_cases(table, STRATIFIED, seed, "test")
        assert (assigned.groupby(["partition", "label"]).size() > 0).sum() == 9


def by_partition(assigned, column="case_id"):
    return {name: set(rows[column]) for name, rows in assigned.groupby("partition")}


def test_folds_are_dealt_once_and_each_case_is_tested_once():
    table = many_cases()
    folds = [assign(table, f"kfold_{fold}", entry="kfold") for fold in range(1, 6)]
    tested = pd.concat([fold[fold["partition"] == "test"] for fold in folds])
    assert sorted(tested["image_id"]) == sorted(table["image_id"])
    whole = table["label"].value_counts(normalize=True)
    for fold in folds:
        assert sides(fold) == 1
        shares = fold[fold["partition"] == "test"]["label"].value_counts(normalize=True)
        assert (shares - whole).abs().max() < 0.01


def test_each_center_is_left_out_in_turn():
    for center in (1, 2, 3):
        assigned = assign(many_cases(), f"without_center_{center}", entry="leave_one_center_out")
        tested = by_partition(assigned, "center")
        assert tested["test"] == {center}
        assert center not in tested["train"] | tested["val"]


def test_hospital_is_left_out_and_its_cases_elsewhere_too():
    table = many_cases()
    inside = table["center"] == 1
    table.loc[inside, "hospital"] = ["bgy"[int(case[1:]) % 3] for case in table.loc[inside, "case_id"]]
    strangers = table["case_id"] == "c7"  # a case of center 2 that turns out to be one of hospital g
    table.loc[strangers, "case_id"] = "c1"
    assert set(table.loc[table["case_id"] == "c1", "hospital"]) == {"", "g"}
    assigned = assign(table, "without_hospital_g", entry="leave_one_hospital_out")
    assert by_partition(assigned, "hospital")["test"] == {"g"}
    assert "c1" not in by_partition(assigned)["train"] | by_partition(assigned)["val"]


def test_partitions_can_be_chosen_by_center_and_hospital():
    selections = {"train": {"centers": [1]}, "val": {"centers": [2]}, "test": {"centers": [3]}}
    assigned = assign(many_cases(), "mine", strategy="stratified", **selections)
    assert by_partition(assigned, "center") == {"train": {1}, "val": {2}, "test": {3}}
    with pytest.raises(UserError, match="no image is in the centers or hospitals that test is made of"):
        assign(many_cases(), "mine", strategy="stratified", test={"hospitals": ["z"]})


def test_fractions_and_seed_of_a_split_are_its_own():
    table = many_cases()
    assigned = assign(table, "mine", strategy="stratified", val_fraction=0.1, test_fraction=0.3)
    shares = assigned["partition"].value_counts(normalize=True)
    assert shares.to_dict() == pytest.approx({"train": 0.6, "val": 0.1, "test": 0.3}, abs=0.01)
    assert not assign(table, "mine", strategy="stratified").equals(assign(table, "mine", strategy="stratified", seed=1))


def test_split_by_image_keeps_shares_and_not_cases():
    assigned = assign(many_cases(), "by_image")
    assert sides(assigned) == 3
    assert set(assigned["case_id"]) == set(many_cases()["case_id"])


def test_official_split_is_the_authors_and_says_that_val_is_test(phantoms):
    record = phantoms / "resources/case_names.json"
    images = pd.DataFrame({"image_id": [f"IMG{n:06d}" for n in range(1, 81)]})
    assigned = assign_partitions(plan_of("official"), images, {"IMG000001"}, record)
    parts = by_partition(assigned, "image_id")
    assert parts["val"] == parts["test"]
    assert not parts["train"] & parts["val"]
    assert len(parts["train"] | parts["val"]) == 80


def test_official_split_needs_both_lists():
    Path("names.json").write_text('{"tables": []}')
    with pytest.raises(UserError, match="needs the authors' two tables"):
        assign(many_cases(), "official")


def manifest(text):
    Path("mine.csv").write_text(text)
    return assign(many_cases(), "mine", strategy="manifest", file="mine.csv")


def test_manifest_says_where_each_image_goes():
    assigned = manifest("image_id,partition,note\nIMG0001,train,x\nIMG0005,val,y\nIMG0009,test,z\n")
    assert assigned.set_index("image_id")["partition"].to_dict() == {
        "IMG0001": "train", "IMG0005": "val", "IMG0009": "test",
    }  # fmt: skip


def test_all_that_is_wrong_in_a_manifest_is_listed():
    with pytest.raises(UserError) as error:
        manifest("image_id,partition\nIMG0001,train\nIMG9999,val\nIMG0002,tset\n")
    for words in ("IMG9999: no such image", "IMG0002: partition is 'tset'", "test: no image", "4 problems", "mine.csv"):
        assert words in str(error.value) or words == "4 problems"
    for text in ("image,partition\n", "\x00"):
        with pytest.raises(UserError, match=r"mine\.csv"):
            manifest(text)
    with pytest.raises(UserError, match="can't be read"):
        assign(many_cases(), "mine", strategy="manifest", file="absent.csv")


def test_duplicates_with_two_labels_are_known_by_their_group():
    table = images(("a", "Benign", 1, 1), ("b", "Normal", 1, 1), ("c", "Normal", 1, 2))
    table.loc[[0, 1], "duplicate_group"] = "IMG0000"
    table.loc[[2, 3], "duplicate_group"] = "IMG0002"
    assert conflicting_images(table) == {"IMG0000", "IMG0001"}


def make(phantoms, plan, conflicting="drop"):
    resources = phantoms / "resources"
    tables = {partition: Path(f"{partition}.csv") for partition in STRATIFIED}
    inputs = [resources / name for name in ("metadata.csv", "cases.csv", "case_names.json")]
    make_split(plan, conflicting, *inputs, tables, Path("s.json"))
    return json.loads(Path("s.json").read_text()), pd.concat(map(pd.read_csv, tables.values()))


def test_tables_and_summary_are_written(phantoms):
    summary, rows = make(phantoms, plan_of("center_holdout"))
    assert list(rows.columns)[:3] == ["image_id", "split", "label"]
    assert set(rows["split"]) == {"center_holdout"}
    assert sum(cell["images"] for cell in summary["counts"]) == len(rows)
    for cell in summary["counts"]:
        same = (rows[["partition", "label", "center"]] == [cell["partition"], cell["label"], cell["center"]]).all(
            axis=1
        )
        same &= rows["hospital"].fillna("") == cell["hospital"]
        assert (cell["images"], cell["cases"]) == (same.sum(), rows[same]["case_id"].nunique())
    assert summary["caveats"] == []
    assert not any(found["images"] for found in summary["leakage"].values())


def test_contradicting_duplicates_are_left_out_or_kept(phantoms):
    dropped, rows = make(phantoms, plan_of("stratified"))
    left_out = dropped["left_out"]["duplicates with contradicting labels"]
    assert len(left_out) == 2
    assert not set(left_out) & set(rows["image_id"])
    kept, rows = make(phantoms, plan_of("stratified"), conflicting="keep")
    assert kept["left_out"]["duplicates with contradicting labels"] == []
    assert set(left_out) < set(rows["image_id"])


def test_leak_by_image_is_reported_and_stands_beside_every_result(phantoms):
    summary, _ = make(phantoms, plan_of("by_image"))
    leaked = sum(cell["leaked"] for cell in summary["leakage"]["test_in_train"]["case"].values())
    assert leaked > 0
    assert any("test images are of cases in train" in caveat for caveat in summary["caveats"])


def test_leak_against_the_promise_fails_and_lists_the_images(phantoms):
    cases = pd.read_csv(phantoms / "resources/cases.csv")
    case = cases[cases["case_id"].duplicated(keep=False)].groupby("case_id").head(2).sort_values("case_id")
    one, two = case["image_id"][:2]
    others = [image for image in cases["image_id"] if image not in (one, two)]
    rows = [f"{one},train", f"{two},test", *(f"{image},val" for image in others[:3])]
    Path("mine.csv").write_text("image_id,partition\n" + "\n".join(rows))
    with pytest.raises(UserError, match=f"{two} is in test, and another image of its case is in train") as error:
        make(phantoms, plan_of("mine", strategy="manifest", file="mine.csv"))
    assert one not in str(error.value)
    assert not list(Path().glob("*.json")) or not Path("s.json").exists()
    summary, _ = make(phantoms, plan_of("mine", strategy="manifest", file="mine.csv", leakage="report"))
    assert two in summary["leakage"]["test_in_train"]["images"]


def test_paths_of_tables():
    assert str(split_tables({"data": {"splits_dir": "s"}}, "x")["val"]) == "s/x_val.csv"
