"""`make bench-gpu`: both strategies of BTXRD's size on one GPU, how near to its limit, and what bounds it.

Not measured on a GPU yet: where this was written there was none. Its logic runs on a CPU, too (`main("cpu", 60, 2)`).
"""

import sys
import tempfile
import time
from contextlib import chdir
from pathlib import Path
from typing import Any

import torch
from material import STAGES, check, draw_films
from torch import nn
from torch.profiler import ProfilerActivity, profile
from turns import CORES, PAIRS, ratio, spread, timed, write_results

from btxrd.cli import main as btxrd
from btxrd.config import load_config
from btxrd.training.devices import working_device
from btxrd.training.interruption import Interruption
from btxrd.training.loop import train_one_epoch
from btxrd.training.replay import own_stream
from btxrd.training.run import Run, _one_epoch, prepare

FILMS, EPOCHS, SECONDS_BAR, LIMIT_BAR = 3746, 50, 90, 0.93
SPLITS = ("stratified", "center_holdout")
COMMON = ["data.source=phantom", "model.pretrained=false", "training.early_stopping_patience=1000"]
PROFILED_KERNELS = 15


def configured(device: str, *more: str) -> list[str]:
    """Arguments of a command."""
    return ["--threads", str(CORES), "--override", *COMMON, f"device={device}", *more]


def prepared(device: torch.device, *more: str) -> Run:
    """A training that is ready for its first step."""
    return prepare(load_config([], configured(str(device), *more)[3:]), device, CORES, Interruption())


def wait(device: torch.device) -> None:
    """Wait until the GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def measure_limit(device: torch.device) -> dict[str, Any]:
    """Images/s of the training part of an epoch, loading and all, over the recorded step alone on a resident batch."""
    run = prepared(device, "training.deterministic=false")
    criterion = nn.CrossEntropyLoss(weight=run.class_weights)
    size, batch = run.config["data"]["image_size"], run.config["training"]["batch_size"]
    images = torch.randint(0, 256, (batch, 1, size, size), dtype=torch.uint8, device=device)
    resident = [(images, torch.arange(batch, device=device) % 3)] * run.steps

    def train(loader: Any) -> None:
        train_one_epoch(
            run.model, loader, criterion, run.optimizer, device, 1.0, run.config["training"]["bf16"], replay=run.replay
        )
        wait(device)

    def ours() -> None:
        run.train_loader.sampler.start(0)
        train(run.train_loader)

    train(resident), ours()
    pairs = [(timed(lambda: train(resident)) / run.steps / batch, timed(ours)) for _ in range(PAIRS)]
    number = len(run.train_loader.dataset)
    limit, own = [one for one, _ in pairs], [seconds / number for _, seconds in pairs]
    loading = [number / timed(lambda: [None for _ in run.train_loader]) for _ in range(3)]
    return {
        "limit_images_per_second": spread([1 / seconds for seconds in limit]),
        "our_images_per_second": spread([1 / seconds for seconds in own]),
        "loader_images_per_second": spread(loading),
        **ratio(limit, own, LIMIT_BAR),
    }


def is_exact(device: torch.device) -> dict[str, bool]:
    """Whether two epochs of replayed steps end as plain ones: rows and weights, bit for bit, `deterministic: true`."""
    ends = []
    for plain in (False, True):
        run = prepared(device)
        if plain:
            run.replay = None
        rows = []
        for _ in range(2):
            rows.append(_one_epoch(run))
            run.position.epoch, run.position.step = run.position.epoch + 1, 0
        ends.append((rows, run.model.state_dict()))
    (rows, weights), (plain_rows, plain_weights) = ends
    same = all(torch.equal(value, plain_weights[name]) for name, value in weights.items())
    return {"rows": rows == plain_rows, "weights": same}


def measure_whole(device: torch.device, epochs: int) -> dict[str, Any]:
    """Seconds of the command for each strategy, start and all."""
    found = {}
    for split in SPLITS:
        more = f"training.split_strategy={split}", f"training.epochs={epochs}", "training.deterministic=false"
        found[split] = timed(lambda more=more: check(btxrd(["train", *configured(str(device), *more)])))
    return {"epochs": epochs, "seconds": found, "both": sum(found.values()), "bar": SECONDS_BAR}


def shares(device: torch.device) -> list[dict[str, Any]]:
    """The kernels that an epoch spends its time in, and their shares."""
    run = prepared(device, "training.deterministic=false")
    _one_epoch(run)
    run.position.epoch, run.position.step = 2, 0
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities) as seen:
        started = time.perf_counter()
        _one_epoch(run)
        wait(device)
        seconds = time.perf_counter() - started
    name = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    kernels = sorted(seen.key_averages(), key=lambda kernel: -getattr(kernel, name))
    busy = sum(getattr(kernel, name) for kernel in kernels) / 1e6
    found = [
        {"kernel": kernel.key[:100], "calls": kernel.count, "share": getattr(kernel, name) / 1e6 / seconds}
        for kernel in kernels[:PROFILED_KERNELS]
    ]
    return [{"kernel": "all that works on the device", "calls": 0, "share": busy / seconds}, *found]


def main(name: str = "cuda", films: int = FILMS, epochs: int = EPOCHS) -> None:
    """Measure in a temporary folder; write and print results/benchmarks/gpu.json."""
    if name == "cuda" and not torch.cuda.is_available():
        sys.exit("bench-gpu: CUDA is not there, so there is nothing to measure.")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "films"
        draw_films(folder, films, long_side=500)
        with chdir(folder):
            for stage in STAGES:
                check(btxrd([stage, *configured(name)]))
            for split in SPLITS:
                check(btxrd(["split", *configured(name, f"training.split_strategy={split}")]))
            with working_device(name) as device, own_stream(device):
                torch.set_num_threads(CORES)
                figures = {
                    "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
                    "exact": is_exact(device),
                    "limit": measure_limit(device),
                    "kernels": shares(device),
                }
            figures["whole"] = measure_whole(device, epochs)
    write_results("gpu", figures)


if __name__ == "__main__":
    main()
