"""What a private Slurm on this machine says of its jobs, and waiting for it."""

import os
import re
import subprocess
import time

PATIENCE = 300  # seconds for anything that must happen


class Slurm:
    """The cluster that `slurm.sh` started in a folder."""

    def __init__(self, folder):
        self.environment = os.environ | {
            "SLURM_CONF": str(folder / "etc/slurm.conf"),
            "PATH": f"{folder}/bin:{os.environ['PATH']}",
        }

    def call(self, *command):
        """The output of a command of Slurm."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def records(self):
        """What the controller knows of each job, by number."""
        lines = self.call("scontrol", "show", "job", "--details", "--oneliner").splitlines()
        jobs = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in lines]
        return {job["JobId"]: job for job in jobs if job}

    def training(self):
        """The number of the training that runs; None if there is none."""
        running = [job for job in self.records().values() if job["JobState"] == "RUNNING"]
        return next((job["JobId"] for job in running if job.get("Comment", "").startswith("rule_train")), None)

    def start_now(self, number):
        """Spare a requeued job the two minutes that Slurm has it wait."""
        self.call("scontrol", "update", f"JobId={number}", "StartTime=now")


def wait_for(happens, what):
    """What `happens()` returns as soon as that is true."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        result = happens()
        if result:
            return result
        time.sleep(0.3)
    raise AssertionError(f"{what}: not within {PATIENCE} s")
