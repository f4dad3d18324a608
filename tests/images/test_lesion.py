import math

import cv2
import numpy as np
import pytest

from skin_cancer.data import dataset
from skin_cancer.data.sample import draw
from skin_cancer.images import lesion


def disc(height=300, width=400, axes=(80, 80), angle=0, centre=(200, 150)):
    mask = np.zeros((height, width), np.uint8)
    return cv2.ellipse(mask, centre, axes, angle, 0, 360, 1, cv2.FILLED).astype(bool)


def painted(mask, colour=(120, 70, 60)):
    image = np.full((*mask.shape, 3), (220, 180, 160), np.uint8)
    image[mask] = colour
    return image


def test_dice():
    mask = disc()
    assert lesion.dice(mask, mask) == 1
    assert lesion.dice(mask, ~mask) == 0
    half = mask.copy()
    half[:, :200] = False
    assert lesion.dice(mask, half) == pytest.approx(2 / 3, abs=0.01)
    assert lesion.dice(mask & False, mask & False) == 1


def test_a_dark_spot_is_found():
    mask = disc(axes=(90, 50), angle=30)
    assert lesion.dice(lesion.find_lesion(painted(mask)), mask) > 0.95


def test_of_two_spots_the_central_one_is_the_lesion():
    central, other = disc(axes=(40, 40)), disc(axes=(45, 45), centre=(60, 150))
    assert lesion.dice(lesion.find_lesion(painted(central | other)), central) > 0.9


def test_plain_skin_gives_a_mask_of_the_same_shape():
    found = lesion.find_lesion(painted(disc() & False))
    assert found.shape == (300, 400)
    assert found.dtype == bool


def test_lesions_of_the_sample_are_found_mostly():
    drawings = [draw(code, seed, artefacts=()) for code in ("NV", "BKL", "MEL") for seed in (1, 2)]
    scores = [lesion.dice(lesion.find_lesion(d.image), d.lesion) for d in drawings]
    assert np.median(scores) > 0.8


def test_the_crop_holds_the_lesion_and_keeps_the_proportions():
    image = painted(disc(axes=(40, 40), centre=(320, 80)))
    part = lesion.crop_to_lesion(image)
    assert part.shape == (150, 200, 3)
    assert (part == (120, 70, 60)).all(axis=2).sum() == (image == (120, 70, 60)).all(axis=2).sum()
    large = painted(disc(axes=(190, 140)))
    assert lesion.crop_to_lesion(large).shape == large.shape


def test_a_disc_is_symmetric_round_and_of_known_diameter():
    mask = disc()
    found = lesion.measures(painted(mask), mask)
    assert found["asymmetry"] < 0.05
    assert found["border irregularity"] == pytest.approx(1, abs=0.15)
    assert found["relative diameter"] == pytest.approx(160 / 300, abs=0.01)
    assert found["colours"] == 1


def test_measures_do_not_change_when_the_lesion_is_turned():
    for axes in ((90, 40), (60, 55)):
        values = [
            lesion.measures(painted(m), m) for m in (disc(axes=axes, angle=a) for a in (0, 37))
        ]
        assert values[0] == pytest.approx(values[1], abs=0.06)


def test_a_lopsided_lesion_is_asymmetric_and_a_notched_one_irregular():
    drop = disc(axes=(60, 60)) | disc(axes=(25, 25), centre=(270, 110))
    round_one = lesion.measures(painted(disc()), disc())
    lopsided = lesion.measures(painted(drop), drop)
    assert lopsided["asymmetry"] > round_one["asymmetry"] + 0.1
    assert lopsided["border irregularity"] > round_one["border irregularity"] + 0.2


def test_colours_are_counted():
    mask = disc()
    image = painted(mask, (10, 5, 5))
    image[:, :200] = (200, 60, 60)
    assert set(lesion.colours(image, mask)) == {"black", "red"}


def test_an_empty_mask_has_no_measures():
    mask = disc() & False
    assert all(math.isnan(value) for value in lesion.measures(painted(mask), mask).values())


def test_segmentation_of_real_lesions(real_data):
    table = dataset.read(real_data).sample(100, random_state=0)
    pairs = map(dataset.read_pair, table.itertuples())
    assert np.median([lesion.dice(lesion.find_lesion(i), m) for i, m in pairs]) > 0.8


@pytest.mark.parametrize("angle", [60, 20, -20])
def test_skin_tone_of_drawings_is_about_the_one_they_were_drawn_with(angle, monkeypatch):
    monkeypatch.setattr("skin_cancer.data.sample.SKIN_TONES", (angle,))
    drawings = [draw("NV", 50 + i, artefacts=("hair",)) for i in range(6)]
    found = [lesion.skin_tone(drawing.image, drawing.lesion) for drawing in drawings]
    assert np.median(found) == pytest.approx(angle, abs=13)


def test_skin_tone_has_a_name_where_skin_is_seen():
    assert [lesion.tone_name(a) for a in (60, 50, 30, 20, 0, -50)] == list(lesion.TONES)
    black = np.zeros((60, 80, 3), np.uint8)
    assert math.isnan(lesion.skin_tone(black, np.zeros((60, 80), bool)))
    assert lesion.tone_name(math.nan) is None
