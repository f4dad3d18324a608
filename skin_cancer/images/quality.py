"""Whether an image is good enough to be read, in plain words."""

from dataclasses import dataclass

import cv2
import numpy as np

from skin_cancer.images import lesion, squares

SIDE = 224
LEAST_SIDE = 200
LEAST_SHARPNESS = 1.5
DARK, BRIGHT = 80, 225
LOST_SHARE = 0.15
LEAST_LESION = 0.012
WORDS = {
    "small": "The image is small ({width} x {height} pixels): fine structures are lost. Take one "
    "of at least {least} pixels on each side.",
    "blurred": "The image is blurred. Clean the lens, hold still and focus again.",
    "dark": "The image is too dark. Take it in more light.",
    "bright": "The image is overexposed: its bright parts are lost. Take it in less light.",
    "no lesion": "No lesion was found in the middle of the image. Move the lesion to the centre.",
}


@dataclass(frozen=True, eq=False)
class Square:
    """The part of an image that is read, and the lesion that was found in it.

    Attributes:
        pixels: uint8 RGB (224, 224, 3), the centre square.
        lesion: bool (224, 224), true inside the lesion; empty where nothing was found.
        width, height: of the whole image in pixels.
    """

    pixels: np.ndarray
    lesion: np.ndarray
    width: int
    height: int

    @classmethod
    def of(cls, image: np.ndarray) -> "Square":
        """Cut the square out of an image, uint8 RGB (height, width, 3), and find the lesion."""
        pixels = squares.centre_square(image, SIDE)
        return cls(pixels, lesion.find_lesion(pixels), image.shape[1], image.shape[0])


def check(square: Square) -> dict[str, str]:
    """Look for what makes an image hard to read.

    The limits are such that of HAM10000's training images at most one in a hundred breaks each:
    `measure` gives what is compared with them.

    Args:
        square: of the image.

    Returns:
        What is wrong, of `WORDS`, to a sentence for the user; empty for a good image.
    """
    found = measure(square)
    wrong = {
        "small": min(square.width, square.height) < LEAST_SIDE,
        "blurred": found["sharpness"] < LEAST_SHARPNESS,
        "dark": found["brightness"] < DARK,
        "bright": found["brightness"] > BRIGHT or found["overexposed"] > LOST_SHARE,
        "no lesion": found["lesion"] < LEAST_LESION,
    }
    sizes = {"width": square.width, "height": square.height, "least": LEAST_SIDE}
    return {name: WORDS[name].format(**sizes) for name, is_so in wrong.items() if is_so}


def measure(square: Square) -> dict[str, float]:
    """Measure the square of an image.

    Returns:
        `sharpness`: deviation of the Laplacian of luma, smoothed; `brightness`: median luma, 0 to
        255; `overexposed`: share of pixels with luma above 250; `lesion`: share of the square that
        the lesion covers.
    """
    luma = cv2.cvtColor(square.pixels, cv2.COLOR_RGB2GRAY)
    smooth = cv2.GaussianBlur(luma, (0, 0), 1)
    darker = np.cumsum(np.bincount(luma.ravel(), minlength=256)) / luma.size
    _, deviation = cv2.meanStdDev(cv2.Laplacian(smooth, cv2.CV_16S))
    return {
        "sharpness": float(deviation[0, 0]),
        "brightness": float(np.searchsorted(darker, 0.5)),
        "overexposed": float(1 - darker[250]),
        "lesion": float(square.lesion.mean()),
    }
