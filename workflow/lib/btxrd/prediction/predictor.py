"""A checkpoint ready for the films of anybody: read as it was trained, judged, and told when they are out of place."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from btxrd import CLASSES, paths
from btxrd.caveats import NOT_CLINICAL
from btxrd.data.films import ReadFilm, read_film
from btxrd.errors import UserError
from btxrd.evaluation.companion import Companion, read_companion
from btxrd.files import sha256_of_file
from btxrd.prediction.fused import Forward, fuse
from btxrd.training.trained import Trained, load_trained

MALIGNANT = CLASSES.index("Malignant")


@dataclass(frozen=True)
class Prediction:
    """What is said of a film: probabilities (3,), calibrated ones and operating points where there is a companion."""

    probabilities: np.ndarray
    calibrated: np.ndarray | None
    operating_points: list[str]
    warnings: list[str] = field(default_factory=list)

    @property
    def predicted(self) -> str:
        """The class of the highest probability."""
        return CLASSES[int(self.probabilities.argmax())]


class Predictor:
    """The network of a checkpoint, its companion where there is one, and how films are prepared for it."""

    def __init__(self, checkpoint: Path, device: torch.device, companion: Path | None = None):
        """Raises UserError for a checkpoint that can't be used, or a named companion that is not its own."""
        self.trained = load_trained(checkpoint, device)
        self.checkpoint = checkpoint
        self.companion = _companion_of(checkpoint, self.trained, companion)
        data = self.trained.config["data"]
        self.size, self.resize = data["image_size"], data["resize"]
        self._forward: Forward = self.trained.logits_and_features
        self._batch = 1  # films that a pass takes at least

    @property
    def caveats(self) -> list[str]:
        """A few words each: the split, and what its checkpoint says must stand beside its results."""
        said = self.trained.checkpoint.get("provenance", {}).get("caveats", [])
        return [self.trained.config["training"]["split_strategy"], *said]

    @property
    def footnote(self) -> str:
        """The line under a picture."""
        return " · ".join([*self.caveats, NOT_CLINICAL])

    def hurry(self, batch: int) -> None:
        """Get ready for many films, that many at a time; a GPU needs no more, it waits for films anyway."""
        if self.trained.device.type == "cpu":
            self._forward, self._batch = fuse(self.trained, batch, self.size), batch

    def read(self, content: bytes) -> ReadFilm:
        """Prepare the bytes of a film as those that the network was trained on; raises UserError if they are none."""
        return read_film(content, self.size, self.resize)

    @torch.inference_mode()
    def predict(self, films: Sequence[ReadFilm]) -> list[Prediction]:
        """Judge one batch of films."""
        if not films:
            return []
        batch = np.zeros((max(len(films), self._batch), 1, self.size, self.size), np.uint8)
        batch[: len(films), 0] = [film.square for film in films]
        passed = self._forward(torch.from_numpy(batch).to(self.trained.device))
        logits, features = (made[: len(films)].cpu().double() for made in passed)
        probabilities = torch.softmax(logits, dim=1).numpy()
        if self.companion is None:
            return [Prediction(row, None, [], film.warnings) for film, row in zip(films, probabilities, strict=True)]
        calibrated = torch.softmax(logits / self.companion.temperature, dim=1).numpy()
        distances = self.companion.surroundings.distances(features.numpy())
        return [
            Prediction(row, mended, self.companion.passed(row[MALIGNANT]), [*film.warnings, *_far(distance)])
            for film, row, mended, distance in zip(films, probabilities, calibrated, distances, strict=True)
        ]


def _far(distance: float) -> list[str]:
    return [f"far from the training images: {distance:.1f} times the limit"] if distance > 1 else []


def _companion_of(checkpoint: Path, trained: Trained, named: Path | None) -> Companion | None:
    """The inference.json that was named, or that lies where the workflow puts it, if it is of this very checkpoint."""
    sha256 = sha256_of_file(checkpoint)
    if named:
        companion = read_companion(named)
        if companion.checkpoint_sha256 != sha256:
            raise UserError(f"{named}: it belongs to another checkpoint than {checkpoint}.")
        return companion
    for place in result_places(checkpoint, trained.config, "inference.json"):
        if place.is_file() and (companion := read_companion(place)).checkpoint_sha256 == sha256:
            return companion
    return None


def result_places(checkpoint: Path, config: dict[str, Any], name: str) -> list[Path]:
    """Where a result of a checkpoint's split may lie: beside it, and in the results of the run that it was made in."""
    split = config["training"]["split_strategy"]
    above = checkpoint.absolute().parents
    depth = len(paths.checkpoint(config, split, "best").parts)
    return [checkpoint.parent / name, above[min(depth, len(above)) - 1] / paths.result(config, split, name)]
