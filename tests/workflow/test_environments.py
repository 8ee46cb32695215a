"""However the packages are installed, they are the pinned ones. No image and no conda environment is built here."""

import os
import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from snakemake.cli import get_argument_parser

RECIPES = ("envs/Containerfile", "envs/apptainer.def")
OVERLAY = {"data": {"source": "phantom", "phantom": {"images": 80, "long_side": 160}}, "model": {"pretrained": False}}
STAND_IN = """#!/bin/sh
# Stands in for Apptainer: notes what it is asked for and runs the command right here, in no container.
if [ "$1" = --version ]; then echo "apptainer version 1.3.0"; exit; fi
echo "$@" >> apptainer.log
while [ "$1" != btxrd.sif ]; do shift; done
shift
exec "$@"
"""


@pytest.fixture(params=RECIPES)
def recipe(request, root):
    """A recipe of an image, each command on a line of its own, without comments."""
    text = re.sub(r"^ *#.*\n", "", (root / request.param).read_text(), flags=re.MULTILINE)
    return re.sub(r"\s*\\\n\s*", " ", text).replace("&& ", "\n")


def arguments(recipe, command):
    """The words behind each occurrence of a command."""
    return [shlex.split(line) for line in re.findall(rf"{command} (.*)", recipe)]


def pins(path):
    """The version of each package of a list, as Linux images take it."""
    image = {"python_full_version": "3.11.9", "sys_platform": "linux", "platform_machine": "x86_64"}
    requirements = [
        Requirement(line.rstrip(" \\")) for line in path.read_text().splitlines() if re.match("[a-z]", line)
    ]
    return {r.name: str(r.specifier) for r in requirements if r.marker is None or r.marker.evaluate(image)}


def test_images_install_what_is_pinned_and_nothing_else(recipe):
    (pip,) = arguments(recipe, "pip install")
    lists = {Path(word).name for word in pip if not word.startswith("-")}
    assert {word for word in pip if word.startswith("-")} == {"--no-cache-dir", "--require-hashes", "-r"}
    assert {"requirements.txt"} <= lists <= {"requirements.txt", "kubernetes.txt"}
    (apt,) = arguments(recipe, "apt-get install")
    assert {word for word in apt if not word.startswith("-")} <= {"git", "rsync"}
    assert not re.search(r"\b(curl|wget|conda|npm|uv|ADD)\b", recipe)


def test_images_take_nothing_of_the_checkout_but_the_lists(recipe):
    copied = [words[:-1] for words in arguments(recipe, "COPY") if not words[0].startswith("--from")]
    copied += [words[:-1] for words in arguments(recipe, "%files\n")]
    assert copied
    assert all(re.fullmatch(r"envs/\w+\.txt", name) for names in copied for name in names)


def test_images_have_the_python_of_the_conda_environment(recipe, root):
    environment = yaml.safe_load((root / "envs/btxrd.yaml").read_text())
    (python,) = (name.partition("=")[2] for name in environment["dependencies"] if str(name).startswith("python="))
    bases = re.findall(r"^(?:FROM|From:) (\S+)", recipe, re.MULTILINE)
    assert set(bases) == {f"python:{python}-slim-bookworm"}  # a name that stays, as `latest` and plain `slim` do not


def test_container_is_not_root_and_has_a_folder_to_write_in(root):
    lines = (root / "envs/Containerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER")] == ["USER 1000"]
    folder = next(line.split()[1] for line in lines if line.startswith("WORKDIR"))
    assert any(line.endswith(f"install --directory --mode 1777 {folder}") for line in lines)


def test_container_has_the_name_that_pods_are_started_from(root):
    (built,) = re.findall(r"podman build .* -t (\S+)", (root / "envs/Containerfile").read_text())
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    profile = yaml.safe_load((root / "workflow/profiles/kubernetes/profile.yaml").read_text())
    assert built == profile["container-image"] == f"{project['name']}:{project['version']}"


@pytest.mark.parametrize("name", ["kubernetes", "export", "serve"])
def test_optional_packages_add_to_the_pinned_ones_and_contradict_none(root, name):
    pinned, more = pins(root / "envs/requirements.txt"), pins(root / f"envs/{name}.txt")
    shared = pinned.keys() & more.keys()
    assert shared < more.keys()
    assert {name: more[name] for name in shared} == {name: pinned[name] for name in shared}


def test_extras_are_the_lists_of_optional_packages(root):
    setuptools = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    extras = setuptools["dynamic"]["optional-dependencies"]
    assert extras == {name: {"file": [f"envs/{name}.in"]} for name in ("export", "serve")}
    for name in extras:
        named = [line.split("#")[0].strip() for line in (root / f"envs/{name}.in").read_text().splitlines()]
        assert {package for package in named if package} <= pins(root / f"envs/{name}.txt").keys()


def test_workflow_catalog_names_flags_that_snakemake_has(root):
    usage = yaml.safe_load((root / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    methods = usage["software-stack-deployment"]
    flags = shlex.split(usage["mandatory-flags"]["flags"])
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert methods == {"conda": True, "apptainer": True, "apptainer+conda": False}
    for method in (name for name, works in methods.items() if works):
        parsed = get_argument_parser().parse_args([*flags, "--sdm", method, "--report", "report.zip"])
        assert {str(found) for found in parsed.software_deployment_method} == {method}
        assert parsed.resources["gpu"].value == 1
    assert usage["report"] is True


def test_rules_run_in_the_image_when_apptainer_is_asked_for(tmp_path, snakemake):
    (tmp_path / "bin").mkdir()
    stand_in = tmp_path / "bin/apptainer"
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    (tmp_path / "overlay.yaml").write_text(yaml.safe_dump(OVERLAY))
    path = os.pathsep.join((str(stand_in.parent), str(Path(sys.executable).parent), os.environ["PATH"]))
    made = snakemake(
        tmp_path, "resources/metadata.csv", "--cores", "1", "--configfile", "overlay.yaml",
        "--sdm", "apptainer", "--apptainer-args=--nv", env={"PATH": path},
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "resources/metadata.csv").exists()
    calls = (tmp_path / "apptainer.log").read_text().splitlines()
    assert [re.search(r"-m btxrd (\w+)", call)[1] for call in calls] == ["phantom", "table"]
    assert all(re.match(r"exec .*--nv.* btxrd\.sif \w*sh -c .*python -m btxrd ", call) for call in calls)
