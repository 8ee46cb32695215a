import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from btxrd.data.decoding import fit
from btxrd.data.outlines import Outlines, lesion_mask, lesion_share, outlines_of, read_outlines


def ellipse(x, y, across, down, points=40):
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([x + across * np.cos(angle), y + down * np.sin(angle)], axis=1)


@pytest.mark.parametrize("resize", ["pad", "squash"])
@pytest.mark.parametrize(("width", "height"), [(700, 2100), (2100, 700), (341, 517), (90, 60)])
def test_mask_lies_where_the_film_shows_the_lesion(resize, width, height):
    """A bright ellipse, drawn into the film, is under the mask once the film is cached."""
    polygon = ellipse(0.7 * width, 0.3 * height, 0.11 * width, 0.13 * height)
    film = np.zeros((height, width), np.uint8)
    cv2.fillPoly(film, [np.round((polygon - 0.5) * 16).astype(np.int32)], 255, shift=4)
    cached = fit(film, 224, resize) > 127
    mask = lesion_mask(Outlines(width, height, (polygon,)), 224, resize)
    assert (mask & cached).sum() / (mask | cached).sum() > 0.9
    middle = [np.argwhere(where).mean(axis=0) for where in (mask, cached)]
    assert np.abs(middle[0] - middle[1]).max() < 0.6


def test_share_is_that_of_the_film_and_not_of_the_square():
    half = np.array([[0, 0], [50, 0], [50, 400], [0, 400]])
    assert lesion_share(Outlines(100, 400, (half,)), 224, "pad") == pytest.approx(0.5, abs=0.02)


def test_lesions_are_joined_and_what_leaves_the_film_is_cut_off():
    square = np.array([[-50, 10], [20, 10], [20, 30], [-50, 30]])
    twice = lesion_share(Outlines(100, 100, (square, square)), 100, "pad")
    assert twice == pytest.approx(20 * 20 / 100**2, abs=0.01)


def test_polygons_alone_are_read():
    shapes = [
        {"shape_type": "rectangle", "points": [[0, 0], [9, 9]]},
        {"shape_type": "polygon", "points": [[0, 0], [9, 0], [9, 9]]},
    ]
    Path("a.json").write_text(json.dumps({"imageWidth": 10, "imageHeight": 20, "shapes": shapes}))
    outlines = read_outlines(Path("a.json"))
    assert (outlines.width, outlines.height, len(outlines.polygons)) == (10, 20, 1)
    assert outlines_of(Path(), "a") is not None
    assert outlines_of(Path(), "absent") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"imageWidth": 1, "imageHeight": 1, "shapes": [{}]}'])
def test_file_that_can_not_be_used_is_no_outline(text):
    Path("a.json").write_text(text)
    with pytest.raises(ValueError):
        read_outlines(Path("a.json"))
    assert outlines_of(Path(), "a") is None
