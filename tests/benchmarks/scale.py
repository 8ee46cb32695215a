"""`make bench-scale`: a million radiographs take no more memory to train on than ten thousand; and what they cost.

The films are zeros in a sparse file, and only those that are read have their hash: a million take 0.1 GB of disk.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from turns import RESULTS, write_results

from btxrd import CLASSES
from btxrd.config import defaults
from btxrd.data.cache import _digest, _ids_file, _record, open_cache
from btxrd.data.dataset import BTXRDDataset, EpochSampler, create_dataloader
from btxrd.data.transforms import get_train_transforms
from btxrd.files import write_json

MEASURED, PLANNED = (10_000, 1_000_000), (10_000, 100_000, 1_000_000)
SIZE, READ, BATCH, SEED = 256, 20_000, 32, 0  # px, films

# What the costs rest on beside measured rates. Prices are in US dollars, of the order that clouds ask.
PRICE_CORE_HOUR, PRICE_GPU_HOUR = 0.05, 2.00
FILM_MB = 0.224  # of a film as BTXRD stores it: 840 MB for 3,746; the archive and its films are both kept
TRAIN_SHARE, VAL_SHARE, TEST_SHARE = 0.70, 0.15, 0.15  # of the films, as in the split `stratified`
PUBLISHED_GPU_IMAGES, PUBLISHED_GPU_SIZE = 2500, 224  # images/s, until `make bench-gpu` has measured them
PUBLISHED_GPU = "**not measured on a GPU**, assumed as published of an A100"

INDEX, TABLE = "films.json", "train.csv"


def epochs(passes: Iterable[Any], sampler: EpochSampler) -> Iterator[Any]:
    """What a pass yields, epoch after epoch."""
    for epoch in count():
        sampler.start(epoch)
        yield from passes


def write_films(folder: Path, films: int, size: int, read: int) -> None:
    """A cache of blank films and a table of them all; the first `read` that training asks for have their hash."""
    folder.mkdir()
    sampler = EpochSampler(films, shuffle=True, seed=SEED)
    rows = np.unique([index for _, index in islice(epochs(sampler, sampler), read)])
    array = (folder / INDEX).with_suffix(".npy")
    records = np.lib.format.open_memmap(array, mode="w+", dtype=_record(size), shape=(films,))
    blank = _digest(np.zeros((size, size), np.uint8))
    with array.open("r+b") as file:  # through the memory map, each of so few hashes would fetch megabytes around it
        for row in rows:
            file.seek(records.offset + row * records.itemsize + size * size)
            file.write(blank)
    ids = [f"IMG{row:07d}" for row in range(films)]
    np.save(_ids_file(array), np.array(ids, np.bytes_))
    write_json({"size": size, "resize": "pad", "films_sha256": "", "array_sha256": ""}, folder / INDEX)
    lines = (f"{name},train,{CLASSES[row % len(CLASSES)]}\n" for row, name in enumerate(ids))
    with (folder / TABLE).open("w") as table:
        table.writelines(("image_id,split,label\n", *lines))


def read_films(folder: Path, read: int) -> dict[str, float]:
    """Open the films of a folder as a training does and read so many; memory in MB at each stage of that."""
    found = {"libraries_mb": resident_mb("RssAnon")}
    dataset = BTXRDDataset(folder / TABLE, open_cache(folder / INDEX), get_train_transforms(), SEED)
    loader = create_dataloader(dataset, BATCH, True, SEED, 0, torch.device("cpu"))
    found["opened_mb"] = resident_mb("RssAnon")
    batches = islice(epochs(loader, loader.sampler), read // BATCH)
    found["reading_mb"] = max(resident_mb("RssAnon") for _ in batches)
    return found | {"end_mb": resident_mb("RssAnon"), "mapped_mb": resident_mb("RssFile")}


def resident_mb(kind: str) -> float:
    """Memory of this process, MB: `RssAnon` is its own, `RssFile` that of mapped files, which can be taken back."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) * 1024 / 1e6


def memory_of(folder: Path, *numbers: int, size: int = SIZE, read: int = READ) -> list[dict[str, float]]:
    """What `read_films` finds for these numbers of films, the fewest first, in a process of its own."""
    folders = [folder / str(films) for films in numbers]
    for place, films in zip(folders, numbers, strict=True):
        write_films(place, films, size, read)
    command = [sys.executable, Path(__file__).resolve(), str(read), *folders]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    for place in folders:
        shutil.rmtree(place)
    return json.loads(done.stdout)


def measure(folder: Path) -> dict[str, Any]:
    """Memory with the fewest and the most films, and how much more that is."""
    found = {films: memory_of(folder, films)[0] for films in MEASURED}
    few, many = (found[films]["reading_mb"] for films in MEASURED)
    return {"image_size": SIZE, "read": READ, "memory": found, "ratio": many / few, "difference_mb": many - few}


