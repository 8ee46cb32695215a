"""What a trained network says of the films of a partition, prepared as in validation."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from btxrd.data.cache import Cache
from btxrd.data.dataset import BTXRDDataset, create_dataloader
from btxrd.data.transforms import get_val_transforms
from btxrd.progress import progress
from btxrd.training.trained import Trained


@dataclass(frozen=True)
class Outputs:
    """Of the images of a partition, in its order: ids, class numbers (n,), logits (n, 3), features (n, channels)."""

    image_ids: list[str]
    labels: np.ndarray
    logits: np.ndarray
    features: np.ndarray


@torch.inference_mode()
def run_on_partition(trained: Trained, table: Path, cache: Cache) -> Outputs:
    """Logits and features of every image of a partition's table, in its order."""
    dataset = BTXRDDataset(table, cache, get_val_transforms())
    loader = create_dataloader(dataset, trained.config["training"]["batch_size"], False, 0, 0, trained.device)
    logits, features = [], []
    for films, _ in progress(loader, desc=table.stem, unit="batch"):
        for kept, made in zip((logits, features), trained.logits_and_features(films.to(trained.device)), strict=True):
            kept.append(made.cpu())
    return Outputs(dataset.image_ids, dataset.labels.numpy(), _numbers(logits), _numbers(features))


def _numbers(batches: list[torch.Tensor]) -> np.ndarray:
    return torch.cat(batches).numpy()
