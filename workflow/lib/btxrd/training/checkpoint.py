"""Checkpoints: everything that a later reader needs, in tensors and primitives alone."""

import importlib.metadata
import io
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from btxrd import __version__
from btxrd.errors import UserError
from btxrd.files import written_whole
from btxrd.models.classifier import GrayClassifier

PACKAGES = ("torch", "torchvision", "timm", "albumentations", "numpy", "opencv-python-headless")


def save_checkpoint(content: dict[str, Any], path: str | Path) -> None:
    """Write tensors and primitives that `torch.load(path, weights_only=True)` reads, whole or not at all.

    They are serialised in memory first: torch writes the file's name into a file, and hides a full disk.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with written_whole(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Read a file of save_checkpoint; nothing in it is executed. Raises UserError for a file that is not one."""
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except Exception as error:  # whatever a damaged or hostile file makes torch raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: damaged, or no checkpoint ({reason}).") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: damaged, or no checkpoint (it holds a {type(content).__name__}).")
    return content


def restore_weights(model: GrayClassifier, checkpoint: dict[str, Any], path: str | Path) -> None:
    """Put a checkpoint's weights into `model`; raises UserError if they are of another architecture or class count."""
    own, given = model.backbone.state_dict(), checkpoint.get("model")
    if not isinstance(given, dict):
        raise UserError(f"{path}: no checkpoint of this project: it holds no weights.")
    misfits = own.keys() ^ given.keys() | {
        key for key in own.keys() & given.keys() if own[key].shape != given[key].shape
    }
    if misfits:
        raise UserError(
            f"{path}: another architecture or number of classes than the configuration's: "
            f"{len(misfits)} of {len(own)} tensors do not fit, e.g. {min(misfits)}."
        )
    model.backbone.load_state_dict(given)


def provenance(inputs: dict[str, str]) -> dict[str, Any]:
    """What made a checkpoint: package versions, git commit, and `inputs`, the SHA-256 of each input by name."""
    return {
        "btxrd": __version__,
        "packages": package_versions(),
        "git_commit": git_commit(),
        "sha256": inputs,
    }


def package_versions() -> dict[str, str]:
    """The versions that a result can depend on."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES}


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
