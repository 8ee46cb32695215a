"""Several processes for one training, on one machine: started and watched by torch's own launcher, torchrun."""

import json
import logging
import os
import sys
from pathlib import Path

from btxrd.config import Config
from btxrd.errors import Interrupted, UserError

OURS = "btxrd"  # of all that torch's launcher may have started


def own_place() -> tuple[int, int]:
    """Which process of how many this is, as the launcher says: (0, 1) for one that it did not start."""
    if os.environ.get("TORCHELASTIC_RUN_ID") != OURS:
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def launch(config: Config, threads: int, log_file: Path | None) -> None:
    """Run `btxrd train` in as many processes as the configuration says and wait for them.

    If one ends badly, all are ended. Raises UserError if there are not as many GPUs or if a process failed, which
    says why itself, and Interrupted for a signal, which every process gets.
    """
    import torch
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from btxrd.training.devices import get_device

    count = config["training"]["devices"]
    if get_device(config["device"]).type == "cuda" and torch.cuda.device_count() < count:
        raise UserError(f"training.devices is {count}, but there are {torch.cuda.device_count()} GPUs to work on.")
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the processes speak for themselves
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # one machine, whose name need not be known to a server
    one_machine = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=count, run_id=OURS, max_restarts=0, monitor_interval=0.1,
        rdzv_backend="c10d", rdzv_endpoint="localhost:0", local_addr="localhost",
    )  # fmt: skip
    arguments = ["-m", "btxrd", "train", "--config", json.dumps(config), "--threads", str(threads)]
    try:
        elastic_launch(one_machine, sys.executable)(*arguments, *(["--log", str(log_file)] if log_file else []))
    except SignalException as error:
        raise Interrupted(error.sigval) from None
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        said_why = failure.exitcode > 0
        advice = "it said why, above." if said_why else "the same command goes on from the state."
        raise UserError(
            f"process {rank} of {count} ended with status {failure.exitcode}, so all were ended; {advice}"
        ) from None
