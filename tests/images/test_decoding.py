import io
import tracemalloc

import cv2
import numpy as np
import pytest
from pictures import encoded, lesion, png_header
from PIL import Image

from skin_cancer.data import examples
from skin_cancer.errors import ImageError
from skin_cancer.images import decoding

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")


@pytest.fixture(scope="module")
def scene():
    """A picture that no turn or mirror image leaves as it is."""
    image = lesion(240, 180)
    image[:60, :80] = (250, 20, 20)
    return image


def file(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def difference(image, expected):
    assert image.dtype == np.uint8
    assert image.shape == expected.shape
    return np.abs(image.astype(int) - expected).mean()


@pytest.mark.parametrize("kind", FORMATS)
def test_formats(scene, kind):
    assert difference(decoding.decode(file(Image.fromarray(scene), kind)), scene) < 3


def test_real_lesions():
    for example in examples.read():
        with Image.open(example.path) as image:
            expected = np.asarray(image.convert("RGB"))
        assert difference(decoding.decode(example.path.read_bytes()), expected) < 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(scene, kind, orientation):
    undo = [None, 0, 3, 1, 5, 2, 6, 4][orientation - 1]
    stored = Image.fromarray(scene)
    if undo is not None:
        stored = stored.transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert difference(decoding.decode(file(stored, kind, exif=exif.tobytes())), scene) < 3


MODES = {
    "JPEG": ("L", "CMYK"),
    "PNG": ("L", "LA", "1", "P", "RGBA"),
    "BMP": ("L", "1", "P", "RGBA"),
    "TIFF": ("L", "1", "P", "RGBA", "CMYK"),
    "WEBP": ("L", "RGBA"),
}


@pytest.mark.parametrize(("kind", "mode"), [(k, m) for k, modes in MODES.items() for m in modes])
def test_colour_modes(scene, kind, mode):
    image = Image.fromarray(scene).convert(mode)
    expected = np.array(image.convert("RGB"))
    assert difference(decoding.decode(file(image, kind)), expected) < 3


@pytest.mark.parametrize("extension", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit(scene, extension, channels):
    deep = scene[..., :channels].astype(np.uint16) * 257
    _, data = cv2.imencode(extension, deep[..., ::-1])
    assert (
        difference(decoding.decode(data.tobytes()), np.broadcast_to(deep // 257, scene.shape)) < 1
    )


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.9, 0.97])
def test_truncated_files_are_refused(scene, kind, share):
    data = file(Image.fromarray(scene), kind)
    with pytest.raises(ImageError):
        decoding.decode(data[: int(share * len(data))])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"this is text, not a JPEG", "cannot be read as an image"),
        (b"GIF89a" + bytes(100), "damaged"),
        (b"\xff\xd8\xff" + bytes(60_000_000), "60 MB"),
    ],
)
def test_what_is_no_picture(data, words):
    with pytest.raises(ImageError, match=words):
        decoding.decode(data)


@pytest.mark.parametrize("size", [(10_001, 5_000), (20_000, 20_000), (90_000, 90_000)])
def test_too_many_pixels_are_refused_before_they_are_allocated(size):
    tracemalloc.start()
    with pytest.raises(ImageError, match="50 megapixels"):
        decoding.decode(png_header(*size))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_real_bomb_is_refused():
    data = encoded(np.zeros((10_000, 10_000, 3), np.uint8), ".png")
    assert len(data) < decoding.MAX_BYTES
    with pytest.raises(ImageError, match="megapixels"):
        decoding.decode(data)


def test_too_small():
    with pytest.raises(ImageError, match="40 x 20 pixels"):
        decoding.decode(encoded(lesion(40, 20)))


def test_size_is_read_from_the_header_alone(tmp_path):
    (tmp_path / "cut.jpg").write_bytes(encoded(lesion(120, 80))[:700])
    assert decoding.read_size(tmp_path / "cut.jpg") == (120, 80)
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(ImageError, match="cannot be read as an image"):
        decoding.read_size(tmp_path / "text.jpg")
    with pytest.raises(ImageError, match="cannot be opened"):
        decoding.read_size(tmp_path / "absent.jpg")
