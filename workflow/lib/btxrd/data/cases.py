"""Which images show the same person and lesion, read from the authors' original file names.

BTXRD publishes no patient ids, but the authors' own tables (repository SHUNHANYAO/BTXRD) keep the name each
image had: hospital code and case number, a Radiopaedia case, a MedPix description. Parsing never guesses: a name
that fits no rule is counted, listed, and its image stays a case of its own.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from btxrd.data.table import read_metadata, read_sheet
from btxrd.errors import UserError
from btxrd.fetch import fetch
from btxrd.files import sha256_of_file, written_whole

log = logging.getLogger("btxrd")

NAME_COLUMNS = ("image_id", "Original Name")
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


def make_cases(metadata_file: str | Path, names: Sequence[Any], names_folder: str | Path, target: str | Path) -> None:
    """Write cases.csv (image_id, case_id, hospital, reason, duplicate_group) to `target`.

    `names` are tables with the columns image_id and Original Name: local files, or {url, sha256}, fetched to
    `names_folder`. Files of identical bytes are one case. Without names every image is a case of its own.
    Raises UserError for a named local file that can't be used.
    """
    metadata = read_metadata(metadata_file)
    cases = assign_cases(metadata, _original_names(names, Path(names_folder)))
    with written_whole(target) as temporary:
        cases.to_csv(temporary, index=False)
    sizes = cases["case_id"].value_counts()
    log.info("%d images in %d cases, %d of them with several images", len(cases), len(sizes), (sizes > 1).sum())
    log.info("how they were found: %s", ", ".join(f"{n} {r}" for r, n in cases["reason"].value_counts().items()))


def assign_cases(metadata: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    """The case of each image; `names` maps image_id to the original file name and may lack any."""
    rows, unread = [], []
    for image_id, center in zip(metadata["image_id"], metadata["center"], strict=True):
        case = parse_name(names[image_id], center) if image_id in names else Case(None, "", "unnamed")
        if case is None:
            unread.append(f"{image_id} ({names[image_id]})")
            case = Case(None, "", "unnamed")
        rows.append((image_id, case.key or image_id, case.hospital, case.reason))
    if unread:
        log.warning("%d names fit no rule; each image is a case of its own: %s", len(unread), "; ".join(unread))
    if not names:
        log.warning(
            "cases unknown: without the authors' names every image is a case of its own, so images of one person "
            "may lie in training and in test; results may be too good."
        )
    cases = pd.DataFrame(rows, columns=["image_id", "case_id", "hospital", "reason"])
    return _join_identical(cases, metadata["sha256"])


def _join_identical(cases: pd.DataFrame, sha256: pd.Series) -> pd.DataFrame:
    """Give images of identical bytes one duplicate_group, and the cases they connect one id: the first."""
    leader = {case: case for case in cases["case_id"]}

    def find(case: str) -> str:
        while leader[case] != case:
            leader[case] = case = leader[leader[case]]
        return case

    cases["duplicate_group"] = ""
    for content, group in cases.groupby(sha256.to_numpy()):
        if len(group) < 2:
            continue
        cases.loc[group.index, "duplicate_group"] = f"d-{content[:12]}"
        first, *others = sorted({find(case) for case in group["case_id"]})
        leader.update(dict.fromkeys(others, first))
        joined = group.index[group["reason"] == "unnamed"]
        cases.loc[joined, "reason"] = "duplicate"
        log.info("identical files, one case: %s", ", ".join(group["image_id"]))
    cases["case_id"] = [find(case) for case in cases["case_id"]]
    return cases


def _original_names(sources: Sequence[Any], folder: Path) -> dict[str, str]:
    names: dict[str, str] = {}
    for source in sources:
        path = Path(source) if isinstance(source, str) else _fetched(source, folder)
        if path is None:
            return {}  # half the names would split by case here and by image there
        names |= _read_names(path)
    return names


def _fetched(source: dict[str, str], folder: Path) -> Path | None:
    # Two tables of different folders may have one name; the hash keeps them apart.
    path = folder / f"{source['sha256'][:12]}_{source['url'].rsplit('/', 1)[-1]}"
    if path.exists() and sha256_of_file(path) == source["sha256"]:
        return path
    advice = "Put the file there, or name a local copy in data.case_names, and run `snakemake -R cases`."
    try:
        fetch([source["url"]], path, source["sha256"], None, advice)
    except UserError as error:
        log.warning("%s", error)
        return None
    return path


def _read_names(path: Path) -> dict[str, str]:
    table = read_sheet(path, NAME_COLUMNS, "data.case_names names it").dropna().astype(str)
    return {ENDING.sub("", image.strip()): name for image, name in table.itertuples(index=False)}
