"""Films as people have them: of every format, odd ones, damaged ones, and two real radiographs."""

import io
import os
import struct
import subprocess
import sys
import zlib
from functools import partial
from pathlib import Path

import cv2
import gdcm
import numpy as np
import pydicom
import pytest
from PIL import Image, ImageOps
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, HTJ2KLossless, ImplicitVRLittleEndian

from btxrd.data.decoding import decode, fit
from btxrd.data.dicom import open_dicom
from btxrd.data.films import content_of, read_film
from btxrd.errors import UserError

SIZE = 128  # of the squares; DICOM films have it themselves, so that each pixel is seen as it was made
NOISE = np.random.default_rng(0).normal(128, 900, (300, 200))
GRAY = cv2.GaussianBlur(NOISE, (0, 0), 6).clip(0, 255).astype(np.uint8)
RAMP = (np.arange(SIZE**2) // 4).astype(np.uint16).reshape(SIZE, SIZE)  # each value of 12 bits
WIDE = (100 * GRAY + 500.0).astype(np.uint16)
RANGE = "its darkest value is taken as black, its brightest as white"
NO_WINDOW, NO_WINDOW_IN_IMAGE = f"without a window: {RANGE}", f"more than 8 bits without a window: {RANGE}"
MIDDLE = {"WindowCenter": 2048, "WindowWidth": 2000}


def seen(content, resize="pad"):
    return read_film(content, SIZE, resize)


def image(pixels, kind, mode=None, **options):
    """The bytes of an image file."""
    buffer, film = io.BytesIO(), Image.fromarray(pixels)
    (film.convert(mode) if mode else film).save(buffer, kind, **options)
    return buffer.getvalue()


def dicom(pixels=RAMP, bits=12, syntax=ExplicitVRLittleEndian, with_meta=True, **elements):
    """The bytes of a DICOM film of Jane Doe."""
    film = Dataset()
    film.SOPClassUID, film.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3"
    film.SpecificCharacterSet, film.Modality, film.PatientName = "ISO_IR 192", "DX", "Doe^Jane"
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, "MONOCHROME2"
    film.Rows, film.Columns = pixels.shape[:2]
    film.BitsAllocated, film.BitsStored, film.HighBit = 8 * pixels.itemsize, bits, bits - 1
    film.PixelRepresentation = int(pixels.dtype.kind == "i")
    film.PixelData = pixels.tobytes()
    film["PixelData"].VR = "OW"
    film.update(elements)
    buffer, implicit = io.BytesIO(), syntax == ImplicitVRLittleEndian
    if with_meta:
        film.preamble, film.file_meta = bytes(128), FileMetaDataset()
        film.file_meta.FileMetaInformationGroupLength, film.file_meta.TransferSyntaxUID = 0, syntax
    pydicom.dcmwrite(buffer, film, implicit_vr=implicit, little_endian=True, force_encoding=True)
    return buffer.getvalue()


def linear(values, center, width):
    """The window of the standard (PS3.3 C.11.2.1.2.1)."""
    return (255 * ((values - (center - 0.5)) / (width - 1) + 0.5).clip(0, 1)).round()


def through_range(values):
    return (255 * (values - values.min()) / np.ptp(values)).round()


@pytest.mark.parametrize("resize", ["pad", "squash"])
@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "L"), ("PNG", "LA"), ("PNG", "P"), ("PNG", "RGBA"), ("TIFF", "L"), ("TIFF", "RGB")]
)
def test_gray_is_the_same_in_every_lossless_format(kind, mode, resize):
    found = seen(image(GRAY, kind, mode), resize)
    assert np.array_equal(found.square, fit(GRAY, SIZE, resize))
    assert (found.height, found.width, found.warnings) == (300, 200, [])


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_is_decoded_as_for_the_cache(mode):
    content = image(np.kron(GRAY, np.ones((4, 4), np.uint8)), "JPEG", mode)  # so large that the cache takes a fraction
    found = seen(content + bytes(5000))  # what cameras put behind an image changes nothing
    assert np.array_equal(found.square, decode(content, 1200, 800, SIZE, "pad"))
    assert found.warnings == []


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_images_are_upright(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = image(GRAY, kind, exif=exif)
    with Image.open(io.BytesIO(content)) as opened:
        upright = np.asarray(ImageOps.exif_transpose(opened))
    found = seen(content)
    assert np.abs(found.square.astype(int) - fit(upright, SIZE, "pad")).mean() < 1
    assert (found.height, found.width) == upright.shape


def test_orientation_that_opencv_does_not_know_bends_no_film():
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><x tiff:Orientation="6"/></x:xmpmeta>'
    assert np.array_equal(seen(image(GRAY, "JPEG", xmp=xmp)).square, seen(image(GRAY, "JPEG")).square)


@pytest.mark.parametrize(
    ("pixels", "kind", "options"),
    [
        (WIDE, "PNG", {}),
        (WIDE, "TIFF", {}),
        (WIDE.max() + WIDE.min() - WIDE, "TIFF", {"tiffinfo": {262: 0}}),
        (WIDE.astype(np.int32) - 2**20, "TIFF", {}),
        (np.float32(WIDE / 7 - 300), "TIFF", {}),
    ],
    ids=["PNG", "TIFF", "TIFF whose white is zero", "TIFF of integers", "TIFF of floats"],
)
def test_more_than_8_bits_go_through_their_range(pixels, kind, options):
    found = seen(image(pixels, kind, **options))
    expected = fit(through_range(WIDE.astype(float)).astype(np.uint8), SIZE, "pad")
    assert np.abs(found.square.astype(int) - expected).max() <= 1
    assert found.warnings == [NO_WINDOW_IN_IMAGE]


PHOTO = np.stack([GRAY, GRAY[::-1], GRAY[:, ::-1]], axis=-1)
FRAMES = {"pixels": np.stack([RAMP, RAMP[::-1]]), "Rows": SIZE, "Columns": SIZE, "NumberOfFrames": 2}
COLORED = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "RGB"}
ODD = {
    "colour JPEG": (image(PHOTO, "JPEG"), "in colour, as no film is"),
    "palette of colours": (image(PHOTO, "PNG", "P"), "in colour, as no film is"),
    "pages": (
        image(GRAY, "TIFF", save_all=True, append_images=[Image.fromarray(GRAY)]),
        "several images in one file: the first is taken",
    ),
    "blank": (image(np.full_like(GRAY, 200), "PNG"), "one gray value and nothing else"),
    "tiny": (image(GRAY[:90], "PNG"), "only 200 × 90 px"),
    "blank DICOM": (dicom(0 * RAMP, **MIDDLE), "one gray value and nothing else"),
    "tiny DICOM": (dicom(RAMP[:60], **MIDDLE), "only 128 × 60 px"),
    "MR": (dicom(Modality="MR", **MIDDLE), "no radiograph: its modality is MR"),
    "name for a modality": (dicom(Modality="Doe", **MIDDLE), "no radiograph: its modality is another"),
    "raw": (
        dicom(PresentationIntentType="FOR PROCESSING", **MIDDLE),
        "raw values of a detector, not meant to be looked at",
    ),
    "frames": (dicom(**FRAMES, **MIDDLE), "2 images in one file: the first is taken"),
    "colour DICOM": (dicom(PHOTO, 8, **COLORED), "in colour"),
}


