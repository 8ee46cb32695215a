"""What exactness costs: keyed randomness, checked cache and saved state against a plain loop, in pairs in one run.

The plain loop draws from global random states, trusts the cache and writes no state. Costs by the image come from the
pairs; costs by the epoch (state, hashes) are timed alone and related to an epoch of BTXRD at the measured rate.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from btxrd import paths
from btxrd.cli import main as btxrd
from btxrd.config import load_config
from btxrd.data.cache import open_cache
from btxrd.data.dataset import BTXRDDataset
from btxrd.files import write_json
from btxrd.training.interruption import Interruption
from btxrd.training.loop import train_one_epoch
from btxrd.training.run import Run, _after_step, _save_state, prepare

BTXRD_TRAINING_IMAGES = 2620  # stratified
OVERRIDES = [
    "data.source=phantom", "data.phantom.images=140", "data.num_workers=0", "model.pretrained=false", "device=cpu",
    "training.checkpoint_minutes=1440",
]  # fmt: skip


class PlainDataset(BTXRDDataset):
    """The same films and transforms, with randomness from wherever the process stands."""

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = self._transforms(image=self._cache.images[self._rows[index]])["image"]
        return torch.from_numpy(np.array(image)).unsqueeze(0), self.labels[index]


def seconds(run: Run, exact: bool, plain: DataLoader) -> float:
    """Time of one epoch."""
    options = {}
    if exact:
        from btxrd.training.environment import step_seed

        run.train_loader.sampler.start(1)
        options = {
            "seed_of_step": lambda step: step_seed(42, 1, step),
            "after_step": lambda steps: _after_step(run, steps),
        }
    started = time.perf_counter()
    loader = run.train_loader if exact else plain
    train_one_epoch(
        run.model, loader, nn.CrossEntropyLoss(weight=run.class_weights), run.optimizer, run.device, 1.0, **options
    )
    return time.perf_counter() - started


def measure(pairs: int) -> dict[str, object]:
    """Run the pairs in the current folder; returns all figures."""
    for stage in ("phantom", "table", "cases", "cache", "split"):
        assert btxrd([stage, "--override", *OVERRIDES]) == 0
    config, threads = load_config([], OVERRIDES), os.cpu_count() or 1
    torch.set_num_threads(threads)
    run = prepare(config, threads, Interruption())
    plain_set = PlainDataset(
        paths.split_tables(config, "stratified")["train"], open_cache(paths.cache_index(config)),
        run.train_loader.dataset._transforms,
    )  # fmt: skip
    plain = DataLoader(plain_set, batch_size=config["training"]["batch_size"], shuffle=True)
    seconds(run, True, plain)  # warm up
    times = [(seconds(run, True, plain), seconds(run, False, plain)) for _ in range(pairs)]
    ratios = sorted(exact / other for exact, other in times)
    saving = statistics.median(timed(lambda: _save_state(run)) for _ in range(5))
    cache = open_cache(paths.cache_index(config))
    hashing = timed(lambda: [cache.film(row) for row in range(len(cache.images))]) / len(cache.images) * 3746
    epoch = statistics.median(exact for exact, _ in times) / len(plain_set) * BTXRD_TRAINING_IMAGES
    return {
        "machine": f"{platform.machine()}, {threads} threads, torch {torch.__version__}",
        "image_size": config["data"]["image_size"],
        "batch_size": config["training"]["batch_size"],
        "images": len(plain_set),
        "pairs": pairs,
        "ratio_exact_to_plain": {"min": ratios[0], "median": statistics.median(ratios), "max": ratios[-1]},
        "state_write_seconds": saving,
        "hashing_btxrd_cache_seconds": hashing,
        "btxrd_epoch_seconds": epoch,
        "state_and_hashes_share_of_epoch": (saving + hashing) / epoch,
    }


def timed(work) -> float:
    """Seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Measure in a temporary folder, print, and write results/benchmarks/exactness.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=8)
    pairs, here = parser.parse_args().pairs, Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        figures = measure(pairs)
        os.chdir(here)
    write_json(figures, "results/benchmarks/exactness.json")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
