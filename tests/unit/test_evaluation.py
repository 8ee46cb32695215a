"""A trained network on phantoms, from its checkpoint to what stands on disk."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageDraw
from sklearn import metrics as sklearn
from torch.optim.swa_utils import update_bn

from btxrd import CLASSES
from btxrd.config import load_config
from btxrd.data.cache import open_cache
from btxrd.data.outlines import LESION_SIZES
from btxrd.evaluation.calibration import calibration_metrics, fit_temperature
from btxrd.evaluation.evaluate import evaluate
from btxrd.evaluation.inference import run_on_partition
from btxrd.evaluation.outputs import EVALUATION_FILES, EVALUATION_PICTURES
from btxrd.evaluation.thresholds import choose_thresholds
from btxrd.files import sha256_of_file
from btxrd.models.classifier import create_model
from btxrd.training.checkpoint import save_checkpoint
from btxrd.training.trained import load_trained

CPU = torch.device("cpu")
TINY = [
    "data.source=phantom", "data.image_size=64", "data.num_workers=0", "model.pretrained=false",
    "training.epochs=2", "training.batch_size=16",
]  # fmt: skip
SMALL = "model.backbone=mobilenetv3_small_050"
LOGITS = ["logit_normal", "logit_benign", "logit_malignant"]
PROBABILITIES = ["probability_normal", "probability_benign", "probability_malignant"]


def cache_index(phantoms):
    return phantoms / "resources/cache/gray_64_pad.json"


def tables_of(phantoms):
    return {name: phantoms / f"resources/splits/stratified_{name}.csv" for name in ("train", "val", "test")}


@pytest.fixture(scope="module")
def checkpoint(phantoms, tmp_path_factory):
    """A network that no training has seen, solved to be somewhat right: its logits lean to the label, with noise."""
    torch.manual_seed(0)
    model = create_model("efficientnet_b0")
    cache = open_cache(cache_index(phantoms))
    films = torch.from_numpy(np.stack([cache.film(row) for row in range(len(cache))])).unsqueeze(1)
    update_bn([films], model)
    labels = class_numbers(pd.read_csv(phantoms / "resources/metadata.csv")["label"])  # in the order of the cache
    wanted = 1.5 * torch.eye(3)[torch.tensor(labels)] + 1.5 * torch.randn(len(films), 3)
    solve_classifier(model.eval(), films, wanted)
    path = tmp_path_factory.mktemp("checkpoints") / "best_stratified.pt"
    config, weights = load_config(overrides=TINY), model.backbone.state_dict()
    save_checkpoint({"epoch": 3, "model": weights, "config": config, "provenance": {"caveats": ["untrained"]}}, path)
    return path


@torch.no_grad()
def solve_classifier(model, films, logits):
    head, features = model.backbone.get_classifier(), []
    with head.register_forward_pre_hook(lambda module, inputs: features.append(inputs[0])):
        model(films)
    head.weight.copy_(torch.linalg.pinv(features[0], rtol=1e-2).matmul(logits).T)
    head.bias.zero_()


def evaluated_in(folder, phantoms, checkpoint, tables):
    resources = phantoms / "resources"
    evaluate(
        "stratified",
        checkpoint,
        tables,
        resources / "metadata.csv",
        cache_index(phantoms),
        resources / "phantom/Annotations",
        "cpu",
        "a note",
        folder,
    )
    return folder


@pytest.fixture(scope="module")
def evaluated(phantoms, checkpoint, tmp_path_factory):
    return evaluated_in(tmp_path_factory.mktemp("evaluated"), phantoms, checkpoint, tables_of(phantoms))


def read(folder, name="metrics.json"):
    """JSON as the standard has it: without NaN and infinity."""

    def refuse(constant):
        raise AssertionError(f"{name} holds {constant}")

    return json.loads((folder / name).read_text(), parse_constant=refuse)


def read_predictions(folder, partition=None):
    rows = pd.read_csv(folder / "predictions.csv", keep_default_na=False)
    return rows if partition is None else rows[rows["partition"] == partition].reset_index(drop=True)


def class_numbers(names):
    return names.map(CLASSES.index).to_numpy()


def test_everything_that_is_promised_is_written(evaluated):
    assert {path.name for path in evaluated.iterdir()} == set(EVALUATION_FILES)


def test_predictions_name_film_label_logits_and_probabilities(phantoms, evaluated):
    assert list(read_predictions(evaluated).columns) == [
        "image_id", "case_id", "center", "hospital", "label", *LOGITS, *PROBABILITIES, "predicted", "partition",
    ]  # fmt: skip
    for partition in ("val", "test"):
        rows, table = read_predictions(evaluated, partition), pd.read_csv(tables_of(phantoms)[partition])
        for column in ("image_id", "case_id", "center", "label"):
            assert list(rows[column]) == list(table[column])
    assert len(read_predictions(evaluated)) == len(rows) + len(read_predictions(evaluated, "val"))


def test_probabilities_are_the_softmax_of_the_logits(evaluated):
    rows = read_predictions(evaluated)
    exponentials = np.exp(rows[LOGITS].to_numpy())
    assert rows[PROBABILITIES].to_numpy() == pytest.approx(exponentials / exponentials.sum(axis=1, keepdims=True))
    assert rows[PROBABILITIES].sum(axis=1).to_numpy() == pytest.approx(1)
    assert list(rows["predicted"]) == [CLASSES[number] for number in rows[LOGITS].to_numpy().argmax(axis=1)]
    assert rows["predicted"].nunique() > 1  # or the tests below would see little


def test_logits_are_those_of_the_network(phantoms, checkpoint, evaluated):
    cache, rows = open_cache(cache_index(phantoms)), read_predictions(evaluated)
    films = np.stack([cache.film_of(image_id) for image_id in rows["image_id"]])
    with torch.inference_mode():
        logits = load_trained(checkpoint, CPU).model(torch.from_numpy(films).unsqueeze(1))
    assert rows[LOGITS].to_numpy() == pytest.approx(logits.numpy(), abs=1e-3)


@pytest.mark.parametrize("partition", ["val", "test"])
def test_metrics_are_those_of_the_predictions(evaluated, partition):
    rows, found = read_predictions(evaluated, partition), read(evaluated)["partitions"][partition]
    probabilities, called = rows[PROBABILITIES].to_numpy(), rows["predicted"]
    average = {"labels": list(CLASSES), "average": None, "zero_division": np.nan}
    expected = {
        "accuracy": sklearn.accuracy_score(rows["label"], called),
        "balanced_accuracy": sklearn.balanced_accuracy_score(rows["label"], called),
        "macro_f1": sklearn.f1_score(rows["label"], called, average="macro"),
        "mcc": sklearn.matthews_corrcoef(rows["label"], called),
        "macro_auc": sklearn.roc_auc_score(class_numbers(rows["label"]), probabilities, multi_class="ovr"),
        **label("sensitivity", sklearn.recall_score(rows["label"], called, **average)),
        **label("ppv", sklearn.precision_score(rows["label"], called, **average)),
    }
    values = {name: found["metrics"][name]["value"] for name in expected}
    assert {name: np.nan if value is None else value for name, value in values.items()} == pytest.approx(
        expected, nan_ok=True
    )
    confusion = pd.crosstab(rows["label"], called).reindex(index=CLASSES, columns=CLASSES, fill_value=0)
    assert found["confusion"] == confusion.to_numpy().tolist()
    assert found["support"] == rows["label"].value_counts().to_dict()
    assert (found["images"], found["cases"]) == (len(rows), rows["case_id"].nunique())
    missed = found["malignant_called_normal"]
    assert (missed["count"], missed["of"]) == (confusion.loc["Malignant", "Normal"], found["support"]["Malignant"])


def label(metric, values):
    return {f"{name}.{metric}": value for name, value in zip(CLASSES, values, strict=True)}


def test_temperature_is_fitted_on_val_and_applied_to_both(evaluated):
    facts, val = read(evaluated), read_predictions(evaluated, "val")
    temperature = fit_temperature(val[LOGITS].to_numpy(), class_numbers(val["label"]))
    assert facts["temperature"] == pytest.approx(temperature, rel=1e-3)
    for partition in ("val", "test"):
        rows, found = read_predictions(evaluated, partition), facts["partitions"][partition]["calibration"]
        logits, labels = rows[LOGITS].to_numpy(), class_numbers(rows["label"])
        assert found["before"] == pytest.approx(calibration_metrics(logits, labels), abs=1e-6)
        assert found["after"] == pytest.approx(calibration_metrics(logits, labels, facts["temperature"]), abs=1e-6)


@pytest.mark.parametrize("partition", ["val", "test"])
def test_operating_points_can_be_recomputed_from_the_predictions(evaluated, partition):
    """To the last film: a threshold is the probability that a film of val was given."""
    rows, val = read_predictions(evaluated, partition), read_predictions(evaluated, "val")
    chosen = choose_thresholds(val["label"] == "Malignant", val["probability_malignant"].to_numpy())
    for name, point in read(evaluated)["partitions"][partition]["operating_points"].items():
        assert point["threshold"] == chosen[name]
        called, malignant = rows["probability_malignant"] >= point["threshold"], rows["label"] == "Malignant"
        counts = {rate: (point[rate]["count"], point[rate]["of"]) for rate in point if rate != "threshold"}
        assert counts == {
            "sensitivity": ((called & malignant).sum(), malignant.sum()),
            "specificity": ((~called & ~malignant).sum(), (~malignant).sum()),
            "ppv": ((called & malignant).sum(), called.sum()),
            "npv": ((~called & ~malignant).sum(), (~called).sum()),
        }


def test_results_are_tied_to_the_checkpoint(checkpoint, evaluated):
    facts, digest = read(evaluated), sha256_of_file(checkpoint)
    assert facts["checkpoint"] == {"file": "best_stratified.pt", "sha256": digest, "epoch": 3}
    assert facts["provenance"] == {"caveats": ["untrained"]}
    assert read(evaluated, "inference.json")["checkpoint_sha256"] == digest


def test_users_are_given_what_val_said(phantoms, checkpoint, evaluated):
    given, facts = read(evaluated, "inference.json"), read(evaluated)
    points = facts["partitions"]["val"]["operating_points"]
    assert given["class_names"] == list(CLASSES)
    assert given["temperature"] == facts["temperature"]
    assert given["malignant_thresholds"] == {name: point["threshold"] for name, point in points.items()}


def test_features_are_what_the_classifier_of_the_network_reads_on_val(phantoms, checkpoint, evaluated):
    given = read(evaluated, "inference.json")["features"]
    network = load_trained(checkpoint, CPU).model.backbone
    assert len(given["mean"]) == len(given["std"]) == network.num_features
    logits = network.get_classifier()(torch.tensor(given["mean"])).detach().numpy()
    assert logits == pytest.approx(read_predictions(evaluated, "val")[LOGITS].mean().to_numpy(), abs=1e-5)


def test_a_film_of_val_is_within_the_distance_given_to_users(phantoms, checkpoint, evaluated):
    given = read(evaluated, "inference.json")["features"]
    outputs = run_on_partition(
        load_trained(checkpoint, CPU), tables_of(phantoms)["val"], open_cache(cache_index(phantoms))
    )
    distances = np.sqrt((((outputs.features - given["mean"]) / given["std"]) ** 2).mean(axis=1))
    assert (distances > given["distance"]).sum() == 1  # of 13: the 99 % lie between the last two


def test_groups_are_those_of_the_metadata(phantoms, evaluated):
    metadata = pd.read_csv(phantoms / "resources/metadata.csv", keep_default_na=False).set_index("image_id")
    test = read_predictions(evaluated, "test")
    images = metadata.loc[test["image_id"]]
    rows = pd.DataFrame(read(evaluated)["subgroups"])
    for grouping in ("center", "view", "region", "sex", "subtype"):
        found = rows[rows["grouping"] == grouping].set_index("group")["images"].to_dict()
        assert found == images[grouping].astype(str)[lambda names: names != ""].value_counts().to_dict()
    men = test[(images["sex"] == "M").to_numpy()]
    row = rows[(rows["grouping"] == "sex") & (rows["group"] == "M")].iloc[0]
    assert row["accuracy"]["value"] == pytest.approx((men["label"] == men["predicted"]).mean())


def drawn_share(path):
    """The share of the film under its polygons, drawn at full size."""
    content = json.loads(path.read_text())
    mask = Image.new("1", (content["imageWidth"], content["imageHeight"]))
    for shape in content["shapes"]:
        if shape["shape_type"] == "polygon":
            ImageDraw.Draw(mask).polygon([tuple(point) for point in shape["points"]], fill=1)
    return np.mean(mask)


def test_sizes_of_lesions_are_those_of_their_outlines(phantoms, evaluated):
    folder = phantoms / "resources/phantom/Annotations"
    paths = [folder / f"{image_id}.json" for image_id in read_predictions(evaluated, "test")["image_id"]]
    shares = [drawn_share(path) for path in paths if path.exists()]
    assert 0 < len(shares) < len(paths)
    bands = list(LESION_SIZES)
    expected = pd.Series([bands[int(share >= 0.01) + int(share >= 0.05)] for share in shares]).value_counts().to_dict()
    rows = [row for row in read(evaluated)["subgroups"] if row["grouping"] == "lesion size"]
    assert {row["group"]: row["images"] for row in rows} == expected


@pytest.mark.parametrize("name", EVALUATION_PICTURES.values())
def test_picture_is_large_enough_to_read(evaluated, name):
    with Image.open(evaluated / name) as picture:
        picture.load()
        assert min(picture.size) > 700
        assert len(np.unique(np.asarray(picture.convert("L")))) > 20  # something is drawn


def test_evaluation_gives_the_same_bytes_every_time(phantoms, checkpoint, evaluated, tmp_path):
    again = evaluated_in(tmp_path, phantoms, checkpoint, tables_of(phantoms))
    for name in ("metrics.json", "inference.json", "predictions.csv"):
        assert (again / name).read_bytes() == (evaluated / name).read_bytes()


def without_malignant(phantoms, partition, folder):
    """The tables of the split, that of a partition without its Malignant films."""
    tables = tables_of(phantoms)
    rows = pd.read_csv(tables[partition], dtype=str, keep_default_na=False)
    path = folder / f"{partition}.csv"
    rows[rows["label"] != "Malignant"].to_csv(path, index=False)
    return tables | {partition: path}


@pytest.mark.filterwarnings("error")
def test_test_without_a_class_says_so_and_changes_nothing_that_val_decides(phantoms, checkpoint, evaluated, tmp_path):
    folder = evaluated_in(tmp_path / "out", phantoms, checkpoint, without_malignant(phantoms, "test", tmp_path))
    assert {path.name for path in folder.iterdir()} == set(EVALUATION_FILES)
    found = read(folder)["partitions"]
    assert found["test"]["notes"] == ["no Malignant image: what would need one is null"]
    assert found["test"]["metrics"]["balanced_accuracy"]["value"] is None
    assert found["test"]["metrics"]["Malignant.auc"]["value"] is None
    assert found["test"]["operating_points"]["youden"]["sensitivity"]["value"] is None
    assert found["test"]["operating_points"]["youden"]["specificity"]["value"] is not None
    assert found["val"] == read(evaluated)["partitions"]["val"]
    assert (folder / "inference.json").read_bytes() == (evaluated / "inference.json").read_bytes()


@pytest.mark.filterwarnings("error")
def test_val_without_malignant_films_gives_no_threshold(phantoms, checkpoint, tmp_path):
    folder = evaluated_in(tmp_path / "out", phantoms, checkpoint, without_malignant(phantoms, "val", tmp_path))
    nothing = {"youden": None, "sensitivity_0.90": None, "specificity_0.90": None}
    assert read(folder, "inference.json")["malignant_thresholds"] == nothing
    assert read(folder)["partitions"]["test"]["operating_points"] == nothing
    assert read(folder)["partitions"]["test"]["metrics"]["Malignant.auc"]["value"] is not None


def test_validation_of_the_best_epoch_is_that_of_its_evaluation(phantoms, tmp_path):
    from btxrd.cli import main

    shutil.copytree(phantoms / "resources", tmp_path / "resources")
    for command in ("train", "evaluate"):
        assert main([command, "--threads", "1", "--gpus", "0", "--override", *TINY, SMALL]) == 0
    logged = torch.load("checkpoints/best_stratified.pt", weights_only=True)["metrics"]
    facts = read(Path("results/stratified"))
    found = facts["partitions"]["val"]
    assert facts["checkpoint"]["epoch"] == logged["epoch"]
    assert found["calibration"]["before"]["nll"] == pytest.approx(logged["val_loss"], abs=1e-5)
    assert found["metrics"]["accuracy"]["value"] == pytest.approx(logged["val_acc"], abs=1e-5)
    for name in CLASSES:
        recall = found["metrics"][f"{name}.sensitivity"]["value"]
        assert recall == pytest.approx(logged[f"val_recall_{name.lower()}"], abs=1e-5)
