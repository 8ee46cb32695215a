"""inference.json, the companion of a checkpoint: what whoever uses the network on other films needs beside it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from btxrd import CLASSES
from btxrd.errors import UserError

FAR = 0.99  # of val's images lie nearer to its middle than the distance at which a film is called far


@dataclass(frozen=True)
class Surroundings:
    """Where the features of val's images lie: mean and spread of each, (channels,), and the distance that is far."""

    mean: np.ndarray
    spread: np.ndarray
    far: float

    @classmethod
    def of(cls, features: np.ndarray) -> "Surroundings":
        """Those of images with these features, (n, channels)."""
        features = features.astype(float)
        mean, spread = features.mean(axis=0), features.std(axis=0) + 1e-6
        return cls(mean, spread, float(np.quantile(_distances(features, mean, spread), FAR)))

    def distances(self, features: np.ndarray) -> np.ndarray:
        """How far images with these features, (n, channels), lie from the middle; above 1 is far."""
        return _distances(features.astype(float), self.mean, self.spread) / self.far


def _distances(features: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Root mean square of standardised features."""
    return np.sqrt((((features - mean) / spread) ** 2).mean(axis=1))


@dataclass(frozen=True)
class Companion:
    """Temperature, thresholds for Malignant on the probability before the temperature, and val's surroundings."""

    checkpoint_sha256: str
    temperature: float
    thresholds: Mapping[str, float | None]
    surroundings: Surroundings

    def passed(self, probability: float) -> list[str]:
        """The operating points at which a film with this probability of Malignant is called so."""
        return [name for name, least in self.thresholds.items() if least is not None and probability >= least]

    def as_json(self) -> dict[str, Any]:
        """What is written to inference.json."""
        around = self.surroundings
        return {
            "checkpoint_sha256": self.checkpoint_sha256,
            "class_names": list(CLASSES),
            "temperature": self.temperature,
            "malignant_thresholds": dict(self.thresholds),
            "features": {
                "mean": [float(f"{value:.6g}") for value in around.mean],
                "std": [float(f"{value:.6g}") for value in around.spread],
                "distance": around.far,
            },
        }


def read_companion(path: Path) -> Companion:
    """Read inference.json; raises UserError for a file that is not one."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        features = facts["features"]
        around = Surroundings(np.array(features["mean"]), np.array(features["std"]), features["distance"])
        return Companion(facts["checkpoint_sha256"], facts["temperature"], facts["malignant_thresholds"], around)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not the inference.json of a checkpoint ({type(error).__name__}: {error}).") from None
