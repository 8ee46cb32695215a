"""Films that show the same exposure: identical files, identical pixels, near duplicates.

Near duplicates are found by the 64-bit perceptual hash (Zauner, Implementation and benchmarking of perceptual image
hash functions, 2010; here ImageHash) and confirmed on the pixels: two people in the same position can have one hash.
"""

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from btxrd.data.cache import Cache
from btxrd.data.decoding import is_blank

HASH_BITS = 64
COMPARED_SIDE = 64  # px; the smallest cache, so that cases do not depend on its size
SHIFT = 4  # px at that size by which two films may lie apart
DETAIL = 2.0  # px; what is coarser than this looks alike in all films of one kind, and is taken off
FAINT = 3.0  # gray levels; detail below this is noise and is not raised to the contrast of the rest
# Correlation of the detail. Measured at 224 px: films saved anew (JPEG 30, half the size, brighter, noisy), real and
# synthetic, 0.89 to 1.00; two different real films at most 0.33; of 3,746 synthetic ones, the 687 pairs whose
# hashes are nearest at most 0.81.
SAME_FILM = 0.85
PAIR_COLUMNS = ("image_a", "image_b", "kind", "distance", "correlation", "label_a", "label_b")
CONFIRMED = ("identical file", "identical pixels", "near duplicate")  # the fourth kind is `only the hash`


def find_duplicates(metadata: pd.DataFrame, cache: Cache, distance: int) -> pd.DataFrame:
    """Pairs of films (columns PAIR_COLUMNS) that are one, or share a hash without being one.

    `distance` is the most bits in which two perceptual hashes may differ. Of many identical films each is paired
    with the first. A film of one gray value alone shows nothing, so only its file can make it a duplicate.
    """
    pairs = [(a, b, CONFIRMED[0], 0, 1.0) for a, b in _pairs_of_equals(metadata["sha256"])]
    pixels = pd.Series([_pixels(cache, image_id) for image_id in metadata["image_id"]], index=metadata.index)
    known = {(a, b) for a, b, *_ in pairs}
    pairs += [(a, b, CONFIRMED[1], 0, 1.0) for a, b in _pairs_of_equals(pixels.dropna()) if (a, b) not in known]
    different = metadata.loc[pixels.drop_duplicates().dropna().index]
    pairs += _near_pairs(different, cache, distance)
    ids, labels = metadata["image_id"].to_numpy(), metadata["label"].to_numpy()
    rows = [(ids[a], ids[b], *facts, labels[a], labels[b]) for a, b, *facts in pairs]
    return pd.DataFrame(rows, columns=PAIR_COLUMNS).sort_values(["image_a", "image_b"], ignore_index=True)


def _pixels(cache: Cache, image_id: str) -> bytes | None:
    """A hash of the pixels, None for a film without content."""
    film = cache.film_of(image_id)
    return None if is_blank(film) else hashlib.sha256(film).digest()


def _pairs_of_equals(values: pd.Series) -> Iterator[tuple[int, int]]:
    """The positions of each value that was there before, with the position where it first was."""
    first: dict[Any, int] = {}
    for position, value in values.items():
        if first.setdefault(value, position) != position:
            yield first[value], position


def _near_pairs(metadata: pd.DataFrame, cache: Cache, distance: int) -> Iterator[tuple[int, int, str, int, float]]:
    hashes = np.array([int(phash, 16) for phash in metadata["phash"]], dtype=np.uint64)
    position, ids = metadata.index.to_numpy(), metadata["image_id"].to_numpy()

    @lru_cache(maxsize=4096)
    def detail(row: int) -> np.ndarray:
        return _detail(cache.film_of(ids[row]))

    for (a, b), bits in zip(*near_hashes(hashes, distance), strict=True):
        correlation = _correlation(detail(a), detail(b))
        kind = CONFIRMED[2] if correlation >= SAME_FILM else "only the hash"
        yield int(position[a]), int(position[b]), kind, int(bits), round(correlation, 3)


def _detail(film: np.ndarray) -> np.ndarray:
    """Fine structure at equal contrast everywhere, so that a black border does not outweigh the bone."""
    small = cv2.resize(film, (COMPARED_SIDE, COMPARED_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    fine = small - cv2.GaussianBlur(small, (0, 0), DETAIL)
    return fine / np.sqrt(cv2.GaussianBlur(fine**2, (0, 0), DETAIL) + FAINT**2)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """The highest correlation of the middle of `one` with `other`, up to SHIFT px aside."""
    middle = one[SHIFT:-SHIFT, SHIFT:-SHIFT]
    return float(cv2.matchTemplate(other, middle, cv2.TM_CCOEFF_NORMED).max())


def near_hashes(hashes: np.ndarray, distance: int) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of 64-bit hashes (uint64, shape (n,)) that differ in at most `distance` bits.

    Returns positions, shape (pairs, 2), the lower first, and bits that differ, shape (pairs,). Not quadratic: the bits
    are cut into distance + 1 pieces, of which a near pair shares at least one, so only hashes that share a piece
    are compared (Norouzi et al., Fast exact search in Hamming space with multi-index hashing, TPAMI 2014).
    """
    edges = np.linspace(0, HASH_BITS, distance + 2).astype(np.uint64)
    found = [np.empty((0, 2), dtype=np.int64)]
    for low, high in pairwise(edges):
        piece = (hashes >> low) & np.uint64((1 << int(high - low)) - 1)
        order = np.argsort(piece, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(piece[order])) + 1):
            found += _near_in_group(hashes, group, distance)
    pairs = np.unique(np.concatenate(found), axis=0)
    return pairs, np.bitwise_count(hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]])


def _near_in_group(hashes: np.ndarray, group: np.ndarray, distance: int, rows: int = 256) -> Iterator[np.ndarray]:
    """Near pairs within a group, compared a few rows at a time: memory stays small. `group` is in rising order."""
    for start in range(0, len(group) - 1, rows):
        some, rest = group[start : start + rows], group[start:]
        near = np.bitwise_count(hashes[some][:, None] ^ hashes[rest]) <= distance
        one, other = np.nonzero(np.triu(near, k=1))
        yield np.stack([some[one], rest[other]], axis=1)


def connected(count: int, pairs: np.ndarray) -> np.ndarray:
    """The number of the connected component of each of `count` nodes, shape (count,); pairs has shape (n, 2)."""
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1]
