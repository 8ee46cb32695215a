"""A private Slurm on this machine, started for a module of tests, and the workflow on it."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cluster import Slurm

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def slurm(request):
    """The cluster that a module asks for: GPUS, ACCOUNTING."""
    settings = os.environ | {
        "SLURM_TEST_GPUS": str(request.module.GPUS),
        "SLURM_TEST_ACCOUNTING": "1" if request.module.ACCOUNTING else "",
    }
    with tempfile.TemporaryDirectory(prefix="btxrd-slurm-") as folder:  # not pytest's, which others may not enter
        subprocess.run([HERE / "slurm.sh", "up", folder], env=settings, check=True)
        yield Slurm(Path(folder))
        subprocess.run([HERE / "slurm.sh", "down", folder], env=settings, check=True)


@pytest.fixture(scope="module")
def workflow(slurm, tmp_path_factory, root):
    """Start Snakemake on the cluster, in a folder of its own, in which all that it prints lies in `output`."""
    folder = tmp_path_factory.mktemp("shared")
    running = []

    def start(profile, *arguments):
        command = [sys.executable, "-m", "snakemake", "--snakefile", root / "workflow/Snakefile"]
        command += ["--workflow-profile", profile, "--slurm-init-seconds-before-status-checks", "2", *arguments]
        with (folder / "output").open("w") as output:
            process = subprocess.Popen(command, cwd=folder, env=slurm.environment, stdout=output, stderr=output)
        running.append(process)
        return process

    start.folder = folder
    yield start
    for process in running:
        process.kill()  # the cluster ends its jobs
        process.wait()
