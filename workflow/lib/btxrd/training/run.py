"""A whole training, step by step, from split and cache to checkpoints, log and curves."""

import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from btxrd import CLASSES, paths
from btxrd.config import Config
from btxrd.data.cache import Cache, open_cache
from btxrd.data.dataset import BTXRDDataset, create_dataloader
from btxrd.data.transforms import get_train_transforms, get_val_transforms
from btxrd.files import put_in_place, sha256_of_file
from btxrd.models.classifier import GrayClassifier, create_model
from btxrd.plots import plot_training_curves
from btxrd.progress import lines_above_bars
from btxrd.training.checkpoint import provenance, save_checkpoint
from btxrd.training.environment import get_device, set_seed, step_seed
from btxrd.training.history import RECALLS, Row, make_row, save_training_log
from btxrd.training.loop import compute_class_weights, train_one_epoch, validate
from btxrd.training.schedule import EarlyStopping, create_optimizer, create_scheduler

log = logging.getLogger("btxrd")

COLLAPSED_EPOCHS = 2  # in a row with Malignant recall 0, before the log warns


@dataclass
class Run:
    """What a training works with; made once, by `prepare`."""

    config: Config
    split: str
    device: torch.device
    model: GrayClassifier
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    train_loader: DataLoader
    val_loader: DataLoader
    class_weights: torch.Tensor
    provenance: dict[str, Any]


def run_training(config: Config, threads: int) -> None:
    """Train on the split of the configuration and put best, final, log and curves in place when all is done.

    Until then everything lies in the state folder; each epoch's row and curves are there before the next begins.
    """
    torch.set_num_threads(threads)
    run = prepare(config, threads)
    state = paths.state_folder(config, run.split)
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True)
    with lines_above_bars():
        rows = _train(run, state)
    save_checkpoint(_checkpoint(run, rows), state / "final.pt")
    _put_outputs_in_place(config, run.split, state)
    _log_summary(config, run.split, rows)


def prepare(config: Config, threads: int) -> Run:
    """Seed everything, open the data and build the model."""
    split, seed, training = config["training"]["split_strategy"], config["seed"], config["training"]
    device = get_device(config["device"])
    set_seed(seed)
    cache = open_cache(paths.cache_index(config))
    tables = paths.split_tables(config, split)
    train_set = BTXRDDataset(tables["train"], cache, get_train_transforms(), seed)
    val_set = BTXRDDataset(tables["val"], cache, get_val_transforms(), seed)
    model_config, weights = config["model"], paths.pretrained_weights(config)
    model = create_model(model_config["backbone"], model_config["num_classes"], model_config["dropout"], weights).to(
        device
    )
    optimizer = create_optimizer(model, training)
    workers, batch_size = config["data"]["num_workers"], training["batch_size"]
    log.info(
        "%s: %d training and %d validation images, %d px, on %s with %d threads and %d loader workers",
        split, len(train_set), len(val_set), config["data"]["image_size"], _device_name(device), threads, workers,
    )  # fmt: skip
    return Run(
        config=config,
        split=split,
        device=device,
        model=model,
        optimizer=optimizer,
        scheduler=create_scheduler(optimizer, training),
        train_loader=create_dataloader(train_set, batch_size, True, seed, workers, device),
        # Reading the cache without augmentation is too cheap for processes of its own.
        val_loader=create_dataloader(val_set, batch_size, False, seed, 0, device),
        class_weights=compute_class_weights(train_set.labels).to(device),
        provenance=provenance(_input_hashes(tables, cache, weights)),
    )


def _input_hashes(tables: dict[str, Path], cache: Cache, weights: Path | None) -> dict[str, str]:
    hashes = {f"{partition}.csv": sha256_of_file(path) for partition, path in tables.items()}
    hashes["cache"] = cache.index["array_sha256"]
    if weights is not None:
        hashes["pretrained"] = sha256_of_file(weights)
    return hashes


def _train(run: Run, state: Path) -> list[Row]:
    """Train epoch by epoch until the last one or an early stop; returns the rows."""
    training = run.config["training"]
    stopping = EarlyStopping(training["early_stopping_patience"])
    rows: list[Row] = []
    for epoch in range(1, training["epochs"] + 1):
        started = time.monotonic()
        rows.append(_one_epoch(run, epoch))
        losses = [row["val_loss"] for row in rows]
        is_best = stopping.best_epoch(losses) == epoch
        if is_best:
            save_checkpoint(_checkpoint(run, rows), state / "best.pt")
        save_training_log(rows, state / "training_log.csv")
        plot_training_curves(rows, state / "training_curves.png", run.split, run.config["data"]["source"])
        _log_epoch(run, rows[-1], is_best, time.monotonic() - started)
        _warn_of_collapse(rows)
        if stopping.should_stop(losses):
            log.info("no lower val_loss in %d epochs: stopping early", stopping.patience)
            break
    return rows


def _one_epoch(run: Run, epoch: int) -> Row:
    training, seed = run.config["training"], run.config["seed"]
    run.train_loader.sampler.epoch = epoch
    learning_rate = run.optimizer.param_groups[0]["lr"]
    train_loss, _ = train_one_epoch(
        run.model,
        run.train_loader,
        nn.CrossEntropyLoss(weight=run.class_weights),
        run.optimizer,
        run.device,
        gradient_clip=training["gradient_clip"],
        bf16=training["bf16"],
        seed_of_step=lambda step: step_seed(seed, epoch, step),
        description=f"{run.split} epoch {epoch}/{training['epochs']}",
    )
    # Unweighted: early stopping and the choice of best must not follow the class weights.
    criterion = nn.CrossEntropyLoss()
    val_loss, val_acc, recall = validate(run.model, run.val_loader, criterion, run.device, bf16=training["bf16"])
    run.scheduler.step()
    return make_row(epoch, train_loss, val_loss, val_acc, recall, learning_rate)


def _checkpoint(run: Run, rows: list[Row]) -> dict[str, Any]:
    return {
        "epoch": int(rows[-1]["epoch"]),
        "model": run.model.backbone.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "scheduler": run.scheduler.state_dict(),
        "config": run.config,
        "class_names": list(CLASSES),
        "normalization": {"mean": list(run.model.mean), "std": list(run.model.std)},
        "class_weights": run.class_weights,
        "metrics": rows[-1],
        "provenance": run.provenance,
    }


def _put_outputs_in_place(config: Config, split: str, state: Path) -> None:
    """Move the finished files out of the state folder, then remove it."""
    targets = {
        "best.pt": paths.checkpoint(config, split, "best"),
        "final.pt": paths.checkpoint(config, split, "final"),
        "training_log.csv": paths.result(config, split, "training_log.csv"),
        "training_curves.png": paths.result(config, split, "training_curves.png"),
    }
    for name, target in targets.items():
        put_in_place(state / name, target)
    shutil.rmtree(state)


def _device_name(device: torch.device) -> str:
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


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


def _log_summary(config: Config, split: str, rows: list[Row]) -> None:
    best = min(rows, key=lambda row: row["val_loss"])
    log.info("%s: done after %d epochs", split, len(rows))
    log.info("  best: epoch %d, val_loss %.4f, recall %s", best["epoch"], best["val_loss"], _recalls(best))
    log.info(
        "  end:  epoch %d, val_loss %.4f, recall %s",
        rows[-1]["epoch"],
        rows[-1]["val_loss"],
        _recalls(rows[-1]),
    )
    for which in ("best", "final"):
        log.info("  wrote %s", paths.checkpoint(config, split, which))
    for name in ("training_log.csv", "training_curves.png"):
        log.info("  wrote %s", paths.result(config, split, name))
