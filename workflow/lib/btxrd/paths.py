"""Where every file of the workflow lies, relative to the working directory: the one place that knows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from btxrd import PARTITIONS

# The library's modules that shape a trained model: an edit of one retrains, and an old state is not gone on with.
TRAINING_CODE = (
    "data/dataset.py",
    "data/transforms.py",
    "models/classifier.py",
    "models/weights.py",
    "training/checkpoint.py",
    "training/devices.py",
    "training/environment.py",
    "training/history.py",
    "training/launcher.py",
    "training/loop.py",
    "training/ranks.py",
    "training/replay.py",
    "training/run.py",
    "training/schedule.py",
    "training/state.py",
)
METADATA = Path("resources/metadata.csv")
CASES = Path("resources/cases.csv")
DUPLICATES = Path("resources/duplicates.csv")
PHANTOMS = Path("resources/phantom")
CASE_NAMES = Path("resources/case_names")
CASE_NAMES_RECORD = Path("resources/case_names.json")


def raw_folder(config: Mapping[str, Any]) -> Path:
    """The folder in BTXRD's layout: dataset.xlsx, images/, Annotations/."""
    data = config["data"]
    return PHANTOMS if data["source"] == "phantom" else Path(data["raw_dir"])


def case_name_sources(config: Mapping[str, Any]) -> list[Any]:
    """The tables of original file names: local files, or {url, sha256}; phantoms bring their own."""
    data = config["data"]
    if data["source"] == "phantom":
        return [str(PHANTOMS / name) for name in ("case_names_train.xlsx", "case_names_val.xlsx")]
    return list(data["case_names"] or [])


def archive_record(config: Mapping[str, Any]) -> Path:
    """What is known of the checked archive: path, size, hash."""
    return Path(config["data"]["raw_dir"]) / "archive.json"


def cache_index(config: Mapping[str, Any]) -> Path:
    """The index of the decoded images; images and names lie beside it, as `.npy`."""
    data = config["data"]
    return Path(f"resources/cache/gray_{data['image_size']}_{data['resize']}.json")


def cache_array(config: Mapping[str, Any]) -> Path:
    """The decoded images, each with its hash, memory-mapped."""
    return cache_index(config).with_suffix(".npy")


def cache_ids(config: Mapping[str, Any]) -> Path:
    """The names of the decoded images, sorted, memory-mapped."""
    return cache_index(config).with_suffix(".ids.npy")


def split_tables(config: Mapping[str, Any], split: str) -> dict[str, Path]:
    """The table of each partition of a split."""
    folder = Path(config["data"]["splits_dir"])
    return {partition: folder / f"{split}_{partition}.csv" for partition in PARTITIONS}


def split_summary(config: Mapping[str, Any], split: str) -> Path:
    """Counts and leakage of a split."""
    return Path(config["data"]["splits_dir"]) / f"{split}.json"


def pretrained_weights(config: Mapping[str, Any]) -> Path | None:
    """The file of ImageNet weights that training starts from; None if it starts from nothing."""
    model = config["model"]
    if not model["pretrained"]:
        return None
    return Path(model["weights"]) if model["weights"] else fetched_weights(model["backbone"])


def fetched_weights(backbone: str) -> Path:
    """Where the ImageNet weights of a backbone are fetched to."""
    return Path(f"resources/weights/{backbone}.bin")


def run_prefix(config: Mapping[str, Any]) -> str:
    """What stands before the files of a run: nothing for the main run of a split, `seed_<n>/` for a further seed."""
    replicates = config["replicates"]
    return f"seed_{config['seed']}/" if replicates and config["seed"] != replicates[0] else ""


def checkpoint(config: Mapping[str, Any], split: str, which: str, run: str | None = None) -> Path:
    """The `best` or `final` checkpoint of a split; `run` stands for the run's prefix where that is left open."""
    run = run_prefix(config) if run is None else run
    return Path(f"{config['paths']['checkpoints_dir']}/{run}{which}_{split}.pt")


def state_folder(config: Mapping[str, Any], split: str) -> Path:
    """What a running training goes on from: state file, rows, best weights, live curves; gone after success."""
    checkpoints, states = config["paths"]["checkpoints_dir"], config["paths"]["state_dir"]
    prefix = run_prefix(config)
    return Path(f"{states}/{prefix}{split}" if states else f"{checkpoints}/{prefix}.state/{split}")


def annotations(config: Mapping[str, Any]) -> Path:
    """The outlines of lesions, LabelMe."""
    return raw_folder(config) / "Annotations"


def audit_folder(config: Mapping[str, Any]) -> Path:
    """What is said and shown of the data."""
    return Path(config["paths"]["results_dir"]) / "audit"


def result(config: Mapping[str, Any], split: str, name: str, run: str | None = None) -> Path:
    """A file that a reader of a split's results looks at; `run` as for `checkpoint`."""
    run = run_prefix(config) if run is None else run
    return Path(f"{config['paths']['results_dir']}/{split}/{run}{name}")


def comparison(config: Mapping[str, Any], ending: str) -> Path:
    """The splits side by side."""
    return Path(f"{config['paths']['results_dir']}/comparison.{ending}")


def model_card(config: Mapping[str, Any]) -> Path:
    """What a person must know before using a network."""
    return Path(config["paths"]["results_dir"]) / "model_card.md"
