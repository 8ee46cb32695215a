"""Which device a command works on, and its memory. Snakemake counts GPUs but hands out none."""

import ctypes
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from btxrd.errors import UserError
from btxrd.files import lock_file

log = logging.getLogger("btxrd")

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def get_device(name: str = "auto") -> torch.device:
    """The named device; `auto` is CUDA, else MPS, else the CPU. Raises UserError for one that is not there."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, there in available.items() if there)
    device = torch.device(name)
    if not available[device.type] or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise UserError(f"device: {name} is not there; set device to auto or cpu.")
    return device


@contextmanager
def working_device(name: str) -> Iterator[torch.device]:
    """The device of the configuration, said in the log; of several GPUs one that no other process of ours has.

    It is ours until this ends, or the process does, however that ends. A GPU that the configuration names by its number
    is taken as told; where all are taken, the first is shared, with a warning.
    """
    device = get_device(name)
    if device.type == "cuda":
        with _first_free(visible_gpus(), device.index) as index:
            device = torch.device("cuda", index)
            torch.cuda.set_device(device)
            log.info("working on %s (%s)", device, torch.cuda.get_device_name(device))
            yield device
    else:
        kept = device.type == "cpu" and keep_freed_memory()
        log.info("working on %s%s", device, ", where freed memory is kept for the next batch" if kept else "")
        yield device


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, by names that are the same in every process of the machine.

    CUDA_VISIBLE_DEVICES numbers them anew, so a number says nothing.
    """
    return [str(torch.cuda.get_device_properties(index).uuid) for index in range(torch.cuda.device_count())]


@contextmanager
def _first_free(gpus: list[str], wanted: int | None) -> Iterator[int]:
    """The number of a GPU: the wanted one, or the first whose lock nobody holds."""
    for index in range(len(gpus)) if wanted is None else [wanted]:
        lock = lock_file(Path(tempfile.gettempdir()) / f"btxrd-{os.getuid()}-{gpus[index]}.lock")
        if lock is not None:
            try:
                yield index
            finally:
                os.close(lock)
            return
    index = wanted or 0
    log.warning("another process works on cuda:%d, too: it is shared. Ask Snakemake for fewer at a time: gpu=1", index)
    yield index


def keep_freed_memory() -> bool:
    """Have glibc keep freed memory, in place of returning it to the system and asking for it again at every step.

    Returns whether it does; another C library is left alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
