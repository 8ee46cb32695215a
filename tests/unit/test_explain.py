"""Heat is measured where the film shows the lesion, and against luck; whatever the backbone and the test partition."""

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from torch import nn

from btxrd import CLASSES
from btxrd.config import load_config
from btxrd.data.decoding import fit, placement
from btxrd.data.outlines import Outlines, lesion_mask
from btxrd.errors import UserError
from btxrd.evaluation.bootstrap import interval_of_mean
from btxrd.explain import run
from btxrd.explain.gallery import MOST, RIGHT, SUREST, WRONG, choose_films, overlay
from btxrd.explain.heat import find_map_layer, heat_maps, heat_of_films
from btxrd.explain.measures import centered_blob, energy_inside, is_hit, maximum, measure
from btxrd.explain.outputs import EXPLANATION_FILES
from btxrd.explain.run import COLUMNS, make_explanations
from btxrd.explain.summary import MEASURES, summarise
from btxrd.files import sha256_of_file
from btxrd.models.classifier import GrayClassifier, create_model
from btxrd.training.checkpoint import save_checkpoint

SIZE = 96


class LooksAtBrightness(nn.Module):
    """A backbone, as timm has them, of one bright and one dark channel in cells of 8 px: bright speaks for Benign."""

    num_features = 2

    def __init__(self):
        super().__init__()
        cells = nn.Conv2d(3, 2, kernel_size=8, stride=8)
        self.body = nn.Sequential(cells, nn.ReLU())
        self.head = nn.Linear(2, 3)
        with torch.no_grad():
            cells.weight[:] = torch.tensor([1, -1]).view(2, 1, 1, 1) / (3 * 64)
            cells.bias[:] = torch.tensor([-1.0, 0.0])
            self.head.weight[:] = torch.tensor([[-1.0, 1.0], [1.0, -1.0], [0.5, 0.5]])

    def forward(self, channels):
        return self.head(self.body(channels).mean(dim=(2, 3)))


def planted(width, height, right=0.75, down=0.25):
    """A gray film with a bright lesion, and its outlines."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radius = 0.14 * max(width, height)
    x, y = right * width + radius * np.cos(angle), down * height + radius * np.sin(angle)
    polygon = np.stack([x, y], axis=1).clip(0, (width, height))
    film = np.full((height, width), 90, np.uint8)
    cv2.fillPoly(film, [polygon.round().astype(np.int32)], 255)
    return film, Outlines(width, height, (polygon,))


def heat_of(model, films, classes):
    films = torch.from_numpy(np.stack(films)).unsqueeze(1)
    return heat_maps(model, find_map_layer(model, films[0, 0].numpy()), films, classes)


@pytest.mark.parametrize("resize", ["pad", "squash"])
@pytest.mark.parametrize(("width", "height"), [(900, 400), (400, 900), (640, 600), (420, 1000)])
def test_planted_lesion_is_hit_where_the_outline_lies_and_not_in_its_mirror(width, height, resize):
    model = GrayClassifier(LooksAtBrightness()).eval()
    film, outlines = planted(width, height)
    heat = heat_of(model, [fit(film, SIZE, resize)], [1])[0]
    found = measure(heat, outlines, resize)
    assert found["hit"]
    assert found["energy"] > max(0.5, 3 * found["chance"])
    for across, down in ((-1, 1), (1, -1)):
        polygon = (width, height) * np.array([across < 0, down < 0]) + (across, down) * outlines.polygons[0]
        mirrored = measure(heat, Outlines(width, height, (polygon,)), resize)
        assert not mirrored["hit"]
        assert mirrored["energy"] < 0.25
    assert not heat_of(model, [fit(film, SIZE, resize)], [0])[0][lesion_mask(outlines, SIZE, resize)].max() > 0.5


def by_hand(model, layer, films, classes):
    """Grad-CAM as its paper has it: the ReLU of the activations' sum, weighted by the mean of their gradients."""
    model.requires_grad_(True)
    seen = []
    hook = layer.module.register_forward_hook(lambda module, inputs, output: seen.append(output))
    logits = model(films)
    hook.remove()
    (gradient,) = torch.autograd.grad(logits[torch.arange(len(films)), classes].sum(), seen)
    weights = layer.as_maps(gradient).mean(dim=(2, 3), keepdim=True)
    maps = (weights * layer.as_maps(seen[0])).sum(dim=1).relu().detach().numpy()
    maps = [cv2.resize(one, films.shape[2:]) for one in maps]
    return np.stack([(one - one.min()) / max(one.max() - one.min(), 1e-12) for one in maps])


