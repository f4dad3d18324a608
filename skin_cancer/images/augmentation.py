"""Random views for training, and the changes of an image that they are made of."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from skin_cancer.images import squares

LUMA = np.array([0.299, 0.587, 0.114])
SATURATION, CONTRAST, WHITE_BALANCE = math.log(1.25), math.log(1.2), math.log(1.08)
BRIGHTNESS = 20
COARSEST = 84  # shorter side in pixels of the coarsest images that there are to learn from

Seed = int | tuple[int, ...] | np.random.Generator


def augment(
    image: np.ndarray,
    size: int,
    seed: int | tuple[int, ...],
    strength: float = 1.0,
    softening: float = 0.0,
) -> np.ndarray:
    """Return a random view for training, a function of the picture, seed and strength alone.

    One dial for all ranges, as the magnitude of RandAugment (Cubuk et al. 2020, section 3).

    Args:
        image: uint8 RGB (height, width, 3).
        size: side of the result in pixels.
        seed: an integer or a tuple of integers.
        strength: 0 for crops, turns and flips alone; 1 mild; above 1 the view may also lose
            resolution, get noise, be compressed or partly covered.
        softening: chance of `random_resolution`, and of `random_sideways`.

    Returns:
        uint8 RGB (size, size, 3).
    """
    rng = np.random.default_rng(seed)
    if softening and rng.random() < softening:
        image = random_sideways(image, rng)
    if softening and rng.random() < softening:
        image = random_resolution(image, rng)
    view = random_crop(image, size, rng, strength)
    view = random_colour(view, rng, strength)
    view = random_sharpness(view, rng, strength)
    return random_damage(view, rng, min(0.5, (strength - 1) / 2)) if strength > 1 else view


def random_resolution(image: np.ndarray, seed: Seed) -> np.ndarray:
    """Take resolution away and compress, as some archives come: size must not tell a source.

    Args:
        image: uint8 RGB (height, width, 3).
        seed: an integer, a tuple of integers or a `numpy.random.Generator`.

    Returns:
        uint8 RGB of the same aspect, its shorter side from 84 pixels, which a third have, to what
        it was.
    """
    rng = np.random.default_rng(seed)
    share = min(1.0, COARSEST / min(image.shape[:2])) ** min(1.0, rng.uniform(0, 1.5))
    small = cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    return squares.compress(small, int(rng.integers(60, 96)))


def random_sideways(image: np.ndarray, seed: Seed) -> np.ndarray:
    """Blur or sharpen along the rows, as an image that was squashed and stretched back.

    Args:
        image: uint8 RGB (height, width, 3).
        seed: an integer, a tuple of integers or a `numpy.random.Generator`.

    Returns:
        uint8 RGB (height, width, 3).
    """
    rng = np.random.default_rng(seed)
    amount, radius = rng.uniform(-1, 1), rng.uniform(0.5, 2) * image.shape[1] / 300
    blurred = cv2.GaussianBlur(image, (2 * math.ceil(3 * radius) + 1, 1), radius)
    return cv2.addWeighted(image, 1 + amount, blurred, -amount, 0)


def random_crop(image: np.ndarray, size: int, seed: Seed, strength: float = 1.0) -> np.ndarray:
    """Cut a random part of the picture, turned, flipped and stretched to a square.

    At strength 1 its area is 35 to 100 % of that of the largest square in the picture, at 2 it is
    21 to 178 %; its sides are 3:4 to 4:3, its place and angle any.

    Args:
        image: uint8 RGB (height, width, 3).
        size: side of the result in pixels.
        seed: an integer, a tuple of integers or a `numpy.random.Generator`.
        strength: as for `augment`.

    Returns:
        uint8 RGB (size, size, 3); what lies outside the picture is its mirror image.
    """
    rng = np.random.default_rng(seed)
    height, width = image.shape[:2]
    area = rng.uniform(0.35 ** ((1 + strength) / 2), max(1.0, (16 / 9) ** (strength - 1)))
    side = min(height, width) * math.sqrt(area)
    stretch = math.sqrt(rng.uniform(3 / 4, 4 / 3))
    margins = [min(side, length) / 2 for length in (width, height)]
    centre = [
        rng.uniform(margin, length - margin)
        for margin, length in zip(margins, (width, height), strict=True)
    ]
    angle = rng.uniform(0, 2 * math.pi)
    flip = rng.choice([-1, 1])

    shrink = min(1.0, size / side)
    if shrink < 1:
        image = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    scale = side * shrink / size
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    to_source = turn @ np.diag([flip * scale * stretch, scale / stretch])
    offset = np.array(centre) * shrink - to_source @ np.full(2, (size - 1) / 2)
    return cv2.warpAffine(
        image,
        np.column_stack([to_source, offset]),
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )


def random_colour(image: np.ndarray, seed: Seed, strength: float = 1.0) -> np.ndarray:
    """Change brightness, contrast, saturation and white balance, as cameras differ in them.

    Args:
        image: uint8 RGB (height, width, 3).
        seed: an integer, a tuple of integers or a `numpy.random.Generator`.
        strength: as for `augment`.

    Returns:
        uint8 RGB (height, width, 3).
    """
    rng = np.random.default_rng(seed)
    saturation = math.exp(strength * rng.uniform(-SATURATION, SATURATION))
    contrast = math.exp(strength * rng.uniform(-CONTRAST, CONTRAST))
    white_balance = np.exp(strength * rng.uniform(-WHITE_BALANCE, WHITE_BALANCE, 3))
    brightness = strength * rng.uniform(-BRIGHTNESS, BRIGHTNESS)
    return recolour(image, saturation, contrast, white_balance, brightness)


def recolour(
    image: np.ndarray,
    saturation: float = 1.0,
    contrast: float = 1.0,
    white_balance: Sequence[float] | np.ndarray = (1.0, 1.0, 1.0),
    brightness: float = 0.0,
) -> np.ndarray:
    """Multiply saturation, contrast and the channels, and add brightness in grey values."""
    mix = saturation * np.eye(3) + (1 - saturation) * LUMA
    matrix = contrast * np.array(white_balance)[:, None] * mix
    offset = 128 * (1 - contrast) + brightness
    return cv2.transform(image, np.column_stack([matrix, np.full(3, offset)]))


def random_sharpness(image: np.ndarray, seed: Seed, strength: float = 1.0) -> np.ndarray:
    """Blur or sharpen half of the pictures, by an unsharp mask of either sign.

    Args:
        image: uint8 RGB (height, width, 3).
        seed: an integer, a tuple of integers or a `numpy.random.Generator`.
        strength: as for `augment`.

    Returns:
        uint8 RGB (height, width, 3).
    """
    rng = np.random.default_rng(seed)
    if rng.random() < 0.5:
        return image
    return sharpen(
        image, rng.uniform(-min(1.0, strength), strength), rng.uniform(0.5, 1 + strength)
    )


def sharpen(image: np.ndarray, amount: float, radius: float) -> np.ndarray:
    """Add a share of what a blur takes away; a negative one, at least -1, blurs."""
    blurred = cv2.GaussianBlur(image, (0, 0), radius)
    return cv2.addWeighted(image, 1 + amount, blurred, -amount, 0)


def random_damage(image: np.ndarray, seed: Seed, chance: float) -> np.ndarray:
    """Take resolution away, add noise, compress and cover a part, each with the same chance.

    The cover is a grey square of 15 to 40 % of the side (DeVries & Taylor 2017, "Improved
    Regularization of Convolutional Neural Networks with Cutout").

    Args:
        image: uint8 RGB (side, side, 3).
        seed: an integer, a tuple of integers or a `numpy.random.Generator`.
        chance: of each damage, 0 to 1.

    Returns:
        uint8 RGB (side, side, 3).
    """
    rng = np.random.default_rng(seed)
    if rng.random() < chance:
        image = coarsen(image, rng.uniform(0.35, 1.0))
    if rng.random() < chance:
        image = add_noise(image, rng.uniform(2, 15), rng)
    if rng.random() < chance:
        image = squares.compress(image, int(rng.integers(30, 95)))
    if rng.random() < chance:
        side = len(image)
        cover = round(side * rng.uniform(0.15, 0.4))
        top, left = rng.integers(0, side - cover, 2)
        image = image.copy()
        image[top : top + cover, left : left + cover] = 128
    return image


def coarsen(image: np.ndarray, share: float) -> np.ndarray:
    """Resize to a share of the resolution and back."""
    height, width = image.shape[:2]
    small = cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def add_noise(image: np.ndarray, deviation: float, seed: Seed) -> np.ndarray:
    """Add normal noise of a deviation in grey values to each channel."""
    noise = np.random.default_rng(seed).standard_normal(image.shape, np.float32)
    return (image + deviation * noise).round().clip(0, 255).astype(np.uint8)
