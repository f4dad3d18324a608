import numpy as np
import pytest
from pictures import lesion

from skin_cancer.evaluation.distortions import DISTORTIONS


@pytest.fixture(scope="module")
def scene():
    return lesion(240, 180)


@pytest.mark.parametrize("name", DISTORTIONS)
def test_distortions_change_a_picture_and_keep_it_one(scene, name):
    before = scene.copy()
    distorted = DISTORTIONS[name](scene)
    assert distorted.dtype == np.uint8
    assert distorted.shape[2] == 3
    assert distorted.shape != scene.shape or (distorted != scene).any()
    assert (scene == before).all()
