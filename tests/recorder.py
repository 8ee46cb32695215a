"""A stand-in for CUDA graphs where there is no GPU."""

from collections.abc import Callable

import torch
from torch import nn

from btxrd.training.replay import Tensors


class Recorder:
    """What a CUDA graph does, on the CPU: work recorded on fixed tensors is done again when asked, results in place.

    Recording itself computes nothing that lasts; gradients are written where they were at the recording.
    """

    def __init__(self, model: nn.Module):
        self.model, self.recordings, self.replays = model, 0, 0

    def __call__(self, work: Callable[[], Tensors]) -> tuple[Callable[[], None], Tensors]:
        self.recordings += 1
        state, random = {k: v.clone() for k, v in self.model.state_dict().items()}, torch.get_rng_state()
        results = work()
        gradients = [parameter.grad for parameter in self.model.parameters()]
        self.model.load_state_dict(state)
        torch.set_rng_state(random)

        def replay():
            self.replays += 1
            for old, new in zip(results, work(), strict=True):
                old.copy_(new)
            for gradient, parameter in zip(gradients, self.model.parameters(), strict=True):
                gradient.copy_(parameter.grad)
                parameter.grad = None  # whoever needs the gradients must take them from where they are written

        return replay, results
