"""The page of `btxrd serve`, as a person with a browser and some films sees it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import sync_playwright
from pydicom.data import get_testdata_file

from btxrd import CLASSES
from btxrd.config import load_config
from btxrd.evaluation.companion import Companion, Surroundings
from btxrd.files import sha256_of_file, write_json
from btxrd.models.classifier import create_model
from btxrd.prediction.serve import MOST_FILMS, MOST_MEGABYTES
from btxrd.training.checkpoint import save_checkpoint

LEG = get_testdata_file("RG3_UNCR.dcm", download=False)
NAME = "Röntgen <b>fett &amp; eine Aufnahme.jpg"
# Runs the command and notes, on stdout, each file that it opens for writing outside /dev and /proc.
WATCHED = """
import os, sys
def note(event, facts):
    if event == "open" and isinstance(facts[0], (str, bytes)):
        path, flags = os.fsdecode(facts[0]), facts[2] or 0
        if flags & (os.O_WRONLY | os.O_RDWR) and not path.startswith(("/dev/", "/proc/")):
            os.write(1, f"WRITES {path}\\n".encode())
sys.dont_write_bytecode = True
from btxrd.cli import main
sys.addaudithook(note)
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """The checkpoint of a network that saw nothing, with a companion to which every film is far, and some films."""
    folder = tmp_path_factory.mktemp("serve")
    checkpoint = folder / "checkpoints/best_stratified.pt"
    config = load_config([], ["model.pretrained=false", "data.image_size=64"])
    torch.manual_seed(1)
    model = create_model(config["model"]["backbone"])
    content = {"epoch": 4, "config": config, "class_names": list(CLASSES), "provenance": {"caveats": ["cases unknown"]}}
    save_checkpoint(content | {"model": model.backbone.state_dict()}, checkpoint)
    around = Surroundings(np.zeros(1280), np.ones(1280), 1e-9)
    companion = Companion(sha256_of_file(checkpoint), 2.0, {"youden": 0.0, "sensitivity_0.90": 2.0}, around)
    write_json(companion.as_json(), folder / "results/stratified/inference.json")
    gradient = np.add.outer(np.arange(300), np.arange(200)).astype(np.uint8)
    Image.fromarray(gradient).save(checkpoint.with_name(NAME))
    checkpoint.with_name("note.txt").write_text("no film")
    wide = " | ".join(["center_holdout"] * 9)
    card = f"# Model card\n\n`{sha256_of_file(checkpoint)}`\n\n| {wide} |\n|{'---|' * 9}\n| {wide} |\n"
    (folder / "results/model_card.md").write_text(card)
    return checkpoint