def result(name: str) -> dict[str, Any]:
    """What another benchmark wrote."""
    file = RESULTS / f"{name}.json"
    if not file.exists():
        sys.exit(f"{file}: not there, and the costs rest on it; run `make bench bench-growth` first.")
    return json.loads(file.read_text(encoding="utf-8"))


def nearest(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The row measured at the size nearest to the wanted one."""
    return min(rows, key=lambda row: abs(row["image_size"] - SIZE))


def by_area(size: int) -> float:
    """What a rate at that size becomes at the wanted one: a network's work grows with the pixels."""
    return (size / SIZE) ** 2


def rates() -> dict[str, dict[str, Any]]:
    """Images/s a core or a GPU at the wanted size, and where each comes from."""
    bench, growth = result("bench"), result("growth")
    ingest = nearest(row for row in bench["ingest"] if row["film"] == "2000 × 2500")
    training, cores = nearest(bench["limit"]), bench["hardware"]["cores"]
    trained = training["our_images_per_second"]["median"] / cores
    evaluated = judged_per_second(growth) / growth["hardware"]["cores"]
    decoded = ingest["films_per_second_a_core"]["median"]
    return {
        "decoding": rate(decoded, f"`make bench`, to {ingest['image_size']} px, taken as it is"),
        "training": scaled(trained, training["image_size"], "`make bench`"),
        "evaluation": scaled(evaluated, growth["image_size"], "`make bench-growth`"),
        "gpu": gpu_rate(),
    }


def rate(images_per_second: float, source: str) -> dict[str, Any]:
    """A rate and where it comes from."""
    return {"images_per_second": images_per_second, "source": source}


def scaled(images_per_second: float, size: int, source: str) -> dict[str, Any]:
    """As `rate`, for what was measured at another size."""
    return rate(images_per_second * by_area(size), f"{source}: {images_per_second:,.1f} at {size} px, scaled by area")


def judged_per_second(growth: dict[str, Any]) -> float:
    """Images/s of evaluation on all cores: what more films added to its seconds, so that starting it does not count."""
    few, *_, many = growth["films"]
    films = growth["films"][many] - growth["films"][few]
    seconds = growth["seconds"]["evaluate"]
    return films * (VAL_SHARE + TEST_SHARE) / (seconds[many]["median"] - seconds[few]["median"])


def gpu_rate() -> dict[str, Any]:
    """Images/s that a GPU trains: measured if `make bench-gpu` was run, else assumed."""
    if not (RESULTS / "gpu.json").exists():
        return scaled(PUBLISHED_GPU_IMAGES, PUBLISHED_GPU_SIZE, PUBLISHED_GPU)
    figures, size = result("gpu"), defaults()["data"]["image_size"]
    return scaled(figures["limit"]["our_images_per_second"]["median"], size, f"`make bench-gpu` on {figures['gpu']}")


def costs(films: int, speed: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Disk, hours and money of training and judging one split of so many films."""
    seconds = {name: films / found["images_per_second"] for name, found in speed.items()}
    number_of_epochs = defaults()["training"]["epochs"]
    decoding = seconds["decoding"] / 3600
    epoch = (TRAIN_SHARE * seconds["training"] + VAL_SHARE * seconds["evaluation"]) / 3600
    evaluation = (VAL_SHARE + TEST_SHARE) * seconds["evaluation"] / 3600
    cpu = decoding + number_of_epochs * epoch + evaluation
    gpu = (number_of_epochs * (TRAIN_SHARE + VAL_SHARE) + VAL_SHARE + TEST_SHARE) * seconds["gpu"] / 3600
    return {
        "stored_gb": 2 * films * FILM_MB / 1e3,
        "cache_gb": films * _record(SIZE).itemsize / 1e9,
        "decoding_core_hours": decoding,
        "epoch_core_hours": epoch,
        "training_core_hours": number_of_epochs * epoch,
        "evaluation_core_hours": evaluation,
        "cpu_core_hours": cpu,
        "cpu_dollars": cpu * PRICE_CORE_HOUR,
        "gpu_hours": gpu,
        "gpu_dollars": decoding * PRICE_CORE_HOUR + gpu * PRICE_GPU_HOUR,
    }


def assumed() -> dict[str, Any]:
    """What the costs rest on beside the rates."""
    return {
        "epochs": defaults()["training"]["epochs"],
        "film_mb": FILM_MB,
        "shares": [TRAIN_SHARE, VAL_SHARE, TEST_SHARE],
        "price_core_hour": PRICE_CORE_HOUR,
        "price_gpu_hour": PRICE_GPU_HOUR,
    }


def main() -> None:
    """Measure in a temporary folder, work out the costs; write and print results/benchmarks/scale.json."""
    speed = rates()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder))
    planned = {films: costs(films, speed) for films in PLANNED}
    write_results("scale", {**figures, "rates": speed, "assumed": assumed(), "costs": planned})


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps([read_films(Path(folder), int(sys.argv[1])) for folder in sys.argv[2:]]))
    else:
        main()
