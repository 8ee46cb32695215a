"""The workflow as people run it: end to end on phantoms, and what it reruns."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from playwright.sync_api import sync_playwright
from report_reader import IS_ON_TOP, IS_SHOWN, SIDEWAYS, Reader

from btxrd.evaluation.outputs import EVALUATION_FILES
from btxrd.explain.outputs import EXPLANATION_FILES

OVERLAY = {
    "data": {
        "source": "phantom",
        "image_size": 64,
        "num_workers": 0,
        "phantom": {"images": 80, "long_side": 160},
    },
    "model": {"pretrained": False},
    "training": {"epochs": 2, "batch_size": 16},
}
ROOT = Path(__file__).resolve().parents[2]
SPLITS = ("stratified", "center_holdout")
CATEGORIES = ["Data", "Training", "Evaluation", "Explanation", "Comparison"]  # in the order of reading


def write_overlay(folder, overlay=OVERLAY, **training):
    content = overlay | {"training": overlay["training"] | training}
    (folder / "overlay.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


@pytest.fixture(scope="module")
def done(tmp_path_factory, snakemake):
    """A copy of the checkout, and a folder (with a space and an umlaut) in which the whole workflow ran once."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(ROOT / "workflow", home / "workflow", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("config", "envs"):
        shutil.copytree(ROOT / name, home / name)
    folder = home / "ein Ordner für Röntgen"
    folder.mkdir()
    write_overlay(folder)
    first = call(snakemake, folder, "--cores", "1", "--resources", "gpu=0")
    assert first.returncode == 0, first.stderr
    return folder


def call(snakemake, folder, *arguments):
    overlay = ("--configfile", "overlay.yaml")
    return snakemake(folder, *arguments, "--snakefile", "../workflow/Snakefile", *overlay)


def planned(snakemake, folder):
    """Rules that a dry run would run, with how many jobs each."""
    output = call(snakemake, folder, "-n", "--cores", "1")
    assert output.returncode == 0, output.stderr
    lines = [line.split() for line in (output.stdout + output.stderr).splitlines()]
    start = next((n for n, words in enumerate(lines) if words == ["job", "count"]), None)
    if start is None:
        return {}
    table = lines[start + 2 :]
    end = next(n for n, words in enumerate(table) if not words)
    return {words[0]: int(words[1]) for words in table[:end] if words[0] not in ("total", "all")}


def test_everything_that_is_promised_is_there(done):
    for split in SPLITS:
        log = pd.read_csv(done / f"results/{split}/training_log.csv")
        assert list(log["epoch"]) == [1, 2]
        for which in ("best", "final"):
            checkpoint = torch.load(done / f"checkpoints/{which}_{split}.pt", weights_only=True)
            assert checkpoint["class_names"] == ["Normal", "Benign", "Malignant"]
            assert checkpoint["config"]["training"]["split_strategy"] == split
            assert checkpoint["config"]["data"]["image_size"] == 64
            assert set(checkpoint["provenance"]["sha256"]) == {"train.csv", "val.csv", "test.csv", "cache"}
        assert checkpoint["epoch"] == 2
        for name in ("loss_curve.png", "recall_curve.png", "training_curves.png"):
            assert (done / f"results/{split}" / name).stat().st_size > 10_000
        train, val, test = (pd.read_csv(done / f"resources/splits/{split}_{p}.csv") for p in ("train", "val", "test"))
        assert not set(train["case_id"]) & (set(val["case_id"]) | set(test["case_id"]))
        assert "trained" not in (done / f"logs/train_{split}.log").read_text()
        assert (done / f"logs/train_{split}.log").read_text().count("epoch") >= 2
        assert (done / f"benchmarks/train_{split}.tsv").exists()
        for name in (*EVALUATION_FILES, *EXPLANATION_FILES, "baselines.json"):
            assert (done / f"results/{split}" / name).exists(), name
    for name in ("comparison.csv", "comparison.html", "comparison.png", "model_card.md", "audit/audit.html"):
        assert (done / "results" / name).exists(), name
    assert not list((done / "checkpoints/.state").iterdir())


def test_further_seeds_share_table_cache_and_splits(done, snakemake):
    write_overlay(done, OVERLAY | {"replicates": [42, 43, 44]})
    assert planned(snakemake, done) == {"train": 4, "evaluate": 4, "compare": 1, "card": 1}
    write_overlay(done)


def test_best_is_the_epoch_of_the_lowest_validation_loss(done):
    for split in SPLITS:
        log = pd.read_csv(done / f"results/{split}/training_log.csv")
        checkpoint = torch.load(done / f"checkpoints/best_{split}.pt", weights_only=True)
        assert checkpoint["epoch"] == log.loc[log["val_loss"].idxmin(), "epoch"]
        assert checkpoint["metrics"]["val_loss"] == pytest.approx(log["val_loss"].min(), abs=1e-6)


