"""Trainings that are harmed on purpose, in forked processes."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import torch

import btxrd.training.run  # noqa: F401 - once, before the forks
from btxrd.cli import main
from btxrd.training.loop import EpochTotals

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "data.source=phantom", "data.phantom.images=80", "data.phantom.long_side=160", "data.image_size=64",
    "data.num_workers=0", "model.backbone=test_efficientnet", "model.pretrained=false", "device=cpu",
    "training.epochs=3", "training.batch_size=16", "training.checkpoint_minutes=1e-9",
]  # fmt: skip


def kill() -> None:
    """End this process as the out-of-memory killer would."""
    os.kill(os.getpid(), signal.SIGKILL)


class Harm:
    """Counts the moments of a training: before and after each step, write and rename, in the middle of each write.

    At moment number `at`, of those that contain `name`, it does `deed`. All so far are in `seen`.
    """

    def __init__(self, at: int = 0, name: str = "", deed: Callable[[], None] = kill):
        self.at, self.name, self.deed = at, name, deed
        self.seen: list[str] = []

    def moment(self, name: str) -> None:
        if self.name not in name:
            return
        self.seen.append(name)
        if len(self.seen) == self.at:
            self.deed()

    def around(self, owner: type, method: str, name: Callable[..., str]) -> None:
        original = getattr(owner, method)

        def harmed(*arguments, **options):
            self.moment(f"before {name(*arguments)}")
            result = original(*arguments, **options)
            self.moment(f"after {name(*arguments)}")
            return result

        setattr(owner, method, harmed)

    def in_the_middle(self, method: str) -> None:
        original = getattr(Path, method)

        def harmed(path, content, **options):
            original(path, content[: len(content) // 2], **options)
            self.moment(f"in the write of {path.name.split('.partial')[0].lstrip('.')}{path.suffix}")
            return original(path, content, **options)

        setattr(Path, method, harmed)

    def install(self) -> None:
        self.around(torch.optim.AdamW, "step", lambda *_: "the optimiser's step")
        self.around(EpochTotals, "add", lambda *_: "a batch is counted")
        self.around(Path, "replace", lambda source, target: f"the rename to {Path(target).name}")
        self.around(Path, "rename", lambda source, target: f"the rename to {Path(target).name}")
        for method in ("write_bytes", "write_text"):
            self.in_the_middle(method)


class Trainer:
    """Trains in forked processes in a folder of its own."""

    def __init__(self, folder: Path):
        self.folder = folder

    def start(self, *overrides: str, harm: Callable[[], None] | None = None, errors: str = "stderr.txt") -> int:
        """Start a training and return its pid; `harm` is called in the new process before."""
        pid = os.fork()
        if pid:
            return pid
        status = 99
        try:
            os.chdir(self.folder)
            os.setpgid(0, 0)
            os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), 2)
            sys.stderr = os.fdopen(2, "w", buffering=1)
            torch.set_num_threads(1)
            if harm:
                harm()
            status = main(["train", "--threads", "1", "--override", *TINY, *overrides])
        finally:
            sys.stderr.flush()
            os._exit(status)

    def run(self, *overrides: str, harm: Callable[[], None] | None = None) -> int:
        """Train and wait; returns the exit status, or minus the signal that killed the process."""
        _, status = os.waitpid(self.start(*overrides, harm=harm), 0)
        return os.waitstatus_to_exitcode(status)

    @property
    def message(self) -> str:
        return (self.folder / "stderr.txt").read_text()

    @property
    def state(self) -> Path:
        return self.folder / "checkpoints/.state/stratified"

    def result(self):
        """The log's bytes, and all tensors and numbers of both checkpoints."""
        log = (self.folder / "results/stratified/training_log.csv").read_bytes()
        return log, *(load(self.folder / f"checkpoints/{which}_stratified.pt") for which in ("best", "final"))

    def moments(self, *overrides: str) -> list[str]:
        """The names of all moments of an undisturbed training; its outputs are removed."""
        note = self.folder / "moments.txt"

        def watch():
            harm = Harm()
            harm.install()
            exits = os._exit

            def noted(status):
                with note.open("w") as file:
                    file.write("\n".join(harm.seen))
                exits(status)

            os._exit = noted

        assert self.run(*overrides, harm=watch) == 0
        return note.read_text().splitlines()


def load(path: Path):
    """A checkpoint without what may differ: provenance, and the keys that change no result."""
    content = torch.load(path, weights_only=True)
    content.pop("provenance")
    content["config"]["data"].pop("num_workers")
    content["config"]["training"].pop("checkpoint_minutes")
    return content


def same(one, other) -> bool:
    """Equal to the last bit, tensors and all."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other) and one.dtype == other.dtype
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return one == other or (one != one and other != other)


def new_trainer(prepared: Path, folder: Path) -> Trainer:
    folder.mkdir()
    (folder / "resources").symlink_to(prepared / "resources")
    return Trainer(folder)
