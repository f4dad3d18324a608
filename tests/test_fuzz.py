"""Pictures from strangers end in a prediction or in a sentence, quickly and in little memory."""

import io
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from conftest import ROOT
from fuzz import SECONDS, files, read
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import encoded, lesion
from PIL import Image

from skin_cancer import Classifier, ImageError, imaging

pytestmark = pytest.mark.stress
MEMORY = 500e6
WHOLE = files()
KINDS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")


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
    assert told["slowest"] < SECONDS
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
            assert read(classifier, data)[1] < SECONDS

    tried()


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_at_every_kilobyte(kind, tally):
    data = file(Image.fromarray(lesion(300, 225)), kind)
    for end in range(0, len(data) - 1, 1024):
        with tally("pictures truncated at every kilobyte"), pytest.raises(ImageError):
            imaging.decode(data[:end])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (30_000, 1), (1, 30_000), (31, 31)])
def test_too_small_to_be_read(kind, size, tally):
    if kind == "WEBP" and max(size) > 16_383:
        pytest.skip("no WebP can be so wide")
    with tally("pictures of too few pixels"), pytest.raises(ImageError, match="at least 32"):
        imaging.decode(file(Image.new("RGB", size), kind))


SIDE = int(imaging.MAX_PIXELS**0.5)
WIDE = 16_383  # the widest WebP
TURNED = Image.Exif()
TURNED[0x0112] = 6
# Of as many pixels as are read, of kinds that take much memory or work.
LARGEST = {
    "JPEG": lambda: file(_noisy(), "JPEG", quality=60),
    "JPEG progressive, turned": lambda: file(
        _noisy(), "JPEG", quality=50, progressive=True, subsampling=0, exif=TURNED.tobytes()
    ),
    "PNG": lambda: file(Image.new("RGB", (SIDE, SIDE)), "PNG"),
    "PNG, 16 bits, alpha": lambda: encoded(np.zeros((SIDE, SIDE, 4), np.uint16), ".png"),
    "WebP, alpha": lambda: file(Image.new("RGBA", (WIDE, imaging.MAX_PIXELS // WIDE)), "WEBP"),
    "TIFF, 16 bits": lambda: encoded(np.zeros((SIDE, SIDE, 3), np.uint16), ".tiff"),
    "TIFF, deflated": lambda: file(
        Image.new("RGB", (SIDE, SIDE)), "TIFF", compression="tiff_deflate"
    ),
}


def _noisy():
    tile = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    repeats = SIDE // 256 + 1
    return Image.fromarray(
        np.tile(cv2.GaussianBlur(tile, (0, 0), 2), (repeats, repeats, 1))[:SIDE, :SIDE]
    )


READ_ONE = """
import json, resource, sys
import psutil
sys.path.insert(0, "tests")
from fuzz import files, read
from skin_cancer import Classifier
classifier = Classifier.load()
read(classifier, files()["JPEG"])
data = open(sys.argv[1], "rb").read()
start = psutil.Process().memory_info().rss
found, seconds = read(classifier, data)
peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([found, seconds, peak - start]))
"""


@pytest.mark.parametrize("kind", LARGEST)
def test_the_largest_pictures(kind, tmp_path, tally):
    path = tmp_path / "picture"
    path.write_bytes(LARGEST[kind]())
    with tally("the largest pictures that are read"):
        done = subprocess.run(
            [sys.executable, "-c", READ_ONE, str(path)], cwd=ROOT, capture_output=True, check=True
        )
        found, seconds, memory = json.loads(done.stdout.splitlines()[-1])
        print(kind, path.stat().st_size, found, seconds, memory)
        assert found == "read" or path.stat().st_size > imaging.MAX_BYTES
        assert seconds < SECONDS
        assert memory < MEMORY
