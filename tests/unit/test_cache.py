import io
import pickle
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

from btxrd.data.cache import Film, build_cache, decode_film, open_cache
from btxrd.data.decoding import fit, is_blank
from btxrd.errors import UserError
from btxrd.files import sha256_of_file


def film(orientation=None, mode="L", size=(48, 80)):
    """A film bright in its upper left corner."""
    pixels = np.zeros((size[1], size[0]), np.uint8)
    pixels[: size[1] // 2, : size[0] // 3] = 200
    buffer, exif = io.BytesIO(), Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.fromarray(pixels).convert(mode).save(buffer, "JPEG", quality=95, exif=exif)
    return buffer.getvalue()


def upright(name):
    with Image.open(name) as opened:
        return np.asarray(ImageOps.exif_transpose(opened).convert("L"))


def examined(name):
    return Film(name, sha256_of_file(name), *upright(name).shape)


def write_films(contents):
    rows = []
    for name, content in contents.items():
        Path(name).write_bytes(content)
        rows.append(examined(name)._asdict() | {"image_id": Path(name).stem, "phash": ""})
    pd.DataFrame(rows).to_csv("metadata.csv", index=False)


def build(**options):
    settings = {
        "size": 64,
        "resize": "pad",
        "array": Path("c.npy"),
        "index": Path("c.json"),
        "processes": 1,
    } | options
    build_cache("metadata.csv", **settings)
    return open_cache(settings["index"])


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_films_are_upright_and_gray(orientation, mode):
    write_films({"a.jpeg": film(orientation, mode)})
    cached = build().film(0)
    assert difference(cached, fit(upright("a.jpeg"), 64, "pad")) < 1


def difference(one, other):
    """Mean absolute difference in gray levels."""
    return np.abs(one.astype(int) - other).mean()


def textured(height, width, orientation=1):
    """A film with structure at every scale, as radiographs have it."""
    noise = np.random.default_rng(height)
    layers = [
        cv2.resize(noise.normal(0, side / 2, (height // side + 1, width // side + 1)), (width, height))
        for side in (2, 4, 8, 16, 64)
    ]
    pixels, exif = np.clip(128 + sum(layers), 0, 255).astype(np.uint8), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save("a.jpeg", quality=90, exif=exif)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("resize", ["pad", "squash"])
def test_decoding_at_a_fraction_is_within_a_gray_level(orientation, resize):
    for height, width, size in ((641, 403, 96), (600, 421, 96), (1203, 777, 64), (505, 507, 64), (2500, 2000, 224)):
        if size == 224 and orientation != 6:
            continue  # large, so once
        textured(height, width, orientation)
        film, whole = examined("a.jpeg"), upright("a.jpeg")
        assert difference(decode_film(film, size, resize), fit(whole, size, resize)) < 1, (height, width, size)


def test_only_large_jpegs_are_decoded_at_a_fraction(monkeypatch):
    flags = []
    decode = cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda content, flag: flags.append(flag) or decode(content, flag))
    textured(1600, 1200)
    for size in (60, 100, 300, 700):
        assert decode_film(examined("a.jpeg"), size, "pad").shape == (size, size)
    Image.open("a.jpeg").save("a.png")
    decode_film(examined("a.png"), 60, "pad")
    assert flags == [
        cv2.IMREAD_REDUCED_GRAYSCALE_8, cv2.IMREAD_REDUCED_GRAYSCALE_4, cv2.IMREAD_REDUCED_GRAYSCALE_2,
        cv2.IMREAD_GRAYSCALE, cv2.IMREAD_GRAYSCALE,
    ]  # fmt: skip


def test_padding_keeps_the_aspect_and_squashing_fills():
    bright = np.full((100, 50), 200, np.uint8)
    padded, squashed = fit(bright, 64, "pad"), fit(bright, 64, "squash")
    assert (padded > 0).sum() == 64 * 32
    assert (padded[:, :16] == 0).all()
    assert (squashed == 200).all()


def test_small_films_grow():
    assert fit(np.full((20, 10), 9, np.uint8), 64, "pad").shape == (64, 64)


def test_index_names_what_went_in():
    write_films({"b.jpeg": film(), "a.jpeg": film(3)})
    cache = build()
    assert list(cache.rows(["b", "a", "b"])) == [1, 0, 1]
    assert cache.image_ids(np.array([1, 0])) == ["b", "a"]
    before = dict(cache.index)
    write_films({"b.jpeg": film(), "a.jpeg": film(6)})
    after = build().index
    for name in ("films_sha256", "array_sha256"):
        assert after[name] != before[name]


def test_processes_do_not_change_a_byte():
    write_films({f"{number}.jpeg": film(size=(40 + number, 60)) for number in range(70)})
    build()
    build(array=Path("d.npy"), index=Path("d.json"), processes=2)
    assert Path("c.npy").read_bytes() == Path("d.npy").read_bytes()


def test_all_films_that_can_not_be_cached_are_listed_and_nothing_is_left():
    write_films({name: film() for name in ("changed.jpeg", "gone.jpeg", "good.jpeg")})
    Path("changed.jpeg").write_bytes(film(3))
    Path("gone.jpeg").unlink()
    with pytest.raises(UserError) as error:
        build()
    assert "changed.jpeg: not the file that metadata.csv describes" in str(error.value)
    assert "gone.jpeg: No such file" in str(error.value)
    assert "good.jpeg" not in str(error.value)
    assert [path.name for path in Path().glob("*c.*")] == []


def test_content_that_is_no_image_is_named():
    Path("a.jpeg").write_bytes(b"text")
    film = Film("a.jpeg", sha256_of_file("a.jpeg"), 90, 80)
    assert decode_film(film, 64, "pad") == "a.jpeg: can't be decoded"


def test_missing_and_damaged_caches_are_refused():
    with pytest.raises(UserError, match=r"c.json: the cache is missing; run `snakemake -R cache`"):
        open_cache(Path("c.json"))
    write_films({"a.jpeg": film()})
    build()
    Path("c.npy").write_bytes(Path("c.npy").read_bytes()[:-5])
    with pytest.raises(UserError, match="damaged"):
        open_cache(Path("c.json"))
    build(size=32, array=Path("d.npy"), index=Path("d.json"))
    Path("c.npy").write_bytes(Path("d.npy").read_bytes())
    with pytest.raises(UserError, match="does not fit its index"):
        open_cache(Path("c.json"))


def test_a_worker_maps_the_file_instead_of_copying_it():
    write_films({f"{number}.jpeg": film() for number in range(9)})
    cache = build()
    content = pickle.dumps(cache)
    assert len(content) < 64 * 64
    assert np.array_equal(pickle.loads(content).film(8), cache.film(8))


def test_one_thread_a_process():
    write_films({"a.jpeg": film()})
    build()
    assert cv2.getNumThreads() == 1


def test_one_wrong_byte_is_noticed_when_its_film_is_read():
    write_films({f"{number}.jpeg": film() for number in range(5)})
    build()
    content = bytearray(Path("c.npy").read_bytes())
    content[-64 * 64 - 32 - 50] ^= 1  # in the last film but one, before the hash behind it
    Path("c.npy").write_bytes(content)
    cache = open_cache(Path("c.json"))
    for row in (0, 1, 2, 4):
        cache.film(row)
    with pytest.raises(UserError, match=r"c\.npy: film 3 is damaged; run `snakemake -R cache`"):
        cache.film(3)


def test_films_lie_in_the_order_of_their_names_and_any_name_is_found():
    names = ["ä", "b2", "b10", "a", "Ω film"]
    write_films({f"{name}.jpeg": film(size=(50 + number, 60)) for number, name in enumerate(names)})
    cache = build()
    assert cache.image_ids(np.arange(5)) == sorted(names)
    for name in names:
        assert np.array_equal(cache.film_of(name), decode_film(examined(f"{name}.jpeg"), 64, "pad"))


def test_names_that_are_not_there_are_counted():
    write_films({"b.jpeg": film(), "d.jpeg": film()})
    with pytest.raises(UserError, match=r"c\.npy: 3 images are not in the cache, e\.g\. a\."):
        build().rows(["a", "b", "c", "d", "e longer than all"])


def test_film_of_one_gray_value_is_blank_whatever_its_padding():
    gray = np.full((40, 90), 200, np.uint8)
    step = gray + np.arange(90, dtype=np.uint8) // 9
    for resize in ("pad", "squash"):
        assert is_blank(fit(gray, 64, resize))
        assert not is_blank(fit(step, 64, resize))
    assert is_blank(np.zeros((64, 64), np.uint8))
