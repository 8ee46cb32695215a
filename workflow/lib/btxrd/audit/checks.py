"""What in table, films, cases and duplicates makes results wrong, can mislead, or should be known."""

from collections.abc import Iterator

import pandas as pd

from btxrd import CLASSES
from btxrd.audit.evidence import Evidence
from btxrd.audit.findings import Finding
from btxrd.data.duplicates import CONFIRMED
from btxrd.data.splits import conflicting_images
from btxrd.words import counted, joined, share, some

NAMED = ("coded", "slug")  # reasons that say that a case was read from a name
MOST = 0.5  # of a class that comes from one place, whose share of the others is less than half of that
FEWEST = 10  # images of a class on which such a share says something
SMALL = 0.75  # of the median height of the rest of a center
FEWEST_FILMS = 3  # of which a median is taken
HOW_MANY = {0: "no", 2: "two", 3: "three"}


def findings_of_images(evidence: Evidence) -> Iterator[Finding]:
    """Every check of this module, the graver ones first."""
    for check in (
        _absent_classes, _contradicting_duplicates, _unknown_cases, _concentrated_classes, _small_films, _blank_films,
        _odd_flags, _joined_duplicates, _only_the_hash, _cases_of_several_classes,
    ):  # fmt: skip
        yield from check(evidence)


def _absent_classes(evidence: Evidence) -> Iterator[Finding]:
    for name in CLASSES:
        if not (evidence.images["label"] == name).any():
            sentence = f"None of {counted(len(evidence.images), 'image')} is {name}, so no model can learn this class."
            yield Finding("error", f"No {name} image", sentence)


def _contradicting_duplicates(evidence: Evidence) -> Iterator[Finding]:
    images = evidence.images
    contradicting = images[images["image_id"].isin(conflicting_images(images))]
    if contradicting.empty:
        return
    groups = [
        joined([f"{row.image_id} as {row.label}" for row in films.itertuples()])
        for _, films in contradicting.groupby("duplicate_group")
    ]
    ids = list(contradicting["image_id"])
    stand = "stands" if len(groups) == 1 else "stand"
    yield Finding(
        "warning",
        "Duplicates with contradicting labels",
        f"{counted(len(groups), 'exposure')} {stand} in the data under two labels ({some(groups, 2)}); "
        f"{_fate(evidence, set(ids))}.",
        ids,
    )


def _fate(evidence: Evidence, images: set[str]) -> str:
    """In which splits contradicting images are, seen on the tables themselves."""
    within = [split.name for split in evidence.splits if images & split.image_ids]
    without = [split.name for split in evidence.splits if not images & split.image_ids]
    setting = f"by data.conflicting_labels: {evidence.conflicting_labels}"
    parts = [f"they are dropped from {joined(without)}"] if without else []
    parts += [f"they are kept in {joined(within)}"] if within else []
    return f"{', but '.join(parts)} ({setting})" if parts else setting


def _unknown_cases(evidence: Evidence) -> Iterator[Finding]:
    images = evidence.images
    if not images["reason"].isin(NAMED).any():
        yield Finding(
            "warning",
            "Cases unknown",
            f"No original name tells the case of any of {counted(len(images), 'image')}, so images of one person may "
            "lie in training and in test, and results may be too good.",
        )
        return
    unnamed = images[images["reason"] == "unnamed"]
    if unnamed.empty:
        return
    everywhere = images.groupby(["center", "label"]).size()
    cells = unnamed.groupby(["center", "label"]).size().sort_values(ascending=False)
    where = [
        f"{number:,} of {everywhere[center, label]:,} {label} of center {center}"
        for (center, label), number in cells.items()
    ]
    yield Finding(
        "warning",
        "Names that say nothing of the case",
        f"The names of {share(len(unnamed), len(images))} images say nothing of their case ({some(where)}), so "
        "these are split film by film, and films of one person may be on two sides.",
        list(unnamed["image_id"]),
    )


def _concentrated_classes(evidence: Evidence) -> Iterator[Finding]:
    yield from _concentrated(evidence.images, "center", "")
    for center, images in evidence.images.groupby("center"):
        known = images[images["hospital"] != ""]
        yield from _concentrated(known, "hospital", f" of center {center} whose hospital is known")


def _concentrated(images: pd.DataFrame, column: str, within: str) -> Iterator[Finding]:
    counts = pd.crosstab(images[column], images["label"]).reindex(columns=CLASSES, fill_value=0)
    totals = counts.sum()
    for place, row in counts.iterrows():
        for name in CLASSES:
            of_class, of_others = int(totals[name]), int(totals.sum() - totals[name])
            here, others_here = int(row[name]), int(row.sum() - row[name])
            if min(of_class, of_others) < FEWEST or here / of_class <= MOST:
                continue
            if others_here / of_others < here / of_class / 2:
                yield Finding(
                    "warning",
                    f"Most {name} images come from {column} {place}",
                    f"Of the images{within}, {share(here, of_class)} {name} ones come from {column} {place}, but only "
                    f"{share(others_here, of_others)} others, so what is typical of {column} {place} looks like {name} "
                    "to a model.",
                    list(images.loc[(images[column] == place) & (images["label"] == name), "image_id"]),
                )


