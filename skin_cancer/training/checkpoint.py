"""The state of a training after an epoch: kept whole on the disk, and gone on from."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np

from skin_cancer.errors import TrainingError
from skin_cancer.training.config import CHECKPOINT, TrainingConfig
from skin_cancer.training.keras_settings import keras


class KeepState(keras.callbacks.Callback):
    """Take the state at the end of an epoch, before `fit` puts in the averaged weights.

    Attributes:
        state: arrays of the network's weights, then of the optimizer's variables.
    """

    state: list[np.ndarray]

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Copy the state: `fit` still changes the variables."""
        self.state = [np.array(variable.numpy()) for variable in _variables(self.model)]


def restore(network: keras.Model, state: list[np.ndarray]) -> None:
    """Put a state that `KeepState` took into a network, compiled alike, and its optimizer."""
    for variable, value in zip(_variables(network), state, strict=True):
        variable.assign(value)


def _variables(network):
    return [*network.weights, *network.optimizer.variables]


def save(output: Path, state: list[np.ndarray], record: dict) -> None:
    """Write the checkpoint aside and rename it: at any time there is one, and it is whole.

    Args:
        output: folder of the run.
        state: as `KeepState` takes it.
        record: of the run, fit for JSON.

    Raises:
        TrainingError: it cannot be written; the one of the epoch before is kept.
    """
    aside = output / f"{CHECKPOINT}.part"
    try:
        with aside.open("wb") as file:
            np.savez(file, *state, record=np.array(json.dumps(record)))
            file.flush()
            os.fsync(file.fileno())
        aside.replace(output / CHECKPOINT)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise TrainingError(
            f"The checkpoint cannot be written to {output}: {error.strerror}. The one of the "
            "epoch before is kept; make room and run the same command again."
        ) from error


def load(config: TrainingConfig, network: keras.Model, provenance: dict) -> dict:
    """Put the checkpoint of a run into network and optimizer.

    Args:
        config: of the run.
        network: compiled as the run's.
        provenance: of the run, as it would start now.

    Returns:
        The record of the run.

    Raises:
        TrainingError: the checkpoint is damaged, or of other parameters, data or versions.
    """
    record, state = _read(Path(config.output) / CHECKPOINT)
    _check_same_run(config, record, provenance)
    restore(network, state)
    return record


def _read(path):
    try:
        with np.load(path, allow_pickle=False) as file:
            record = json.loads(str(file["record"]))
            state = [file[f"arr_{i}"] for i in range(len(file.files) - 1)]
        return {part: record[part] for part in ("recipe", "provenance", "history")}, state
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise TrainingError(f"{path} is damaged: {error}. Remove it to start anew.") from error


def _check_same_run(config, record, expected):
    """Refuse a run that this one cannot go on from and end as if undisturbed."""
    provenance = record["provenance"]
    other = _other_parameters(record["recipe"], config.recipe)
    if other:
        raise TrainingError(
            f"{config.output} holds a run with {', '.join(other)}. Name another output folder, or "
            "give the same parameters to go on with it."
        )
    if provenance["data_sha256"] != expected["data_sha256"]:
        raise TrainingError(
            f"{config.output} holds a run on other data. Name another output folder, or the data "
            "of that run to go on with it."
        )
    unfinished = len(record["history"]) < config.epochs
    if unfinished and provenance["versions"] != expected["versions"]:
        raise TrainingError(
            f"{config.output} holds an unfinished run with {provenance['versions']}. Go on with "
            "these versions, or name another output folder."
        )


def _other_parameters(held, recipe):
    """Return what a run has otherwise.

    An option that is gone counts only where it was in use; one that is new had its default.
    """
    gone = {name: value for name, value in held.items() if value and name not in recipe}
    had = {name: held.get(name, getattr(TrainingConfig, name)) for name in recipe}
    changed = {name: value for name, value in had.items() if value != recipe[name]}
    return [f"{name}={value!r}" for name, value in {**changed, **gone}.items()]
