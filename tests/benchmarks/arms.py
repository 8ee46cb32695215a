"""One way to train, as a process that does one epoch at every word it reads: `python arms.py NAME SETTINGS`.

A process each, because an allocator's setting and a thread pool belong to a process. Each way sees the same films,
model, batch size, threads and augmentation, and answers `epoch` (training and validation alike) with its seconds; ours
answers `train` and `limit`, too: the training part of an epoch, and the model alone on one resident batch.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import albumentations as A
import cv2
import numpy as np
import timm
import torch
from albumentations.pytorch import ToTensorV2
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from btxrd.config import load_config
from btxrd.training.devices import keep_freed_memory
from btxrd.training.interruption import Interruption
from btxrd.training.loop import train_one_epoch
from btxrd.training.run import _one_epoch, prepare

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CPU = torch.device("cpu")
Settings = SimpleNamespace
Words = dict[str, Callable[[], Any]]


def ours(settings: Settings) -> Words:
    """The workflow's own trainer, on its cache."""
    keep_freed_memory()
    run = prepare(load_config([], settings.overrides), CPU, settings.threads, Interruption())
    criterion = nn.CrossEntropyLoss(weight=run.class_weights)
    films = torch.randint(0, 256, (settings.batch, 1, settings.size, settings.size), dtype=torch.uint8)
    labels = torch.arange(settings.batch) % 3

    def start() -> None:
        run.position.step = 0
        run.train_loader.sampler.start(run.position.epoch)
        run.position.epoch += 1

    def train() -> None:
        start()
        train_one_epoch(run.model, run.train_loader, criterion, run.optimizer, CPU, gradient_clip=1.0)

    def limit() -> None:
        run.model.train()
        for _ in range(run.steps):
            step(run.model, criterion, run.optimizer, films, labels)

    def epoch() -> None:
        start()
        _one_epoch(run)

    return {"epoch": epoch, "train": train, "limit": limit}


