"""What is cut out of an image, brought to a size, compressed, and described by numbers."""

import functools
from itertools import pairwise
from typing import cast

import cv2
import numpy as np

LEVEL_QUALITY = 75


def centre_square(image: np.ndarray, size: int, share: float = 1.0) -> np.ndarray:
    """Cut the largest centred square, or a share of its side, and resize it.

    Args:
        image: uint8 RGB (height, width, 3).
        size: side of the result in pixels.
        share: of the side of the largest square, above 0 to 1.

    Returns:
        uint8 RGB (size, size, 3).

    >>> centre_square(np.zeros((450, 600, 3), np.uint8), 224).shape
    (224, 224, 3)
    """
    height, width = image.shape[:2]
    side = max(1, round(share * min(height, width)))
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    method = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return cv2.resize(square, (size, size), interpolation=method)


def level(image: np.ndarray, side: int) -> np.ndarray:
    """Reduce an image by area and compress it as JPEG of quality 75, colours at half resolution.

    So do images lose what tells them from those of their source that came reduced.

    Args:
        image: uint8 RGB (height, width, 3).
        side: of the shorter side of the result in pixels; a smaller image keeps its size.

    Returns:
        uint8 RGB.
    """
    share = min(1.0, side / min(image.shape[:2]))
    width, height = (round(share * length) for length in image.shape[1::-1])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return compress(small, LEVEL_QUALITY)


def compress(image: np.ndarray, quality: int) -> np.ndarray:
    """Encode as JPEG, colours at half resolution, and decode.

    Args:
        image: uint8 RGB (height, width, 3).
        quality: 0 to 100.

    Returns:
        uint8 RGB (height, width, 3).
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    data = cv2.imencode(".jpg", image[..., ::-1], options)[1]
    return cast(np.ndarray, cv2.imdecode(data, cv2.IMREAD_COLOR_RGB))  # never None: it is ours


def appearance(square: np.ndarray) -> np.ndarray:
    """Describe colours and texture by numbers that vary little among dermatoscopic pictures.

    Args:
        square: uint8 RGB (side, side, 3).

    Returns:
        float64 (63,), all in CIELAB of the square at 224 pixels: quantiles of each channel;
        strength and peakedness of its detail at five scales; its steps from the centre outwards in
        three rings; correlations of the channels.
    """
    lab = cv2.cvtColor(_at(square, 224).astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    channels = np.ascontiguousarray(lab[::2, ::2].reshape(-1, 3).T)
    rings = [cv2.mean(lab, ring)[:3] for ring in _rings()]
    covariance = np.cov(channels) + 0.01 * np.eye(3)
    deviation = np.sqrt(np.diag(covariance))
    correlation = (covariance / np.outer(deviation, deviation))[np.triu_indices(3, 1)]
    steps = -np.diff(rings, axis=0)
    colours = _quantiles(channels, (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98))
    return np.concatenate([colours.ravel(), _detail(lab, 5), steps.ravel(), correlation])


def _quantiles(channels, shares):
    """Return what `np.quantile` does along the rows, by a sort, which is ten times faster."""
    ordered = np.sort(channels)
    places = np.array(shares) * (channels.shape[1] - 1)
    lower = places.astype(int)
    return (ordered[:, lower] * (lower + 1 - places) + ordered[:, lower + 1] * (places - lower)).T


def _detail(lab, scales):
    """Log of deviation and of fourth moment of each channel at each level of a pyramid."""
    found = []
    for _ in range(scales):
        coarse = cv2.pyrDown(lab)
        fine = lab - cv2.pyrUp(coarse, dstsize=lab.shape[1::-1])
        deviation = cv2.meanStdDev(fine)[1].ravel() + 0.05
        fourth = cv2.mean(cv2.pow(fine, 4))[:3] / deviation**4
        found += [np.log(deviation), np.log(fourth + 0.1)]
        lab = coarse
    return np.concatenate(found)


@functools.cache
def _rings():
    """Masks of the centre of a square of 224 pixels and of three rings around it."""
    distance = np.hypot(*np.ogrid[-1:1:224j, -1:1:224j])
    edges = (0, 0.35, 0.7, 1.0, 1.5)
    return [((a <= distance) & (distance < b)).astype(np.uint8) for a, b in pairwise(edges)]


def _at(square, side):
    return cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA)
