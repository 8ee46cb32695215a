"""A training step recorded once and replayed as a whole: a GPU waits longer for its kernels to start than for them."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

log = logging.getLogger("btxrd")

Tensors = tuple[torch.Tensor, torch.Tensor]  # images and labels, or loss and logits
Work = Callable[[torch.Tensor, torch.Tensor], Tensors]
Record = Callable[[Callable[[], Tensors]], tuple[Callable[[], None], Tensors]]

WARM_UP = 3  # steps before the recording, in which libraries choose and load their kernels


class Replay:
    """Does the work of a step, forward and backward, on images and labels; returns its loss and logits.

    The first steps, and those of another batch size, are worked out as they come. The others copy their batch to where
    the recorded step reads it, replay that, and give the parameters the gradients that it writes. What cannot be
    recorded is never replayed. The results are the same, bit for bit; a returned tensor lasts until the next step.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, batch_size: int, record: Record):
        self._parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self._batch_size = batch_size
        self._record = record
        self._steps_before = WARM_UP
        self._replay: Callable[[], None] | None = None

    def __call__(self, work: Work, images: torch.Tensor, labels: torch.Tensor) -> Tensors:
        """Loss () and logits (N, classes), the gradients in the parameters."""
        if len(images) != self._batch_size:
            return work(images, labels)
        if self._steps_before > 0:
            self._steps_before -= 1
            if self._steps_before == 0:
                self._start(work, images, labels)
            return work(images, labels)
        if self._replay is None:
            return work(images, labels)
        self._images.copy_(images)
        self._labels.copy_(labels)
        self._replay()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        return self._results

    def _start(self, work: Work, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Record; nothing is computed by that."""
        self._images, self._labels = images.clone(), labels.clone()
        try:
            self._replay, self._results = self._record(lambda: work(self._images, self._labels))
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            log.warning("the step can't be recorded as a CUDA graph (%s): its kernels are started one by one", reason)
        self._gradients = [parameter.grad for parameter in self._parameters]


def cuda_graph(work: Callable[[], Tensors]) -> tuple[Callable[[], None], Tensors]:
    """Record work as a CUDA graph on the current stream, which may not be the default one."""
    graph = torch.cuda.CUDAGraph()
    # The loader's thread that pins memory goes on meanwhile, so only this thread's mistakes may end the recording.
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"):
        results = work()
    return graph.replay, results


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """On CUDA, work on a stream of one's own while this lasts: the default one can't be recorded."""
    if device.type != "cuda":
        yield
        return
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        yield
