"""Any file that a person may take for a film: known by its content, read, or refused in a sentence."""

import io
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from btxrd.data.decoding import JPEG, decode, fit, is_blank, upright_size
from btxrd.errors import UserError

FORMATS = {
    JPEG: "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
OLD_DICOM = (b"\x02\0\0\0", *(b"\x08\0%c\0" % element for element in (0, 5, 8, 0x12, 0x16)))  # without preamble
ENDINGS = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".dcm", ".dicom")
MOST_BYTES, MOST_PIXELS, LEAST_SIDE = 256_000_000, 64_000_000, 100
END_OF_JPEG, TAIL = b"\xff\xd9", 1024  # a whole JPEG has its end marker in so many bytes at its end
COLORED = 8  # gray levels between the channels, on average; colour films of BTXRD have 0
EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")  # modes, as Pillow names them
WHITE_IS_ZERO = {262: 0}  # of a TIFF; Pillow heeds it in 8 bits alone

warnings.filterwarnings("ignore", module="PIL")  # what matters is checked here, and said in a sentence


@dataclass(frozen=True)
class ReadFilm:
    """A film as the network sees it, uint8 (size, size); its size upright, in px; what is odd about it."""

    square: np.ndarray
    height: int
    width: int
    warnings: list[str]


def content_of(path: Path) -> bytes:
    """The bytes of a file; raises UserError for what is no file or larger than any film."""
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise UserError("no file")
        if facts.st_size > MOST_BYTES:
            raise UserError(f"{facts.st_size / 1e6:,.0f} MB: no film has more than {MOST_BYTES / 1e6:.0f} MB")
        return path.read_bytes()
    except OSError as error:
        raise UserError((error.strerror or "can't be read").lower()) from None


def read_film(content: bytes, size: int, resize: str) -> ReadFilm:
    """Bring a film of any format to (size, size), as the cache has it; raises UserError for what is none."""
    if not content:
        raise UserError("an empty file")
    if is_dicom(content):
        return _read_dicom(content, size, resize)
    for start, name in FORMATS.items():
        if content.startswith(start):
            return _read_image(content, name, size, resize)
    raise UserError("no JPEG, PNG, TIFF or DICOM file, whatever its name says")


def is_dicom(content: bytes) -> bool:
    """Whether a file begins as DICOM does, with its preamble or, as old ones, without."""
    return content[128:132] == b"DICM" or content.startswith(OLD_DICOM)


def _read_dicom(content: bytes, size: int, resize: str) -> ReadFilm:
    from btxrd.data.dicom import film_of_dicom, open_dicom, size_of_dicom  # half a second that no JPEG should wait

    dataset = open_dicom(content)
    height, width = size_of_dicom(dataset)
    _check_size(height, width)
    film, told = film_of_dicom(dataset)
    return _seen(fit(film, size, resize), height, width, told)


def _read_image(content: bytes, kind: str, size: int, resize: str) -> ReadFilm:
    try:
        with Image.open(io.BytesIO(content)) as image:
            _check_size(image.height, image.width)
            if kind == "JPEG":
                height, width = upright_size(image)
                if END_OF_JPEG not in content[-TAIL:]:
                    image.load()  # which fails where the file is cut off; OpenCV would go on with what there is
                square = decode(content, height, width, size, resize)
            else:
                gray = _gray(image)
                (height, width), square = gray.shape, fit(gray, size, resize)
            told = _warnings(image, kind, content)
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise UserError(_too_large()) from None
    except Exception:  # a damaged file can raise almost anything
        raise UserError(f"a damaged or cut-off {kind}") from None
    if square is None:
        raise UserError(f"a damaged {kind}")
    return _seen(square, height, width, told)


def _check_size(height: int, width: int) -> None:
    if height * width > MOST_PIXELS:
        raise UserError(f"{width} × {height} px: {_too_large()}")


def _too_large() -> str:
    return f"no film has more than {MOST_PIXELS / 1e6:.0f} megapixels"


def _gray(image: Image.Image) -> np.ndarray:
    """Upright and gray, uint8 (H, W); more than 8 bits through the range that the values have."""
    upright = ImageOps.exif_transpose(image)
    if image.mode in EIGHT_BITS:
        # Pillow can't bring every mode to gray at once.
        return np.asarray(upright.convert("RGB").convert("L") if image.mode in ("P", "PA") else upright.convert("L"))
    values = np.asarray(upright, np.float32)
    known = values[np.isfinite(values)]
    low, high = float(known.min()), float(known.max())
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    gray = 255 * (values - low) / max(high - low, 1e-9)
    white_is_zero = WHITE_IS_ZERO.items() <= dict(getattr(image, "tag_v2", {})).items()
    return (255 - gray if white_is_zero else gray).round().astype(np.uint8)


def _warnings(image: Image.Image, kind: str, content: bytes) -> list[str]:
    told = {
        "in colour, as no film is": _is_colored(image, kind, content),
        "more than 8 bits without a window: its darkest value is taken as black, its brightest as white": image.mode
        not in EIGHT_BITS,
        "several images in one file: the first is taken": kind != "JPEG" and getattr(image, "n_frames", 1) > 1,
    }
    return [warning for warning, holds in told.items() if holds]


def _is_colored(image: Image.Image, kind: str, content: bytes) -> bool:
    if image.mode not in EIGHT_BITS or image.mode in ("1", "L", "LA"):
        return False
    if kind == "JPEG":
        colors = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_REDUCED_COLOR_8)
    else:
        colors = np.asarray(image.convert("RGB"))
    return bool(np.ptp(colors, axis=2).mean() > COLORED)


def _seen(square: np.ndarray, height: int, width: int, told: list[str]) -> ReadFilm:
    blank = ["one gray value and nothing else"] if is_blank(square) else []
    small = [f"only {width} × {height} px"] if min(height, width) < LEAST_SIDE else []
    return ReadFilm(square, height, width, [*told, *blank, *small])
