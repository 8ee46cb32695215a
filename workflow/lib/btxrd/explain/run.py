"""Whether the network looks at the lesion: heat maps of every outlined tumour of test, measured and shown."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from btxrd import CLASSES
from btxrd.data.cache import Cache, open_cache
from btxrd.data.outlines import LESION_SIZES, Outlines, lesion_mask, outlines_of
from btxrd.evaluation.bootstrap import LEVEL, RESAMPLES
from btxrd.evaluation.inference import run_on_partition
from btxrd.explain.chart import draw_chart
from btxrd.explain.gallery import Exhibits, choose_films, draw_gallery
from btxrd.explain.heat import METHOD, MapLayer, find_map_layer, heat_of_films
from btxrd.explain.measures import BLOB_SIGMA, TOLERANCE, maximum, measure
from btxrd.explain.outputs import CHART, FACTS, TUMOURS, gallery
from btxrd.explain.summary import FEW, MEASURES, summarise
from btxrd.files import sha256_of_file, write_json, written_whole
from btxrd.training.devices import working_device
from btxrd.training.environment import set_determinism
from btxrd.training.trained import Trained, load_trained

log = logging.getLogger("btxrd")

COLUMNS = ("image_id", "case_id", "label", "predicted", "probability", "lesion_share", *MEASURES)
LIMITS = (
    "A heat map shows where the network looks, not why: heat on a lesion does not make a prediction right, nor its "
    "reasons those of a radiologist."
)


def make_explanations(
    split: str,
    checkpoint: Path,
    table: Path,
    cache_index: Path,
    annotations: Path,
    caveats: list[str],
    note: str,
    seed: int,
    device: str,
    threads: int,
    folder: Path,
) -> None:
    """Write EXPLANATION_FILES of a split's test partition, `table`, to `folder`; `note` stands under each picture.

    Raises UserError for a checkpoint, cache or backbone that can't be used.
    """
    torch.set_num_threads(threads)
    cache = open_cache(cache_index)
    images = pd.read_csv(table, dtype=str, keep_default_na=False)
    with working_device(device) as where:
        trained = load_trained(checkpoint, where)
        set_determinism(where, trained.config["training"]["deterministic"])
        layer = find_map_layer(trained.model, cache.film_of(images["image_id"].iloc[0]))
        films = with_predictions(images, trained, table, cache)
        outlines = outlined_tumours(films, annotations, cache)
        tumours, heat = explain(films, outlines, trained, layer, cache)
    groups = summarise(tumours, seed)
    with written_whole(folder / TUMOURS) as temporary:
        tumours[list(COLUMNS)].to_csv(temporary, index=False, float_format="%.6f")
    draw_chart(groups, FEW, layer.cells, folder / CHART, note)
    exhibits = Exhibits(cache, heat, outlines, layer.cells)
    for label in CLASSES:
        draw_gallery(label, films[films["label"] == label], exhibits, folder / gallery(label), note)
    facts = {
        "split": split,
        "partition": "test",
        "caveats": caveats,
        "limits": LIMITS,
        "checkpoint": {"file": str(checkpoint), "sha256": sha256_of_file(checkpoint)},
        "method": facts_of_method(trained, layer, cache, seed),
        "images": count_images(films, tumours),
        "note": None if len(tumours) else "no tumour of the test partition has an outline",
        "groups": groups,
        "shown": {label: _ids_shown(films, label) for label in CLASSES},
    }
    write_json(facts, folder / FACTS)
    _log_summary(split, groups, tumours)


def with_predictions(images: pd.DataFrame, trained: Trained, table: Path, cache: Cache) -> pd.DataFrame:
    """The partition's table with `predicted`, its `confidence`, and `probability`, that of the label."""
    outputs = run_on_partition(trained, table, cache)
    probabilities = torch.from_numpy(outputs.logits).softmax(dim=1).numpy()
    number = probabilities.argmax(axis=1)
    rows = np.arange(len(images))
    return images.assign(
        predicted=np.array(CLASSES)[number],
        confidence=probabilities[rows, number],
        probability=probabilities[rows, outputs.labels],
    )


