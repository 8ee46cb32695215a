"""What exactness costs: keyed randomness, checked cache and saved state against a plain loop, in pairs in one run.

The plain loop draws from global random states, trusts the cache, checks no loss and writes no state. What differs lies
outside the network, whose own time varies more than all of it: so the pairs time an epoch without the network, and the
difference is related to an epoch of BTXRD at the network's measured rate.
"""

import statistics
import tempfile
from contextlib import chdir
from typing import Any

import numpy as np
import torch
from material import STAGES, check
from torch import nn
from torch.utils.data import DataLoader
from turns import CORES, spread, timed, write_results

from btxrd import paths
from btxrd.cli import main as btxrd
from btxrd.config import load_config
from btxrd.data.cache import open_cache
from btxrd.data.dataset import BTXRDDataset
from btxrd.training.devices import keep_freed_memory
from btxrd.training.environment import step_seed
from btxrd.training.interruption import Interruption
from btxrd.training.loop import train_one_epoch
from btxrd.training.run import Run, _save_state, prepare

PAIRS, PASSES = 12, 10
BTXRD_IMAGES, BTXRD_TRAINING_IMAGES = 3746, 2620  # in the stratified split
OVERRIDES = [
    "data.source=phantom", "data.phantom.images=140", "model.pretrained=false", "device=cpu",
]  # fmt: skip


class PlainDataset(BTXRDDataset):
    """The same films and transforms, with randomness from wherever the process stands."""

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = self._transforms(image=self._cache._records["film"][self.rows[index]])["image"]
        return torch.from_numpy(np.array(image)).unsqueeze(0), self.labels[index]


def exact_pass(run: Run) -> None:
    """All that an exact epoch does beside the network."""
    for epoch in range(1, PASSES + 1):
        run.train_loader.sampler.start(epoch)
        for step, (_, labels) in enumerate(run.train_loader):
            torch.manual_seed(step_seed(42, epoch, step))
            torch.isfinite(labels.sum())
            run.interruption.check()


def plain_pass(loader: DataLoader) -> None:
    """The same of a plain loop."""
    for _ in range(PASSES):
        for _ in loader:
            pass


def measure() -> dict[str, Any]:
    """Run everything in the current folder; returns all figures."""
    for stage in ("phantom", *STAGES, "split"):
        check(btxrd([stage, "--override", *OVERRIDES]))
    config = load_config([], OVERRIDES)
    torch.set_num_threads(CORES)
    keep_freed_memory()
    run = prepare(config, torch.device("cpu"), CORES, Interruption())
    table, cache = paths.split_tables(config, "stratified")["train"], open_cache(paths.cache_index(config))
    plain_set = PlainDataset(table, cache, run.train_loader.dataset._transforms)
    plain = DataLoader(plain_set, batch_size=config["training"]["batch_size"], shuffle=True)
    images = len(plain_set)
    pairs = [(timed(lambda: exact_pass(run)), timed(lambda: plain_pass(plain))) for _ in range(PAIRS)]
    extra = [(exact - other) / (images * PASSES) * BTXRD_TRAINING_IMAGES for exact, other in pairs]

    def network() -> None:
        run.train_loader.sampler.start(1)
        train_one_epoch(run.model, run.train_loader, nn.CrossEntropyLoss(), run.optimizer, run.device)

    epoch = statistics.median(timed(network) for _ in range(3)) / images * BTXRD_TRAINING_IMAGES
    saving = statistics.median(timed(lambda: _save_state(run)) for _ in range(5))
    fresh = open_cache(paths.cache_index(config))
    hashing = timed(lambda: [fresh.film(row) for row in range(len(fresh))]) / len(fresh) * BTXRD_IMAGES
    ratios = [1 + (seconds + saving + hashing) / (epoch - seconds) for seconds in extra]
    return {
        "image_size": config["data"]["image_size"],
        "batch_size": config["training"]["batch_size"],
        "pairs": PAIRS,
        "btxrd_epoch_seconds": epoch,
        "keyed_randomness_seconds_an_epoch": statistics.median(extra),
        "state_write_seconds_an_epoch": saving,
        "cache_hash_seconds_a_run": hashing,
        "ratio_exact_to_plain_epoch": spread(ratios),
    }


def main() -> None:
    """Measure in a temporary folder, print, and write results/benchmarks/exactness.json."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        figures = measure()
    write_results("exactness", figures)


if __name__ == "__main__":
    main()
