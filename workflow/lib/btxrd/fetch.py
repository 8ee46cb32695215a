"""Files from the network: resumed, retried, from a second address if the first fails, and checked."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import requests

from btxrd.errors import UserError
from btxrd.files import put_in_place, sha256_of_file
from btxrd.progress import progress

log = logging.getLogger("btxrd")

TRIES = 3  # rounds over all addresses
PAUSE_SECONDS = 2.0  # before the second round; doubled for each further one
TIMEOUT_SECONDS = (10, 60)  # to connect, between two blocks
BLOCK_BYTES = 2**16  # what a broken connection loses at most


def fetch(addresses: Sequence[str], target: str | Path, sha256: str, size: int | None, advice: str) -> None:
    """Put the file with this `sha256` (and `size` in bytes, if known) at `target`.

    What arrived before an interruption stays in `<target>.part` and is gone on with. Raises UserError, which
    names the last failure and ends with `advice`, when no address delivers the right file.
    """
    target = Path(target)
    part = target.with_name(target.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    failure = "no address to fetch it from"
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
        for address in addresses:
            try:
                _download(address, part, size)
                _check(part, sha256, size)
            except (requests.RequestException, OSError, ValueError) as error:
                failure = f"{_host(address)}: {_reason(error)}"
                log.info("%s could not be fetched (%s)", target.name, failure)
            else:
                put_in_place(part, target)
                return
    raise UserError(f"{target} could not be fetched ({failure}). {advice}")


def _download(address: str, part: Path, size: int | None) -> None:
    """Fetch `address` into `part`, going on from where it ends if the server can."""
    have = part.stat().st_size if part.exists() else 0
    if size is not None and have >= size:
        return
    headers = {"Range": f"bytes={have}-"} if have else {}
    with requests.get(address, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            return  # all of it is here already; the check decides
        response.raise_for_status()
        if response.status_code not in (requests.codes.ok, requests.codes.partial_content):
            raise ValueError(f"HTTP status {response.status_code} in place of a file")
        resumed = response.status_code == requests.codes.partial_content
        _save(response, part, have if resumed else 0, size)


def _save(response: requests.Response, part: Path, have: int, size: int | None) -> None:
    length = response.headers.get("Content-Length", "")
    total = have + int(length) if length.isdigit() else size
    if size is not None and total != size:
        raise ValueError(f"{total:,} bytes offered in place of {size:,}")
    bar = progress(desc=part.stem, total=total, initial=have, unit="B", unit_scale=True, unit_divisor=1024)
    with bar, part.open("r+b" if have else "wb") as file:
        file.seek(have)
        for block in response.iter_content(BLOCK_BYTES):
            file.write(block)
            bar.update(len(block))


def _check(part: Path, sha256: str, size: int | None) -> None:
    """Raise ValueError if `part` is not the file; a wrong one is removed, a short one is kept to go on with."""
    have = part.stat().st_size if part.exists() else 0
    if size is not None and have < size:
        raise ValueError(f"only {have:,} of {size:,} bytes arrived")
    if sha256_of_file(part) != sha256:
        part.unlink()
        raise ValueError("what arrived is another file: its SHA-256 differs")


def _host(address: str) -> str:
    return address.split("/")[2]


def _reason(error: Exception) -> str:
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP status {error.response.status_code}"
    return str(error)
