import cv2
import numpy as np
import pytest
from pictures import lesion

from skin_cancer.images import cleaning


def test_colour_constancy_makes_pictures_under_other_lamps_alike():
    image = lesion()
    warm = np.clip(image * [1.0, 0.9, 0.7], 0, 255).astype(np.uint8)

    def tint(picture):
        means = picture.mean(axis=(0, 1))
        return means / means.sum()

    before = abs(tint(image) - tint(warm)).max()
    after = abs(tint(cleaning.shades_of_grey(image)) - tint(cleaning.shades_of_grey(warm))).max()
    assert after < before / 4


def test_colour_constancy_of_black():
    black = np.zeros((40, 40, 3), np.uint8)
    assert np.array_equal(cleaning.shades_of_grey(black), black)


@pytest.mark.parametrize("scale", [1, 2])
def test_a_dark_hair_is_found_and_removed(scale):
    bare = lesion(600 * scale, 450 * scale)
    image, hair = bare.copy(), np.zeros(bare.shape[:2], np.uint8)
    for canvas, colour in ((image, (30, 22, 20)), (hair, 1)):
        cv2.line(canvas, (60 * scale, 30 * scale), (300 * scale, 420 * scale), colour, 3 * scale)
    found = cleaning.find_hairs(image)
    assert found[hair > 0].mean() > 0.8
    assert found[hair == 0].mean() < 0.01
    cleaned = cleaning.remove_hairs(image).astype(int)
    assert abs(cleaned - bare)[hair > 0].mean() < abs(image.astype(int) - bare)[hair > 0].mean() / 4


def test_plain_skin_and_a_spot_hold_no_hair():
    assert cleaning.find_hairs(lesion()).mean() < 0.005
