"""From the bytes of a film to the gray square that a network sees: the same for training and for any later film."""

from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

# A JPEG can be decoded at a fraction of its size, which skips most of the work. What comes out must still be so many
# times the wanted size, so that the averaging that follows decides the pixels: a film is 0.1 to 0.4 gray levels off.
LEAST_REDUCED = 2.5
JPEG = b"\xff\xd8"
REDUCED = {8: cv2.IMREAD_REDUCED_GRAYSCALE_8, 4: cv2.IMREAD_REDUCED_GRAYSCALE_4, 2: cv2.IMREAD_REDUCED_GRAYSCALE_2}


class Placement(NamedTuple):
    """Where a film lies in the square, in px."""

    top: int
    left: int
    height: int
    width: int


def placement(height: int, width: int, size: int, resize: str) -> Placement:
    """Where a film of that height and width lies in the square of that size."""
    if resize == "squash":
        return Placement(0, 0, size, size)
    scale = size / max(height, width)
    height, width = max(1, round(height * scale)), max(1, round(width * scale))
    return Placement((size - height) // 2, (size - width) // 2, height, width)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Height and width of a JPEG as OpenCV turns it: by its EXIF, and by nothing else that Pillow would heed."""
    exif = Image.Exif()
    exif.load(image.info.get("exif"))
    turned = exif.get(0x0112, 1) >= 5
    return image.size if turned else image.size[::-1]


def decode(content: bytes, height: int, width: int, size: int, resize: str) -> np.ndarray | None:
    """Decode the bytes of a film, of that height and width when upright, to gray uint8 (size, size).

    None where OpenCV can't. Placed by its true size, so that no film moves where a JPEG is decoded at a fraction of it.
    """
    place = placement(height, width, size, resize)
    image = cv2.imdecode(np.frombuffer(content, np.uint8), _way_to_decode(content, height, width, place))
    return None if image is None else _placed(image, place, size)


def _way_to_decode(content: bytes, height: int, width: int, place: Placement) -> int:
    """cv2's flag for the smallest decoding that will do; all of them are gray and honour the EXIF orientation."""
    if content.startswith(JPEG):  # other formats are decoded whole anyway
        for reduction, flag in REDUCED.items():
            least = LEAST_REDUCED * reduction
            if height >= least * place.height and width >= least * place.width:
                return flag
    return cv2.IMREAD_GRAYSCALE


def fit(image: np.ndarray, size: int, resize: str) -> np.ndarray:
    """Bring a gray image (H, W) to (size, size): `pad` keeps the aspect and centers it on black, `squash` does not."""
    return _placed(image, placement(*image.shape, size, resize), size)


def _placed(image: np.ndarray, place: Placement, size: int) -> np.ndarray:
    shrinks = place.height < image.shape[0] or place.width < image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR  # area averaging does not alias
    canvas = np.zeros((size, size), np.uint8)
    inside = np.s_[place.top : place.top + place.height, place.left : place.left + place.width]
    canvas[inside] = cv2.resize(image, (place.width, place.height), interpolation=method)
    return canvas


def is_blank(film: np.ndarray) -> bool:
    """Whether a film shows one gray value and nothing else; the black around a padded film does not count."""
    return bool(((film == 0) | (film == film.max())).all())
