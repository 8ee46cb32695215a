"""`make bench`: how near to the network's own speed we train, how others do on the same films, what waits around it."""

import json
import statistics
import tempfile
from contextlib import chdir
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from material import draw_films, overrides, prepare_films
from turns import CORES, PAIRS, arms, in_turns, ratio, spread, timed, write_results

from btxrd.data.cache import Film, decode_film
from btxrd.data.decoding import fit
from btxrd.data.table import read_metadata
from btxrd.progress import parallel_map

PEERS = ("torchvision", "timm", "lightning", "replaced")
SCREENINGS = 1  # rounds, after a warm one, that tell which peer is the fastest in its best form
SHORT, LONG = "short", "long"  # sets for the usual and the best forms: images in training, in validation, in a batch
LARGE, SMALL = (2500, 2000), (640, 512)  # films: height, width in px
# Bars: how much faster than each usual form and than the fastest best one.
CASES = (
    {"film": LARGE, "size": 128, SHORT: (16, 8, 16), LONG: (64, 32, 32), "usual": 3.0, "best": 2.3},
    {"film": LARGE, "size": 224, SHORT: (16, 8, 16), LONG: (48, 16, 16), "usual": 1.8, "best": 1.2},
    {"film": SMALL, "size": 128, SHORT: (32, 16, 16), LONG: (64, 32, 32), "usual": 1.6, "best": 1.2},
)
FILMS = 136  # a few more than any set has
LIMIT_BAR, INGEST_BAR = 0.93, 2.0
INGEST_REPEATS, CORE_PAIRS = 4, 3  # of all films, so that starting processes does not count


def settings(folder: Path, case: dict[str, Any], name: str) -> dict[str, Any]:
    """What an arm has to know to train on a set of a case."""
    batch = case[name][2]
    more = f"training.batch_size={batch}", f"training.split_strategy={name}"
    return {
        "folder": str(folder), "films": str(folder / name), "threads": CORES, "size": case["size"],
        "batch": batch, "overrides": overrides(FILMS, case["size"], sets_of(case), *more),
    }  # fmt: skip


def sets_of(case: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Training and validation images of each set."""
    return {name: case[name][:2] for name in (SHORT, LONG)}


def describe(case: dict[str, Any], name: str) -> dict[str, Any]:
    """The case and its set, for the table."""
    (height, width), (train, val, batch) = case["film"], case[name]
    facts = {"film": f"{width} × {height}", "image_size": case["size"], "batch_size": batch}
    return facts | {"train_images": train, "val_images": val}


def measure_limit(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """Our images/s in the training part of an epoch, over those of the model alone, in one process."""
    with arms([("ours", "best")], settings(folder, case, LONG)) as (ours,):
        ours.seconds("limit")
        pairs = [(ours.seconds("limit"), ours.seconds("train")) for _ in range(PAIRS)]
    limit, train = zip(*pairs, strict=True)
    images = case[LONG][0]
    return describe(case, LONG) | {
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
    case: dict[str, Any], name: str, peer: str, form: str, seconds: dict[str, list[float]], bar: float | None = None
) -> dict[str, Any]:
    """One line of the comparison: epochs of a peer over ours."""
    number = sum(case[name][:2])
    return describe(case, name) | {
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
    """Decoding the films of the current folder to the cache: at a fraction against whole, on all cores against one."""
    films = [Film(*row) for row in read_metadata("resources/metadata.csv")[list(Film._fields)].itertuples(index=False)]
    ours, whole = partial(decode_film, size=size, resize="pad"), partial(decode_whole, size=size)

    def work(decode: Any, films: list[Film], processes: int = 1) -> None:
        for _ in parallel_map(decode, films, processes, "decoding"):
            pass

    differences = [np.abs(ours(film).astype(int) - whole(film)).mean() for film in films]
    pairs = [(timed(lambda: work(whole, films[:64])), timed(lambda: work(ours, films[:64]))) for _ in range(PAIRS)]
    many = films * INGEST_REPEATS
    cores = [(timed(lambda: work(ours, many)), timed(lambda: work(ours, many, CORES))) for _ in range(CORE_PAIRS)]
    return {
        "image_size": size,
        "films_per_second_a_core": spread([64 / seconds for _, seconds in pairs]),
        "gray_levels": {"mean": float(np.mean(differences)), "max": float(max(differences))},
        **ratio(*zip(*pairs, strict=True), INGEST_BAR),
        "all_cores_over_one": ratio(*zip(*cores, strict=True)),
    }


def main() -> None:
    """Measure in temporary folders; write and print results/benchmarks/bench.json."""
    measured: dict[str, Any] = {"limit": [], "peers": [], "ingest": []}
    with tempfile.TemporaryDirectory() as scratch:
        for film in dict.fromkeys(case["film"] for case in CASES):
            folder = Path(scratch) / str(film[0])
            draw_films(folder, FILMS, film)
            for case in CASES:
                if case["film"] == film:
                    prepare_films(folder, FILMS, case["size"], sets_of(case))
                    with chdir(folder):
                        measured["ingest"].append(
                            {"film": describe(case, LONG)["film"], **measure_ingest(case["size"])}
                        )
                    if film == LARGE:  # the network does not see how large the films were
                        measured["limit"].append(measure_limit(folder, case))
                    measured["peers"] += measure_peers(folder, case)
                    print(json.dumps({name: found[-1:] for name, found in measured.items()}))
    write_results("bench", measured)


if __name__ == "__main__":
    main()
