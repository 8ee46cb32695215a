"""The state of a running training: what it goes on from after it was killed, and who may go on.

A state fits only the run that wrote it: its fingerprint names everything that the rest of the run depends on. One
that does not fit, or can't be read, is set aside with a time stamp, never deleted.
"""

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from btxrd import paths
from btxrd.config import Config, pick, training_keys
from btxrd.errors import UserError
from btxrd.files import lock_file, sync
from btxrd.training.checkpoint import load_checkpoint, package_versions, save_checkpoint

log = logging.getLogger("btxrd")

LIBRARY = Path(__file__).resolve().parents[1]


def fingerprint(config: Config, inputs: Mapping[str, str], device: torch.device, threads: int) -> dict[str, str]:
    """What a run's bits depend on, by part; `inputs` are the SHA-256 of what it reads, by name."""
    code = "".join((LIBRARY / module).read_text(encoding="utf-8") for module in paths.TRAINING_CODE)
    settings = json.loads(pick(config, training_keys()))
    return {
        **{key: json.dumps(value, sort_keys=True) for key, value in settings.items()},
        **{name: digest for name, digest in inputs.items() if name != "test.csv"},
        "the training code": hashlib.sha256(code.encode()).hexdigest(),
        "package versions": json.dumps(package_versions(), sort_keys=True),
        "device": device.type,
        "compute threads": str(threads),
    }


class StateFolder:
    """The folder of one split's running training: state.pt, best.pt, rows and curves so far."""

    def __init__(self, folder: Path, fingerprint: dict[str, str]):
        self.folder, self.fingerprint = folder, fingerprint
        self.file, self.best = folder / "state.pt", folder / "best.pt"
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, content: dict[str, Any]) -> None:
        """Write the state, whole or not at all, with the fingerprint."""
        save_checkpoint({"fingerprint": self.fingerprint, **content}, self.file)

    def load(self) -> dict[str, Any] | None:
        """The state to go on from; None if there is none, or none that fits, which is then set aside."""
        if not self.file.exists():
            return None
        try:
            content = load_checkpoint(self.file)
            changed = self._changed(content.get("fingerprint"))
            if not changed:
                self._check_best(content)
        except UserError as error:
            self._set_aside(str(error))
            return None
        if changed:
            self._set_aside(f"{self.file} is of another run: {', '.join(changed)} changed.")
            return None
        return content

    def _check_best(self, content: dict[str, Any]) -> None:
        """Without its best weights a run can't end as the undisturbed one; they may be an epoch ahead of the state."""
        rows = content["rows"]
        if not rows:
            return
        best = min(rows, key=lambda row: row["val_loss"])["epoch"]
        if load_checkpoint(self.best).get("epoch") not in (best, content["epoch"]):
            raise UserError(f"{self.best}: not of epoch {best}, the best one of {self.file}.")

    def _changed(self, other: Any) -> list[str]:
        if not isinstance(other, dict):
            return ["everything"]
        names = [*self.fingerprint, *(name for name in other if name not in self.fingerprint)]
        return [name for name in names if self.fingerprint.get(name) != other.get(name)]

    def _set_aside(self, reason: str) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%S")
        target = self.folder.with_name(f"{self.folder.name}.old-{stamp}")
        number = 1
        while target.exists():  # the clock may stand still, or jump back
            number += 1
            target = self.folder.with_name(f"{self.folder.name}.old-{stamp}-{number}")
        self.folder.rename(target)
        self.folder.mkdir()
        log.warning("%s It was set aside as %s; training starts afresh.", reason, target)

    def remove(self) -> None:
        """Remove the folder after success, in one step for whoever looks at its name."""
        target = self.folder.with_name(f"{self.folder.name}.done")
        shutil.rmtree(target, ignore_errors=True)
        self.folder.rename(target)
        sync(target.parent)
        shutil.rmtree(target)


@contextmanager
def only_trainer(folder: Path) -> Iterator[None]:
    """Keep every other trainer off this state folder; raises UserError, with its pid, if one is at work.

    The lock is the operating system's: it goes when its process does, however that ends.
    """
    path = folder.with_name(f"{folder.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _locked(path)
    try:
        os.truncate(file, 0)
        os.write(file, str(os.getpid()).encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(file)


def _locked(path: Path) -> int:
    """A file descriptor that holds the lock of the file of this name."""
    while True:
        file = lock_file(path)
        if file is None:
            try:
                pid = path.read_text() or "unknown"
            except FileNotFoundError:  # it ended just now
                continue
            raise UserError(
                f"{path}: another training of this split is running (pid {pid}). Wait for it, or end it with "
                f"`kill {pid}`: it then saves its state."
            )
        try:
            if os.path.samestat(os.fstat(file), path.stat()):
                return file
        except FileNotFoundError:
            pass
        os.close(file)  # its last holder removed that file just now: take the new one
