"""`btxrd predict` against the network alone, the first answer against its imports, memory, and export."""

import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from material import draw_films
from turns import CORES, PAIRS, ratio, spread, timed, write_results

from btxrd.config import load_config
from btxrd.models.classifier import create_model
from btxrd.prediction.predict import predict
from btxrd.training.checkpoint import save_checkpoint
from btxrd.training.devices import keep_freed_memory
from btxrd.training.trained import Trained, load_trained

FILMS, SHAPE, SIZE, BATCH = 500, (2100, 1600), 224, 32
TIMES = (1, 5)  # the films over, for the memory
RATE_BAR, FIRST_BAR = 0.9, 1.5
IMPORTS = "import os; os.environ['OMP_NUM_THREADS'] = '1'; import cv2, numpy, PIL.Image, timm, torch, tqdm"
BTXRD = (sys.executable, "-m", "btxrd")


def forward(trained: Trained) -> None:
    """The network alone on as many films, with all cores, in batches that it is fastest with."""
    torch.set_num_threads(CORES)
    films = torch.randint(256, (BATCH, 1, SIZE, SIZE)).to(torch.uint8)
    with torch.inference_mode():
        for _ in range(FILMS // BATCH):
            trained.logits_and_features(films)


def quiet(*command: str) -> str:
    """Run a command; returns what it prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def memory_mb(checkpoint: str, films: Sequence[str], folder: Path) -> float:
    """The most memory that predict had; so far, so fewer films first."""
    quiet(*BTXRD, "predict", "--checkpoint", checkpoint, *films, "--out", str(folder / "memory.csv"))
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def measure(folder: Path) -> dict[str, Any]:
    """All figures."""
    checkpoint, images = folder / "best_stratified.pt", folder / "films/resources/phantom/images"
    draw_films(folder / "films", FILMS, SHAPE)
    config = load_config([], [f"data.image_size={SIZE}", "model.pretrained=false"])
    weights = create_model(config["model"]["backbone"]).backbone.state_dict()
    save_checkpoint({"config": config, "model": weights, "epoch": 0, "class_names": []}, checkpoint)
    files = [str(path) for path in sorted(images.iterdir())]
    memory = {FILMS * times: memory_mb(str(checkpoint), files * times, folder) for times in TIMES}
    keep_freed_memory()
    trained = load_trained(checkpoint, torch.device("cpu"))
    forward(trained)
    rates: dict[str, list[float]] = {"forward": [], "predict": []}
    for _ in range(PAIRS):
        rates["forward"].append(FILMS // BATCH * BATCH / timed(lambda: forward(trained)))
        work = lambda: predict(checkpoint, [images], folder / "all.csv", None, None, "cpu", CORES)  # noqa: E731
        rates["predict"].append(FILMS / timed(work))
    one = (*BTXRD, "predict", "--checkpoint", str(checkpoint), files[0])
    first = [(timed(lambda: quiet(*one)), timed(lambda: quiet(sys.executable, "-c", IMPORTS))) for _ in range(PAIRS)]
    seconds, imports = zip(*first, strict=True)
    return {
        "films": FILMS, "film": f"{SHAPE[1]} × {SHAPE[0]}", "image_size": SIZE,
        "forward_per_second": spread(rates["forward"]), "predict_per_second": spread(rates["predict"]),
        "rate": ratio(rates["predict"], rates["forward"], RATE_BAR),
        "first_seconds": spread(seconds), "import_seconds": spread(imports),
        "first": ratio(seconds, imports) | {"bar": FIRST_BAR},
        "memory_mb": memory,
        "latency": quiet(*BTXRD, "export", "--checkpoint", str(checkpoint), "--format", "onnx"),
    }  # fmt: skip


def main() -> None:
    """Measure; write and print results/benchmarks/predict.json."""
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder))
    write_results("predict", figures)


if __name__ == "__main__":
    main()
