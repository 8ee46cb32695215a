"""What is planted in the data is found and said with its numbers; what is clean is left alone."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from btxrd.audit import run
from btxrd.audit.annotations import findings_of_annotations, judge_annotations, read_annotations
from btxrd.audit.charts import draw_composition, draw_sizes
from btxrd.audit.checks import findings_of_images
from btxrd.audit.evidence import Evidence, read_evidence
from btxrd.audit.outputs import AUDIT_FILES, CENTERS, CONTACT_SHEETS
from btxrd.audit.page import write_audit_page
from btxrd.audit.run import facts_of, find, make_audit
from btxrd.audit.sheets import draw_contact_sheet, draw_duplicates
from btxrd.audit.splits import findings_of_splits, read_split
from btxrd.audit.tables import MOST_PAIRS, duplicate_tables
from btxrd.config import load_config
from btxrd.data import table
from btxrd.data.duplicates import PAIR_COLUMNS
from btxrd.data.splits import make_split, read_images
from btxrd.errors import UserError
from btxrd.plans import split_plans

PARTS = ("train", "val", "test")


def clean_images(number=300):
    """A table in which nothing is wrong: one image a case, classes alike in every center and hospital."""
    row = np.arange(number)
    ids = [f"IMG{n:04d}" for n in row]
    label = np.array(["Normal", "Benign", "Malignant"])[row % 3]
    center = np.array([1, 1, 2, 3])[row // 3 % 4]
    hospital = np.where(center > 1, "", np.array(["b", "y"])[row // 12 % 2])
    return pd.DataFrame(
        {
            "image_id": ids, "file": ids, "label": label, "center": center, "age": 20 + row % 50, "sex": "F",
            "view": "frontal", "region": "pelvis", "subtype": np.where(label == "Normal", "", "osteosarcoma"),
            "width": 800 + row % 7, "height": 1000 + row % 11, "mode": "L", "bytes": 9000, "sha256": ids,
            "phash": "0" * 16, "case_id": ids, "hospital": hospital,
            "reason": "coded", "duplicate_group": "", "age_band": list(table.AGE_BANDS)[2],
        }
    )  # fmt: skip


def pairs(*rows):
    return pd.DataFrame(rows, columns=PAIR_COLUMNS)


def evidence_of(images, duplicates=None, blank=(), splits=()):
    judged = judge_annotations(read_annotations(Path("nowhere")), images)
    return Evidence(images, pairs() if duplicates is None else duplicates, judged, None, blank, splits, "drop")


def found(images, **others):
    return list(findings_of_images(evidence_of(images, **others)))


def only(findings):
    assert len(findings) == 1, [finding.sentence for finding in findings]
    return findings[0]


def test_clean_data_gives_no_finding_but_that_there_are_no_annotations():
    finding = only(find(evidence_of(clean_images())))
    assert (finding.severity, finding.title) == ("note", "No annotations")


def test_class_without_an_image_is_an_error():
    finding = only(found(clean_images().query("label != 'Malignant'")))
    assert finding.severity == "error"
    assert "None of 200 images is Malignant" in finding.sentence


def test_contradicting_duplicates_are_named_and_what_became_of_them():
    images = clean_images()
    images.loc[[0, 1], ["duplicate_group", "case_id"]] = "IMG0000"
    duplicates = pairs(("IMG0000", "IMG0001", "near duplicate", 2, 0.9, "Normal", "Benign"))
    warning, joined, mixed = found(images, duplicates=duplicates)
    assert warning.severity == "warning"
    assert "IMG0000 as Normal and IMG0001 as Benign" in warning.sentence
    assert "data.conflicting_labels: drop" in warning.sentence
    assert warning.images == ["IMG0000", "IMG0001"]
    assert (joined.severity, mixed.severity) == ("note", "note")
    assert "2 images show only 1 exposure" in joined.sentence
    assert "1 case has images of more than one class, 2 images in all" in mixed.sentence


def test_pair_that_shares_only_the_hash_is_a_note():
    duplicates = pairs(("IMG0000", "IMG0003", "only the hash", 6, 0.31, "Normal", "Normal"))
    finding = only(found(clean_images(), duplicates=duplicates))
    assert finding.severity == "note"
    assert "correlation at most 0.31" in finding.sentence


def test_unknown_cases_are_one_warning():
    finding = only(found(clean_images().assign(reason="unnamed")))
    assert finding.title == "Cases unknown"


def test_names_that_say_nothing_are_counted_by_center_and_class():
    images = clean_images()
    unnamed = (images["center"] == 1) & (images["label"] == "Normal")
    images.loc[images[unnamed].index[:40], "reason"] = "unnamed"
    finding = only(found(images))
    assert "40 of 300 (13\N{NO-BREAK SPACE}%) images say nothing of their case" in finding.sentence
    assert "40 of 50 Normal of center 1" in finding.sentence


def test_hospital_from_which_most_of_a_class_comes_is_named():
    images = clean_images()
    malignant = images[(images["center"] == 1) & (images["label"] == "Malignant")].index
    images.loc[malignant[:40], "hospital"] = "g"
    finding = only(found(images))
    assert finding.title == "Most Malignant images come from hospital g"
    assert "40 of 50 (80\N{NO-BREAK SPACE}%) Malignant ones come from hospital g" in finding.sentence
    assert "0 of 100" in finding.sentence
    assert len(finding.images) == 40


def test_largest_center_is_no_finding_by_its_size_alone():
    images = clean_images().assign(center=1, hospital="")
    images.loc[:20, "center"] = 2
    assert found(images) == []


def test_hospital_with_small_films_is_named_with_both_heights():
    images = clean_images()
    of_b = images["hospital"] == "b"
    images.loc[of_b, "height"] = 700
    finding = only(found(images))
    assert "median film of hospital b is 700 px high, against 1,005 px in the rest of center 1" in finding.sentence
    assert set(finding.images) == set(images.loc[of_b, "image_id"])
    images.loc[of_b, "height"] = 800
    assert found(images) == []


def test_odd_entries_of_the_table_are_counted():
    images = clean_images()
    images.loc[[0, 1], "view"] = "frontal+lateral"
    images.loc[2, "view"] = ""
    images.loc[1, "subtype"] = ""
    images.loc[3, "subtype"] = "osteosarcoma"
    view, subtype, normal = found(images)
    assert "2 images have two views and 1 image has no view" in view.sentence
    assert view.images == ["IMG0000", "IMG0001", "IMG0002"]
    assert "1 image has no subtype" in subtype.sentence
    assert normal.images == ["IMG0003"]


def test_blank_films_are_listed():
    assert "2 films show one gray value" in only(found(clean_images(), blank=["IMG0", "IMG1"])).sentence


SQUARE = ((10, 10), (90, 10), (90, 90))


def annotate(image_id, points=SQUARE, kind="polygon", width=800, height=1000):
    shape = {"label": "x", "shape_type": kind, "points": points}
    Path("a").mkdir(exist_ok=True)
    content = {"imageWidth": width, "imageHeight": height, "shapes": [shape]}
    Path(f"a/{image_id}.json").write_text(json.dumps(content))


def findings_of_outlines(plant=None):
    images = clean_images(12).assign(width=800, height=1000)
    for image_id in images.loc[images["label"] != "Normal", "image_id"]:
        annotate(image_id)
    if plant:
        plant()
    return list(findings_of_annotations(judge_annotations(read_annotations(Path("a")), images), images))


def test_complete_outlines_are_no_finding():
    assert findings_of_outlines() == []


def test_outline_on_a_normal_film_is_a_warning():
    finding = only(findings_of_outlines(lambda: annotate("IMG0003")))
    assert (finding.severity, finding.images) == ("warning", ["IMG0003"])
    assert "1 of 4 (25\N{NO-BREAK SPACE}%) Normal films carries a lesion outline" in finding.sentence


def test_tumour_without_a_polygon_is_a_warning():
    def plant():
        Path("a/IMG0001.json").unlink()
        annotate("IMG0002", ((1, 1), (5, 5)), kind="rectangle")

    finding = only(findings_of_outlines(plant))
    assert finding.images == ["IMG0001", "IMG0002"]
    assert (
        "2 of 8 (25\N{NO-BREAK SPACE}%) tumours have no outline that can be used (1 Benign and 1 Malignant)"
        in finding.sentence
    )


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"imageWidth": 1e999, "imageHeight": 2, "shapes": []}', "\xff"])
def test_unreadable_file_is_a_warning_and_no_outline(text):
    unreadable, missing = findings_of_outlines(lambda: Path("a/IMG0001.json").write_text(text, encoding="latin-1"))
    assert "1 annotation file can't be read (IMG0001: " in unreadable.sentence
    assert missing.images == unreadable.images == ["IMG0001"]


@pytest.mark.parametrize("points", [((1, 1), (2, 2)), ((1, 1), (2, 2), (3,)), ((1, 1), (2, 2), (3, None)), "abc"])
def test_polygon_of_nonsense_is_unreadable(points):
    unreadable, _ = findings_of_outlines(lambda: annotate("IMG0001", points))
    assert unreadable.title == "Unreadable annotations"


def test_outline_that_leaves_the_film_is_a_note_with_its_distance():
    outside = ((-0.5, 10), (812, 10), (90, 90))
    finding = only(findings_of_outlines(lambda: annotate("IMG0001", outside)))
    assert finding.severity == "note"
    assert "by up to 12 px" in finding.sentence
    assert findings_of_outlines(lambda: annotate("IMG0001", ((-0.5, 10), (800.5, 10), (90, 90)))) == []


def test_annotation_of_another_size_or_of_no_film_is_told():
    def plant():
        annotate("IMG0001", width=1000, height=800)
        annotate("IMG7777")

    size, orphan = findings_of_outlines(plant)
    assert (size.severity, size.images) == ("warning", ["IMG0001"])
    assert (orphan.severity, orphan.images) == ("note", ["IMG7777"])


def inputs(phantoms, *names):
    """The arguments of make_audit up to the splits, which are made in the current folder."""
    resources = phantoms / "resources"
    plans = split_plans(load_config([json.dumps({"splits": {name: {} for name in ("stratified", *names)}})]))
    tables = {name: {part: Path(f"{name}_{part}.csv") for part in PARTS} for name in ("stratified", *names)}
    summaries = {name: Path(f"{name}.json") for name in tables}
    metadata, cases = resources / "metadata.csv", resources / "cases.csv"
    for name in tables:
        make_split(plans[name], "drop", metadata, cases, "names.json", tables[name], summaries[name])
    raw = resources / "phantom/Annotations"
    return metadata, cases, resources / "duplicates.csv", resources / "cache/gray_64_pad.json", raw, tables, summaries


def test_leak_of_a_split_that_promises_nothing_is_a_warning_by_class(phantoms):
    evidence = read_evidence(*inputs(phantoms, "by_image"), "drop")
    finding = only(list(findings_of_splits(evidence.splits)))
    assert (finding.severity, finding.title) == ("warning", "Split by_image: leaks")
    leakage = json.loads(Path("by_image.json").read_text())["leakage"]["val_in_train"]
    benign = leakage["any"]["Benign"]
    assert f"{benign['leaked']} of {benign['of']} Benign" in finding.sentence
    assert set(leakage["images"]) <= set(finding.images)


def test_leak_against_the_promise_is_an_error_though_the_hashes_agree(phantoms):
    metadata, cases, *_, tables, summaries = inputs(phantoms, "by_image")
    summary = json.loads(Path("by_image.json").read_text())
    Path("by_image.json").write_text(json.dumps(summary | {"promises_no_leak": True}))
    split = read_split("by_image", read_images(metadata, cases), tables["by_image"], summaries["by_image"])
    finding = only(list(findings_of_splits([split])))
    assert (finding.severity, finding.title) == ("error", "Split by_image: leaks against its promise")


def test_images_in_no_partition_are_a_note(phantoms):
    metadata, cases, *_, tables, summaries = inputs(phantoms)
    summary = json.loads(Path("stratified.json").read_text())
    summary["left_out"]["in no partition"] = ["IMG000001"]
    Path("stratified.json").write_text(json.dumps(summary))
    split = read_split("stratified", read_images(metadata, cases), tables["stratified"], summaries["stratified"])
    assert "1 image is in no partition of stratified" in only(list(findings_of_splits([split]))).sentence


def test_hand_edited_table_fails_after_everything_is_written(phantoms, audited, monkeypatch):
    drawn = [path for path in audited[0].iterdir() if path.suffix in (".png", ".webp")]  # drawing takes seconds
    monkeypatch.setattr(run, "draw_pictures", lambda _, folder, note: [shutil.copy(path, folder) for path in drawn])
    arguments = inputs(phantoms)
    rows = pd.read_csv("stratified_train.csv")
    rows[rows["label"] != "Malignant"].to_csv("stratified_train.csv", index=False)
    Path("stratified_val.csv").write_text("nonsense\n")
    with pytest.raises(UserError, match=r"stratified_train\.csv and stratified_val\.csv are not what") as error:
        make_audit(read_evidence(*arguments, "drop"), True, Path("audit"))
    assert "1 problem" in str(error.value)
    assert {path.name for path in Path("audit").iterdir()} == set(AUDIT_FILES)
    first = json.loads(Path("audit/audit.json").read_text())["findings"][0]
    assert (first["severity"], first["title"]) == ("error", "Split stratified: edited after the gate")
    assert "Edited after the gate" in Path("audit/audit.html").read_text()


@pytest.fixture(scope="module")
def audited(phantoms, tmp_path_factory):
    """The folder of an audit of the phantoms with one split, and its facts."""
    folder = tmp_path_factory.mktemp("audit")
    resources = phantoms / "resources"
    tables = {"stratified": {part: resources / f"splits/stratified_{part}.csv" for part in PARTS}}
    summaries = {"stratified": resources / "splits/stratified.json"}
    films = (resources / "metadata.csv", resources / "cases.csv", resources / "duplicates.csv")
    outlines = resources / "phantom/Annotations"
    index = resources / "cache/gray_64_pad.json"
    make_audit(read_evidence(*films, index, outlines, tables, summaries, "drop"), True, folder)
    return folder, json.loads((folder / "audit.json").read_text())


def test_exactly_the_promised_files_are_written(audited):
    folder, _ = audited
    assert {path.name for path in folder.iterdir()} == set(AUDIT_FILES)
    assert CENTERS == table.CENTERS


def test_pictures_load_and_are_not_empty(audited):
    folder, _ = audited
    for path in [*folder.glob("*.png"), *folder.glob("*.webp")]:
        with Image.open(path) as picture:
            assert min(picture.size) > 150
            assert np.asarray(picture.convert("L")).std() > 10, path
    assert len(CONTACT_SHEETS) == 9


def test_page_is_small_enough_for_a_browser_to_show_it_in_a_report(audited):
    """Chromium shows nothing of a data address above 2 MB, which is 1.5 MB of page."""
    assert (audited[0] / "audit.html").stat().st_size < 1.2e6


def test_flaws_that_phantoms_have_are_found_and_their_outlines_are_whole(audited):
    _, facts = audited
    titles = [finding["title"] for finding in facts["findings"]]
    assert titles[0] == "Duplicates with contradicting labels"
    assert "The films of hospital g are small" in titles
    assert not {"Tumours without an outline", "Outlines on Normal films", "Unreadable annotations"} & set(titles)
    assert not any(finding["severity"] == "error" for finding in facts["findings"])
    assert not any("leaks" in title for title in titles)


def test_tables_add_up_to_the_images(audited):
    _, facts = audited
    composition = {group["title"]: group for group in facts["tables"]["composition"]}
    for title in ("center", "center and hospital", "age", "sex", "view", "region", "subtype"):
        assert sum(row[-1] for row in composition[f"Class by {title}"]["rows"]) == facts["images"] == 80
    outlines = facts["tables"]["annotations"][0]["rows"]
    assert [row[0] for row in outlines] == ["Normal", "Benign", "Malignant"]
    assert outlines[0][2] == 0
    assert all(row[2] == row[1] for row in outlines[1:])
    reasons = next(group for group in facts["tables"]["cases"] if group["title"] == "How cases were found")
    assert sum(row[-1] for row in reasons["rows"]) == 80


def test_leak_of_a_split_is_shown_by_class(audited):
    folder, facts = audited
    split = facts["splits"][0]
    counts, leak = split["tables"]
    val = next(row for row in counts["rows"] if row[0] == "val")
    assert leak["rows"][0] == ["val in train", "case", *(f"0 of {number}" for number in val[1:4])]
    assert f"0 of {val[3]}" in (folder / "audit.html").read_text()


def test_page_needs_nothing_from_elsewhere(audited):
    folder, facts = audited
    page = (folder / "audit.html").read_text()
    assert "://" not in page
    assert facts["splits"][0]["sha256"]["train"] in page
    assert "<script" not in page
    assert page.count('src="data:image/') == page.count("src=") == 12
    assert "Research only, not for clinical use" in page
    assert "SYNTHETIC phantoms" in page
    assert all(finding["title"] in page for finding in facts["findings"])
    assert "SYNTHETIC" not in page_of(facts | {"synthetic": False}, folder)


def page_of(facts, folder):
    write_audit_page(facts, folder, Path("page.html"))
    return Path("page.html").read_text()


def test_page_escapes_what_others_wrote(audited):
    folder, facts = audited
    evil = "<img src=x onerror=alert(1)>"
    finding = {"severity": "note", "title": evil, "sentence": evil, "images": [evil]}
    split = facts["splits"][0] | {"name": evil, "caveats": [evil]}
    page = page_of(facts | {"findings": [finding], "splits": [split]}, folder)
    assert "<img src=x" not in page
    assert page.count("&lt;img src=x") == 5
    assert "Nothing was found" in page_of(facts | {"findings": []}, folder)


def test_class_and_center_without_an_image_and_absent_annotations_are_drawn(phantoms, audited):
    metadata, cases, pairs_file, cache, _, tables, summaries = inputs(phantoms)
    images = table.read_metadata(metadata)
    images[(images["label"] != "Malignant") & (images["center"] == 1)].to_csv("metadata.csv", index=False)
    known = pd.read_csv(cases, keep_default_na=False)
    known[known["image_id"].isin(pd.read_csv("metadata.csv")["image_id"])].to_csv("cases.csv", index=False)
    pd.read_csv(pairs_file).head(0).to_csv("pairs.csv", index=False)
    evidence = read_evidence(
        "metadata.csv", "cases.csv", "pairs.csv", cache, Path("nowhere"), tables, summaries, "drop"
    )
    findings = find(evidence)
    assert findings[0].title == "No Malignant image"
    assert findings[-1].title == "No annotations"
    assert "No annotation file." in page_of(facts_of(evidence, findings, False), audited[0])
    draw_sizes(evidence.images, Path("sizes.png"), "note")
    draw_composition(evidence.images, Path("composition.png"), "note")
    draw_duplicates(evidence, Path("empty.png"), "note")
    draw_contact_sheet(evidence, "Malignant", 1, Path("empty.webp"), "note")
    draw_contact_sheet(evidence, "Benign", 1, Path("full.webp"), "note")
    heights = {path.name: Image.open(path).height for path in [*Path().glob("*.png"), *Path().glob("*.webp")]}
    assert max(heights["empty.png"], heights["empty.webp"]) < 250 < heights["full.webp"]


def test_of_many_pairs_the_page_shows_the_most_alike():
    rows = [(f"a{n:03}", f"b{n:03}", "only the hash", 6, n / 1000, "Normal", "Normal") for n in range(200)]
    *_, table = duplicate_tables(pairs(*rows))
    assert len(table.frame) == MOST_PAIRS
    assert table.frame["correlation"].max() == 0.199
    assert "all are in duplicates.csv" in table.note
