"""The device a training runs on, and the seeds that everything random follows from."""

import random

import numpy as np
import torch

from btxrd.errors import UserError


def get_device(name: str = "auto") -> torch.device:
    """The named device; `auto` is CUDA, else MPS, else the CPU. Raises UserError for one that is not there."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, there in available.items() if there)
    device = torch.device(name)
    if not available[device.type] or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise UserError(f"device: {name} is not there; set device to auto or cpu.")
    return device


def set_seed(seed: int) -> None:
    """Seed Python, NumPy and torch on all devices."""
    random.seed(seed)
    np.random.seed(seed)  # for libraries that still draw from it
    torch.manual_seed(seed)


def step_seed(seed: int, epoch: int, step: int) -> int:
    """The seed of one training step: dropout depends on (seed, epoch, step) and on nothing that came before."""
    return int(np.random.SeedSequence([seed, epoch, step]).generate_state(1, np.uint64)[0] >> np.uint64(1))
