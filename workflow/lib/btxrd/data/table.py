"""The data set's table, checked against the films on disk: dataset.xlsx → metadata.csv, one row an image."""

import hashlib
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import imagehash
import pandas as pd
from PIL import Image, ImageOps

from btxrd import CLASSES
from btxrd.data.archive import IMAGE_ENDINGS, IMAGES, TABLE
from btxrd.data.decoding import upright_size
from btxrd.errors import UserError, raise_all
from btxrd.files import written_whole
from btxrd.progress import parallel_map

log = logging.getLogger("btxrd")

SITES = (
    "hand", "ulna", "radius", "humerus", "foot", "tibia", "fibula", "femur", "hip bone", "ankle-joint",
    "knee-joint", "hip-joint", "wrist-joint", "elbow-joint", "shoulder-joint",
)  # fmt: skip
SUBTYPES = (
    "osteochondroma", "multiple osteochondromas", "simple bone cyst", "giant cell tumor", "osteofibroma",
    "synovial osteochondroma", "other bt", "osteosarcoma", "other mt",
)  # fmt: skip
REGIONS = ("upper limb", "lower limb", "pelvis")
VIEWS = ("frontal", "lateral", "oblique")
LABELS = ("tumor", "benign", "malignant")
COLUMNS = ("image_id", "center", "age", "gender", *SITES, *LABELS, *SUBTYPES, *REGIONS, *VIEWS)
FLAGS = COLUMNS[4:]
CENTERS = (1, 2, 3)
MODES = ("L", "RGB")
AGE_BANDS = {"0–9": 10, "10–19": 20, "20–39": 40, "40–59": 60, "60 and over": 200}  # below this many years
HASH_SIDE = 256  # px; films are decoded at a reduced scale not below this for the perceptual hash

METADATA_COLUMNS = (
    "image_id", "file", "label", "center", "age", "sex", "view", "region", "subtype",
    "width", "height", "mode", "bytes", "sha256", "phash",
)  # fmt: skip


def make_table(
    folder: str | Path,
    target: str | Path,
    expected_counts: Mapping[str, Sequence[int]] | None,
    processes: int,
) -> None:
    """Check dataset.xlsx and every image of `folder` and write metadata.csv to `target`.

    Columns: see METADATA_COLUMNS; width and height (px) are those of the upright film, sha256 that of the file,
    phash the 64-bit perceptual hash. Raises UserError that lists all violations at once.
    """
    folder = Path(folder)
    rows = read_dataset(folder / TABLE)
    problems = check_rows(rows)
    files, file_problems = _match_files(rows, folder / IMAGES)
    facts = list(parallel_map(examine_film, files, processes, "reading films"))
    problems += file_problems + [fact["problem"] for fact in facts if "problem" in fact]
    problems += _count_problems(rows, expected_counts)
    raise_all(problems, f"{folder / TABLE} and {folder / IMAGES}")
    for oddity in oddities(rows):
        log.warning("oddity: %s", oddity)
    metadata = _metadata(rows, pd.DataFrame(facts), folder)
    with written_whole(target) as temporary:
        metadata.to_csv(temporary, index=False)
    log.info("%d films:\n%s", len(metadata), counts_table(metadata))


def read_metadata(path: str | Path) -> pd.DataFrame:
    """Read metadata.csv; texts stay texts."""
    return pd.read_csv(path, dtype={"phash": str, "sha256": str, "image_id": str}, keep_default_na=False)


def age_band(ages: pd.Series) -> pd.Series:
    """The band of AGE_BANDS that each age in years is in."""
    return pd.cut(ages, [0, *AGE_BANDS.values()], right=False, labels=list(AGE_BANDS))


def counts_table(metadata: pd.DataFrame) -> str:
    """Images of each class by center, as text."""
    counts = pd.crosstab(metadata["center"], metadata["label"]).reindex(columns=CLASSES, fill_value=0)
    return counts.to_string()


