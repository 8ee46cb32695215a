"""Classifiers that see no pixels: what a network must beat before it is said to have read a radiograph.

`geometry` and `metadata` are gradient-boosted trees (scikit-learn), balanced by class as the network is. The anatomy
columns are left out: every Normal of BTXRD lacks them, so they are the label in disguise.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder

from btxrd import CLASSES
from btxrd.data.table import read_metadata
from btxrd.evaluation.judgement import judge, shown
from btxrd.files import write_json

log = logging.getLogger("btxrd")

GEOMETRY = ("width", "height", "bytes", "mode")
METADATA = ("age", "sex", "view")
TEXTS = ("mode", "sex", "view")


def make_baselines(
    split: str, metadata_file: str | Path, tables: Mapping[str, Path], caveats: list[str], seed: int, target: Path
) -> None:
    """Train each baseline on the training partition and write its metrics on val and test to `target` (JSON).

    The metrics are those of `judge`, with intervals, as for the network.
    """
    metadata = read_metadata(metadata_file).set_index("image_id")
    images = {}
    for partition, path in tables.items():
        cases = pd.read_csv(path, dtype=str).set_index("image_id")["case_id"]
        images[partition] = metadata.loc[cases.index].assign(case_id=cases)
    baselines: dict[str, Any] = {}
    for name, (features, predict) in BASELINES.items():
        baselines[name] = {"features": list(features)}
        for partition, probabilities in predict(images, seed).items():
            rows = images[partition]
            baselines[name][partition] = judge(_class_numbers(rows), probabilities, rows["case_id"], seed)
    write_json({"split": split, "caveats": caveats, "baselines": baselines}, target)
    _log_table(split, baselines)


def _class_numbers(images: pd.DataFrame) -> np.ndarray:
    return images["label"].map(CLASSES.index).to_numpy()


def _majority(images: Mapping[str, pd.DataFrame], seed: int) -> dict[str, np.ndarray]:
    shares = _shares(images["train"])
    return {name: np.tile(shares, (len(images[name]), 1)) for name in ("val", "test")}


def _center_prior(images: Mapping[str, pd.DataFrame], seed: int) -> dict[str, np.ndarray]:
    """The class shares of the film's center in training; of all of training where the center was never seen."""
    by_center = {center: _shares(rows) for center, rows in images["train"].groupby("center")}
    everywhere = _shares(images["train"])
    return {
        name: np.array([by_center.get(center, everywhere) for center in images[name]["center"]])
        for name in ("val", "test")
    }


def _shares(images: pd.DataFrame) -> np.ndarray:
    return images["label"].value_counts(normalize=True).reindex(CLASSES, fill_value=0).to_numpy()


def _geometry(images: Mapping[str, pd.DataFrame], seed: int) -> dict[str, np.ndarray]:
    return _trees(images, GEOMETRY, seed)


def _metadata(images: Mapping[str, pd.DataFrame], seed: int) -> dict[str, np.ndarray]:
    return _trees(images, METADATA, seed)


def _trees(images: Mapping[str, pd.DataFrame], features: tuple[str, ...], seed: int) -> dict[str, np.ndarray]:
    texts = [name for name in features if name in TEXTS]
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    model = make_pipeline(
        make_column_transformer((encoder, texts), remainder="passthrough"),
        HistGradientBoostingClassifier(class_weight="balanced", early_stopping=False, random_state=seed),
    ).fit(images["train"][list(features)], images["train"]["label"])
    return {name: _probabilities(model, images[name][list(features)]) for name in ("val", "test")}


def _probabilities(model: Pipeline, features: pd.DataFrame) -> np.ndarray:
    """Shape (n, 3), in the order of CLASSES; 0 for a class that training lacks."""
    by_name = pd.DataFrame(model.predict_proba(features), columns=model.classes_)
    return by_name.reindex(columns=CLASSES, fill_value=0.0).to_numpy()


BASELINES = {
    "majority class": ((), _majority),
    "center prior": (("center",), _center_prior),
    "image geometry": (GEOMETRY, _geometry),
    "age, sex, view": (METADATA, _metadata),
}


def _log_table(split: str, baselines: Mapping[str, Any]) -> None:
    columns = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc")
    rows = {name: [shown(found["test"][column], 2) for column in columns] for name, found in baselines.items()}
    table = pd.DataFrame(rows, index=columns).T
    log.info("%s, without a pixel, on test (95 %% intervals over cases):\n%s", split, table.to_string())