@pytest.mark.parametrize(("content", "warning"), ODD.values(), ids=ODD)
def test_what_is_odd_about_a_film_is_told(content, warning):
    assert seen(content).warnings == [warning]


@pytest.mark.parametrize(("slope", "intercept"), [(None, None), (2, -100), (0.5, 9), (-1, 4095)])
@pytest.mark.parametrize(("center", "width"), [(2000, 2000), (2048, 8192), (-50, 600)])
def test_window_is_that_of_the_standard_after_the_rescale(center, width, slope, intercept):
    rescale = {"RescaleSlope": slope, "RescaleIntercept": intercept} if slope else {}
    found = seen(dicom(WindowCenter=[center, 7], WindowWidth=[width, 7], **rescale))  # the first of two is taken
    values = RAMP * float(slope or 1) + (intercept or 0)
    assert np.array_equal(found.square, linear(values, center, width))
    assert "without" not in str(found.warnings)


@pytest.mark.parametrize("window", [{}, MIDDLE], ids=["range", "window"])
def test_films_whose_bone_is_stored_dark_are_inverted(window):
    plain, inverted = (seen(dicom(PhotometricInterpretation=f"MONOCHROME{kind}", **window)) for kind in (2, 1))
    assert np.array_equal(inverted.square, 255 - plain.square)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize(("pixels", "vr"), [(RAMP, "US"), (RAMP.astype(np.int16) - 2048, "SS")])
def test_tables_of_gray_values_are_looked_up(pixels, vr, syntax):
    curve = (np.linspace(0, 1, 4096) ** 2 * 65535).astype(np.uint16)
    expected = (curve[RAMP] / 257).round()
    lut = Dataset()
    lut.add_new("LUTDescriptor", vr, [len(curve), int(pixels.min()), 16])
    lut.add_new("LUTData", "US", curve.tolist())
    rescaled = {"ModalityLUTSequence": [lut], "WindowCenter": 32768, "WindowWidth": 65536}
    for elements in ({"VOILUTSequence": [lut]}, rescaled):
        found = seen(dicom(pixels, syntax=syntax, **elements))
        assert np.abs(found.square - expected).max() <= 1
        assert found.warnings == []


