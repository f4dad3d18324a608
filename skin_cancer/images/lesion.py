"""Find the lesion in a dermatoscopic picture and describe its shape and colours."""

import functools
import math

import cv2
import numpy as np

from skin_cancer.images import cleaning

# The six colours of the ABCD rule of dermatoscopy (Nachbar et al. 1994), in sRGB.
COLOURS = {
    "white": (255, 255, 255),
    "red": (204, 51, 51),
    "light brown": (153, 102, 0),
    "dark brown": (51, 0, 0),
    "blue-grey": (51, 153, 255),
    "black": (0, 0, 0),
}
COLOUR_SHARE = 0.05
# Least individual typology angle in degrees of each skin tone (Del Bino & Bernerd 2013).
TONES = {
    "very light": 55,
    "light": 41,
    "intermediate": 28,
    "tan": 10,
    "brown": -30,
    "dark": -90,
}
SKIN_SHARE, SKIN_LUMA = 0.4, 110  # of a corner's side in the height; of skin in light
SEARCH_HEIGHT = 128  # pixels; a finer copy gives no better overlap with masks drawn by hand
MEASURES = ("asymmetry", "border irregularity", "colours", "relative diameter")


def find_lesion(image: np.ndarray) -> np.ndarray:
    """Find the lesion as what is darker than the skin around it.

    Otsu's threshold (1979) on the smoothed blue channel, where pigment and blood absorb most; of
    the connected parts the one that is largest and nearest to the centre, with its holes filled.
    It is sought in a copy at most `SEARCH_HEIGHT` high.

    Args:
        image: uint8 RGB (height, width, 3).

    Returns:
        bool (height, width), true inside the lesion; empty where nothing is found.
    """
    height, width = image.shape[:2]
    small = min(SEARCH_HEIGHT, height)
    size = (round(width * small / height), small)
    blue = cv2.resize(image[..., 2], size, interpolation=cv2.INTER_AREA)
    smooth = cv2.medianBlur(blue, _odd(small / 28))  # 5 pixels, the largest quick one
    field = _field_of_view(small, size[0])
    level, _ = cv2.threshold(smooth[field][:, None], 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    dark = ((smooth <= level) & field).astype(np.uint8)
    part = _central_part(cv2.morphologyEx(dark, cv2.MORPH_OPEN, _disc(small / 30)))
    outlines, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros_like(part), outlines, -1, 255, cv2.FILLED)
    return cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR) > 127


