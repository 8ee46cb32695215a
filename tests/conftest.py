"""What the tests share: a small phantom data set, the real sample, runs of the command line and of the workflow."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
os.environ |= ONE_THREAD  # two-thread torch collapses when another test runs beside it

PHANTOM = [
    "data.source=phantom",
    "data.phantom.images=80",
    "data.phantom.long_side=160",
    "data.image_size=64",
]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    """Every path of the project is relative to the working directory; log lines end with the test."""
    monkeypatch.chdir(tmp_path)
    yield
    logging.getLogger("btxrd").handlers = []


@pytest.fixture(scope="session")
def root():
    """The project's folder."""
    return ROOT


@pytest.fixture
def btxrd(capfd):
    """Run a command of the command line in this process; returns (exit status, stderr)."""
    from btxrd.cli import main

    def run(*arguments):
        status = main([*arguments, "--threads", "1"])
        return status, capfd.readouterr().err

    return run


@pytest.fixture(scope="session")
def snakemake():
    """Run Snakemake on the project's workflow in a folder; returns the finished process."""

    def run(folder, *arguments, env=None):
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "--snakefile",
            str(ROOT / "workflow/Snakefile"),
            *arguments,
        ]
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | (env or {})
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)

    return run


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory):
    """A folder in which the data stages have run on 80 phantoms; not to be changed."""
    from btxrd.cli import main

    folder = tmp_path_factory.mktemp("phantoms")
    before = Path.cwd()
    os.chdir(folder)
    try:
        for stage in ("phantom", "table", "cache", "case_names", "cases", "split"):
            assert main([stage, "--threads", "1", "--override", *PHANTOM]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(scope="session")
def real_material():
    """The folder of real BTXRD material; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("BTXRD_SAMPLE_DIR", ROOT.parent / "shared" / "btxrd"))
    if not (folder / "BTXRD-sample.zip").exists():
        pytest.skip("no real BTXRD material: set BTXRD_SAMPLE_DIR to a folder with BTXRD-sample.zip")
    return folder.resolve()
