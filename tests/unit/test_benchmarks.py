"""The numbers that benchmarks report follow from what was measured, and land where the page has a place for them."""

import json
import re

import pytest


@pytest.fixture(autouse=True)
def benchmarks_can_be_imported(monkeypatch, root):
    monkeypatch.syspath_prepend(root / "tests/benchmarks")


def test_a_ratio_is_the_median_of_pairs_with_an_interval():
    from turns import ratio

    found = ratio([2, 4, 6, 8, 30, 2, 4, 6], [1, 2, 3, 4, 3, 1, 2, 3])
    assert found == {"ratio": 2, "low": 2, "high": 2, "pairs": 8}  # one pair out of eight was disturbed
    spread = ratio([1.0, 1.2, 1.4, 1.6], [1, 1, 1, 1])
    assert spread["ratio"] == pytest.approx(1.3)
    assert 1.0 <= spread["low"] < spread["ratio"] < spread["high"] <= 1.6


@pytest.mark.parametrize(("bar", "met"), [(1.9, True), (2.0, True), (2.1, False)])
def test_a_bar_is_met_unless_the_interval_lies_below_it(bar, met):
    from turns import ratio

    assert ratio([2.0] * 8, [1.0] * 8, bar)["met"] is met


def test_growth_is_that_of_an_image_and_memory_is_not():
    from growth import growth

    rounds = {1: [{"epoch": 2.0, "memory_mb": 500}], 4: [], 16: [{"epoch": 40.0, "memory_mb": 510}]}
    assert growth(rounds, "epoch")["median"] == 1.25
    assert growth(rounds, "memory_mb", per_image=False)["median"] == 1.02


def test_worse_is_said_only_where_the_interval_is_above_nothing():
    from quality import summary

    assert summary([(0.5, 0.4), (0.4, 0.5), (0.5, 0.45), (0.42, 0.5), (0.5, 0.5)])["met"]
    worse = summary([(0.50, 0.40), (0.51, 0.40), (0.50, 0.41), (0.52, 0.41), (0.5, 0.39)])
    assert not worse["met"]
    assert worse["difference"]["mean"] == pytest.approx(0.104)


def test_the_page_has_a_place_for_each_result_and_shows_it(root, tmp_path, monkeypatch):
    import table
    from turns import write_results

    page = (root / "docs/benchmarks.md").read_text()
    for section in (section for sections in table.SECTIONS.values() for section in sections):
        assert len(re.findall(f"<!-- {section.__name__} -->\n", page)) == 1
    figures = {"seeds": [1, 2], "val_loss": [0.5, 0.6], "plain_val_loss": [0.5, 0.7], "met": True}
    write_results("quality", figures | {"difference": {"mean": -0.05, "low": -0.7, "high": 0.6}})
    copy = tmp_path / "page.md"
    copy.write_text(page)
    monkeypatch.setattr(table, "PAGE", copy)
    table.main()
    table.main()  # fills the same place again
    text = copy.read_text()
    assert text.count("Ours − plain: -0.0500 [-0.7000, +0.6000] (mean, 95 % interval), not worse.") == 1
    packages = json.loads((tmp_path / "results/benchmarks/quality.json").read_text())["hardware"]["packages"]
    assert f"torch {packages['torch']}" in text
