"""Full disks, wrong files, bad numbers: one clear sentence, nothing good lost, and then the same bytes."""

import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from harm import ROOT, TINY, Harm, new_trainer, same
from torch import nn

from btxrd.data.dataset import BTXRDDataset

SAME = "then same bytes"


def assert_one_sentence(trainer, *words):
    """The last line says what is wrong; there is no traceback."""
    assert "Traceback" not in trainer.message, trainer.message
    sentence = trainer.message.strip().splitlines()[-1]
    for word in words:
        assert word in sentence


def half_way(trainer, *overrides):
    """A training that was stopped in epoch 2, and the bytes of its state."""
    term = Harm(8, "after a batch is counted", lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert trainer.run(*overrides, harm=term.install) == 143, trainer.message
    return trainer.state.joinpath("state.pt").read_bytes()


def test_disk_that_fills_during_a_write(trainer, undisturbed, outcome):
    before = half_way(trainer)
    limit = len(before) // 2

    def full():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    assert trainer.run(harm=full) == 1
    assert_one_sentence(trainer, "checkpoints/.state/stratified/", "File too large")
    assert trainer.state.joinpath("state.pt").read_bytes() == before
    assert not [path for path in trainer.state.iterdir() if path.name.startswith(".")]
    assert trainer.run() == 0
    assert same(trainer.result(), undisturbed)
    outcome(1, f"one sentence, state kept, {SAME}")


@pytest.mark.slow
def test_disk_that_is_full(trainer, undisturbed, outcome):
    """A real one: a tmpfs of 2 MB, which only root may mount."""
    place = trainer.folder / "checkpoints"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=False)
    if mounted.returncode:
        pytest.skip("a tmpfs can't be mounted here (not root)")
    try:
        assert trainer.run() == 1
        assert_one_sentence(trainer, "No space left on device")
        subprocess.run(["mount", "-o", "remount,size=100m", str(place)], check=True)
        assert trainer.run() == 0, trainer.message
        assert same(trainer.result(), undisturbed)
    finally:
        subprocess.run(["umount", str(place)], check=True)
    outcome(1, f"one sentence, {SAME}")


def test_folder_that_is_read_only(trainer, undisturbed, outcome):
    before = half_way(trainer)
    folders = [trainer.state.parent, trainer.state]
    for folder in folders:
        folder.chmod(0o555)

    def powerless():
        if os.geteuid() == 0:
            os.seteuid(65534)  # root may write anywhere

    assert trainer.run(harm=powerless) == 1
    assert_one_sentence(trainer, "checkpoints/.state/stratified", "Permission denied")
    for folder in folders:
        folder.chmod(0o755)
    assert trainer.state.joinpath("state.pt").read_bytes() == before
    assert trainer.run() == 0
    assert same(trainer.result(), undisturbed)
    outcome(1, f"one sentence, state kept, {SAME}")


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_loss_that_is_not_finite(trainer, undisturbed, outcome, value):
    calls = []

    def harm():
        original = nn.CrossEntropyLoss.forward

        def bad(self, logits, labels):
            calls.append(1)
            return original(self, logits, labels) * (float(value) if len(calls) == 7 else 1)

        nn.CrossEntropyLoss.forward = bad

    assert trainer.run(harm=harm) == 1
    assert_one_sentence(trainer, f"loss became {value}", "epoch 2, step 2 of 4", "learning rate 0.00022", "kept in")
    assert torch.isfinite(torch.load(trainer.state / "state.pt", weights_only=True)["totals"]["loss"])
    assert trainer.run() == 0
    assert "going on from" in trainer.message
    assert same(trainer.result(), undisturbed)
    outcome(1, f"stops at once, state kept, {SAME}", f"a loss that becomes {value}")


OUT_OF_MEMORY = {
    "device": torch.OutOfMemoryError("CUDA out of memory."),
    "host": RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"),
}