def test_a_finished_run_has_nothing_to_do(done, snakemake):
    assert planned(snakemake, done) == {}


def test_touching_code_config_or_cache_reruns_nothing(done, snakemake):
    library = done.parent / "workflow/lib/btxrd"
    for path in (
        library / "training/loop.py",
        library / "data/table.py",
        done / "overlay.yaml",
        done / "resources/cache/gray_64_pad.npy",
    ):
        os.utime(path)
    assert planned(snakemake, done) == {}


def test_reordering_the_yaml_reruns_nothing(done, snakemake):
    backwards = {key: dict(reversed(value.items())) for key, value in reversed(OVERLAY.items())}
    write_overlay(done, backwards)
    assert planned(snakemake, done) == {}
    write_overlay(done)


# What follows a new training of both splits, of one, and a new split table.
JUDGED = {"evaluate": 2, "explain": 2, "compare": 1, "card": 1}
RETRAINED = {"train": 2, "plot": 2, **JUDGED}
ONE_RETRAINED = {"train": 1, "plot": 1, "evaluate": 1, "explain": 1, "compare": 1, "card": 1}
RESPLIT = {"split": 2, **RETRAINED, "baselines": 2, "audit": 1}
ONE_RESPLIT = {"split": 1, **ONE_RETRAINED, "baselines": 1, "audit": 1}


@pytest.mark.parametrize("training", [{"learning_rate": 0.001}, {"gradient_clip": None}])
def test_a_training_key_retrains_and_nothing_else(done, snakemake, training):
    write_overlay(done, **training)
    assert planned(snakemake, done) == RETRAINED
    write_overlay(done)


def test_keys_that_change_no_result_rerun_nothing(done, snakemake):
    content = OVERLAY | {"data": OVERLAY["data"] | {"num_workers": 1}, "device": "cpu"}
    write_overlay(done, content, split_strategy="center_holdout")
    assert planned(snakemake, done) == {}
    write_overlay(done)


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        ({"by_image": {}}, ONE_RESPLIT),
        ({"kfold": {"folds": 2}}, RESPLIT),
        ({"stratified": {"training": {"epochs": 3}}}, ONE_RETRAINED),
        ({"stratified": {"seed": 7}}, ONE_RESPLIT),
        ({"center_holdout": None}, {"audit": 1, "compare": 1, "card": 1}),
    ],
)
def test_a_split_of_the_config_is_made_alone(done, snakemake, splits, expected):
    write_overlay(done, OVERLAY | {"splits": splits})
    assert planned(snakemake, done) == expected
    write_overlay(done)


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("training/loop.py", RETRAINED),
        ("models/classifier.py", RETRAINED),
        ("plots.py", {"plot": 2}),
        ("cli.py", {}),
        ("pages/audit.html.j2", {"audit": 1, "compare": 1, "card": 1}),
        ("evaluation/metrics.py", {"baselines": 2, "evaluate": 2, "compare": 1, "card": 1}),
        ("explain/heat.py", {"explain": 2}),
        ("data/splits.py", RESPLIT),
        ("data/duplicates.py", {"cases": 1, **RESPLIT}),
    ],
)
def test_an_edit_reruns_what_it_shapes(done, snakemake, module, expected):
    path = done.parent / "workflow/lib/btxrd" / module
    before = path.read_text()
    path.write_text(before + "\n# an edit\n")
    assert planned(snakemake, done) == expected
    path.write_text(before)


def test_bad_config_is_refused_before_anything_runs(done, snakemake):
    write_overlay(done, epoch=3, batch_size=0)
    result = call(snakemake, done, "-n")
    write_overlay(done)
    output = result.stdout + result.stderr
    assert result.returncode == 1
    assert "training.epoch is unknown; did you mean epochs?" in output
    assert "training.batch_size is 0; it must be at least 2" in output
    assert "Traceback" not in output


def test_failing_stage_shows_its_sentence(tmp_path, snakemake):
    (tmp_path / "mine.yaml").write_text(
        "{data: {archive: mine.zip, sha256: null, case_names: null}, model: {pretrained: false}}"
    )
    result = snakemake(tmp_path, "results/stratified/loss_curve.png", "--configfile", "mine.yaml")
    assert result.returncode == 1
    assert "mine.zip: no such file" in result.stdout + result.stderr
    assert not (tmp_path / "resources/btxrd/archive.json").exists()


