"""The evaluation of a trained network: predictions, metrics with intervals, pictures, and what its user needs."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import softmax

from btxrd import CLASSES
from btxrd.data.cache import Cache, open_cache
from btxrd.data.outlines import lesion_share, lesion_size, outlines_of
from btxrd.data.table import age_band, read_metadata
from btxrd.evaluation import figures
from btxrd.evaluation.bootstrap import RESAMPLES
from btxrd.evaluation.calibration import calibration_metrics, fit_temperature
from btxrd.evaluation.companion import Companion, Surroundings
from btxrd.evaluation.inference import Outputs, run_on_partition
from btxrd.evaluation.judgement import judge, proportion, shown
from btxrd.evaluation.metrics import HEADLINE
from btxrd.evaluation.outputs import CALIBRATION, CONFUSION, INFERENCE, METRICS, PRECISION_RECALL, PREDICTIONS, ROC
from btxrd.evaluation.subgroups import judge_subgroups
from btxrd.evaluation.thresholds import choose_thresholds
from btxrd.files import sha256_of_file, write_json, written_whole
from btxrd.training.devices import working_device
from btxrd.training.trained import load_trained

log = logging.getLogger("btxrd")

JUDGED = ("val", "test")
MALIGNANT = CLASSES.index("Malignant")
LOGITS, PROBABILITIES = (tuple(f"{kind}_{name.lower()}" for name in CLASSES) for kind in ("logit", "probability"))
PREDICTION_COLUMNS = (
    "image_id", "case_id", "center", "hospital", "label", *LOGITS, *PROBABILITIES, "predicted", "partition",
)  # fmt: skip


def evaluate(
    split: str,
    checkpoint: Path,
    tables: Mapping[str, Path],
    metadata_file: str | Path,
    cache_index: Path,
    annotations: Path,
    device: str,
    note: str,
    folder: Path,
) -> None:
    """Judge a split's best checkpoint on val and test and write EVALUATION_FILES to `folder`."""
    cache = open_cache(cache_index)
    with working_device(device) as where:
        trained = load_trained(checkpoint, where)
        outputs = {part: run_on_partition(trained, tables[part], cache) for part in JUDGED}
    predictions = {part: _predictions(outputs[part], tables[part]) for part in JUDGED}
    with written_whole(folder / PREDICTIONS) as temporary:
        pd.concat(predictions.values()).to_csv(temporary, index=False)
    temperature = fit_temperature(outputs["val"].logits, outputs["val"].labels)
    thresholds = choose_thresholds(*_malignant(outputs["val"]))
    seed = trained.config["seed"]
    identity = {"file": checkpoint.name, "sha256": sha256_of_file(checkpoint), "epoch": trained.checkpoint["epoch"]}
    facts = {
        "split": split,
        "seed": seed,
        "checkpoint": identity,
        "provenance": trained.checkpoint["provenance"],
        "bootstrap": {"resamples": RESAMPLES, "seed": seed, "level": 0.95, "method": "percentile"},
        "temperature": temperature,
        "partitions": {
            part: _judge_partition(outputs[part], predictions[part]["case_id"], temperature, thresholds, seed)
            for part in JUDGED
        },
        "subgroups": judge_subgroups(
            _described(predictions["test"], metadata_file, annotations, cache), _probabilities(outputs["test"]), seed
        ),
    }
    write_json(facts, folder / METRICS)
    companion = Companion(identity["sha256"], temperature, thresholds, Surroundings.of(outputs["val"].features))
    write_json(companion.as_json(), folder / INFERENCE)
    _draw(outputs["test"], facts, thresholds, note, folder)
    _log_headline(split, facts)


def _probabilities(outputs: Outputs) -> np.ndarray:
    return softmax(outputs.logits.astype(float), axis=1)


def _malignant(outputs: Outputs) -> tuple[np.ndarray, np.ndarray]:
    """Whether each image is Malignant, and the probability that it was given of being so."""
    return outputs.labels == MALIGNANT, _probabilities(outputs)[:, MALIGNANT]


