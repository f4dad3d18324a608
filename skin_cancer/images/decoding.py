"""Bytes of an image file, from anyone, to pixels; what is wrong with them in plain words."""

import io
import warnings
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from skin_cancer.errors import ImageError

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
MAX_BYTES = 50_000_000
MAX_PIXELS = 50_000_000  # the most of a camera, and read within 500 MB of memory
MIN_SIDE = 32
MAX_SCANS = 64  # of a JPEG; cameras and programs write at most about ten
JPEG, PNG = b"\xff\xd8", b"\x89PNG"
SCAN = b"\xff\xda"
DAMAGED = "The image is damaged or incomplete. Save or send it again."
# What is wrong with an image is said by ImageError; OpenCV need not write it to the console.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def decode(data: bytes) -> np.ndarray:
    """Decode the bytes of an image file from anyone.

    Size and format are checked on the header, before the pixels are allocated. EXIF
    orientation is applied; grey, palette, alpha, CMYK and 16-bit images become 8-bit RGB.

    Args:
        data: a JPEG, PNG, BMP, TIFF or WebP file, at most 50 MB and 50 megapixels.

    Returns:
        uint8 RGB (height, width, 3).

    Raises:
        ImageError: not such a file, too large, too small or damaged.
    """
    check_bytes(len(data))
    check_size(*read_size(io.BytesIO(data)))
    _check_parts(data)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        image = None
    if image is None:
        raise ImageError(DAMAGED)
    return image


def check_bytes(count: int) -> None:
    """Refuse files that are empty or too large to be read.

    Raises:
        ImageError: says the size and what to do.
    """
    if count < 1:
        raise ImageError("The file is empty. Choose an image.")
    if count > MAX_BYTES:
        raise ImageError(
            f"The file has {count / 1e6:.0f} MB; at most {MAX_BYTES / 1e6:.0f} MB are read. "
            "Save the image as JPEG and try again."
        )


def check_size(width: int, height: int) -> None:
    """Refuse images that are too large or too small to be classified.

    Raises:
        ImageError: says the size and what to do.
    """
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"The image has {width} x {height} pixels; at most {MAX_PIXELS / 1e6:.0f} megapixels "
            "are read. Make it smaller and try again."
        )
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            f"The image has only {width} x {height} pixels; at least {MIN_SIDE} on each side "
            "are needed."
        )


def read_size(file: str | Path | BinaryIO) -> tuple[int, int]:
    """Return width and height in pixels, from the header alone.

    Args:
        file: a path, or a binary file to read from.

    Raises:
        ImageError: not an image file, or too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file, formats=FORMATS) as header:
                return header.size
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"The image has more than {MAX_PIXELS / 1e6:.0f} megapixels. Make it smaller and try "
            "again."
        ) from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise ImageError(
            "This file cannot be read as an image. Choose a whole JPEG, PNG, BMP, TIFF or WebP "
            "file."
        ) from error


def _check_parts(data):
    """Refuse what would take OpenCV much work or memory, whatever the size in the header."""
    if data.startswith(JPEG) and data.count(SCAN) > MAX_SCANS:
        raise ImageError("The image is a JPEG of too many parts. Save it anew and try that file.")
    if data.startswith(PNG):
        try:
            with Image.open(io.BytesIO(data)) as image:
                image.verify()  # that its parts are as long as they say
        except (OSError, ValueError, SyntaxError) as error:
            raise ImageError(DAMAGED) from error
