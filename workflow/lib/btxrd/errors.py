"""The one error a person is meant to read."""

import signal
from collections.abc import Sequence


class UserError(Exception):
    """What is wrong, where, and what to do, in a sentence; the command line prints it and exits with status 1."""


class Interrupted(BaseException):
    """A signal asked for an end; no error, so that nothing but the command line catches it."""

    def __init__(self, signum: int):
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


def raise_all(problems: Sequence[str], heading: str) -> None:
    """Raise one UserError that lists every problem under `heading`; do nothing where there is none."""
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise UserError("\n".join([f"{heading}: {count}", *(f"  - {problem}" for problem in problems)]))
