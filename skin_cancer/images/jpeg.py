"""Whether a JPEG is whole: its tables, its blocks, and whatever libjpeg warns of."""

import re

import numpy as np
import simplejpeg

from skin_cancer.errors import ImageError
from skin_cancer.images.limits import DAMAGED

START, END, SCAN = b"\xff\xd8", b"\xff\xd9", b"\xff\xda"
MAX_SCANS = 64  # of a JPEG; cameras and programs write at most about ten
MAX_SEGMENTS = 4_000  # of a header; each holds up to 64 kB
ZEROS = bytes(16)  # more than codes of blocks that are not empty can be
# What libjpeg says without any pixel being lost: of headers, and of what it cannot convert here.
HARMLESS = re.compile("JFIF revision|Adobe color|SOS param|subsampling|color conversion")
BEFORE_END = "before marker 0xd9"
MARK = re.compile(rb"\xff+([^\x00\xff])")
AFTER_BLOCKS = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
ALONE = {0x01, *range(0xD0, 0xD8)}  # marks of no length
FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
READ = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}  # sequential and progressive; Huffman and arithmetic
TABLES, CODES, BLOCKS, LAST = 0xDB, 0xC4, 0xDA, 0xD9
OTHER = (
    "This is a lossless JPEG or one of more than 8 bits, which cannot be read as an image here. "
    "Save it as PNG or as an ordinary JPEG."
)


def ended(data: bytes) -> bytes:
    """Return a JPEG with its end mark, which may lack; refuse it by what its segments say.

    Zeros where the codes of the blocks were can be codes, of which libjpeg says nothing.

    Args:
        data: the file.

    Raises:
        ImageError: it is damaged, or of a kind that is not read.
    """
    if data.count(SCAN) > MAX_SCANS:
        raise ImageError("The image is a JPEG of too many parts. Save it anew and try that file.")
    if not data.endswith(END):
        data += END
    _check_segments(data)
    return data


def check_codes(data: bytes) -> None:
    """Refuse a JPEG of which libjpeg says that pixels are lost.

    It is asked at an eighth of the size, in grey: it reads all codes and transforms few.

    Args:
        data: the file with its end mark, of not too many pixels.

    Raises:
        ImageError: it is damaged.
    """
    lost = _lost(data)
    if "ICC" in lost:  # the profile is another question
        lost = _lost(data.replace(b"ICC_PROFILE", b"NO__PROFILE"))
    if lost.endswith(BEFORE_END):  # some cameras fill up with zeros
        lost = _lost(data[: -len(END)].rstrip(b"\0") + END)
    if lost:
        raise ImageError(DAMAGED)


def _lost(data):
    """Return what libjpeg says, if it may mean that pixels are lost; else nothing."""
    try:
        simplejpeg.decode_jpeg(
            data, colorspace="GRAY", fastdct=True, fastupsample=True, min_factor=8
        )
    except ValueError as error:
        return "" if HARMLESS.search(str(error)) else str(error)
    return ""


def _check_segments(data):
    """Refuse divisors of zero, frames of other kinds, and zeros where the blocks' codes were."""
    first_codes = {}
    for mark, segment, end in _segments(data):
        if mark == TABLES and not all(table.all() for table in _divisors(segment)):
            raise ImageError(DAMAGED)
        if mark in FRAMES and (mark not in READ or segment[0] != 8):
            raise ImageError(OTHER)
        if mark == CODES:
            first_codes.update(_first_codes(segment))
        if mark == BLOCKS:
            zeros = data.find(ZEROS, end)
            if zeros < 0:
                return
            if zeros < _next(data, end) and _is_coded(segment, first_codes):
                raise ImageError(DAMAGED)


def _segments(data):
    """Yield mark, content and end of each segment, up to the end mark (ITU T.81, annex B)."""
    place = 2
    for _ in range(MAX_SEGMENTS):
        found = MARK.match(data, place)
        if not found:
            raise ImageError(DAMAGED)
        mark, place = found[1][0], found.end()
        if mark == LAST:
            return
        if mark in ALONE:
            continue
        length = int.from_bytes(data[place : place + 2])
        if length < 3 or place + length > len(data):
            raise ImageError(DAMAGED)
        yield mark, data[place + 2 : place + length], place + length
        place += length
        if mark == BLOCKS:
            place = _next(data, place)
    raise ImageError(DAMAGED)


def _next(data, place):
    """Return where the coded blocks that start at a place end."""
    found = AFTER_BLOCKS.search(data, place)
    if not found:
        raise ImageError(DAMAGED)
    return found.start()


def _divisors(segment):
    """Yield the tables of a segment of divisors: 64 each, of 8 or 16 bits (T.81, B.2.4.1)."""
    while segment:
        kind = ">u2" if segment[0] >> 4 else "u1"
        size = 64 * np.dtype(kind).itemsize
        yield np.frombuffer(segment[1 : 1 + size].ljust(size, b"\0"), kind)
        segment = segment[1 + size :]


def _first_codes(segment):
    """Yield class and number of each table of codes, and what zeros stand for (T.81, B.2.4.2)."""
    while len(segment) > 17:
        yield segment[0], segment[17]
        segment = segment[17 + sum(segment[1:17]) :]


def _is_coded(scan, first_codes):
    """Say whether zeros in a scan would be blocks that are not empty, of any of its components.

    Zeros are empty blocks where the first code is the end of a block, or of several: 0x00 to 0xE0.
    """
    count = scan[0]
    if scan[1 + 2 * count] == 0 and scan[2 + 2 * count] == 0:  # mean values alone, of many scans
        return False
    numbers = {0x10 | scan[2 + 2 * i] & 0x0F for i in range(count)}
    return any(first_codes.get(n, 0) & 0x0F or first_codes.get(n) == 0xF0 for n in numbers)
