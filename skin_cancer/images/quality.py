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
# Long by short side of what may be a pair, and of what likely is one: how far from the middle they
# may meet, how much of a step that must be, and in what share of the rows.
PAIRS = {1.2: (3, 2.0, 0.5), 1.9: (10, 1.5, 0.4)}
BLOCK = 8  # rows that are averaged before a step is looked for
WORDS = {
    "small": "The image is small ({width} x {height} pixels): fine structures are lost. Take one "
    "of at least {least} pixels on each side.",
    "blurred": "The image is blurred. Clean the lens, hold still and focus again.",
    "dark": "The image is too dark. Take it in more light.",
    "bright": "The image is overexposed: its bright parts are lost. Take it in less light.",
    "pair": "These seem to be two images side by side: only the middle is read, where they meet. "
    "Send each on its own.",
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
        "pair": is_pair(square),
        "no lesion": found["lesion"] < LEAST_LESION,
    }
    sizes = {"width": square.width, "height": square.height, "least": LEAST_SIDE}
    return {name: WORDS[name].format(**sizes) for name, is_so in wrong.items() if is_so}


def is_pair(square: Square) -> bool:
    """Say whether an image seems to be two side by side, or one above the other.

    Through the middle of its square then runs a straight step. Of 3,000 images of HAM10000, ISIC
    2019 and MILK10k 0.3 % would seem to be pairs, of 1,000 pairs of them 98 % do.
    """
    longer, shorter = max(square.width, square.height), min(square.width, square.height)
    limits = [values for ratio, values in PAIRS.items() if longer >= ratio * shorter]
    if not limits:
        return False
    reach, least_step, least_share = limits[-1]
    luma = cv2.cvtColor(square.pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    luma = luma if square.width > square.height else luma.T
    steps = np.abs(np.diff(luma.reshape(-1, BLOCK, SIDE).mean(axis=1), axis=1))
    middle = steps[:, SIDE // 2 - reach : SIDE // 2 + reach - 1]
    aside = np.r_[SIDE // 2 - 40 : SIDE // 2 - reach - 4, SIDE // 2 + reach + 3 : SIDE // 2 + 39]
    step, others = middle.mean(axis=0).max(), np.percentile(steps[:, aside].mean(axis=0), 95)
    usual = np.maximum(np.median(steps, axis=1), 0.5)
    share = (middle.max(axis=1) > 3 * usual).mean()
    return bool(step > least_step * max(others, 0.3) and share > least_share)


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
