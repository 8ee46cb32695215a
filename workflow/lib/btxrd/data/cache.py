"""Every film decoded once: gray, upright, square, in one memory-mapped file that all trainings read."""

import hashlib
import json
import logging
import math
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from btxrd.data.table import read_metadata
from btxrd.errors import UserError, raise_all
from btxrd.files import write_json, written_whole
from btxrd.progress import parallel_map

log = logging.getLogger("btxrd")

BLOCK_BYTES = 2**20  # small enough to check as it is read, large enough to hash fast
# A JPEG can be decoded at a fraction of its size, which skips most of the work. What comes out must still be so many
# times the wanted size, so that the averaging that follows decides the pixels: a film is 0.1 to 0.4 gray levels off.
LEAST_REDUCED = 2.5
JPEG = b"\xff\xd8"
REDUCED = {8: cv2.IMREAD_REDUCED_GRAYSCALE_8, 4: cv2.IMREAD_REDUCED_GRAYSCALE_4, 2: cv2.IMREAD_REDUCED_GRAYSCALE_2}


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
    films = [Film(*row) for row in zip(*(metadata[name] for name in Film._fields), strict=True)]
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


class Placement(NamedTuple):
    """Where a film lies in the square, in px."""

    top: int
    left: int
    height: int
    width: int


class Film(NamedTuple):
    """What metadata.csv knows of a film: its file, the hash of it, and its size upright, in px."""

    file: str
    sha256: str
    height: int
    width: int


def decode_film(film: Film, size: int, resize: str) -> np.ndarray | str:
    """Decode a film to uint8 (size, size), or say in a sentence why not."""
    cv2.setNumThreads(1)  # the films are spread over processes already
    try:
        content = Path(film.file).read_bytes()
    except OSError as error:
        return f"{film.file}: {error.strerror}"
    if _digest(content) != film.sha256:
        return f"{film.file}: not the file that metadata.csv describes; run `snakemake -R table`"
    place = placement(film.height, film.width, size, resize)
    image = cv2.imdecode(np.frombuffer(content, np.uint8), _way_to_decode(content, film, place))
    if image is None:
        return f"{film.file}: can't be decoded"
    return _placed(image, place, size)


def _way_to_decode(content: bytes, film: Film, place: Placement) -> int:
    """cv2's flag for the smallest decoding that will do; all of them are gray and honour the EXIF orientation."""
    if content.startswith(JPEG):  # other formats are decoded whole anyway
        for reduction, flag in REDUCED.items():
            least = LEAST_REDUCED * reduction
            if film.height >= least * place.height and film.width >= least * place.width:
                return flag
    return cv2.IMREAD_GRAYSCALE


def fit(image: np.ndarray, size: int, resize: str) -> np.ndarray:
    """Bring a gray image (H, W) to (size, size): `pad` keeps the aspect and centers it on black, `squash` does not."""
    return _placed(image, placement(*image.shape, size, resize), size)


def placement(height: int, width: int, size: int, resize: str) -> Placement:
    """Where a film of that height and width lies in the square of that size."""
    if resize == "squash":
        return Placement(0, 0, size, size)
    scale = size / max(height, width)
    height, width = max(1, round(height * scale)), max(1, round(width * scale))
    return Placement((size - height) // 2, (size - width) // 2, height, width)


def _placed(image: np.ndarray, place: Placement, size: int) -> np.ndarray:
    shrinks = place.height < image.shape[0] or place.width < image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR  # area averaging does not alias
    canvas = np.zeros((size, size), np.uint8)
    inside = np.s_[place.top : place.top + place.height, place.left : place.left + place.width]
    canvas[inside] = cv2.resize(image, (place.width, place.height), interpolation=method)
    return canvas
