"""Part of `make bench`: what waits around a training: Snakemake's call, the help, the start of the first step."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

import yaml
from turns import CORES, PAIRS, ratio, spread, timed, write_results

ROOT = Path(__file__).resolve().parents[2]
CALL_BAR, HELP_SECONDS, MANY_SECONDS, STARTS = 1.3, 0.3, 8, 3
TINY = {
    "data": {"source": "phantom", "image_size": 64, "phantom": {"images": 80, "long_side": 160}},
    "model": {"pretrained": False},
    "training": {"epochs": 1, "batch_size": 64},  # one step an epoch
}
MANY = {"seed": 0, "replicates": list(range(10)), "splits": {"kfold": {"folds": 18}}}  # 20 splits of 10 seeds
# What the log of a training says when a stretch of its start is over.
STRETCHES = (("Python and its libraries", "working on "), ("data and model", " training and "), ("first epoch", "*"))


def measure(folder: Path) -> dict[str, Any]:
    """Everything, in folders: the workflow on tiny phantoms, with many runs, and an empty workflow."""
    ours, many, empty = (folder / name for name in ("ours", "many", "empty"))
    write_ours(many, MANY)
    write_ours(ours, TINY)
    write_empty(empty, number_of_rules())
    calls = [compare_calls("dry run of all", ours, empty, "-n")]
    for place in (ours, empty):
        snakemake(place)
    calls.append(compare_calls("call with nothing to do", ours, empty))
    return {
        "rules": number_of_rules(),
        "calls": calls,
        "help_seconds": spread([timed(lambda: run([sys.executable, "-m", "btxrd", "--help"])) for _ in range(PAIRS)]),
        "help_bar_seconds": HELP_SECONDS,
        "many_seconds": spread([timed(lambda: snakemake(many, "-n")) for _ in range(STARTS)]),
        "many_bar_seconds": MANY_SECONDS,
        "first_step": first_step(ours),
    }


def run(command: Sequence[str | Path]) -> None:
    """Run a command that must succeed, quietly."""
    subprocess.run(command, check=True, capture_output=True)


def snakemake(folder: Path, *arguments: str) -> None:
    """Run the workflow of a folder, or ours in it."""
    run(call_of(folder, *arguments))


def call_of(folder: Path, *arguments: str) -> list[str | Path]:
    """The command for that."""
    own = folder / "Snakefile"
    snakefile = own if own.exists() else ROOT / "workflow/Snakefile"
    command = [sys.executable, "-m", "snakemake", "--snakefile", snakefile, "--directory", folder]
    options = [] if own.exists() else ["--configfile", folder / "config.yaml", "--resources", "gpu=0"]
    return [*command, "--cores", str(CORES), *arguments, *options]


def compare_calls(name: str, ours: Path, empty: Path, *arguments: str) -> dict[str, Any]:
    """Our call against the empty workflow's, in turns."""
    pairs = [
        (timed(lambda: snakemake(ours, *arguments)), timed(lambda: snakemake(empty, *arguments))) for _ in range(PAIRS)
    ]
    own, others = zip(*pairs, strict=True)
    found = ratio(own, others)  # here less is better
    return {"call": name, "seconds": spread(own), "empty_seconds": spread(others), **found, "bar": CALL_BAR,
            "met": found["low"] <= CALL_BAR}  # fmt: skip


def number_of_rules() -> int:
    """How many rules the workflow has."""
    return sum(
        line.startswith("rule ") for path in ROOT.glob("workflow/**/*.smk") for line in path.read_text().splitlines()
    ) + (ROOT / "workflow/Snakefile").read_text().count("\nrule ")


def write_ours(folder: Path, config: Mapping[str, Any]) -> None:
    """A folder for our workflow."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(dict(config)))


def write_empty(folder: Path, rules: int) -> None:
    """A workflow of so many rules that do nothing, each after the one before."""
    folder.mkdir(parents=True)
    texts = [f'rule all:\n    input:\n        "{rules - 2}.txt",\n']
    for number in range(rules - 1):
        before = f'    input:\n        "{number - 1}.txt",\n' if number else ""
        output = f'    output:\n        "{number}.txt",\n'
        texts.append(f'rule r{number}:\n{before}{output}    shell:\n        "touch {{output}}"\n')
    (folder / "Snakefile").write_text("\n\n".join(texts))


def first_step(folder: Path) -> list[dict[str, Any]]:
    """Seconds from the call of Snakemake to the end of a first epoch of one step, stretch by stretch."""
    stretches: dict[str, list[float]] = {}
    with chdir(folder):
        for _ in range(STARTS):
            for path in Path("checkpoints").glob("*stratified.pt"):
                path.unlink()
            log = Path("logs/train_stratified.log")
            log.unlink()
            started = time.perf_counter()
            targets = ["checkpoints/final_stratified.pt", "--set-threads", f"train={CORES}"]
            call = subprocess.Popen(call_of(folder, *targets), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for name, there in [("Snakemake", log.exists), *((name, says(log, word)) for name, word in STRETCHES)]:
                wait_for(there, call)
                now = time.perf_counter()
                stretches.setdefault(name, []).append(now - started)
                started = now
            call.wait()
    return [{"stretch": name, **spread(seconds)} for name, seconds in stretches.items()]


def says(log: Path, word: str) -> Callable[[], bool]:
    """Whether a log has a word by now."""
    return lambda: word in log.read_text()


def wait_for(there: Callable[[], bool], call: subprocess.Popen) -> None:
    """Wait until something is there, while the call runs."""
    while not there():
        if call.poll() is not None and not there():
            raise RuntimeError("the training ended too soon")
        time.sleep(0.005)


def main() -> None:
    """Measure in a temporary folder; write and print results/benchmarks/overhead.json."""
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder))
    write_results("overhead", figures)


if __name__ == "__main__":
    main()