def read_dataset(path: Path) -> pd.DataFrame:
    """Read dataset.xlsx: 37 columns, image_id without its ending, flags as numbers with empty cells as 0."""
    rows = read_sheet(path, COLUMNS, "the layout of BTXRD needs it")
    rows = rows[rows["image_id"].notna()].reset_index(drop=True)
    if rows.empty:
        raise UserError(f"{path}: no row.")
    rows["image_id"] = [_stem(name) for name in rows["image_id"]]
    return rows


def read_sheet(path: Path, columns: Sequence[str], reason: str) -> pd.DataFrame:
    """The named columns of an Excel file's first sheet, cells as they are.

    Raises UserError, which ends with `reason`, for a file that is missing, unreadable or without one of the columns.
    """
    try:
        rows = pd.read_excel(path, dtype=object)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {reason}.") from None
    except (ValueError, BadZipFile, KeyError) as error:
        raise UserError(f"{path}: not a readable Excel file ({error}); {reason}.") from None
    rows.columns = [str(name).strip() for name in rows.columns]
    missing = [name for name in columns if name not in rows.columns]
    if missing:
        raise UserError(f"{path}: column {', '.join(missing)} missing; {reason}.")
    return rows[list(columns)]


def _stem(name: Any) -> str:
    text = str(name).strip()
    return text[: -len(Path(text).suffix)] if text.lower().endswith(IMAGE_ENDINGS) else text


def check_rows(rows: pd.DataFrame) -> list[str]:
    """Every violation of what a row promises; cleans flags, center and age of `rows` in place."""
    problems = []
    for image_id in rows.loc[rows["image_id"].duplicated(), "image_id"].unique():
        problems.append(f"{image_id}: the id stands in {(rows['image_id'] == image_id).sum()} rows")
    problems += _number_problems(rows)
    problems += [
        f"{image_id}: gender is {sex!r}, not M or F"
        for image_id, sex in zip(rows["image_id"], rows["gender"], strict=True)
        if sex not in ("M", "F")
    ]
    return problems + _label_problems(rows)


def _number_problems(rows: pd.DataFrame) -> list[str]:
    problems = []
    allowed = {"center": set(CENTERS), "age": set(range(121)), **{flag: {0, 1} for flag in FLAGS}}
    for name, values in allowed.items():
        given = rows[name]
        numbers = pd.to_numeric(given, errors="coerce")
        if name in FLAGS and name not in LABELS:
            numbers = numbers.where(given.notna(), 0)  # the authors left a few anatomy cells empty
        for image_id, value in zip(rows["image_id"][~numbers.isin(values)], given[~numbers.isin(values)], strict=True):
            problems.append(f"{image_id}: {name} is {_shown(value)}, not {_range(values)}")
        rows[name] = numbers.fillna(0).astype(int)
    return problems


def _shown(value: Any) -> str:
    return "empty" if pd.isna(value) else repr(value)


def _range(values: set[int]) -> str:
    ordered = sorted(values)
    return " or ".join(map(str, ordered)) if len(ordered) <= 3 else f"{ordered[0]} to {ordered[-1]}"


def _label_problems(rows: pd.DataFrame) -> list[str]:
    problems = []
    for row in rows.to_dict("records"):
        if row["benign"] and row["malignant"]:
            problems.append(f"{row['image_id']}: both benign and malignant")
        elif row["tumor"] != (row["benign"] or row["malignant"]):
            problems.append(
                f"{row['image_id']}: unknown label: tumor is {row['tumor']}, benign {row['benign']}, "
                f"malignant {row['malignant']}"
            )
    return problems


def oddities(rows: pd.DataFrame) -> list[str]:
    """What is strange in checked rows but makes no result wrong."""
    found = []
    tumor = rows["tumor"] == 1
    for name, columns, films in (("view", VIEWS, rows), ("region", REGIONS, rows), ("subtype", SUBTYPES, rows[tumor])):
        number = films[list(columns)].sum(axis=1)
        found += [
            f"{image_id}: {count or 'no'} {name}s"
            for image_id, count in zip(films["image_id"], number, strict=True)
            if count != 1
        ]
    anatomy = rows[[*SITES, *SUBTYPES]].any(axis=1)
    found += [f"{image_id}: Normal, but with a site or subtype" for image_id in rows["image_id"][~tumor & anatomy]]
    return found


