"""Deep, transparent and many-paged files: white is white, and nobody sees hidden colours."""

import io
import tempfile

import cv2
import numpy as np
import pytest
from pictures import lesion, noise
from PIL import Image

from skin_cancer.errors import ImageError
from skin_cancer.images import decoding, quality

SCENE = lesion(240, 180)
SCENE[:4] = 255  # white, so that the range is reached


def file(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def by_opencv(values, extension):
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[values.shape[2]]
    return cv2.imencode(extension, values[..., order])[1].tobytes()


def difference(found, expected):
    assert found.shape == expected.shape
    return np.abs(found.astype(int) - expected).mean()


@pytest.mark.parametrize("extension", [".png", ".tiff"])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_bits_in_16(extension, bits, channels):
    values = SCENE[..., :channels] / 255 * (2**bits - 1)
    found = decoding.decode(by_opencv(values.round().astype(np.uint16), extension))
    assert difference(found, np.broadcast_to(SCENE[..., :channels], SCENE.shape)) < 1


def test_16_bits_that_reach_far_are_what_they_were():
    """A dark image of 16 bits is dark: only what fits into 12 bits is stretched."""
    values = (SCENE // 10).astype(np.uint16) * 257
    assert difference(decoding.decode(by_opencv(values, ".png")), values // 257) < 1


@pytest.mark.parametrize("tag", [281, 341])
def test_a_tiff_that_declares_its_white(tag):
    """14 bits, as MaxSampleValue or SMaxSampleValue says, though they are not reached."""
    deep = (SCENE[..., 0] / 255 * (2**14 - 1) * 0.9).astype(np.uint16)
    data = file(Image.fromarray(deep), "TIFF", tiffinfo={tag: 2**14 - 1})
    assert difference(decoding.decode(data), np.dstack([SCENE[..., 0] * 0.9] * 3)) < 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("white", [1, 255, 4095])
@pytest.mark.parametrize("channels", [1, 3])
def test_float_tiff(dtype, white, channels):
    values = (SCENE[..., :channels] / 255 * white).astype(dtype)
    found = decoding.decode(by_opencv(values, ".tiff"))
    assert difference(found, np.broadcast_to(SCENE[..., :channels], SCENE.shape)) < 1


def test_float_tiff_of_no_numbers():
    values = (SCENE / 255).astype(np.float32)
    values[10:20], values[30:40], values[50:60] = np.nan, -5, -np.inf
    found = decoding.decode(by_opencv(values, ".tiff"))
    assert not found[10:20].any()
    assert not found[30:40].any()
    assert difference(found[60:], SCENE[60:]) < 1


def cutout(mode="RGBA"):
    """The scene above, hidden green below, and half of it between."""
    image = np.dstack([SCENE, np.full(SCENE.shape[:2], 255, np.uint8)])
    image[60:120, :, 3] = 128
    image[120:] = (0, 255, 0, 0)
    return Image.fromarray(image).convert(mode)


def over_white(mode="RGBA"):
    return np.asarray(
        Image.alpha_composite(Image.new("RGBA", (240, 180), "white"), cutout(mode).convert("RGBA"))
    )[..., :3]


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("PNG", "RGBA"),
        ("PNG", "LA"),
        ("TIFF", "RGBA"),
        ("TIFF", "LA"),
        ("WEBP", "RGBA"),
        ("AVIF", "RGBA"),
        ("JPEG2000", "RGBA"),
        ("JPEG2000", "LA"),
    ],
)
def test_transparent_parts_are_white(kind, mode):
    options = {"WEBP": {"lossless": True}, "AVIF": {"quality": 95, "subsampling": "4:4:4"}}
    found = decoding.decode(file(cutout(mode), kind, **options.get(kind, {})))
    assert (found[124:] > 250).all()
    assert difference(found, over_white(mode)) < 3


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_colour_that_stands_for_transparent(kind, mode):
    image = Image.new(mode, (64, 48), 3 if mode != "RGB" else (0, 255, 0))
    if mode == "P":
        image.putpalette([i for i in range(256) for _ in range(3)])
    image.paste(200 if mode != "RGB" else (200, 0, 0), (0, 0, 64, 20))
    if kind == "GIF" and mode == "RGB":
        image = image.convert("P")
    key = image.getpixel((0, 40))
    found = decoding.decode(file(image, kind, transparency=key))
    assert (found[24:] == 255).all()
    assert not (found[:20] == 255).all()


@pytest.mark.parametrize("extension", [".png", ".tiff"])
@pytest.mark.parametrize("bits", [12, 16])
def test_deep_and_transparent(extension, bits):
    deep = np.asarray(cutout()) / 255 * (2**bits - 1)
    found = decoding.decode(by_opencv(deep.round().astype(np.uint16), extension))
    assert difference(found, over_white()) < 1


def test_colours_that_are_multiplied_by_alpha():
    """As TIFF calls associated alpha."""
    image = cutout().convert("RGBa")
    data = file(Image.frombytes("RGBA", image.size, image.tobytes()), "TIFF")
    entry = b"\x52\x01\x03\0\x01\0\0\0"
    assert entry + b"\x02" in data
    data = data.replace(entry + b"\x02", entry + b"\x01")
    assert difference(decoding.decode(data), over_white()) < 2


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_transparent_images(kind, orientation):
    undo = [None, 0, 3, 1, 5, 2, 6, 4][orientation - 1]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = cutout() if undo is None else cutout().transpose(Image.Transpose(undo))
    options = {"lossless": True} if kind == "WEBP" else {}
    found = decoding.decode(file(stored, kind, exif=exif.tobytes(), **options))
    assert difference(found, over_white()) < 1


def test_opaque_alpha_changes_nothing():
    image = Image.fromarray(SCENE)
    for kind in ("PNG", "TIFF", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        assert np.array_equal(
            decoding.decode(file(image.convert("RGBA"), kind, **options)),
            decoding.decode(file(image, kind, **options)),
        )


def pages(images, **options):
    """A TIFF of several pages; Pillow compresses them only into a file."""
    with tempfile.TemporaryFile() as opened:
        images[0].save(opened, "TIFF", save_all=True, append_images=images[1:], **options)
        opened.seek(0)
        return opened.read()


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "jpeg"])
def test_the_largest_page_of_a_tiff_is_read(place, compression):
    images = [Image.fromarray(noise(60 + i, 40)) for i in range(3)]
    images[place] = Image.fromarray(SCENE)
    data = pages(images, compression=compression)
    assert difference(decoding.decode(data), SCENE) < 4
    assert decoding.read_size(io.BytesIO(data)) == (240, 180)


