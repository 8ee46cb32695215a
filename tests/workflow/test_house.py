"""The house stays in order: one list of versions, no address of a registry, every target explained."""

import re
import subprocess

import yaml
from packaging.requirements import Requirement


def locked(root, **environment):
    lines = (root / "envs/requirements.txt").read_text().splitlines()
    requirements = [Requirement(line.rstrip(" \\")) for line in lines if re.match("[a-z]", line)]
    return {r.name: str(r.specifier) for r in requirements if r.marker is None or r.marker.evaluate(environment)}


def test_every_requirement_is_pinned_with_hashes_and_names_no_address(root):
    text = (root / "envs/requirements.txt").read_text()
    blocks = re.findall(r"^[a-z][^\n]*(?:\n +--hash=[^\n]*)*", text, re.MULTILINE)
    assert len(blocks) > 50
    assert all(re.match(r"[a-z0-9._-]+==\S+", block) and "--hash=sha256:" in block for block in blocks)
    assert not re.search(r"https?://|--index|--find-links", text)


def test_conda_environment_has_the_pinned_versions(root):
    environment = yaml.safe_load((root / "envs/btxrd.yaml").read_text())
    python = next(entry for entry in environment["dependencies"] if str(entry).startswith("python="))
    pins = locked(
        root, python_full_version=python.split("=")[1] + ".9", sys_platform="linux", platform_machine="x86_64"
    )
    packages = [Requirement(line) for line in environment["dependencies"][-1]["pip"]]
    assert {package.name: str(package.specifier) for package in packages} == {p.name: pins[p.name] for p in packages}
    used = (root / "envs/requirements.in").read_text().split("# to work on it")[0]
    named = {Requirement(line.split("#")[0]).name for line in used.splitlines() if re.match("[a-z]", line)}
    assert named - {package.name for package in packages} == {"setuptools"}


def test_every_target_is_listed_by_make_help(root):
    listed = subprocess.run(["make", "help"], cwd=root, capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), re.MULTILINE)
    assert all(re.search(rf"^{target} ", listed, re.MULTILINE) for target in targets)


def test_nothing_of_this_machine_or_a_registry_is_in_the_project(root):
    tracked = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True).stdout.split()
    hosts = "|".join(("py" + r"pi\.org", "python" + r"hosted\.org", r"deb\." + "debian", r"registry\.np" + "mjs"))
    for name in tracked:
        if (root / name).suffix not in (".png", ".jpg"):
            assert not re.search(hosts, (root / name).read_text()), name


def test_snakefiles_import_nothing_heavy(root):
    heavy = re.compile(r"^\s*(?:import|from)\s+(torch|numpy|pandas|cv2|timm|sklearn|matplotlib)\b", re.MULTILINE)
    for path in [root / "workflow/Snakefile", *(root / "workflow/rules").glob("*.smk")]:
        assert not heavy.search(path.read_text()), path


def test_picture_of_the_stages_shows_every_rule(root):
    text = "".join(path.read_text() for path in (root / "workflow/rules").glob("*.smk"))
    rules = set(re.findall(r"^rule (\w+):", text, re.MULTILINE))
    picture = (root / "docs/dag.svg").read_text()
    assert {name for name in rules if f">{name}</text>" in picture} == rules - {"phantom"}