@contextmanager
def served(checkpoint, *options, home):
    """The page, in a process of its own; gives its address, and afterwards what the process wrote to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", WATCHED, "serve", "--checkpoint", str(checkpoint), "--port", str(port), *options]
    environment = os.environ | {"HOME": str(home), "MPLCONFIGDIR": matplotlib.get_cachedir()}
    with (home / "out").open("w") as out:
        process = subprocess.Popen(command, cwd=home, stdout=out, stderr=out, env=environment)
        try:
            wait_until_served(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=20)


def wait_until_served(port, process):
    for _ in range(300):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health")
            return
        except OSError:
            assert process.poll() is None
            time.sleep(0.2)
    raise TimeoutError


@pytest.fixture(scope="module")
def address(network, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with served(network, home=home) as address:
        yield address
    said = (home / "out").read_text()
    assert "WRITES" not in said  # nothing that was dropped went to disk
    assert said.count("ot for clinical use") == 1
    assert sorted(path.name for path in home.iterdir()) == ["out"]


@pytest.fixture(scope="module")
def browser():
    if not shutil.which("chromium"):
        pytest.skip("needs Debian's chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=[1280, 400])
def page(request, browser, address):
    page = browser.new_page(viewport={"width": request.param, "height": 900})
    page.elsewhere, page.errors = [], []
    page.on(
        "request",
        lambda asked: None if address in asked.url.replace("ws:", "http:") else page.elsewhere.append(asked.url),
    )
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(address)
    page.wait_for_selector("input[type=file]", state="attached", timeout=60_000)
    yield page
    assert [url for url in page.elsewhere if not url.startswith(("data:", "blob:"))] == []
    assert page.errors == []
    page.close()


def drop(page, *files):
    """Put files on the page and wait until all have been dealt with."""
    page.set_input_files("input[type=file]", [str(file) for file in files])
    done = ".btxrd-bar, [data-testid=stAlert]"
    page.wait_for_function(
        "([number, done]) => [...document.querySelectorAll('[data-testid=stVerticalBlock]')]"
        ".filter(block => block.querySelector(':scope > * .btxrd-name, :scope > .btxrd-name')).length >= number"
        " && document.querySelectorAll('.btxrd-name').length === number"
        " && document.querySelectorAll(done).length > 0"
        " && !document.querySelector('[data-testid=stStatusWidget]')",
        arg=[min(len(files), MOST_FILMS), done],
        timeout=60_000,
    )
    page.wait_for_timeout(500)


def shown(page, name):
    """What the page says of a file: text, probabilities, widths of the bars relative to their track."""
    card = page.locator("[data-testid=stVerticalBlock]").filter(has=page.get_by_text(name, exact=True)).last
    return {
        "text": card.inner_text(),
        "values": [float(value) for value in card.locator(".btxrd-value").all_inner_texts()],
        "bars": card.locator(".btxrd-bar").evaluate_all(
            "bars => bars.map(bar => bar.getBoundingClientRect().width"
            " / bar.parentElement.getBoundingClientRect().width)"
        ),
        "picture": card.locator("img"),
        "slider": card.locator("input[type=range]"),
    }


def predicted(checkpoint, *files):
    """What `btxrd predict` says of the same files."""
    out = checkpoint.with_name("said.json")
    command = [sys.executable, "-m", "btxrd", "predict", "--checkpoint", checkpoint, *files, "--out", out]
    subprocess.run(command, check=True, capture_output=True)
    return json.loads(out.read_text())


def test_person_sees_what_predict_says_of_a_jpeg_and_a_dicom_and_why_a_text_is_none(page, network):
    jpeg, note = network.with_name(NAME), network.with_name("note.txt")
    drop(page, jpeg, LEG, note)
    for file, row in zip((NAME, "RG3_UNCR.dcm"), predicted(network, jpeg, LEG), strict=True):
        seen = shown(page, file)
        expected = [row[f"probability_{name.lower()}"] for name in CLASSES]
        assert seen["values"] == [round(value, 2) for value in expected]
        assert np.allclose(seen["bars"], expected, atol=0.03)
        assert f"Predicted {row['predicted']}" in seen["text"]
        assert all(f"{name} {row[f'calibrated_{name.lower()}']:.2f}" in seen["text"] for name in CLASSES)
        assert "Malignant at the operating points: youden." in seen["text"]
        assert "Far from the training images" in seen["text"]
    assert "no JPEG, PNG, TIFF or DICOM file" in shown(page, "note.txt")["text"]
    assert_nothing_is_clipped(page)


def assert_nothing_is_clipped(page):
    """Nothing is wider than the page, no words are smaller than 12 px, and the disclaimer is in sight at any place."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    small = page.evaluate(
        "[...document.querySelectorAll('[data-testid=stMain] *')].filter(element => element.innerText?.trim()"
        " && !element.children.length && parseFloat(getComputedStyle(element).fontSize) < 12)"
        ".map(element => element.innerText)"
    )
    assert [text for text in small if "KB" not in text and "MB" not in text] == []
    foot = page.locator(".btxrd-foot")
    for place in (0, 100_000):
        page.evaluate("place => document.querySelector('[data-testid=stMain]').scrollTo(0, place)", place)
        box, height = foot.bounding_box(), page.viewport_size["height"]
        assert 0 < box["y"] < box["y"] + box["height"] <= height
        assert foot.inner_text() == "stratified · cases unknown · research only, not for clinical use"


