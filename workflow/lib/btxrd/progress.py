"""What a waiting person sees: log lines, progress bars, and work spread over processes."""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

log = logging.getLogger("btxrd")


def set_up_logging(log_file: str | Path | None, leads: bool = True) -> None:
    """Send log lines to stderr and, if named, to `log_file`, written anew.

    A process that others started to help it adds to that file, and only what is out of the ordinary.
    """
    log.setLevel(logging.INFO if leads else logging.WARNING)
    terminal = logging.StreamHandler(sys.stderr)
    if sys.stderr.isatty():  # a second training may have drawn its bar on this line: clear it
        terminal.setFormatter(logging.Formatter("\r\x1b[K%(message)s"))
    log.handlers = [terminal]
    if log_file:
        Path(log_file).parent.mkdir(parents=True, exist_ok=True)
        if leads:
            Path(log_file).write_bytes(b"")
        log.addHandler(logging.FileHandler(log_file, mode="a", encoding="utf-8", errors="backslashreplace"))


def log_to_file_only(message: str) -> None:
    """Write a long message to the log file; to stderr only if there is no file."""
    files = [handler for handler in log.handlers if isinstance(handler, logging.FileHandler)]
    record = log.makeRecord(log.name, logging.ERROR, __file__, 0, message, (), None)
    for handler in files or log.handlers:
        handler.handle(record)


def lines_above_bars() -> AbstractContextManager[None]:
    """While this lasts, log lines are printed above a progress bar in place of through it."""
    return logging_redirect_tqdm(loggers=[log])


def progress(items: Iterable[Any] | None = None, **options: Any) -> tqdm:
    """A progress bar on stderr, gone when it is done; silent in a helper and where stderr is no terminal."""
    silent = None if log.isEnabledFor(logging.INFO) else True
    return tqdm(items, disable=silent, leave=False, dynamic_ncols=True, mininterval=0.5, **options)


def parallel_map(
    work: Callable[[Any], Any], items: Sequence[Any], processes: int, description: str, unit: str = "image"
) -> Iterator[Any]:
    """Yield `work(item)` for each item in order, over `processes` processes, with a progress bar.

    One process works in place. Fresh processes (`spawn` by a server) inherit no lock and no thread.
    """
    bar = {"total": len(items), "desc": description, "unit": unit}
    with lines_above_bars():
        if processes <= 1 or len(items) < 64:  # starting processes costs more than so few items
            yield from progress(map(work, items), **bar)
            return
        chunk = max(1, min(64, len(items) // (4 * processes)))
        with ProcessPoolExecutor(processes, mp_context=get_context("forkserver")) as pool:
            yield from progress(pool.map(work, items, chunksize=chunk), **bar)
