"""Measuring in turns, in one run: A B A B …, the ratio of each pair, its median and the 95 % interval of that."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from btxrd.files import write_json

HERE = Path(__file__).parent
RESULTS = Path("results/benchmarks")
PAIRS = 8
RESAMPLES = 10_000
CORES = len(os.sched_getaffinity(0))
PACKAGES = ("torch", "torchvision", "timm", "albumentations", "opencv-python-headless", "pillow", "pytorch-lightning")


def timed(work: Callable[[], Any]) -> float:
    """Seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, lowest and highest of some measurements."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratio(slower: Sequence[float], faster: Sequence[float], bar: float | None = None) -> dict[str, Any]:
    """The median of the ratios of pairs, its 95 % interval by bootstrap, and whether that lies below the bar."""
    ratios = np.divide(slower, faster)
    draws = np.random.default_rng(0).integers(len(ratios), size=(RESAMPLES, len(ratios)))
    low, high = np.quantile(np.median(ratios[draws], axis=1), (0.025, 0.975))
    found = {"ratio": float(np.median(ratios)), "low": float(low), "high": float(high), "pairs": len(ratios)}
    return found if bar is None else found | {"bar": bar, "met": bool(high >= bar)}


class Arm:
    """A way to train, in a process of its own, idle until it is asked."""

    def __init__(self, name: str, form: str, settings: Mapping[str, Any]):
        settings = {**settings, "best": form == "best"}
        command = [sys.executable, "-W", "ignore", HERE / "arms.py", name, json.dumps(settings)]
        quiet = subprocess.DEVNULL if "BENCH_DEBUG" not in os.environ else None
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=quiet, text=True, bufsize=1
        )
        self.name, self.form = name, form

    def _answer(self) -> str:
        answer = self._process.stdout.readline().strip()
        if not answer:
            raise RuntimeError(f"{self.name} died; BENCH_DEBUG=1 shows why")
        return answer

    def wait_until_ready(self) -> None:
        """Return once it can be asked."""
        while self._answer() != "ready":
            pass

    def seconds(self, word: str = "epoch") -> float:
        """Have it do what the word says; returns the seconds that took."""
        print(word, file=self._process.stdin, flush=True)
        return float(self._answer())

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


@contextmanager
def arms(forms: Sequence[tuple[str, str]], settings: Mapping[str, Any]) -> Iterator[list[Arm]]:
    """Arms by name and form, with the same settings, ready and warm.

    Loader processes that start in an epoch share its memory at first, which slows that epoch and the next.
    """
    started = [Arm(name, form, settings) for name, form in forms]
    try:
        for arm in started:
            arm.wait_until_ready()
        for arm in started:
            for _ in range(2 if arm.form == "best" and arm.name != "ours" else 1):
                arm.seconds()
        yield started
    finally:
        for arm in started:
            arm.end()


def in_turns(arms: Sequence[Arm], rounds: int = PAIRS) -> dict[str, list[float]]:
    """Seconds of each arm's epoch in each round."""
    seconds: dict[str, list[float]] = {arm.name: [] for arm in arms}
    for _ in range(rounds):
        for arm in arms:
            seconds[arm.name].append(arm.seconds())
    return seconds


def hardware() -> dict[str, Any]:
    """What was measured on, and with which versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return {
        "processor": name,
        "cores": CORES,
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9),
        "python": platform.python_version(),
        "packages": {package: version(package) for package in PACKAGES if _is_there(package)},
        "date": time.strftime("%Y-%m-%d"),
    }


def _is_there(package: str) -> bool:
    try:
        version(package)
    except ModuleNotFoundError:
        return False
    return True


def write_results(name: str, figures: Mapping[str, Any]) -> None:
    """Write results/benchmarks/<name>.json, with the hardware, and print it."""
    whole = {"hardware": hardware(), **figures}
    write_json(whole, RESULTS / f"{name}.json")
    print(json.dumps(whole, indent=1))
