"""Killed, at any moment and any number of times, a training ends with the same bytes."""

import os
import random
import signal

import pytest
from harm import Harm, new_trainer, same

SAME = "same bytes"


@pytest.fixture(scope="module")
def moments(prepared, tmp_path_factory):
    return new_trainer(prepared, tmp_path_factory.mktemp("moments") / "run").moments()


def test_every_kind_of_moment_is_met(moments):
    text = "\n".join(moments)
    for name in (
        "before the optimiser's step", "after the optimiser's step", "after a batch is counted",
        "in the write of state.pt",
        "before the rename to state.pt", "after the rename to state.pt", "in the write of best.pt",
        "in the write of training_log.csv", "after the rename to best_stratified.pt",
        "after the rename to training_curves.png", "before the rename to stratified.done",
    ):  # fmt: skip
        assert name in text, name


@pytest.mark.parametrize("number", [3, pytest.param(24, marks=pytest.mark.slow)])
def test_killed_at_random_moments(prepared, undisturbed, moments, tmp_path, outcome, number):
    rng = random.Random(7)
    kinds = sorted(set(moments))
    # every third kill strikes a rare moment, a write or a rename; the others fall anywhere
    for turn in range(number):
        kind = rng.choice(kinds) if turn % 3 else None
        at = 1 + rng.choice([n for n, name in enumerate(moments) if kind in (None, name)])
        trainer = new_trainer(prepared, tmp_path / str(turn))
        assert trainer.run(harm=Harm(at).install) == -signal.SIGKILL, moments[at - 1]
        assert trainer.run() == 0, trainer.message
        assert same(trainer.result(), undisturbed), moments[at - 1]
        assert not list(trainer.folder.rglob("*.partial*")), moments[at - 1]
    outcome(number, SAME, "SIGKILL at a random moment")


@pytest.mark.slow
def test_killed_many_times_in_one_run(prepared, undisturbed, tmp_path, outcome):
    rng, kills = random.Random(8), 0
    for turn in range(3):
        trainer = new_trainer(prepared, tmp_path / str(turn))
        while trainer.run(harm=Harm(rng.randrange(5, 60)).install) != 0:
            kills += 1
            assert kills < 200
        assert same(trainer.result(), undisturbed)
    assert kills > 6
    outcome(kills, SAME, "SIGKILL many times in one run (3 runs)")


@pytest.mark.slow
def test_killed_with_loader_workers_and_resumed_with_another_number(prepared, undisturbed, tmp_path, outcome):
    for turn, (before, after) in enumerate([(0, 2), (2, 1), (1, 4), (4, 0)]):
        trainer = new_trainer(prepared, tmp_path / str(turn))
        assert trainer.run(f"data.num_workers={before}", harm=Harm(23).install) == -signal.SIGKILL
        assert trainer.run(f"data.num_workers={after}") == 0, trainer.message
        assert "going on from" in trainer.message
        assert same(trainer.result(), undisturbed)
    outcome(4, SAME, "SIGKILL, resumed with another number of workers")


def stopped(trainer, number, batch, *overrides, group=False):
    """Send a signal when so many batches are counted, wait for the end; returns the exit status."""

    def deed():
        (os.killpg if group else os.kill)(os.getpid(), number)

    return trainer.run(*overrides, harm=Harm(batch, "after a batch is counted", deed).install)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize(("where", "batch", "step"), [("training", 2, 2), ("validation", 5, 4)])
def test_signals_save_the_state_and_end(trainer, undisturbed, outcome, number, status, where, batch, step):
    rarely = "training.checkpoint_minutes=10"
    assert stopped(trainer, number, batch, rarely) == status
    assert "stopped by SIG" in trainer.message
    assert trainer.state.joinpath("state.pt").exists()
    assert not (trainer.folder / "results").exists()
    assert trainer.run(rarely) == 0, trainer.message
    assert f"going on from checkpoints/.state/stratified/state.pt: epoch 1, step {step} of 4" in trainer.message
    assert same(trainer.result(), undisturbed)
    outcome(1, f"state saved, exit {status}, then {SAME}", f"{signal.Signals(number).name} in {where}")


@pytest.mark.slow
def test_signal_to_the_whole_group_spares_the_workers_until_the_state_is_saved(trainer, undisturbed, outcome):
    assert stopped(trainer, signal.SIGTERM, 3, "data.num_workers=2", group=True) == 143, trainer.message
    assert trainer.state.joinpath("state.pt").exists()
    assert trainer.run() == 0
    assert same(trainer.result(), undisturbed)
    outcome(1, f"state saved, exit 143, then {SAME}", "SIGTERM to trainer and workers alike")


def test_nothing_is_left_of_the_state_after_success(trainer):
    assert trainer.run() == 0
    assert list(trainer.state.parent.iterdir()) == []
