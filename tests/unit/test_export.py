"""An exported network says what PyTorch says, for any number of films, and tells what it is and is not for."""

import json
import sys

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from btxrd import CLASSES
from btxrd.config import load_config
from btxrd.data.cache import open_cache
from btxrd.models.classifier import create_model
from btxrd.prediction import export as module
from btxrd.prediction.export import ENDINGS, METADATA
from btxrd.training.checkpoint import save_checkpoint

BACKBONE = "test_efficientnet.r160_in1k"  # timm's small one: batch norms and SiLU, as the large ones


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The checkpoint of a network that saw nothing, at 64 px."""
    path = tmp_path_factory.mktemp("export") / "best_stratified.pt"
    config = load_config([], [f"model.backbone={BACKBONE}", "model.pretrained=false", "data.image_size=64"])
    torch.manual_seed(3)
    model = create_model(BACKBONE)
    for layer in model.modules():  # statistics and outputs as of a trained one, not all alike
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
    provenance = {"caveats": ["SYNTHETIC phantoms"]}
    content = {"epoch": 4, "config": config, "class_names": list(CLASSES), "provenance": provenance}
    save_checkpoint(content | {"model": model.backbone.state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory):
    """The same network in every form, and what was printed about it."""
    folder, printed = tmp_path_factory.mktemp("exported"), {}
    for form, ending in ENDINGS.items():
        with pytest.MonkeyPatch.context() as patched:
            lines = []
            patched.setattr(module, "SECONDS", 0)
            patched.setattr(module, "print", lines.append, raising=False)
            module.export(checkpoint, form, folder / f"net{ending}", None, 1)
        printed[form] = "\n".join(lines)
    return folder, printed


@pytest.fixture(scope="module")
def films(phantoms):
    """32 films, uint8 (32, 1, 64, 64)."""
    cache = open_cache(next((phantoms / "resources/cache").glob("*.json")))
    return np.stack([cache.film(row) for row in range(32)])[:, None]


@pytest.fixture(scope="module")
def logits(checkpoint, films):
    """What PyTorch says of them."""
    from btxrd.training.trained import load_trained

    with torch.inference_mode():
        return load_trained(checkpoint, torch.device("cpu")).model(torch.from_numpy(films)).numpy()


def run_onnx(folder):
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "net.onnx", providers=["CPUExecutionProvider"])
    return lambda films: session.run(None, {"films": films})[0]


def run_torchscript(folder):
    network = torch.jit.load(folder / "net.torchscript.pt")
    return lambda films: network(torch.from_numpy(films)).detach().numpy()


def run_safetensors(folder):
    """As somebody would who has the file alone and timm."""
    import timm

    with safe_open(folder / "net.safetensors", "pt") as file:
        metadata = file.metadata()
    preparation = json.loads(metadata["preprocessing"])
    network = timm.create_model(metadata["backbone"], num_classes=3)
    network.load_state_dict(load_file(folder / "net.safetensors"))
    mean, std = (torch.tensor(preparation[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    return lambda films: network.eval()((torch.from_numpy(films) / 255 - mean) / std).detach().numpy()


@pytest.mark.parametrize("run", [run_onnx, run_torchscript, run_safetensors])
def test_exported_network_says_what_pytorch_says_of_1_and_of_32_films(exported, films, logits, run):
    forward = run(exported[0])
    assert np.ptp(logits, axis=0).min() > 1e-3  # films differ
    assert np.abs(forward(films) - logits).max() <= 1e-4
    assert np.abs(forward(films[5:6]) - logits[5]).max() <= 1e-4


def metadata_of(form, folder):
    if form == "onnx":
        import onnx

        return {entry.key: entry.value for entry in onnx.load(folder / "net.onnx").metadata_props}
    if form == "torchscript":
        files = {METADATA: ""}
        torch.jit.load(folder / "net.torchscript.pt", _extra_files=files)
        return json.loads(files[METADATA])
    with safe_open(folder / "net.safetensors", "pt") as file:
        return file.metadata()


@pytest.mark.parametrize("form", ENDINGS)
def test_file_tells_classes_preparation_and_what_it_is_not_for(exported, form):
    told = metadata_of(form, exported[0])
    preparation = json.loads(told["preprocessing"])
    assert json.loads(told["class_names"]) == list(CLASSES)
    assert "not for clinical use" in told["warning"]
    assert "SYNTHETIC phantoms" in json.loads(told["caveats"])
    assert (preparation["size"], preparation["resize"]) == (64, "pad")
    assert len(preparation["mean"]) == len(preparation["std"]) == 3
    assert ("inside" in preparation["normalization"]) == (form != "safetensors")


def test_latency_is_told_for_what_runs_by_itself(exported):
    printed = exported[1]
    assert "onnxruntime" in printed["onnx"]
    assert "TorchScript" in printed["torchscript"]
    assert all(f"batch {batch} " in printed[form] for form in ("onnx", "torchscript") for batch in (1, 32))
    assert not printed["safetensors"]


def test_file_lies_beside_the_checkpoint_where_nothing_else_is_said(btxrd, checkpoint):
    status, said = btxrd("export", "--checkpoint", str(checkpoint), "--format", "safetensors")
    written = checkpoint.with_name("best_stratified.safetensors")
    assert status == 0
    assert str(written) in said
    assert said.count("ot for clinical use") == 1
    written.unlink()


def test_network_that_came_out_different_takes_no_place(btxrd, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setitem(module.WRITERS, "safetensors", lambda model, *_: lambda films: np.full((len(films), 3), np.nan))
    status, said = btxrd("export", "--checkpoint", str(checkpoint), "--format", "safetensors", "--out", "a.safetensors")
    assert status == 1
    assert "a.safetensors: its logits differ" in said
    assert list(tmp_path.iterdir()) == []


def test_missing_library_is_named_with_what_brings_it(btxrd, checkpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    status, said = btxrd("export", "--checkpoint", str(checkpoint), "--format", "onnx", "--out", "a.onnx")
    assert (status, "pip install '.[export]'" in said) == (1, True)


def test_checkpoint_is_never_written_over(btxrd, checkpoint):
    before = checkpoint.read_bytes()
    status, said = btxrd("export", "--checkpoint", str(checkpoint), "--format", "onnx", "--out", str(checkpoint))
    assert (status, "that is the checkpoint itself" in said) == (1, True)
    assert checkpoint.read_bytes() == before