@pytest.mark.parametrize("where", OUT_OF_MEMORY)
def test_out_of_memory(trainer, outcome, where):
    def harm():
        def hungry(self, *arguments):
            raise OUT_OF_MEMORY[where]

        nn.CrossEntropyLoss.forward = hungry

    assert trainer.run(harm=harm) == 1
    assert_one_sentence(trainer, "out of memory", "training.batch_size (now 16)", "data.image_size (now 64)")
    outcome(1, "one sentence with the keys to lower, exit 1", f"out of memory on the {where}")


def test_loader_worker_that_dies(trainer, undisturbed, outcome):
    def harm():
        original = BTXRDDataset.__getitem__

        def dying(self, key):
            if key == (2, 5):
                os.kill(os.getpid(), signal.SIGKILL)
            return original(self, key)

        BTXRDDataset.__getitem__ = dying

    assert trainer.run("data.num_workers=1", harm=harm) == 1
    assert_one_sentence(trainer, "a loader worker died in epoch 2", "data.num_workers")
    assert trainer.run() == 0
    assert same(trainer.result(), undisturbed)
    outcome(1, f"one sentence, {SAME}")


def own_cache(trainer, prepared):
    """A copy of the prepared data that may be harmed; returns the cached films' file."""
    trainer.folder.joinpath("resources").unlink()
    subprocess.run(["cp", "-r", str(prepared / "resources"), str(trainer.folder)], check=True)
    return trainer.folder / "resources/cache/gray_64_pad.npy"


@pytest.mark.parametrize("workers", [0, 1])
def test_cache_with_one_wrong_byte(trainer, prepared, undisturbed, outcome, workers):
    array = own_cache(trainer, prepared)
    films = np.load(array, mmap_mode="r+")
    images = pd.read_csv(trainer.folder / "resources/splits/stratified_train.csv")["image_id"]
    ids = np.load(array.with_suffix(".ids.npy")).astype(str)
    row = list(ids).index(images[5])
    films["film"][row, 30, 30] ^= 1
    assert trainer.run(f"data.num_workers={workers}") == 1
    assert_one_sentence(trainer, f"gray_64_pad.npy: film {images[5]} is damaged", "snakemake -R cache")
    films["film"][row, 30, 30] ^= 1
    assert trainer.run() == 0
    assert same(trainer.result(), undisturbed)
    outcome(1, f"one sentence, {SAME}", f"a wrong byte in the cache, {workers} workers")


def test_cache_that_is_truncated(trainer, prepared, outcome):
    array = own_cache(trainer, prepared)
    array.write_bytes(array.read_bytes()[:-1000])
    assert trainer.run() == 1
    assert_one_sentence(trainer, "gray_64_pad.npy: the cache is damaged", "snakemake -R cache")
    outcome(1, "one sentence")


class Evil:
    """Runs a command when unpickled without care."""

    def __reduce__(self):
        return os.system, ("touch /tmp/btxrd-was-here-$PPID",)


def evil(path):
    with path.open("wb") as file:
        pickle.dump({"model": Evil()}, file)


def evil_zip(path):
    torch.save({"model": Evil()}, path)


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("harm", [truncated, evil, evil_zip], ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("name", ["state.pt", "best.pt"])
def test_state_that_is_damaged_or_hostile(trainer, undisturbed, outcome, harm, name):
    half_way(trainer)
    harm(trainer.state / name)
    assert trainer.run() == 0, trainer.message
    assert f"{name}: damaged, or no checkpoint" in trainer.message
    assert "set aside as checkpoints/.state/stratified.old-" in trainer.message
    (old,) = trainer.state.parent.glob("stratified.old-*")
    assert old.joinpath(name).exists()
    assert not list(Path("/tmp").glob("btxrd-was-here-*"))
    assert same(trainer.result(), undisturbed)
    outcome(1, "set aside, nothing executed, same bytes", f"{name} that is {harm.__name__.replace('_', ' ')}")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["training.learning_rate=0.01"], "training.learning_rate changed"),
        (["model.backbone=test_vit"], "model changed"),
        (["seed=7"], "seed changed"),
    ],
)
def test_state_of_another_run_is_set_aside(trainer, undisturbed, outcome, overrides, words):
    before = half_way(trainer, *overrides)
    assert trainer.run() == 0, trainer.message
    assert f"of another run: {words}" in trainer.message
    (old,) = trainer.state.parent.glob("stratified.old-*")
    assert old.joinpath("state.pt").read_bytes() == before
    assert same(trainer.result(), undisturbed)
    outcome(1, "what changed is named, state set aside, same bytes", f"a state of another run ({words})")


