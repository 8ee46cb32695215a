"""The tables of the audit: what is in the data, by whatever could stand in for the label."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from btxrd import CLASSES
from btxrd.audit.annotations import coverage
from btxrd.audit.evidence import Evidence
from btxrd.audit.splits import SplitOnDisk, counts_of_split, leak_of_split
from btxrd.data.duplicates import CONFIRMED
from btxrd.data.table import MODES

REASONS = {
    "coded": "hospital, number, sex and age in the name",
    "slug": "the name without its view",
    "duplicate": "only that it is a duplicate",
    "unnamed": "nothing; a case of its own",
}
ONLY_THE_HASH = "only the hash"
MOST_PAIRS = 40  # in a table of the page


@dataclass(frozen=True)
class Table:
    """A table with a title; numbers stay numbers until the page shows them."""

    title: str
    frame: pd.DataFrame
    note: str = ""

    def facts(self) -> dict[str, Any]:
        """Primitives for JSON and for the page."""
        rows = self.frame.astype(object).to_numpy().tolist()
        return {"title": self.title, "note": self.note, "columns": list(self.frame.columns), "rows": rows}


def composition_tables(images: pd.DataFrame) -> Iterator[Table]:
    """Images of each class by center, hospital, age, sex, view, region and subtype."""
    yield Table("Class by center", class_counts(images, ["center"]))
    yield Table(
        "Class by center and hospital",
        class_counts(images, ["center", "hospital"]),
        "Only some names tell the hospital.",
    )
    yield Table("Class by age", class_counts(images, ["age_band"], "years"))
    yield Table("Class by sex", class_counts(images, ["sex"]))
    yield Table("Class by view", class_counts(images, ["view"]))
    yield Table("Class by region", class_counts(images, ["region"]))
    yield Table("Class by subtype", class_counts(images, ["subtype"]))
    note = "Median (least – most); width and height of the upright film in px, file size in kB."
    yield Table("Film size by hospital and class", film_sizes(images), note)


def class_counts(images: pd.DataFrame, columns: list[str], heading: str = "") -> pd.DataFrame:
    """Images of each class by the values of `columns`; an empty value is shown as a dash."""
    shown = [_shown(images[column]) for column in columns]
    counts = pd.crosstab(shown, images["label"]).reindex(columns=CLASSES, fill_value=0)
    counts["all"] = counts.sum(axis=1)
    table = counts.reset_index()
    table.columns = [*columns, *CLASSES, "all"]
    return table.rename(columns={columns[0]: heading or columns[0]})


def _shown(values: pd.Series) -> pd.Series:
    return values.astype(str).replace("", "–")  # a center is a name, not a number


def film_sizes(images: pd.DataFrame) -> pd.DataFrame:
    """Width, height, file size and colour modes of the films of each center, hospital and class."""
    rows = []
    for (center, hospital, label), films in images.groupby(["center", "hospital", "label"]):
        modes = [int((films["mode"] == mode).sum()) for mode in MODES]
        sizes = [_median_and_range(films[side]) for side in ("width", "height")]
        kilobytes = _median_and_range(films["bytes"] / 1000)
        rows.append([str(center), hospital or "–", label, len(films), *sizes, kilobytes, *modes])
    columns = ["center", "hospital", "class", "films", "width", "height", "kB", "gray (L)", "colour (RGB)"]
    table = pd.DataFrame(rows, columns=columns)
    order = table["class"].map(CLASSES.index)
    return table.assign(order=order).sort_values(["center", "hospital", "order"])[columns]


def _median_and_range(values: pd.Series) -> str:
    return f"{values.median():,.0f} ({values.min():,.0f} – {values.max():,.0f})"


def annotation_tables(evidence: Evidence) -> Iterator[Table]:
    """Which films have an outline, and what is wrong with the files."""
    judged = evidence.annotations
    if judged.empty:
        return
    yield Table("Outlines by class", coverage(judged, evidence.images))
    faults = {"annotation files": len(judged)} | {
        words: int(judged[fault].sum())
        for fault, words in (
            ("unreadable", "can't be read"), ("orphan", "of no film of the table"),
            ("other_size", "of another size than the film"), ("leaves", "with an outline that leaves the film"),
        )
    }  # fmt: skip
    yield Table("Annotation files", pd.DataFrame(faults.items(), columns=["", "files"]))


def case_tables(images: pd.DataFrame) -> Iterator[Table]:
    """How cases were found, and how many there are."""
    counts = images["reason"].value_counts()
    known = [[reason, words, int(counts.get(reason, 0))] for reason, words in REASONS.items()]
    note = "What the original file name tells of the case."
    yield Table("How cases were found", pd.DataFrame(known, columns=["reason", "from", "images"]), note)
    cases = images.groupby("case_id")["label"].agg(["size", "nunique"])
    facts = {
        "cases": len(cases),
        "of one image": int((cases["size"] == 1).sum()),
        "of several images": int((cases["size"] > 1).sum()),
        "of several classes": int((cases["nunique"] > 1).sum()),
        "most images in a case": int(cases["size"].max()),
    }
    yield Table("Cases", pd.DataFrame(facts.items(), columns=["", "cases"]))


def duplicate_tables(duplicates: pd.DataFrame) -> Iterator[Table]:
    """Pairs of films by kind, and the pairs themselves that a person should look at."""
    contradicting = duplicates["label_a"] != duplicates["label_b"]
    rows = [
        [kind, int((duplicates["kind"] == kind).sum()), int(((duplicates["kind"] == kind) & contradicting).sum())]
        for kind in (*CONFIRMED, ONLY_THE_HASH)
    ]
    yield Table("Duplicates", pd.DataFrame(rows, columns=["kind", "pairs", "of two labels"]))
    confirmed = duplicates["kind"].isin(CONFIRMED)
    for title, mask in (("Contradicting pairs", confirmed & contradicting), ("Only the hash", ~confirmed)):
        if mask.any():
            pairs = duplicates[mask].sort_values("correlation", ascending=False, kind="stable")
            note = f"the {MOST_PAIRS} most alike; all are in duplicates.csv" if len(pairs) > MOST_PAIRS else ""
            yield Table(title, pairs.head(MOST_PAIRS).rename(columns=lambda name: name.replace("_", " ")), note)


def split_tables(split: SplitOnDisk) -> Iterator[Table]:
    """What a split consists of, and what of it leaks."""
    yield Table("Images and cases", counts_of_split(split, CLASSES))
    yield Table("Tied to another partition", leak_of_split(split, CLASSES))
