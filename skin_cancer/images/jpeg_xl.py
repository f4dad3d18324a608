"""The size of a JPEG XL image by its header (ISO/IEC 18181-1, SizeHeader; 18181-2, boxes).

Its plug-in for Pillow decodes all pixels when it opens a file.
"""

import struct

from skin_cancer.errors import ImageError
from skin_cancer.images.limits import DAMAGED

CODESTREAM = b"\xff\x0a"
RATIOS = (None, (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
MAX_BOXES = 1_000


def size(data: bytes) -> tuple[int, int]:
    """Return width and height in pixels, as stored.

    Raises:
        ImageError: it is damaged.
    """
    start = _codestream(data)
    take = _bits(int.from_bytes(data[start + 2 : start + 14].ljust(12, b"\0"), "little"))
    small = take(1)
    height = _length(take, small)
    ratio = RATIOS[take(3)]
    return (height * ratio[0] // ratio[1] if ratio else _length(take, small)), height


def _length(take, small):
    return 8 * (take(5) + 1) if small else take((9, 13, 18, 30)[take(2)]) + 1


def _bits(number):
    """Return a function that takes so many bits off a number, the lowest first."""

    def take(count):
        nonlocal number
        taken, number = number % 2**count, number >> count
        return taken

    return take


def _codestream(data):
    """Return where the image itself starts, in a file of boxes or alone."""
    place = 0
    for _ in range(MAX_BOXES):
        if data.startswith(CODESTREAM, place):
            return place
        if place + 16 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, place)
        header = 16 if length == 1 else 8
        if length == 1:
            length = struct.unpack_from(">Q", data, place + 8)[0]
        # The image's box is entered, where the loop finds it, or there is none; others are passed.
        if kind in (b"jxlc", b"jxlp"):
            length = header + 4 * (kind == b"jxlp")
        elif length < header:
            break
        place += length
    raise ImageError(DAMAGED)
