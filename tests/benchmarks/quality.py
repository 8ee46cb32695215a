"""`make bench-quality`: speed is not paid for with quality. Our path against the plain one, seed by seed, on the demo.

The plain path decodes every film at full size for every epoch and augments it there in colour, channels first. Both
start from the same weights and follow the same schedule; what is compared is the lowest validation loss.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import albumentations as A
import cv2
import numpy as np
import pandas as pd
import torch
from albumentations.pytorch import ToTensorV2
from material import STAGES, check
from scipy import stats
from torch import nn
from torch.utils.data import DataLoader, Dataset
from turns import write_results

from btxrd import CLASSES, paths
from btxrd.cli import main as btxrd
from btxrd.config import load_config
from btxrd.data.table import read_metadata
from btxrd.models.classifier import create_model
from btxrd.training.environment import set_seed
from btxrd.training.history import read_training_log
from btxrd.training.loop import compute_class_weights
from btxrd.training.schedule import create_optimizer, create_scheduler

SEEDS = (42, 43, 44, 45, 46)
DEMO = Path(__file__).resolve().parents[2] / "config/demo.yaml"


class PlainFilms(Dataset):
    """Films of a partition, decoded at full size, as colour, each time."""

    def __init__(self, table: Path, transform: A.Compose):
        rows = pd.read_csv(table, dtype={"image_id": str})
        files = read_metadata(paths.METADATA).set_index("image_id")["file"]
        self.files, self.transform = list(files[rows["image_id"]]), transform
        self.labels = torch.tensor([CLASSES.index(label) for label in rows["label"]])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        film = cv2.cvtColor(cv2.imread(self.files[index], cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        return self.transform(image=film)["image"], self.labels[index]


def train_plainly(config: Mapping[str, Any]) -> float:
    """Train in the plain way on the split of the configuration; returns the lowest validation loss."""
    torch.set_num_threads(1)
    set_seed(config["seed"])
    network, training, size = config["model"], config["training"], config["data"]["image_size"]
    whole = create_model(network["backbone"], network["num_classes"], network["dropout"])
    model = whole.backbone.to(memory_format=torch.contiguous_format)
    tables = paths.split_tables(config, training["split_strategy"])
    last = [
        A.LongestMaxSize(size, interpolation=cv2.INTER_AREA), A.PadIfNeeded(size, size),
        A.Normalize(whole.mean, whole.std), ToTensorV2(),
    ]  # fmt: skip
    random = [
        A.HorizontalFlip(p=0.5),
        A.Affine(rotate=(-15, 15), scale=(0.9, 1.1), translate_percent=(-0.05, 0.05), keep_ratio=True, p=0.5),
        A.RandomBrightnessContrast(brightness_limit=0.1, contrast_limit=0.1, p=0.3),
        A.GaussNoise(std_range=(0.01, 0.03), p=0.2),
    ]
    train, val = PlainFilms(tables["train"], A.Compose([*random, *last])), PlainFilms(tables["val"], A.Compose(last))
    criterion = nn.CrossEntropyLoss(weight=compute_class_weights(train.labels))
    optimizer = create_optimizer(model, training)
    scheduler, losses = create_scheduler(optimizer, training), []
    for _ in range(training["epochs"]):
        model.train()
        for films, labels in DataLoader(train, training["batch_size"], shuffle=True):
            optimizer.zero_grad()
            criterion(model(films), labels).backward()
            nn.utils.clip_grad_norm_(model.parameters(), training["gradient_clip"])
            optimizer.step()
        scheduler.step()
        model.eval()
        with torch.inference_mode():
            summed = [
                nn.functional.cross_entropy(model(films), labels, reduction="sum").item()
                for films, labels in DataLoader(val, training["batch_size"])
            ]
        losses.append(sum(summed) / len(val))
    return min(losses)


def train_ours(config_arguments: list[str], seed: int) -> subprocess.Popen:
    """Start the workflow's trainer, on one core."""
    command = [sys.executable, "-m", "btxrd", "train", "--threads", "1", *config_arguments]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def measure() -> dict[str, Any]:
    """Train every seed in both ways, side by side, a core each, in the current folder."""
    for stage in ("phantom", *STAGES, "split"):
        check(btxrd([stage, "--config", str(DEMO)]))
    pairs = []
    for seed in SEEDS:
        arguments = ["--config", str(DEMO), "--override", f"seed={seed}", "device=cpu"]
        ours = train_ours(arguments, seed)
        plain = train_plainly(load_config([str(DEMO)], [f"seed={seed}"]))
        check(ours.wait())
        log = read_training_log("results/stratified/training_log.csv")
        pairs.append((min(row["val_loss"] for row in log), plain))
        print(f"seed {seed}: val_loss {pairs[-1][0]:.4f}, plain {plain:.4f}", flush=True)
    return summary(pairs)


def summary(pairs: list[tuple[float, float]]) -> dict[str, Any]:
    """Mean difference of the pairs (below 0: ours is better) and its 95 % interval by Student's t."""
    ours, plain = np.transpose(pairs)
    differences = ours - plain
    low, high = stats.t.interval(0.95, len(pairs) - 1, differences.mean(), stats.sem(differences))
    return {
        "seeds": list(SEEDS),
        "val_loss": ours.tolist(),
        "plain_val_loss": plain.tolist(),
        "difference": {"mean": differences.mean(), "low": low, "high": high},
        "met": bool(low <= 0),
    }


def main() -> None:
    """Measure in a temporary folder; write and print results/benchmarks/quality.json."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        figures = measure()
    write_results("quality", figures)


if __name__ == "__main__":
    main()
