"""What a trained network says of the films of a partition, prepared as in validation."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from btxrd.data.cache import Cache
from btxrd.data.dataset import BTXRDDataset, create_dataloader
from btxrd.data.transforms import get_val_transforms
from btxrd.models.classifier import GrayClassifier, create_model
from btxrd.progress import progress
from btxrd.training.checkpoint import load_checkpoint, restore_weights


@dataclass(frozen=True)
class Trained:
    """A network with the weights of a checkpoint, in evaluation mode, and what the checkpoint says of itself."""

    model: GrayClassifier
    checkpoint: dict[str, Any]
    device: torch.device

    @property
    def config(self) -> dict[str, Any]:
        """The configuration that it was trained with."""
        return self.checkpoint["config"]


@dataclass(frozen=True)
class Outputs:
    """Of the images of a partition, in its order: ids, class numbers (n,), logits (n, 3), features (n, channels)."""

    image_ids: list[str]
    labels: np.ndarray
    logits: np.ndarray
    features: np.ndarray


def load_trained(path: str | Path, device: torch.device) -> Trained:
    """Build the network of a checkpoint; raises UserError for a file that is not one."""
    checkpoint = load_checkpoint(path)
    network = checkpoint["config"]["model"]
    model = create_model(network["backbone"], network["num_classes"], network["dropout"])
    restore_weights(model, checkpoint, path)
    return Trained(model.to(device).eval(), checkpoint, device)


@torch.inference_mode()
def run_on_partition(trained: Trained, table: Path, cache: Cache) -> Outputs:
    """Logits and features of every image of a partition's table, in its order."""
    training, device = trained.config["training"], trained.device
    dataset = BTXRDDataset(table, cache, get_val_transforms())
    loader = create_dataloader(dataset, training["batch_size"], False, 0, 0, device)
    bf16 = training["bf16"] and device.type == "cuda"
    logits, features = [], []
    with _features_of(trained.model) as seen:
        for films, _ in progress(loader, desc=table.stem, unit="batch"):
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                logits.append(trained.model(films.to(device)).float().cpu())
            features.append(seen.pop().float().cpu())
    return Outputs(dataset.image_ids, dataset.labels.numpy(), _numbers(logits), _numbers(features))


def _numbers(batches: list[torch.Tensor]) -> np.ndarray:
    return torch.cat(batches).numpy()


@contextmanager
def _features_of(model: GrayClassifier) -> Iterator[list[torch.Tensor]]:
    """While this lasts, what goes into the classifier of the backbone is put on a list at each pass."""
    seen: list[torch.Tensor] = []
    hook = model.backbone.get_classifier().register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        yield seen
    finally:
        hook.remove()
