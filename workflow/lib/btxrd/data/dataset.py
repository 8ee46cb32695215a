"""A partition of a split as a torch data set, and loaders whose content no worker can change."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import albumentations as A
import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from btxrd import CLASSES
from btxrd.data.cache import Cache
from btxrd.data.transforms import apply_keyed

ROWS_AT_ONCE = 10_000  # of a table: names as Python objects are large, and only numbers are kept


class BTXRDDataset(Dataset):
    """Cached films and labels of one partition.

    Item (epoch, index) is (uint8 tensor (1, size, size), label); the random part of the transforms depends on
    (seed, epoch, index) alone. A plain index means epoch 0.
    """

    def __init__(self, table: str | Path, cache: Cache, transforms: A.Compose, seed: int = 0):
        rows, labels = [], []
        for part in pd.read_csv(table, usecols=["image_id", "label"], dtype=str, chunksize=ROWS_AT_ONCE):
            rows.append(cache.rows(part["image_id"]))
            labels.append([CLASSES.index(label) for label in part["label"]])
        self.rows = np.concatenate(rows)
        self.labels = torch.from_numpy(np.concatenate(labels).astype(np.int64))
        self._cache = cache
        self._transforms = transforms
        self._seed = seed

    @property
    def image_ids(self) -> list[str]:
        """The names of the images, in the order of the table."""
        return self._cache.image_ids(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        image = apply_keyed(self._transforms, self._cache.film(self.rows[index]), self._seed, epoch, index)
        return torch.from_numpy(np.array(image)).unsqueeze(0), self.labels[index]


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index): in order, or in a permutation that depends on (seed, epoch) alone.

    Of several processes, each gets its part of every batch; the last images of a permutation, fewer than there are
    processes, are left out then, so that all make as many steps.
    """

    def __init__(self, length: int, shuffle: bool, seed: int, batch_size: int = 1, rank: int = 0, ranks: int = 1):
        rest = length % batch_size
        self.length, self.end = length, length - rest if shuffle and rest < ranks else length
        self.shuffle, self.seed, self.rank, self.ranks = shuffle, seed, rank, ranks
        self.start(epoch=0)

    def start(self, epoch: int, first: int = 0) -> None:
        """Make the next pass that of `epoch`, without the first `first` images of all processes together."""
        self.epoch, self.first = epoch, first

    def __len__(self) -> int:
        return len(self._own(range(self.length)))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = range(self.length)
        if self.shuffle:
            key = np.array([self.seed, self.epoch], dtype=np.uint64)
            order = np.random.Generator(np.random.Philox(key=key)).permutation(self.length)
        return ((self.epoch, int(index)) for index in self._own(order))

    def _own(self, order: Sequence[int]) -> Sequence[int]:
        return order[self.first : self.end][self.rank :: self.ranks]


def create_dataloader(
    dataset: BTXRDDataset,
    batch_size: int,
    shuffle: bool,
    seed: int,
    num_workers: int,
    device: torch.device,
    worker_init: Callable[[int], None] | None = None,
    rank: int = 0,
    ranks: int = 1,
) -> DataLoader:
    """Batches of (uint8 (B, 1, size, size), int64 (B,)); call `loader.sampler.start` before each epoch.

    With several `ranks`, B is this process's part of `batch_size`, which must be a multiple of them.
    """
    return DataLoader(
        dataset,
        batch_size=batch_size // ranks,
        sampler=EpochSampler(len(dataset), shuffle, seed, batch_size, rank, ranks),
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=device.type == "cuda",
        worker_init_fn=worker_init,
    )