def test_slider_takes_the_heat_off_the_film(page, network):
    drop(page, network.with_name(NAME))
    seen = shown(page, NAME)
    before = seen["picture"].get_attribute("src")
    seen["slider"].focus()
    page.keyboard.press("Home")
    page.wait_for_function("before => document.querySelector('img').src !== before", arg=page.evaluate(
        "before => new URL(before, location).href", before))  # fmt: skip
    channels = page.evaluate(
        """async () => { const image = document.querySelector('img'); await image.decode();
        const canvas = document.createElement('canvas'); canvas.width = canvas.height = 50;
        canvas.getContext('2d').drawImage(image, 0, 0, 50, 50);
        return [...canvas.getContext('2d').getImageData(0, 0, 50, 50).data] }"""
    )
    pixels = np.array(channels).reshape(-1, 4)[:, :3]
    assert np.ptp(pixels, axis=1).max() <= 2  # gray again
    assert pixels.std() > 5


def test_model_card_is_there_and_stays_within_its_frame(page, network):
    page.get_by_text("About this network").click()
    page.get_by_text("Model card").wait_for()
    page.get_by_text(sha256_of_file(network)).wait_for()
    frame = page.locator("[data-testid=stExpander]").bounding_box()
    for part in page.locator("[data-testid=stExpander] :is(table, p, h1)").all():
        box = part.bounding_box()
        assert frame["x"] <= box["x"] < box["x"] + box["width"] <= frame["x"] + frame["width"]
    table = page.locator("[data-testid=stExpander] table")
    fits = "table => table.scrollWidth <= table.clientWidth || getComputedStyle(table).overflowX === 'auto'"
    assert table.evaluate(fits)


def test_too_many_and_too_large_files_are_refused_in_words(page, network, tmp_path):
    if page.viewport_size["width"] == 400:
        pytest.skip("the same words at any width")
    for number in range(MOST_FILMS + 1):
        shutil.copy(network.with_name("note.txt"), tmp_path / f"{number}.txt")
    drop(page, *sorted(tmp_path.glob("*.txt")))
    assert f"{MOST_FILMS + 1} files are too many: the first {MOST_FILMS} are shown" in page.inner_text("body")
    page.reload()
    page.wait_for_selector("input[type=file]", state="attached")
    with (tmp_path / "large.dcm").open("wb") as file:
        file.truncate((MOST_MEGABYTES + 1) * 1024**2)
    page.set_input_files("input[type=file]", str(tmp_path / "large.dcm"))
    page.get_by_text(f"File must be {MOST_MEGABYTES}.0MB or smaller").wait_for(state="attached")


def test_page_is_for_this_machine_alone(address):
    port = int(address.rpartition(":")[2])
    tables = [Path("/proc/net") / name for name in ("tcp", "tcp6")]
    rows = [row.split() for table in tables if table.exists() for row in table.read_text().splitlines()[1:]]
    listening = [row[1] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "0A"]
    assert listening == [f"0100007F:{port:04X}"]


def test_checkpoint_that_is_none_is_told_before_there_is_a_page(btxrd, tmp_path):
    (tmp_path / "a.pt").write_text("no checkpoint")
    status, said = btxrd("serve", "--checkpoint", "a.pt")
    assert (status, "a.pt: damaged, or no checkpoint" in said) == (1, True)


def test_missing_library_is_named_with_what_brings_it(btxrd, network, monkeypatch):
    monkeypatch.setitem(sys.modules, "streamlit.web", None)
    status, said = btxrd("serve", "--checkpoint", str(network))
    assert (status, "pip install '.[serve]'" in said) == (1, True)
