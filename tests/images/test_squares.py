import cv2
import numpy as np
import pytest
from pictures import lesion, noise

from skin_cancer.images import squares


@pytest.mark.parametrize("shape", [(450, 600), (600, 450), (1, 1), (33, 500)])
def test_centre_square_has_its_size_from_any_shape(shape):
    assert squares.centre_square(np.zeros((*shape, 3), np.uint8), 224).shape == (224, 224, 3)


def test_centre_square_is_in_the_centre():
    image = np.zeros((100, 200, 3), np.uint8)
    image[:, 50:150] = 255
    assert (squares.centre_square(image, 50) == 255).all()
    image[:25] = image[75:] = image[:, :75] = image[:, 125:] = 0
    assert (squares.centre_square(image, 50, 0.5) == 255).all()


def test_appearance_does_not_depend_on_the_size_and_tells_pictures_apart():
    small, large = (squares.appearance(lesion(side, side)) for side in (224, 448))
    noise = np.random.default_rng(0).integers(0, 256, (224, 224, 3)).astype(np.uint8)
    assert small.shape == (63,)
    assert np.isfinite(squares.appearance(np.zeros((224, 224, 3), np.uint8))).all()
    assert abs(small[:21] - large[:21]).max() < 6
    assert abs(small - squares.appearance(noise)).max() > 20


def test_levelled_images_have_one_size_and_one_compression():
    large, small = lesion(300, 240), cv2.resize(lesion(300, 240), (105, 84))
    for image in (large, small):
        levelled = squares.level(image, 84)
        assert levelled.shape == (84, 105, 3)
        again = squares.compress(levelled, squares.LEVEL_QUALITY).astype(int)
        assert np.abs(again - levelled).mean() < 1
    assert squares.level(small[:60], 84).shape == (60, 105, 3)  # never enlarged


def test_compression_takes_detail_away():
    image = noise(64, 64)
    coarse, fine = (squares.compress(image, quality).astype(int) - image for quality in (20, 95))
    assert np.abs(coarse).mean() > np.abs(fine).mean() > 0
