"""What an image shows besides a lesion: its light, hairs, rulers, ink and dark corners."""

import cv2
import numpy as np

from skin_cancer.images.cleaning import find_hairs

HAIR_SHARE, CORNER_SHARE, INK_SHARE, RULER_SCORE = 0.01, 0.01, 0.003, 0.4


def describe(image: np.ndarray) -> dict[str, float]:
    """Return simple measures of a picture's quality.

    Args:
        image: uint8 RGB (height, width, 3).

    Returns:
        `width` and `height` in pixels; `brightness`, mean luma, 0 to 255; `warmth`, mean red less
        mean blue, -255 to 255; `sharpness`, the deviation of the Laplacian of a copy 225 high;
        `hair %` and `dark corner %`, shares of the picture.
    """
    height, width = image.shape[:2]
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(luma, (round(225 * width / height), 225), interpolation=cv2.INTER_AREA)
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    corners = abs(x) + abs(y) > 1.5
    return {
        "width": width,
        "height": height,
        "brightness": float(luma.mean()),
        "warmth": float(image[..., 0].mean() - image[..., 2].mean()),
        "sharpness": float(cv2.Laplacian(small, cv2.CV_64F).std()),
        "hair %": 100 * float(find_hairs(image).mean()),
        "dark corner %": 100 * float((corners & (luma < 40)).mean()),
    }


def artefacts(image: np.ndarray) -> dict[str, bool]:
    """Say what lies over the skin in a picture, by simple rules that miss faint cases.

    Args:
        image: uint8 RGB (height, width, 3).

    Returns:
        `hair`, `ruler`, `dark corners`, `ink`: whether the picture shows so.
    """
    height, width = image.shape[:2]
    small = cv2.resize(image, (round(225 * width / height), 225), interpolation=cv2.INTER_AREA)
    described = describe(small)
    return {
        "hair": described["hair %"] > 100 * HAIR_SHARE,
        "ruler": ruler_score(small) > RULER_SCORE,
        "dark corners": described["dark corner %"] > 100 * CORNER_SHARE,
        "ink": ink_share(small) > INK_SHARE,
    }


def ink_share(image: np.ndarray) -> float:
    """Return the share of a picture that is a marker's ink: much bluer or greener than its skin.

    Only the outer part counts, since lesions can be blue too.

    Args:
        image: uint8 RGB (height, width, 3).
    """
    smooth = cv2.GaussianBlur(image, (0, 0), 1).astype(np.float32)
    green_channel = smooth[..., 1]
    skin = np.median(smooth[green_channel >= np.median(green_channel)], axis=0)
    red, green, blue = np.moveaxis((smooth + 1) / (skin + 1), -1, 0)
    blueish = (blue > 1.35 * green) & (blue > 1.2 * red) & (green < 0.75)
    greenish = (green > 1.35 * red) & (green > 1.2 * blue) & (red < 0.75)
    blueish &= smooth[..., 2] > 1.15 * green_channel
    greenish &= green_channel > 1.15 * smooth.max(axis=2, where=[True, False, True], initial=0)
    y, x = np.ogrid[-1 : 1 : image.shape[0] * 1j, -1 : 1 : image.shape[1] * 1j]
    outer = np.maximum(abs(x), abs(y)) > 0.6
    return float(((blueish | greenish) & outer & (smooth.max(axis=2) > 50)).mean())


def ruler_score(image: np.ndarray) -> float:
    """Return how regularly short dark marks follow each other along a border: at most about 1.

    The marks are dark against both sides; their profile along each border is compared with itself
    one, two, three and four steps further on.

    Args:
        image: uint8 RGB (height, width, 3), about 225 high.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    borders = (grey, grey[::-1], grey.T, grey.T[::-1])
    strips = [border[at : at + 14] for border in borders for at in range(0, 40, 8)]
    return max(_regularity(np.ascontiguousarray(strip)) for strip in strips)


def _regularity(strip):
    """Return the weakest of the first four peaks of a strip's best autocorrelation."""
    marks = cv2.morphologyEx(strip, cv2.MORPH_BLACKHAT, np.ones((1, 9), np.uint8))
    marks = cv2.morphologyEx(marks, cv2.MORPH_OPEN, np.ones((4, 1), np.uint8))
    profile = marks.astype(np.float32).clip(0, 30).mean(axis=0)
    profile -= profile.mean()
    length, energy = len(profile), float(profile @ profile)
    if energy < 0.3 * length:
        return 0.0
    alike = np.correlate(profile, profile, "full")[length - 1 :] / energy
    alike *= length / np.arange(length, 0, -1)
    scores = [
        min(alike[step * k - (k > 1) : step * k + k].max() for k in (1, 2, 3, 4))
        - max(0.0, alike[step // 2 : step // 2 + 2].min())
        for step in range(5, length // 6)
        if alike[step] >= max(alike[step - 1], alike[step + 1])
    ]
    return float(max(scores, default=0.0))
