"""All that the audit looks at, read once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from btxrd.audit.annotations import judge_annotations, read_annotations
from btxrd.audit.splits import SplitOnDisk, read_split
from btxrd.data.cache import Cache, open_cache
from btxrd.data.decoding import is_blank
from btxrd.data.splits import read_images
from btxrd.data.table import age_band


@dataclass(frozen=True)
class Evidence:
    """The data set as it lies on disk."""

    images: pd.DataFrame  # metadata.csv and cases.csv side by side, with an age_band
    duplicates: pd.DataFrame  # duplicates.csv
    annotations: pd.DataFrame  # see judge_annotations
    cache: Cache
    blank: Sequence[str]  # films of one gray value
    splits: Sequence[SplitOnDisk]
    conflicting_labels: str  # drop or keep


def read_evidence(
    metadata_file: str | Path,
    cases_file: str | Path,
    duplicates_file: str | Path,
    cache_index: Path,
    annotations_folder: Path,
    tables: Mapping[str, Mapping[str, Path]],
    summaries: Mapping[str, Path],
    conflicting_labels: str,
) -> Evidence:
    """Read everything; tables and summaries are by split, the former also by partition."""
    images = read_images(metadata_file, cases_file)
    images["age_band"] = age_band(images["age"])
    cache = open_cache(cache_index)
    return Evidence(
        images,
        pd.read_csv(duplicates_file, keep_default_na=False),
        judge_annotations(read_annotations(Path(annotations_folder)), images),
        cache,
        [image_id for image_id in images["image_id"] if is_blank(cache.film_of(image_id))],
        [read_split(name, images, tables[name], summary) for name, summary in summaries.items()],
        conflicting_labels,
    )
