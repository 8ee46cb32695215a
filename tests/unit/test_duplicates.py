"""Planted duplicates are found, none is invented, and the search is exact."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from btxrd.cli import main
from btxrd.data.duplicates import CONFIRMED, connected, near_hashes

PHANTOM = ["data.source=phantom", "data.phantom.images=60", "data.phantom.long_side=400", "data.image_size=224"]
HARM = {
    "saved anew": lambda film: film,
    "half the size": lambda film: cv2.resize(film, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "brighter": lambda film: cv2.convertScaleAbs(film, alpha=1.1, beta=10),
    "noisy": lambda film: cv2.add(film, np.random.default_rng(0).normal(0, 4, film.shape), dtype=cv2.CV_8U),
}


@pytest.mark.parametrize("distance", [0, 1, 6, 10])
def test_search_for_near_hashes_finds_what_comparing_all_finds(distance):
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2, (20, 64), dtype=np.uint8)[rng.integers(0, 20, 800)]
    bits = base ^ (rng.random((800, 64)) < 0.06)
    hashes = np.packbits(bits, axis=1).view("<u8").ravel().astype(np.uint64)
    differing = np.bitwise_count(hashes[:, None] ^ hashes)
    pairs, found = near_hashes(hashes, distance)
    assert np.array_equal(pairs, np.argwhere(np.triu(differing <= distance, k=1)))
    assert np.array_equal(found, differing[pairs[:, 0], pairs[:, 1]])


def test_groups_are_connected_through_others():
    assert list(connected(5, np.array([[0, 3], [3, 4]]))) == [0, 1, 2, 0, 0]


def run(*stages):
    for stage in stages:
        assert main([stage, "--threads", "1", "--override", *PHANTOM]) == 0


def confirmed_pairs():
    pairs = pd.read_csv("resources/duplicates.csv")
    return {(row.image_a, row.image_b): row.kind for row in pairs[pairs["kind"].isin(CONFIRMED)].itertuples()}


@pytest.fixture
def films():
    """The films of 60 phantoms, in two planted pairs of which one has two labels, and those pairs."""
    run("phantom", "table", "cache", "case_names", "cases")
    before = confirmed_pairs()
    assert list(before.values()) == ["near duplicate"] * 2
    return sorted(Path("resources/phantom/images").iterdir()), before


def test_planted_duplicates_are_all_found_and_none_is_invented(films):
    """14 pairs of 60 films, in the table: precision and recall are 1."""
    paths, expected = films
    free = [path for path in paths if not any(path.stem in pair for pair in expected)]
    for number, (source, target) in enumerate(zip(free[:12], free[12:24], strict=True)):
        content, kind = source.read_bytes(), "identical file"
        if number == 1:
            content, kind = content + b"\0", "identical pixels"  # another file, the same film
        elif number > 1:
            film = list(HARM.values())[number % len(HARM)](cv2.imread(str(source), cv2.IMREAD_GRAYSCALE))
            content, kind = cv2.imencode(".jpg", film)[1].tobytes(), "near duplicate"
        target.write_bytes(content)
        expected[source.stem, target.stem] = kind
    run("table", "cache", "cases")
    assert confirmed_pairs() == expected


def test_blank_films_are_not_one_person(films):
    paths, before = films
    blank = [path for path in paths if not any(path.stem in pair for pair in before)][:3]
    for number, path in enumerate(blank):
        path.write_bytes(cv2.imencode(".jpg", np.zeros((200 + number, 160), np.uint8))[1].tobytes())
    run("table", "cache", "cases")
    assert confirmed_pairs() == before
