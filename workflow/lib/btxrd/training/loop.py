"""One epoch of training, one of validation, and what they optimise."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from btxrd import CLASSES
from btxrd.progress import progress
from btxrd.training.ranks import ALONE, Ranks
from btxrd.training.replay import Replay

Batches = DataLoader | Sequence[tuple[torch.Tensor, torch.Tensor]]


def compute_class_weights(labels: torch.Tensor, num_classes: int = len(CLASSES)) -> torch.Tensor:
    """n / (k · n_class) for each of the k classes, shape (k,); a class without an image weighs 0."""
    counts = torch.bincount(labels, minlength=num_classes).float()
    return torch.where(counts > 0, len(labels) / (num_classes * counts.clamp(min=1)), 0)


class NonFiniteLossError(ArithmeticError):
    """The loss of a training step (from 0) is NaN or infinite."""

    def __init__(self, step: int, loss: float):
        super().__init__(f"step {step}: loss {loss}")
        self.step, self.loss = step, loss


class EpochTotals:
    """Sums over an epoch, kept on the device: reading a number would make the CPU wait for it at every step."""

    def __init__(self, device: torch.device, num_classes: int = len(CLASSES)):
        precise = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
        self._loss = torch.zeros((), dtype=precise, device=device)
        self._weight = torch.zeros((), dtype=precise, device=device)
        self._confusion = torch.zeros(num_classes * num_classes, dtype=torch.int64, device=device)
        self._classes = num_classes

    def add(
        self, loss: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor, class_weights: torch.Tensor | None
    ) -> None:
        """Count a batch: its mean loss with its sum of weights, its logits (N, classes) and labels (N,)."""
        weight = len(labels) if class_weights is None else class_weights[labels].sum()
        self._loss += loss * weight
        self._weight += weight
        cells = labels * self._classes + logits.argmax(dim=1)
        self._confusion.scatter_add_(0, cells, torch.ones_like(cells))

    def loss(self) -> float:
        """Mean loss over the images, by their weights."""
        return float(self._loss / self._weight)

    def accuracy(self) -> float:
        """Share of images whose class was predicted."""
        confusion = self._matrix()
        return float(confusion.trace() / max(1, confusion.sum()))

    def recall(self) -> np.ndarray:
        """Recall of each class, shape (classes,); NaN for a class without an image."""
        confusion = self._matrix()
        support = confusion.sum(axis=1)
        return np.divide(confusion.diagonal(), support, out=np.full(self._classes, np.nan), where=support > 0)

    def _matrix(self) -> np.ndarray:
        """Images by (class, prediction)."""
        return self._confusion.cpu().numpy().reshape(self._classes, self._classes)

    def move_to_lead(self, ranks: Ranks) -> None:
        """Add up what all ranks counted, on the one that leads."""
        ranks.move_to_lead(list(self.state_dict().values()))

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The sums so far."""
        return {"loss": self._loss, "weight": self._weight, "confusion": self._confusion}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from sums of an earlier process."""
        for name, own in self.state_dict().items():
            own.copy_(state[name])


class _LossWatch:
    """Raises NonFiniteLossError; on CUDA one step late, since no step may wait for the loss of its own."""

    def __init__(self, device: torch.device):
        self._late = device.type == "cuda"
        self._waiting: tuple[int, torch.Tensor, torch.cuda.Event] | None = None

    def see(self, step: int, loss: torch.Tensor) -> None:
        """Check the loss of a step, or on CUDA that of the step before."""
        if not self._late:
            self._check(step, loss)
            return
        self.settle()
        copy = torch.empty((), pin_memory=True).copy_(loss, non_blocking=True)
        done = torch.cuda.Event()
        done.record()
        self._waiting = step, copy, done

    def settle(self) -> None:
        """Check the step that is still waiting."""
        if self._waiting is not None:
            step, copy, done = self._waiting
            done.synchronize()
            self._waiting = None
            self._check(step, copy)

    @staticmethod
    def _check(step: int, loss: torch.Tensor) -> None:
        if not torch.isfinite(loss):
            raise NonFiniteLossError(step, float(loss))


def train_one_epoch(
    model: nn.Module,
    loader: Batches,
    criterion: nn.CrossEntropyLoss,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    gradient_clip: float | None = None,
    bf16: bool = False,
    seed_of_step: Callable[[int], int] | None = None,
    after_step: Callable[[int], None] | None = None,
    totals: EpochTotals | None = None,
    first_step: int = 0,
    replay: Replay | None = None,
    ranks: Ranks = ALONE,
    description: str = "training",
) -> tuple[float, float]:
    """Train on every batch of `loader` once; returns the epoch's (loss, accuracy).

    The loss is the mean over images with their class weights, whatever the batches: a batch's mean counts with its
    sum of weights. `seed_of_step` gives the seed of each step's randomness on the device (dropout); `after_step` is
    called with the number of steps done. An epoch that was interrupted goes on with the `totals` of its
    `first_step` steps. `replay` does the work of the steps, the same in all epochs of a model. Of several `ranks`, each
    has its part of every batch, and the lead's loss and accuracy are those of all.
    Raises NonFiniteLossError for a loss that is NaN or infinite.
    """
    model.train()
    totals = totals or EpochTotals(device)
    autocast = partial(torch.autocast, device.type, torch.bfloat16, enabled=bf16 and device.type == "cuda")

    def work(images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Forward and backward: loss and logits, the gradients in the parameters."""
        optimizer.zero_grad(set_to_none=True)
        with autocast():
            logits = model(images)
            loss = criterion(logits, labels)
        loss.backward(ranks.share(labels, criterion.weight))
        if gradient_clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), gradient_clip)
        return loss.detach(), logits.detach()

    watch = _LossWatch(device)
    batches = progress(loader, desc=description, unit="step", initial=first_step, total=first_step + len(loader))
    for step, (images, labels) in enumerate(batches, start=first_step):
        if seed_of_step is not None:
            torch.manual_seed(seed_of_step(step))
        images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        loss, logits = work(images, labels) if replay is None else replay(work, images, labels)
        watch.see(step, loss)
        optimizer.step()
        totals.add(loss, logits, labels, criterion.weight)
        if after_step is not None:
            after_step(step + 1)
    watch.settle()
    totals.move_to_lead(ranks)
    return totals.loss(), totals.accuracy()


@torch.inference_mode()
def validate(
    model: nn.Module,
    loader: Batches,
    criterion: nn.CrossEntropyLoss,
    device: torch.device,
    num_classes: int = len(CLASSES),
    bf16: bool = False,
    after_batch: Callable[[], None] | None = None,
    ranks: Ranks = ALONE,
) -> tuple[float, float, np.ndarray]:
    """Returns (loss, accuracy, per_class_recall); recall has shape (num_classes,), NaN for a class without an image.

    Of several `ranks`, each has its part of the images, and what the lead returns is that of all.
    """
    model.eval()
    totals = EpochTotals(device, num_classes)
    for images, labels in loader:
        images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16 and device.type == "cuda"):
            logits = model(images)
            loss = criterion(logits, labels)
        totals.add(loss, logits, labels, criterion.weight)
        if after_batch is not None:
            after_batch()
    totals.move_to_lead(ranks)
    return totals.loss(), totals.accuracy(), totals.recall()
