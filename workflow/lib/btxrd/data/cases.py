"""Which images show the same person and lesion, read from the authors' original file names.

BTXRD publishes no patient ids, but the authors' own tables (repository SHUNHANYAO/BTXRD) keep the name each
image had: hospital code and case number, a Radiopaedia case, a MedPix description. Parsing never guesses: a name
that fits no rule is counted, listed, and its image stays a case of its own.
"""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from btxrd.data.cache import open_cache
from btxrd.data.duplicates import CONFIRMED, connected, find_duplicates
from btxrd.data.table import read_metadata, read_sheet
from btxrd.errors import UserError
from btxrd.fetch import fetch
from btxrd.files import sha256_of_file, write_json, written_whole

log = logging.getLogger("btxrd")

NAME_COLUMNS = ("image_id", "Original Name")
CASE_COLUMNS = ("image_id", "case_id", "hospital", "reason", "duplicate_group")
ENDING = re.compile(r"\.(jpe?g|png)$", re.IGNORECASE)
# center 1, tumours: b1-M-12-恶-骨肉瘤-胫骨-2 = hospital and number, sex, age, …, view; numbers repeat between people
CODED = re.compile(r"^(?P<hospital>[A-Za-z])(?P<number>\d+)-(?P<sex>[MF])-(?P<age>\d+)-", re.IGNORECASE)
# center 1, Normals: m59_3 or 36m_2 = sex, age, running number; says nothing of the case
UNNAMED = re.compile(r"^([mf]\d+|\d+[mf])_\d+$", re.IGNORECASE)
# center 2: a Radiopaedia case, " (2)" for a further view
VIEW_SUFFIX = re.compile(r"\s*\(\d+\)$")
# center 3: age, sex, diagnosis, running number
RUNNING_NUMBER = re.compile(r"\s*\d+$")


@dataclass(frozen=True)
class Case:
    """What a name tells: `key` is equal for images of one case, None where the name says nothing."""

    key: str | None
    hospital: str
    reason: str  # coded, slug, unnamed


def parse_name(name: str, center: int) -> Case | None:
    """Read the case from an original file name of a center; None if the name fits no rule."""
    stem = ENDING.sub("", name.strip())
    if center == 1:
        coded = CODED.match(stem)
        if coded:
            hospital = coded["hospital"].lower()
            return Case(f"1-{hospital}{coded['number']}-{coded['sex'].upper()}-{coded['age']}", hospital, "coded")
        return Case(None, "", "unnamed") if UNNAMED.match(stem) else None
    key = (VIEW_SUFFIX if center == 2 else RUNNING_NUMBER).sub("", stem) or stem
    return Case(f"{center}-{key}", "", "slug")


def record_case_names(sources: Sequence[Any], folder: str | Path, record: str | Path) -> None:
    """Fetch the tables of original names that are {url, sha256} to `folder`; write what all say to `record` (JSON).

    The record alone is read from then on: later stages may run where the tables are not. One that can't be fetched is
    no error: the run goes on without any, cases unknown, and says so. Raises UserError for a named local file that
    can't be used.
    """
    paths = [Path(source) if isinstance(source, str) else _fetched(source, Path(folder)) for source in sources]
    if None in paths:
        paths = []  # half the names would split by case here and by image there
    tables = [{"file": str(path), "names": _read_names(path), "sha256": sha256_of_file(path)} for path in paths]
    write_json({"tables": tables}, record)
    if not tables:
        log.warning(
            "cases unknown: without the authors' names every image is a case of its own unless it is a duplicate, so "
            "images of one person may lie in training and in test; results may be too good, and are marked."
        )


def named_tables(record: str | Path) -> list[dict[str, str]]:
    """Image ids to original names, one mapping for each recorded table, in the order of the configuration."""
    return [table["names"] for table in json.loads(Path(record).read_text(encoding="utf-8"))["tables"]]


