"""Mutated pictures: python tests/fuzz.py SEED COUNT reads so many, and says what came of them."""

import faulthandler
import io
import json
import sys
import time
from collections import Counter
from pathlib import Path

import cv2
import dicom
import icc
import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401, for saving
from pictures import lesion
from PIL import Image

from skin_cancer import Classifier, SkinCancerError
from skin_cancer.app.reading import Reading

HANG = 30.0  # seconds that no image takes, even on a slow machine: what takes them is a bomb
EXTREMES = (b"\0", b"\xff", b"\x7f", b"\x80", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff")


def files():
    """Whole files of every kind that is read, by name."""
    image = Image.fromarray(lesion(160, 120))
    second = image.rotate(90).resize(image.size)
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = {
        "JPEG": {"exif": exif.tobytes()},
        "JPEG progressive": {"progressive": True},
        "JPEG grey": {},
        "JPEG CMYK": {},
        "PNG": {},
        "PNG palette": {},
        "PNG alpha": {},
        "PNG animated": {"save_all": True, "append_images": [second]},
        "WEBP": {},
        "WEBP lossless": {"lossless": True, "exif": exif.tobytes()},
        "WEBP animated": {"save_all": True, "append_images": [second]},
        "TIFF": {},
        "TIFF deflated": {"compression": "tiff_deflate"},
        "TIFF LZW": {"compression": "tiff_lzw"},
        "TIFF JPEG": {"compression": "jpeg"},
        "TIFF pages": {"save_all": True, "append_images": [second]},
        "BMP": {},
        "GIF": {"save_all": True, "append_images": [second]},
        "AVIF": {"exif": exif.tobytes()},
        "AVIF alpha": {},
        "JPEG2000": {},
        "JPEG2000 alpha": {},
        "HEIF": {"icc_profile": icc.rgb("Display P3")},
        "JXL": {},
        "JXL boxes": {"use_container": True},
        "TIFF alpha": {},
        "WEBP alpha": {"icc_profile": icc.rgb("Display P3")},
        "JPEG profile": {"icc_profile": icc.rgb("Display P3")},
        "JPEG profile CMYK": {"icc_profile": icc.cmyk()},
        "PNG profile grey": {"icc_profile": icc.grey(1.8)},
        "TIFF profile": {"icc_profile": icc.rgb("ProPhoto")},
    }
    modes = {"grey": "L", "CMYK": "CMYK", "palette": "P", "alpha": "RGBA"}
    pillow_heif.register_heif_opener()
    by_pillow = {
        name: _encoded(image.convert(modes.get(name.split()[-1], "RGB")), name.split()[0], options)
        for name, options in kinds.items()
    }
    values = np.asarray(image)
    deep = {
        "PNG 16 bits": (".png", np.uint16(257) * values),
        "PNG 16 bits alpha": (".png", np.uint16(9) * np.asarray(image.convert("RGBA"))),
        "TIFF 16 bits": (".tiff", np.uint16(9) * values),
        "TIFF floats": (".tiff", np.float32(1 / 255) * values),
    }
    jpeg = by_pillow["JPEG"]
    photographs = {
        "DICOM": dicom.written(dicom.dataset(values)),
        "DICOM frames": dicom.written(dicom.dataset(np.stack([values] * 2), NumberOfFrames=2)),
        "DICOM JPEG": dicom.written(dicom.compressed(values, "JPEG", [jpeg])),
        "DICOM RLE": dicom.written(dicom.compressed(values, "RLE")),
        "DICOM JPEG-LS": dicom.written(dicom.compressed(values, "JPEG-LS")),
    }
    by_opencv = {name: cv2.imencode(*pair)[1].tobytes() for name, pair in deep.items()}
    return by_pillow | by_opencv | photographs


def _encoded(image, kind, options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def mutated(whole, seed, number):
    """The number-th mutation: a few bytes, or pieces of files, are changed, cut or doubled."""
    rng = np.random.default_rng((seed, number))
    data = bytearray(whole[rng.integers(len(whole))])
    for _ in range(rng.integers(1, 9)):
        place = _place(rng, len(data))
        length = int(rng.integers(1, 65))
        match rng.integers(7):
            case 0:
                data[place : place + length] = rng.bytes(length)
            case 1:
                data[place : place + 1] = bytes([int(rng.integers(256))])
            case 2:
                extreme = EXTREMES[rng.integers(len(EXTREMES))]
                data[place : place + len(extreme)] = extreme
            case 3:
                del data[place : place + length]
            case 4:
                data[place:place] = data[place : place + length] * int(rng.integers(1, 20))
            case 5:
                other = whole[rng.integers(len(whole))]
                start = _place(rng, len(other))
                data[place : place + length] = other[start : start + length]
            case 6:
                del data[int(rng.integers(len(data) + 1)) :]
    return bytes(data)


def _place(rng, length):
    """A place in a file, every second time in its header."""
    return int(rng.integers(1 + (min(length, 200) if rng.integers(2) else length)))


def read(classifier, data):
    """Read a picture as the page does: what came of it, and the seconds of work that it took."""
    start = time.process_time()
    try:
        Reading.of(classifier, "picture", data)
        found = "read"
    except SkinCancerError:
        found = "refused"
    return found, time.process_time() - start


def memory(what):
    """Bytes that this process holds, `VmRSS`, or held at most, `VmHWM`; of Linux alone."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split(f"{what}:")[1].split()[0])


def main(seed, count):
    """Print as JSON what came of each mutation, the slowest, and the memory above the start."""
    faulthandler.enable()
    classifier, whole = Classifier.load(), list(files().values())
    found, slowest, failures = Counter(), 0.0, []
    for data in whole:
        read(classifier, data)
    start = memory("VmRSS")
    for number in range(int(count)):
        print(number, file=sys.stderr, flush=True)  # the last one if the process dies
        try:
            outcome, seconds = read(classifier, mutated(whole, int(seed), number))
        except Exception as error:
            outcome, seconds = "failed", 0.0
            failures.append([number, repr(error)])
        found[outcome] += 1
        slowest = max(slowest, seconds)
    above = memory("VmHWM") - start
    told = {"found": found, "failures": failures, "slowest": slowest, "memory": above}
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
