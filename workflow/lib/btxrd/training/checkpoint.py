"""Checkpoints: everything that a later reader needs, in tensors and primitives alone."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from btxrd import __version__
from btxrd.files import written_whole

PACKAGES = ("torch", "torchvision", "timm", "albumentations", "numpy", "opencv-python-headless")


def save_checkpoint(content: dict[str, Any], path: str | Path) -> None:
    """Write a checkpoint that `torch.load(path, weights_only=True)` reads, whole or not at all."""
    with written_whole(path) as temporary:
        torch.save(content, temporary)


def provenance(inputs: dict[str, str]) -> dict[str, Any]:
    """What made a checkpoint: package versions, git commit, and `inputs`, the SHA-256 of each input by name."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "btxrd": __version__,
        "python": platform.python_version(),
        "packages": versions,
        "git_commit": git_commit(),
        "sha256": inputs,
    }


def git_commit() -> str:
    """The commit of this code, with `+changes` where files differ from it; `unknown` outside a repository."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
