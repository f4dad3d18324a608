"""Every kind that is read, and the name of those that are not."""

import io
import sys

import cv2
import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401, for saving
import pytest
from pictures import lesion
from PIL import Image

from skin_cancer.errors import ImageError
from skin_cancer.images import decoding, jpeg_xl, kinds, pillow_formats

pillow_heif.register_heif_opener()
SCENE = cv2.GaussianBlur(lesion(240, 180), (0, 0), 1)
GOOD = {
    "AVIF": {"quality": 90},
    "HEIF": {"quality": 90},
    "JXL": {"quality": 95},
    "JPEG2000": {},
    "GIF": {},
}


def file(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def difference(found, expected=SCENE):
    assert found.dtype == np.uint8
    assert found.shape == expected.shape
    return np.abs(found.astype(int) - expected).mean()


@pytest.mark.parametrize("kind", GOOD)
def test_rgb(kind):
    data = file(Image.fromarray(SCENE), kind, **GOOD[kind])
    assert kinds.kind(data) == kind
    assert difference(decoding.decode(data)) < (6 if kind == "GIF" else 2)
    assert decoding.read_size(io.BytesIO(data)) == (240, 180)


@pytest.mark.parametrize(
    ("kind", "mode"), [(kind, mode) for kind in GOOD for mode in ("L", "RGBA")][:-1]
)
def test_modes(kind, mode):
    """But a transparent GIF, of which one colour stands for transparent: test_depth."""
    image = Image.fromarray(SCENE).convert(mode)
    found = decoding.decode(file(image, kind, **GOOD[kind]))
    assert difference(found, np.asarray(image.convert("RGB"))) < 2


def test_16_bits():
    deep = Image.fromarray(SCENE[..., 0].astype(np.uint16) * 257)
    expected = np.dstack([SCENE[..., 0]] * 3)
    assert difference(decoding.decode(file(deep, "JPEG2000")), expected) < 1


def test_16_bits_of_a_jpeg_xl_whose_profile_is_linear():
    """As its plug-in writes them: 55 of 255 is as light as 128 in sRGB."""
    light = SCENE[..., 0] / 255
    linear = np.where(light > 0.04, ((light + 0.055) / 1.055) ** 2.4, light / 12.92)
    deep = Image.fromarray((65535 * linear).astype(np.uint16))
    found = decoding.decode(file(deep, "JXL", lossless=True))
    assert difference(found, np.dstack([SCENE[..., 0]] * 3)) < 2


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(kind, orientation):
    undo = [None, 0, 3, 1, 5, 2, 6, 4][orientation - 1]
    image = Image.fromarray(SCENE)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = image if undo is None else image.transpose(Image.Transpose(undo))
    data = file(stored, kind, exif=exif.tobytes(), **GOOD[kind])
    assert difference(decoding.decode(data)) < 2


@pytest.mark.parametrize("kind", ["GIF", "AVIF"])
def test_of_an_animation_the_first_image_is_read(kind):
    others = [Image.fromarray(SCENE[::-1])]
    data = file(Image.fromarray(SCENE), kind, save_all=True, append_images=others, **GOOD[kind])
    assert difference(decoding.decode(data)) < 6


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.6, 0.9])
def test_truncated_files_are_refused(kind, share):
    data = file(Image.fromarray(SCENE), kind, **GOOD[kind])
    with pytest.raises(ImageError):
        decoding.decode(data[: int(share * len(data))])


@pytest.mark.parametrize("ending", ["jpg", "JPG", "jpeg", "JPE", "jfif", "Png", "dcm", "xyz"])
def test_the_ending_does_not_matter(ending, tmp_path):
    path = tmp_path / f"image.{ending}"
    path.write_bytes(file(Image.fromarray(SCENE), "JPEG"))
    assert decoding.read_size(path) == (240, 180)


def test_only_what_can_be_read_here_is_offered(monkeypatch):
    """A phone that is not offered HEIC sends JPEG."""
    assert {".jfif", ".jpe", ".heic", ".jxl", ".dcm"} <= set(pillow_formats.endings())
    monkeypatch.setattr(pillow_formats, "find_spec", lambda module: None)
    assert {".heic", ".heif", ".hif", ".jxl"}.isdisjoint(pillow_formats.endings())


@pytest.mark.parametrize(
    ("kind", "module", "extra"), [("HEIF", "pillow_heif", "heif"), ("JXL", "pillow_jxl", "jxl")]
)
def test_without_its_extra_the_refusal_names_it(kind, module, extra, monkeypatch):
    data = file(Image.fromarray(SCENE), kind)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImageError, match=f"its extra {extra}"):
        decoding.decode(data)


@pytest.mark.parametrize("container", [False, True])
@pytest.mark.parametrize("size", [(64, 64), (256, 256), (300, 200), (320, 180), (257, 8_200)])
def test_the_size_of_a_jpeg_xl(container, size):
    data = file(Image.new("RGB", size), "JXL", use_container=container, effort=1)
    assert jpeg_xl.size(data) == size


@pytest.mark.parametrize("kind", pillow_formats.MOST_PIXELS)
def test_too_many_pixels_for_a_decoder(kind, monkeypatch):
    monkeypatch.setitem(pillow_formats.MOST_PIXELS, kind, 40_000)
    data = file(Image.fromarray(SCENE), kind, **GOOD[kind])
    with pytest.raises(ImageError, match="240 x 180 pixels; at most 0 megapixels of this kind"):
        decoding.decode(data)


NOT_READ = {
    "a PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "a ZIP archive": b"PK\x03\x04" + bytes(26) + b"images/a.jpg",
    "a Word, Excel or PowerPoint file": b"PK\x03\x04" + bytes(26) + b"[Content_Types].xml",
    "a video": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
    "an SVG drawing": b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>",
    "a web page": b"<!DOCTYPE html><html>",
    "a Photoshop file": b"8BPS\0\1" + bytes(40),
    "an icon": b"\0\0\1\0\1\0" + bytes(40),
    "a raw image of a camera": b"II*\0\x10\0\0\0CR\2\0" + bytes(40),
    "a NIfTI file": bytes(344) + b"n+1\0",
    "a text file": b"age,sex\n55,female\n",
    "the address of a file in Git LFS": b"version https://git-lfs.github.com/spec/v1\noid",
    "a file of macOS that only describes another": b"\0\x05\x16\x07\0\2\0\0Mac OS X",
}


@pytest.mark.parametrize("name", NOT_READ)
def test_what_is_not_read_is_named_and_not_called_damaged(name):
    with pytest.raises(ImageError, match=f"This is {name}, which cannot be read as an image"):
        decoding.decode(NOT_READ[name])
    with pytest.raises(ImageError, match=f"This is {name}"):
        decoding.read_size(io.BytesIO(NOT_READ[name]))


def test_every_pattern_is_one():
    """Each kind of the tables is found by what `NOT_READ` and the tests above write."""
    assert set(NOT_READ) <= set(kinds.NAMED)
    assert kinds.kind(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf") == "AVIF"
    assert kinds.kind(b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf") == "HEIF"
