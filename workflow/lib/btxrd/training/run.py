"""A whole training, step by step, from split and cache to checkpoints, log and curves.

A run is a pure function of configuration, seed and data: whatever kills it, it goes on from its state to the same
log, byte for byte, and the same weights, bit for bit.
"""

import logging
import math
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from btxrd import CLASSES, paths
from btxrd.caveats import caveats, footnote
from btxrd.config import Config
from btxrd.data.cache import Cache, open_cache
from btxrd.data.dataset import BTXRDDataset, create_dataloader
from btxrd.data.transforms import get_train_transforms, get_val_transforms
from btxrd.errors import UserError
from btxrd.files import sha256_of_file, written_whole
from btxrd.models.classifier import GrayClassifier, create_model
from btxrd.plots import plot_training_curves
from btxrd.progress import lines_above_bars
from btxrd.training.checkpoint import load_checkpoint, provenance, restore_weights, save_checkpoint
from btxrd.training.devices import working_device
from btxrd.training.environment import set_determinism, set_seed, step_seed
from btxrd.training.history import RECALLS, Row, make_row, save_training_log
from btxrd.training.interruption import Interruption, catching_signals, outlive_the_trainer
from btxrd.training.launcher import own_place
from btxrd.training.loop import EpochTotals, NonFiniteLossError, compute_class_weights, train_one_epoch, validate
from btxrd.training.ranks import ALONE, Ranks, join
from btxrd.training.replay import Replay, cuda_graph, own_stream
from btxrd.training.schedule import EarlyStopping, create_optimizer, create_scheduler
from btxrd.training.state import StateFolder, fingerprint, only_trainer

log = logging.getLogger("btxrd")

COLLAPSED_EPOCHS = 2  # in a row with Malignant recall 0, before the log warns
SECONDS_BETWEEN_DRAWINGS = 10  # of the live curves, which take half a second: as long as an epoch on a GPU
GPU_WORKERS = 4  # each prepares some 1,500 films a second
VAL_BATCHES = {"cpu": 1, "cuda": 8, "mps": 1}  # times the batch size: small ones leave a GPU waiting


@dataclass
class Position:
    """How far a run is: `rows` of finished epochs, and the `step` steps done of `epoch` (1 is the first)."""

    totals: EpochTotals
    epoch: int = 1
    step: int = 0
    rows: list[Row] = field(default_factory=list)


@dataclass
class Run:
    """What a training works with; made once, by `prepare`."""

    config: Config
    split: str
    device: torch.device
    model: GrayClassifier
    network: nn.Module  # the model, or what gives every rank the gradients of all
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    train_loader: DataLoader
    val_loader: DataLoader
    class_weights: torch.Tensor
    provenance: dict[str, Any]
    state: StateFolder
    position: Position
    interruption: Interruption
    ranks: Ranks
    replay: Replay | None
    saved_at: float = field(default_factory=time.monotonic)  # a clock that nobody sets back
    drawn_at: float = -math.inf

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        return math.ceil(self.train_loader.sampler.end / self.config["training"]["batch_size"])


def run_training(config: Config, threads: int) -> None:
    """Train on the split of the configuration and put best, final, log and curves in place when all is done.

    Until then everything lies in the state folder. Raises Interrupted, the state saved, when a signal asks for an
    end, and UserError for what a person can mend; the same call then goes on from the state. One of several processes
    does its part; the lead writes the files.
    """
    torch.set_num_threads(threads)
    split, ranks = config["training"]["split_strategy"], Ranks(*own_place())
    with (
        only_trainer(paths.state_folder(config, split)) if ranks.leads else nullcontext(),
        catching_signals(has_siblings=ranks.count > 1) as interruption,
        lines_above_bars(),
        working_device(config["device"]) as device,
    ):
        join(ranks, device)
        run = prepare(config, device, threads, interruption, ranks)
        with _trouble_in_a_sentence(run), own_stream(device):
            _go_on_from_state(run)
            _train(run)
        if ranks.leads:
            _put_outputs_in_place(run)
            _log_summary(run)


