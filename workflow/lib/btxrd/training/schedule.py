"""Optimiser, learning rate over the epochs, and when to stop."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from timm.optim import param_groups_weight_decay
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

LOWEST_LEARNING_RATE = 1e-6


def create_optimizer(model: nn.Module, training: Mapping[str, Any]) -> torch.optim.AdamW:
    """AdamW; biases and norms are spared the weight decay. On CUDA it is one kernel in place of some dozens."""
    groups = param_groups_weight_decay(model, training["weight_decay"])
    on_cuda = next(model.parameters()).is_cuda
    return torch.optim.AdamW(groups, lr=training["learning_rate"], fused=on_cuda or None)


def create_scheduler(optimizer: torch.optim.Optimizer, training: Mapping[str, Any]) -> LRScheduler:
    """A cosine from the peak to 1e-6 over the epochs, stepped once an epoch, after a linear warm-up if there is one."""
    warmup = training["warmup_epochs"]
    cosine = CosineAnnealingLR(optimizer, T_max=training["epochs"] - warmup, eta_min=LOWEST_LEARNING_RATE)
    if warmup == 0:
        return cosine
    rise = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    return SequentialLR(optimizer, [rise, cosine], milestones=[warmup])


class EarlyStopping:
    """Says from the validation losses so far which epoch is best and whether to stop."""

    def __init__(self, patience: int):
        self.patience = patience

    def best_epoch(self, val_losses: Sequence[float]) -> int:
        """Epoch (1 is the first) of the lowest loss, the earliest of equal ones."""
        return min(range(len(val_losses)), key=val_losses.__getitem__) + 1

    def should_stop(self, val_losses: Sequence[float]) -> bool:
        """True when the last `patience` epochs brought no lower loss."""
        return len(val_losses) - self.best_epoch(val_losses) >= self.patience
