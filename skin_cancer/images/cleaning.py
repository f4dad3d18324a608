"""Take out of an image what hides the skin: the colour of the light, and hairs."""

import math

import cv2
import numpy as np


def shades_of_grey(image: np.ndarray, power: float = 6) -> np.ndarray:
    """Take out the colour of the light, as if the picture's mean were grey.

    The light's colour is estimated by a Minkowski mean of the pixels (Finlayson & Trezzi 2004,
    "Shades of Gray and Colour Constancy", section 3).

    Args:
        image: uint8 RGB (height, width, 3).
        power: of the Minkowski mean; 1 is the grey-world method.

    Returns:
        uint8 RGB (height, width, 3), about as bright as before.
    """
    pixels = image.reshape(-1, 3).astype(np.float64)
    light = np.power(np.power(pixels, power).mean(axis=0), 1 / power).clip(1)
    gains = np.linalg.norm(light) / math.sqrt(3) / light
    return cv2.transform(image, np.diag(gains))


def find_hairs(image: np.ndarray) -> np.ndarray:
    """Find dark hairs: thin and long, darker than both their sides.

    After DullRazor (Lee et al. 1997, "DullRazor: A software approach to hair removal from
    images", section 2): closings along four directions fill what is narrower than a few pixels;
    of what they fill, long and thin parts are hairs.

    Args:
        image: uint8 RGB (height, width, 3).

    Returns:
        bool (height, width), true on a hair.
    """
    height = image.shape[0]
    grey = image.max(axis=2)
    filled = [cv2.morphologyEx(grey, cv2.MORPH_CLOSE, line) for line in _lines(height // 30)]
    dark = (cv2.subtract(np.max(filled, axis=0), grey) > 32).astype(np.uint8)
    blobs = cv2.morphologyEx(dark, cv2.MORPH_OPEN, np.ones(2 * [height // 50 | 1], np.uint8))
    thin = cv2.subtract(dark, cv2.dilate(blobs, np.ones((3, 3), np.uint8)))
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(thin)
    length = np.hypot(statistics[:, cv2.CC_STAT_WIDTH], statistics[:, cv2.CC_STAT_HEIGHT])
    hairs = (length > height / 10) & (statistics[:, cv2.CC_STAT_AREA] < length * height / 30)
    hairs[0] = False
    return hairs[labels]


def remove_hairs(image: np.ndarray) -> np.ndarray:
    """Replace the hairs of `find_hairs` by what lies beside them (Telea 2004).

    Args:
        image: uint8 RGB (height, width, 3).

    Returns:
        uint8 RGB (height, width, 3).
    """
    hairs = cv2.dilate(find_hairs(image).astype(np.uint8), np.ones((3, 3), np.uint8))
    return cv2.inpaint(image, hairs, max(2, image.shape[0] / 150), cv2.INPAINT_TELEA)


def _lines(length):
    """Lines one pixel wide in four directions, as structuring elements."""
    length = max(5, length | 1)
    diagonal = np.eye(length, dtype=np.uint8)
    level = np.zeros((length, length), np.uint8)
    level[length // 2] = 1
    return level, level.T, diagonal, diagonal[::-1]