def test_dry_run_on_btxrd_works_offline(tmp_path, snakemake):
    result = snakemake(tmp_path, "--cores", "1", "--resources", "gpu=1", "-n")
    assert result.returncode == 0, result.stderr
    rules = "download extract table cache case_names cases split weights train plot evaluate explain compare card audit"
    for rule in rules.split():
        assert f"rule {rule}:" in result.stdout + result.stderr


def test_one_picture_asks_for_just_what_it_needs(tmp_path, snakemake):
    result = snakemake(tmp_path, "results/center_holdout/loss_curve.png", "-n")
    assert result.returncode == 0, result.stderr
    text = result.stdout + result.stderr
    assert "split=center_holdout" in text
    assert "split=stratified" not in text


def test_rules_follow_every_key_of_the_config():
    """A key that no rule names would change nothing; a new key must be put somewhere on purpose."""
    from btxrd.config import defaults, training_keys

    text = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    without_effect_on_results = {
        "device", "data.num_workers", "training.split_strategy", "training.checkpoint_minutes", "paths.state_dir",
    }  # fmt: skip
    by_path_or_rule = {"paths.results_dir", "paths.checkpoints_dir", "data.raw_dir", "data.splits_dir"}
    for section, values in defaults().items():
        if section == "splits":  # the rule split follows its plan, the rule train the training keys of a split
            continue
        for key in (f"{section}.{name}" for name in values) if isinstance(values, dict) else (section,):
            if key in without_effect_on_results | by_path_or_rule:
                continue
            named = any(f'"{name}"' in text or name in training_keys() for name in (key, section))
            assert named, key


def test_state_of_a_running_training_can_be_watched(tmp_path, phantoms, monkeypatch):
    """After each epoch its row and its curves lie in the state folder; outputs appear at the end alone."""
    from btxrd.cli import main
    from btxrd.training import run as run_module

    tiny = [
        "data.source=phantom", "data.image_size=64", "data.num_workers=0", "model.pretrained=false",
        "training.epochs=2", "training.batch_size=16",
    ]  # fmt: skip

    shutil.copytree(phantoms / "resources", tmp_path / "resources")
    seen = []

    def spy(run, row, is_best, seconds):
        state = Path("checkpoints/.state/stratified")
        rows = len((state / "training_log.csv").read_text().splitlines()) - 1
        outputs = [
            path for path in (Path("results/stratified"), Path("checkpoints/best_stratified.pt")) if path.exists()
        ]
        seen.append((row["epoch"], rows, (state / "training_curves.png").exists(), outputs))

    monkeypatch.setattr(run_module, "_log_epoch", spy)
    assert main(["train", "--threads", "1", "--gpus", "0", "--override", *tiny]) == 0
    assert seen == [(1, 1, True, []), (2, 2, True, [])]
    assert json.dumps(sorted(path.name for path in Path("results/stratified").iterdir())) == json.dumps(
        ["training_curves.png", "training_log.csv"]
    )


def test_collapse_of_the_malignant_class_is_warned_of(caplog):
    from btxrd.training.run import _warn_of_collapse

    row = {"val_recall_malignant": 0.0}
    _warn_of_collapse([row])
    assert not caplog.text
    _warn_of_collapse([row, row])
    assert "Malignant recall is 0 for 2 epochs in a row" in caplog.text


@pytest.fixture(scope="module")
def report(done, snakemake):
    """The report of the finished run."""
    style = done.parent / "workflow/report/style.css"
    result = call(snakemake, done, "--report", "report.html", "--report-stylesheet", str(style))
    assert result.returncode == 0, result.stderr
    return done / "report.html"


def test_report_shows_the_curves_of_both_strategies(report):
    page = report.read_text()
    for words in (*CATEGORIES, *SPLITS, "loss and recall", "recall by class"):
        assert words in page


@pytest.fixture(scope="module")
def chromium():
    """A browser without a window."""
    program = shutil.which("chromium")
    if not program:
        pytest.skip("no chromium to open the report in: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module", params=[1280, 500], ids=["wide", "narrow"])
def reader(chromium, report, request):
    """Somebody who has opened the report, in a wide and in a narrow window."""
    page = chromium.new_page(viewport={"width": request.param, "height": 900})
    reader = Reader(page)
    reader.open(report.as_uri())
    yield reader
    page.close()


@pytest.fixture(scope="module")
def seen(reader):
    """Every result, as the reader saw it."""
    return reader.everything(SPLITS)


def test_landing_page_of_the_report_is_whole(reader):
    reader.landing()
    assert reader.page.evaluate(SIDEWAYS) == []
    window = reader.page.viewport_size
    for block in reader.page.locator(".document h1, .document p").all():
        block.scroll_into_view_if_needed()
        box = block.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= window["width"], block.inner_text()
        assert box["y"] >= 0 and box["y"] + box["height"] <= window["height"], block.inner_text()
        assert block.evaluate(IS_ON_TOP), block.inner_text()