def prepare(
    config: Config, device: torch.device, threads: int, interruption: Interruption, ranks: Ranks = ALONE
) -> Run:
    """Seed everything, open the data and build the model."""
    split, seed, training = config["training"]["split_strategy"], config["seed"], config["training"]
    set_determinism(device, training["deterministic"])
    set_seed(seed)
    cache, tables = open_cache(paths.cache_index(config)), paths.split_tables(config, split)
    train_set = BTXRDDataset(tables["train"], cache, get_train_transforms(), seed)
    val_set = BTXRDDataset(tables["val"], cache, get_val_transforms(), seed)
    weights, network = paths.pretrained_weights(config), config["model"]
    model = create_model(network["backbone"], network["num_classes"], network["dropout"], weights).to(device)
    optimizer = create_optimizer(model, training)
    inputs = _input_hashes(tables, cache, weights)
    workers, batch_size = _number_of_workers(config["data"]["num_workers"], device), training["batch_size"]
    log.info(
        "%s: %d training and %d validation images, %d px, %d threads and %d loader workers",
        split, len(train_set), len(val_set), config["data"]["image_size"], threads, workers,
    )  # fmt: skip
    return Run(
        config=config,
        split=split,
        device=device,
        model=model,
        network=ranks.wrapped(model),
        optimizer=optimizer,
        scheduler=create_scheduler(optimizer, training),
        train_loader=create_dataloader(
            train_set, batch_size, True, seed, workers, device, outlive_the_trainer, ranks.rank, ranks.count
        ),
        # Reading the cache without augmentation is too cheap for processes of its own.
        val_loader=create_dataloader(
            val_set, VAL_BATCHES[device.type] * batch_size, False, seed, 0, device, None, ranks.rank, ranks.count
        ),
        class_weights=compute_class_weights(train_set.labels).to(device),
        provenance=provenance(inputs) | {"caveats": caveats(config, split)},
        state=StateFolder(paths.state_folder(config, split), fingerprint(config, inputs, device, threads)),
        position=Position(EpochTotals(device)),
        interruption=interruption,
        ranks=ranks,
        # Several processes talk to each other within a step, which is not recorded.
        replay=Replay(optimizer, batch_size, cuda_graph) if device.type == "cuda" and ranks.count == 1 else None,
    )


def _number_of_workers(wanted: int | str, device: torch.device) -> int:
    """Loader processes: on the CPU none, since loading is cheap there and computing has every core already."""
    if wanted != "auto":
        return int(wanted)
    return 0 if device.type == "cpu" else min(GPU_WORKERS, os.cpu_count() or 1)


def _input_hashes(tables: dict[str, Path], cache: Cache, weights: Path | None) -> dict[str, str]:
    hashes = {f"{partition}.csv": sha256_of_file(path) for partition, path in tables.items()}
    hashes["cache"] = cache.index["array_sha256"]
    if weights is not None:
        hashes["pretrained"] = sha256_of_file(weights)
    return hashes


def _go_on_from_state(run: Run) -> None:
    """Take up model, optimiser, schedule and position from the state, if there is one that fits."""
    state = run.ranks.from_lead(run.state.load() if run.ranks.leads else None)
    if state is None:
        return
    restore_weights(run.model, state, run.state.file)
    run.optimizer.load_state_dict(state["optimizer"])
    run.scheduler.load_state_dict(state["scheduler"])
    if run.ranks.leads:  # the sums of all ranks
        run.position.totals.load_state_dict(state["totals"])
    run.position.epoch, run.position.step, run.position.rows = state["epoch"], state["step"], state["rows"]
    where = f"epoch {state['epoch']}, step {state['step']} of {run.steps}"
    log.info("%s: going on from %s: %s", run.split, run.state.file, where)


def _save_state(run: Run) -> None:
    """Write the state; several ranks must be at the same step, unless the sums are with the lead already."""
    run.saved_at = time.monotonic()
    position = run.position
    if not run.ranks.leads:
        return
    run.state.save(
        {
            "epoch": position.epoch,
            "step": position.step,
            "rows": position.rows,
            "totals": position.totals.state_dict(),
            "model": run.model.backbone.state_dict(),
            "optimizer": run.optimizer.state_dict(),
            "scheduler": run.scheduler.state_dict(),
        }
    )


