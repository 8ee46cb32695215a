"""The archive: fetched or taken from a person, checked, and unpacked without trusting it."""

import logging
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from btxrd.errors import UserError, raise_all
from btxrd.fetch import fetch
from btxrd.files import scratch_folder, sha256_of_file, write_json
from btxrd.progress import progress

log = logging.getLogger("btxrd")

BTXRD_SHA256 = "e7c800c3b4e090262b160525a0765f9d93bcc53d639c03806a3ac47b0ded3373"
BTXRD_BYTES = 840_474_929
BTXRD_ADDRESSES = (
    "https://ndownloader.figshare.com/files/50653575",
    "https://api.figshare.com/v2/file/download/50653575",
)

TABLE = "dataset.xlsx"
IMAGES = "images"
ANNOTATIONS = "Annotations"
IMAGE_ENDINGS = (".jpeg", ".jpg", ".png")

# A radiograph is compressed already: BTXRD unpacks to 1.1 times its size.
MOST_UNPACKED_BYTES = 200 * 2**30
MOST_RATIO = 200
MOST_FILES = 5_000_000


def download(archive: str | Path, sha256: str | None, record: str | Path) -> None:
    """Make sure that `archive` is there and right, and write what it is to `record` (JSON).

    BTXRD is fetched where `sha256` is BTXRD's and the file is missing. Raises UserError if the file is wrong,
    or missing and not to be had.
    """
    archive = Path(archive)
    if not archive.exists():
        _fetch_btxrd(archive, sha256)
    log.info("checking %s", archive)
    found = sha256_of_file(archive)
    if sha256 not in (None, found):
        raise UserError(
            f"{archive}: its SHA-256 is {found}, not the {sha256} of the configuration. If it is an archive of "
            "your own, set data.sha256 and data.expected_counts to null; if it is a broken download, delete it."
        )
    write_json({"archive": str(archive), "bytes": archive.stat().st_size, "sha256": found}, record)
    log.info("%s is there: %s bytes, sha256 %s", archive, f"{archive.stat().st_size:,}", found)


def _fetch_btxrd(archive: Path, sha256: str | None) -> None:
    if sha256 != BTXRD_SHA256:
        raise UserError(f"{archive}: no such file; data.archive must name the archive that you want to use.")
    advice = (
        f"Download BTXRD.zip in a browser (doi 10.6084/m9.figshare.27865398), put it at {archive} and run the "
        "same command again; `make demo` shows the whole workflow without it."
    )
    fetch(BTXRD_ADDRESSES, archive, BTXRD_SHA256, BTXRD_BYTES, advice)


def extract(archive: str | Path, folder: str | Path) -> None:
    """Unpack dataset.xlsx, images/ and Annotations/ of `archive` into `folder`.

    A wrapper folder is stripped; nested duplicates, lock files and anything else are left out. All is unpacked
    beside `folder` first and moved when whole, the table last. Raises UserError for an archive that can't be
    read or trusted: paths that leave the folder, links, absurd sizes, a part of the layout missing.
    """
    archive, folder = Path(archive), Path(folder)
    try:
        with zipfile.ZipFile(archive) as content, scratch_folder(folder / ".partial") as scratch:
            wanted = _members_to_unpack(archive, content)
            for name in (IMAGES, ANNOTATIONS):
                (scratch / name).mkdir()
            for target, member in progress(wanted.items(), desc="unpacking", unit="file"):
                with content.open(member) as source, (scratch / target).open("wb") as sink:
                    shutil.copyfileobj(source, sink)
            put_layout_in_place(scratch, folder)
    except FileNotFoundError:
        raise UserError(f"{archive}: no such file; run `snakemake -R download` to fetch or check it again.") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{archive}: damaged, or no zip archive ({error}); delete it and start again.") from None
    log.info("%s: unpacked %d files into %s", archive, len(wanted), folder)


def _members_to_unpack(archive: Path, content: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Target path → archive member, for what belongs to the layout."""
    members = [member for member in content.infolist() if not member.is_dir()]
    raise_all(list(_reasons_to_refuse(members)), f"{archive}: refused, it can't be trusted")
    tables = [PurePosixPath(member.filename) for member in members if _name(member) == TABLE]
    if len(tables) != 1:
        raise UserError(f"{archive}: expected one {TABLE}, found {len(tables)}; it must have the layout of BTXRD.")
    root = tables[0].parent
    wanted: dict[str, zipfile.ZipInfo] = {}
    for member in members:
        path = PurePosixPath(member.filename)
        if path.is_relative_to(root) and _belongs(path.relative_to(root)):
            wanted[str(path.relative_to(root))] = member
    if not any(target.startswith(f"{IMAGES}/") for target in wanted):
        raise UserError(f"{archive}: no image in {root / IMAGES}/; it must have the layout of BTXRD.")
    return wanted


def _belongs(path: PurePosixPath) -> bool:
    """True for dataset.xlsx, images/<name>.jpeg and Annotations/<name>.json, and for nothing deeper."""
    if path.name.startswith(("~$", ".")):
        return False
    folder, ending = str(path.parent), path.suffix.lower()
    return (
        str(path) == TABLE
        or (folder == IMAGES and ending in IMAGE_ENDINGS)
        or (folder == ANNOTATIONS and ending == ".json")
    )


def _reasons_to_refuse(members: list[zipfile.ZipInfo]) -> Iterable[str]:
    unpacked = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if len(members) > MOST_FILES:
        yield f"{len(members):,} files"
    if unpacked > MOST_UNPACKED_BYTES or unpacked > MOST_RATIO * max(packed, 2**20):
        yield f"it would unpack from {packed:,} to {unpacked:,} bytes"
    for member in members:
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            yield f"{member.filename}: the path leaves the folder"
        if stat.S_ISLNK(member.external_attr >> 16):
            yield f"{member.filename}: a link"


def _name(member: zipfile.ZipInfo) -> str:
    return PurePosixPath(member.filename).name


def put_layout_in_place(scratch: Path, folder: Path) -> None:
    """Move a whole layout from `scratch` into `folder`, the table last: where it is, everything is."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TABLE).unlink(missing_ok=True)
    for name in (IMAGES, ANNOTATIONS):
        target = folder / name
        if target.exists():
            shutil.rmtree(target)
        (scratch / name).rename(target)
    (scratch / TABLE).rename(folder / TABLE)
