"""The demo on a cluster with one GPU that does to its jobs whatever clusters do: it ends as if nothing had happened."""

import os
import re
import subprocess
import sys
from datetime import datetime
from itertools import pairwise

import pytest
import torch
import yaml

from btxrd.training.checkpoint import load_checkpoint
from cluster import wait_for

GPUS, ACCOUNTING = 1, True
SPLITS = ("stratified", "center_holdout")
ONE_THREAD = ["--set-threads", "train=1", "evaluate=1", "explain=1"]


@pytest.fixture(scope="module")
def undisturbed(root, tmp_path_factory):
    """A local run of both trainings, as many threads, that goes on beside the cluster's; its folder when it is done."""
    folder = tmp_path_factory.mktemp("undisturbed")
    logs = [f"results/{split}/training_log.csv" for split in SPLITS]
    command = [sys.executable, "-m", "snakemake", *logs, "--snakefile", root / "workflow/Snakefile", "--cores", "1"]
    demo = ["--configfile", root / "config/demo.yaml", "--resources", "gpu=1"]
    with subprocess.Popen([*command, *demo], cwd=folder, stderr=subprocess.DEVNULL, env=os.environ) as process:

        def when_done():
            assert process.wait() == 0
            return folder

        yield when_done
        process.terminate()


@pytest.fixture(scope="module")
def ended(root, slurm, workflow, undisturbed):
    """The folder of the workflow's run, in which each training was hit by what its time brought."""
    snakemake = workflow("slurm", "--configfile", root / "config/demo.yaml", *ONE_THREAD)
    for trouble in (cancel, reach_the_time_limit, requeue, lose_the_node, preempt):
        number = wait_for(lambda: in_mid_epoch(slurm, workflow.folder), f"a training to {trouble.__name__}")
        trouble(slurm, number)
        assert_nothing_is_half_done(workflow.folder)
    status = snakemake.wait()
    assert status == 0, (workflow.folder / "output").read_text()
    return workflow.folder


def in_mid_epoch(slurm, folder):
    """The number of a training that has made an epoch since it was started, and is now in the next one."""
    number = slurm.training()
    if number is None:
        return None
    job = slurm.records()[number]
    split = next(split for split in SPLITS if split in job["Comment"])
    log = folder / f"logs/train_{split}.log"  # written anew by each start
    is_of_this_start = log.exists() and log.stat().st_mtime > datetime.fromisoformat(job["StartTime"]).timestamp()
    return number if is_of_this_start and "val_loss" in log.read_text() else None


def state_of(slurm, number):
    return slurm.records()[number]["JobState"]


def cancel(slurm, number):
    slurm.call("scancel", number)
    wait_for(lambda: state_of(slurm, number) == "CANCELLED", "the end of a cancelled training")


def reach_the_time_limit(slurm, number):
    slurm.call("scontrol", "update", f"JobId={number}", "TimeLimit=1")
    wait_for(lambda: state_of(slurm, number) == "TIMEOUT", "the end at the time limit")


def requeue(slurm, number):
    slurm.call("scontrol", "requeue", number)
    go_on_after_requeue(slurm, number)


def lose_the_node(slurm, number):
    node = slurm.records()[number]["NodeList"]
    slurm.call("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    wait_for(lambda: state_of(slurm, number) == "PENDING", "a requeued training")
    slurm.call("scontrol", "update", f"NodeName={node}", "State=RESUME")
    go_on_after_requeue(slurm, number)


def preempt(slurm, number):
    slurm.call("sbatch", "--partition=urgent", "--gpus=1", "--output=/dev/null", "--wrap", "sleep 1")
    go_on_after_requeue(slurm, number)


def go_on_after_requeue(slurm, number):
    wait_for(lambda: state_of(slurm, number) == "PENDING", "a requeued training")
    slurm.start_now(number)


def assert_nothing_is_half_done(folder):
    """The state lies on the shared file system, whole; of the outputs of a training there are all or none."""
    states = list((folder / "checkpoints/.state").glob("*/state.pt"))
    assert states
    for state in states:
        assert load_checkpoint(state)["epoch"] >= 1
        split = state.parent.name
        assert not (folder / f"checkpoints/best_{split}.pt").exists()
        assert not (folder / f"results/{split}/training_log.csv").exists()


def accounts(slurm):
    """Slurm's accounts of all jobs, requeued runs of a job one by one."""
    columns = "JobID,Comment,Partition,State,ReqTRES,Timelimit,Start,End"
    output = slurm.call("sacct", "-X", "-D", "-n", "-P", "-S", "today", f"--format={columns}")
    names = columns.split(",")
    return [dict(zip(names, line.split("|"), strict=True)) for line in output.splitlines()]


def test_trainings_ask_for_what_the_profile_and_their_rule_say(ended, slurm, root):
    profile = yaml.safe_load((root / "workflow/profiles/slurm/profile.yaml").read_text())
    trainings = [run for run in accounts(slurm) if run["Comment"].startswith("rule_train")]
    assert trainings
    for run in trainings:
        assert {"gres/gpu=1", "mem=8000M", "cpu=1"} <= set(run["ReqTRES"].split(","))
        assert run["Partition"] == profile["set-resources"]["train"]["slurm_partition"]
    assert "12:00:00" in {run["Timelimit"] for run in trainings}


def test_all_troubles_happened_and_are_on_record(ended, slurm):
    runs = [run for run in accounts(slurm) if run["Comment"].startswith("rule_train")]
    states = [run["State"].split()[0] for run in runs]
    for state in ("CANCELLED", "TIMEOUT", "REQUEUED", "NODE_FAIL", "PREEMPTED"):
        assert state in states, states
    assert states.count("COMPLETED") == len(SPLITS)


def test_with_one_gpu_one_training_runs_at_a_time(ended, slurm):
    runs = sorted((run["Start"], run["End"]) for run in accounts(slurm) if "gres/gpu" in run["ReqTRES"])
    started = [run for run in runs if run[0] not in ("Unknown", "None")]
    for (_, end), (start, _) in pairwise(started):
        assert start >= end


def test_light_rules_are_no_jobs_of_their_own(ended, slurm):
    comments = {run["Comment"] for run in accounts(slurm)} - {""}
    rules = [re.sub(r"(_wildcards|_table|_cache|_cases).*", "", comment) for comment in comments]
    assert sorted(rules) == [
        "rule_evaluate", "rule_evaluate", "rule_explain", "rule_explain", "rule_films", "rule_phantom", "rule_train",
        "rule_train",
    ]  # fmt: skip


@pytest.mark.parametrize("split", SPLITS)
def test_log_and_weights_are_those_of_an_undisturbed_run(ended, undisturbed, split):
    there, log = undisturbed(), f"results/{split}/training_log.csv"
    assert "going on from" in (ended / f"logs/train_{split}.log").read_text()
    assert (ended / log).read_bytes() == (there / log).read_bytes()
    for which in ("best", "final"):
        one, other = (load_checkpoint(folder / f"checkpoints/{which}_{split}.pt") for folder in (ended, there))
        assert all(torch.equal(tensor, other["model"][name]) for name, tensor in one["model"].items())
    assert not (ended / f"checkpoints/.state/{split}").exists()


def test_everything_is_there_for_a_reader(ended):
    for name in ("comparison.html", "model_card.md", "audit/audit.html"):
        assert (ended / "results" / name).exists()
