"""What Pillow reads, or a plug-in of Pillow."""

import importlib
import warnings
from importlib.util import find_spec
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from skin_cancer.errors import ImageError
from skin_cancer.images import jpeg_xl, kinds, raster
from skin_cancer.images.limits import DAMAGED, MAX_PIXELS, bands, check_size

ERRORS = (OSError, ValueError, SyntaxError, EOFError, RuntimeError, TypeError, LookupError)
PLUGINS = {  # module, extra of this package, and name of the kind
    kinds.HEIF: ("pillow_heif", "heif", "HEIC"),
    kinds.JPEG_XL: ("pillow_jxl", "jxl", "JPEG XL"),
}
# Fewer than of other kinds, since their decoders take more memory.
MOST_PIXELS = {kinds.JPEG_2000: 20_000_000, kinds.AVIF: 30_000_000, kinds.JPEG_XL: 30_000_000}
OPAQUE = ("RGB", "L", "P", "1", "CMYK", "YCbCr", "LAB", "HSV")


def endings() -> list[str]:
    """Return the endings of the files that are read with the extras that are installed."""
    lacking = [kind for kind, plugin in PLUGINS.items() if not find_spec(plugin[0])]
    return [end for kind, ends in kinds.ENDINGS.items() if kind not in lacking for end in ends]


def opened(file: BinaryIO, kind: str) -> Image.Image:
    """Open an image file; nothing but its header is read yet.

    Args:
        file: a binary file, at its start.
        kind: one of `kinds`.

    Raises:
        ImageError: it is damaged, has too many pixels, or needs an extra that is not installed.
    """
    if kind in PLUGINS:
        _register(kind)
    if kind == kinds.JPEG_XL:
        width, height = jpeg_xl.size(file.read())
        check_size(width, height, MOST_PIXELS[kind])
        file.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Image.open(file, formats=[kind])
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"The image has more than {MAX_PIXELS / 1e6:.0f} megapixels. Make it smaller and try "
            "again."
        ) from error
    except (UnidentifiedImageError, *ERRORS) as error:
        raise ImageError(DAMAGED) from error


def read(image: Image.Image) -> np.ndarray:
    """Decode an image that Pillow has opened.

    EXIF orientation is applied; transparent parts become white.

    Returns:
        uint8 RGB (height, width, 3).

    Raises:
        ImageError: it is damaged.
    """
    loaded(image)
    if image.mode[0] in "IF":
        values = np.array(image)
        return raster.to_rgb(values, raster.top_of(values))
    mode = "RGB" if image.mode in OPAQUE and "transparency" not in image.info else "RGBA"
    width, height = image.size
    rgb = np.empty((height, width, 3), np.uint8)
    for rows in bands(width, height):
        band = np.array(image.crop((0, rows.start, width, rows.stop)).convert(mode))
        rgb[rows] = band if mode == "RGB" else raster.to_rgb(band)[..., ::-1]
    return rgb


def orientation(exif: bytes) -> int:
    """Return the orientation, 1 to 8, that EXIF data say; 1 if none."""
    found = Image.Exif()
    try:
        found.load(exif)
    except ERRORS:
        return 1
    return found.get(ExifTags.Base.Orientation, 1)


def copied(image: Image.Image) -> Image.Image:
    """Return a copy of an image that may not be decoded yet.

    Raises:
        ImageError: it is damaged.
    """
    try:
        return image.copy()
    except ERRORS as error:
        raise ImageError(DAMAGED) from error


def loaded(image: Image.Image) -> Image.Image:
    """Decode an image that Pillow has opened and turn it as its EXIF orientation says, in place.

    Raises:
        ImageError: it is damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.load()
            if image.format == kinds.JPEG_XL and not getattr(image, "jpeg", False):
                image.info.pop("exif", None)  # by its standard, its orientation says nothing
            ImageOps.exif_transpose(image, in_place=True)
    except ERRORS as error:
        raise ImageError(DAMAGED) from error
    return image


def _register(kind):
    """Import the plug-in of a kind; these are under the GPL and come with extras alone."""
    module, extra, name = PLUGINS[kind]
    try:
        plugin = importlib.import_module(module)
    except ImportError as error:
        raise ImageError(
            f"This is a {name} file. To read it this program needs its extra {extra}, which is not "
            f"installed: pip install -r locks/{extra}.txt. Or save the image as JPEG."
        ) from error
    if kind == kinds.HEIF:
        plugin.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
