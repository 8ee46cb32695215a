"""Predictions as rows: CSV, JSON, or a table on a terminal, each written as it comes."""

import csv
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from btxrd import CLASSES
from btxrd.errors import UserError
from btxrd.files import written_whole
from btxrd.prediction.predictor import Prediction
from btxrd.words import joined

ENDINGS = (".csv", ".json")
PROBABILITIES, CALIBRATED = (
    tuple(f"{kind}_{name.lower()}" for name in CLASSES) for kind in ("probability", "calibrated")
)
COLUMNS = ("file", "predicted", *PROBABILITIES, *CALIBRATED, "operating_points", "warnings", "error")
LISTS = ("operating_points", "warnings")
LEAST_WIDTH, NUMBERS = 12, 50  # characters of the table: of a file's name at least; of what follows it

Write = Callable[["Row"], None]


@dataclass(frozen=True)
class Row:
    """What became of a file: a prediction, or the reason why there is none."""

    path: Path
    prediction: Prediction | None
    error: str

    @property
    def file(self) -> str:
        """The path as it was given; bytes that are no UTF-8 are spelled out."""
        return os.fsencode(self.path).decode("utf-8", "backslashreplace")

    def values(self) -> dict[str, Any]:
        """By column; None where there is nothing to say."""
        said = self.prediction
        if said is None:
            return dict.fromkeys(COLUMNS) | {"file": self.file, "error": self.error}
        calibrated = [None] * len(CLASSES) if said.calibrated is None else said.calibrated.tolist()
        return {
            "file": self.file,
            "predicted": said.predicted,
            **dict(zip(PROBABILITIES, said.probabilities.tolist(), strict=True)),
            **dict(zip(CALIBRATED, calibrated, strict=True)),
            "operating_points": None if said.calibrated is None else said.operating_points,
            "warnings": said.warnings,
            "error": None,
        }


def check_ending(out: Path | None) -> None:
    """Raises UserError for a file that is neither CSV nor JSON."""
    if out and out.suffix.lower() not in ENDINGS:
        raise UserError(f"--out {out}: its name must end in {' or '.join(ENDINGS)}.")


@contextmanager
def rows_to(out: Path | None, paths: Sequence[Path]) -> Iterator[Write]:
    """Give a function that writes a row: to `out`, whole or not at all, or to stdout, for a person if it is one's."""
    if out is None:
        yield _table(paths) if sys.stdout.isatty() else _csv(sys.stdout)
        return
    with written_whole(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        if out.suffix.lower() == ".csv":
            yield _csv(stream)
        else:
            yield _json(stream)
            stream.write("\n]\n")


def _csv(stream: TextIO) -> Write:
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()

    def write(row: Row) -> None:
        values = row.values()
        writer.writerow(values | {name: "; ".join(values[name] or []) for name in LISTS})

    return write


def _json(stream: TextIO) -> Write:
    """A list of objects with a line each; the caller closes it."""
    before = "[\n"

    def write(row: Row) -> None:
        nonlocal before
        stream.write(before + json.dumps(row.values(), ensure_ascii=False))
        before = ",\n"

    return write


def _table(paths: Sequence[Path]) -> Write:
    """Lines above the progress bar; a long name keeps its end, which tells more than its beginning."""
    longest = max((len(_printable(Row(path, None, "").file)) for path in paths), default=0)
    width = max(LEAST_WIDTH, min(longest, shutil.get_terminal_size().columns - NUMBERS))
    tqdm.write(f"{'':{width}}  {'':10}{'probability (calibrated)':>36}")
    tqdm.write(f"{'file':{width}}  {'predicted':10}" + "".join(f"{name:>12}" for name in CLASSES))

    def write(row: Row) -> None:
        name = _printable(row.file)
        tqdm.write(f"{name if len(name) <= width else '…' + name[1 - width :]:{width}}  {_cells(row)}")
        for note in _notes(row):
            tqdm.write(f"    {note}")

    return write


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _cells(row: Row) -> str:
    said = row.prediction
    if said is None:
        return f"not read: {row.error}"
    cells = [f"{value:.2f}" for value in said.probabilities]
    if said.calibrated is not None:
        cells = [f"{cell} ({mended:.2f})" for cell, mended in zip(cells, said.calibrated, strict=True)]
    return f"{said.predicted:10}" + "".join(f"{cell:>12}" for cell in cells)


def _notes(row: Row) -> list[str]:
    said = row.prediction
    if said is None:
        return []
    points = [f"Malignant at the operating points {joined(said.operating_points)}"] if said.operating_points else []
    return [*points, *(f"warning: {warning}" for warning in said.warnings)]
