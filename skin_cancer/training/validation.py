"""What a network says of the images that its training leaves out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from skin_cancer import priors
from skin_cancer.data import dataset
from skin_cancer.errors import TrainingError
from skin_cancer.model.bundle import LOGITS
from skin_cancer.training import devices
from skin_cancer.training.batches import CentredImages
from skin_cancer.training.config import PREDICTIONS, TrainingConfig
from skin_cancer.training.keras_settings import keras


def validate(
    network: keras.Model, config: TrainingConfig, validation: pd.DataFrame, codes: Sequence[str]
) -> dict:
    """Return the balanced accuracy of a network; of several archives, each as well.

    It is that under the balanced prior; right is any diagnosis that an image may show.

    Args:
        network: with its averaged weights.
        config: of the run.
        validation: table of the images, at least one.
        codes: of the network's logits.

    Returns:
        `validation_balanced_accuracy` and, of several archives, `validation_of_archives`.
    """
    called = _logits(network, config, validation).argmax(axis=1)
    right = dataset.label_sets(validation, codes)[np.arange(len(called)), called]
    right = pd.Series(right, [validation["archive"], validation["diagnosis"]])
    found = {"validation_balanced_accuracy": float(right.groupby(level=1).mean().mean())}
    of_archives = right.groupby(level=[0, 1]).mean().groupby(level=0).mean()
    if len(of_archives) > 1:
        found["validation_of_archives"] = of_archives.round(4).to_dict()
    return found


def write_predictions(
    network: keras.Model, config: TrainingConfig, validation: pd.DataFrame, codes: Sequence[str]
) -> None:
    """Write logits and probabilities of the validation images under the balanced prior.

    Of several processes the first writes, into the folder of the run.

    Args:
        network: with its averaged weights.
        config: of the run.
        validation: table of the images, at least one.
        codes: of the network's logits.

    Raises:
        TrainingError: they cannot be written.
    """
    logits = _logits(network, config, validation).astype(float)
    if devices.process()[0] != 0:
        return
    ids = pd.Index(validation["image_id"], name="image_id")
    for name, values in ((LOGITS, logits), (PREDICTIONS, priors.softmax(logits))):
        _write(pd.DataFrame(values, ids, list(codes)), Path(config.output) / name)


def _write(table, path):
    """Write a table aside and rename it, so that it is whole whenever it is there."""
    aside = path.with_name(f"{path.name}.part")
    try:
        table.to_csv(aside, float_format="%.6g")
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise TrainingError(
            f"{path} cannot be written: {error.strerror or error}. The training is kept: make room "
            "on the disk and run the same command again."
        ) from error


def _logits(network, config, table):
    rows = np.arange(devices.shareable(len(table))) % len(table)
    batch_size = devices.shareable(config.batch_size)
    images = CentredImages(table.iloc[rows], config.image_size, batch_size)
    with devices.undistributed():
        return network.predict(images, verbose=0)[: len(table)]
