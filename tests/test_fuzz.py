"""Pictures from strangers end in a prediction or in a sentence, quickly and in little memory."""

import io
import json
import subprocess
import sys
from itertools import product

import cv2
import dicom
import icc
import numpy as np
import pytest
from conftest import ROOT
from fuzz import HANG, files, read
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import encoded, lesion
from PIL import Image

from skin_cancer import Classifier, ImageError
from skin_cancer.images import decoding, limits, pillow_formats

pytestmark = [
    pytest.mark.stress,
    pytest.mark.skipif(sys.platform != "linux", reason="memory is measured on Linux alone"),
]
MEMORY = 500e6
WHOLE = files()
KINDS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
WIDEST = 16_383  # no WebP can be wider


@pytest.fixture(scope="module")
def classifier():
    return Classifier.load()


def file(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_mutated_pictures(stress, tally):
    count = 10_000 if stress else 400
    done = subprocess.run(
        [sys.executable, "tests/fuzz.py", "1", str(count)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60 + 2 * count,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    tally.count("mutated pictures", count, count - len(told["failures"]))
    assert told["failures"] == []
    assert told["slowest"] < HANG
    assert told["memory"] < MEMORY
    assert min(told["found"]["read"], told["found"]["refused"]) > count / 20


@st.composite
def spoilt(draw):
    """A whole file with a few bytes written over anywhere, or bytes of no file at all."""
    data = bytearray(draw(st.sampled_from(list(WHOLE.values()))))
    for place, change in draw(
        st.lists(st.tuples(st.integers(0, len(data)), st.binary(max_size=8)), max_size=6)
    ):
        data[place : place + len(change)] = change
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)


def test_pictures_that_hypothesis_thinks_of(classifier, stress, tally):
    @settings(
        max_examples=2_000 if stress else 100,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(spoilt() | st.binary(max_size=300))
    def tried(data):
        with tally("pictures that Hypothesis thinks of"):
            assert read(classifier, data)[1] < HANG

    tried()


@pytest.mark.parametrize("kind", [*KINDS, "GIF", "AVIF", "JPEG2000", "HEIF", "JXL"])
def test_truncated_at_every_kilobyte(kind, tally):
    data = file(Image.fromarray(lesion(300, 225)), kind)
    for end in range(0, len(data) - 1, 1024):
        with tally("pictures truncated at every kilobyte"), pytest.raises(ImageError):
            decoding.decode(data[:end])


TOO_SMALL = ((1, 1), (30_000, 1), (1, 30_000), (31, 31))


@pytest.mark.parametrize(
    ("kind", "size"),
    [pair for pair in product(KINDS, TOO_SMALL) if pair[0] != "WEBP" or max(pair[1]) <= WIDEST],
)
def test_too_small_to_be_read(kind, size, tally):
    with tally("pictures of too few pixels"), pytest.raises(ImageError, match="at least 32"):
        decoding.decode(file(Image.new("RGB", size), kind))


@pytest.fixture(scope="module")
def answer(classifier):
    """What is said of a drawn lesion that is stored without loss."""
    return classifier.predict(lesion(300, 225)).probabilities


TURNS = (None, 0, 3, 1, 5, 2, 6, 4)  # what undoes EXIF orientations 1 to 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_same_answer_however_the_camera_was_held(classifier, answer, orientation, tally):
    stored, turn = Image.fromarray(lesion(300, 225)), TURNS[orientation - 1]
    exif = Image.Exif()
    exif[0x0112] = orientation
    if turn is not None:
        stored = stored.transpose(Image.Transpose(turn))
    with tally("EXIF orientations"):
        data = file(stored, "PNG", exif=exif.tobytes())
        assert classifier.predict(data).probabilities == answer


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_picture_is_read(classifier, answer, kind, tally):
    first, second = Image.fromarray(lesion(300, 225)), Image.fromarray(lesion(300, 225, seed=1))
    lossless = {"lossless": True} if kind == "WEBP" else {}
    data = file(first, kind, save_all=True, append_images=[second], **lossless)
    with tally("animations"):
        assert classifier.predict(data).probabilities == answer


@pytest.mark.parametrize("extension", [".jpg", ".gif", ".txt", ".html", ""])
def test_a_wrong_extension_does_not_matter(classifier, answer, extension, tmp_path, tally):
    path = tmp_path / f"picture{extension}"
    path.write_bytes(encoded(lesion(300, 225), ".png"))
    with tally("wrong extensions"):
        assert classifier.predict(path).probabilities == answer


ZIP = b"PK\x03\x04" + bytes(26) + b"PK\x05\x06" + bytes(18)
SCRIPT = b"<script>alert(1)</script>"


@pytest.mark.parametrize("other", [ZIP, SCRIPT, b"%PDF-1.7\n", b"MZ" + bytes(200)])
def test_what_a_file_is_besides_is_not_looked_at(classifier, answer, other, tally):
    picture = encoded(lesion(300, 225), ".png")
    with tally("polyglots"):
        assert classifier.predict(picture + other).probabilities == answer
    with tally("polyglots"), pytest.raises(ImageError):
        classifier.predict(other + picture)


@pytest.mark.parametrize(
    "data",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"P6 200 200 255\n" + bytes(120_000),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 200 200\n",
        file(Image.new("RGB", (200, 200)), "ICO"),
    ],
    ids=["SVG", "PPM", "EPS", "ICO"],
)
def test_other_kinds_of_files_are_refused(data, tally):
    with tally("files of other kinds"), pytest.raises(ImageError, match="cannot be read as"):
        decoding.decode(data)


SIDE = int(decoding.MAX_PIXELS**0.5)
DEEP_SIDE = int(limits.MAX_DEEP_PIXELS**0.5)
TURNED = Image.Exif()
TURNED[0x0112] = 6
# Of as many pixels as are read, of kinds that take much memory or work.
LARGEST = {
    "JPEG": lambda: file(_noisy(), "JPEG", quality=60),
    "JPEG progressive, turned": lambda: file(
        _noisy(), "JPEG", quality=50, progressive=True, subsampling=0, exif=TURNED.tobytes()
    ),
    "PNG": lambda: file(Image.new("RGB", (SIDE, SIDE)), "PNG"),
    "PNG, 16 bits, alpha": lambda: _deep(4, ".png", 40_000),
    "WebP, alpha": lambda: file(Image.new("RGBA", (WIDEST, decoding.MAX_PIXELS // WIDEST)), "WEBP"),
    "TIFF, 16 bits": lambda: encoded(np.full((SIDE, SIDE, 3), 9_999, np.uint16), ".tiff"),
    "PNG, 12 bits": lambda: _deep(3, ".png", 4_000),
    "TIFF, 12 bits": lambda: _deep(3, ".tiff", 4_000),
    "TIFF, deflated": lambda: file(
        Image.new("RGB", (SIDE, SIDE)), "TIFF", compression="tiff_deflate"
    ),
    "JPEG, profile": lambda: file(_noisy(), "JPEG", icc_profile=icc.rgb("Display P3")),
    "JPEG, CMYK, profile": lambda: file(
        Image.new("CMYK", (SIDE, SIDE)), "JPEG", icc_profile=icc.cmyk()
    ),
    "GIF": lambda: file(Image.new("P", (SIDE, SIDE)), "GIF", transparency=0),
    "HEIC": lambda: file(Image.new("RGB", (SIDE, SIDE)), "HEIF", quality=30),
    "AVIF, alpha": lambda: file(_of_most("AVIF", "RGBA"), "AVIF", speed=10),
    "JPEG 2000": lambda: file(_of_most("JPEG2000"), "JPEG2000"),
    "JPEG XL, alpha": lambda: file(_of_most("JXL", "RGBA"), "JXL", effort=1),
    "DICOM, JPEG": lambda: dicom.written(
        dicom.compressed(np.asarray(_noisy()), "JPEG", [file(_noisy(), "JPEG", quality=60)])
    ),
}


EACH_TIME = ("JPEG", "JPEG progressive, turned", "PNG", "WebP, alpha", "TIFF, 16 bits")
SELDOM = [kind for kind in LARGEST if kind not in EACH_TIME]


def _noisy():
    tile = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    repeats = SIDE // 256 + 1
    return Image.fromarray(
        np.tile(cv2.GaussianBlur(tile, (0, 0), 2), (repeats, repeats, 1))[:SIDE, :SIDE]
    )


def _of_most(kind, mode="RGB"):
    side = int(pillow_formats.MOST_PIXELS[kind] ** 0.5)
    return Image.new(mode, (side, side))


def _deep(channels, extension, value):
    image = np.full((DEEP_SIDE, DEEP_SIDE, channels), value, np.uint16)
    return cv2.imencode(extension, image)[1].tobytes()


READ_ONE = """
import json, sys
sys.path.insert(0, "tests")
from fuzz import files, memory, read
from skin_cancer import Classifier
classifier = Classifier.load()
read(classifier, files()["JPEG"])
data = open(sys.argv[1], "rb").read()
start = memory("VmRSS")
found, seconds = read(classifier, data)
print(json.dumps([found, seconds, memory("VmHWM") - start]))
"""


@pytest.mark.parametrize(
    "kind", [*EACH_TIME, *(pytest.param(kind, marks=pytest.mark.slow) for kind in SELDOM)]
)
def test_the_largest_pictures(kind, tmp_path, tally):
    path = tmp_path / "picture"
    path.write_bytes(LARGEST[kind]())
    with tally("the largest pictures that are read"):
        done = subprocess.run(
            [sys.executable, "-c", READ_ONE, str(path)], cwd=ROOT, capture_output=True, check=True
        )
        found, seconds, memory = json.loads(done.stdout.splitlines()[-1])
        print(kind, path.stat().st_size, found, seconds, memory)
        assert found == "read" or path.stat().st_size > decoding.MAX_BYTES
        assert seconds < HANG
        assert memory < MEMORY
