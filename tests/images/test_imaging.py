import io
import tracemalloc

import cv2
import numpy as np
import pytest
from pictures import encoded, lesion, noise, png_header
from PIL import Image

from skin_cancer.data.sample import draw
from skin_cancer.diagnoses import ISIC_2018
from skin_cancer.errors import ImageError
from skin_cancer.images import artefacts, cleaning, decoding, squares

CODES = [diagnosis.code for diagnosis in ISIC_2018]
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
        (b"this is text, not a JPEG", "cannot be read as a picture"),
        (b"GIF89a" + bytes(100), "cannot be read as a picture"),
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
    data = encoded(np.zeros((20_000, 20_000, 3), np.uint8), ".png")
    assert len(data) < decoding.MAX_BYTES
    with pytest.raises(ImageError, match="megapixels"):
        decoding.decode(data)


def test_too_small():
    with pytest.raises(ImageError, match="40 x 20 pixels"):
        decoding.decode(encoded(lesion(40, 20)))


@pytest.mark.parametrize("shape", [(450, 600), (600, 450), (1, 1), (33, 500)])
def test_centre_square_has_its_size_from_any_shape(shape):
    assert squares.centre_square(np.zeros((*shape, 3), np.uint8), 224).shape == (224, 224, 3)


def test_centre_square_is_in_the_centre():
    image = np.zeros((100, 200, 3), np.uint8)
    image[:, 50:150] = 255
    assert (squares.centre_square(image, 50) == 255).all()
    image[:25] = image[75:] = image[:, :75] = image[:, 125:] = 0
    assert (squares.centre_square(image, 50, 0.5) == 255).all()


def test_colour_constancy_makes_pictures_under_other_lamps_alike():
    image = lesion()
    warm = np.clip(image * [1.0, 0.9, 0.7], 0, 255).astype(np.uint8)

    def tint(picture):
        means = picture.mean(axis=(0, 1))
        return means / means.sum()

    before = abs(tint(image) - tint(warm)).max()
    after = abs(tint(cleaning.shades_of_grey(image)) - tint(cleaning.shades_of_grey(warm))).max()
    assert after < before / 4


def test_colour_constancy_of_black():
    black = np.zeros((40, 40, 3), np.uint8)
    assert np.array_equal(cleaning.shades_of_grey(black), black)


@pytest.mark.parametrize("scale", [1, 2])
def test_a_dark_hair_is_found_and_removed(scale):
    bare = lesion(600 * scale, 450 * scale)
    image, hair = bare.copy(), np.zeros(bare.shape[:2], np.uint8)
    for canvas, colour in ((image, (30, 22, 20)), (hair, 1)):
        cv2.line(canvas, (60 * scale, 30 * scale), (300 * scale, 420 * scale), colour, 3 * scale)
    found = cleaning.find_hairs(image)
    assert found[hair > 0].mean() > 0.8
    assert found[hair == 0].mean() < 0.01
    cleaned = cleaning.remove_hairs(image).astype(int)
    assert abs(cleaned - bare)[hair > 0].mean() < abs(image.astype(int) - bare)[hair > 0].mean() / 4


def test_plain_skin_and_a_spot_hold_no_hair():
    assert cleaning.find_hairs(lesion()).mean() < 0.005


def test_what_a_picture_measures():
    image = np.full((90, 120, 3), (200, 150, 100), np.uint8)
    found = artefacts.describe(image)
    assert (found["width"], found["height"], found["warmth"]) == (120, 90, 100)
    assert found["brightness"] == pytest.approx(0.299 * 200 + 0.587 * 150 + 11.4, abs=1)
    assert found["sharpness"] == found["hair %"] == found["dark corner %"] == 0
    image[:30, :40] = 0
    assert 1 < artefacts.describe(image)["dark corner %"] < 10


@pytest.mark.parametrize(
    ("name", "found", "wrong"),
    [("hair", 0.4, 0.1), ("ruler", 0.8, 0.1), ("dark corners", 0.9, 0.05), ("ink", 0.8, 0.05)],
)
def test_artefacts_are_found_where_they_were_drawn(name, found, wrong):
    def share(drawn):
        pictures = [draw(code, 700 + i, artefacts=drawn).image for i in range(4) for code in CODES]
        return np.mean([artefacts.artefacts(picture)[name] for picture in pictures])

    assert share((name,)) >= found
    assert share(()) <= wrong


def test_a_blue_lesion_is_no_ink():
    image = lesion()
    cv2.circle(image, (300, 225), 80, (70, 80, 140), cv2.FILLED)
    assert not artefacts.artefacts(image)["ink"]


def test_appearance_does_not_depend_on_the_size_and_tells_pictures_apart():
    small, large = (squares.appearance(lesion(side, side)) for side in (224, 448))
    noise = np.random.default_rng(0).integers(0, 256, (224, 224, 3)).astype(np.uint8)
    assert small.shape == (63,)
    assert np.isfinite(squares.appearance(np.zeros((224, 224, 3), np.uint8))).all()
    assert abs(small[:21] - large[:21]).max() < 6
    assert abs(small - squares.appearance(noise)).max() > 20


def test_levelled_images_have_one_size_and_one_compression():
    large, small = lesion(300, 240), cv2.resize(lesion(300, 240), (105, 84))
    for image in (large, small):
        levelled = squares.level(image, 84)
        assert levelled.shape == (84, 105, 3)
        again = squares.compress(levelled, squares.LEVEL_QUALITY).astype(int)
        assert np.abs(again - levelled).mean() < 1
    assert squares.level(small[:60], 84).shape == (60, 105, 3)  # never enlarged


def test_compression_takes_detail_away():
    image = noise(64, 64)
    coarse, fine = (squares.compress(image, quality).astype(int) - image for quality in (20, 95))
    assert np.abs(coarse).mean() > np.abs(fine).mean() > 0


def test_size_is_read_from_the_header_alone(tmp_path):
    (tmp_path / "cut.jpg").write_bytes(encoded(lesion(120, 80))[:700])
    assert decoding.read_size(tmp_path / "cut.jpg") == (120, 80)
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(ImageError, match="cannot be read as a picture"):
        decoding.read_size(tmp_path / "text.jpg")
