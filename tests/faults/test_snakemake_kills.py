"""Snakemake or its job killed with SIGKILL: unlock, or retry, and the same bytes."""

import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from harm import ROOT, TINY, Trainer, same

pytestmark = pytest.mark.slow
TARGETS = ["checkpoints/best_stratified.pt"]


@pytest.fixture
def workplace(prepared, tmp_path):
    """A folder for `snakemake`, with the overlay that TINY is."""
    overlay = {}
    for text in TINY:
        key, value = text.split("=")
        section = overlay
        for part in key.split(".")[:-1]:
            section = section.setdefault(part, {})
        section[key.split(".")[-1]] = yaml.safe_load(value)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(overlay))
    return Trainer(tmp_path)


def start(folder, *arguments):
    command = [
        sys.executable, "-m", "snakemake", *TARGETS, "--snakefile", str(ROOT / "workflow/Snakefile"),
        "--configfile", "tiny.yaml", "--cores", "1", "--resources", "gpu=0", *arguments,
    ]  # fmt: skip
    with (folder / "snakemake.txt").open("w") as file:
        return subprocess.Popen(command, cwd=folder, stdout=file, stderr=file, start_new_session=True)


def pid_of_trainer(folder, after_rows=1):
    """The pid of the training that runs in `folder`, once it has finished so many epochs."""
    state = folder / "checkpoints/.state"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            rows = (state / "stratified/training_log.csv").read_text().splitlines()
            if len(rows) > after_rows:
                return int((state / "stratified.lock").read_text())
        except (FileNotFoundError, ValueError):
            pass
        time.sleep(0.02)
    raise AssertionError((folder / "snakemake.txt").read_text())


def test_job_killed_with_retries(workplace, undisturbed, outcome):
    process = start(workplace.folder, "--retries", "2")
    os.kill(pid_of_trainer(workplace.folder), signal.SIGKILL)
    assert process.wait() == 0, (workplace.folder / "snakemake.txt").read_text()
    assert "going on from" in (workplace.folder / "logs/train_stratified.log").read_text()
    assert same(workplace.result(), undisturbed)
    outcome(1, "same bytes", "SIGKILL of the job, snakemake --retries 2")


def test_snakemake_killed_then_unlocked(workplace, undisturbed, outcome):
    process = start(workplace.folder)
    trainer = pid_of_trainer(workplace.folder)
    process.kill()
    process.wait()
    os.kill(trainer, signal.SIGSTOP)  # the orphan lives; it must not end during this test
    assert start(workplace.folder).wait() == 1
    assert "--unlock" in (workplace.folder / "snakemake.txt").read_text()
    assert start(workplace.folder, "--unlock").wait() == 0
    assert start(workplace.folder).wait() == 1
    said = (workplace.folder / "snakemake.txt").read_text()
    assert f"another training of this split is running (pid {trainer})" in said
    os.kill(trainer, signal.SIGKILL)
    assert start(workplace.folder).wait() == 0
    assert same(workplace.result(), undisturbed)
    outcome(1, "orphan kept off by its lock; after --unlock same bytes", "SIGKILL of Snakemake itself")


def test_snakemake_and_job_killed_together(workplace, undisturbed, outcome):
    for tries in range(2):
        process = start(workplace.folder)
        pid_of_trainer(workplace.folder, after_rows=1 + tries)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert start(workplace.folder, "--unlock").wait() == 0
    assert start(workplace.folder).wait() == 0
    assert same(workplace.result(), undisturbed)
    outcome(2, "after --unlock same bytes", "SIGKILL of Snakemake and its job")
