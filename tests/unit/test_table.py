import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from btxrd.data.table import COLUMNS, make_table, oddities, read_dataset, read_metadata
from btxrd.errors import UserError


def row(number, **changes):
    values = dict.fromkeys(COLUMNS, 0) | {
        "image_id": f"IMG{number:06d}.jpeg",
        "center": 1,
        "age": 30,
        "gender": "M",
        "frontal": 1,
        "lower limb": 1,
    }
    return values | changes


def write(rows, films=None):
    """dataset.xlsx with `rows`, and a film for each that `films` does not replace."""
    Path("raw/images").mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=COLUMNS).to_excel("raw/dataset.xlsx", index=False)
    for values in rows:
        name = str(values["image_id"])
        content = (films or {}).get(name, jpeg())
        if content is not None:
            Path("raw/images", name).write_bytes(content)


def jpeg(mode="L", size=(40, 60), orientation=None, format_="JPEG"):
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0]), np.uint8)
    film, exif, buffer = Image.fromarray(pixels).convert(mode), Image.Exif(), io.BytesIO()
    if orientation:
        exif[0x0112] = orientation
    film.save(buffer, format_, exif=exif)
    return buffer.getvalue()


def table(expected=None):
    make_table("raw", "metadata.csv", expected, processes=1)
    return read_metadata("metadata.csv")


def test_labels_and_descriptions():
    write(
        [
            row(2, tumor=1, malignant=1, osteosarcoma=1, femur=1, **{"lower limb": 1}),
            row(1),
            row(3, tumor=1, benign=1, osteochondroma=1, center=2, frontal=0, lateral=1),
        ]
    )
    found = table()
    assert list(found["image_id"]) == ["IMG000001", "IMG000002", "IMG000003"]
    assert list(found["label"]) == ["Normal", "Malignant", "Benign"]
    assert list(found["subtype"]) == ["", "osteosarcoma", "osteochondroma"]
    assert list(found["region"]) == ["lower limb"] * 3
    assert list(found["view"]) == ["frontal", "frontal", "lateral"]


def test_film_is_matched_on_the_stem():
    write([row(1)], {"IMG000001.jpeg": None})
    Path("raw/images/IMG000001.jpg").write_bytes(jpeg())
    assert table()["file"][0] == "raw/images/IMG000001.jpg"


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_gray_and_colour_films_are_taken(mode):
    write([row(1)], {"IMG000001.jpeg": jpeg(mode)})
    assert table()["mode"][0] == mode


@pytest.mark.parametrize(("orientation", "size"), [(1, (40, 60)), (3, (40, 60)), (6, (60, 40)), (8, (60, 40))])
def test_size_is_that_of_the_upright_film(orientation, size):
    write([row(1)], {"IMG000001.jpeg": jpeg(orientation=orientation)})
    found = table()
    assert (found["width"][0], found["height"][0]) == size


def test_all_violations_are_listed_at_once():
    rows = [
        row(1), row(1),
        row(2),
        row(3),
        row(4, tumor=1, benign=1, malignant=1),
        row(5, tumor=1),
        row(6, center=4),
        row(7, gender="X"),
        row(8, age=None),
        row(9, benign=2),
        row(10),
    ]  # fmt: skip
    films = {"IMG000002.jpeg": None, "IMG000003.jpeg": jpeg()[:500], "IMG000010.jpeg": jpeg("CMYK")}
    write(rows, films)
    with pytest.raises(UserError) as error:
        table({"Normal": [0, 0, 0], "Benign": [0, 0, 0], "Malignant": [0, 0, 0]})
    message = str(error.value)
    for words in (
        "IMG000001: the id stands in 2 rows",
        "IMG000002: image missing in raw/images",
        "IMG000003.jpeg: unreadable image",
        "IMG000004: both benign and malignant",
        "IMG000005: unknown label",
        "IMG000006: center is 4",
        "IMG000007: gender is 'X'",
        "IMG000008: age is empty",
        "IMG000009: benign is 2",
        "IMG000010.jpeg: colour mode CMYK",
        "Normal images, 0 expected",
    ):
        assert words in message
    assert not Path("metadata.csv").exists()


def test_known_oddities_are_warnings_and_empty_anatomy_cells_are_zero():
    write(
        [
            row(
                1,
                tumor=1,
                benign=1,
                osteochondroma=1,
                osteofibroma=1,
                **{"lower limb": 1, "pelvis": 1, "hand": None},
            ),
            row(2, lateral=1),
            row(3, frontal=0),
            row(4, femur=1),
        ]
    )
    table()
    from btxrd.data.table import check_rows

    rows = read_dataset(Path("raw/dataset.xlsx"))
    assert check_rows(rows) == []
    assert oddities(rows) == [
        "IMG000002: 2 views",
        "IMG000003: no views",
        "IMG000001: 2 regions",
        "IMG000001: 2 subtypes",
        "IMG000004: Normal, but with a site or subtype",
    ]


def test_missing_columns_and_files_are_named():
    Path("raw").mkdir()
    with pytest.raises(UserError, match=r"dataset.xlsx: no such file"):
        table()
    pd.DataFrame({"image_id": ["a"]}).to_excel("raw/dataset.xlsx")
    with pytest.raises(UserError, match="column center, age"):
        table()
    Path("raw/dataset.xlsx").write_bytes(b"no table")
    with pytest.raises(UserError, match="not a readable Excel file"):
        table()