BACKBONES = {
    "efficientnet_b0": ({}, "bn2", 3),
    "resnet18": ({}, "layer4", 3),
    "convnext_atto": ({}, "norm_pre", 3),
    "vit_tiny_patch16_224": ({"img_size": SIZE}, "blocks.11.norm1", 6),  # after it, the patches count no more
    "deit_tiny_distilled_patch16_224": ({"img_size": SIZE}, "blocks.11.norm1", 6),
    "swin_tiny_patch4_window7_224": ({"img_size": SIZE, "window_size": 3}, "norm", 3),
    "vgg11": ({"mlp_ratio": 0.01}, "features", 3),  # a head of 1 in place of 100 million weights, quick to make
}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_kind_of_backbone_gives_the_heat_of_the_paper(backbone):
    options, name, cells = BACKBONES[backbone]
    torch.manual_seed(0)
    model = GrayClassifier(timm.create_model(backbone, pretrained=False, num_classes=3, **options)).eval()
    films = torch.randint(0, 256, (3, 1, SIZE, SIZE), dtype=torch.uint8)
    layer = find_map_layer(model, films[0, 0].numpy())
    assert (layer.name, layer.cells) == (name, cells)
    heat = heat_maps(model, layer, films, [0, 1, 2])
    assert heat.shape == (3, SIZE, SIZE)
    assert heat.min() == 0
    assert heat.max() == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(heat, by_hand(model, layer, films, [0, 1, 2]), atol=1e-3)


def test_heat_does_not_depend_on_the_other_films_of_a_batch():
    model = GrayClassifier(LooksAtBrightness()).eval()
    films = np.random.default_rng(0).integers(0, 256, (40, SIZE, SIZE), dtype=np.uint8)
    films[7] = 0
    cache = SimpleNamespace(film_of=lambda image_id: films[int(image_id)])
    layer, ids = find_map_layer(model, films[0]), [str(row) for row in range(39, -1, -1)]
    heat = list(heat_of_films(SimpleNamespace(model=model), layer, cache, ids, [row % 3 for row in range(40)]))
    assert len(heat) == 40
    for position in (0, 15, 16, 32, 39):
        alone = heat_maps(model, layer, torch.from_numpy(films[None, None, 39 - position]), [position % 3])
        np.testing.assert_allclose(heat[position], alone[0], atol=1e-5)


def test_backbone_that_takes_no_film_of_this_size_says_so():
    with pytest.raises(UserError, match=f"takes no films of {SIZE} px"):
        find_map_layer(create_model("vit_tiny_patch16_224").eval(), np.zeros((SIZE, SIZE), np.uint8))


def test_films_too_small_for_a_map_are_an_error_in_words():
    with pytest.raises(UserError, match="keeps no map of films of 32 px"):
        find_map_layer(create_model("resnet18").eval(), np.zeros((32, 32), np.uint8))


def test_measures_of_maps_made_by_hand():
    mask = np.zeros((10, 10), bool)
    mask[2:4, 6:8] = True
    heat = np.zeros((10, 10))
    heat[3, 7], heat[8, 1] = 1.0, 0.5
    assert maximum(heat) == (3, 7)
    assert is_hit(heat, mask)
    assert energy_inside(heat, mask) == pytest.approx(2 / 3)
    heat[8, 1] = 1.5
    assert not is_hit(heat, mask)
    assert energy_inside(heat, mask) == pytest.approx(0.4)
    even = np.ones((10, 10))
    assert energy_inside(even, mask) == pytest.approx(0.04)
    assert not is_hit(even, mask)  # its middle


def test_hit_has_no_tolerance_and_a_patch_of_equal_pixels_points_with_its_middle():
    mask = np.zeros((9, 9), bool)
    mask[0:3, 0:3] = True
    heat = np.zeros((9, 9))
    heat[0:5, 0:5] = 1
    assert maximum(heat) == (2, 2)
    assert is_hit(heat, mask)
    mask[2] = False
    assert not is_hit(heat, mask)


def test_map_without_heat_misses_and_has_no_energy():
    heat, mask = np.zeros((4, 4)), np.ones((4, 4), bool)
    assert maximum(heat) is None
    assert not is_hit(heat, mask)
    assert energy_inside(heat, mask) == 0


