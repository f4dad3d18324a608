"""A source whose colour gives the diagnosis away, and the drawing of views that hides it."""

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
from pictures import lesion

from skin_cancer.training import train
from skin_cancer.training.batches import CentredImages, TrainingImages
from skin_cancer.training.config import TrainingConfig

TINTS = {"warm": (1.0, 0.8, 0.6), "cold": (0.7, 0.85, 1.0)}
CURE = {"rebalance": 1.0, "source_rebalance": 1.0}


def drawing(code, source, seed):
    """A lesion in the tint of its source; a melanoma has dark dots."""
    image = lesion(64, 64, seed)
    rng = np.random.default_rng(seed)
    for x, y in rng.integers(8, 56, (14 if code == "MEL" else 0, 2)):
        cv2.circle(image, (int(x), int(y)), 2, (30, 20, 20), -1)
    return (image * TINTS[source]).astype(np.uint8)


def dataset_of(folder, counts):
    """Write drawings, so many of each diagnosis and source, and return their table."""
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    rows = []
    for seed, (code, source) in enumerate(kinds):
        path = folder / f"{code}{source}{seed}.png"
        cv2.imwrite(str(path), drawing(code, source, seed)[..., ::-1])
        rows.append((path.stem, path.stem, code, source, path))
    table = pd.DataFrame(rows, columns=["image_id", "lesion_id", "diagnosis", "dataset", "path"])
    return table.assign(alternative=None, level=0)


def recall_of_the_other_way_round(table, other, **options):
    """Train, and return how often each diagnosis is called right where the tints are exchanged."""
    keras.utils.set_random_seed(0)
    config = TrainingConfig(
        image_size=32,
        first_image_size=32,
        epochs=1,
        views=6400,
        learning_rate=3e-3,
        averaging=0.9,
        start_weights="random",
        normalisation="frozen",
        **options,
    )
    network = train.compiled_network(config, table)
    network.fit(TrainingImages(table, config, 0), shuffle=False, verbose=0)
    called = network.predict(CentredImages(other, 32, 32), verbose=0).argmax(axis=1)
    truth = other["diagnosis"].map(["MEL", "NV"].index).to_numpy()
    return [(called == truth)[truth == label].mean() for label in (0, 1)]


@pytest.mark.usefixtures("tiny_network")
def test_a_source_that_gives_the_diagnosis_away(tmp_path):
    counts = {("MEL", "warm"): 95, ("NV", "warm"): 5, ("MEL", "cold"): 5, ("NV", "cold"): 95}
    table = dataset_of(tmp_path, counts)
    (tmp_path / "other").mkdir()
    other = dataset_of(tmp_path / "other", {("MEL", "cold"): 60, ("NV", "warm"): 60})
    plain = recall_of_the_other_way_round(table, other)
    ours = recall_of_the_other_way_round(table, other, **CURE)
    assert min(plain) < 0.5
    assert min(ours) > 0.75
