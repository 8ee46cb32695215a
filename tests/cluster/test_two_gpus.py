"""A cluster with two GPUs and without accounting: trainings side by side, and one that fails for good."""

from pathlib import Path

import pytest
import yaml

from cluster import wait_for

GPUS, ACCOUNTING = 2, False
CONFIG = {
    "data": {"source": "phantom", "image_size": 64, "phantom": {"images": 80, "long_side": 160}},
    "model": {"pretrained": False},
    "training": {"epochs": 8, "batch_size": 16},
    "splits": {"by_image": {}, "center_holdout": {"model": {"pretrained": True, "weights": "no_weights.bin"}}},
}


@pytest.fixture(scope="module")
def ended(slurm, workflow):
    """Folder, exit status and all that was printed by a run; the devices that trainings had at the same time."""
    folder = workflow.folder
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    (folder / "no_weights.bin").write_text("text")
    curves = [f"results/{split}/loss_curve.png" for split in ("stratified", "by_image", "center_holdout")]
    options = ["--configfile", "config.yaml", "--retries", "1", "--set-threads", "train=1"]
    snakemake = workflow("slurm-without-accounting", *curves, *options)
    devices = wait_for(lambda: devices_of_trainings(folder), "two trainings side by side")
    status = snakemake.wait()
    return folder, status, (folder / "output").read_text(), devices


def devices_of_trainings(folder):
    """CUDA_VISIBLE_DEVICES of the trainings that run now in that folder, if there are two."""
    seen = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            if b"btxrd" in command and b"train" in command and (process / "cwd").readlink() == folder:
                variables = (process / "environ").read_bytes().split(b"\0")
                seen[process.name] = next(v for v in variables if v.startswith(b"CUDA_VISIBLE_DEVICES="))
        except (OSError, StopIteration):  # it ended just now
            continue
    return sorted(seen.values()) if len(seen) == GPUS else None


def test_two_trainings_run_side_by_side_each_on_its_own_device(ended):
    assert ended[3] == [b"CUDA_VISIBLE_DEVICES=0", b"CUDA_VISIBLE_DEVICES=1"]


def test_a_job_that_fails_for_good_shows_its_log_and_the_others_finish(ended):
    folder, status, output, _ = ended
    assert status != 0
    assert "btxrd train: no_weights.bin" in output
    for split in ("stratified", "by_image"):
        assert (folder / f"results/{split}/loss_curve.png").exists(), output
    assert not (folder / "results/center_holdout/training_log.csv").exists()
