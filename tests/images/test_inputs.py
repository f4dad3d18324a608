"""What people hold in Python: all of it gives the same answer, or a sentence."""

import io

import numpy as np
import pytest
from pictures import encoded, lesion
from PIL import Image

from skin_cancer import Classifier, ImageError
from skin_cancer.images import decoding, inputs

SCENE = lesion(240, 180)
FLAT = (0.299, 0.587, 0.114)


@pytest.fixture(scope="module")
def classifier():
    return Classifier.load()


def rgba(values, opaque):
    return np.dstack([values, np.full(values.shape[:2], opaque, values.dtype)])


HELD = {
    "uint8": SCENE,
    "RGBA": rgba(SCENE, 255),
    "float": SCENE / 255,
    "float32 RGBA": rgba((SCENE / 255).astype(np.float32), 1),
    "uint16": SCENE.astype(np.uint16) * 257,
    "uint16 RGBA": rgba(SCENE.astype(np.uint16) * 257, 65535),
    "Fortran order": np.asfortranarray(SCENE),
    "mirrored twice": SCENE[:, ::-1].copy()[:, ::-1],
    "bytes": encoded(SCENE, ".png"),
    "bytearray": bytearray(encoded(SCENE, ".png")),
    "memoryview": memoryview(encoded(SCENE, ".png")),
    "Pillow": Image.fromarray(SCENE),
    "Pillow RGBA": Image.fromarray(SCENE).convert("RGBA"),
    "decoded": decoding.read(encoded(SCENE, ".png")),
}


@pytest.mark.parametrize("what", HELD)
def test_all_that_holds_the_same_pixels_reads_the_same(what):
    assert np.array_equal(inputs.read(HELD[what]).pixels, SCENE)


def test_what_is_given_stays_as_it_is():
    for given in (SCENE.astype(np.uint16) * 257, rgba(SCENE, 100), SCENE / 255):
        before = given.copy()
        inputs.read(given)
        assert np.array_equal(given, before)
    image = Image.fromarray(rgba(SCENE, 100))
    inputs.read(image)
    assert image.mode == "RGBA"


@pytest.mark.parametrize("shape", [(180, 240), (180, 240, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
def test_grey(shape, dtype):
    scale = {np.uint8: 1, np.uint16: 257, np.float64: 1 / 255}[dtype]
    light = (SCENE @ FLAT).astype(np.uint8)
    found = inputs.read((light.astype(dtype) * scale).astype(dtype).reshape(shape)).pixels
    assert np.array_equal(found, np.dstack([light] * 3))


def test_transparent_parts_are_white():
    image = rgba(SCENE, 255)
    image[:60, :, 3] = 0
    image[60:120, :, 3] = 128
    for given in (image, Image.fromarray(image)):
        found = inputs.read(given).pixels
        assert (found[:60] == 255).all()
        assert np.abs(found[60:120] - (SCENE[60:120] / 2 + 127.5)).max() <= 2
        assert np.array_equal(found[120:], SCENE[120:])


def test_files(classifier, tmp_path):
    path = tmp_path / "scan.png"
    path.write_bytes(encoded(SCENE, ".png"))
    expected = classifier.predict(SCENE).probabilities
    with open(path, "rb") as opened:
        from_file = classifier.predict(opened)
    assert from_file.probabilities == expected
    assert from_file.source == str(path)
    assert classifier.predict(io.BytesIO(path.read_bytes())).probabilities == expected
    with Image.open(path) as image:
        assert classifier.predict(image).source == str(path)
    assert classifier.predict(SCENE).source is None


def test_an_image_of_pillow_is_turned_as_its_file_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(SCENE).save(tmp_path / "turned.png", exif=exif.tobytes())
    with Image.open(tmp_path / "turned.png") as image:
        assert inputs.read(image).pixels.shape == (240, 180, 3)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (None, "NoneType"),
        ([[1, 2]], "np.asarray"),
        (SCENE.astype(int), r"int64 and shape \(180, 240, 3\).*astype\(np.uint8\)"),
        (SCENE.astype(float), "from 54.* / 255|/ 255"),
        (SCENE / 127.5 - 1, "from -.*low"),
        (np.full((64, 64, 3), np.nan), "nan"),
        (np.moveaxis(SCENE, 2, 0), r"np.moveaxis\(image, 0, -1\)"),
        (SCENE[None], "predict_many"),
        (np.zeros((8, 8), np.uint8), "8 x 8"),
        (io.StringIO("text"), "mode 'rb'"),
        ("https://example.org/a.jpg", "download"),
        (".", "is a folder"),
        (b"", "empty"),
    ],
)
def test_what_is_not_taken_says_what_came(classifier, image, words):
    with pytest.raises(ImageError, match=words):
        classifier.predict(image)


def test_a_folder_of_many(classifier, tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("b/2.PNG", "a.png", ".hidden.png", "._a.png"):
        (tmp_path / name).write_bytes(encoded(SCENE, ".png"))
    (tmp_path / "notes.pdf").write_bytes(b"%PDF-1.7 ...")
    found = list(classifier.predict_many(tmp_path))
    names = [str(tmp_path / name) for name in ("a.png", "b/2.PNG", "notes.pdf")]
    assert [prediction.source for prediction in found] == names
    assert [bool(prediction.error) for prediction in found] == [False, False, True]
    assert "This is a PDF" in found[2].error
    assert next(classifier.predict_many(str(tmp_path))).source == names[0]


def test_each_of_many_says_of_which_file_it_is(classifier, tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(SCENE, ".png"))
    found = classifier.predict_many([tmp_path / "a.png", SCENE, str(tmp_path / "absent.jpg")])
    sources = [prediction.source for prediction in found]
    assert sources == [str(tmp_path / "a.png"), None, str(tmp_path / "absent.jpg")]


@pytest.mark.parametrize(
    "images",
    ["absent.jpg", b"bytes", bytearray(b"bytes"), SCENE, Image.fromarray(SCENE), io.BytesIO(), 3],
    ids=lambda images: type(images).__name__,
)
def test_one_image_is_not_many(classifier, images):
    with pytest.raises(ImageError, match="predict_many takes a folder or several images"):
        classifier.predict_many(images)


def test_an_empty_folder(classifier, tmp_path):
    with pytest.raises(ImageError, match="holds no files"):
        classifier.predict_many(tmp_path)


def test_several_images_in_one_array(classifier):
    assert len(list(classifier.predict_many(np.stack([SCENE, SCENE])))) == 2