def test_weights_from_elsewhere(trainer, outcome):
    import timm

    file = trainer.folder / "weights.bin"
    overrides = ("model.pretrained=true", f"model.weights={file}")
    cases = [(evil, "not a readable file of weights"), (evil_zip, "not a readable file of weights")]
    for harm, words in cases:
        harm(file)
        assert trainer.run(*overrides) == 1
        assert_one_sentence(trainer, f"weights.bin: {words}")
    torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), file)
    assert trainer.run(*overrides) == 1
    assert_one_sentence(trainer, "not the weights of test_efficientnet")
    assert not list(Path("/tmp").glob("btxrd-was-here-*"))
    outcome(3, "refused, nothing executed", "weights that are hostile or of another architecture")


def test_checkpoint_of_another_shape_is_refused(tmp_path):
    from btxrd.errors import UserError
    from btxrd.models.classifier import create_model
    from btxrd.training.checkpoint import load_checkpoint, restore_weights, save_checkpoint

    path = tmp_path / "best.pt"
    for backbone, classes in (("test_efficientnet", 4), ("test_resnet", 3)):
        save_checkpoint({"model": create_model(backbone, classes).backbone.state_dict()}, path)
        with pytest.raises(UserError, match=r"best\.pt: another architecture or number of classes"):
            restore_weights(create_model("test_efficientnet"), load_checkpoint(path), path)
    save_checkpoint({"weights": 1}, path)
    with pytest.raises(UserError, match="it holds no weights"):
        restore_weights(create_model("test_efficientnet"), load_checkpoint(path), path)


def test_two_trainings_at_once(trainer, undisturbed, outcome):
    go_on = trainer.folder / "go_on"

    def wait():
        while not go_on.exists():
            time.sleep(0.05)

    first = trainer.start(harm=Harm(6, "after a batch is counted", wait).install, errors="first.txt")
    lock = trainer.state.with_name("stratified.lock")
    while not lock.exists() or not lock.read_text():
        time.sleep(0.05)
    assert trainer.run() == 1
    assert_one_sentence(trainer, f"another training of this split is running (pid {first})")
    go_on.touch()
    assert os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) == 0
    assert same(trainer.result(), undisturbed)
    outcome(1, f"the second names the first's pid; the first ends, {SAME}")


def test_clock_that_jumps(trainer, undisturbed, outcome):
    def harm():
        jumps = np.random.default_rng(0)
        time.time = lambda: float(jumps.uniform(0, 2e9))

    half_way(trainer)
    assert trainer.run(harm=harm) == 0
    assert same(trainer.result(), undisturbed)
    outcome(1, "same bytes")


@pytest.mark.slow
def test_folder_and_locale_that_are_not_english(tmp_path, prepared, undisturbed, outcome):
    """Every stage in a folder with spaces and umlauts, under a locale that knows ASCII alone."""
    folder = tmp_path / "Röntgen à l'hôpital 骨"
    folder.mkdir()
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ascii_only["PYTHONPATH"] = str(ROOT / "workflow/lib")
    for stage in ("phantom", "table", "cache", "case_names", "cases", "split", "train", "plot"):
        command = [sys.executable, "-m", "btxrd", stage, "--threads", "1", "--override", *TINY]
        done = subprocess.run(command, cwd=folder, env=os.environ | ascii_only, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
    trainer = new_trainer(prepared, tmp_path / "unused")
    trainer.folder = folder
    assert same(trainer.result(), undisturbed)
    outcome(1, "same bytes")
