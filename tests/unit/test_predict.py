"""`btxrd predict` on the films of anybody: what it says is what the evaluation said, whatever the films are called."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from time import sleep

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.special import softmax
from torch.optim.swa_utils import update_bn

from btxrd import CLASSES
from btxrd.cli import main
from btxrd.config import load_config
from btxrd.data.cache import open_cache
from btxrd.data.decoding import decode
from btxrd.data.films import read_film
from btxrd.models.classifier import create_model
from btxrd.prediction import outputs, predict, predictor
from btxrd.prediction.heatmaps import as_shown
from btxrd.prediction.outputs import COLUMNS, Row, rows_to
from btxrd.prediction.predict import find_films
from btxrd.prediction.predictor import Prediction, result_places
from btxrd.training.checkpoint import save_checkpoint
from btxrd.training.trained import load_trained

TINY = ["data.source=phantom", "data.image_size=64", "data.num_workers=0", "model.backbone=mobilenetv3_small_050"]
RAW, CALIBRATED = ([f"{kind}_{name.lower()}" for name in CLASSES] for kind in ("probability", "calibrated"))
NO_COMPANION = "No inference.json of this very checkpoint was found"


@pytest.fixture(scope="module")
def evaluated(phantoms, tmp_path_factory):
    """A folder with the checkpoint of a network that calls films by all classes, and its evaluation; as of a run."""
    torch.manual_seed(0)
    model, cache = create_model("mobilenetv3_small_050"), open_cache(phantoms / "resources/cache/gray_64_pad.json")
    films = torch.from_numpy(np.stack([cache.film(row) for row in range(len(cache))])).unsqueeze(1)
    update_bn([films], model)
    with torch.no_grad():
        head, logits = model.backbone.get_classifier(), model.eval()(films)
        head.weight /= 10 * logits.std(dim=0)[:, None]
        head.bias -= model(films).mean(dim=0)
    folder = tmp_path_factory.mktemp("run")
    save(model, folder / "checkpoints/best_stratified.pt")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("resources").symlink_to(phantoms / "resources")
        assert main(["evaluate", "--threads", "1", "--gpus", "0", "--override", *TINY]) == 0
    return folder


def save(model, path, *overrides):
    content = {"epoch": 3, "model": model.backbone.state_dict(), "provenance": {"caveats": ["untrained"]}}
    save_checkpoint(content | {"config": load_config(overrides=[*TINY, *overrides])}, path)


@pytest.fixture
def judged(btxrd, evaluated):
    """Run `btxrd predict` with --out; returns its exit status, the rows that it wrote and what it said on stderr."""

    def run(*arguments, checkpoint=evaluated / "checkpoints/best_stratified.pt"):
        status, said = btxrd("predict", "--checkpoint", str(checkpoint), "--out", "out.json", *map(str, arguments))
        rows = json.loads(Path("out.json").read_text()) if Path("out.json").exists() else None
        return status, rows, said

    return run


@pytest.fixture(scope="module")
def films(phantoms):
    return sorted((phantoms / "resources/phantom/images").iterdir())


@pytest.fixture(scope="module")
def companion(evaluated):
    return json.loads((evaluated / "results/stratified/inference.json").read_text())


def numbers(rows, columns):
    return np.array([[row[name] for name in columns] for row in rows])


@pytest.mark.parametrize("few", [100, 0], ids=["few films", "many"])
def test_films_are_judged_as_in_the_evaluation(judged, phantoms, evaluated, companion, monkeypatch, few):
    made, fuse = [], predictor.fuse
    monkeypatch.setattr(predict, "FEW", few)
    monkeypatch.setattr(predictor, "fuse", lambda *arguments: made.append(fuse(*arguments)) or made[-1])
    expected = pd.read_csv(evaluated / "results/stratified/predictions.csv").query("partition == 'test'")
    assert expected["predicted"].nunique() > 1
    folder = phantoms / "resources/phantom/images"
    status, rows, said = judged(*(folder / f"{image_id}.jpeg" for image_id in expected["image_id"]))
    assert status == 0
    assert [type(form).__name__ for form in made] == ([] if few else ["RecursiveScriptModule"])
    assert [row["predicted"] for row in rows] == list(expected["predicted"])
    assert numbers(rows, RAW) == pytest.approx(expected[RAW].to_numpy(), abs=1e-5)
    logits = expected[[f"logit_{name.lower()}" for name in CLASSES]].to_numpy()
    assert numbers(rows, CALIBRATED) == pytest.approx(softmax(logits / companion["temperature"], axis=1), abs=1e-5)
    for row, probability in zip(rows, expected["probability_malignant"], strict=True):
        thresholds = companion["malignant_thresholds"].items()
        assert row["operating_points"] == [name for name, least in thresholds if probability >= least]
    assert NO_COMPANION not in said


def test_films_are_prepared_as_the_checkpoint_says(judged, evaluated, films):
    checkpoint = load_trained(evaluated / "checkpoints/best_stratified.pt", torch.device("cpu"))
    save(checkpoint.model, Path("squashed.pt"), "data.image_size=96", "data.resize=squash")
    _, rows, _ = judged(*films[:3], checkpoint="squashed.pt")
    squares = [decode(path.read_bytes(), *np.asarray(Image.open(path)).shape[:2], 96, "squash") for path in films[:3]]
    with torch.inference_mode():
        logits = checkpoint.model(torch.from_numpy(np.stack(squares)).unsqueeze(1)).numpy()
    assert numbers(rows, RAW) == pytest.approx(softmax(logits, axis=1), abs=1e-5)


def test_companion_beside_the_checkpoint_is_taken_if_it_is_its_own(judged, evaluated, companion, films):
    shutil.copy(evaluated / "checkpoints/best_stratified.pt", "a.pt")
    anothers = json.dumps(companion | {"checkpoint_sha256": "0" * 64})
    for name in ("elsewhere.json", "inference.json"):
        Path(name).write_text(anothers)
        status, rows, said = judged(films[0], checkpoint="a.pt")
        assert (status, rows[0]["calibrated_normal"], rows[0]["operating_points"]) == (0, None, None)
        assert NO_COMPANION in said
    status, _, said = judged(films[0], "--inference", "inference.json", checkpoint="a.pt")
    assert status == 1
    assert "inference.json: it belongs to another checkpoint than a.pt" in said
    Path("inference.json").write_text(json.dumps(companion))
    assert judged(films[0], checkpoint="a.pt")[1] == judged(films[0])[1]


def test_companion_of_a_further_seed_is_looked_for_in_its_results():
    config = load_config(overrides=["replicates=[7, 8]", "seed=8"])
    places = result_places(Path("/run/checkpoints/seed_8/best_stratified.pt"), config, "inference.json")
    assert Path("/run/results/stratified/seed_8/inference.json") in places


def test_operating_points_are_on_the_probability_before_the_temperature(judged, companion, films):
    most = max(judged(*films[:8])[1], key=lambda row: row["probability_malignant"])
    probability = most["probability_malignant"]
    thresholds = {"below": probability - 1e-5, "above": probability + 1e-5, "unknown": None}
    Path("inference.json").write_text(json.dumps(companion | {"temperature": 9, "malignant_thresholds": thresholds}))
    _, (row,), _ = judged(most["file"], "--inference", "inference.json")
    assert row["operating_points"] == ["below"]


def test_films_beyond_the_distance_of_val_are_told(judged, companion, films):
    for factor, warns in ((0.01, True), (100, False)):
        features = companion["features"] | {"distance": factor * companion["features"]["distance"]}
        Path("inference.json").write_text(json.dumps(companion | {"features": features}))
        _, rows, _ = judged(*films[:4], "--inference", "inference.json")
        assert all(str(row["warnings"]).startswith("['far from the training images: ") is warns for row in rows)


def test_rows_are_csv_or_json_by_the_ending(judged, films):
    status, rows, _ = judged(*films[:2], "text.png")
    judged(*films[:2], "text.png", "--out", "out.CSV")
    with Path("out.CSV").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert status == 3
    assert [list(row) for row in (*rows, *found)] == [list(COLUMNS)] * 6
    for row, cells in zip(rows, found, strict=True):
        as_text = {name: "; ".join(value) if isinstance(value, list) else str(value) for name, value in row.items()}
        assert cells == {name: "" if row[name] is None else text for name, text in as_text.items()}


def test_other_endings_are_refused_before_anything_is_read(judged):
    assert judged("film.png", "--out", "out.txt", checkpoint="absent.pt") == (
        1, None, "btxrd predict: --out out.txt: its name must end in .csv or .json.\n",
    )  # fmt: skip


def test_without_a_terminal_stdout_is_csv_and_nothing_else(evaluated, films, capfd):
    checkpoint = str(evaluated / "checkpoints/best_stratified.pt")
    assert main(["predict", "--threads", "1", "--checkpoint", checkpoint, str(films[0])]) == 0
    told = capfd.readouterr()
    (row,) = csv.DictReader(io.StringIO(told.out))
    assert (row["file"], list(row)) == (str(films[0]), list(COLUMNS))
    assert told.err.count("Research only, not for clinical use.") == told.err.count("clinical") == 1
    assert "best_stratified.pt: epoch 3 of stratified · untrained\n" in told.err


def test_on_a_terminal_rows_are_a_table(monkeypatch, capfd):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    said = Prediction(np.array([0.1, 0.2, 0.7]), np.array([0.2, 0.2, 0.6]), ["youden", "other"], ["only 9 × 9 px"])
    rows = [Row(Path("a" * 90, "end\n\x1b[2J.png"), said, ""), Row(Path("b.png"), None, "an empty file")]
    with rows_to(None, [row.path for row in rows]) as write:
        for row in rows:
            write(row)
    assert capfd.readouterr().out.splitlines() == [
        f"{'':54}probability (calibrated)",
        "file                            predicted       Normal      Benign   Malignant",
        "…aaaaaaaaaaaaaaaa/end��[2J.png  Malignant  0.10 (0.20) 0.20 (0.20) 0.70 (0.60)",
        "    Malignant at the operating points youden and other",
        "    warning: only 9 × 9 px",
        "b.png                           not read: an empty file",
    ]


def test_folders_are_searched_for_films(films):
    dicom = bytes(128) + b"DICM"
    for folder in ("z/y", "z/.git"):
        Path(folder).mkdir(parents=True)
    for name in ("b.JPG", "a.png", "y/c.dcm", ".hidden.png", ".git/d.png", "e.txt", "notes"):
        Path("z", name).write_bytes(films[0].read_bytes())
    for name in ("1", "DICOMDIR"):
        Path("z", name).write_bytes(dicom)
    Path("z/y/up").symlink_to("..")
    Path("z/loop.png").symlink_to("loop.png")
    Path("z/gone").symlink_to("absent")
    os.mkfifo("z/pipe")
    pipe = os.open("z/pipe", os.O_RDWR)  # in which a film waits for whoever opens it
    os.write(pipe, 300 * dicom)
    found = [(str(path), reason) for path, reason in find_films([Path("e.txt"), Path("z"), Path("z/y")])]
    os.close(pipe)
    inside = ["1", "a.png", "b.JPG", "loop.png"]
    below = [f"z/y/up/{name}" for name in inside]
    assert [name for name, _ in found] == ["e.txt", *(f"z/{name}" for name in inside), "z/y/c.dcm", "z/y/c.dcm", *below]


def test_every_file_gets_a_row_and_the_exit_status_says_whether_one_failed(judged, films):
    Path("text.png").write_text("text")
    Path("empty").mkdir()
    status, rows, said = judged("text.png", films[0], "empty", "absent.png")
    assert status == 3
    assert [row["error"] for row in rows] == [
        "no JPEG, PNG, TIFF or DICOM file, whatever its name says",
        None,
        "a folder without JPEG, PNG, TIFF or DICOM files",
        "no such file or directory",
    ]
    assert f"1 film: 1 {rows[1]['predicted']}; 3 files could not be read → out.json" in said
    status, rows, said = judged("text.png", "empty")
    assert (status, len(rows)) == (1, 2)
    assert "btxrd predict: none of 2 files could be read; each row says why." in said


@pytest.mark.parametrize(
    ("name", "spelled"),
    [(b"a film.jpeg", "a film.jpeg"), ("Öl, 骨.jpeg".encode(), "Öl, 骨.jpeg"), (b"\xff\n.jpeg", "\\xff\n.jpeg")],
)
def test_any_name_will_do(judged, films, name, spelled):
    Path("films").mkdir()
    shutil.copy(films[0], os.fsdecode(b"films/" + name))
    status, rows, _ = judged("films", "--heatmaps", "heat", "--log", "log.txt")
    assert (status, rows[0]["file"]) == (0, f"films/{spelled}")
    assert [os.fsencode(path.stem) for path in Path("heat").iterdir()] == [name[:-5]]


def test_name_that_is_too_long_is_a_row_as_any_other(judged, films):
    status, rows, _ = judged(f"{300 * 'a'}.jpg", films[0])
    assert (status, rows[0]["error"]) == (3, "file name too long")
    assert rows[1]["predicted"]


@pytest.mark.parametrize(("option", "value"), [("--device", "gpu"), ("--threads", "0")])
def test_option_out_of_range_is_told_before_anything_is_read(option, value, capfd):
    with pytest.raises(SystemExit) as ended:
        main(["predict", "--checkpoint", "absent.pt", "absent.jpg", option, value])
    assert ended.value.code == 2
    assert f"argument {option}: {value} must be" in capfd.readouterr().err


def test_reader_who_has_seen_enough_is_no_error(evaluated, films):
    command = [sys.executable, "-m", "btxrd", "predict", "--checkpoint", evaluated / "checkpoints/best_stratified.pt"]
    process = subprocess.Popen([*command, *films[:60]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert "ipe" not in process.stderr.read()
    assert process.wait() == 141


def test_heat_maps_are_a_picture_each_and_change_no_prediction(judged, films):
    for folder in ("one", "two"):
        Path(folder).mkdir()
        shutil.copy(films[0], f"{folder}/film.jpeg")
    named = ("one", "two", films[1], films[1])
    _, rows, _ = judged(*named, "--heatmaps", "heat")
    assert rows == judged(*named)[1]
    stem = films[1].stem
    assert {path.name for path in Path("heat").iterdir()} == {"film.png", "film_2.png", f"{stem}.png"}
    for path in Path("heat").iterdir():
        with Image.open(path) as picture:
            assert picture.width >= 800
            assert len(np.unique(np.asarray(picture.convert("L")))) > 100  # a film is there


@pytest.mark.parametrize("resize", ["pad", "squash"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
def test_heat_lies_where_the_film_has_what_is_hot(resize, kind):
    bright, exif, content = Image.new("L", (400, 200)), Image.Exif(), io.BytesIO()
    bright.paste(255, (250, 20, 350, 100))
    exif[0x0112] = 6
    bright.save(content, kind, exif=exif)
    film = read_film(content.getvalue(), 64, resize)
    shown, heat = as_shown(content.getvalue(), film, film.square / np.float32(255), resize)
    assert shown.shape == heat.shape == (720, 360)
    assert np.abs(255 * heat - shown).mean() < 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"head.weight": torch.zeros(2)}, "a.pt: no checkpoint of this project"),
        ({"config": {}, "model": {}}, "a.pt: no checkpoint of this project"),
        ([1], "a.pt: damaged, or no checkpoint"),
        (b"text", "a.pt: damaged, or no checkpoint"),
        (None, "a.pt: no such file"),
    ],
)
def test_what_is_no_checkpoint_is_one_sentence(judged, films, content, words):
    if isinstance(content, bytes):
        Path("a.pt").write_bytes(content)
    elif content:
        torch.save(content, "a.pt")
    status, rows, said = judged(films[0], checkpoint="a.pt")
    assert (status, rows) == (1, None)
    assert said.splitlines()[-1].startswith(f"btxrd predict: {words}")


def test_rows_are_in_order_however_many_wait(evaluated, films, monkeypatch):
    content_of = predict.content_of
    monkeypatch.setattr(predict, "AHEAD", 1)
    monkeypatch.setattr(predict, "content_of", lambda path: sleep(0.1 * (path == films[0])) or content_of(path))
    checkpoint, out = evaluated / "checkpoints/best_stratified.pt", Path("out.json")
    assert predict.predict(checkpoint, films[:23], out, None, None, "cpu", 3) == 0
    assert [row["file"] for row in json.loads(out.read_text())] == [str(path) for path in films[:23]]


def test_stopped_in_the_middle_it_leaves_nothing(judged, films, monkeypatch):
    read, content_of = [], predict.content_of
    monkeypatch.setattr(predict, "content_of", lambda path: sleep(0.02) or read.append(path) or content_of(path))

    def full(stream):
        def write(row):
            raise OSError(28, "No space left on device")

        return write

    monkeypatch.setattr(outputs, "_json", full)
    status, _, said = judged(*films)
    assert (status, said.splitlines()[-1]) == (1, "btxrd predict: out.json: No space left on device.")
    assert list(Path().iterdir()) == []
    assert [thread.name for thread in threading.enumerate() if "ThreadPool" in thread.name] == []
    assert len(read) < len(films) / 2  # it does not go on with what was still to come
