"""Whether a picture is good enough to be read, in plain words."""

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
    "small": "The picture is small ({width} x {height} pixels): fine structures are lost. Take one "
    "of at least {least} pixels on each side.",
    "blurred": "The picture is blurred. Clean the lens, hold still and focus again.",
    "dark": "The picture is too dark. Take it in more light.",
    "bright": "The picture is overexposed: its bright parts are lost. Take it in less light.",
    "no lesion": "No lesion was found in the middle of the picture. Bring it into the centre.",
}


def check(image: np.ndarray) -> dict[str, str]:
    """Look for what makes a picture hard to read.

    The limits are such that of HAM10000's training images at most one in a hundred breaks each:
    `measure` gives what is compared with them.

    Args:
        image: uint8 RGB (height, width, 3).

    Returns:
        What is wrong, of `WORDS`, to a sentence for the user; empty for a good picture.
    """
    height, width = image.shape[:2]
    found = measure(image)
    wrong = {
        "small": min(width, height) < LEAST_SIDE,
        "blurred": found["sharpness"] < LEAST_SHARPNESS,
        "dark": found["brightness"] < DARK,
        "bright": found["brightness"] > BRIGHT or found["overexposed"] > LOST_SHARE,
        "no lesion": found["lesion"] < LEAST_LESION,
    }
    sizes = {"width": width, "height": height, "least": LEAST_SIDE}
    return {name: WORDS[name].format(**sizes) for name, is_so in wrong.items() if is_so}


def measure(image: np.ndarray) -> dict[str, float]:
    """Measure the centre square of a picture at 224 pixels.

    Args:
        image: uint8 RGB (height, width, 3).

    Returns:
        `sharpness`: deviation of the Laplacian of luma, smoothed; `brightness`: median luma, 0 to
        255; `overexposed`: share of pixels with luma above 250; `lesion`: share of the square that
        `lesion.find_lesion` finds.
    """
    square = squares.centre_square(image, SIDE)
    luma = cv2.cvtColor(square, cv2.COLOR_RGB2GRAY)
    smooth = cv2.GaussianBlur(luma, (0, 0), 1)
    return {
        "sharpness": float(cv2.Laplacian(smooth, cv2.CV_64F).std()),
        "brightness": float(np.median(luma)),
        "overexposed": float((luma > 250).mean()),
        "lesion": float(lesion.find_lesion(square).mean()),
    }
