"""One model trained by several processes, a device each: ranks, in torch's words, of which the first one leads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this is. Each works on its part of every batch; what they must agree on is here.

    The lead alone writes files. Batch norm sees the images of its own rank, and the lead's statistics are kept: that is
    what differs from one process with the whole batch.
    """

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def wrapped(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model, which gives every rank the mean of all gradients where there are several."""
        return torch.nn.parallel.DistributedDataParallel(model) if self.count > 1 else model

    def share(self, labels: torch.Tensor, class_weights: torch.Tensor | None) -> torch.Tensor | None:
        """What a rank's mean loss must be multiplied with so that the mean over ranks is that of the whole batch.

        Labels (N,), weights (classes,) or None for equal ones. None for 1.
        """
        if self.count == 1:
            return None
        weight = (torch.ones_like(labels) if class_weights is None else class_weights[labels]).sum().float()
        total = weight.clone()
        distributed.all_reduce(total)
        return self.count * weight / total

    def highest(self, *numbers: int) -> list[int]:
        """Each number as the highest that any rank has."""
        if self.count == 1:
            return list(numbers)
        highest = torch.tensor(numbers)
        distributed.all_reduce(highest, distributed.ReduceOp.MAX)
        return highest.tolist()

    def move_to_lead(self, sums: Sequence[torch.Tensor]) -> None:
        """Give the lead the sum over all ranks, and leave the others with 0: nothing is counted twice."""
        if self.count == 1:
            return
        for tensor in sums:
            distributed.reduce(tensor, dst=0)
            if not self.leads:
                tensor.zero_()

    def from_lead(self, value: Any) -> Any:
        """What the lead has, for all."""
        if self.count == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]


ALONE = Ranks()


def join(ranks: Ranks, device: torch.device) -> None:
    """Be one of the processes, until this one ends; nothing to do for one that is alone.

    The group is never taken apart: its threads may then wait for Python's lock while Python waits for them. A process
    that has joined ends by `os._exit`.
    """
    if ranks.count > 1:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
