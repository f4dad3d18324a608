"""Bytes of an image file, from anyone, to pixels; what is wrong with them in plain words."""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
from PIL import Image

from skin_cancer.errors import ImageError
from skin_cancer.images import dicom, jpeg, kinds, pillow_formats, profiles, raster, tiff
from skin_cancer.images.limits import (
    DAMAGED,
    MAX_BYTES,
    MAX_DEEP_PIXELS,
    MAX_PIXELS,
    check_bytes,
    check_size,
)

__all__ = [
    "MAX_BYTES",
    "MAX_PIXELS",
    "Decoded",
    "check_bytes",
    "check_size",
    "decode",
    "read",
    "read_size",
]

CMYK = "CMYK"
LARGE = 500_000  # pixels of a JPEG whose check takes more than a millisecond
LOW = 16  # levels of 255 that 12 bits in 16 reach
GREY = ("1", "L", "LA", "I", "F", "I;16", "I;16B")  # modes of Pillow
PROFILE_IGNORED = (
    "The image's colour profile is damaged and was ignored: its colours may be wrong. Send the "
    "image as it left the camera."
)
# What is wrong with an image is said by ImageError; OpenCV need not write it to the console.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


class Decoded(NamedTuple):
    """An image file's pixels, and what its answer should be doubted for.

    Attributes:
        pixels: uint8 RGB (height, width, 3), in sRGB.
        doubts: a name to a sentence for the user, as `quality.check` returns them.
    """

    pixels: np.ndarray
    doubts: dict[str, str]


class Source(NamedTuple):
    """What a file holds.

    Attributes:
        pixels: uint8 RGB (height, width, 3), in the colours of the profile.
        profile: the ICC profile; None if there is none, empty if it is damaged.
        grey: whether the pixels have no colours.
    """

    pixels: np.ndarray
    profile: bytes | None = None
    grey: bool = False


def decode(data: bytes) -> np.ndarray:
    """Decode the bytes of an image file from anyone.

    Kind and size are checked on the header, before the pixels are allocated. EXIF orientation is
    applied, and an embedded colour profile: the colours are those of sRGB. Of several pages the
    largest is read, of an animation the first image. Grey, palette, CMYK and deeper images become
    8-bit RGB; what is transparent becomes white.

    Args:
        data: a file of one of `kinds.READ`, at most 50 MB and 50 megapixels.

    Returns:
        uint8 RGB (height, width, 3).

    Raises:
        ImageError: not such a file, too large, too small or damaged.
    """
    return read(data).pixels


def read(data: bytes) -> Decoded:
    """Decode as `decode` does; say as well what is doubtful.

    Raises:
        ImageError: as of `decode`.
    """
    check_bytes(len(data))
    kind = kinds.kind(data)
    return _in_srgb(READERS.get(kind, _by_pillow)(data, kind))


def of_pillow(image: Image.Image) -> Decoded:
    """Decode an image of Pillow as one of a file; the image itself stays as it is.

    Raises:
        ImageError: as of `decode`.
    """
    check_size(*image.size)
    image = pillow_formats.copied(image)
    if image.mode == CMYK:
        return _in_srgb(_inks(image, pillow_formats.read, image))
    return _in_srgb(_source(pillow_formats.read(image), image))


def read_size(file: str | Path | BinaryIO) -> tuple[int, int]:
    """Return width and height in pixels as stored, from the header alone.

    Args:
        file: a path, or a binary file to read from.

    Raises:
        ImageError: not an image file, or too large.
    """
    if isinstance(file, (str, Path)):
        try:
            with open(file, "rb") as opened:
                return read_size(opened)
        except OSError as error:
            raise ImageError(f"{file} cannot be opened: {error}.") from error
    kind = kinds.kind(file.read(kinds.HEAD))
    file.seek(0)
    if kind == kinds.TIFF:
        return tiff.largest_page(file.read()).size
    with pillow_formats.opened(file, kind) as header:
        return header.size


def _in_srgb(source):
    if source.profile is None:
        return Decoded(source.pixels, {})
    try:
        return Decoded(_to_srgb(source), {})
    except profiles.ProfileError:
        return Decoded(source.pixels, {"profile": PROFILE_IGNORED})


def _to_srgb(source):
    """Return the pixels of a source that has a profile in sRGB."""
    space = profiles.space(source.profile)
    if space == profiles.GREY and source.grey:
        return profiles.to_srgb(source.pixels[..., 0], source.profile)
    return profiles.to_srgb(source.pixels, source.profile)


def _jpeg(data, kind):
    data = jpeg.ended(data)
    header = _header(data, kind)
    if header.width * header.height < LARGE or "progressive" in header.info:  # these hold all codes
        jpeg.check_codes(data)
        return _checked_jpeg(data, header)
    with ThreadPoolExecutor(1) as other:  # both at once, so that nobody waits for the check
        checked = other.submit(jpeg.check_codes, data)
        source = _checked_jpeg(data, header)
        checked.result()
    return source


def _checked_jpeg(data, header):
    if header.mode == CMYK:
        return _inks(header, _by_opencv, data)
    return _source(_by_opencv(data), header)


