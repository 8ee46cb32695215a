"""The embedded data: synthetic films in exactly the layout of BTXRD, so that every later stage runs unchanged."""

import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from btxrd.data import phantom_drawing as drawing
from btxrd.data.archive import ANNOTATIONS, IMAGES, TABLE, put_layout_in_place
from btxrd.data.cases import NAME_COLUMNS
from btxrd.data.table import COLUMNS, VIEWS
from btxrd.files import scratch_folder
from btxrd.progress import parallel_map

log = logging.getLogger("btxrd")

CASE_NAMES = {"train": "case_names_train.xlsx", "val": "case_names_val.xlsx"}
OFFICIAL_VAL = 0.2  # share of images, dealt without regard to cases, as the authors did
HIDDEN_SHORTCUT = 0.6  # films of hospital g, where most Malignant of center 1 come from, are this small
IMAGES_PER_DUPLICATE = 180  # BTXRD: 21 pairs of equal hash among 3,746 images
BTXRD_COUNTS = {"Normal": (1593, 259, 27), "Benign": (1110, 214, 201), "Malignant": (235, 76, 31)}
HOSPITALS = {"Benign": ("byg", (0.49, 0.46, 0.05)), "Malignant": ("byg", (0.15, 0.11, 0.74))}
VIEWS_PER_CASE = (0.5, 0.35, 0.15)  # shares of cases with 1, 2, 3 films
SUBTYPE = {
    "stalk": "osteochondroma",
    "cyst": "simple bone cyst",
    "matrix": "other bt",
    "sarcoma": "osteosarcoma",
}
CHINESE = {
    "Benign": "良", "Malignant": "恶", "osteochondroma": "骨软骨瘤", "simple bone cyst": "骨囊肿",
    "other bt": "内生软骨瘤", "osteosarcoma": "骨肉瘤", "femur": "股骨", "tibia": "胫骨", "fibula": "腓骨",
    "humerus": "肱骨", "radius": "桡骨", "ulna": "尺骨",
}  # fmt: skip
NEAR_JOINT = {
    "femur": "knee-joint", "tibia": "knee-joint", "fibula": "ankle-joint",
    "humerus": "elbow-joint", "radius": "wrist-joint", "ulna": "wrist-joint",
}  # fmt: skip


@dataclass(frozen=True)
class CasePlan:
    """One synthetic person and lesion, and the image ids of the films taken."""

    number: int
    label: str
    center: int
    image_ids: tuple[str, ...]

    @property
    def hospital(self) -> str:
        """The hospital within center 1 that a tumour comes from; empty elsewhere."""
        if self.center != 1 or self.label == "Normal":
            return ""
        letters, shares = HOSPITALS[self.label]
        return str(np.random.default_rng(self.number).choice(list(letters), p=shares))


def make_phantoms(folder: str | Path, images: int, long_side: int, seed: int, processes: int) -> None:
    """Draw `images` synthetic films of about `long_side` px into `folder`: the layout of BTXRD and its case names.

    Classes and centers have BTXRD's shares, and the data has BTXRD's flaws: some films stand in it twice, the first
    pair of them with two labels, and film size gives a hospital away. The same seed gives the same bytes, whatever
    the number of processes.
    """
    folder, started = Path(folder), time.monotonic()
    plans = plan_cases(images, seed)
    with scratch_folder(folder / ".partial") as scratch:
        for name in (IMAGES, ANNOTATIONS):
            (scratch / name).mkdir()
        draw = partial(_draw_case, folder=scratch, long_side=long_side, seed=seed)
        drawn = parallel_map(draw, plans, processes, "drawing phantoms", unit="case")
        rows = sorted((row for case_rows in drawn for row in case_rows), key=lambda row: row["image_id"])
        table = pd.DataFrame(rows)
        for source, target in plan_duplicates(plans, seed):
            _copy_film(scratch / IMAGES, source, target)
        table[list(COLUMNS)].to_excel(scratch / TABLE, index=False)
        folder.mkdir(parents=True, exist_ok=True)
        in_val = np.random.default_rng([seed, 3]).random(len(table)) < OFFICIAL_VAL
        for name, mask in ((CASE_NAMES["train"], ~in_val), (CASE_NAMES["val"], in_val)):
            table.loc[mask, list(NAME_COLUMNS)].to_excel(scratch / name, index=False)
            (scratch / name).replace(folder / name)
        put_layout_in_place(scratch, folder)
    rate = images / (time.monotonic() - started)
    log.info("drew %d SYNTHETIC films of %d cases into %s: %.0f films/s", images, len(plans), folder, rate)


