"""The lesion outlines (LabelMe JSON, one file a film) against the films and the table."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from btxrd import CLASSES
from btxrd.audit.findings import Finding
from btxrd.data.outlines import read_outlines
from btxrd.words import counted, joined, share, some

ANNOTATION_COLUMNS = ("image_id", "problem", "outlines", "width", "height", "overhang")
ROUNDING = 1.0  # px by which an outline may lie outside before it counts as leaving the film


def read_annotations(folder: Path) -> pd.DataFrame:
    """One row a file (columns ANNOTATION_COLUMNS); `problem` says in words why a file can't be used.

    `outlines` counts the polygons, of which masks are made; `overhang` (px) is how far they leave the image.
    A folder that is absent gives no row.
    """
    paths = sorted(folder.glob("*.json")) if folder.is_dir() else []
    return pd.DataFrame([_read(path) for path in paths], columns=ANNOTATION_COLUMNS)


def _read(path: Path) -> dict[str, Any]:
    try:
        outlines = read_outlines(path)
    except ValueError as error:
        return {"image_id": path.stem, "problem": str(error)}
    overhang = _overhang(outlines.polygons, outlines.width, outlines.height)
    facts = (path.stem, "", len(outlines.polygons), outlines.width, outlines.height, overhang)
    return dict(zip(ANNOTATION_COLUMNS, facts, strict=True))


def _overhang(polygons: Sequence[np.ndarray], width: int, height: int) -> float:
    if not polygons:
        return 0.0
    points = np.concatenate(polygons)
    return float(max(-points.min(), (points - (width, height)).max(), 0))


def judge_annotations(annotations: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """Put what is known of its film beside each annotation, and say of each what is wrong (true or false)."""
    films = images[["image_id", "label", "width", "height"]]
    judged = annotations.merge(films, on="image_id", how="left", suffixes=("", "_of_film"))
    readable, orphan = judged["problem"] == "", judged["label"].isna()
    fits = (judged["width"] == judged["width_of_film"]) & (judged["height"] == judged["height_of_film"])
    return judged.assign(
        unreadable=~readable,
        orphan=orphan,
        outlined=readable & ~orphan & (judged["outlines"] > 0),
        other_size=readable & ~orphan & ~fits,
        # Where the sizes disagree, where an outline lies on the film is not known.
        leaves=readable & ~orphan & fits & (judged["overhang"] > ROUNDING),
    )


def coverage(judged: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """Films of each class with and without an outline, and what is wrong with theirs."""
    rows = []
    for name in CLASSES:
        films = int((images["label"] == name).sum())
        own = judged[judged["label"] == name]
        outlined = int(own["outlined"].sum())
        faults = [int(own[fault].sum()) for fault in ("leaves", "other_size", "unreadable")]
        rows.append([name, films, outlined, films - outlined, *faults])
    columns = ("class", "films", "with outline", "without", "outline leaves the film", "other size", "unreadable file")
    return pd.DataFrame(rows, columns=columns)


def findings_of_annotations(judged: pd.DataFrame, images: pd.DataFrame) -> Iterator[Finding]:
    """What of the outlines could mislead; where there is no file at all, that alone."""
    if judged.empty:
        sentence = "No annotation file was found, so nothing is said of lesion outlines."
        yield Finding("note", "No annotations", sentence)
        return
    yield from _unusable_files(judged)
    yield from _missing_and_surplus(judged, images)
    leaving = judged[judged["leaves"]]
    if len(leaving):
        yield Finding(
            "note",
            "Outlines that leave the film",
            f"The outlines of {counted(len(leaving), 'film')} leave the film, by up to "
            f"{leaving['overhang'].max():,.0f} px; what lies outside is cut off.",
            list(leaving["image_id"]),
        )


def _unusable_files(judged: pd.DataFrame) -> Iterator[Finding]:
    unreadable = judged[judged["unreadable"]]
    if len(unreadable):
        reasons = [f"{row.image_id}: {row.problem}" for row in unreadable.itertuples()]
        yield Finding(
            "warning",
            "Unreadable annotations",
            f"{counted(len(unreadable), 'annotation file')} can't be read ({some(reasons)}).",
            list(unreadable["image_id"]),
        )
    other = judged[judged["other_size"]]
    if len(other):
        have = "gives" if len(other) == 1 else "give"
        yield Finding(
            "warning",
            "Annotations of another size",
            f"{counted(len(other), 'annotation file')} {have} another width and height than the upright film has, so "
            "the outline may lie in the wrong place.",
            list(other["image_id"]),
        )
    orphans = judged[judged["orphan"]]
    if len(orphans):
        belong = "belongs" if len(orphans) == 1 else "belong"
        sentence = f"{counted(len(orphans), 'annotation file')} {belong} to no film of the table."
        yield Finding("note", "Annotations without a film", sentence, list(orphans["image_id"]))


def _missing_and_surplus(judged: pd.DataFrame, images: pd.DataFrame) -> Iterator[Finding]:
    outlined = images["image_id"].isin(judged.loc[judged["outlined"], "image_id"])
    normal = images["label"] == CLASSES[0]
    surplus, missing = images[outlined & normal], images[~outlined & ~normal]
    if len(surplus):
        carry = "carries" if len(surplus) == 1 else "carry"
        yield Finding(
            "warning",
            "Outlines on Normal films",
            f"{share(len(surplus), normal.sum())} Normal films {carry} a lesion outline, so label or outline is wrong.",
            list(surplus["image_id"]),
        )
    if len(missing):
        labels = missing["label"].value_counts()
        classes = joined([f"{labels[name]:,} {name}" for name in CLASSES if name in labels])
        have = "has" if len(missing) == 1 else "have"
        yield Finding(
            "warning",
            "Tumours without an outline",
            f"{share(len(missing), (~normal).sum())} tumours {have} no outline that can be used ({classes}), so "
            "nothing can be said of where a model looks in them.",
            list(missing["image_id"]),
        )
