"""What people hold in Python, a path, bytes, a file, an array or Pillow's image, to pixels."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from skin_cancer.errors import ImageError
from skin_cancer.images import decoding, raster
from skin_cancer.images.decoding import Decoded
from skin_cancer.images.limits import MAX_BYTES, check_bytes, check_size

Bytes = bytes | bytearray | memoryview
Picture = str | os.PathLike | Bytes | IO[bytes] | Image.Image | np.ndarray | Decoded
TAKEN = (
    "An image is a path, the bytes of a file, a file opened with 'rb', an image of Pillow, or an "
    "array (height, width, channels) of uint8, uint16 or floats from 0 to 1, with channels grey, "
    "RGB or RGBA."
)
SEVERAL = (
    "predict_many takes a folder or several images, such as a list of paths; predict takes one."
)
ORDERS = {1: [0], 2: [0, 1], 3: [2, 1, 0], 4: [2, 1, 0, 3]}  # of channels, as `raster` takes them
PASSED_OVER = ("__MACOSX", "@eaDir")  # what systems add to folders


def read(image: Picture) -> Decoded:
    """Return the pixels of an image, whatever holds it.

    Args:
        image: a path, the bytes of a file, a file opened for bytes, an image of Pillow, what
            `decoding.read` returns, or an array: (height, width) grey, or (height, width,
            channels) with 1 grey, 2 grey and alpha, 3 RGB or 4 RGBA, of uint8, uint16, or floats
            from 0 to 1. Transparent parts become white.

    Raises:
        ImageError: it cannot be read; says what came and how to convert it.
    """
    if isinstance(image, Decoded):
        return image
    if isinstance(image, (str, os.PathLike)):
        return decoding.read(_content(image))
    if isinstance(image, Bytes):
        return decoding.read(bytes(image))
    if isinstance(image, Image.Image):
        return decoding.of_pillow(image)
    if isinstance(image, np.ndarray):
        return Decoded(_of_array(image), {})
    if hasattr(image, "read"):
        return decoding.read(_rest(image))
    raise ImageError(f"An object of type {_type(image)} came. {_advice(image)}{TAKEN}")


def name(image: Picture) -> str | None:
    """Return which file an image is of, as it was given; None if that is not known."""
    if isinstance(image, (str, os.PathLike)):
        return os.fspath(image)
    known = getattr(image, "filename", None) or getattr(image, "name", None)
    return str(known) if isinstance(known, (str, os.PathLike)) and known else None


def several(images: str | os.PathLike | Iterable[Picture]) -> Iterator[Picture]:
    """Return images one by one: those of an iterable, or all files within a folder by name.

    Hidden files are passed over.

    Raises:
        ImageError: it is a lone image, or a folder without files.
    """
    if isinstance(images, (str, os.PathLike)) and Path(images).is_dir():
        folder = Path(images)
        files = sorted(path for path in folder.rglob("*") if path.is_file() and _seen(path, folder))
        if not files:
            raise ImageError(f"The folder {folder} holds no files.")
        return iter(files)
    if isinstance(images, (str, os.PathLike)):
        raise ImageError(f"{images} is no folder. {SEVERAL}")
    lone = isinstance(images, (Bytes, Image.Image, Decoded)) or hasattr(images, "read")
    if lone or (isinstance(images, np.ndarray) and images.ndim < 4):
        raise ImageError(f"This is one image. {SEVERAL}")
    if not isinstance(images, Iterable):
        raise ImageError(f"An object of type {_type(images)} came. {SEVERAL}")
    return iter(images)


def is_passed_over(name: str) -> bool:
    """Whether the name of a file or folder is one of hidden ones, or of those that systems add."""
    return name.startswith(".") or name in PASSED_OVER


def _content(path):
    try:
        check_bytes(Path(path).stat().st_size)
        return Path(path).read_bytes()
    except IsADirectoryError as error:
        raise ImageError(f"{path} is a folder: predict_many reads all images of one.") from error
    except (OSError, ValueError) as error:
        if str(path).startswith(("http://", "https://")):
            raise ImageError(f"{path} is an address: download the file first.") from error
        raise ImageError(f"{path} cannot be opened: {error}.") from error


def _rest(file):
    """Read a file from where it stands."""
    try:
        content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ImageError(f"The file cannot be read: {error}.") from error
    if not isinstance(content, bytes):
        raise ImageError("The file was opened as text. Open it with mode 'rb'.")
    return content


def _of_array(image):
    """Bring an array to uint8 RGB (height, width, 3); RGB of uint8 is returned as it is."""
    came = f"An array of {image.dtype} and shape {image.shape} came. "
    image = image[..., None] if image.ndim == 2 else image
    if image.ndim != 3 or image.shape[2] not in ORDERS:
        raise ImageError(came + _shape_advice(image) + TAKEN)
    check_size(image.shape[1], image.shape[0])
    if image.dtype == np.uint8 and image.shape[2] == 3:
        return image
    colours = image[..., :-1] if image.shape[2] in (2, 4) else image
    if image.dtype.kind == "f":
        _check_range(image, came)
        top = alpha_top = 1.0
    elif image.dtype == np.uint16:
        top, alpha_top = raster.top_of(colours), raster.top_of(image[..., -1])
    elif image.dtype == np.uint8:
        top = alpha_top = 255
    else:
        raise ImageError(f"{came}Convert it, such as by image.astype(np.uint8). {TAKEN}")
    return raster.to_rgb(image[..., ORDERS[image.shape[2]]], top, alpha_top)


def _shape_advice(image):
    if image.ndim == 3 and image.shape[0] in ORDERS:
        return "Its channels come first: convert it by np.moveaxis(image, 0, -1). "
    if image.ndim == 4:
        return "These are several images: predict_many(images) takes them. "
    return ""


def _check_range(image, came):
    least, largest = image.min(), image.max()
    if not 0 <= least <= largest <= 1:  # nor NaN
        raise ImageError(
            f"{came}Its values are from {least:g} to {largest:g}. Convert it: by image / 255 where "
            f"white is 255, else by (image - low) / (high - low). {TAKEN}"
        )


def _advice(image):
    if hasattr(image, "__array__") or isinstance(image, (list, tuple)):
        return "Convert it by np.asarray(image). "
    return ""


def _type(thing):
    return type(thing).__name__


def _seen(path, folder):
    return not any(map(is_passed_over, path.relative_to(folder).parts))
