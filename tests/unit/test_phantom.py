import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from btxrd.data import phantom_drawing as drawing
from btxrd.data.phantom import BTXRD_COUNTS, make_phantoms, plan_cases, plan_duplicates
from btxrd.data.table import COLUMNS

IMAGES = 80


def draw(folder, **options):
    make_phantoms(folder, **({"images": IMAGES, "long_side": 160, "seed": 1, "processes": 1} | options))
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(Path(folder).rglob("*.j*"))}


def test_layout_is_that_of_btxrd(phantoms):
    raw = phantoms / "resources/phantom"
    rows = pd.read_excel(raw / "dataset.xlsx")
    assert tuple(rows.columns) == COLUMNS
    assert len(COLUMNS) == 37
    assert len(rows) == len(list((raw / "images").iterdir())) == IMAGES
    tumors = {name.removesuffix(".jpeg") for name in rows.loc[rows["tumor"] == 1, "image_id"]}
    assert {path.stem for path in (raw / "Annotations").iterdir()} == tumors
    metadata = pd.read_csv(phantoms / "resources/metadata.csv")
    assert metadata.groupby(["width", "height"]).size().max() < 5
    assert set(metadata["mode"]) == {"L", "RGB"}


def test_outlines_are_polygon_and_rectangle_on_the_film(phantoms):
    raw = phantoms / "resources/phantom"
    for path in (raw / "Annotations").iterdir():
        content = json.loads(path.read_text())
        polygon, rectangle = content["shapes"]
        assert (polygon["shape_type"], rectangle["shape_type"]) == ("polygon", "rectangle")
        points, corners = np.array(polygon["points"]), np.array(rectangle["points"])
        assert np.allclose([points.min(0), points.max(0)], corners)
        film = cv2.imread(str(raw / "images" / content["imagePath"]), cv2.IMREAD_GRAYSCALE)
        assert film.shape == (content["imageHeight"], content["imageWidth"])
        middle = points.mean(0)
        assert (middle > 0).all() and (middle < film.shape[::-1]).all()


@pytest.mark.parametrize("images", [60, 481, 3746])
def test_classes_and_centers_have_the_shares_of_btxrd(images):
    counts = {}
    for plan in plan_cases(images, seed=0):
        counts[plan.label, plan.center] = counts.get((plan.label, plan.center), 0) + len(plan.image_ids)
    assert sum(counts.values()) == images
    for label, row in BTXRD_COUNTS.items():
        for center, expected in enumerate(row, start=1):
            assert counts.get((label, center), 0) == pytest.approx(images * expected / 3746, abs=1)


def test_cases_are_read_back_from_the_names(phantoms):
    plans = plan_cases(IMAGES, seed=42)
    planned = {image_id: plan.number for plan in plans for image_id in plan.image_ids}
    for source, target in plan_duplicates(plans, seed=42):
        joined = {planned[source], planned[target]}
        planned = {image_id: min(joined) if number in joined else number for image_id, number in planned.items()}
    cases = pd.read_csv(phantoms / "resources/cases.csv")
    pairs = {(planned[row.image_id], row.case_id) for row in cases.itertuples()}
    assert len(pairs) == len({number for number, _ in pairs}) == len({case for _, case in pairs})
    assert {"coded", "slug", "unnamed", "duplicate"} == set(cases["reason"])


def test_flaws_of_btxrd_are_in_the_phantoms(phantoms):
    metadata = pd.read_csv(phantoms / "resources/metadata.csv").merge(
        pd.read_csv(phantoms / "resources/cases.csv", keep_default_na=False), on="image_id"
    )
    duplicates = metadata[metadata["duplicate_group"] != ""].groupby("duplicate_group")
    assert sorted(duplicates["label"].nunique()) == [1, 2]
    height = metadata[metadata["center"] == 1].groupby("hospital")["height"].median()
    assert height["g"] < 0.75 * height.drop("g").min()
    lists = [pd.read_excel(phantoms / f"resources/phantom/case_names_{part}.xlsx") for part in ("train", "val")]
    assert sorted(pd.concat(lists)["image_id"].str.removesuffix(".jpeg")) == sorted(metadata["image_id"])


def test_seed_alone_decides_and_processes_do_not():
    one = draw("one")
    assert draw("two", processes=2) == one
    assert draw("three", seed=2) != one


def test_views_of_a_case_share_its_anatomy_and_labels_differ():
    rng = np.random.default_rng(5)
    anatomy = drawing.draw_anatomy(rng, "Malignant")
    assert drawing.draw_anatomy(rng, "Normal").lesion is None
    assert anatomy.lesion.kind == "sarcoma"
    films = [drawing.draw_film(anatomy, view, 1, 300, np.random.default_rng(1)) for view in drawing.VIEW_ANGLES]
    assert all(film.outline is not None for film in films)
    assert not np.array_equal(films[0].image, films[1].image)


def test_held_out_centers_look_different(phantoms):
    metadata = pd.read_csv(phantoms / "resources/metadata.csv")

    def contrast(file):
        film = cv2.imread(str(phantoms / file), cv2.IMREAD_GRAYSCALE)
        return np.percentile(film, 95) - np.percentile(film, 30)

    by_center = metadata["file"].map(contrast).groupby(metadata["center"]).mean()
    assert by_center[3] < 0.9 * by_center[1]
