"""DICOM films as a reader would see them: gray, bright bone, in the window that the file asks for.

Only the elements that pixels need are read, so no name of a person, and no other one, is ever in memory; what pydicom
says of a damaged element could quote it, so its own words go nowhere.
"""

import io
import logging
import re
import warnings

import cv2
import numpy as np
import pydicom
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi, apply_windowing, get_decoder, pixel_array
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from btxrd.errors import UserError

pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
warnings.filterwarnings("ignore", module="pydicom")

ELEMENTS = (
    "Modality", "PresentationIntentType",
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "ModalityLUTSequence", "RescaleIntercept", "RescaleSlope",
    "VOILUTSequence", "VOILUTFunction", "WindowCenter", "WindowWidth",
    "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelData",
)  # fmt: skip
RADIOGRAPHS = {"CR", "DX", "RG", "RF", "OT", "SC", ""}  # modalities; the last three say nothing
MODALITY = re.compile("[A-Z]{2,8}")  # anything else may be words that someone put there
GRAY = ("MONOCHROME1", "MONOCHROME2")
MOST_LEVELS = 2**16


def size_of_dicom(dataset: pydicom.Dataset) -> tuple[int, int]:
    """Height and width, in px, as the header has them."""
    return int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)


def open_dicom(content: bytes) -> pydicom.Dataset:
    """The elements of a DICOM file that its pixels need; raises UserError where there are none to be had."""
    try:
        dataset = pydicom.dcmread(io.BytesIO(content), force=True, specific_tags=list(ELEMENTS))
        height, width = size_of_dicom(dataset)
        if "TransferSyntaxUID" not in dataset.file_meta:  # a file without preamble and head
            is_implicit, _ = dataset.original_encoding
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian
    except Exception:  # a damaged file can raise almost anything, and the words may quote what it holds
        raise UserError("a damaged DICOM file") from None
    if "PixelData" not in dataset or not height or not width:
        raise UserError("a DICOM file without an image, or cut off before it")
    return dataset


def film_of_dicom(dataset: pydicom.Dataset) -> tuple[np.ndarray, list[str]]:
    """The first image of a DICOM file, gray uint8 (H, W), and warnings about it.

    Stored values go through rescale and window (or their tables), without a window through the range that they have;
    MONOCHROME1 is inverted, padding is black. Raises UserError for pixels that can't be had.
    """
    try:
        _check_codec(dataset)
        pixels = pixel_array(dataset, index=0)
        interpretation = str(dataset.get("PhotometricInterpretation", ""))
        film = _gray(pixels, dataset) if interpretation in GRAY else _gray_of_color(pixels, dataset, interpretation)
        return film, _warnings(dataset, interpretation)
    except UserError:
        raise
    except Exception:  # as above
        raise UserError("its image is damaged or cut off") from None


def _check_codec(dataset: pydicom.Dataset) -> None:
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        there = get_decoder(syntax).is_available
    except NotImplementedError:
        there = False
    if not there:
        name = syntax.name if syntax.is_valid else "an unknown one"
        raise UserError(f"compressed in a way for which no codec is here ({name})")


def _gray(pixels: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """By a table with the gray of each stored value, which costs less than the arithmetic of each pixel."""
    least, most = int(pixels.min()), int(pixels.max())
    if most - least >= MOST_LEVELS:
        raise UserError("more than 16 bits a pixel")
    levels = np.arange(least, most + 1)
    brightness, low, high = _brightness(levels, _shown_values(pixels, dataset), dataset)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        brightness, low, high = -brightness, -high, -low
    span = high - low or 1.0  # below 0 where the rescale turns light and dark
    table = (255 * (brightness - low) / span).clip(0, 255).round().astype(np.uint8)
    table[_is_padding(levels, dataset)] = 0
    return table[pixels.astype(np.int64) - least]


def _brightness(levels: np.ndarray, shown: np.ndarray, dataset: pydicom.Dataset) -> tuple[np.ndarray, float, float]:
    """What each stored value becomes, and the values of black and white."""
    rescaled = apply_modality_lut(levels, dataset)
    if dataset.get("VOILUTSequence"):
        bits = dataset.VOILUTSequence[0].LUTDescriptor[2]
        return apply_voi(rescaled.astype(int), dataset).astype(float), 0, 2**bits - 1
    if _has_window(dataset):
        far = 1e12
        with np.errstate(over="ignore"):  # in the exponential of a sigmoid
            *windowed, low, high = apply_windowing(np.array([*rescaled, -far, far], float), dataset)
        return np.array(windowed), low, high
    in_use = rescaled[shown]
    return rescaled.astype(float), float(in_use.min()), float(in_use.max())


def _shown_values(pixels: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """Which stored values occur, without the padding, as places in the table; all if padding is all there is."""
    least = int(pixels.min())
    values = np.flatnonzero(np.bincount((pixels.astype(np.int64) - least).ravel()))
    without = values[~_is_padding(values + least, dataset)]
    return without if len(without) else values


def _is_padding(values: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """Which stored values only fill the frame: one, or all from it to a limit."""
    value = dataset.get("PixelPaddingValue")
    if not isinstance(value, int):
        return np.zeros(len(values), bool)
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((value, limit if isinstance(limit, int) else value))
    return (low <= values) & (values <= high)


def _has_window(dataset: pydicom.Dataset) -> bool:
    """Whether there is one that can be used: some files have an empty one, or one without width."""
    center, width = (np.ravel(dataset.get(name))[0] for name in ("WindowCenter", "WindowWidth"))
    return center is not None and width is not None and float(width) >= 1


def _gray_of_color(pixels: np.ndarray, dataset: pydicom.Dataset, interpretation: str) -> np.ndarray:
    if interpretation == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)
    if pixels.dtype != np.uint8:
        pixels = (pixels >> 8 if pixels.dtype.itemsize == 2 else pixels).astype(np.uint8)
    return cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY) if pixels.ndim == 3 else pixels


def _warnings(dataset: pydicom.Dataset, interpretation: str) -> list[str]:
    modality, frames = str(dataset.get("Modality") or ""), int(dataset.get("NumberOfFrames") or 1)
    in_gray = interpretation in GRAY
    windowed = bool(_has_window(dataset) or dataset.get("VOILUTSequence"))
    told = {
        f"no radiograph: its modality is {modality if MODALITY.fullmatch(modality) else 'another'}": modality
        not in RADIOGRAPHS,
        "in colour": not in_gray,
        f"{frames} images in one file: the first is taken": frames > 1,
        "without a window: its darkest value is taken as black, its brightest as white": in_gray and not windowed,
        "raw values of a detector, not meant to be looked at": dataset.get("PresentationIntentType")
        == "FOR PROCESSING",
    }
    return [warning for warning, holds in told.items() if holds]
