import zipfile
from importlib import resources

import cv2
import pytest
from conftest import ROOT
from flit_core import buildapi

from skin_cancer.data import examples
from skin_cancer.data.checked import EXAMPLES
from skin_cancer.images import decoding, quality

# What was set aside, by the archive's numbers, as diagnosed there.
SET_ASIDE = {
    "MEL": (11348, 12678, 12758, 13232, 14501, 14832, 15166, 15251),
    "NV": (9874, 9939, 10009, 10317, 11083, 11382, 14945, 15152),
    "BKL": (12143, 12272, 13271, 14392, 14603, 14639, 14644, 14811),
}
SPOILT = {
    "blurred": lambda image: cv2.GaussianBlur(image, (0, 0), 12),
    "dark": lambda image: image // 4,
    "bright": lambda image: 255 - (255 - image) // 10,
}
READ = examples.read()


@pytest.fixture(params=READ, ids=lambda example: example.image_id)
def image(request):
    return decoding.decode(request.param.path.read_bytes())


def checked(image):
    return quality.check(quality.Square.of(image))


def test_no_training_sees_what_was_set_aside():
    numbers = {number for diagnosed in SET_ASIDE.values() for number in diagnosed}
    assert {f"ISIC_{number:07d}" for number in numbers} == EXAMPLES


def test_the_first_four_of_each_diagnosis_ship_in_turn():
    first = zip(*(sorted(diagnosed)[:4] for diagnosed in SET_ASIDE.values()), strict=True)
    assert [(example.image_id, example.diagnosis) for example in READ] == [
        (f"ISIC_{number:07d}", code)
        for turn in first
        for number, code in zip(turn, SET_ASIDE, strict=True)
    ]


def test_the_wheel_holds_them_and_says_where_they_come_from(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    with zipfile.ZipFile(tmp_path / buildapi.build_wheel(tmp_path)) as wheel:
        packed = {name for name in wheel.namelist() if name.startswith("skin_cancer/examples/")}
    names = [f"{example.image_id}.jpg" for example in READ] + ["README.md", "examples.csv"]
    assert packed == {f"skin_cancer/examples/{name}" for name in names}
    source = resources.files("skin_cancer").joinpath("examples/README.md").read_text()
    assert "ISIC Archive" in source
    assert "CC0" in source


def test_each_is_small():
    assert max(example.path.stat().st_size for example in READ) <= 40_000


def test_each_is_good_enough_to_be_read(image):
    assert image.shape == (512, 512, 3)
    assert checked(image) == {}


@pytest.mark.parametrize("fault", SPOILT)
def test_what_spoils_each_is_said(image, fault):
    assert fault in checked(SPOILT[fault](image))
