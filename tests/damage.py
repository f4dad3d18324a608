"""How many damaged JPEGs are refused: python tests/damage.py COUNT FOLDER SIZES damages so many.

FOLDER holds JPEGs; for "drawn" they are drawn. SIZES are those of damaged blocks in bytes. Printed
is a table of what came of those of which more than 5 % of the pixels changed, and how many of the
whole ones were refused.
"""

import io
import sys
from collections import defaultdict
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from pictures import lesion
from PIL import Image

from skin_cancer.errors import ImageError
from skin_cancer.images import decoding, jpeg

WRITTEN = (
    {"quality": 75},
    {"quality": 90},
    {"quality": 95, "subsampling": 0},
    {"quality": 85, "optimize": True},
    {"quality": 85, "progressive": True},
)
MUCH, SEEN = 0.05, 8  # of the pixels; of 255 levels


def _cut(data, place, size, _rng):
    del data[place : place + size]


def _zeroed(data, place, size, _rng):
    data[place : place + size] = bytes(size)


def _random(data, place, size, rng):
    data[place : place + size] = rng.bytes(size)


def _swapped(data, place, size, rng):
    other = int(rng.integers(_start(data), len(data) - size - 2))
    first, second = bytes(data[place : place + size]), bytes(data[other : other + size])
    data[place : place + size], data[other : other + size] = second, first


def _flipped(data, _place, _size, rng):
    for _ in range(rng.integers(1, 9)):
        data[rng.integers(_start(data), len(data) - 2)] ^= 1 << int(rng.integers(8))


DAMAGES = {
    "cut": _cut,
    "zeroed": _zeroed,
    "random": _random,
    "swapped": _swapped,
    "flipped": _flipped,
}


def damaged(whole, kind, size, rng):
    """Damage the coded blocks of a JPEG, of `size` bytes or single bits."""
    data = bytearray(whole)
    size = min(size, (len(data) - _start(data)) // 3)
    DAMAGES[kind](data, int(rng.integers(_start(data), len(data) - size - 2)), size, rng)
    return bytes(data)


def pictures(count):
    """Drawn lesions as JPEGs of several programs and sizes."""
    for number in range(count):
        width, height = ((600, 450), (320, 240), (224, 224))[number % 3]
        buffer = io.BytesIO()
        image = Image.fromarray(lesion(width, height, seed=number))
        image.save(buffer, "JPEG", **WRITTEN[number % len(WRITTEN)])
        yield buffer.getvalue()


def share_changed(whole, spoilt):
    """The share of pixels that OpenCV, which does not look for damage, gives another value."""
    expected = cv2.imdecode(np.frombuffer(whole, np.uint8), cv2.IMREAD_COLOR)
    data = spoilt if spoilt.endswith(jpeg.END) else spoilt + jpeg.END
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if found is None or found.shape != expected.shape:
        return 1.0
    return float((cv2.absdiff(found, expected).max(axis=-1) > SEEN).mean())


def refused(data):
    try:
        decoding.decode(data)
    except ImageError:
        return True
    return False


def _start(data):
    """Where the coded blocks of the first scan start."""
    scan = data.index(jpeg.SCAN)
    return scan + 2 + int.from_bytes(data[scan + 2 : scan + 4])


def main(count, folder, *sizes):
    """Print the table."""
    files = sorted(Path(folder).rglob("*.jpg"))
    step = max(1, len(files) // int(count))
    read = (path.read_bytes() for path in files[::step])
    whole = pictures(int(count)) if folder == "drawn" else read
    counts, alarms = defaultdict(lambda: [0, 0, 0]), 0
    for number, data in enumerate(islice(whole, int(count))):
        alarms += refused(data)
        for place, kind in enumerate(DAMAGES):
            rng = np.random.default_rng((number, place))
            spoilt = damaged(data, kind, int(rng.choice([int(size) for size in sizes])), rng)
            much, found = share_changed(data, spoilt) > MUCH, refused(spoilt)
            counts[kind][0] += 1
            counts[kind][1] += much
            counts[kind][2] += much and found
    print("| damage | files | of these much changed | of those refused |\n| -- | -- | -- | -- |")
    for kind, (tried, much, found) in counts.items():
        print(f"| {kind} | {tried} | {much} | {found} ({found / max(much, 1):.1%}) |")
    print(f"whole ones refused: {alarms}")


if __name__ == "__main__":
    main(*sys.argv[1:])
