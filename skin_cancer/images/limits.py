"""What is read of files from anyone: how many bytes and pixels, and what is said of the rest."""

from skin_cancer.errors import ImageError

MAX_BYTES = 50_000_000
MAX_PIXELS = 50_000_000  # the most of a camera, and read within 500 MB of memory
MAX_DEEP_PIXELS = 30_000_000  # of images whose 16 bits or floats are all needed, in that memory
MIN_SIDE = 32
DAMAGED = "The image is damaged or incomplete. Save or send it again."
BAND = 1 << 18  # pixels that are converted at a time, so that no second whole image is held


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


def check_size(width: int, height: int, most: int = MAX_PIXELS) -> None:
    """Refuse images that are too large or too small to be classified.

    Args:
        width: in pixels.
        height: in pixels.
        most: pixels that are read of its kind.

    Raises:
        ImageError: says the size and what to do.
    """
    if width * height > most:
        kind = " of this kind" if most < MAX_PIXELS else ""
        raise ImageError(
            f"The image has {width} x {height} pixels; at most {most / 1e6:.0f} megapixels{kind} "
            "are read. Make it smaller and try again."
        )
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            f"The image has only {width} x {height} pixels; at least {MIN_SIDE} on each side "
            "are needed."
        )


def bands(width: int, height: int) -> list[slice]:
    """Return slices of rows that together are the image, each of about `BAND` pixels."""
    rows = max(1, BAND // width)
    return [slice(top, min(top + rows, height)) for top in range(0, height, rows)]
