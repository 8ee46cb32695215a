import pytest
import timm
import torch

from btxrd.errors import UserError
from btxrd.models.classifier import create_model
from btxrd.models.weights import KNOWN, fetch_weights

BACKBONE = "efficientnet_b0"


@pytest.fixture(scope="module")
def imagenet_file(tmp_path_factory):
    """A file as the model hub's: all tensors of the backbone with 1,000 classes."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "weights.bin"
    torch.save(timm.create_model(BACKBONE, num_classes=1000).state_dict(), path)
    return path


def test_gray_films_become_logits_of_three_classes():
    model = create_model(BACKBONE)
    films = torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8)
    assert model(films).shape == (2, 3)
    assert all(not name.startswith("_") for name in model.backbone.state_dict())


def test_films_are_normalised_as_the_backbone_was_trained():
    model = create_model("efficientnet_b0.ra_in1k").eval()
    films = torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (model.mean, model.std))
    expected = model.backbone((films.float() / 255 - mean) / std)
    assert torch.allclose(model(films), expected, atol=1e-4)
    assert model.mean == (0.485, 0.456, 0.406)


def test_weights_from_imagenet_fill_all_but_the_classifier(imagenet_file):
    given = torch.load(imagenet_file, weights_only=True)
    own = create_model(BACKBONE, weights=imagenet_file).backbone.state_dict()
    assert all(torch.equal(own[key], given[key]) for key in own if not key.startswith("classifier."))
    assert own["classifier.weight"].shape == (3, 1280)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"conv_stem.weight": torch.zeros(1)}, "not the weights of efficientnet_b0"),
        (b"no weights", "not a readable file of weights"),
        (b"text", "not a readable file of weights"),
        (None, "no such file"),
    ],
)
def test_wrong_files_of_weights_are_refused(tmp_path, content, words):
    path = tmp_path / "wrong.bin"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=rf"wrong.bin: {words}"):
        create_model(BACKBONE, weights=path)


def test_weights_of_another_architecture_are_refused(imagenet_file):
    with pytest.raises(UserError, match="tensors do not fit"):
        create_model("efficientnet_b1", weights=imagenet_file)


def test_unknown_backbones_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"model.backbone no_such_net"):
        create_model("no_such_net")
    with pytest.raises(UserError, match=r"no checked weights are known for model.backbone resnet18"):
        fetch_weights("resnet18", tmp_path / "weights.bin")


def test_without_network_the_weights_say_what_to_do(monkeypatch, btxrd):
    known = KNOWN["efficientnet_b0.ra_in1k"]
    monkeypatch.setitem(KNOWN, "efficientnet_b0.ra_in1k", type(known)(("http://127.0.0.1:9/x",), known.sha256))
    monkeypatch.setattr("btxrd.fetch.PAUSE_SECONDS", 0.01)
    status, message = btxrd("weights")
    assert status == 1
    assert "model.weights" in message
    assert "model.pretrained" in message
