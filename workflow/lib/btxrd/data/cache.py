"""Every film decoded once: gray, upright, square, in one memory-mapped file that all trainings read."""

import hashlib
import json
import logging
import mmap
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from btxrd.data.decoding import decode
from btxrd.data.table import read_metadata
from btxrd.errors import UserError, raise_all
from btxrd.files import write_json, written_whole
from btxrd.progress import parallel_map

log = logging.getLogger("btxrd")


class Cache:
    """Decoded films, uint8 (size, size), each read from a memory-mapped file when it is asked for.

    Behind each film stands its SHA-256, checked when it is first read. Neither the films nor their names are held in
    memory, so a million of them need no more of it than a thousand; a loader worker that gets a copy maps the files
    itself.
    """

    def __init__(self, array: Path, index: dict[str, Any]):
        self.array, self.index = array, index
        self._records = np.load(array, mmap_mode="r")
        # In random order what lies behind a film is not read next, so only the film itself is to be fetched from disk.
        self._records._mmap.madvise(mmap.MADV_RANDOM)
        self._ids = np.load(_ids_file(array), mmap_mode="r")  # sorted, one for each film
        self._checked = np.zeros(len(self._records), bool)

    def __reduce__(self) -> tuple[type, tuple[Path, dict[str, Any]]]:
        return Cache, (self.array, self.index)

    def __len__(self) -> int:
        return len(self._records)

    @property
    def fits(self) -> bool:
        """Whether the files belong to each other and to the index."""
        return self._records.dtype == _record(self.index["size"]) and len(self._records) == len(self._ids)

    def rows(self, image_ids: Iterable[str]) -> np.ndarray:
        """The rows of films by name, int64 (names,); raises UserError if one is not there."""
        wanted = _encoded(image_ids)
        rows = np.minimum(np.searchsorted(self._ids, wanted), len(self) - 1)
        missing = wanted[self._ids[rows] != wanted]
        if len(missing):
            raise UserError(f"{self.array}: {len(missing)} images are not in the cache, e.g. {missing[0].decode()}.")
        return rows

    def image_ids(self, rows: np.ndarray) -> list[str]:
        """The names of the films in these rows."""
        return [name.decode() for name in self._ids[rows]]

    def film(self, row: int) -> np.ndarray:
        """The film of a row, uint8 (size, size); raises UserError if it is not what was written."""
        size = self._records.itemsize
        start = self._records.offset + row * size
        page = start % mmap.PAGESIZE
        self._records._mmap.madvise(mmap.MADV_WILLNEED, start - page, page + size)
        record = self._records[row]
        if not self._checked[row]:
            if _digest(record["film"]) != record["sha256"].tobytes():
                name = self._ids[row].decode()
                raise UserError(f"{self.array}: film {name} is damaged; run `snakemake -R cache` to make it anew.")
            self._checked[row] = True
        return record["film"]

    def film_of(self, image_id: str) -> np.ndarray:
        """The film of that name, as `film`."""
        return self.film(int(self.rows([image_id])[0]))


def build_cache(metadata_file: str | Path, size: int, resize: str, array: Path, index: Path, processes: int) -> None:
    """Decode each film of metadata.csv to gray uint8 (size, size) and write them to `array` and `index` (JSON).

    `resize` is `pad` (aspect kept, black around) or `squash`. The films lie in the order of their names, which lie
    beside them; all is in place, whole, before the index that names its hash is. Raises UserError that lists every
    film that is missing, changed or can't be decoded.
    """
    metadata = read_metadata(metadata_file)
    ids = _encoded(metadata["image_id"])
    order = np.argsort(ids)
    films = [Film(*row) for row in zip(*(metadata[name].iloc[order] for name in Film._fields), strict=True)]
    problems, all_films = [], hashlib.sha256()
    with written_whole(array) as temporary, written_whole(_ids_file(array)) as temporary_ids:
        records = np.lib.format.open_memmap(temporary, mode="w+", dtype=_record(size), shape=(len(films),))
        decoded = parallel_map(partial(decode_film, size=size, resize=resize), films, processes, "decoding films")
        for row, image in enumerate(decoded):
            if isinstance(image, str):
                problems.append(image)
            else:
                digest = _digest(image)
                records[row] = image, np.void(digest)
                all_films.update(digest)
        raise_all(problems, "films that can't be cached")
        records.flush()
        np.save(temporary_ids, ids[order])
    facts = {
        "size": size,
        "resize": resize,
        "films_sha256": _digest("".join(film.sha256 for film in films).encode()).hex(),
        "array_sha256": all_films.hexdigest(),
    }
    write_json(facts, index)
    log.info("%d films at %d px (%s): %.0f MB in %s", len(films), size, resize, array.stat().st_size / 1e6, array)


def _record(size: int) -> np.dtype:
    return np.dtype([("film", np.uint8, (size, size)), ("sha256", "V32")])


def _ids_file(array: Path) -> Path:
    return array.with_suffix(".ids.npy")


def _encoded(image_ids: Iterable[str]) -> np.ndarray:
    """Names as an array of bytes, which a file can hold and a search needs not decode."""
    return np.array([image_id.encode() for image_id in image_ids], dtype=np.bytes_)


def _digest(content: Any) -> bytes:
    return hashlib.sha256(content).digest()


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
    if not cache.fits:
        raise UserError(f"{array}: the cache does not fit its index; {advice}")
    return cache


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
    if _digest(content).hex() != film.sha256:
        return f"{film.file}: not the file that metadata.csv describes; run `snakemake -R table`"
    image = decode(content, film.height, film.width, size, resize)
    return f"{film.file}: can't be decoded" if image is None else image