def _match_files(rows: pd.DataFrame, images: Path) -> tuple[list[Path], list[str]]:
    """The film of each row, matched on the stem (table and disk disagree on some endings), and the problems."""
    by_stem: dict[str, list[Path]] = {}
    for path in sorted(images.iterdir()) if images.is_dir() else []:
        if path.suffix.lower() in IMAGE_ENDINGS and not path.name.startswith("."):
            by_stem.setdefault(path.stem, []).append(path)
    files, problems = [], []
    for image_id in rows["image_id"]:
        found = by_stem.get(image_id, [])
        if len(found) > 1:
            problems.append(f"{image_id}: {len(found)} images: {', '.join(path.name for path in found)}")
        files.append(found[0] if found else images / image_id)
    strangers = sorted(set(by_stem) - set(rows["image_id"]))
    if strangers:
        log.warning("%d images without a row are left out: %s", len(strangers), _some(strangers))
    return files, problems


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def examine_film(path: Path) -> dict[str, Any]:
    """Size, mode, hashes of one film, decoded whole and upright; or `problem`, a sentence."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {"problem": f"{path.stem}: image missing in {path.parent}"}
    except OSError as error:
        return {"problem": f"{path}: image can't be read ({error.strerror})"}
    try:
        with Image.open(io.BytesIO(content)) as film:
            mode, (height, width) = film.mode, upright_size(film)
            film.draft("L", (HASH_SIDE, HASH_SIDE))
            phash = str(imagehash.phash(ImageOps.exif_transpose(film)))
    except Exception as error:  # a broken film can raise almost anything
        return {"problem": f"{path}: unreadable image ({error})"}
    if mode not in MODES:
        return {"problem": f"{path}: colour mode {mode}; films must be 8-bit gray (L) or RGB"}
    sha256 = hashlib.sha256(content).hexdigest()
    names = ("file", "width", "height", "mode", "bytes", "sha256", "phash")
    return dict(zip(names, (path.name, width, height, mode, len(content), sha256, phash), strict=True))


def _count_problems(rows: pd.DataFrame, expected: Mapping[str, Sequence[int]] | None) -> list[str]:
    if expected is None:
        return []
    counts = pd.crosstab(_labels(rows), rows["center"]).reindex(index=CLASSES, columns=CENTERS, fill_value=0)
    return [
        f"center {center}: {counts.at[name, center]} {name} images, {expected[name][position]} expected "
        "(data.expected_counts; null for an archive of your own)"
        for name in CLASSES
        for position, center in enumerate(CENTERS)
        if counts.at[name, center] != expected[name][position]
    ]


def _labels(rows: pd.DataFrame) -> pd.Series:
    """Class names; malignant before benign before Normal."""
    return pd.Series(
        [CLASSES[2 if row.malignant else 1 if row.benign else 0] for row in rows.itertuples()],
        index=rows.index,
        name="label",
    )


def _metadata(rows: pd.DataFrame, facts: pd.DataFrame, folder: Path) -> pd.DataFrame:
    described = pd.DataFrame(
        {
            "image_id": rows["image_id"],
            "file": [str(folder / IMAGES / name) for name in facts["file"]],
            "label": _labels(rows),
            "center": rows["center"],
            "age": rows["age"],
            "sex": rows["gender"],
            "view": _set_flags(rows, VIEWS),
            "region": _set_flags(rows, REGIONS),
            "subtype": _set_flags(rows, SUBTYPES),
        }
    )
    metadata = pd.concat([described, facts.drop(columns="file")], axis=1)
    return metadata[list(METADATA_COLUMNS)].sort_values("image_id", ignore_index=True)


def _set_flags(rows: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """The names of the set flags of each row, joined by `+`."""
    flags = rows[list(columns)].to_numpy() == 1
    return ["+".join(name for name, is_set in zip(columns, row, strict=True) if is_set) for row in flags]
