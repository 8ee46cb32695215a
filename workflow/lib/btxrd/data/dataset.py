"""A partition of a split as a torch data set, and loaders whose content no worker can change."""

from collections.abc import Callable, Iterator
from pathlib import Path

import albumentations as A
import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from btxrd import CLASSES
from btxrd.data.cache import Cache
from btxrd.data.transforms import apply_keyed
from btxrd.errors import UserError


class BTXRDDataset(Dataset):
    """Cached films and labels of one partition.

    Item (epoch, index) is (uint8 tensor (1, size, size), label); the random part of the transforms depends on
    (seed, epoch, index) alone. A plain index means epoch 0.
    """

    def __init__(self, table: str | Path, cache: Cache, transforms: A.Compose, seed: int = 0):
        rows = pd.read_csv(table, dtype={"image_id": str})
        missing = sorted(set(rows["image_id"]) - set(cache.rows))
        if missing:
            raise UserError(f"{table}: {len(missing)} images are not in the cache, e.g. {missing[0]}.")
        self.image_ids = list(rows["image_id"])
        self.labels = torch.tensor([CLASSES.index(label) for label in rows["label"]])
        self._rows = np.array([cache.rows[image_id] for image_id in self.image_ids])
        self._cache = cache
        self._transforms = transforms
        self._seed = seed

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        image = apply_keyed(self._transforms, self._cache.film(self._rows[index]), self._seed, epoch, index)
        return torch.from_numpy(np.array(image)).unsqueeze(0), self.labels[index]


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index): in order, or in a permutation that depends on (seed, epoch) alone."""

    def __init__(self, length: int, shuffle: bool, seed: int):
        self.length, self.shuffle, self.seed = length, shuffle, seed
        self.start(epoch=0)

    def start(self, epoch: int, first: int = 0) -> None:
        """Make the next pass that of `epoch`, without its first `first` images."""
        self.epoch, self.first = epoch, first

    def __len__(self) -> int:
        return max(0, self.length - self.first)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = range(self.length)
        if self.shuffle:
            key = np.array([self.seed, self.epoch], dtype=np.uint64)
            order = np.random.Generator(np.random.Philox(key=key)).permutation(self.length)
        return ((self.epoch, int(index)) for index in order[self.first :])


def create_dataloader(
    dataset: BTXRDDataset,
    batch_size: int,
    shuffle: bool,
    seed: int,
    num_workers: int,
    device: torch.device,
    worker_init: Callable[[int], None] | None = None,
) -> DataLoader:
    """Batches of (uint8 (B, 1, size, size), int64 (B,)); call `loader.sampler.start` before each epoch."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=EpochSampler(len(dataset), shuffle, seed),
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=device.type == "cuda",
        worker_init_fn=worker_init,
    )
