"""The main job on real radiographs: 20 films of BTXRD in the published layout, through every stage."""

import json

import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

pytestmark = pytest.mark.usefixtures("real_material")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, real_material, snakemake):
    folder = tmp_path_factory.mktemp("sample")
    overlay = {
        "data": {
            "archive": str(real_material / "BTXRD-sample.zip"),
            "sha256": "2033f36b7d11b256d6a80d18d39c2acde40bf3395c429fc210ba3df38689452e",
            "expected_counts": {"Normal": [6, 0, 0], "Benign": [5, 2, 0], "Malignant": [4, 3, 0]},
            "case_names": [str(real_material / f"case_names_{part}.xlsx") for part in ("train", "val")],
            "image_size": 64,
            "num_workers": 1,
        },
        "model": {"pretrained": False},
        "training": {"epochs": 2, "batch_size": 4},
    }
    (folder / "sample.yaml").write_text(yaml.safe_dump(overlay))
    result = snakemake(folder, "--cores", "1", "--resources", "gpu=0", "--configfile", "sample.yaml")
    assert result.returncode == 0, result.stderr
    return folder


def test_both_strategies_are_trained_and_drawn(trained):
    for split in ("stratified", "center_holdout"):
        log = pd.read_csv(trained / f"results/{split}/training_log.csv")
        assert len(log) == 2
        assert log.notna().all().all()
        for name in ("loss_curve.png", "recall_curve.png", "training_curves.png"):
            with Image.open(trained / f"results/{split}" / name) as picture:
                assert min(picture.size) > 700
        checkpoint = torch.load(trained / f"checkpoints/best_{split}.pt", weights_only=True)
        assert checkpoint["class_weights"].min() > 0


def test_classes_absent_from_test_are_null_and_not_zero(trained):
    metrics = json.loads((trained / "results/center_holdout/metrics.json").read_text())
    test = metrics["partitions"]["test"]
    assert test["support"] == {"Normal": 0, "Benign": 2, "Malignant": 3}
    assert test["notes"] == ["no Normal image: what would need one is null"]
    for name in ("balanced_accuracy", "macro_auc", "Normal.sensitivity"):
        assert test["metrics"][name]["value"] is None
    assert test["metrics"]["accuracy"]["of"] == 5
    assert {row["group"] for row in metrics["subgroups"] if row["grouping"] == "center"} == {"2"}
    assert all(row["few"] for row in metrics["subgroups"])


def test_all_that_a_reader_needs_is_made_of_real_films(trained):
    card = (trained / "results/model_card.md").read_text()
    assert "2033f36b7d11b256d6a80d18d39c2acde40bf3395c429fc210ba3df38689452e" in card
    assert "SYNTHETIC" not in card
    comparison = pd.read_csv(trained / "results/comparison.csv")
    assert {"stratified", "center_holdout"} <= set(comparison["name"])
    audit = json.loads((trained / "results/audit/audit.json").read_text())
    assert not any(finding["severity"] == "error" for finding in audit["findings"])


def test_a_class_absent_from_the_held_out_centers_is_no_trouble(trained):
    test = pd.read_csv(trained / "resources/splits/center_holdout_test.csv")
    assert test["label"].value_counts().to_dict() == {"Malignant": 3, "Benign": 2}
    assert set(test["center"]) == {2}


def test_real_cases_are_read_and_kept_together(trained):
    cases = pd.read_csv(trained / "resources/cases.csv").set_index("image_id")
    assert cases.loc["IMG000168", "case_id"] == cases.loc["IMG000169", "case_id"]
    assert cases["reason"].value_counts().to_dict() == {"coded": 9, "unnamed": 6, "slug": 5}
    for split in ("stratified", "center_holdout"):
        tables = [pd.read_csv(trained / f"resources/splits/{split}_{part}.csv") for part in ("train", "val", "test")]
        together = pd.concat(tables)
        assert len(together) == 20
        assert together.groupby("case_id")["partition"].nunique().max() == 1


def test_metadata_describes_the_real_films(trained):
    metadata = pd.read_csv(trained / "resources/metadata.csv").set_index("image_id")
    assert metadata.loc["IMG000046", ["width", "height", "mode"]].tolist() == [455, 809, "L"]
    assert metadata.loc["IMG001483", ["width", "height", "mode"]].tolist() == [1190, 2685, "RGB"]
    assert len(list((trained / "resources/btxrd/Annotations").glob("*.json"))) == 14
