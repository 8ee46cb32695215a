"""`make bench`: how near to the network's own speed we train, how others do on the same films, what waits around it."""

import shutil
import statistics
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from material import draw_films, overrides, prepare_films
from overhead import measure_overhead
from turns import CORES, PAIRS, arms, in_turns, ratio, spread, timed, write_results

from btxrd.data.cache import Film, decode_film, fit
from btxrd.data.table import read_metadata
from btxrd.progress import parallel_map

PEERS = ("torchvision", "timm", "lightning", "replaced")
SCREENINGS = 2  # rounds that tell which peer is the fastest in its best form
INGEST_FILMS = 128
# Films (height, width), training size, batch, images (train, val) for the usual and the best forms, bars for both.
SHORT, LONG = "short", "long"
CASES = (
    {"film": (2500, 2000), "size": 128, "batch": 16, SHORT: (32, 16), LONG: (192, 48), "usual": 3.0, "best": 2.3},
    {"film": (2500, 2000), "size": 224, "batch": 16, SHORT: (32, 16), LONG: (96, 32), "usual": 1.8, "best": 1.2},
    {"film": (640, 512), "size": 128, "batch": 16, SHORT: (64, 16), LONG: (192, 48), "usual": 1.6, "best": 1.2},
)
LIMIT_BAR, LIMIT_PAIRS, INGEST_BAR = 0.93, 12, 2.0
FILMS = 256


def settings(folder: Path, case: dict[str, Any], name: str) -> dict[str, Any]:
    """What an arm has to know to train on a set of a case."""
    sets = {SHORT: case[SHORT], LONG: case[LONG]}
    more = f"training.batch_size={case['batch']}", f"training.split_strategy={name}"
    return {
        "folder": str(folder), "films": str(folder / name), "threads": CORES, "size": case["size"],
        "batch": case["batch"], "overrides": overrides(FILMS, case["size"], sets, *more),
    }  # fmt: skip


def describe(case: dict[str, Any], images: tuple[int, int] | None = None) -> dict[str, Any]:
    """The case, for the table."""
    height, width = case["film"]
    facts = {"film": f"{width} × {height}", "image_size": case["size"], "batch_size": case["batch"]}
    return facts if images is None else facts | {"train_images": images[0], "val_images": images[1]}


def measure_limit(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """Our images/s in the training part of an epoch, over those of the model alone, in one process."""
    with arms([("ours", "best")], settings(folder, case, LONG)) as (ours,):
        ours.seconds("limit")
        pairs = [(ours.seconds("limit"), ours.seconds("train")) for _ in range(LIMIT_PAIRS)]
    limit, train = zip(*pairs, strict=True)
    images = case[LONG][0]
    return describe(case) | {
        "limit_images_per_second": spread([images / seconds for seconds in limit]),
        "our_images_per_second": spread([images / seconds for seconds in train]),
        **ratio(limit, train, LIMIT_BAR),
    }


def measure_peers(folder: Path, case: dict[str, Any]) -> list[dict[str, Any]]:
    """Each peer's usual form against ours on few films, then the fastest best form on more."""
    found = []
    with arms([("ours", "best"), *((peer, "usual") for peer in PEERS)], settings(folder, case, SHORT)) as all_arms:
        seconds = in_turns(all_arms)
    found += [compared(case, SHORT, peer, "usual", seconds, case["usual"]) for peer in PEERS]
    with arms([("ours", "best"), *((peer, "best") for peer in PEERS)], settings(folder, case, LONG)) as all_arms:
        seconds = in_turns(all_arms, SCREENINGS)
        fastest = min(PEERS, key=lambda peer: statistics.median(seconds[peer]))
        found += [compared(case, LONG, peer, "best", seconds) for peer in PEERS if peer != fastest]
        seconds = in_turns([arm for arm in all_arms if arm.name in ("ours", fastest)])
    return [*found, compared(case, LONG, fastest, "best", seconds, case["best"])]


def compared(
    case: dict[str, Any], images: str, peer: str, form: str, seconds: dict[str, list[float]], bar: float | None = None
) -> dict[str, Any]:
    """One line of the comparison: epochs of a peer over ours."""
    number = sum(case[images])
    return describe(case, case[images]) | {
        "peer": peer,
        "form": form,
        "peer_images_per_second": spread([number / value for value in seconds[peer]]),
        "our_images_per_second": spread([number / value for value in seconds["ours"]]),
        **ratio(seconds[peer], seconds["ours"], bar),
    }


def decode_whole(film: Film, size: int) -> np.ndarray:
    """What the cache would hold if a film were decoded at full size."""
    cv2.setNumThreads(1)
    return fit(cv2.imdecode(np.fromfile(film.file, np.uint8), cv2.IMREAD_GRAYSCALE), size, "pad")


def measure_ingest(size: int) -> dict[str, Any]:
    """Decoding the films of the current folder to the cache: at a fraction against whole, on one core and on all."""
    films = [Film(*row) for row in read_metadata("resources/metadata.csv")[list(Film._fields)].itertuples(index=False)]
    films, ours = films[:INGEST_FILMS], partial(decode_film, size=size, resize="pad")
    whole = partial(decode_whole, size=size)

    def work(decode: Any, processes: int) -> list[np.ndarray]:
        return list(parallel_map(decode, films, processes, "decoding"))

    differences = [np.abs(one.astype(int) - other).mean() for one, other in zip(map(ours, films), map(whole, films))]
    pairs = [(timed(lambda: work(whole, 1)), timed(lambda: work(ours, 1))) for _ in range(PAIRS)]
    cores = [(timed(lambda: work(ours, 1)), timed(lambda: work(ours, CORES))) for _ in range(PAIRS)]
    return {
        "image_size": size,
        "films_per_second_a_core": spread([len(films) / seconds for _, seconds in pairs]),
        "gray_levels": {"mean": float(np.mean(differences)), "max": float(max(differences))},
        **ratio(*zip(*pairs, strict=True), INGEST_BAR),
        "all_cores_over_one": ratio(*zip(*cores, strict=True)),
    }


def on_films(case: dict[str, Any], first: bool, measured: dict[str, list[Any]]) -> None:
    """Everything that is measured on the films of one case."""
    sets = {SHORT: case[SHORT], LONG: case[LONG]}
    folder = Path.cwd()
    prepare_films(folder, FILMS, case["size"], sets)
    if first:
        measured["ingest"].append(describe(case) | measure_ingest(case["size"]))
    if case["film"] == CASES[0]["film"]:
        measured["limit"].append(measure_limit(folder, case))
    measured["peers"] += measure_peers(folder, case)


def main(cases: Sequence[dict[str, Any]] = CASES) -> None:
    """Measure in temporary folders; write and print results/benchmarks/bench.json."""


if __name__ == "__main__":
    main()
