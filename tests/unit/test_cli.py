import subprocess
import sys
from pathlib import Path

import pytest


def test_help_imports_nothing_heavy(root):
    code = (
        "import sys; from btxrd.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'pandas', 'numpy', 'cv2', 'matplotlib', 'albumentations', 'timm'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    env = {"PYTHONPATH": str(root / "workflow/lib")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    for command in (
        "download",
        "extract",
        "phantom",
        "table",
        "cache",
        "cases",
        "split",
        "weights",
        "train",
        "plot",
    ):
        assert command in done.stdout


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["extract", "--override", "data.archive=absent.zip"], "absent.zip: no such file"),
        (["table"], "resources/btxrd/dataset.xlsx: no such file"),
        (["cache"], "resources/metadata.csv: No such file"),
        (["cases"], "resources/metadata.csv: No such file"),
        (["split"], "resources/metadata.csv: No such file"),
        (["plot"], "resources/splits/stratified.json: no such file; make the split first"),
        (["train", "--override", "device=cuda:7"], "device: cuda:7 is not there"),
        (["train", "--override", "device=cpu"], "the cache is missing"),
        (["train", "--config", "absent.yaml"], "absent.yaml: cannot be read"),
        (["train", "--override", "training.epochs=-1"], "training.epochs is -1"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_status_1(btxrd, command, words):
    status, message = btxrd(*command)
    assert status == 1
    assert words in message
    assert "Traceback" not in message


def test_unexpected_errors_are_kept_for_the_log(btxrd, monkeypatch):
    def broken(*arguments, **options):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr("btxrd.caveats.footnote", broken)
    status, message = btxrd("plot", "--log", "logs/broken.log")
    assert status == 1
    assert "a mistake of ours" in message
    assert "Traceback" not in message
    assert "Traceback" in Path("logs/broken.log").read_text()


def test_log_lines_go_to_the_file_and_to_the_terminal(btxrd, phantoms, monkeypatch):
    monkeypatch.chdir(phantoms)
    status, message = btxrd("split", "--log", "logs/split.log", "--override", "training.split_strategy=center")
    assert status == 0
    assert "center_holdout" in message
    assert message == Path("logs/split.log").read_text()
