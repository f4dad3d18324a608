"""Colours of an embedded ICC profile to sRGB, which is what the network has learnt."""

import hashlib
import io

import numpy as np
from PIL import Image, ImageCms

from skin_cancer.images.limits import bands

RGB, GREY, CMYK = b"RGB ", b"GRAY", b"CMYK"  # as a profile names its space
MODES = {RGB: "RGB", GREY: "L", CMYK: "CMYK"}
SRGB = ImageCms.createProfile("sRGB")
HEADER = 128  # bytes
SAME = 2  # levels of 255 that sRGB by another program may differ by
LIGHTEST, DARKEST = 200, 80  # at least what white, and at most what black becomes
STEPS = np.linspace(0, 255, 9).astype(np.uint8)
LATTICE = np.stack(np.meshgrid(STEPS, STEPS, STEPS), axis=-1).reshape(27, 27, 3)


class ProfileError(ValueError):
    """A profile that is damaged, or of a space that the image has not."""


def space(profile: bytes) -> bytes:
    """Return the colour space that a profile is for: `RGB `, `GRAY`, `CMYK` or another."""
    return profile[16:20]


def to_srgb(image: np.ndarray | Image.Image, profile: bytes) -> np.ndarray:
    """Bring the colours of an image to sRGB: ICC.1, perceptual rendering.

    Args:
        image: uint8 (height, width, 3) RGB or (height, width) grey, or an image of Pillow in CMYK,
            as the profile's space is.
        profile: the embedded ICC profile.

    Returns:
        uint8 RGB (height, width, 3); the image itself if its profile is that of sRGB.

    Raises:
        ProfileError: the profile is damaged, or of another space.
    """
    opened = _opened(profile)
    mode = MODES.get(space(profile))
    if mode is None or mode != _mode(image):
        raise ProfileError(f"a profile for {space(profile)!r}")
    try:
        transform = ImageCms.buildTransform(opened, SRGB, mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        raise ProfileError(str(error)) from error
    _check_neutral(transform, mode)
    if isinstance(image, Image.Image):
        width, height = image.size
    elif mode == "RGB" and np.abs(_applied(transform, LATTICE) - LATTICE.astype(int)).max() <= SAME:
        return image
    else:
        height, width = image.shape[:2]
    converted = np.empty((height, width, 3), np.uint8)
    for rows in bands(width, height):
        if isinstance(image, Image.Image):
            part = np.asarray(image.crop((0, rows.start, width, rows.stop)))
        else:
            part = image[rows]
        converted[rows] = _applied(transform, part)
    return converted


def _mode(image):
    if isinstance(image, Image.Image):
        return image.mode
    return "RGB" if image.ndim == 3 else "L"


def _opened(profile):
    """Open a profile that is as long as it says and, where it holds its own digest, unchanged."""
    if len(profile) < HEADER or int.from_bytes(profile[:4]) > len(profile):
        raise ProfileError("it is cut")
    profile = profile[: int.from_bytes(profile[:4])]
    digest = profile[84:100]
    if any(digest):  # ICC.1:2022, 7.2.18: MD5 with flags, intent and the digest itself at zero
        plain = bytearray(profile)
        plain[44:48], plain[64:68], plain[84:100] = bytes(4), bytes(4), bytes(16)
        if hashlib.md5(plain, usedforsecurity=False).digest() != digest:
            raise ProfileError("it was changed")
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except (OSError, ValueError) as error:
        raise ProfileError(str(error)) from error


def _check_neutral(transform, mode):
    """Refuse a profile by which white is dark, black is light, or a lighter grey is darker."""
    greys = np.arange(0, 256, 5).astype(np.uint8)[None]
    if mode == "RGB":
        greys = np.repeat(greys[..., None], 3, axis=2)
    elif mode == "CMYK":
        greys = np.stack([0 * greys, 0 * greys, 0 * greys, 255 - greys], axis=-1)
    luma = _applied(transform, greys)[0] @ (0.299, 0.587, 0.114)
    if luma[-1] < LIGHTEST or luma[0] > DARKEST or np.diff(luma).min() < -1:
        raise ProfileError("its greys are none")


def _applied(transform, pixels):
    image = Image.frombuffer(
        transform.input_mode, pixels.shape[1::-1], np.ascontiguousarray(pixels)
    )
    return np.asarray(ImageCms.applyTransform(image, transform))