def test_landing_page_says_what_was_trained_on_what(reader):
    reader.landing()
    text = " ".join(reader.page.inner_text(".document").split())
    for words in (
        "SYNTHETIC phantoms", "Never for clinical use", "from nothing", "on 80 phantoms at 64 px", "at most 2 epochs",
        "batches of 16", "seed 42", "stratified: cases of all centers", "center_holdout: trained on center 1",
    ):  # fmt: skip
        assert words in text


def test_categories_of_the_report_stand_in_the_order_of_reading(reader):
    assert reader.menu() == CATEGORIES


def test_links_of_the_landing_page_open_categories(reader):
    for name in CATEGORIES:
        reader.landing()
        reader.page.locator(".document a", has_text=name).click()
        reader.page.locator("nav nav").get_by_text(name, exact=True).wait_for()
        reader.page.locator("nav tbody tr").first.wait_for()
        assert reader.page.locator("nav tbody tr").count() > 0, name


def test_every_result_of_the_report_opens_and_its_pictures_load(reader, seen):
    assert sorted(one.path for one in seen) == sorted(reader.page.evaluate("Object.keys(results)"))
    for one in seen:
        assert one.pictures and all(picture["pixels"] for picture in one.pictures), one.path


def test_pictures_of_the_report_are_whole_and_not_tiny(seen):
    for one in seen:
        assert max(picture["width"] for picture in one.pictures) >= 300, one.path
        assert all(picture["left"] >= 0 and picture["right"] <= one.space for picture in one.pictures), one.path


def test_nothing_in_the_report_must_be_scrolled_sideways(seen):
    assert {one.path: one.sideways for one in seen if one.sideways} == {}


def test_pages_of_the_report_show(seen):
    pages = {one.path: one.text for one in seen if one.path.endswith(".html")}
    assert pages.keys() == {"results/audit/audit.html", "results/comparison.html"}
    assert "Findings" in pages["results/audit/audit.html"]
    assert "Without a pixel" in pages["results/comparison.html"]


def test_captions_of_the_report_name_their_split_and_what_the_films_are(seen):
    for one in seen:
        assert "SYNTHETIC phantoms" in one.caption, one.path
        assert "Research only, never for clinical use." in one.caption, one.path
        assert all(f"Split {split}" in one.caption for split in SPLITS if f"/{split}/" in one.path), one.path


@pytest.mark.parametrize("category", ["Training", "Evaluation", "Explanation"])
def test_switch_between_splits_changes_the_open_picture(reader, category):
    reader.category(category)
    reader.page.locator("nav tbody a").first.click()
    before = reader.page.evaluate("app.state.resultPath")
    assert "center_holdout" in before
    reader.switch("stratified")
    after = before.replace("center_holdout", "stratified")
    reader.page.wait_for_function("path => app.state.resultPath === path", arg=after)
    reader.page.wait_for_function(IS_SHOWN)


def test_report_shows_the_command_of_a_stage(reader):
    reader.category("Training")
    reader.page.locator("nav tbody a").nth(1).click()
    reader.page.locator("nav li a[type=button]").last.click()
    assert "btxrd plot" in reader.page.locator("nav pre").last.inner_text()
    assert reader.page.evaluate(SIDEWAYS) == []


def test_report_works_offline_and_without_an_error(reader, seen):
    assert reader.requests == []
    assert reader.errors == []


def test_prediction_needs_a_checkpoint_alone_and_says_what_evaluation_said(done):
    command = [sys.executable, "-m", "btxrd", "predict", "--checkpoint", done / "checkpoints/best_center_holdout.pt"]
    subprocess.run([*command, done / "resources/phantom/images", "--out", "said.csv"], check=True, capture_output=True)
    said = pd.read_csv("said.csv").assign(image_id=lambda rows: rows["file"].map(lambda file: Path(file).stem))
    columns = ["probability_normal", "probability_benign", "probability_malignant"]
    judged = pd.read_csv(done / "results/center_holdout/predictions.csv")
    both = judged.assign(image_id=judged["image_id"].map(lambda name: Path(name).stem)).merge(said, on="image_id")
    assert len(both) == len(judged)
    assert (
        abs(both[[f"{name}_x" for name in columns]].values - both[[f"{name}_y" for name in columns]].values).max()
        < 1e-5
    )
    temperature = json.loads((done / "results/center_holdout/inference.json").read_text())["temperature"]
    scaled = both[[f"{name}_y" for name in columns]].values ** (1 / temperature)
    calibrated = both[[name.replace("probability", "calibrated") for name in columns]].values
    assert abs(scaled / scaled.sum(axis=1, keepdims=True) - calibrated).max() < 1e-5
