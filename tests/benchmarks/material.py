"""The films that a benchmark works on: phantoms of one size, through the workflow's own stages."""

import os
import shutil
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from btxrd.cli import main as btxrd
from btxrd.data.table import read_metadata

GRAIN, QUALITY = 3.0, 85  # gray levels of noise and JPEG quality that make films of BTXRD's bits a pixel
STAGES = ("table", "cache", "case_names", "cases")


def overrides(films: int, size: int, sets: Mapping[str, tuple[int, int]], *more: str) -> list[str]:
    """The configuration of a benchmark; each set of (training, validation) images is a split."""
    entries = ", ".join(f"{name}: {{strategy: manifest, file: {name}.csv, leakage: report}}" for name in sets)
    return [
        "data.source=phantom", f"data.phantom.images={films}", f"data.image_size={size}",
        "data.resize=squash", "data.conflicting_labels=keep", "model.pretrained=false", "device=cpu",
        f"splits={{stratified: null, center_holdout: null, {entries}}}", f"training.split_strategy={next(iter(sets))}",
        *more,
    ]  # fmt: skip


def draw_films(folder: Path, films: int, shape: tuple[int, int] | None = None, long_side: int = 640) -> None:
    """Draw phantoms in `folder`; bring them to `shape`, (height, width) in px, if there is one."""
    folder.mkdir(parents=True)
    with chdir(folder):
        wanted = [f"data.phantom.images={films}", f"data.phantom.long_side={long_side}"]
        check(btxrd(["phantom", "--override", "data.source=phantom", *wanted]))
        grain = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 3 * GRAIN, shape), (0, 0), 1) if shape else None
        for path in sorted(Path("resources/phantom/images").iterdir()) if shape else []:
            film = cv2.resize(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), shape[::-1], interpolation=cv2.INTER_CUBIC)
            film = np.clip(film + grain, 0, 255).astype(np.uint8)
            cv2.imwrite(str(path), film, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def prepare_films(folder: Path, films: int, size: int, sets: Mapping[str, tuple[int, int]]) -> None:
    """Cache the films of `folder` and deal each set, as split tables for us and as folders of links for the peers."""
    with chdir(folder):
        config = ["--override", *overrides(films, size, sets)]
        for stage in STAGES:
            check(btxrd([stage, *config]))
        metadata = read_metadata("resources/metadata.csv")
        for name, (train, val) in sets.items():
            rows = metadata.sample(frac=1, random_state=0).assign(partition="test")
            rows.iloc[: train + val, rows.columns.get_loc("partition")] = ["train"] * train + ["val"] * val
            rows[["image_id", "partition"]].to_csv(f"{name}.csv", index=False)
            check(btxrd(["split", *config, f"training.split_strategy={name}"]))
            _link(rows[rows["partition"] != "test"], Path(name))


def _link(rows: pd.DataFrame, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # what an earlier case linked
    for row in rows.itertuples():
        link = folder / row.partition / row.label / Path(row.file).name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(row.file, link.parent))


def check(status: int) -> None:
    """Stop where a stage failed."""
    if status:
        raise SystemExit("a stage failed, see above")
