import json
import stat
import zipfile
from pathlib import Path

import pytest

from btxrd.data import archive as archive_module
from btxrd.data.archive import BTXRD_SHA256, download, extract
from btxrd.errors import UserError
from btxrd.files import sha256_of_file

LAYOUT = {
    "BTXRD/dataset.xlsx": b"table",
    "BTXRD/images/IMG000001.jpeg": b"film",
    "BTXRD/Annotations/IMG000001.json": b"{}",
    "BTXRD/Annotations/Annotations/IMG000001.json": b"{}",
    "BTXRD/~$dataset(total).xlsx": b"lock",
    "BTXRD/images/._IMG000001.jpeg": b"resource fork",
}


def make_zip(content, name="films.zip"):
    with zipfile.ZipFile(name, "w") as archive:
        for path, data in content.items():
            archive.writestr(path, data)
    return name


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


def test_layout_is_unpacked_without_wrapper_duplicates_and_lock_files():
    extract(make_zip(LAYOUT), "raw")
    assert files_in("raw") == ["Annotations/IMG000001.json", "dataset.xlsx", "images/IMG000001.jpeg"]


def test_archive_without_wrapper_and_annotations_is_fine():
    extract(make_zip({"dataset.xlsx": b"t", "images/a.png": b"x"}), "raw")
    assert files_in("raw") == ["dataset.xlsx", "images/a.png"]


def test_unpacking_again_leaves_nothing_of_the_old():
    extract(make_zip(LAYOUT), "raw")
    extract(make_zip({"dataset.xlsx": b"t", "images/b.jpeg": b"x"}), "raw")
    assert files_in("raw") == ["dataset.xlsx", "images/b.jpeg"]


def link():
    info = zipfile.ZipInfo("BTXRD/images/link.jpeg")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ("../outside.jpeg", "leaves the folder"),
        ("BTXRD/images/../../../outside.jpeg", "leaves the folder"),
        ("/etc/outside.jpeg", "leaves the folder"),
        ("C:\\outside.jpeg", "leaves the folder"),
        (link(), "a link"),
    ],
)
def test_untrusted_members_are_refused(member, words):
    with pytest.raises(UserError, match=words):
        extract(make_zip(LAYOUT | {member: b"x"}), "raw")
    assert not Path("raw").exists() or files_in("raw") == []
    assert not Path("../outside.jpeg").exists()


def test_archive_that_unpacks_to_an_absurd_size_is_refused():
    with zipfile.ZipFile("bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("dataset.xlsx", b"t")
        archive.writestr("images/a.jpeg", bytes(300 * 2**20))
    with pytest.raises(UserError, match="would unpack from"):
        extract("bomb.zip", "raw")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"images/a.jpeg": b"x"}, "expected one dataset.xlsx, found 0"),
        ({"dataset.xlsx": b"t"}, "no image in images"),
    ],
)
def test_another_layout_is_refused(content, words):
    with pytest.raises(UserError, match=words):
        extract(make_zip(content), "raw")


def test_damaged_archive_is_refused_and_leaves_nothing():
    content = bytearray(Path(make_zip(LAYOUT)).read_bytes())
    content[content.index(b"film")] ^= 1
    Path("films.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"films.zip: damaged"):
        extract("films.zip", "raw")
    Path("films.zip").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"films.zip: damaged"):
        extract("films.zip", "raw")
    assert not Path("raw").exists() or files_in("raw") == []


def test_killed_unpacking_leaves_nothing_that_looks_complete(monkeypatch):
    def killed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(archive_module.shutil, "copyfileobj", killed)
    with pytest.raises(KeyboardInterrupt):
        extract(make_zip(LAYOUT), "raw")
    assert files_in("raw") == []


def test_own_archive_is_taken_and_recorded():
    archive = make_zip(LAYOUT)
    download(archive, None, "record.json")
    assert json.loads(Path("record.json").read_text())["sha256"] == sha256_of_file(archive)


def test_archive_with_another_hash_is_refused_and_kept():
    archive = make_zip(LAYOUT)
    with pytest.raises(UserError, match=r"films.zip: its SHA-256 is .*data\.sha256"):
        download(archive, BTXRD_SHA256, "record.json")
    assert Path(archive).exists()
    assert not Path("record.json").exists()


def test_missing_own_archive_is_named():
    with pytest.raises(UserError, match=r"absent.zip: no such file"):
        download("absent.zip", None, "record.json")


def test_without_network_one_sentence_says_where_to_put_the_file(monkeypatch, btxrd):
    monkeypatch.setattr(archive_module, "BTXRD_ADDRESSES", ("http://127.0.0.1:9/a", "http://127.0.0.1:9/b"))
    monkeypatch.setattr("btxrd.fetch.PAUSE_SECONDS", 0.01)
    status, message = btxrd("download")
    assert status == 1
    assert "put it at resources/btxrd/BTXRD.zip" in message
    assert "make demo" in message
    assert "Traceback" not in message