def test_baselines_count_the_film_and_not_the_padding():
    """A film of 96 × 48 whose lesion is its middle quarter, then one whose lesion is a corner."""
    middle = np.array([[50, 25], [150, 25], [150, 75], [50, 75]])
    found = measure(np.ones((96, 96)), Outlines(200, 100, (middle,)), "pad")
    assert found["chance"] == found["lesion_share"] == pytest.approx(0.25, abs=0.02)
    assert found["energy"] == pytest.approx(0.125, abs=0.01)
    assert found["blob_hit"]
    assert found["blob_energy"] == pytest.approx((0.6827 / 0.9545) ** 2, abs=0.03)  # one sigma of two, twice
    corner = measure(np.ones((96, 96)), Outlines(200, 100, (0.96 * (middle - (50, 25)),)), "pad")
    assert corner["chance"] == pytest.approx(0.23, abs=0.02)
    assert not corner["blob_hit"]
    assert corner["blob_energy"] == pytest.approx(0.22, abs=0.03)


def test_blob_is_on_the_middle_of_the_film_and_not_on_the_padding():
    film = placement(400, 100, 96, "pad")
    blob = centered_blob(96, film)
    assert np.argwhere(blob == blob.max()).mean(axis=0) == pytest.approx((47.5, 47.5))
    assert blob[:, : film[1]].sum() == blob[:, film[1] + film[3] :].sum() == 0
    assert blob[:, film[1] : film[1] + film[3]].min() > 0


def test_interval_holds_the_mean_and_widens_where_the_images_of_a_case_agree():
    rng = np.random.default_rng(0)
    of_case = rng.random((60, 2))
    agreeing = np.repeat(of_case, 4, axis=0)
    cases = [f"case {number // 4}" for number in range(240)]
    apart = interval_of_mean(agreeing, [str(number) for number in range(240)], seed=1)
    together = interval_of_mean(agreeing, cases, seed=1)
    for low, high in (apart, together):
        assert ((low < agreeing.mean(axis=0)) & (agreeing.mean(axis=0) < high)).all()
    assert (together[1] - together[0] > 1.7 * (apart[1] - apart[0])).all()  # 2 in the long run
    expected = 2 * 1.96 * of_case.std(axis=0) / np.sqrt(60)
    assert together[1] - together[0] == pytest.approx(expected, rel=0.15)
    assert np.array_equal(interval_of_mean(agreeing, cases, seed=1), together)


@pytest.mark.parametrize("cases", [[], ["a", "a"]])
def test_fewer_than_two_cases_have_no_interval(cases):
    assert interval_of_mean(np.ones((len(cases), 1)), cases, seed=0) is None


def tumour_table(rows):
    return pd.DataFrame(rows, columns=["case_id", "label", "predicted", "lesion_share", *MEASURES])