def _train(run: Run) -> None:
    """Train epoch by epoch until the last one or an early stop."""
    training, rows = run.config["training"], run.position.rows
    stopping = EarlyStopping(training["early_stopping_patience"])
    while run.position.epoch <= training["epochs"]:
        if rows and stopping.should_stop([row["val_loss"] for row in rows]):
            log.info("no lower val_loss in %d epochs: stopping early", stopping.patience)
            break
        started = time.monotonic()
        rows.append(run.ranks.from_lead(_one_epoch(run)))
        is_best = stopping.best_epoch([row["val_loss"] for row in rows]) == run.position.epoch
        if is_best and run.ranks.leads:  # before the state that counts on it; a repeated epoch writes the same again
            save_checkpoint(_checkpoint(run), run.state.best)
        run.position = Position(EpochTotals(run.device), epoch=run.position.epoch + 1, rows=rows)
        _save_state(run)
        if not run.ranks.leads:
            continue
        _show_rows(run)
        _log_epoch(run, rows[-1], is_best, time.monotonic() - started)
        _warn_of_collapse(rows)


def _show_rows(run: Run, finished: bool = False) -> None:
    """Write log and curves of the epochs so far, whole, from the history: no row is doubled or lost."""
    save_training_log(run.position.rows, run.state.folder / "training_log.csv")
    if finished or time.monotonic() - run.drawn_at > SECONDS_BETWEEN_DRAWINGS:
        curves = run.state.folder / "training_curves.png"
        plot_training_curves(run.position.rows, curves, footnote(run.config, run.split))
        run.drawn_at = time.monotonic()


def _one_epoch(run: Run) -> Row:
    """Train, from the step the run is at, and validate; returns the epoch's row."""
    training, position, seed = run.config["training"], run.position, run.config["seed"]
    run.train_loader.sampler.start(position.epoch, position.step * training["batch_size"])
    learning_rate = run.optimizer.param_groups[0]["lr"]
    train_loss, _ = train_one_epoch(
        run.network,
        run.train_loader,
        nn.CrossEntropyLoss(weight=run.class_weights),
        run.optimizer,
        run.device,
        gradient_clip=training["gradient_clip"],
        bf16=training["bf16"],
        seed_of_step=lambda step: step_seed(seed, position.epoch, step, run.ranks.rank),
        after_step=partial(_after_step, run),
        totals=position.totals,
        first_step=position.step,
        replay=run.replay,
        ranks=run.ranks,
        description=f"{run.split} epoch {position.epoch}/{training['epochs']}",
    )
    # Unweighted: early stopping and the choice of best must not follow the class weights.
    criterion, stop = nn.CrossEntropyLoss(), partial(_stop_if_asked, run)
    val_loss, val_acc, recall = validate(
        run.model, run.val_loader, criterion, run.device, bf16=training["bf16"], after_batch=stop, ranks=run.ranks
    )
    if run.ranks.leads and not math.isfinite(val_loss):
        raise NonFiniteLossError(position.step, val_loss)
    run.scheduler.step()
    return make_row(position.epoch, train_loss, val_loss, val_acc, recall, learning_rate)


def _after_step(run: Run, steps_done: int) -> None:
    run.position.step = steps_done
    due = time.monotonic() - run.saved_at > 60 * run.config["training"]["checkpoint_minutes"]
    signum, due = run.ranks.highest(run.interruption.signum or 0, due)
    run.interruption.signum = signum or None
    if signum or due:
        run.position.totals.move_to_lead(run.ranks)
    _stop_if_asked(run)
    if due and _is_sound(run):
        _save_state(run)


def _stop_if_asked(run: Run) -> None:
    """Between two steps or batches: if a signal came, save the state and raise Interrupted."""
    if run.interruption.signum is not None and _is_sound(run):
        _save_state(run)
    run.interruption.check()


def _is_sound(run: Run) -> bool:
    """Whether the loss so far is finite: on CUDA a bad one is seen one step late, and must not be saved."""
    return not run.ranks.leads or math.isfinite(run.position.totals.loss())