def _predictions(outputs: Outputs, table: Path) -> pd.DataFrame:
    rows = pd.read_csv(table, dtype={"image_id": str, "case_id": str, "hospital": str}, keep_default_na=False)
    probabilities = _probabilities(outputs)
    rows[list(LOGITS)], rows[list(PROBABILITIES)] = outputs.logits, probabilities
    rows["predicted"] = [CLASSES[number] for number in outputs.logits.argmax(axis=1)]
    return rows[list(PREDICTION_COLUMNS)]


def _judge_partition(
    outputs: Outputs,
    cases: pd.Series,
    temperature: float,
    thresholds: Mapping[str, float | None],
    seed: int,
) -> dict[str, Any]:
    labels, probabilities = outputs.labels, _probabilities(outputs)
    predicted = probabilities.argmax(axis=1)
    confusion = np.zeros((len(CLASSES), len(CLASSES)), int)
    np.add.at(confusion, (labels, predicted), 1)
    support = dict(zip(CLASSES, confusion.sum(axis=1).tolist(), strict=True))
    absent = [name for name, number in support.items() if not number]
    logits = outputs.logits.astype(float)
    return {
        "images": len(labels),
        "cases": int(cases.nunique()),
        "support": support,
        "notes": [f"no {name} image: what would need one is null" for name in absent],
        "confusion": confusion.tolist(),
        "metrics": judge(labels, probabilities, cases, seed),
        "malignant_called_normal": proportion(int(confusion[MALIGNANT, 0]), support["Malignant"]),
        "calibration": {
            "before": calibration_metrics(logits, labels),
            "after": calibration_metrics(logits, labels, temperature),
        },
        "operating_points": _operating_points(outputs, thresholds),
    }


def _operating_points(outputs: Outputs, thresholds: Mapping[str, float | None]) -> dict[str, Any]:
    """Sensitivity, specificity, PPV and NPV for Malignant at each threshold chosen on val."""
    is_malignant, probability = _malignant(outputs)
    points: dict[str, Any] = {}
    for name, threshold in thresholds.items():
        if threshold is None:
            points[name] = None
            continue
        called = probability >= threshold
        hits, rejected = int((called & is_malignant).sum()), int((~called & ~is_malignant).sum())
        points[name] = {
            "threshold": threshold,
            "sensitivity": proportion(hits, int(is_malignant.sum())),
            "specificity": proportion(rejected, int((~is_malignant).sum())),
            "ppv": proportion(hits, int(called.sum())),
            "npv": proportion(rejected, int((~called).sum())),
        }
    return points


def _described(predictions: pd.DataFrame, metadata_file: str | Path, annotations: Path, cache: Cache) -> pd.DataFrame:
    """What the subgroups of the predicted images are made of."""
    size, resize = cache.index["size"], cache.index["resize"]
    columns = ["image_id", "view", "region", "sex", "age", "subtype"]
    images = predictions.merge(read_metadata(metadata_file)[columns], on="image_id", how="left")
    found = [outlines_of(annotations, image_id) for image_id in images["image_id"]]
    shares = pd.Series([np.nan if lesion is None else lesion_share(lesion, size, resize) for lesion in found])
    images["age band"], images["lesion size"] = age_band(images["age"]), lesion_size(shares)
    images["class"] = images["label"].map(CLASSES.index)
    return images


def _draw(
    test: Outputs, facts: Mapping[str, Any], thresholds: Mapping[str, float | None], note: str, folder: Path
) -> None:
    judged = facts["partitions"]["test"]
    probabilities = _probabilities(test)
    figures.draw_confusion(np.array(judged["confusion"]), folder / CONFUSION, note)
    figures.draw_roc(test.labels, probabilities, judged["metrics"], thresholds, folder / ROC, note)
    figures.draw_precision_recall(test.labels, probabilities, judged["metrics"], folder / PRECISION_RECALL, note)
    calibrated = softmax(test.logits.astype(float) / facts["temperature"], axis=1)
    figures.draw_calibration(test.labels, probabilities, calibrated, judged["calibration"], folder / CALIBRATION, note)


def _log_headline(split: str, facts: Mapping[str, Any]) -> None:
    metrics = facts["partitions"]["test"]["metrics"]
    lines = [f"  {name:24}{shown(metrics[name])}" for name in (*HEADLINE, "Malignant.sensitivity")]
    log.info("%s on test, 95 %% intervals over cases:\n%s", split, "\n".join(lines))
