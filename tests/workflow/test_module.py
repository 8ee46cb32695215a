"""The workflow inside another one: as a module from a checkout, and from a code host as snakedeploy writes it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

CONFIG = {
    "data": {"source": "phantom", "image_size": 64, "phantom": {"images": 80, "long_side": 160}},
    "model": {"pretrained": False, "backbone": "test_efficientnet"},
    "training": {"epochs": 1, "batch_size": 16},
}
MODULES = """
module {name}:
    snakefile: {snakefile}
    config: {config}
    prefix: "{name}"

use rule * from {name} as {name}_*
"""


def module(name, snakefile, **changes):
    return MODULES.format(name=name, snakefile=snakefile, config=CONFIG | changes)


def call(*arguments, **environment):
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_two_modules_have_their_own_folders_and_configurations(root):
    snakefile = repr(str(root / "workflow/Snakefile"))
    Path("Snakefile").write_text(module("mine", snakefile) + module("yours", snakefile, seed=7))
    curve = "results/stratified/loss_curve.png"
    call(f"mine/{curve}", "yours/resources/metadata.csv", "--resources", "gpu=1")
    assert Path("mine", curve).exists()
    assert not Path("results").exists() and not Path("resources").exists()
    ours, theirs = (pd.read_csv(f"{name}/resources/metadata.csv") for name in ("mine", "yours"))
    assert set(ours["sha256"]).isdisjoint(theirs["sha256"])
    again = call(f"mine/{curve}", "yours/resources/metadata.csv", "-n")
    assert "Nothing to be done" in again


@pytest.fixture
def on_a_code_host(root, tmp_path):
    """A cache folder in which Snakemake finds the project as if it had fetched it from a code host."""
    copy = tmp_path / "copy"
    for name in ("workflow", "envs", "config"):
        shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    git = ["git", "-C", copy, "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for step in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"], ["tag", "v1"]):
        subprocess.run([*git, *step], check=True)
    where = "snakemake/snakemake/source-cache/snakemake-git-cache/github.com/owner/btxrd"
    subprocess.run(["git", "clone", "-q", "--bare", copy, tmp_path / "cache" / where], check=True)
    return tmp_path / "cache"


def test_workflow_runs_from_a_code_host(on_a_code_host):
    address = 'github("owner/btxrd", path="workflow/Snakefile", tag="v1")'
    Path("Snakefile").write_text(module("films", address))
    call("films_table", XDG_CACHE_HOME=str(on_a_code_host))
    assert len(pd.read_csv("films/resources/metadata.csv")) == 80
    planned = call("-n", XDG_CACHE_HOME=str(on_a_code_host))
    assert "films_evaluate" in planned and "films_phantom" not in planned


def test_contents_name_every_file_of_the_library(root):
    workflow = root / "workflow"
    files = [path for folder in ("lib/btxrd", "schemas") for path in (workflow / folder).rglob("*") if path.is_file()]
    expected = sorted(str(path.relative_to(workflow)) for path in files if "__pycache__" not in path.parts)
    assert (workflow / "lib/contents.txt").read_text().split() == expected, "run `make format`"