def crop_to_lesion(image: np.ndarray, margin: float = 0.5) -> np.ndarray:
    """Cut the part of the picture that shows the lesion, in the picture's own proportions.

    Args:
        image: uint8 RGB (height, width, 3).
        margin: how much larger than the lesion the part is, as a share of the lesion.

    Returns:
        uint8 RGB, at least half as high and wide as the picture; all of it if no lesion is found.
    """
    mask = find_lesion(image)
    if not mask.any():
        return image
    size = np.array(mask.shape)
    place = np.argwhere(mask)
    low, high = place.min(axis=0), place.max(axis=0) + 1
    share = np.clip(((high - low) / size).max() * (1 + margin), 0.5, 1)
    part = np.round(share * size).astype(int)
    top, left = np.clip((low + high - part) // 2, 0, size - part)
    return image[top : top + part[0], left : left + part[1]]


def skin_tone(image: np.ndarray, mask: np.ndarray) -> float:
    """Estimate the tone of the skin around a lesion.

    The individual typology angle of its median colour (Chardon et al. 1991; used so by Kinyanjui
    et al. 2020, "Fairness of classifiers across skin tones in dermatology", section 3). Light and
    camera are not known, so it is a rough estimate.

    Args:
        image: uint8 RGB (height, width, 3).
        mask: bool (height, width), true inside the lesion.

    Returns:
        Degrees, -90 for the darkest to 90; NaN if no skin is seen.
    """
    height, width = mask.shape
    skin = cv2.dilate(mask.astype(np.uint8), _disc(height / 10)) == 0
    skin &= _field_of_view(height, width) & ~cleaning.find_hairs(image)
    skin &= (image.max(axis=2) > 40) & (image.min(axis=2) < 245)
    if skin.mean() < COLOUR_SHARE:
        return math.nan
    lightness, _, yellow = np.median(_lab(image[skin]), axis=0)
    return math.degrees(math.atan2(lightness - 50, max(yellow, 1e-6)))


def tone_name(angle: float) -> str | None:
    """Return the name of a typology angle in degrees among `TONES`, None if it is not known."""
    return next((name for name, least in TONES.items() if angle >= least), None)


def bare_skin(image: np.ndarray) -> list[np.ndarray]:
    """Cut the corners of a picture that hold neither lesion nor darkness: at most four.

    Args:
        image: uint8 RGB (height, width, 3).

    Returns:
        uint8 RGB arrays, each with sides of 40 % of the picture's height.
    """
    margin = np.ones(2 * [image.shape[0] // 40 | 1], np.uint8)
    mask = cv2.dilate(find_lesion(image).astype(np.uint8), margin)
    side = round(SKIN_SHARE * image.shape[0])
    rows, columns = ((0, length - side) for length in image.shape[:2])
    places = [np.s_[y : y + side, x : x + side] for y in rows for x in columns]
    return [
        image[place]
        for place in places
        if not mask[place].any() and image[place].mean() > SKIN_LUMA
    ]


def dice(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the overlap of two masks, 0 for none to 1 for equal (Dice 1945).

    Args:
        ours: bool (height, width).
        theirs: bool (height, width).
    """
    total = ours.sum() + theirs.sum()
    return float(2 * (ours & theirs).sum() / total) if total else 1.0


def measures(image: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Describe a lesion by simple measures after the clinical ABCD rule (Friedman et al. 1985).

    Args:
        image: uint8 RGB (height, width, 3).
        mask: bool (height, width), true inside the lesion.

    Returns:
        `asymmetry`: share of the lesion that its mirror image leaves uncovered, mean over both
        principal axes, 0 to 1. `border irregularity`: perimeter squared over 4 pi times the area
        of the smoothed outline, 1 for a disc. `colours`: how many of the six that dermatoscopy
        counts (Nachbar et al. 1994) cover 5 % of the lesion or more. `relative diameter`: that of
        a disc of its area over the height of the picture, whose scale is not known. All NaN if
        the mask is empty.
    """
    if not mask.any():
        return dict.fromkeys(MEASURES, math.nan)
    found = (
        _asymmetry(mask),
        _irregularity(mask),
        float(len(colours(image, mask))),
        2 * math.sqrt(mask.sum() / math.pi) / mask.shape[0],
    )
    return dict(zip(MEASURES, found, strict=True))


def colours(image: np.ndarray, mask: np.ndarray) -> list[str]:
    """Return which of the six `COLOURS` are nearest, in CIELAB, to 5 % of the lesion or more."""
    pixels = _lab(image[mask])
    reference = _lab(np.array(list(COLOURS.values()), np.uint8))
    nearest = np.linalg.norm(pixels[:, None] - reference, axis=2).argmin(axis=1)
    shares = np.bincount(nearest, minlength=len(COLOURS)) / len(pixels)
    return [name for name, share in zip(COLOURS, shares, strict=True) if share >= COLOUR_SHARE]


def _lab(pixels):
    return cv2.cvtColor(pixels[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]


@functools.cache
def _field_of_view(height, width):
    """Return an ellipse that leaves out the corners, which a dermatoscope often darkens."""
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return x**2 + y**2 <= 1.4


def _central_part(dark):
    """Return the connected part with the largest area, weighed by its nearness to the centre."""
    height, width = dark.shape
    _, labels, statistics, centres = cv2.connectedComponentsWithStats(dark)
    offsets = (centres - [width / 2, height / 2]) / [width, height]
    weights = statistics[:, cv2.CC_STAT_AREA] * np.exp(-20 * (offsets**2).sum(axis=1))
    weights[0] = 0
    chosen = weights.argmax()
    return ((labels == chosen) & (chosen > 0)).astype(np.uint8)


def _asymmetry(mask):
    y, x = np.nonzero(mask)
    points = np.stack([x - x.mean(), y - y.mean()])
    _, axes = np.linalg.eigh(np.cov(points)) if len(x) > 1 else (None, np.eye(2))
    scale = min(1, 99 / max(1, np.linalg.norm(points, axis=0).max()))
    return float(np.mean([_uncovered(axes.T @ points * scale, axis) for axis in (0, 1)]))


def _uncovered(points, axis):
    """Share of the lesion, drawn on a coarse grid, that its mirror image does not cover."""
    side = 200
    drawn = np.zeros((side, side), np.uint8)
    rows, columns = (points + side / 2).astype(int)
    drawn[rows, columns] = 1
    grid = cv2.morphologyEx(drawn, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)) > 0
    mirrored = np.roll(np.flip(grid, axis), 1, axis)
    return 1 - (grid & mirrored).sum() / grid.sum()


def _irregularity(mask):
    smooth = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), mask.shape[0] / 150) > 0.5
    outlines, _ = cv2.findContours(
        smooth.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    if not outlines:
        return 1.0
    outline = max(outlines, key=cv2.contourArea)
    area = max(cv2.contourArea(outline), 1.0)
    return cv2.arcLength(outline, closed=True) ** 2 / (4 * math.pi * area)


def _disc(size):
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_odd(size), _odd(size)))


def _odd(size):
    return max(3, 2 * round(size / 2) + 1)
