"""Trainings of one model in two processes: they end, go on and fail as one, and leave nothing running."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harm import TINY, new_trainer, same

from btxrd.training.checkpoint import load_checkpoint

TWO = [*TINY, "training.devices=2", "training.epochs=4"]


class Pair:
    """A training in two processes in a folder of its own."""

    def __init__(self, prepared, folder):
        self.trainer = new_trainer(prepared, folder)
        self.folder = folder

    def start(self):
        command = [sys.executable, "-m", "btxrd", "train", "--threads", "2", "--log", "train.log", "--override", *TWO]
        self.launcher = subprocess.Popen(command, cwd=self.folder, stderr=subprocess.PIPE, text=True)
        return self

    def ranks(self):
        """The processes that the launcher started, by rank."""
        pids = Path(f"/proc/{self.launcher.pid}/task/{self.launcher.pid}/children").read_text().split()
        return {rank: pid for pid in map(int, pids) if (rank := rank_of(pid)) is not None}

    def after_an_epoch(self):
        """Wait for the second epoch."""
        end = time.monotonic() + 120
        state = self.trainer.state / "state.pt"
        while not (state.exists() and load_checkpoint(state)["epoch"] > 1):
            assert time.monotonic() < end and self.launcher.poll() is None, self.launcher.communicate()
            time.sleep(0.02)
        return self

    def end(self):
        """Exit status and what was said; no process is left."""
        ranks = self.ranks() if self.launcher.poll() is None else {}
        _, errors = self.launcher.communicate(timeout=120)
        assert not any(is_running(pid) for pid in ranks.values())
        return self.launcher.returncode, errors


def rank_of(pid):
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # it is gone
        return None
    return next((int(v[5:]) for v in variables if v.startswith(b"RANK=")), None)


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(scope="session")
def pair_undisturbed(prepared, tmp_path_factory):
    pair = Pair(prepared, tmp_path_factory.mktemp("pair") / "run").start()
    status, errors = pair.end()
    assert status == 0, errors
    return pair


@pytest.fixture
def pair(prepared, tmp_path):
    pair = Pair(prepared, tmp_path / "run").start()
    yield pair.after_an_epoch()
    pair.launcher.kill()


def test_two_processes_train_one_model_and_one_of_them_writes(pair_undisturbed):
    folder = pair_undisturbed.folder
    lines = (folder / "train.log").read_text().splitlines()
    assert sum("epoch 1/4" in line for line in lines) == 1
    assert sum("done after 4 epochs" in line for line in lines) == 1
    assert len((folder / "results/stratified/training_log.csv").read_text().splitlines()) == 5
    assert load_checkpoint(folder / "checkpoints/best_stratified.pt")["config"]["training"]["devices"] == 2
    assert not pair_undisturbed.trainer.state.exists()


@pytest.mark.slow
def test_a_signal_stops_both_and_the_same_command_goes_on(pair, pair_undisturbed, outcome):
    pair.launcher.send_signal(signal.SIGTERM)
    status, errors = pair.end()
    assert status == 128 + signal.SIGTERM, errors
    assert "the same command goes on from the state" in errors and "Traceback" not in errors
    assert pair.start().end()[0] == 0
    assert "going on from" in (pair.folder / "train.log").read_text()
    assert same(pair.trainer.result(), pair_undisturbed.trainer.result())
    outcome(1, "both stopped, went on to the same bits")


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_the_death_of_one_ends_all_and_the_same_command_goes_on(pair, pair_undisturbed, outcome, rank):
    os.kill(pair.ranks()[rank], signal.SIGKILL)
    status, errors = pair.end()
    assert status == 1
    assert f"process {rank} of 2 ended with status -9, so all were ended" in errors and "Traceback" not in errors
    assert pair.start().end()[0] == 0
    assert same(pair.trainer.result(), pair_undisturbed.trainer.result())
    outcome(1, "all ended, went on to the same bits", f"process {rank} of two is killed")


def test_a_batch_that_can_not_be_shared_is_refused(btxrd):
    status, errors = btxrd("train", "--override", *TINY, "training.devices=3")
    assert status == 1 and "training.batch_size must be a multiple of training.devices (split stratified)" in errors