def make_cases(
    metadata_file: str | Path, names_record: str | Path, cache_index: Path, distance: int, cases_file: Path, pairs: Path
) -> None:
    """Write cases.csv (columns: CASE_COLUMNS) and duplicates.csv (see find_duplicates).

    Confirmed duplicates are one duplicate_group, and the cases that they connect are one case. Names that fit no rule
    are listed in the log. `distance`, in bits, is that of near duplicates.
    """
    metadata = read_metadata(metadata_file)
    names = {image: name for table in named_tables(names_record) for image, name in table.items()}
    duplicates = find_duplicates(metadata, open_cache(cache_index), distance)
    cases = join_duplicates(assign_cases(metadata, names), duplicates)
    for table, path in ((cases, cases_file), (duplicates, pairs)):
        with written_whole(path) as temporary:
            table.to_csv(temporary, index=False)
    _log_cases(cases, duplicates)


def assign_cases(metadata: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """The case of each image by its name alone; `names` maps image_id to the original name and may lack any."""
    rows, unread = [], []
    for image_id, center in zip(metadata["image_id"], metadata["center"], strict=True):
        case = parse_name(names[image_id], center) if image_id in names else Case(None, "", "unnamed")
        if case is None:
            unread.append(f"{image_id} ({names[image_id]})")
            case = Case(None, "", "unnamed")
        rows.append((image_id, case.key or image_id, case.hospital, case.reason))
    if unread:
        log.warning("%d names fit no rule; each image is a case of its own: %s", len(unread), "; ".join(unread))
    return pd.DataFrame(rows, columns=CASE_COLUMNS[:4])


def join_duplicates(cases: pd.DataFrame, duplicates: pd.DataFrame) -> pd.DataFrame:
    """Add the column duplicate_group, named after its first image, and give the cases that a group connects one id."""
    confirmed = duplicates[duplicates["kind"].isin(CONFIRMED)]
    position = pd.Series(cases.index, index=cases["image_id"])
    pairs = np.stack([position[confirmed[side]].to_numpy(dtype=int) for side in ("image_a", "image_b")], axis=1)
    group = connected(len(cases), pairs)
    in_group = pd.Series(group).duplicated(keep=False).to_numpy()
    first_of_group = cases["image_id"].groupby(group).transform("min")
    case_number, keys = pd.factorize(cases["case_id"], sort=True)
    component = connected(len(keys), case_number[pairs])
    case_id = pd.Series(keys).groupby(component).transform("min").to_numpy()[case_number]
    reason = cases["reason"].mask(in_group & (cases["reason"] == "unnamed"), "duplicate")
    return cases.assign(case_id=case_id, reason=reason, duplicate_group=first_of_group.where(in_group, ""))


def read_cases(path: str | Path) -> pd.DataFrame:
    """Read cases.csv; all columns are texts, empty where there is nothing to say."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def _log_cases(cases: pd.DataFrame, duplicates: pd.DataFrame) -> None:
    sizes = cases["case_id"].value_counts()
    log.info("%d images in %d cases, %d of them with several images", len(cases), len(sizes), (sizes > 1).sum())
    log.info("how they were found: %s", ", ".join(f"{n} {r}" for r, n in cases["reason"].value_counts().items()))
    kinds = duplicates["kind"].value_counts()
    log.info("duplicates: %s", ", ".join(f"{n} × {kind}" for kind, n in kinds.items()) or "none")
    for pair in duplicates[duplicates["kind"].isin(CONFIRMED)].itertuples():
        if pair.label_a != pair.label_b:
            log.warning(
                "%s, but %s is %s and %s is %s", pair.kind, pair.image_a, pair.label_a, pair.image_b, pair.label_b
            )


def _fetched(source: Mapping[str, str], folder: Path) -> Path | None:
    # Two tables of different folders may have one name; the hash keeps them apart.
    path = folder / f"{source['sha256'][:12]}_{source['url'].rsplit('/', 1)[-1]}"
    if path.exists() and sha256_of_file(path) == source["sha256"]:
        return path
    advice = "Put the file there, or name a local copy in data.case_names, and run `snakemake -R case_names`."
    try:
        fetch([source["url"]], path, source["sha256"], None, advice)
    except UserError as error:
        log.warning("%s", error)
        return None
    return path


def _read_names(path: Path) -> dict[str, str]:
    table = read_sheet(path, NAME_COLUMNS, "data.case_names names it").dropna().astype(str)
    return {ENDING.sub("", image.strip()): name for image, name in table.itertuples(index=False)}
