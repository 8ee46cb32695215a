import pandas as pd
import pytest

from btxrd.data.cases import assign_cases, make_cases, parse_name
from btxrd.errors import UserError


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
    return pd.DataFrame(rows, columns=["image_id", "center", "sha256"])


def test_unread_names_are_listed_and_stay_cases_of_their_own(caplog):
    cases = assign_cases(metadata(("a", 1, "x"), ("b", 1, "y")), {"a": "odd", "b": "b1-M-12-良-骨-1.jpeg"})
    assert list(cases["case_id"]) == ["a", "1-b1-M-12"]
    assert "1 names fit no rule" in caplog.text
    assert "a (odd)" in caplog.text


def test_without_names_every_image_is_a_case_and_the_log_says_so(caplog):
    cases = assign_cases(metadata(("a", 1, "x"), ("b", 2, "y")), {})
    assert list(cases["case_id"]) == ["a", "b"]
    assert "cases unknown" in caplog.text


def test_identical_files_join_their_cases():
    names = {
        "a": "b1-M-12-良-骨-1.jpeg",
        "b": "b2-M-13-良-骨-1.jpeg",
        "c": "b2-M-13-良-骨-2.jpeg",
        "d": "m59_3.jpeg",
    }
    rows = [("a", 1, "same"), ("b", 1, "same"), ("c", 1, "as d"), ("d", 1, "as d"), ("e", 2, "other")]
    cases = assign_cases(metadata(*rows), names | {"e": "1f-x.jpeg"})
    assert cases["case_id"].nunique() == 2
    assert len(set(cases["case_id"][:4])) == 1
    assert list(cases["reason"]) == ["coded", "coded", "coded", "duplicate", "slug"]
    assert list(cases["duplicate_group"] != "") == [True, True, True, True, False]


def test_case_names_file_that_can_not_be_used_is_named():
    metadata(("a", 1, "x")).assign(phash="").to_csv("metadata.csv", index=False)
    with pytest.raises(UserError, match=r"absent.xlsx: no such file"):
        make_cases("metadata.csv", ["absent.xlsx"], "names", "cases.csv")
    pd.DataFrame({"image_id": ["a"]}).to_excel("names.xlsx")
    with pytest.raises(UserError, match="column Original Name missing"):
        make_cases("metadata.csv", ["names.xlsx"], "names", "cases.csv")


def test_names_that_can_not_be_fetched_do_not_stop_the_run(monkeypatch, caplog):
    monkeypatch.setattr("btxrd.fetch.PAUSE_SECONDS", 0.01)
    metadata(("a", 1, "x")).assign(phash="").to_csv("metadata.csv", index=False)
    source = {"url": "http://127.0.0.1:9/names.xlsx", "sha256": "0" * 64}
    make_cases("metadata.csv", [source], "names", "cases.csv")
    assert list(pd.read_csv("cases.csv")["case_id"]) == ["a"]
    assert "cases unknown" in caplog.text
