"""Values of any depth, transparent or not, to 8-bit RGB over white."""

import numpy as np

from skin_cancer.images.limits import bands

DEEPEST = 2**16 - 1
DEPTHS = (8, 10, 12)  # bits that cameras and scanners leave in 16


def to_rgb(
    values: np.ndarray, top: float = 255, alpha_top: float = 0, premultiplied: bool = False
) -> np.ndarray:
    """Bring an image to 8-bit RGB; transparent parts become white.

    Args:
        values: (height, width) grey, or (height, width, channels) with 2 grey and alpha, 3 BGR or
            4 BGR and alpha; of any number type. They are overwritten.
        top: the value of white.
        alpha_top: that of alpha where nothing is transparent; that of white if 0.
        premultiplied: whether the colours are multiplied by alpha already.

    Returns:
        uint8 RGB (height, width, 3).
    """
    height, width = values.shape[:2]
    source = np.ascontiguousarray(values).reshape(height, width, -1)
    channels = source.shape[2]
    if channels * source.itemsize < 3:
        rgb = np.empty((height, width, 3), np.uint8)
    else:  # in the same memory: what is written lies before what is still to be read
        rgb = source.reshape(-1).view(np.uint8)[: height * width * 3].reshape(height, width, 3)
    for rows in bands(width, height):
        band = source[rows]
        colours = _narrowed(band[..., : 1 if channels < 3 else 3], top)[..., ::-1]
        if channels in (2, 4):
            alpha = _narrowed(band[..., -1:], alpha_top or top).astype(np.uint16)
            if not premultiplied:
                product = colours * alpha + 128
                colours = (product + (product >> 8)) >> 8  # divided by 255 and rounded
            colours = np.minimum(colours + (255 - alpha), 255)
        rgb[rows] = colours
    return rgb


def top_of(values: np.ndarray, declared: float = 0) -> float:
    """Return the value of white: what the file declares, or the least depth that holds all values.

    Args:
        values: of the colours, of any number type.
        declared: by the file; not believed if a value is larger.
    """
    largest = float(np.nanmax(values, initial=0))
    if values.dtype.kind == "f" and largest <= 1:
        return 1.0
    if declared >= max(largest, 1):
        return declared
    tops = [2**bits - 1 for bits in DEPTHS if largest < 2**bits]
    return tops[0] if tops else max(DEEPEST, largest if np.isfinite(largest) else 0)


def turned(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turn an image (height, width, ...) as its EXIF orientation, 1 to 8, says."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image[:, ::-1] if orientation in (2, 3, 6, 7) else image


def _narrowed(values, top):
    """Bring values from 0 to `top` to uint8."""
    if values.dtype == np.uint8 and top == 255:
        return values
    if values.dtype == np.uint16 and top == DEEPEST:
        return (values >> 8).astype(np.uint8)
    if values.dtype == np.uint16:
        return _scaled(np.arange(DEEPEST + 1), top)[values]
    return _scaled(np.nan_to_num(values.astype(np.float32), posinf=top, neginf=0), top)


def _scaled(values, top):
    return (values * (255 / top)).round().clip(0, 255).astype(np.uint8)