def test_groups_count_images_and_cases_and_stay_where_they_are_empty():
    rows = [(f"c{n // 2}", "Benign", "Benign" if n else "Normal", 0.02, True, 0.5, 0.02, False, 0.1) for n in range(24)]
    groups = {(group["by"], group["group"]): group for group in summarise(tumour_table(rows), seed=0)}
    everyone = groups["all", "all tumours"]
    assert (everyone["images"], everyone["cases"], everyone["few"]) == (24, 12, False)
    assert everyone["measures"]["hit"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert everyone["measures"]["energy_above_chance"]["mean"] == pytest.approx(0.48)
    assert groups["lesion size", "1 to 5 %"]["images"] == 24
    assert groups["class", "Malignant"]["measures"]["hit"] is None
    assert (groups["prediction", "right"]["images"], groups["prediction", "wrong"]["images"]) == (23, 1)
    assert groups["prediction", "wrong"]["few"]
    assert groups["prediction", "wrong"]["measures"]["hit"] == {"mean": 1.0, "low": None, "high": None}


def test_no_film_is_picked_by_hand_and_none_is_shown_twice():
    predicted = ["Benign"] * 30 + ["Normal"] * 10
    films = pd.DataFrame({"image_id": [f"{n:02}" for n in range(40)], "label": "Benign", "predicted": predicted})
    films["confidence"] = np.linspace(0.4, 0.9, 40)
    chosen = choose_films(films.sample(frac=1, random_state=0))
    assert list(chosen[RIGHT]["image_id"]) == ["00", "10", "19", "29"]
    assert list(chosen[SUREST]["image_id"]) == ["39", "38", "37", "36"]
    assert list(chosen[WRONG]["image_id"]) == ["30", "35"]
    assert {title: len(rows) for title, rows in chosen.items()} == MOST
    assert all(rows.empty for rows in choose_films(films.head(0)).values())


def test_cold_places_of_an_overlay_show_the_film():
    film = np.full((2, 2), 90, np.uint8)
    picture = overlay(film, np.array([[0, 0], [0, 1.0]]))
    assert (picture[0] == 90).all()
    assert picture[1, 1].max() > 180
    assert picture.shape == (2, 2, 3)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A network that learned nothing."""
    config = load_config([], ["data.source=phantom", "model.backbone=resnet18", "model.pretrained=false"])
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoints") / "best.pt"
    save_checkpoint({"config": config, "model": create_model("resnet18").backbone.state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def explain(checkpoint, phantoms):
    """Explain it on the phantoms; returns the facts and the table."""

    def explain(folder, table=None, annotations=phantoms / "resources/phantom/Annotations"):
        make_explanations(
            "stratified",
            checkpoint,
            table or phantoms / "resources/splits/stratified_test.csv",
            next(phantoms.glob("resources/cache/*.json")),
            annotations,
            ["SYNTHETIC phantoms"],
            "a note",
            42,
            "cpu",
            1,
            folder,
        )
        facts = json.loads((folder / "explanation.json").read_text())
        return facts, pd.read_csv(folder / "explanation.csv", dtype={"image_id": str})

    return explain


@pytest.fixture(scope="module")
def explained(explain, tmp_path_factory):
    """The folder, facts and table of the whole test partition."""
    folder = tmp_path_factory.mktemp("explained")
    return folder, *explain(folder)


def test_every_outlined_tumour_of_test_is_explained(explained, phantoms):
    _, facts, tumours = explained
    test = pd.read_csv(phantoms / "resources/splits/stratified_test.csv")
    assert tuple(tumours.columns) == COLUMNS
    assert set(tumours["image_id"]) == set(test.loc[test["label"] != "Normal", "image_id"])
    assert tumours[["probability", "energy", "blob_energy"]].stack().between(0, 1).all()
    everyone = facts["groups"][0]
    assert everyone["images"] == len(tumours) == facts["images"]["outlined"]
    assert everyone["cases"] == tumours["case_id"].nunique()
    assert everyone["measures"]["energy"]["mean"] == pytest.approx(tumours["energy"].mean(), abs=1e-6)


def test_facts_say_what_was_explained_how_and_with_which_limits(explained, checkpoint):
    _, facts, _ = explained
    assert facts["checkpoint"]["sha256"] == sha256_of_file(checkpoint)
    assert (facts["method"]["layer"], facts["method"]["map_cells"]) == ("layer4", [2, 2])
    assert facts["method"]["name"].startswith("Grad-CAM")
    assert "tolerance 0" in facts["method"]["pointing_game"]
    assert "not why" in facts["limits"]
    assert facts["caveats"] == ["SYNTHETIC phantoms"]
    assert set(facts["shown"]) == set(CLASSES)


def test_all_files_are_there_and_every_picture_shows_something(explained):
    folder, *_ = explained
    assert sorted(path.name for path in folder.iterdir()) == sorted(EXPLANATION_FILES)
    for picture in folder.glob("*.png"):
        assert np.asarray(Image.open(picture).convert("L")).std() > 5


def test_same_seed_gives_the_same_numbers(explained, explain, monkeypatch):
    for slow in ("draw_chart", "draw_gallery"):
        monkeypatch.setattr(run, slow, lambda *arguments: None)
    explain(Path("again"))
    for name in ("explanation.json", "explanation.csv"):
        assert Path("again", name).read_bytes() == (explained[0] / name).read_bytes()


def test_partition_without_an_outline_or_a_class_is_explained_with_nulls_and_a_note(explain, phantoms):
    test = pd.read_csv(phantoms / "resources/splits/stratified_test.csv")
    test[test["label"] != "Malignant"].to_csv("test.csv", index=False)
    facts, tumours = explain(Path("out"), Path("test.csv"), Path("nowhere"))
    assert tumours.empty
    assert facts["note"] == "no tumour of the test partition has an outline"
    assert facts["images"]["tumours"] > 0
    assert all(value is None for group in facts["groups"] for value in group["measures"].values())
    assert facts["shown"]["Malignant"] == {title: [] for title in MOST}
    assert all(Path("out", name).exists() for name in EXPLANATION_FILES)
