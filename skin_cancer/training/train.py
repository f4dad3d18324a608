"""Train a network on HAM10000 and write it as a bundle; also from the shell.

    python -m skin_cancer.training --data HAM10000_FOLDER --output runs/NAME

Backend-neutral Keras 3: TensorFlow is needed only for the LiteRT graphs at the end. On a
machine without it (`KERAS_BACKEND=jax`) the run ends after its last epoch; copy the output
folder to one that has it and run the same command to get the bundle.
"""

import argparse
import dataclasses
import json
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pandas as pd

from skin_cancer import folders
from skin_cancer.data import dataset
from skin_cancer.errors import SkinCancerError, TrainingError
from skin_cancer.training import checkpoint, devices, memory
from skin_cancer.training.batches import Pictures, TrainingImages
from skin_cancer.training.config import CHECKPOINT, TrainingConfig, divide, read_divided
from skin_cancer.training.export import export_bundle
from skin_cancer.training.keras_settings import keras
from skin_cancer.training.loss import compile_network
from skin_cancer.training.network import freeze
from skin_cancer.training.provenance import provenance_of
from skin_cancer.training.start import start_network
from skin_cancer.training.validation import validate, write_predictions


def train(config: TrainingConfig) -> tuple[keras.Model, dict, pd.DataFrame]:
    """Train, or go on with an interrupted run of the same config in the same folder.

    Every epoch starts from the checkpoint that the one before it wrote, so an interrupted run
    ends with the very weights of an undisturbed one on the same machine. All GPUs of the machine
    share each batch.

    Returns:
        The network with its averaged weights, the record of the run (a dictionary: `recipe`,
        `provenance` and `history` with one dictionary an epoch) and the table of the training
        images.

    Raises:
        DatasetError: the dataset cannot be used, or images of it, each of which is named.
        TrainingError: the config cannot start, the devices cannot share its batches alike, the
            folder holds another run or is written to by one, the disk is full, or the loss
            diverged.
    """
    with ExitStack() as alone:
        _make_folder(Path(config.output), alone)
        return _train_in_folder(config)


def _make_folder(output, alone):
    """Make the folder of a run, from which others are kept out for as long."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        if devices.is_first():
            alone.enter_context(folders.alone(output, TrainingError))
    except OSError as error:
        raise TrainingError(f"The output folder {output} cannot be made: {error}.") from error


def _train_in_folder(config):
    memory.keep_freed()
    keras.utils.set_random_seed(config.seed)
    table = read_divided(config)
    training, validation = divide(table, config.recipe)
    training = training.reset_index(drop=True)
    dataset.check_images(table)
    provenance = provenance_of(config, table, training)
    with devices.scope():
        network = compiled_network(config, training, provenance["kept"], provenance["diagnoses"])
        record = _train(network, config, training, validation, provenance)
    return network, record, training


def _train(network, config, training, validation, provenance):
    """Train a network to the end of its run and return the record."""
    record = {"recipe": config.recipe, "provenance": provenance, "history": []}
    if (Path(config.output) / CHECKPOINT).exists():
        record = checkpoint.load(config, network, provenance)
        print(f"{config.output} holds this run up to epoch {len(record['history'])}.", flush=True)
    pictures = Pictures(training)
    while len(record["history"]) < config.epochs:
        _train_epoch(network, config, training, pictures, validation, record)
    if config.epochs:
        network.optimizer.finalize_variable_values(network.trainable_weights)
    if len(validation):
        write_predictions(network, config, validation, provenance["diagnoses"])
    return record


def compiled_network(
    config: TrainingConfig,
    training: pd.DataFrame,
    kept: dict[str, list[str]] | None = None,
    codes: Sequence[str] = (),
) -> keras.Model:
    """Return the network that a config starts from, ready to be trained on a table of images.

    `kept` is as for `start_network`; `codes` are of its logits, by default those of the images.

    Raises:
        BundleError, TrainingError: as of `start_network`.
    """
    network = start_network(config, codes or dataset.codes(training), kept)
    try:
        freeze(network, config.normalisation == "frozen", config.frozen_stages)
    except ValueError as error:
        raise TrainingError(f"frozen_stages={config.frozen_stages}: {error}") from error
    compile_network(network, config, steps=len(TrainingImages(training, config, 0)))
    return network


def _train_epoch(network, config, training, pictures, validation, record):
    """Train one epoch from the state of the last, add it to the record and save both."""
    epoch = len(record["history"])
    process, processes = devices.process()
    part, codes = slice(process, None, processes), record["provenance"]["diagnoses"]
    images = TrainingImages(training, config, epoch, pictures, part, codes)
    devices.check_batch(images.batch_size)
    print(f"Epoch {epoch + 1} of {config.epochs}, {images.size} pixels", flush=True)
    row, state = _fit(network, images, epoch + 1)
    _check_loss(row, config)
    if len(validation) and row["epoch"] % config.validate_every == 0:
        row |= validate(network, config, validation, codes)
    print(json.dumps(row), flush=True)
    record["history"].append(row)
    if process == 0:
        checkpoint.save(Path(config.output), state, record)
    checkpoint.restore(network, state)


def _fit(network, images, epoch):
    """Return the row that an epoch adds to the history, and the state that it ends in."""
    keeper = checkpoint.KeepState()
    callbacks = [keeper, keras.callbacks.TerminateOnNaN()]
    start = time.monotonic()
    try:
        fitted = network.fit(images, shuffle=False, verbose="auto", callbacks=callbacks)
    except Exception as error:
        # The backends wrap what goes wrong in a loader thread in errors of their own.
        if images.problem:
            raise images.problem from error
        raise
    row = {"epoch": epoch, "size": images.size, "seconds": round(time.monotonic() - start, 1)}
    return row | {name: values[-1] for name, values in fitted.history.items()}, keeper.state


def _check_loss(row, config):
    if not math.isfinite(row["loss"]):
        raise TrainingError(
            f"The loss is no longer a number in epoch {row['epoch']}. Start anew in another output "
            f"folder with a lower learning rate than {config.learning_rate}."
        )


def _parser():
    """Return a parser of the shell's arguments with one option for each field of the config."""
    parser = argparse.ArgumentParser(
        prog="python -m skin_cancer.training", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "--no-bundle", action="store_true", help="end after the last epoch, as without TensorFlow"
    )
    for option in dataclasses.fields(TrainingConfig):
        kind = int if option.name == "fold" else type(option.default)
        name = "--" + option.name.replace("_", "-")
        text = f"{option.metadata['help']} (default: {option.default})"
        parser.add_argument(name, type=kind, default=option.default, help=text)
    return parser


def main() -> None:
    """Run the training that the shell's arguments describe, to the bundle where TensorFlow is."""
    options = vars(_parser().parse_args())
    train_only = options.pop("no_bundle") or keras.backend.backend() != "tensorflow"
    try:
        config = TrainingConfig(**options)
        devices.join_processes()
        network, record, training = train(config)
        if train_only:
            print(
                f"Trained: {config.output}/{CHECKPOINT}. The same command, without --no-bundle and "
                "on a machine with TensorFlow, writes the bundle."
            )
            return
        folder = export_bundle(config, network, record, training)
    except SkinCancerError as error:
        raise SystemExit(str(error)) from error
    print(f"Bundle: {folder}. Measure it: python -m skin_cancer.evaluation --bundle {folder}")