def outlined_tumours(films: pd.DataFrame, annotations: Path, cache: Cache) -> dict[str, Outlines]:
    """The outlines of Benign and Malignant films, by image id, where some of the lesion lies on the film."""
    tumours = films.loc[films["label"] != "Normal", "image_id"]
    found = {image_id: outlines_of(annotations, image_id) for image_id in tumours}
    size, resize = cache.index["size"], cache.index["resize"]
    return {
        image_id: outlines
        for image_id, outlines in found.items()
        if outlines is not None and lesion_mask(outlines, size, resize).any()
    }


def explain(
    films: pd.DataFrame, outlines: Mapping[str, Outlines], trained: Trained, layer: MapLayer, cache: Cache
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """One row of measures for each outlined tumour, and the heat maps, for the label, of the films that are shown."""
    shown = {image_id for label in CLASSES for ids in _ids_shown(films, label).values() for image_id in ids}
    wanted = films[films["image_id"].isin(shown | outlines.keys())]
    classes = [CLASSES.index(label) for label in wanted["label"]]
    rows, kept = [], {}
    for film, heat in zip(
        wanted.to_dict("records"), heat_of_films(trained, layer, cache, list(wanted["image_id"]), classes), strict=True
    ):
        image_id = film["image_id"]
        if image_id in shown:
            kept[image_id] = heat
        if image_id in outlines:
            measured = measure(heat, outlines[image_id], cache.index["resize"])
            rows.append({**film, **measured, "has_heat": maximum(heat) is not None})
    return pd.DataFrame(rows, columns=[*COLUMNS, "has_heat"]), kept


def _ids_shown(films: pd.DataFrame, label: str) -> dict[str, list[str]]:
    chosen = choose_films(films[films["label"] == label])
    return {title: list(rows["image_id"]) for title, rows in chosen.items()}


def facts_of_method(trained: Trained, layer: MapLayer, cache: Cache, seed: int) -> dict[str, Any]:
    """How the maps were made and measured."""
    return {
        "name": METHOD,
        "backbone": trained.config["model"]["backbone"],
        "layer": layer.name,
        "map_cells": [layer.cells, layer.cells],
        "explained_class": "the image's label",
        "film_px": cache.index["size"],
        "pointing_game": f"the hottest pixel lies in the outline, tolerance {TOLERANCE} px",
        "energy": "share of the map's sum inside the outline; the padding counts as outside",
        "chance": "the lesion's share of the film, without padding: a random pixel, a map that is even",
        "blob": f"a Gaussian on the film's middle, sigma {BLOB_SIGMA} of its height and width",
        "size_bands": list(LESION_SIZES),
        "interval": f"{LEVEL:.0%}, bootstrap over cases, {RESAMPLES} resamples, seed {seed}",
        "few": f"fewer than {FEW} images",
    }


def count_images(films: pd.DataFrame, tumours: pd.DataFrame) -> dict[str, int]:
    """Images of the partition, tumours among them, those with an outline, and outlined ones whose map is empty."""
    return {
        "test": len(films),
        "tumours": int((films["label"] != "Normal").sum()),
        "outlined": len(tumours),
        "without_heat": int((~tumours["has_heat"].astype(bool)).sum()),
    }


def _log_summary(split: str, groups: Sequence[Mapping[str, Any]], tumours: pd.DataFrame) -> None:
    if tumours.empty:
        log.warning("%s: no tumour of the test partition has an outline, nothing was measured", split)
        return
    found = groups[0]["measures"]
    words = ("hit", "hottest pixel in the lesion"), ("energy", "heat in the lesion")
    for name, meaning in words:
        log.info(
            "%s: %s %.2f, a random pixel %.2f, a centered blob %.2f, over %d tumours",
            split, meaning, found[name]["mean"], found["chance"]["mean"], found[f"blob_{name}"]["mean"], len(tumours),
        )  # fmt: skip
