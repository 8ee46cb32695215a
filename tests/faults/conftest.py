"""Prepared data, an undisturbed training to compare with, and the table of what came of each fault."""

import os
from pathlib import Path

import pytest
from harm import TINY, new_trainer

from btxrd.cli import main

OUTCOMES: list[tuple[str, int, str]] = []


@pytest.fixture
def outcome(request):
    """Note (tries, outcome) of the test's fault for the table at the end."""

    def note(tries: int, text: str, fault: str | None = None) -> None:
        name = fault or request.node.name.removeprefix("test_").replace("_", " ")
        OUTCOMES.append((name, tries, text))

    return note


def pytest_terminal_summary(terminalreporter):
    if not OUTCOMES:
        return
    width = max(len(fault) for fault, _, _ in OUTCOMES)
    terminalreporter.section("faults")
    terminalreporter.write_line(f"{'fault':{width}}  tried  outcome")
    for fault, tries, text in OUTCOMES:
        terminalreporter.write_line(f"{fault:{width}}  {tries:5}  {text}")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """The data stages, run once."""
    folder, before = tmp_path_factory.mktemp("prepared"), Path.cwd()
    os.chdir(folder)
    for stage in ("phantom", "table", "cache", "case_names", "cases", "split"):
        assert main([stage, "--threads", "1", "--override", *TINY]) == 0
    os.chdir(before)
    return folder


@pytest.fixture
def trainer(prepared, tmp_path):
    """A trainer in a fresh folder that shares the prepared data."""
    return new_trainer(prepared, tmp_path / "run")


@pytest.fixture(scope="session")
def undisturbed(prepared, tmp_path_factory):
    """What a training ends with when nobody disturbs it."""
    trainer = new_trainer(prepared, tmp_path_factory.mktemp("undisturbed") / "run")
    assert trainer.run() == 0, trainer.message
    return trainer.result()
