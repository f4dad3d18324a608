"""What images from elsewhere may differ in: uint8 RGB (height, width, 3) to the same."""

import cv2

from skin_cancer.data import sample
from skin_cancer.images import augmentation, squares


def _centre(image, share):
    """Cut the centre, a share of each side."""
    height, width = image.shape[:2]
    top, left = (round(length * (1 - share) / 2) for length in (height, width))
    return image[top : height - top, left : width - left]


def _framed(image, share):
    """Zoom out: the picture fills a share of each side, its mirror image the rest."""
    height, width = (round(length * (1 / share - 1) / 2) for length in image.shape[:2])
    return cv2.copyMakeBorder(image, height, height, width, width, cv2.BORDER_REFLECT_101)


def _shifted(image, share):
    """Move the picture to the right and down by a share of its sides."""
    height, width = (round(length * share) for length in image.shape[:2])
    moved = cv2.copyMakeBorder(image, height, 0, width, 0, cv2.BORDER_REFLECT_101)
    return moved[: len(image), : image.shape[1]]


DISTORTIONS = {
    "sharpened": lambda image: augmentation.sharpen(image, 1.5, 1.5),
    "blurred": lambda image: augmentation.sharpen(image, -1.0, 1.5),
    "half the resolution": lambda image: augmentation.coarsen(image, 0.5),
    "JPEG quality 30": lambda image: squares.compress(image, 30),
    "zoomed in to 75 %": lambda image: _centre(image, 0.75),
    "zoomed out to 75 %": lambda image: _framed(image, 0.75),
    "moved by 15 %": lambda image: _shifted(image, 0.15),
    "darker": lambda image: augmentation.recolour(image, brightness=-40),
    "brighter": lambda image: augmentation.recolour(image, brightness=40),
    "more contrast": lambda image: augmentation.recolour(image, contrast=1.4),
    "less saturated": lambda image: augmentation.recolour(image, saturation=0.6),
    "warmer light": lambda image: augmentation.recolour(image, white_balance=(1.12, 1.0, 0.88)),
    "colder light": lambda image: augmentation.recolour(image, white_balance=(0.88, 1.0, 1.12)),
    "noise": lambda image: augmentation.add_noise(image, 12, 0),
    "hairs drawn on": lambda image: sample.add_artefact(image, "hair", 1),
    "dark corners drawn on": lambda image: sample.add_artefact(image, "dark corners", 1),
    "ink drawn on": lambda image: sample.add_artefact(image, "ink", 1),
    "ruler drawn on": lambda image: sample.add_artefact(image, "ruler", 1),
}
