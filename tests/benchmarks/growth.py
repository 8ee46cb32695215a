"""`make bench-growth`: 1, 4 and 16 times the films cost 1, 4 and 16 times the time, and no more memory."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from material import STAGES, check, draw_films
from turns import CORES, spread, timed, write_results

from btxrd.cli import main as btxrd
from btxrd.config import load_config
from btxrd.training.devices import working_device
from btxrd.training.interruption import Interruption
from btxrd.training.run import _one_epoch, prepare

ONCE, TIMES, ROUNDS, SIZE = 240, (1, 4, 16), 3, 64
TIME_BAR, MEMORY_BAR = 1.10, 1.05
CONFIG = [
    "data.source=phantom", f"data.image_size={SIZE}", "model.pretrained=false", "device=cpu", "training.epochs=1",
]  # fmt: skip


def stages_of(films: int) -> dict[str, float]:
    """Seconds of each stage on the films of the current folder, and the peak memory (MB) after an epoch."""
    config = ["--override", *CONFIG, f"data.phantom.images={films}"]

    def stage(name: str, threads: int = CORES) -> float:
        return timed(lambda: check(btxrd([name, "--threads", str(threads), *config])))

    # In one process: starting more of them takes as long as so few films do.
    found = {name: stage(name, threads=1) for name in (*STAGES, "split")}
    torch.set_num_threads(CORES)
    with working_device("cpu") as device:
        run = prepare(load_config([], config[1:]), device, CORES, Interruption())
        run.train_loader.sampler.start(0)
        found["epoch"] = timed(lambda: _one_epoch(run))
    training = subprocess.Popen(
        [sys.executable, "-m", "btxrd", "train", "--threads", str(CORES), *config], stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(training.pid, 0)
    check(status)
    found["memory_mb"] = usage.ru_maxrss / 1e3
    found["evaluate"] = stage("evaluate")
    return {name: found[name] for name in ("cache", "split", "epoch", "evaluate", "memory_mb")}


def measure(folder: Path) -> dict[str, Any]:
    """Every size in turns, each in a fresh process; growth is that of the time an image."""
    rounds: dict[int, list[dict[str, float]]] = {times: [] for times in TIMES}
    for times in TIMES:
        draw_films(folder / str(times), ONCE * times, None, long_side=160)
    for _ in range(ROUNDS):
        for times, found in rounds.items():
            command = [sys.executable, Path(__file__).resolve(), str(ONCE * times)]
            done = subprocess.run(command, cwd=folder / str(times), stdout=subprocess.PIPE, text=True, check=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
            print(times, found[-1], flush=True)
    names = [name for name in rounds[1][0] if name != "memory_mb"]
    return {
        "films": {times: ONCE * times for times in TIMES},
        "image_size": SIZE,
        "rounds": ROUNDS,
        "seconds": {n: {times: spread([f[n] for f in found]) for times, found in rounds.items()} for n in names},
        "memory_mb": {times: spread([f["memory_mb"] for f in found]) for times, found in rounds.items()},
        "growth": {name: growth(rounds, name) for name in names},
        "time_bar": TIME_BAR,
        "memory_growth": growth(rounds, "memory_mb", per_image=False),
        "memory_bar": MEMORY_BAR,
    }


def growth(rounds: dict[int, list[dict[str, float]]], name: str, per_image: bool = True) -> dict[str, Any]:
    """The most films over the fewest, round by round: of the time an image, or of the memory as it is."""
    images = TIMES[-1] / TIMES[0] if per_image else 1
    pairs = zip(rounds[TIMES[-1]], rounds[TIMES[0]], strict=True)
    return spread([many[name] / few[name] / images for many, few in pairs])


def main() -> None:
    """Measure; write and print results/benchmarks/growth.json."""
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder))
    write_results("growth", figures)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(stages_of(int(sys.argv[1]))))
    else:
        main()
