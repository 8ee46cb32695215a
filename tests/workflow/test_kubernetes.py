"""The profile kubernetes against a stand-in for a cluster: what it asks for, and what becomes of a pod that is gone."""

import shutil
import subprocess
import time
from pathlib import Path
from threading import Thread

import fake_kubernetes
import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / ".venv/kubernetes"
pytestmark = [
    pytest.mark.skipif(
        not PLUGINS.exists(), reason="no plugins: pip install --target .venv/kubernetes -r envs/kubernetes.txt"
    ),
    pytest.mark.skipif(not shutil.which("rsync"), reason="no rsync, with which pods copy: apt-get install rsync"),
]

CONFIG = {
    "data": {
        "source": "phantom",
        "image_size": 64,
        "phantom": {"images": 80, "long_side": 160},
    },
    "model": {"pretrained": False},
    "training": {"epochs": 2, "batch_size": 16},
}
# Of a user without a home, as a cluster may give one; nothing can be installed.
POD = {
    "PATH": f"{ROOT / '.venv/bin'}:/usr/bin:/bin", "PYTHONPATH": str(PLUGINS), "HOME": "/dev/null", "PIP_NO_INDEX": "1",
    "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
}  # fmt: skip


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    return tmp_path_factory.mktemp("volume")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, volume):
    """A checkout whose profile names the volume of this test; all else of it is as it is."""
    home = tmp_path_factory.mktemp("checkout")
    for name in ("workflow", "config", "envs"):
        shutil.copytree(ROOT / name, home / name, ignore=shutil.ignore_patterns("__pycache__"))
    profile = home / "workflow/profiles/kubernetes/profile.yaml"
    profile.write_text(profile.read_text().replace("/btxrd", str(volume)))
    for command in (["init", "--quiet"], ["add", "."]):
        subprocess.run(["git", *command], cwd=home, check=True)
    return home


@pytest.fixture(scope="module")
def workflow(checkout, snakemake):
    """Run Snakemake with the profile, on a cluster, up to some results of a split; returns the finished process."""

    def run(cluster, config, *results):
        (checkout / "mine.yaml").write_text(yaml.safe_dump(config))
        return snakemake(
            checkout, *(f"results/stratified/{name}" for name in results), "--snakefile", "workflow/Snakefile",
            "--workflow-profile", "kubernetes", "--configfile", "mine.yaml", "--seconds-between-status-checks", "1",
            "--set-threads", "train=1", "evaluate=1", "explain=1",
            env={"PYTHONPATH": str(PLUGINS), "KUBECONFIG": str(cluster.folder / "kubeconfig")},
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def done(tmp_path_factory, workflow):
    """The cluster after a split is trained, judged and drawn."""
    with fake_kubernetes.running(tmp_path_factory.mktemp("pods"), POD) as cluster:
        result = workflow(cluster, CONFIG, "metrics.json", "loss_curve.png")
        assert result.returncode == 0, result.stderr + cluster.said()
    return cluster


def test_only_stages_that_take_time_run_as_pods(done):
    assert sorted(job.rule for job in done.jobs) == ["cache", "cases", "evaluate", "phantom", "table", "train"]


def test_results_lie_in_the_storage_and_nothing_is_left_behind(done, volume, checkout):
    for name in ("results/stratified/metrics.json", "results/stratified/loss_curve.png", "logs/train_stratified.log"):
        assert (volume / "store" / name).stat().st_size > 100
    assert not {"resources", "results", "checkpoints", "logs"} & {path.name for path in checkout.iterdir()}
    assert not list((volume / "states").iterdir())
    assert not done.secrets
    assert all(job.deleted for job in done.jobs)


def test_training_asks_for_its_gpu_as_a_limit(done):
    (train,) = done.of_rule("train")
    assert train.container["resources"] == {
        "requests": {"cpu": "950m", "memory": "8000M", "nvidia.com/gpu": "1"},
        "limits": {"cpu": "1000m", "memory": "8000M", "nvidia.com/gpu": "1"},
    }


def test_every_pod_has_image_and_volume(done, volume):
    claim = {"name": "btxrd", "persistentVolumeClaim": {"claimName": "btxrd"}}
    for job in done.jobs:
        assert job.container["image"] == "btxrd:0.1.0"
        assert {"name": "btxrd", "mountPath": str(volume)} in job.container["volumeMounts"]
        assert claim in job.pod_spec["volumes"]


@pytest.mark.slow
@pytest.mark.usefixtures("done")
def test_training_whose_pod_is_gone_goes_on_in_the_next(tmp_path, volume, workflow):
    longer = CONFIG | {"training": CONFIG["training"] | {"epochs": 6}}
    with fake_kubernetes.running(tmp_path, POD) as cluster:
        Thread(target=delete_pod_in_training, args=(cluster, volume / "states/stratified"), daemon=True).start()
        result = workflow(cluster, longer, "explanation.json")
        assert result.returncode == 0, result.stderr + cluster.said()
    assert [job.rule for job in cluster.jobs] == ["train", "train", "explain"]
    assert f"going on from {volume}/states/stratified/state.pt" in cluster.jobs[1].output.read_text()
    assert list(pd.read_csv(volume / "store/results/stratified/training_log.csv")["epoch"]) == [1, 2, 3, 4, 5, 6]
    assert (volume / "store/results/stratified/explanation.json").exists()


def delete_pod_in_training(cluster, state):
    """Once two epochs are in the state folder, so that the state is that of the first at least."""
    log = state / "training_log.csv"
    while not log.exists() or len(log.read_text().splitlines()) < 3:
        time.sleep(0.05)
    cluster.of_rule("train")[0].delete_pod()