@contextmanager
def _trouble_in_a_sentence(run: Run) -> Iterator[None]:
    """Turn what can go wrong in training into UserError; the last good state stays as it is."""
    try:
        yield
    except NonFiniteLossError as error:
        where = f"epoch {run.position.epoch}, step {error.step + 1} of {run.steps}"
        rate = run.optimizer.param_groups[0]["lr"]
        raise UserError(
            f"{run.split}: the loss became {error.loss} at {where}, learning rate {rate:.3g}. "
            f"The state before it is kept in {run.state.folder}; lower training.learning_rate."
        ) from None
    except RuntimeError as error:
        text = str(error)
        if run.ranks.count > 1:
            run.interruption.check()  # a sibling that was stopped, too, may be gone already
            if "gloo" in text or isinstance(error, torch.distributed.DistError):
                raise UserError(f"{run.split}: another process of this training ended.") from None
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in text or "not enough memory" in text:
            training, data = run.config["training"], run.config["data"]
            raise UserError(
                f"{run.split}: out of memory on {run.device}. Lower training.batch_size (now {training['batch_size']}) "
                f"or, if one image is too much already, data.image_size (now {data['image_size']})."
            ) from None
        if "DataLoader worker" in text:
            raise UserError(
                f"{run.split}: a loader worker died in epoch {run.position.epoch} ({text.splitlines()[0]}). If "
                "memory ran out, lower data.num_workers, which changes no result; the same command goes on."
            ) from None
        raise
    except UserError as error:  # from a loader worker it comes wrapped in the worker's traceback
        raise UserError(str(error).rstrip().rsplit("btxrd.errors.UserError: ", 1)[-1]) from None


def _checkpoint(run: Run) -> dict[str, Any]:
    row = run.position.rows[-1]
    return {
        "epoch": int(row["epoch"]),
        "model": run.model.backbone.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "scheduler": run.scheduler.state_dict(),
        "config": run.config,
        "class_names": list(CLASSES),
        "normalization": {"mean": list(run.model.mean), "std": list(run.model.std)},
        "class_weights": run.class_weights,
        "metrics": row,
        "provenance": run.provenance,
    }


def _put_outputs_in_place(run: Run) -> None:
    """Copy the finished files out of the state folder, each whole, then remove it: a kill between two repeats this."""
    _show_rows(run, finished=True)
    load_checkpoint(run.state.best)
    save_checkpoint(_checkpoint(run), paths.checkpoint(run.config, run.split, "final"))
    targets = {
        "best.pt": paths.checkpoint(run.config, run.split, "best"),
        "training_log.csv": paths.result(run.config, run.split, "training_log.csv"),
        "training_curves.png": paths.result(run.config, run.split, "training_curves.png"),
    }
    for name, target in targets.items():
        with written_whole(target) as temporary:
            shutil.copyfile(run.state.folder / name, temporary)
    run.state.remove()


def _recalls(row: Row) -> str:
    return "  ".join(f"{name} {row[column]:.2f}" for name, column in zip(CLASSES, RECALLS, strict=True))


def _log_epoch(run: Run, row: Row, is_best: bool, seconds: float) -> None:
    log.info(
        "%s epoch %d/%d  train_loss %.4f  val_loss %.4f%s  val_acc %.3f  recall %s  lr %.2e  (%.1f s)",
        run.split, row["epoch"], run.config["training"]["epochs"], row["train_loss"], row["val_loss"],
        "*" if is_best else " ", row["val_acc"], _recalls(row), row["lr"], seconds,
    )  # fmt: skip


def _warn_of_collapse(rows: list[Row]) -> None:
    last = [row[RECALLS[CLASSES.index("Malignant")]] for row in rows[-COLLAPSED_EPOCHS:]]
    if len(last) == COLLAPSED_EPOCHS and not any(last):
        log.warning("WARNING: Malignant recall is 0 for %d epochs in a row", COLLAPSED_EPOCHS)


def _log_summary(run: Run) -> None:
    rows = run.position.rows
    best, end = min(rows, key=lambda row: row["val_loss"]), rows[-1]
    log.info("%s: done after %d epochs", run.split, len(rows))
    for name, row in (("best:", best), ("end: ", end)):
        log.info("  %s epoch %d, val_loss %.4f, recall %s", name, row["epoch"], row["val_loss"], _recalls(row))
    for which in ("best", "final"):
        log.info("  wrote %s", paths.checkpoint(run.config, run.split, which))
    for name in ("training_log.csv", "training_curves.png"):
        log.info("  wrote %s", paths.result(run.config, run.split, name))
