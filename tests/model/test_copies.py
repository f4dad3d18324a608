"""Copies of an image, and parts of one, are told from images of other lesions."""

import cv2
import numpy as np
import pytest

from skin_cancer.data import sample
from skin_cancer.diagnoses import ISIC_2018
from skin_cancer.images.squares import centre_square, compress
from skin_cancer.model import copies

DRAWINGS = [
    sample.draw(diagnosis.code, seed, artefacts=()).image
    for diagnosis in ISIC_2018
    for seed in range(4)
]
KEPT = np.array([copies.packed(copies.patterns(centre_square(i, 224))[0]) for i in DRAWINGS])


def part(image, top, left, share=0.9):
    height, width = (round(share * length) for length in image.shape[:2])
    y, x = (
        round(place * (length - size))
        for place, length, size in zip((top, left), image.shape[:2], (height, width), strict=True)
    )
    return image[y : y + height, x : x + width]


CHANGES = {
    "as it is": lambda image: image,
    "half as large": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5),
    "larger": lambda image: cv2.resize(image, None, fx=1.7, fy=1.7),
    "compressed": lambda image: compress(image, 40),
    "turned": np.rot90,
    "upside down": lambda image: np.rot90(image, 2),
    "centre": lambda image: part(image, 0.5, 0.5),
    "corner": lambda image: part(image, 0, 1),
    "side, turned and compressed": lambda image: compress(np.rot90(part(image, 0.4, 0)), 60),
    "lighter": lambda image: np.minimum(1.2 * image, 255).astype(np.uint8),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_found_among_drawings_of_other_lesions(change):
    for number in range(0, len(DRAWINGS), 5):
        changed = np.ascontiguousarray(CHANGES[change](DRAWINGS[number]))
        ours = copies.patterns(centre_square(changed, 224))
        row, alike = copies.find(ours, KEPT)
        assert row == number
        assert alike > 0.55


def test_the_dark_outside_the_lens_makes_no_images_alike():
    rng, lens = np.random.default_rng(0), np.zeros((224, 224), np.uint8)
    cv2.circle(lens, (112, 112), 85, 1, -1)

    def seen():
        skin = rng.integers(90, 220, (28, 28, 3), np.uint8)
        return cv2.resize(skin, (224, 224), interpolation=cv2.INTER_CUBIC) * lens[..., None]

    one, other = seen(), seen()
    kept = np.array([copies.packed(copies.patterns(one)[0])])
    assert copies.find(copies.patterns(one), kept)[1] > 0.9
    assert copies.find(copies.patterns(other), kept)[1] < 0.4


def test_black_is_like_nothing():
    black = np.zeros((224, 224, 3), np.uint8)
    assert copies.find(copies.patterns(black), KEPT)[1] == 0