@pytest.mark.parametrize(
    ("pixels", "bits"),
    [(np.uint8(RAMP >> 4), 8), (RAMP >> 2, 10), (RAMP, 12), (RAMP * 15 + 90, 16), (np.int16(RAMP) - 3000, 13)],
    ids=["8 bits", "10 bits", "12 bits", "16 bits", "signed"],
)
@pytest.mark.parametrize("window", [{}, {"WindowCenter": None, "WindowWidth": None}, MIDDLE | {"WindowWidth": 0}])
def test_without_a_window_the_range_is_taken(pixels, bits, window):
    found = seen(dicom(pixels, bits, **window))
    assert np.array_equal(found.square, through_range(pixels.astype(float)))
    assert found.warnings == [NO_WINDOW]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize(("dtype", "padding"), [(np.uint16, 0), (np.uint16, 65535), (np.int16, -2000)])
@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_no_part_of_the_range(kind, dtype, padding, syntax):
    pixels = (RAMP + 1000).astype(dtype)
    expected = through_range(pixels[64:].astype(float))
    pixels[:64] = padding
    found = seen(dicom(pixels, 16, syntax, PhotometricInterpretation=kind, PixelPaddingValue=padding)).square
    assert (found[:64] == 0).all()
    assert np.array_equal(found[64:], 255 - expected if kind == "MONOCHROME1" else expected)


def test_padding_may_be_a_range():
    pixels = RAMP + 1000
    pixels[:64] = np.arange(64)[:, None]
    found = seen(dicom(pixels, 16, PixelPaddingValue=0, PixelPaddingRangeLimit=100)).square
    assert (found[:64] == 0).all()
    assert np.array_equal(found[64:], through_range(pixels[64:].astype(float)))


def test_numbers_that_are_none_do_not_hide_a_film():
    pixels = np.float32(WIDE)
    pixels[0, :2] = np.inf, np.nan
    expected = seen(image(np.float32(WIDE), "TIFF")).square
    assert np.abs(seen(image(pixels, "TIFF")).square.astype(int) - expected).mean() < 1


def test_large_form_of_tiff_is_one_too():
    content = image(GRAY, "TIFF", big_tiff=True)
    assert content.startswith(b"II+")
    assert np.array_equal(seen(content).square, seen(image(GRAY, "TIFF")).square)


def compressed(name):
    """The bytes of a DICOM film in a transfer syntax, as GDCM names it."""
    Path("plain.dcm").write_bytes(dicom(**MIDDLE))
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName("plain.dcm")
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, name)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName("compressed.dcm")
    assert writer.Write()
    return Path("compressed.dcm").read_bytes()


LOSSLESS = ["RLELossless", "JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless"]
WAYS = {
    "no preamble": lambda: dicom(**MIDDLE)[132:],
    "bare": lambda: dicom(with_meta=False, **MIDDLE),
    "bare, implicit": lambda: dicom(with_meta=False, syntax=ImplicitVRLittleEndian, **MIDDLE),
    "implicit": lambda: dicom(syntax=ImplicitVRLittleEndian, **MIDDLE),
    "deflated": lambda: dicom(syntax=DeflatedExplicitVRLittleEndian, **MIDDLE),
    "the first of several": lambda: dicom(**FRAMES, **MIDDLE),
    **{name: partial(compressed, name) for name in LOSSLESS},
}


@pytest.mark.parametrize("make", WAYS.values(), ids=WAYS)
def test_film_is_the_same_however_it_is_written(make):
    assert np.array_equal(seen(make()).square, seen(dicom(**MIDDLE)).square)


def radiograph(name):
    return seen(content_of(Path(pydicom.data.get_testdata_file(f"{name}.dcm", download=False))))


@pytest.mark.parametrize("film", ["RG1", "RG3"])
def test_real_radiographs_are_the_same_however_compressed(film):
    for plain, jpeg2000 in (("UNCR", "J2KR"), ("UNCI", "J2KI")):
        found = radiograph(f"{film}_{plain}")
        assert np.array_equal(found.square, radiograph(f"{film}_{jpeg2000}").square)
        assert found.warnings == []


def test_bone_of_a_real_radiograph_is_brighter_than_the_air_beside_it():
    found = radiograph("RG3_UNCR").square[30:60].astype(int)  # tibia, calf and air, from the middle to the left
    assert found[:, 59:65].min() > found[:, 52:56].max() > found[:, 52:56].min() > found[:, 36:42].max() + 30