def test_the_largest_page_is_measured_before_it_is_read():
    images = [Image.fromarray(SCENE), Image.new("1", (20_000, 20_000))]
    with pytest.raises(ImageError, match="20000 x 20000"):
        decoding.decode(pages(images, compression="tiff_deflate"))


def test_pages_that_go_round_in_circles():
    data = bytearray(file(Image.fromarray(SCENE), "TIFF"))
    start = int.from_bytes(data[4:8], "little")
    end = start + 2 + 12 * int.from_bytes(data[start : start + 2], "little")
    data[end : end + 4] = data[4:8]
    assert difference(decoding.decode(bytes(data)), SCENE) == 0


def test_a_raw_image_of_a_camera_is_named():
    data = file(Image.fromarray(SCENE[..., 0]), "TIFF", tiffinfo={254: 0})
    entry = b"\x06\x01\x03\0\x01\0\0\0"
    data = data.replace(entry + b"\x01\0", entry + (32803).to_bytes(2, "little"))
    with pytest.raises(ImageError, match="raw image of a camera"):
        decoding.decode(data)


def test_two_images_side_by_side_are_doubted():
    first, second = lesion(400, 300), lesion(400, 300, seed=1)
    for pair in (np.hstack([first, second]), np.vstack([first, second])):
        assert "side by side" in quality.check(quality.Square.of(pair))["pair"]
    gap = np.full((300, 10, 3), 255, np.uint8)
    assert "pair" in quality.check(quality.Square.of(np.hstack([first, gap, second])))


@pytest.mark.parametrize("size", [(800, 300), (300, 700), (400, 300), (300, 300), (640, 360)])
def test_one_image_is_no_pair(size):
    for seed in range(5):
        assert not quality.is_pair(quality.Square.of(lesion(*size, seed=seed)))
