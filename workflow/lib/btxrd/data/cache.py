"""Every film decoded once: gray, upright, square, in one memory-mapped file that all trainings read."""

import hashlib
import json
import logging
import math
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from btxrd.data.table import read_metadata
from btxrd.errors import UserError, raise_all
from btxrd.files import write_json, written_whole
from btxrd.progress import parallel_map

log = logging.getLogger("btxrd")

BLOCK_BYTES = 2**20  # small enough to check as it is read, large enough to hash fast


class Cache:
    """Decoded films: `film(image_id)` is uint8 (size, size), read from a memory-mapped file.

    Each block of films is checked against its hash when its first film is read. A loader worker that gets a copy
    maps the file itself, in place of receiving its content.
    """

    def __init__(self, array: Path, index: dict[str, Any]):
        self.array, self.index = array, index
        self.rows = {image_id: row for row, image_id in enumerate(index["image_ids"])}
        self.images = np.load(array, mmap_mode="r")
        self._checked: set[int] = set()

    def __reduce__(self) -> tuple[type, tuple[Path, dict[str, Any]]]:
        return Cache, (self.array, self.index)

    def film(self, row: int) -> np.ndarray:
        """The film of a row, uint8 (size, size); raises UserError if its block is not what was written."""
        block = row // self.index["block_films"]
        if block not in self._checked:
            films = _block(self.images, block, self.index["block_films"])
            if _digest(films) != self.index["block_sha256"][block]:
                raise UserError(f"{self.array}: block {block} is damaged; run `snakemake -R cache` to make it anew.")
            self._checked.add(block)
        return self.images[row]


def build_cache(metadata_file: str | Path, size: int, resize: str, array: Path, index: Path, processes: int) -> None:
    """Decode each film of metadata.csv to gray uint8 (size, size) and write them to `array` (.npy) and `index` (JSON).

    `resize` is `pad` (aspect kept, black around) or `squash`. The array is in place, whole, before the index that
    names its hash is. Raises UserError that lists every film that is missing, changed or can't be decoded.
    """
    metadata = read_metadata(metadata_file)
    films = list(zip(metadata["file"], metadata["sha256"], strict=True))
    problems = []
    with written_whole(array) as temporary:
        images = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=(len(films), size, size))
        decoded = parallel_map(partial(decode_film, size=size, resize=resize), films, processes, "decoding films")
        for row, image in enumerate(decoded):
            if isinstance(image, str):
                problems.append(image)
            else:
                images[row] = image
        raise_all(problems, "films that can't be cached")
        images.flush()
        block_films = max(1, BLOCK_BYTES // size**2)
        blocks = range(math.ceil(len(films) / block_films))
        block_sha256 = [_digest(_block(images, block, block_films)) for block in blocks]
    facts = {
        "size": size,
        "resize": resize,
        "image_ids": list(metadata["image_id"]),
        "films_sha256": _digest("".join(metadata["sha256"]).encode()),
        "array_sha256": _digest("".join(block_sha256).encode()),
        "block_films": block_films,
        "block_sha256": block_sha256,
    }
    write_json(facts, index)
    log.info("%d films at %d px (%s): %.0f MB in %s", len(films), size, resize, array.stat().st_size / 1e6, array)


def _block(images: np.ndarray, block: int, films: int) -> np.ndarray:
    return images[block * films : (block + 1) * films]


def _digest(content: Any) -> str:
    return hashlib.sha256(content).hexdigest()


def open_cache(index: Path) -> Cache:
    """Map the cache into memory; raises UserError if it is missing or not what its index says."""
    array = index.with_suffix(".npy")
    advice = "run `snakemake -R cache` to make it anew."
    try:
        cache = Cache(array, json.loads(index.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: the cache is missing; {advice}") from None
    except ValueError as error:
        raise UserError(f"{array}: the cache is damaged ({error}); {advice}") from None
    if cache.images.shape != (len(cache.rows), cache.index["size"], cache.index["size"]):
        raise UserError(f"{array}: the cache does not fit its index; {advice}")
    return cache


def is_blank(film: np.ndarray) -> bool:
    """Whether a film shows one gray value and nothing else; the black around a padded film does not count."""
    return bool(((film == 0) | (film == film.max())).all())


def decode_film(film: tuple[str, str], size: int, resize: str) -> np.ndarray | str:
    """Decode (file, sha256) to uint8 (size, size), or say in a sentence why not."""
    file, sha256 = film
    cv2.setNumThreads(1)  # the films are spread over processes already
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        return f"{file}: {error.strerror}"
    if _digest(content) != sha256:
        return f"{file}: not the file that metadata.csv describes; run `snakemake -R table`"
    # Gray decoding honours the EXIF orientation.
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is None:
        return f"{file}: can't be decoded"
    return fit(image, size, resize)


def fit(image: np.ndarray, size: int, resize: str) -> np.ndarray:
    """Bring a gray image (H, W) to (size, size): `pad` keeps the aspect and centers it on black, `squash` does not."""
    top, left, height, width = placement(*image.shape, size, resize)
    canvas = np.zeros((size, size), np.uint8)
    canvas[top : top + height, left : left + width] = _resized(image, height, width)
    return canvas


def placement(height: int, width: int, size: int, resize: str) -> tuple[int, int, int, int]:
    """Where a film of that height and width lies in the square: top, left, height, width, in px."""
    if resize == "squash":
        return 0, 0, size, size
    scale = size / max(height, width)
    height, width = max(1, round(height * scale)), max(1, round(width * scale))
    return (size - height) // 2, (size - width) // 2, height, width


def _resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    shrinks = height < image.shape[0] or width < image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR  # area averaging does not alias
    return cv2.resize(image, (width, height), interpolation=method)
