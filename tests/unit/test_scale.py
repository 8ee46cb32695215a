"""Memory does not grow with the films, and what they cost follows from what was measured."""

import json
import re
from pathlib import Path

import pytest

SIZE, READ = 64, 1024
MOST_MB = 15  # 198,000 films more took 11 MB, 5 of them held; their names as strings would take 13 more, the films 800


@pytest.fixture(autouse=True)
def benchmarks_can_be_imported(monkeypatch, root):
    monkeypatch.syspath_prepend(root / "tests/benchmarks")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read the memory of a process from")
def test_a_hundred_times_the_films_take_no_more_memory(tmp_path):
    from scale import memory_of

    few, many = memory_of(tmp_path, 2_000, 200_000, size=SIZE, read=READ)
    assert many["reading_mb"] - few["reading_mb"] < MOST_MB


def test_costs_follow_from_the_measured_rates(tmp_path):
    from scale import costs, rates

    write_results(tmp_path)
    speed = rates()
    assert speed["decoding"]["images_per_second"] == 80  # of the large films, at the nearest size
    assert speed["training"]["images_per_second"] == pytest.approx(16 / 2 * (224 / 256) ** 2)
    assert speed["evaluation"]["images_per_second"] == pytest.approx(3600 * 0.3 / 2 / 2 / 16)
    assert "not measured on a GPU" in speed["gpu"]["source"]
    few, many = costs(10_000, speed), costs(1_000_000, speed)
    assert many == pytest.approx({name: 100 * value for name, value in few.items()})
    assert many["cache_gb"] == pytest.approx(65.568)
    assert many["epoch_core_hours"] * 3600 == pytest.approx(700_000 / 6.125 + 150_000 / 16.875)
    assert many["cpu_core_hours"] == pytest.approx(
        many["decoding_core_hours"] + 50 * many["epoch_core_hours"] + many["evaluation_core_hours"]
    )


def test_a_gpu_that_was_measured_replaces_the_assumed_one(tmp_path):
    from scale import rates

    write_results(tmp_path, gpu={"gpu": "a GPU", "limit": {"our_images_per_second": {"median": 1000.0}}})
    found = rates()["gpu"]
    assert found["images_per_second"] == pytest.approx(1000 * (224 / 256) ** 2)
    assert "on a GPU: 1,000.0 at 224 px" in found["source"]


def test_page_of_scale_shows_each_table_once(root, tmp_path, monkeypatch):
    import scale
    import table

    page = tmp_path / "page.md"
    page.write_text((root / "docs/scale.md").read_text())
    monkeypatch.setattr(table, "SCALE_PAGE", page)
    write_results(tmp_path)
    found = {"libraries_mb": 350, "opened_mb": 360, "reading_mb": 370, "end_mb": 370, "mapped_mb": 900}
    speed = scale.rates()
    figures = {
        "image_size": 256, "read": 20_000, "memory": {10_000: found, 1_000_000: found}, "ratio": 1.0,
        "difference_mb": 0.0, "rates": speed, "assumed": scale.assumed(), "costs": {10: scale.costs(10, speed)},
    }  # fmt: skip
    scale.write_results("scale", figures)
    table.fill(page, table.SCALE_SECTIONS)
    text = page.read_text()
    for section in table.SCALE_SECTIONS["scale"]:
        assert len(re.findall(f"<!-- {section.__name__} -->\n", text)) == 1
    assert "| the most while reading | 370 | 370 |" in text
    assert "| training, a core | 6.1 | `make bench`: 8.0 at 224 px, scaled by area |" in text


def write_results(folder, **more):
    """What the other benchmarks would have written."""
    speed = {"median": 16.0}
    bench = {
        "hardware": {"cores": 2},
        "ingest": [
            {"film": "2000 × 2500", "image_size": 128, "films_per_second_a_core": {"median": 100}},
            {"film": "2000 × 2500", "image_size": 224, "films_per_second_a_core": {"median": 80}},
            {"film": "512 × 640", "image_size": 224, "films_per_second_a_core": {"median": 900}},
        ],
        "limit": [{"image_size": size, "our_images_per_second": speed} for size in (128, 224)],
    }
    growth = {
        "hardware": {"cores": 2},
        "image_size": 64,
        "films": {"1": 240, "16": 3840},
        "seconds": {"evaluate": {"1": {"median": 3.0}, "16": {"median": 5.0}}},
    }
    results = folder / "results/benchmarks"
    results.mkdir(parents=True)
    for name, figures in {"bench": bench, "growth": growth, **more}.items():
        (results / f"{name}.json").write_text(json.dumps(figures))