def _png(data, kind):
    try:
        with _header(data, kind) as image:
            image.verify()  # that its parts are as long as they say
    except pillow_formats.ERRORS as error:
        raise ImageError(DAMAGED) from error
    header, deep = _header(data, kind), data[24] == 16
    if "transparency" in header.info and not deep:
        pixels = pillow_formats.read(header)
    elif header.mode in ("RGBA", "LA") or "transparency" in header.info:
        pixels = _in_full(data, header.size, _png_orientation(data))
    else:
        pixels = _by_opencv(data)
        if deep and pixels.max() <= LOW:
            pixels = _in_full(data, header.size, _png_orientation(data))
    return _source(pixels, header)


def _webp(data, kind):
    header = _header(data, kind)
    if header.mode != "RGBA":
        return _source(_by_opencv(data), header)
    turn = pillow_formats.orientation(header.info.get("exif", b""))
    return _source(_in_full(data, header.size, turn), header)


def _tiff(data, kind):
    page = tiff.largest_page(data)
    check_size(*page.size)
    if page.first(tiff.COLOURS) == tiff.CMYK:
        return _inks(_tiff_page(data, kind, page), _by_opencv, data, page.number)
    if page.alpha and not page.deep:
        header = _tiff_page(data, kind, page)
        return _source(pillow_formats.read(header), header)
    pixels = None if page.alpha or page.wide else _by_opencv(data, page.number)
    if pixels is None or (page.deep and (page.declared or pixels.max() <= LOW)):
        pixels = _in_full(data, page.size, page=page)
    return Source(pixels, page.profile, page.first(tiff.COLOURS) in tiff.GREY)


def _tiff_page(data, kind, page):
    header = pillow_formats.opened(io.BytesIO(data), kind)
    try:
        header.seek(page.number)
    except pillow_formats.ERRORS as error:
        raise ImageError(DAMAGED) from error
    check_size(*header.size)
    return header


def _by_pillow(data, kind):
    header = _header(data, kind)
    return _source(pillow_formats.read(header), header)


def _jpeg_2000(data, kind):
    source = _by_pillow(data, kind)
    start = data.find(b"colr\x02", 0, max(data.find(b"jp2c"), 0))
    if start < 0:
        return source
    size = int.from_bytes(data[start - 4 : start])  # of the box, which begins with its size
    return source._replace(profile=data[start + 7 : start - 4 + size])


def _header(data, kind):
    """Open a file; refuse too many or too few pixels."""
    header = pillow_formats.opened(io.BytesIO(data), kind)
    width, height = header.size
    check_size(width, height, pillow_formats.MOST_PIXELS.get(kind, MAX_PIXELS))
    return header


def _source(pixels, header):
    """Return what a file holds that Pillow has opened."""
    return Source(pixels, _profile(header), header.mode in GREY)


def _profile(header):
    """Return the ICC profile; None if there is none, empty if it is damaged."""
    return header.info.get("icc_profile") or b"" if "icc_profile" in header.info else None


def _inks(header, read, *arguments):
    """Decode CMYK: by its profile, if that is sound, to sRGB at once; else as `read` does."""
    profile = _profile(header)
    if profile:
        try:
            return Source(profiles.to_srgb(pillow_formats.loaded(header), profile))
        except profiles.ProfileError:
            profile = b""
    return Source(read(*arguments), profile)


def _by_opencv(data, page=0, flags=cv2.IMREAD_COLOR_RGB):
    """Decode with EXIF orientation, but as stored with IMREAD_UNCHANGED."""
    array = np.frombuffer(data, np.uint8)
    images: Sequence[np.ndarray | None]
    try:
        if page:
            images = cv2.imdecodemulti(array, flags, range=(page, page + 1))[1]
        else:
            images = [cv2.imdecode(array, flags)]
    except cv2.error:
        images = []
    if not images or images[0] is None:
        raise ImageError(DAMAGED)
    return images[0]


def _in_full(data, size, orientation=1, page=None):
    """Decode all bits and transparency of a PNG, WebP or page of a TIFF to 8-bit RGB."""
    deep = page is not None or data[24] == 16
    check_size(size[0], size[1], MAX_DEEP_PIXELS if deep else MAX_PIXELS)
    number, declared = (page.number, page.declared) if page else (0, 0)
    values = _by_opencv(data, number, cv2.IMREAD_UNCHANGED)
    transparent = values.shape[2:] in ((2,), (4,))
    colours = values[..., :-1] if transparent else values
    top = 255 if values.dtype == np.uint8 else raster.top_of(colours, declared)
    if top == raster.DEEPEST and values.dtype == np.uint16 and not transparent:
        return _by_opencv(data, number)
    alpha_top = raster.top_of(values[..., -1]) if transparent else 0
    multiplied = page is not None and page.alpha == tiff.MULTIPLIED
    return raster.turned(raster.to_rgb(values, top, alpha_top, multiplied), orientation)


def _png_orientation(data):
    start = data.find(b"eXIf")
    if start < 0:
        return 1
    size = int.from_bytes(data[start - 4 : start])
    return pillow_formats.orientation(data[start + 4 : start + 4 + size])


READERS = {
    kinds.JPEG: _jpeg,
    kinds.PNG: _png,
    kinds.WEBP: _webp,
    kinds.TIFF: _tiff,
    kinds.JPEG_2000: _jpeg_2000,
    kinds.DICOM: lambda data, kind: Source(*dicom.read(data)),
    kinds.BMP: lambda data, kind: _source(_by_opencv(data), _header(data, kind)),
}
