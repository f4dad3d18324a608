import cv2
import numpy as np
import pytest
from pictures import lesion

from skin_cancer.data.sample import draw
from skin_cancer.diagnoses import ISIC_2018
from skin_cancer.images import artefacts

CODES = [diagnosis.code for diagnosis in ISIC_2018]


def test_what_a_picture_measures():
    image = np.full((90, 120, 3), (200, 150, 100), np.uint8)
    found = artefacts.describe(image)
    assert (found["width"], found["height"], found["warmth"]) == (120, 90, 100)
    assert found["brightness"] == pytest.approx(0.299 * 200 + 0.587 * 150 + 11.4, abs=1)
    assert found["sharpness"] == found["hair %"] == found["dark corner %"] == 0
    image[:30, :40] = 0
    assert 1 < artefacts.describe(image)["dark corner %"] < 10


@pytest.mark.parametrize(
    ("name", "found", "wrong"),
    [("hair", 0.4, 0.1), ("ruler", 0.8, 0.1), ("dark corners", 0.9, 0.05), ("ink", 0.8, 0.05)],
)
def test_artefacts_are_found_where_they_were_drawn(name, found, wrong):
    def share(drawn):
        pictures = [draw(code, 700 + i, artefacts=drawn).image for i in range(4) for code in CODES]
        return np.mean([artefacts.artefacts(picture)[name] for picture in pictures])

    assert share((name,)) >= found
    assert share(()) <= wrong


def test_a_blue_lesion_is_no_ink():
    image = lesion()
    cv2.circle(image, (300, 225), 80, (70, 80, 140), cv2.FILLED)
    assert not artefacts.artefacts(image)["ink"]
