"""Files that are either whole or not there."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Give a temporary file beside `path` to write to; it takes the name `path` only if the block succeeds.

    The content is on disk before the name is, so a crash leaves the old file or the new one, never half of one.
    What a killed process left is overwritten the next time. The ending stays, some writers read the format from it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield temporary
        put_in_place(temporary, path)
    except OSError as error:  # a full disk, say; the error of a write names no file
        error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def put_in_place(source: Path, target: Path) -> None:
    """Rename `source` to `target` on the same file system, durably: content first, then the name."""
    sync(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Ask the operating system to put a file or a folder on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def lock_file(path: Path) -> int | None:
    """A file descriptor that holds the lock of this file until it is closed; None if another process has it.

    The lock is the operating system's: it goes when its process does, however that ends.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        # Not flock: its locks pass to loader workers, which outlive a killed trainer by seconds.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        os.close(file)
        return None
    return file


def write_json(data: Any, path: str | Path) -> None:
    """Write `data` as indented JSON with sorted keys, whole or not at all."""
    with written_whole(path) as temporary:
        text = json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        temporary.write_text(text, encoding="utf-8")


def sha256_of_file(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Give the empty folder `folder`, without what a killed process left in it; it is gone afterwards."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