def small_hospitals(images: pd.DataFrame) -> list[tuple[int, str]]:
    """Center and letter of each hospital whose median film is less than SMALL as high as in the rest of its center."""
    found = []
    for (center, hospital), films in images[images["hospital"] != ""].groupby(["center", "hospital"]):
        rest = images[(images["center"] == center) & (images["hospital"] != hospital)]
        enough = min(len(films), len(rest)) >= FEWEST_FILMS
        if enough and films["height"].median() < SMALL * rest["height"].median():
            found.append((int(center), str(hospital)))
    return found


def _small_films(evidence: Evidence) -> Iterator[Finding]:
    images = evidence.images
    for center, hospital in small_hospitals(images):
        in_center = images["center"] == center
        films = images[in_center & (images["hospital"] == hospital)]
        rest = images[in_center & (images["hospital"] != hospital)]
        main = films["label"].mode()[0]
        here, elsewhere = (int((rows["label"] == main).sum()) for rows in (films, rest))
        yield Finding(
            "warning",
            f"The films of hospital {hospital} are small",
            f"The median film of hospital {hospital} is {films['height'].median():,.0f} px high, against "
            f"{rest['height'].median():,.0f} px in the rest of center {center}; {here:,} of its "
            f"{len(films):,} films are {main} and {elsewhere:,} of the {len(rest):,} others, so a model can read from "
            "size what it should read from bone.",
            list(films["image_id"]),
        )


def _blank_films(evidence: Evidence) -> Iterator[Finding]:
    if evidence.blank:
        show = "shows" if len(evidence.blank) == 1 else "show"
        sentence = f"{counted(len(evidence.blank), 'film')} {show} one gray value and nothing else."
        yield Finding("warning", "Blank films", sentence, evidence.blank)


def _odd_flags(evidence: Evidence) -> Iterator[Finding]:
    tumours = evidence.images[evidence.images["label"] != CLASSES[0]]
    for column, images in (("view", evidence.images), ("region", evidence.images), ("subtype", tumours)):
        number = images[column].str.count(r"\+") + (images[column] != "")
        odd = images[number != 1]
        if len(odd):
            parts = [
                _with_flags(count, int(times), column) for times, count in number[odd.index].value_counts().items()
            ]
            sentence = f"In the table, {joined(parts)}; one is expected."
            yield Finding("warning", f"Odd entries: {column}", sentence, list(odd["image_id"]))
    marked = evidence.images[(evidence.images["label"] == CLASSES[0]) & (evidence.images["subtype"] != "")]
    if len(marked):
        sentence = f"{counted(len(marked), 'Normal image')} with the subtype of a tumour, so label or subtype is wrong."
        yield Finding("warning", "Odd entries: Normal with a subtype", sentence, list(marked["image_id"]))


def _with_flags(images: int, times: int, column: str) -> str:
    have = "has" if images == 1 else "have"
    return f"{counted(images, 'image')} {have} {HOW_MANY.get(times, times)} {column}{'s' if times else ''}"


def _joined_duplicates(evidence: Evidence) -> Iterator[Finding]:
    confirmed = evidence.duplicates[evidence.duplicates["kind"].isin(CONFIRMED)]
    if confirmed.empty:
        return
    images = evidence.images[evidence.images["duplicate_group"] != ""]
    groups = images["duplicate_group"].nunique()
    kinds = confirmed["kind"].value_counts()
    by_kind = joined([f"{kinds[kind]:,}\N{NO-BREAK SPACE}× {kind}" for kind in CONFIRMED if kind in kinds])
    yield Finding(
        "note",
        "Duplicates",
        f"{counted(len(images), 'image')} show only {counted(groups, 'exposure')} (pairs: {by_kind}); those of one "
        "exposure are one case.",
        list(images["image_id"]),
    )


def _only_the_hash(evidence: Evidence) -> Iterator[Finding]:
    pairs = evidence.duplicates[~evidence.duplicates["kind"].isin(CONFIRMED)]
    if len(pairs):
        share_a = "shares" if len(pairs) == 1 else "share"
        yield Finding(
            "note",
            "Pairs that share only the hash",
            f"{counted(len(pairs), 'pair')} of films {share_a} a perceptual hash (to {pairs['distance'].max()} bits of "
            f"64) but not the pixels (correlation at most {pairs['correlation'].max():.2f}), and count as different.",
            sorted(set(pairs["image_a"]) | set(pairs["image_b"])),
        )


def _cases_of_several_classes(evidence: Evidence) -> Iterator[Finding]:
    images = evidence.images
    mixed = images[images.groupby("case_id")["label"].transform("nunique") > 1]
    if len(mixed):
        cases = mixed["case_id"].nunique()
        have = "has" if cases == 1 else "have"
        yield Finding(
            "note",
            "Cases of several classes",
            f"{counted(cases, 'case')} {have} images of more than one class, {counted(len(mixed), 'image')} in all; a "
            "case is kept together all the same.",
            list(mixed["image_id"]),
        )
