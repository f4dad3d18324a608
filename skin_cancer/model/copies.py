"""Whether an image is a copy of another, or a part of one: also resized, compressed or turned.

Of each training image a pattern is kept: a bit for each of 40 x 40 places, whether it is lighter
than around it. Patterns are correlated in each turn and place (Lewis 1995, "Fast Normalized
Cross-Correlation", section 2): coarsely with many images, finely with the few that are most alike.
"""

import cv2
import numpy as np

SIDE = 40
CROPPED = (40, 38, 36)  # sides of the pattern of the whole image, and of 95 and 90 % of it
DETAIL = 1 / 16  # of the side: what is lighter than within this distance
DARK, LENS = 50, 25  # grey value of what lies outside the lens; pixels near it that do not count
NOTHING = np.random.default_rng(0).random((SIDE, SIDE)) < 0.5  # the bits kept outside the lens
LEAST = 0.3  # of all places count, for a full likeness
FEW = 5  # images that are compared finely
ZOOMS, SHIFTS = (0.97, 1.0, 1.03), (-1.0, -0.5, 0.0, 0.5, 1.0)  # about the coarse place


def patterns(square: np.ndarray) -> list[np.ndarray]:
    """Return the patterns by which an image may be found to be a copy of another, or a part of one.

    Args:
        square: uint8 RGB (size, size, 3), its centre square.

    Returns:
        float32 (side, side) for each side of `CROPPED`: 1 where it is lighter than around, -1 where
        it is darker, 0 outside the lens.
    """
    grey = cv2.cvtColor(square, cv2.COLOR_RGB2GRAY)
    dark = (cv2.blur(grey, (9, 9)) < DARK).astype(np.uint8)
    inside = 1 - cv2.dilate(dark, np.ones((LENS, LENS), np.uint8)).astype(np.float32)
    light = np.log(grey.astype(np.float32) + 8)
    return [_pattern(light, inside, side) for side in CROPPED]


def _pattern(light, inside, side):
    shares, sums = (
        cv2.resize(values, (side, side), interpolation=cv2.INTER_AREA)
        for values in (inside, inside * light)
    )
    shares_around, sums_around = (
        cv2.GaussianBlur(values, (0, 0), DETAIL * side) for values in (shares, sums)
    )
    return np.sign(sums * shares_around - shares * sums_around) * (shares > 0.99)


def packed(pattern: np.ndarray) -> np.ndarray:
    """Return the pattern of a whole image as it is kept: uint8 (200,)."""
    return np.packbits(np.where(pattern, pattern > 0, NOTHING))


def find(ours: list[np.ndarray], kept: np.ndarray) -> tuple[int, float]:
    """Find which of some images another is most likely a copy or a part of.

    Args:
        ours: its `patterns`.
        kept: uint8 (images, 200), as `packed` gives each.

    Returns:
        The row of that image, and how alike they are: a correlation, -1 to 1.
    """
    bits = np.unpackbits(kept, axis=1).reshape(-1, SIDE, SIDE)
    theirs = 2 * bits.astype(np.float32) - 1
    small = _halved(theirs)
    coarse = [_coarse(_halved(pattern), small) for pattern in ours]
    rows = np.argsort(-np.max([likeness for likeness, _ in coarse], axis=0))[:FEW]
    found = [
        max(
            _fine(ours[0], theirs[row], side, places[row])
            for side, (_, places) in zip(CROPPED, coarse, strict=True)
        )
        for row in rows
    ]
    return int(rows[np.argmax(found)]), float(max(found))


def _halved(patterns):
    side = patterns.shape[-1] // 2
    return patterns.reshape(*patterns.shape[:-2], side, 2, side, 2).mean(axis=(-3, -1))


def _coarse(pattern, theirs):
    """Return the likeness of each image in its best place, and that place and turn."""
    side = len(pattern)
    parts = np.lib.stride_tricks.sliding_window_view(theirs, (side, side), axis=(1, 2))
    places = parts.shape[1]
    turned = np.array([np.rot90(pattern, turn).ravel() for turn in range(4)])
    likeness = _likeness(turned, parts.reshape(-1, side * side)).reshape(len(theirs), -1)
    row, column, turn = np.unravel_index(likeness.argmax(axis=1), (places, places, 4))
    return likeness.max(axis=1), np.stack([2 * column, 2 * row, turn], axis=1)


def _fine(pattern, theirs, side, place):
    """Return the likeness to one image about a coarse place."""
    *corner, turn = place
    centre = np.array(corner) + side / 2
    parts = [part for zoom in ZOOMS for part in _parts(theirs, centre, SIDE / side / zoom)]
    return _likeness(np.rot90(pattern, turn).ravel()[None], np.array(parts)).max()


def _parts(theirs, centre, zoom):
    """Yield the parts of a zoomed image about a place."""
    zoomed = cv2.resize(theirs, None, fx=zoom, fy=zoom)
    for y in SHIFTS:
        for x in SHIFTS:
            place = (centre + np.array((x, y))) * zoom - 0.5
            yield cv2.getRectSubPix(zoomed, (SIDE, SIDE), tuple(place.tolist())).ravel()


def _likeness(patterns, parts):
    """Return the correlations where the patterns are not 0: float32 (parts, patterns)."""
    counted = (patterns != 0).astype(np.float32)
    strength = np.sqrt((parts**2 @ counted.T) * (patterns**2).sum(axis=1))
    return parts @ patterns.T / np.maximum(strength, LEAST * patterns.shape[1])
