"""A trained network to a bundle: the Keras model and the LiteRT graphs."""

import shutil
import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZIP_BZIP2

import pandas as pd

from skin_cancer import priors
from skin_cancer.data import dataset
from skin_cancer.errors import BundleError
from skin_cancer.model import bundle, bundle_writer
from skin_cancer.training.batches import CentredImages, class_prior
from skin_cancer.training.config import TrainingConfig
from skin_cancer.training.keras_settings import keras
from skin_cancer.training.network import add_to_bias, build_outputs
from skin_cancer.training.start import START_WEIGHTS

INT8_SAMPLE = 200


def export_bundle(
    config: TrainingConfig, network: keras.Model, record: dict, training: pd.DataFrame
) -> Path:
    """Write a trained network as the bundle `OUTPUT/bundle`; needs TensorFlow.

    The logits of a bundle assume the class shares of the training images. The weights are rounded
    to float16, so that the Keras model compresses to half its size; all files of the bundle hold
    these same weights.

    Args:
        config: of the run.
        network: as `train.train` returns it.
        record: as `train.train` returns it.
        training: table of the training images; 200 of them set the ranges of the int8 graph.

    Returns:
        The bundle's folder.

    Raises:
        BundleError: the bundle cannot be written.
    """
    codes = tuple(record["provenance"]["diagnoses"])
    prior = dict(zip(codes, class_prior(training, codes).tolist(), strict=True))
    add_to_bias(network, priors.shift(priors.balanced(codes), prior))
    network.set_weights([weight.astype("float16") for weight in network.get_weights()])
    folder = Path(config.output) / "bundle"
    name = Path(config.output).resolve().name
    named = priors.of_training(prior, dataset.title(training))
    trained = record | _trainings_before(config)
    description = bundle.Description(name, codes, config.image_size, "float", named, trained, {})
    try:
        with _scratch(config.output) as files:
            _save_keras(network, files / bundle.KERAS_MODEL)
            if (folder.with_name(bundle.LOGITS)).exists():
                shutil.copy(folder.with_name(bundle.LOGITS), files)
            _save_graphs(build_outputs(network, config.image_size), files, training, config)
            bundle_writer.write(folder, description, files)
    except OSError as error:
        raise BundleError(
            f"The bundle cannot be written to {folder}: {error}. The training is kept: make room "
            "and run the same command again."
        ) from error
    return folder


@contextmanager
def _scratch(output):
    """Give a folder for as long, which takes the temporary files of Keras and TensorFlow, too.

    It is in the output folder: where the system keeps such files there may be little room.
    """
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix=".export-", dir=output) as scratch:
        tempfile.tempdir = scratch
        try:
            yield Path(scratch)
        finally:
            tempfile.tempdir = before


def _trainings_before(config):
    """Return how the bundles that the training went on from were trained, if it did."""
    if config.start_weights in START_WEIGHTS:
        return {}
    return {"starts": [bundle.read(start).training for start in config.starts]}


def _save_keras(network, path):
    """Save the model without optimizer, as a compressed archive, which Keras reads as well."""
    plain = path.with_name("plain.keras")
    keras.Model(network.inputs, network.outputs, name=network.name).save(plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", ZIP_BZIP2) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    plain.unlink()


def _save_graphs(outputs, folder, training, config):
    """Convert to LiteRT: float with weights in float16, and int8 with ranges from images."""
    import tensorflow as tf  # not at the top: training itself runs without it

    sample = training.sample(min(INT8_SAMPLE, len(training)), random_state=config.seed)
    images = CentredImages(sample, config.image_size, batch_size=1)
    with tempfile.TemporaryDirectory() as saved:
        try:
            outputs.export(saved, format="tf_saved_model", verbose=False)
        except tf.errors.OpError as error:  # which a full disk is to TensorFlow
            raise OSError(error.message.rpartition("; ")[2]) from error
        for graph, name in bundle.GRAPHS.items():
            converter = tf.lite.TFLiteConverter.from_saved_model(saved)
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if graph == "float":
                converter.target_spec.supported_types = [tf.float16]
            else:
                converter.representative_dataset = lambda: ([batch] for (batch,) in images)
            (folder / name).write_bytes(converter.convert())
