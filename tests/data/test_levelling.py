"""Whether sharpness tells the melanomas of BCN_20000, where the archive is."""

import cv2
import numpy as np
import pandas as pd
import pytest
from conftest import real_archive
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skin_cancer.data import archives, dataset, levelling
from skin_cancer.images import squares

SIDE, IMAGES = 84, 1000
OFFSETS = np.arange(SIDE) - SIDE // 2
RINGS = np.hypot(*np.meshgrid(OFFSETS, OFFSETS)).round().astype(int).ravel()
WINDOW = np.outer(np.hanning(SIDE), np.hanning(SIDE))


def fine_detail(image):
    """Logarithm of the share of the power in each ring of the fine half of the spectrum."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(float)
    power = np.abs(np.fft.fftshift(np.fft.fft2((grey - grey.mean()) * WINDOW))) ** 2
    rings = (np.bincount(RINGS, power.ravel()) / np.bincount(RINGS))[1 : SIDE // 2 + 1]
    return np.log(rings[SIDE // 4 - 1 :] / rings.sum() + 1e-12)


def told_apart(table, features, one, other):
    """ROC AUC of a linear probe for two diagnoses, cross-validated by lesion."""
    rows = table["diagnosis"].isin([one, other]).to_numpy()
    truth = (table["diagnosis"][rows] == one).to_numpy()
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=3000))
    scores = cross_val_predict(
        probe,
        features[rows],
        truth,
        groups=table["lesion_id"][rows],
        cv=GroupKFold(5),
        method="decision_function",
    )
    return roc_auc_score(truth, scores)


@pytest.fixture(scope="module")
def bcn():
    """Melanomas, nevi and basal cell carcinomas of BCN_20000 that are trained on."""
    table = dataset.read(real_archive(archives.ISIC_2019_TRAINING))
    table = table[(table["dataset"] == levelling.BCN) & table["apart"].isna()]
    kinds = [table[table["diagnosis"] == code] for code in ("MEL", "NV", "BCC")]
    table = pd.concat(rows.sample(IMAGES, random_state=0) for rows in kinds)
    if (table["level"] == 0).all():
        pytest.skip("BCN_20000 is here as published: one size for all diagnoses")
    return table


def test_levelled_melanomas_are_no_sharper_than_nevi(bcn):
    features = np.array([fine_detail(image) for image in dataset.read_images(bcn)])
    melanoma = told_apart(bcn, features, "MEL", "NV")
    assert melanoma < 0.66
    assert melanoma < told_apart(bcn, features, "NV", "BCC")


def test_the_probe_sees_what_size_alone_does_not_hide(bcn):
    images = (dataset.read_image(path) for path in bcn["path"])
    small = [cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for image in images]
    features = np.array([fine_detail(image) for image in small])
    assert told_apart(bcn, features, "MEL", "NV") > 0.85


def test_levelling_leaves_what_is_level_already(bcn):
    """Those at 84 pixels are JPEG of that quality: compressed again they stay as they are."""
    for path in bcn.loc[bcn["diagnosis"] == "NV", "path"].head(50):
        image = dataset.read_image(path)
        assert image.shape == (SIDE, SIDE, 3)
        assert np.abs(squares.level(image, SIDE).astype(int) - image).mean() < 1