def nasty_films():
    """Films of Jane Doe, whole and damaged."""
    yield dicom(**MIDDLE)
    for name in ("WindowCenter", "RescaleSlope", "NumberOfFrames"):
        elements = MIDDLE | {"RescaleIntercept": 0, "RescaleSlope": 1} | {name: "12345678"}
        yield dicom(**elements).replace(b"12345678", b"Doe^Jane")
    yield dicom(PHOTO, 8, **COLORED, WindowCenter=1, WindowWidth="12345678").replace(b"12345678", b"Doe^Jane")
    yield dicom().replace(b"ISO_IR 192", b"Doe^Jane  ")
    yield dicom().replace(b"MONOCHROME2", b"Doe^Jane   ")
    yield dicom(Rows=SIZE - 1)
    noise = np.random.default_rng(0)
    for whole in (dicom(**MIDDLE), *map(compressed, LOSSLESS)):
        for _ in range(20):
            content = bytearray(whole[: noise.integers(200, len(whole))] if noise.random() < 0.5 else whole)
            content[noise.integers(132, min(900, len(content)))] = noise.integers(256)
            yield bytes(content)


def test_no_word_of_what_a_dicom_file_holds_gets_out():
    dataset = open_dicom(dicom())
    assert "PatientName" not in dataset
    assert "Doe" not in str(dataset)
    for number, content in enumerate(nasty_films()):
        Path(f"{number}.bin").write_bytes(content)
    code = (
        "from pathlib import Path; from btxrd.data.films import read_film; from btxrd.errors import UserError\n"
        "for path in Path().glob('*.bin'):\n"
        "    try: print(read_film(path.read_bytes(), 64, 'pad').warnings)\n"
        "    except UserError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Warning" not in done.stderr  # only OpenJPEG can't be kept quiet; it knows the pixels alone
    assert "Doe" not in done.stdout + done.stderr
    assert done.stdout.count("\n") > 100


def png_header(side):
    """A gray PNG that ends before its pixels."""
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0), b"IDAT")
    body = (struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


JPEG, PNG, TIFF, DICOM = image(GRAY, "JPEG"), image(GRAY, "PNG"), image(GRAY, "TIFF"), dicom()


UNKNOWN = "no JPEG, PNG, TIFF or DICOM file, whatever its name says"
WITHOUT_IMAGE, CUT_OFF = "a DICOM file without an image, or cut off before it", "its image is damaged or cut off"
LARGE = "10000 × 10000 px: no film has more than 64 megapixels"
NO_FILMS = {
    "empty": (b"", "an empty file"),
    "text": (b"text\n", UNKNOWN),
    "zip": (b"PK\3\4" + bytes(900), UNKNOWN),
    "half a JPEG": (JPEG[: len(JPEG) // 2], "a damaged or cut-off JPEG"),
    "begun JPEG": (JPEG[:20], "a damaged or cut-off JPEG"),
    "half a PNG": (PNG[: len(PNG) // 2], "a damaged or cut-off PNG"),
    "begun PNG": (PNG[:20], "a damaged or cut-off PNG"),
    "half a TIFF": (TIFF[: len(TIFF) // 2], "a damaged or cut-off TIFF"),
    "begun DICOM": (DICOM[:140], WITHOUT_IMAGE),
    "DICOM cut off in its header": (DICOM[:300], WITHOUT_IMAGE),
    "DICOM cut off ahead of its pixels": (DICOM[: -RAMP.nbytes], CUT_OFF),
    "DICOM cut off in its pixels": (DICOM[:-1], CUT_OFF),
    "DICOM without size": (dicom(Rows=0), WITHOUT_IMAGE),
    "large DICOM": (dicom(Rows=10_000, Columns=10_000), LARGE),
    "large PNG": (png_header(10_000), LARGE),
    "huge PNG": (png_header(20_000), "no film has more than 64 megapixels"),
    "codec that is not here": (
        dicom(syntax="1.2.840.10008.1.2.4.999").replace(b"4.999", b"4.201"),
        f"compressed in a way for which no codec is here ({HTJ2KLossless.name})",
    ),
    "unknown codec": (dicom(syntax="1.2.3.4"), "compressed in a way for which no codec is here (1.2.3.4)"),
}


@pytest.mark.filterwarnings("ignore:Image size")  # pytest forgets what the library ignores
@pytest.mark.parametrize(("content", "reason"), NO_FILMS.values(), ids=NO_FILMS)
def test_what_is_no_film_is_refused_in_a_sentence(content, reason):
    with pytest.raises(UserError) as error:
        seen(content)
    assert str(error.value) == reason


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Path.mkdir, "no file"),
        (lambda path: path.symlink_to("/dev/null"), "no file"),  # as a pipe, but it would end
        (lambda path: path.symlink_to(path), "too many levels of symbolic links"),
        (lambda path: None, "no such file or directory"),
        (lambda path: path.touch() or os.truncate(path, 10**9), "1,000 MB: no film has more than"),
    ],
)
def test_what_is_no_file_is_refused_without_being_read(make, reason):
    make(Path("film.png"))
    with pytest.raises(UserError, match=f"^{reason}"):
        content_of(Path("film.png"))
