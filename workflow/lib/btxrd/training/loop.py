"""One epoch of training, one of validation, and what they optimise."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import nn

from btxrd import CLASSES
from btxrd.progress import progress

Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]


def compute_class_weights(labels: torch.Tensor, num_classes: int = len(CLASSES)) -> torch.Tensor:
    """n / (k · n_class) for each of the k classes, shape (k,); a class without an image weighs 0."""
    counts = torch.bincount(labels, minlength=num_classes).float()
    return torch.where(counts > 0, len(labels) / (num_classes * counts.clamp(min=1)), 0)


def train_one_epoch(
    model: nn.Module,
    loader: Batches,
    criterion: nn.CrossEntropyLoss,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    gradient_clip: float | None = None,
    bf16: bool = False,
    seed_of_step: Callable[[int], int] | None = None,
    description: str = "training",
) -> tuple[float, float]:
    """Train on every batch once; returns the epoch's (loss, accuracy).

    The loss is the mean over images with their class weights, whatever the batches: a batch's mean counts with its
    sum of weights. `seed_of_step` gives the seed of each step's randomness on the device (dropout).
    """
    model.train()
    totals = _Totals(device)
    for step, (images, labels) in enumerate(progress(loader, desc=description, unit="step")):
        if seed_of_step is not None:
            torch.manual_seed(seed_of_step(step))
        images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16 and device.type == "cuda"):
            logits = model(images)
            loss = criterion(logits, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if gradient_clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), gradient_clip)
        optimizer.step()
        totals.add(loss, logits, labels, criterion.weight)
    return totals.loss(), totals.accuracy()


@torch.inference_mode()
def validate(
    model: nn.Module,
    loader: Batches,
    criterion: nn.CrossEntropyLoss,
    device: torch.device,
    num_classes: int = len(CLASSES),
    bf16: bool = False,
) -> tuple[float, float, np.ndarray]:
    """Returns (loss, accuracy, per_class_recall); recall has shape (num_classes,), NaN for a class without an image."""
    model.eval()
    totals = _Totals(device, num_classes)
    for images, labels in loader:
        images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16 and device.type == "cuda"):
            logits = model(images)
            loss = criterion(logits, labels)
        totals.add(loss, logits, labels, criterion.weight)
    return totals.loss(), totals.accuracy(), totals.recall()


class _Totals:
    """Sums over an epoch, kept on the device: reading a number would make the CPU wait for it at every step."""

    def __init__(self, device: torch.device, num_classes: int = len(CLASSES)):
        precise = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
        self._loss = torch.zeros((), dtype=precise, device=device)
        self._weight = torch.zeros((), dtype=precise, device=device)
        self._confusion = torch.zeros(num_classes * num_classes, dtype=torch.int64, device=device)
        self._classes = num_classes

    def add(
        self,
        loss: torch.Tensor,
        logits: torch.Tensor,
        labels: torch.Tensor,
        class_weights: torch.Tensor | None,
    ) -> None:
        weight = len(labels) if class_weights is None else class_weights[labels].sum()
        self._loss += loss.detach() * weight
        self._weight += weight
        cells = labels * self._classes + logits.detach().argmax(dim=1)
        self._confusion.scatter_add_(0, cells, torch.ones_like(cells))

    def loss(self) -> float:
        return float(self._loss / self._weight)

    def accuracy(self) -> float:
        confusion = self._matrix()
        return float(confusion.trace() / confusion.sum())

    def recall(self) -> np.ndarray:
        confusion = self._matrix()
        support = confusion.sum(axis=1)
        return np.divide(confusion.diagonal(), support, out=np.full(self._classes, np.nan), where=support > 0)

    def _matrix(self) -> np.ndarray:
        """Images by (class, prediction)."""
        return self._confusion.cpu().numpy().reshape(self._classes, self._classes)
