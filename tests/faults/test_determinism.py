"""A run is a function of configuration, seed and data."""

import os

import pytest
from harm import new_trainer, same

from btxrd.training import run as training
from btxrd.training.replay import WARM_UP, Replay
from recorder import Recorder


@pytest.mark.parametrize(
    "workers", [0, 1, pytest.param(2, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)]
)
def test_same_seed_gives_the_same_bytes_with_any_number_of_workers(trainer, undisturbed, outcome, workers):
    assert trainer.run(f"data.num_workers={workers}") == 0, trainer.message
    assert same(trainer.result(), undisturbed)
    outcome(1, "same bytes", f"a second run, {workers} workers")


def replaying():
    """Have the trainer record its step and replay it, as it does on CUDA."""

    def with_replay(*arguments):
        run = prepare(*arguments)
        recorder = Recorder(run.model)
        run.replay = Replay(run.optimizer, run.train_loader.batch_size, recorder)
        os._exit = lambda status: exits(status or (99 if recorder.replays != 3 * 3 - WARM_UP else 0))
        return run

    prepare, exits = training.prepare, os._exit
    training.prepare = with_replay


def test_replayed_steps_give_the_same_bytes(trainer, undisturbed, outcome):
    assert trainer.run(harm=replaying) == 0, trainer.message
    assert same(trainer.result(), undisturbed)
    outcome(1, "same bytes", "steps recorded and replayed, with a stand-in for CUDA graphs")


def test_another_seed_gives_others(trainer, undisturbed):
    assert trainer.run("seed=43") == 0
    assert trainer.result()[0] != undisturbed[0]


@pytest.mark.slow
def test_efficientnet_b0_is_exact_too(prepared, tmp_path, outcome):
    import signal

    from harm import Harm

    results = []
    for turn in range(2):
        trainer = new_trainer(prepared, tmp_path / str(turn))
        overrides = ("model.backbone=efficientnet_b0", "training.epochs=2")
        if turn:
            assert trainer.run(*overrides, harm=Harm(31).install) == -signal.SIGKILL
        assert trainer.run(*overrides) == 0, trainer.message
        results.append(trainer.result())
    assert same(*results)
    outcome(1, "same bytes", "SIGKILL of an EfficientNet-B0 (dropout, batch norm)")
