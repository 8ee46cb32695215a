"""The fast paths give what the plain ones give: recorded steps, any number of workers, memory that is kept."""

import resource
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from btxrd.config import load_config
from btxrd.training import devices, run
from btxrd.training.loop import train_one_epoch
from btxrd.training.replay import WARM_UP, Replay
from recorder import Recorder

CPU = torch.device("cpu")


def small_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def epochs(recorder=None, sizes=(4, 4, 4, 4, 4, 4, 2), number=2):
    """Losses and weights after some epochs."""
    model = small_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    record = recorder and recorder(model)
    replay = Replay(optimizer, sizes[0], record) if record else None
    films, labels = torch.randn(sum(sizes), 1, 4, 4), torch.arange(sum(sizes)) % 3
    batches = list(zip(films.split(sizes), labels.split(sizes), strict=True))
    losses = [
        train_one_epoch(
            model, batches, nn.CrossEntropyLoss(), optimizer, CPU, 1.0, replay=replay,
            seed_of_step=lambda step, epoch=epoch: 100 * epoch + step,
        )
        for epoch in range(number)
    ]  # fmt: skip
    return losses, model.state_dict(), record


def test_replayed_steps_train_as_plain_ones():
    plain_losses, plain, _ = epochs()
    losses, replayed, recorder = epochs(Recorder)
    assert losses == plain_losses
    for name, value in plain.items():
        assert torch.equal(replayed[name], value), name
    assert recorder.recordings == 1
    assert recorder.replays == 2 * 6 - WARM_UP  # neither the first steps nor the last, smaller batch of an epoch


def test_what_can_not_be_recorded_is_trained_plainly(caplog):
    def refuse(model):
        def record(work):
            work()
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

        return record

    torch.manual_seed(0)
    losses, weights, _ = epochs(refuse, number=1)
    plain_losses, plain, _ = epochs(number=1)
    assert "can't be recorded as a CUDA graph (operation not permitted when stream is capturing)" in caplog.text
    assert torch.equal(weights["1.bias"].isfinite(), plain["1.bias"].isfinite())
    assert len(losses) == len(plain_losses)


@pytest.fixture
def gpus(monkeypatch, tmp_path):
    """Make this process see GPUs of these names."""
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(devices.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(devices.torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(devices.torch.cuda, "get_device_name", lambda device: "a GPU")

    def see(*names):
        monkeypatch.setattr(devices.torch.cuda, "device_count", lambda: len(names))
        monkeypatch.setattr(
            devices.torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=names[index])
        )

    return see


HOLD = """
import sys, time
from pathlib import Path
from btxrd.files import lock_file
assert lock_file(Path(sys.argv[1])) is not None
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other_trainer(tmp_path, root):
    """Another process that has a GPU; ends with the test."""
    started = []

    def start(name):
        file = tmp_path / f"btxrd-{devices.os.getuid()}-{name}.lock"
        env = {"PYTHONPATH": str(root / "workflow/lib")}
        process = subprocess.Popen([sys.executable, "-c", HOLD, file], stdout=subprocess.PIPE, env=env)
        assert process.stdout.readline() == b"held\n"
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_trainings_side_by_side_take_a_gpu_each(gpus, other_trainer, caplog):
    caplog.set_level("INFO", "btxrd")
    gpus("first", "second")
    with devices.working_device("auto") as device:
        assert device == torch.device("cuda", 0)
    assert "working on cuda:0 (a GPU)" in caplog.text
    holder = other_trainer("first")
    with devices.working_device("cuda") as device:
        assert device == torch.device("cuda", 1)
    assert "shared" not in caplog.text
    other_trainer("second")
    with devices.working_device("auto") as device:
        assert device == torch.device("cuda", 0)
    assert "another process works on cuda:0, too: it is shared" in caplog.text
    holder.kill()
    holder.wait()
    caplog.clear()
    with devices.working_device("auto") as device:  # the killed one's
        assert device == torch.device("cuda", 0)
    assert "shared" not in caplog.text


def test_a_gpu_has_the_same_lock_under_any_number(gpus, other_trainer):
    gpus("second")  # CUDA_VISIBLE_DEVICES=1: the number is 0, the GPU another
    other_trainer("first")
    with devices.working_device("cuda") as device:
        assert device == torch.device("cuda", 0)


def test_a_gpu_that_is_named_is_taken_as_told(gpus, other_trainer, caplog):
    gpus("first", "second")
    with devices.working_device("cuda:1") as device:
        assert device == torch.device("cuda", 1)
    assert "shared" not in caplog.text
    other_trainer("second")
    with devices.working_device("cuda:1") as device:
        assert device == torch.device("cuda", 1)
    assert "another process works on cuda:1, too" in caplog.text


FAULTS = """
import resource, torch
from btxrd.training.devices import keep_freed_memory, working_device

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = faults()
with working_device("cpu"):
    faults()  # in which the heap finds its size
    faults()
    kept = faults()
print(given_back, kept)
"""


def test_freed_memory_is_kept(root):
    command = [sys.executable, "-c", FAULTS]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(root / "workflow/lib")})
    given_back, kept = map(int, done.stdout.split())
    pages = 10 * 2**26 / resource.getpagesize()
    assert kept < pages / 20
    assert kept < given_back / 5


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda name: SimpleNamespace())
    assert not devices.keep_freed_memory()


def test_loading_takes_processes_beside_a_gpu_alone(monkeypatch):
    assert load_config([], [])["data"]["num_workers"] == "auto"
    monkeypatch.setattr(run.os, "cpu_count", lambda: 16)
    assert run._number_of_workers("auto", CPU) == 0
    assert run._number_of_workers("auto", torch.device("cuda")) == 4
    assert run._number_of_workers(3, CPU) == 3
