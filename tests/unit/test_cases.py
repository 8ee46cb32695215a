import json
from pathlib import Path

import pandas as pd
import pytest

from btxrd.data.cases import (
    assign_cases,
    join_duplicates,
    make_cases,
    named_tables,
    parse_name,
    record_case_names,
)
from btxrd.data.splits import caveats, read_images
from btxrd.errors import UserError
from btxrd.files import sha256_of_file

NO_LEAK = {f"{part}_in_train": {"any": {}} for part in ("val", "test")}


@pytest.mark.parametrize(
    ("name", "center", "key", "hospital", "reason"),
    [
        ("b1-M-12-恶-骨肉瘤-胫骨-2.jpeg", 1, "1-b1-M-12", "b", "coded"),
        ("B1-M-12-恶-骨肉瘤-胫骨-1.jpeg", 1, "1-b1-M-12", "b", "coded"),
        ("m59_3.jpeg", 1, None, "", "unnamed"),
        ("36m_2.jpeg", 1, None, "", "unnamed"),
        ("14f-osteosarcoma-distal-femur (1).jpeg", 2, "2-14f-osteosarcoma-distal-femur", "", "slug"),
        ("20m-osteosarcoma-sarcoma-2.png", 2, "2-20m-osteosarcoma-sarcoma-2", "", "slug"),
        ("8w单房（单纯）骨囊肿2.jpeg", 3, "3-8w单房（单纯）骨囊肿", "", "slug"),
        ("45.jpeg", 3, "3-45", "", "slug"),
    ],
)
def test_names_are_read_by_the_rules_of_their_center(name, center, key, hospital, reason):
    case = parse_name(name, center)
    assert (case.key, case.hospital, case.reason) == (key, hospital, reason)


def test_a_name_that_fits_no_rule_is_not_guessed():
    assert parse_name("something else", 1) is None


def metadata(*rows):
    return pd.DataFrame(rows, columns=["image_id", "center"])


def test_unread_names_are_listed_and_stay_cases_of_their_own(caplog):
    cases = assign_cases(metadata(("a", 1), ("b", 1)), {"a": "odd", "b": "b1-M-12-良-骨-1.jpeg"})
    assert list(cases["case_id"]) == ["a", "1-b1-M-12"]
    assert "1 names fit no rule" in caplog.text
    assert "a (odd)" in caplog.text


def test_duplicates_join_their_cases():
    names = {
        "a": "b1-M-12-良-骨-1.jpeg",
        "b": "b2-M-13-良-骨-1.jpeg",
        "c": "b2-M-13-良-骨-2.jpeg",
        "d": "m59_3.jpeg",
        "e": "1f-x.jpeg",
    }
    kinds = [("a", "b", "identical file"), ("c", "d", "near duplicate"), ("d", "e", "only the hash")]
    pairs = pd.DataFrame(kinds, columns=["image_a", "image_b", "kind"])
    cases = join_duplicates(assign_cases(metadata(*((i, 1) for i in "abcd"), ("e", 2)), names), pairs)
    assert list(cases["case_id"]) == ["1-b1-M-12"] * 4 + ["2-1f-x"]
    assert list(cases["reason"]) == ["coded", "coded", "coded", "duplicate", "slug"]
    assert list(cases["duplicate_group"]) == ["a", "a", "c", "c", ""]


def test_names_file_that_can_not_be_used_is_named():
    with pytest.raises(UserError, match=r"absent.xlsx: no such file"):
        record_case_names(["absent.xlsx"], "names", "names.json")
    pd.DataFrame({"image_id": ["a"]}).to_excel("names.xlsx")
    with pytest.raises(UserError, match="column Original Name missing"):
        record_case_names(["names.xlsx"], "names", "names.json")


def test_record_alone_says_what_the_tables_said():
    """Where each stage runs on a machine of its own, only the record gets there."""
    tables = {"train.xlsx": [("b.jpeg", "y"), ("a.jpeg", "x")], "val.xlsx": [("c.jpeg", None), ("d", "骨1")]}
    for name, rows in tables.items():
        pd.DataFrame(rows, columns=["image_id", "Original Name"]).to_excel(name)
    hashes = [sha256_of_file(name) for name in tables]
    record_case_names(list(tables), "names", "names.json")
    for name in tables:
        Path(name).unlink()
    assert named_tables("names.json") == [{"a": "x", "b": "y"}, {"d": "骨1"}]
    assert [table["sha256"] for table in json.loads(Path("names.json").read_text())["tables"]] == hashes


@pytest.mark.parametrize("sources", [[], [{"url": "http://127.0.0.1:9/names.xlsx", "sha256": "0" * 64}]])
def test_without_names_the_run_goes_on_and_is_marked(phantoms, monkeypatch, caplog, sources):
    monkeypatch.setattr("btxrd.fetch.PAUSE_SECONDS", 0.01)
    record_case_names(sources, "names", "names.json")
    assert "cases unknown" in caplog.text
    resources = phantoms / "resources"
    index, metadata_file = resources / "cache/gray_64_pad.json", resources / "metadata.csv"
    make_cases(metadata_file, "names.json", index, 6, Path("cases.csv"), Path("duplicates.csv"))
    cases = pd.read_csv("cases.csv", keep_default_na=False)
    assert set(cases["reason"]) == {"unnamed", "duplicate"}
    assert cases["case_id"].nunique() == len(cases) - 2  # two pairs of planted duplicates
    assert caveats(read_images(metadata_file, "cases.csv"), NO_LEAK) == ["cases unknown"]
