"""The comparison and the model card, from small hand-made results of two splits."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from btxrd import CLASSES
from btxrd.config import load_config
from btxrd.evaluation.card import write_card
from btxrd.evaluation.compare import METRICS, SplitResults, compare
from btxrd.evaluation.evaluate import PROBABILITIES
from btxrd.evaluation.judgement import judge, proportion

HASH = "0" * 64


def results_of(name, right, seeds=1):
    """The folder of a split's results; a share `right` of its 90 test images is classified right."""
    folder = Path("results") / name
    further = [folder / f"seed_{seed}" for seed in range(43, 42 + seeds)]
    for number, place in enumerate([folder, *further]):
        place.mkdir(parents=True)
        write_run(place, right - 0.1 * number)
    baselines = {"majority class": {"features": [], "test": metrics_of(np.arange(90) % 3, np.zeros(90, int))}}
    (folder / "baselines.json").write_text(json.dumps({"baselines": baselines}))
    return SplitResults(name, folder, further, ["cases unknown"] if name == "stratified" else [])


def metrics_of(labels, predicted):
    cases = [f"c{n // 2}" for n in range(len(labels))]
    return judge(labels, np.eye(3)[predicted] * 0.8 + 0.1, cases, 42)


def write_run(folder, right):
    labels = np.arange(90) % 3
    predicted = np.where(np.arange(90) < round(90 * right), labels, (labels + 1) % 3)
    rows = pd.DataFrame(np.eye(3)[predicted] * 0.8 + 0.1, columns=PROBABILITIES)
    rows["label"] = [CLASSES[label] for label in labels]
    rows["case_id"], rows["partition"] = [f"c{n // 2}" for n in range(90)], "test"
    rows.to_csv(folder / "predictions.csv", index=False)
    calibration = {"ece": 0.1, "brier": 0.2, "nll": 0.3}
    point = {"threshold": 0.4, "sensitivity": proportion(9, 10), "specificity": proportion(70, 80)}
    test = {
        "images": 90,
        "cases": 45,
        "support": dict.fromkeys(CLASSES, 30),
        "metrics": metrics_of(labels, predicted),
        "malignant_called_normal": proportion(3, 30),
        "calibration": {"before": calibration, "after": calibration},
        "operating_points": {"youden": point, "sensitivity_0.90": None},
    }
    row = {"grouping": "center", "group": "1", "images": 90, "cases": 45, "few": False}
    row |= {"accuracy": test["metrics"]["accuracy"], "malignant_sensitivity": proportion(20, 30)}
    facts = {
        "checkpoint": {"file": "best.pt", "epoch": 7, "sha256": HASH},
        "provenance": {"git_commit": "abc", "btxrd": "0", "packages": {"torch": "2"}, "sha256": {"train.csv": HASH}},
        "bootstrap": {"resamples": 1000},
        "temperature": 1.5,
        "partitions": {"test": test},
        "subgroups": [row, row | {"group": "few of them", "few": True}],
    }
    (folder / "metrics.json").write_text(json.dumps(facts))


def compared(*splits, synthetic=False):
    compare(splits, synthetic, "a note", Path("c.csv"), Path("c.html"), Path("c.png"))
    table = pd.read_csv("c.csv", index_col="name")
    return table, Path("c.html").read_text()


def test_gap_of_the_held_out_centers_has_an_interval():
    table, page = compared(results_of("stratified", 0.9), results_of("center_holdout", 0.6))
    gap = table.loc["center_holdout − stratified"]
    assert gap["accuracy.value"] == pytest.approx(-0.3)
    assert gap["accuracy.low"] < -0.3 < gap["accuracy.high"] < 0
    assert "-0.300" in page


def test_every_row_has_its_interval_and_published_ones_their_caveat():
    table, page = compared(results_of("stratified", 0.9), results_of("center_holdout", 0.6))
    for name in ("stratified", "center_holdout", "stratified: majority class"):
        for metric in METRICS:
            low, value, high = (table.loc[name, f"{metric}.{part}"] for part in ("low", "value", "high"))
            assert low <= value <= high
    published = table[table["kind"] == "published"]
    assert len(published) == 5
    assert published["about"].str.len().min() > 20
    assert "cases unknown" in page
    assert "://" not in page
    with Image.open("c.png") as picture:
        assert min(picture.size) > 400


def test_several_seeds_give_mean_and_deviation():
    table, page = compared(results_of("stratified", 0.9, seeds=3))
    row = table.loc["stratified"]
    assert row["seeds"] == 3
    assert row["accuracy.value"] == pytest.approx(0.9)
    assert row["accuracy.mean"] == pytest.approx(0.8)
    assert row["accuracy.sd"] == pytest.approx(0.1)
    assert "3 seeds: 0.800 ± 0.100" in page
    assert "gap" not in set(table["kind"])  # there is no center_holdout


def test_synthetic_results_are_marked():
    _, page = compared(results_of("stratified", 0.9), synthetic=True)
    assert "SYNTHETIC phantoms" in page
    assert "the rows above are synthetic phantoms" in page


@pytest.fixture
def card():
    """The text of the model card of two splits."""
    splits = [results_of("stratified", 0.9), results_of("center_holdout", 0.6)]
    summary = {
        "partitions": {part: {"images": 9, "cases": 5} for part in ("train", "val", "test")},
        "promises_no_leak": True,
    }
    Path("summary.json").write_text(json.dumps(summary))
    Path("archive.json").write_text(json.dumps({"bytes": 840474929, "sha256": HASH}))
    config = load_config()
    write_card(
        config,
        {split.name: split.folder / "metrics.json" for split in splits},
        dict.fromkeys([split.name for split in splits], Path("summary.json")),
        {split.name: split.caveats for split in splits},
        Path("archive.json"),
        Path("card.md"),
    )
    return Path("card.md").read_text()


def test_card_has_the_sections_of_a_model_card(card):
    headings = [line.removeprefix("## ") for line in card.splitlines() if line.startswith("## ")]
    for name in ("Model details", "Intended use", "Factors", "Metrics", "Data", "Ethical considerations", "Limits"):
        assert name in headings
    assert "not for clinical use" in card
    assert "CLAIM" in card and "TRIPOD+AI" in card and "a person must write it" in card


def test_card_takes_its_figures_from_the_files(card):
    judged = json.loads(Path("results/center_holdout/metrics.json").read_text())["partitions"]["test"]["metrics"]
    low, high = judged["accuracy"]["cases"]
    assert f"0.600 ({low:.3f}–{high:.3f})" in card
    assert "3 of 30" in card
    assert "9 of 10" in card
    assert "840,474,929" in card
    assert HASH in card
    assert "few of them" not in card
    assert "cases unknown" in card


def test_tables_of_the_card_are_whole(card):
    """Each row of a Markdown table has as many cells as its heading, and no row is torn off by an empty line."""
    lines = card.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("|---"):
            columns = line.count("|")
            assert lines[number - 1].count("|") == columns
            rows = []
            for row in lines[number + 1 :]:
                if not row.startswith("|"):
                    break
                rows.append(row)
            assert rows
            assert all(row.count("|") == columns for row in rows)
        elif line.startswith("|"):
            assert lines[number - 1].startswith("|") or lines[number + 1].startswith("|---")
