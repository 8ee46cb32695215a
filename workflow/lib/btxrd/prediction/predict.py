"""Files and folders in, one row a file out: read and judged in batches, on all cores, in memory that does not grow."""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import torch

from btxrd import CLASSES
from btxrd.caveats import NOT_CLINICAL
from btxrd.data.films import ENDINGS, ReadFilm, content_of, is_dicom
from btxrd.errors import UserError
from btxrd.prediction.outputs import Row, check_ending, rows_to
from btxrd.prediction.predictor import Prediction, Predictor
from btxrd.progress import lines_above_bars, progress
from btxrd.training.devices import working_device
from btxrd.words import counted, joined

log = logging.getLogger("btxrd")

BATCH = {"cpu": 4}  # films of a pass; more would leave the caches of a core
BATCH_OF_GPU = 32
AHEAD = 64  # batches that may be read before they are judged, which bounds the memory
SHOWN = {"desc": "films", "unit": "film"}
FEW = 100  # films for which a faster form of the network is not worth its making
SOME_FAILED = 3  # exit status

Named = tuple[Path, str]  # a path, and why it can't even be tried
Draw = Callable[[Path, ReadFilm, Prediction], None]


def predict(
    checkpoint: Path,
    named: Sequence[Path],
    out: Path | None,
    heatmaps: Path | None,
    companion: Path | None,
    device: str,
    threads: int,
) -> int:
    """Judge the films of files and folders and write a row for each; returns the exit status.

    0 if all could be read, 3 if some could not. Raises UserError if none could, or the checkpoint can't be used.
    """
    check_ending(out)
    files = find_films(named)
    paths = [path for path, _ in files]
    log.info("%s.", NOT_CLINICAL.capitalize())
    with working_device(device) as where:
        predictor = Predictor(checkpoint, where, companion)
        _introduce(predictor)
        draw = _drawer(predictor, heatmaps, paths) if heatmaps else None
        counts, failed = Counter(), 0
        with rows_to(out, paths) as write, lines_above_bars(), progress(total=len(files), **SHOWN) as bar:
            for row in _rows(predictor, files, draw, threads):
                write(row)
                bar.update()
                if row.prediction:
                    counts[row.prediction.predicted] += 1
                else:
                    failed += 1
    return _conclude(counts, failed, out)


def _drawer(predictor: Predictor, folder: Path, paths: Sequence[Path]) -> Draw:
    """What draws the heat map of a film, in a module whose libraries only this needs."""
    from btxrd.prediction.heatmaps import HeatMaps

    return HeatMaps(predictor, folder, paths)


def find_films(named: Sequence[Path]) -> list[Named]:
    """The files that were named, and the films in the folders that were, in order; a folder without any is told."""
    found: list[Named] = []
    for path in named:
        if _is_folder(path):
            films = sorted(_films_in(path, set()))
            found += films or [(path, "a folder without JPEG, PNG, TIFF or DICOM files")]
        else:
            found.append((path, ""))
    return found


def _films_in(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Named]:
    """Films in a folder and those below it, each folder once, however links lead to it."""
    facts = folder.stat()
    if (facts.st_dev, facts.st_ino) in seen:
        return
    seen.add((facts.st_dev, facts.st_ino))
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        yield folder, (error.strerror or "can't be read").lower()
        return
    for path in paths:
        if _is_folder(path):
            yield from _films_in(path, seen)
        elif _looks_like_film(path):
            yield path, ""


def _is_folder(path: Path) -> bool:
    """False also where that can't be known, as of a name that is too long; reading it then says why."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _looks_like_film(path: Path) -> bool:
    """By its ending; without one, as archives of DICOM have it, by its first bytes."""
    if path.suffix:
        return path.suffix.lower() in ENDINGS
    if path.name == "DICOMDIR" or not path.is_file():  # reading a pipe could wait for ever
        return False
    try:
        with path.open("rb") as file:
            return is_dicom(file.read(132))
    except OSError:
        return False


def _introduce(predictor: Predictor) -> None:
    """Say on stderr what judges the films, and what can't be said of them."""
    epoch = predictor.trained.checkpoint.get("epoch", "?")
    log.info("%s: epoch %s of %s", predictor.checkpoint, epoch, " · ".join(predictor.caveats))
    if predictor.companion is None:
        log.warning(
            "No inference.json of this very checkpoint was found (--inference names one): no calibrated probabilities, "
            "no operating points, and no warning of films that are far from the training images."
        )


def _rows(predictor: Predictor, files: Sequence[Named], draw: Draw | None, threads: int) -> Iterator[Row]:
    """A row for each file, in order: each core reads films and judges batches, so that none waits for another."""
    size = BATCH.get(predictor.trained.device.type, BATCH_OF_GPU)
    cv2.setNumThreads(1)
    pool = partial(ThreadPoolExecutor, threads, initializer=partial(torch.set_num_threads, 1))
    reading: deque[Future] = deque()
    judging: deque[Future[list[Row]]] = deque()
    with pool() as readers, pool() as judges:
        try:
            ready = judges.submit(predictor.hurry, size) if len(files) > FEW else judges.submit(int)
            for start in range(0, len(files), size):
                reading.append(readers.submit(_read, predictor, files[start : start + size]))
                judging.append(judges.submit(_judge, predictor, draw, ready, reading[-1]))
                if len(judging) > AHEAD:
                    reading.popleft()
                    yield from judging.popleft().result()
            while judging:
                yield from judging.popleft().result()
        finally:
            for future in (*judging, *reading):  # where someone stopped it
                future.cancel()


def _read(predictor: Predictor, files: Sequence[Named]) -> list[tuple[Path, ReadFilm | None, str]]:
    """Films, or why there is none."""
    read = []
    for path, error in files:
        try:
            if error:
                raise UserError(error)
            read.append((path, predictor.read(content_of(path)), ""))
        except UserError as reason:
            read.append((path, None, str(reason)))
    return read


def _judge(predictor: Predictor, draw: Draw | None, ready: Future, batch: Future) -> list[Row]:
    """The rows of a batch that is being read."""
    ready.result()
    read = batch.result()
    films = [film for _, film, _ in read if film]
    predictions = iter(predictor.predict(films))
    rows = [Row(path, next(predictions) if film else None, error) for path, film, error in read]
    if draw:
        for row, (_, film, _) in zip(rows, read, strict=True):
            if film:
                draw(row.path, film, row.prediction)
    return rows


def _conclude(counts: Counter, failed: int, out: Path | None) -> int:
    """Sum up on stderr; the exit status."""
    read = [f"{counts[name]:,} {name}" for name in CLASSES if counts[name]]
    if not read:
        raise UserError(
            f"{'no film' if failed == 1 else f'none of {failed:,} files'} could be read; each row says why."
        )
    log.info(
        "%s: %s%s%s",
        counted(counts.total(), "film"),
        joined(read),
        f"; {counted(failed, 'file')} could not be read" if failed else "",
        f" → {out}" if out else "",
    )
    return SOME_FAILED if failed else 0
