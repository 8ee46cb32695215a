"""The seeds that everything random follows from, and how exact CUDA is about it."""

import os
import random

import numpy as np
import torch


def set_seed(seed: int) -> None:
    """Seed Python, NumPy and torch on all devices."""
    random.seed(seed)
    np.random.seed(seed)  # for libraries that still draw from it
    torch.manual_seed(seed)


def set_determinism(device: torch.device, deterministic: bool) -> None:
    """Make CUDA give the same bits at every run, or let it choose the fastest way; other devices need neither."""
    if device.type != "cuda":
        return
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA's first matrix is multiplied
        torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads such memory
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic


def step_seed(seed: int, epoch: int, step: int, rank: int = 0) -> int:
    """The seed of one training step: dropout depends on (seed, epoch, step, rank) and on nothing that came before."""
    key = [seed, epoch, step] + [rank] * (rank > 0)
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