def plan_cases(images: int, seed: int) -> list[CasePlan]:
    """Share out `images` ids over classes, centers and cases; ids are in random order, as a reader finds them."""
    rng = np.random.default_rng([seed, 0])
    ids = iter(rng.permutation(images) + 1)
    plans: list[CasePlan] = []
    for (label, center), count in _share_out(images).items():
        for size in _case_sizes(rng, count, single=label == "Normal" and center == 1):
            names = tuple(f"IMG{next(ids):06d}" for _ in range(size))
            plans.append(CasePlan(len(plans), label, center, names))
    return plans


def plan_duplicates(plans: Sequence[CasePlan], seed: int) -> list[tuple[str, str]]:
    """Pairs of image ids of center 1; the second becomes a copy of the first: one Benign as Normal, then Normals."""
    rng = np.random.default_rng([seed, 4])
    count = max(2, sum(len(plan.image_ids) for plan in plans) // IMAGES_PER_DUPLICATE)
    ids = {label: [p.image_ids[0] for p in plans if (p.label, p.center) == (label, 1)] for label in BTXRD_COUNTS}
    normals = iter(rng.permutation(ids["Normal"]))
    sources = [rng.choice(ids["Benign"]), *(next(normals) for _ in range(count - 1))]
    return [(str(source), str(next(normals))) for source in sources]


def _copy_film(images: Path, source: str, target: str) -> None:
    """The same exposure, sent on: a little brighter, and saved anew."""
    film = cv2.imread(str(images / f"{source}.jpeg"), cv2.IMREAD_GRAYSCALE)
    _save_film(images / f"{target}.jpeg", cv2.convertScaleAbs(film, alpha=1.1, beta=4), drawing.LOOKS[2])


def _share_out(images: int) -> dict[tuple[str, int], int]:
    """Images of each class and center in BTXRD's shares, by largest remainder."""
    cells = {(label, center): n for label, row in BTXRD_COUNTS.items() for center, n in enumerate(row, start=1)}
    exact = {cell: images * count / sum(cells.values()) for cell, count in cells.items()}
    counts = {cell: int(value) for cell, value in exact.items()}
    by_remainder = sorted(cells, key=lambda cell: counts[cell] - exact[cell])
    for cell in by_remainder[: images - sum(counts.values())]:
        counts[cell] += 1
    return counts


def _case_sizes(rng: np.random.Generator, count: int, single: bool) -> Iterator[int]:
    # BTXRD's names of center-1 Normals say nothing of a case, so each of those films is a case of its own.
    while count > 0:
        size = 1 if single else min(count, 1 + int(rng.choice(len(VIEWS_PER_CASE), p=VIEWS_PER_CASE)))
        yield size
        count -= size


def _draw_case(plan: CasePlan, folder: Path, long_side: int, seed: int) -> list[dict[str, Any]]:
    """Draw and save all films of a case; return their rows of dataset.xlsx with the original name."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng([seed, 1, plan.number])
    anatomy = drawing.draw_anatomy(rng, plan.label)
    person = {"age": int(rng.integers(6, 78)), "gender": str(rng.choice(["M", "F"]))}
    views = rng.permutation(VIEWS)
    long_side = round(long_side * (HIDDEN_SHORTCUT if plan.hospital == "g" else 1))
    rows = []
    for position, image_id in enumerate(plan.image_ids):
        view = str(views[position])
        film = drawing.draw_film(
            anatomy, view, plan.center, long_side, np.random.default_rng([seed, 2, plan.number, position])
        )
        name = image_id + (".jpg" if (plan.label, plan.center) == ("Normal", 3) else ".jpeg")
        _save_film(folder / IMAGES / name, film.image, drawing.LOOKS[plan.center])
        row = _row(plan, anatomy, view) | person | {"image_id": f"{image_id}.jpeg"}
        if film.outline is not None:
            _save_annotation(folder / ANNOTATIONS / f"{image_id}.json", name, film, _subtype(anatomy))
        row["Original Name"] = _original_name(plan, anatomy, person, position)
        rows.append(row)
    return rows


def _save_film(path: Path, image: np.ndarray, look: drawing.Look) -> None:
    pixels = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if look.color else image
    _, content = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, look.quality])
    path.write_bytes(content.tobytes())


def _save_annotation(path: Path, image_name: str, film: drawing.Film, label: str) -> None:
    """LabelMe, as published: each lesion as a polygon and as a rectangle."""
    corners = [film.outline.min(axis=0), film.outline.max(axis=0)]
    shapes = [(film.outline, "polygon"), (np.array(corners), "rectangle")]
    height, width = film.image.shape
    content = {
        "version": "5.4.1",
        "flags": {},
        "shapes": [
            {"label": label, "points": points.round(3).tolist(), "group_id": None, "description": "",
             "shape_type": kind, "flags": {}, "mask": None}
            for points, kind in shapes
        ],
        "imagePath": image_name,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }  # fmt: skip
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


def _row(plan: CasePlan, anatomy: drawing.Anatomy, view: str) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(COLUMNS, 0) | {"center": plan.center, view: 1}
    row[_region(anatomy.bones[0].site)] = 1
    if plan.label == "Normal":
        return row  # as in BTXRD, a Normal has neither site nor joint
    site = anatomy.bones[anatomy.lesion.bone].site
    set_flags = ("tumor", plan.label.lower(), site, NEAR_JOINT[site], _subtype(anatomy))
    return row | dict.fromkeys(set_flags, 1)


def _region(site: str) -> str:
    return "lower limb" if site in ("femur", "tibia", "fibula") else "upper limb"


def _subtype(anatomy: drawing.Anatomy) -> str:
    return SUBTYPE[anatomy.lesion.kind]


def _original_name(plan: CasePlan, anatomy: drawing.Anatomy, person: dict[str, Any], position: int) -> str:
    """A name in the style of the plan's center, from which the case can be read as in BTXRD."""
    age, sex = person["age"], person["gender"]
    if plan.center == 1 and plan.label == "Normal":
        return f"{sex.lower()}{age}_{plan.number}.jpeg"
    diagnosis = "normal" if plan.label == "Normal" else _subtype(anatomy)
    if plan.center == 2:
        suffix = f" ({position + 1})" if position else ""
        return f"{age}{sex.lower()}-{diagnosis.replace(' ', '-')}-{plan.number}{suffix}.jpeg"
    if plan.center == 3:
        return f"{age}{sex.lower()} {diagnosis} {_word(plan.number)} {position + 1}.jpeg"
    site = anatomy.bones[anatomy.lesion.bone].site
    parts = (CHINESE[plan.label], CHINESE[diagnosis], CHINESE[site], str(position + 1))
    return f"{plan.hospital}{plan.number}-{sex}-{age}-{'-'.join(parts)}.jpeg"


def _word(number: int) -> str:
    """A number in letters, since a trailing number would be taken for the film's."""
    letters = ""
    while True:
        number, digit = divmod(number, 26)
        letters = chr(ord("a") + digit) + letters
        if number == 0:
            return letters
