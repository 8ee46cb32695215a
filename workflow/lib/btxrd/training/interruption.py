"""SIGTERM and SIGINT end a training between two steps, after it saved its state."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from btxrd.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT)
GRACE_SECONDS = 30  # longer than any step


class Interruption:
    """Remembers that a signal came; `check` raises Interrupted where the training can stop."""

    signum: int | None = None

    def __init__(self, has_siblings: bool = False):
        # The launcher of several processes passes on a signal that came to all of them anyway.
        self._when_repeated = signal.SIG_IGN if has_siblings else signal.SIG_DFL

    def check(self) -> None:
        """Raise Interrupted if a signal came."""
        if self.signum is not None:
            raise Interrupted(self.signum)

    def _remember(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum
        for number in SIGNALS:  # a second signal ends a process that is alone at once
            signal.signal(number, self._when_repeated)


@contextmanager
def catching_signals(has_siblings: bool = False) -> Iterator[Interruption]:
    """While this lasts, a signal is remembered in place of ending the process."""
    interruption = Interruption(has_siblings)
    before = {number: signal.signal(number, interruption._remember) for number in SIGNALS}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def outlive_the_trainer(worker: int) -> None:
    """For a loader worker: a signal to the whole group must not take it away in the trainer's last step.

    torch would raise an error in the middle of that step, and the state could not be saved.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda signum, frame: signal.alarm(GRACE_SECONDS))