def step(
    model: nn.Module, criterion: nn.Module, optimizer: torch.optim.Optimizer, films: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The usual step."""
    optimizer.zero_grad(set_to_none=True)
    logits = model(films)
    loss = criterion(logits, labels)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss, logits


def network(settings: Settings) -> tuple[nn.Module, nn.Module, torch.optim.Optimizer]:
    """Model, loss and optimiser of the peers."""
    if settings.best:
        keep_freed_memory()
    model = timm.create_model("efficientnet_b0", num_classes=3, drop_rate=0.2)
    if settings.best:
        model = model.to(memory_format=torch.channels_last)
    criterion = nn.CrossEntropyLoss(weight=torch.tensor([0.7, 0.7, 3.6]))
    return model, criterion, torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=1e-4)


def pillow_transforms(settings: Settings) -> tuple[v2.Transform, v2.Transform]:
    """Our augmentation with torchvision, for training, and what validation sees."""
    first = [v2.Resize((settings.size, settings.size))]
    last = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    random = [
        v2.RandomHorizontalFlip(0.5),
        v2.RandomApply([v2.RandomAffine(15, translate=(0.05, 0.05), scale=(0.9, 1.1))], 0.5),
        v2.RandomApply([v2.ColorJitter(brightness=0.1, contrast=0.1)], 0.3),
    ]
    noise = [v2.RandomApply([v2.GaussianNoise(sigma=0.02)], 0.2)]
    normalize = [v2.Normalize(MEAN, STD)]
    return v2.Compose([*first, *random, *last, *noise, *normalize]), v2.Compose([*first, *last, *normalize])


def folders(settings: Settings) -> tuple[ImageFolder, ImageFolder]:
    """The films as torchvision reads them."""
    train, val = pillow_transforms(settings)
    return ImageFolder(settings.films + "/train", train), ImageFolder(settings.films + "/val", val)


def loaders(settings: Settings, train: Any, val: Any) -> tuple[DataLoader, DataLoader]:
    """Plain loaders; in the best form with a worker a core, which stay from epoch to epoch."""
    workers = settings.threads if settings.best else 0
    options = {"batch_size": settings.batch, "num_workers": workers, "persistent_workers": workers > 0}
    return DataLoader(train, shuffle=True, **options), DataLoader(val, **options)


def laid_out(films: torch.Tensor, settings: Settings) -> torch.Tensor:
    """The batch in the layout of the model's weights."""
    return films.contiguous(memory_format=torch.channels_last) if settings.best else films


def plain_loop(settings: Settings, train: DataLoader, val: DataLoader) -> Words:
    """As the reference scripts train: a loss and an accuracy read at every step."""
    model, criterion, optimizer = network(settings)

    def epoch() -> None:
        model.train()
        for films, labels in train:
            loss, logits = step(model, criterion, optimizer, laid_out(films, settings), labels)
            loss.item(), (logits.argmax(1) == labels).float().mean().item()
        model.eval()
        with torch.inference_mode():
            for films, labels in val:
                logits = model(laid_out(films, settings))
                criterion(logits, labels).item(), (logits.argmax(1) == labels).float().mean().item()

    return {"epoch": epoch}


def torchvision(settings: Settings) -> Words:
    """ImageFolder and DataLoader."""
    return plain_loop(settings, *loaders(settings, *folders(settings)))


def timm_loader(settings: Settings) -> Words:
    """timm's data set and loader, with our augmentation in place of its own."""
    made = []
    for name, transform in zip(("train", "val"), pillow_transforms(settings), strict=True):
        films = timm.data.ImageDataset(f"{settings.films}/{name}")
        loader = timm.data.create_loader(
            films,
            input_size=(3, settings.size, settings.size),
            batch_size=settings.batch,
            is_training=name == "train",
            use_prefetcher=False,
            num_workers=settings.threads if settings.best else 0,
            persistent_workers=settings.best,
            pin_memory=False,
        )
        films.transform = transform
        made.append(loader)
    return plain_loop(settings, *made)


class ColourFilms(ImageFolder):
    """Each film decoded at full size for each epoch, as colour, and augmented so."""

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, label = self.samples[index]
        return self.transform(image=np.array(Image.open(path).convert("RGB")))["image"], label


def replaced(settings: Settings) -> Words:
    """The recipe that this workflow replaces: albumentations on the full-size colour film."""
    last = [A.Resize(settings.size, settings.size, interpolation=cv2.INTER_AREA), A.Normalize(MEAN, STD), ToTensorV2()]
    random = [
        A.HorizontalFlip(p=0.5),
        A.Affine(rotate=(-15, 15), scale=(0.9, 1.1), translate_percent=(-0.05, 0.05), p=0.5),
        A.RandomBrightnessContrast(brightness_limit=0.1, contrast_limit=0.1, p=0.3),
        A.GaussNoise(std_range=(0.01, 0.03), p=0.2),
    ]
    train = ColourFilms(settings.films + "/train", A.Compose([*random, *last]))
    val = ColourFilms(settings.films + "/val", A.Compose(last))
    return plain_loop(settings, *loaders(settings, train, val))


def lightning(settings: Settings) -> None:
    """PyTorch Lightning's Trainer over torchvision's data sets; it asks for the words itself, from inside `fit`."""
    import pytorch_lightning as pl

    model, criterion, optimizer = network(settings)
    asked = words_asked()

    class Classifier(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            films, labels = batch
            logits = self.model(laid_out(films, settings))
            loss = criterion(logits, labels)
            self.log("train_loss", loss, on_step=False, on_epoch=True)
            self.log("train_acc", (logits.argmax(1) == labels).float().mean(), on_step=False, on_epoch=True)
            return loss

        def validation_step(self, batch: Any, _: int) -> None:
            films, labels = batch
            logits = self.model(laid_out(films, settings))
            self.log("val_loss", criterion(logits, labels))
            self.log("val_acc", (logits.argmax(1) == labels).float().mean())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return optimizer

        def on_train_epoch_start(self) -> None:
            next(asked, None) or sys.exit()
            self.started = time.perf_counter()

        def on_train_epoch_end(self) -> None:  # after validation
            print(time.perf_counter() - self.started, flush=True)

    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=10**6, gradient_clip_val=1.0, logger=False, num_sanity_val_steps=0,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Classifier(), *loaders(settings, *folders(settings)))


def words_asked() -> Iterator[str]:
    """Say that we are ready, then give each line that is asked."""
    print("ready", flush=True)
    return (line.strip() for line in sys.stdin)


def main() -> None:
    """Set up the way that is named, then answer each word with the seconds of its work."""
    name, settings = sys.argv[1], Settings(**json.loads(sys.argv[2]))
    torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    if name == "lightning":
        lightning(settings)
        return
    ways = {"ours": ours, "torchvision": torchvision, "timm": timm_loader, "replaced": replaced}
    os.chdir(Path(settings.folder))
    works = ways[name](settings)
    for word in words_asked():
        started = time.perf_counter()
        works[word]()
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main()
