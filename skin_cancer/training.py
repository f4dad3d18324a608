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
import os
import platform
import subprocess
import tempfile
import time
import zipfile
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from zipfile import ZIP_DEFLATED

import keras
import numpy as np
import pandas as pd
from sklearn.metrics import balanced_accuracy_score

from skin_cancer import bundle, dataset, imaging
from skin_cancer.diagnoses import ISIC_2019
from skin_cancer.errors import DatasetError, SkinCancerError, TrainingError
from skin_cancer.network import build_network, build_outputs

CHECKPOINT = "checkpoint.npz"
START_WEIGHTS = {"imagenet": "imagenet", "random": None}
WARM_UP_EPOCHS = 0.5
RESIZED_SHARE = 0.75
SIZE_STEP = 32
LOADER_THREADS = 2
INT8_SAMPLE = 200


def _option(default, meaning):
    return field(default=default, metadata={"help": meaning})


@dataclass(frozen=True)
class TrainingConfig:
    """All that decides a training run.

    On one machine, with the same versions, the same config and data give the same weights.
    """

    data: str = _option("", "dataset folder, or sample; without it ISIC_DATA_DIR")
    output: str = _option("runs/training", "folder for checkpoint and bundle")
    backbone: str = _option("efficientnet_lite0", "EfficientNet-Lite or keras.applications name")
    start_weights: str = _option("imagenet", "imagenet, random, or a bundle to go on from")
    image_size: int = _option(224, "side in pixels of the network's input")
    first_image_size: int = _option(128, "side in pixels of the first epoch's crops")
    epochs: int = _option(12, "passes over the training images")
    batch_size: int = _option(32, "images a step")
    learning_rate: float = _option(7e-4, "highest learning rate of AdamW")
    weight_decay: float = _option(0.02, "decoupled weight decay of AdamW")
    label_smoothing: float = _option(0.03, "share of each label spread over all diagnoses")
    averaging: float = _option(0.995, "momentum of the running average of the weights")
    fold: int | None = _option(None, "fold to validate on, 0 to 4; without it train on all five")
    seed: int = _option(0, "decides start weights, order and augmentation")

    def __post_init__(self):
        """Refuse impossible values before anything is computed.

        Raises:
            TrainingError: names every impossible value.
        """
        checks = {
            "image_size": self.image_size >= SIZE_STEP and self.image_size % SIZE_STEP == 0,
            "first_image_size": SIZE_STEP <= self.first_image_size <= self.image_size,
            "epochs": self.epochs >= 1,
            "batch_size": self.batch_size >= 2,
            "learning_rate": 0 < self.learning_rate < 1,
            "weight_decay": 0 <= self.weight_decay < 1,
            "label_smoothing": 0 <= self.label_smoothing < 1,
            "averaging": 0 <= self.averaging < 1,
            "fold": self.fold is None or self.fold in range(dataset.FOLDS),
            "seed": self.seed >= 0,
        }
        wrong = [f"{name}={getattr(self, name)!r}" for name, good in checks.items() if not good]
        if wrong:
            raise TrainingError(
                f"Impossible training parameters: {', '.join(wrong)}. Sizes are multiples of "
                f"{SIZE_STEP} pixels, folds 0 to {dataset.FOLDS - 1}, rates between 0 and 1."
            )

    @property
    def recipe(self) -> dict:
        """What decides the weights, without the names of folders."""
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in ("data", "output")}


class TrainingImages(keras.utils.PyDataset):
    """Augmented batches of one epoch: uint8 (batch, size, size, 3) and one-hot labels.

    Order and augmentation are functions of (seed, epoch, index) alone.
    """

    def __init__(self, table: pd.DataFrame, config: TrainingConfig, epoch: int):
        super().__init__(workers=LOADER_THREADS)
        self.paths = table["path"].to_numpy()
        self.labels = _one_hot(table)
        self.batch_size = min(config.batch_size, len(table))
        self.size = crop_size(config, epoch)
        self.key = (config.seed, epoch)
        self.order = np.random.default_rng(self.key).permutation(len(table))
        self.problem = None

    def __len__(self):
        return len(self.order) // self.batch_size

    def __getitem__(self, batch):
        chosen = self.order[batch * self.batch_size : (batch + 1) * self.batch_size]
        return np.stack([self._view(index) for index in chosen]), self.labels[chosen]

    def _view(self, index):
        try:
            image = dataset.read_image(self.paths[index])
        except DatasetError as error:
            self.problem = error
            raise
        return imaging.augment(image, self.size, (*self.key, index))


class CentredImages(keras.utils.PyDataset):
    """Centre squares in the order of the table, as the classifier sees them."""

    def __init__(self, table: pd.DataFrame, size: int, batch_size: int):
        super().__init__(workers=LOADER_THREADS)
        self.paths = table["path"].to_numpy()
        self.size = size
        self.batch_size = batch_size

    def __len__(self):
        return math.ceil(len(self.paths) / self.batch_size)

    def __getitem__(self, batch):
        paths = self.paths[batch * self.batch_size : (batch + 1) * self.batch_size]
        images = [dataset.read_image(path) for path in paths]
        return (np.stack([imaging.centre_square(image, self.size) for image in images]),)


def crop_size(config: TrainingConfig, epoch: int) -> int:
    """Return the side of an epoch's crops: it grows to the full size in steps of 32 pixels.

    Progressive learning of Tan & Le 2021, "EfficientNetV2", section 4.
    """
    progress = min(1.0, epoch / max(1.0, RESIZED_SHARE * (config.epochs - 1)))
    side = config.first_image_size + progress * (config.image_size - config.first_image_size)
    return round(side / SIZE_STEP) * SIZE_STEP


def train(config: TrainingConfig):
    """Train, or go on with an interrupted run of the same config in the same folder.

    Every epoch starts from the checkpoint that the one before it wrote, so an interrupted run
    ends with the very weights of an undisturbed one on the same machine.

    Returns:
        The network with its averaged weights, the record of the run (a dictionary: `recipe`,
        `provenance` and `history` with one dictionary an epoch) and the table of the training
        images.

    Raises:
        DatasetError: the dataset, or an image of it, cannot be used.
        TrainingError: the config cannot start, the folder holds another run, the disk is full, or
            the loss diverged.
    """
    _make_folder(Path(config.output))
    keras.utils.set_random_seed(config.seed)
    table = dataset.split(dataset.read(dataset.data_folder(config.data)))
    training = table[~table["fold"].isin([dataset.HOLDOUT, config.fold])].reset_index(drop=True)
    validation = table[table["fold"] == config.fold]
    for path in validation["path"]:
        dataset.read_image(path)  # a broken one is named now, not at the end of an epoch
    network = _compiled_network(config, training)

    record = {"recipe": config.recipe, "provenance": _provenance(training), "history": []}
    if (Path(config.output) / CHECKPOINT).exists():
        record = _load(config, network, record)
        print(f"{config.output} holds this run up to epoch {len(record['history'])}.", flush=True)
    while len(record["history"]) < config.epochs:
        _train_epoch(network, config, training, validation, record)
    network.optimizer.finalize_variable_values(network.trainable_weights)
    return network, record, training


def _train_epoch(network, config, training, validation, record):
    """Train one epoch from the state of the last, add it to the record and save both."""
    epoch = len(record["history"])
    images = TrainingImages(training, config, epoch)
    print(f"Epoch {epoch + 1} of {config.epochs}, {images.size} pixels", flush=True)
    keeper = _KeepState()
    start = time.monotonic()
    callbacks = [keeper, keras.callbacks.TerminateOnNaN()]
    try:
        fitted = network.fit(images, shuffle=False, verbose="auto", callbacks=callbacks)
    except Exception as error:
        # The backends wrap what goes wrong in a loader thread in errors of their own.
        if images.problem:
            raise images.problem from error
        raise
    row = {"epoch": epoch + 1, "size": images.size, "seconds": round(time.monotonic() - start, 1)}
    row |= {name: values[-1] for name, values in fitted.history.items()}
    if not math.isfinite(row["loss"]):
        raise TrainingError(
            f"The loss is no longer a number in epoch {epoch + 1}. Start anew in another output "
            f"folder with a lower learning rate than {config.learning_rate}."
        )
    if len(validation):
        row["validation_balanced_accuracy"] = _validate(network, config, training, validation)
    print(json.dumps(row), flush=True)
    record["history"].append(row)
    _save(Path(config.output), keeper.state, record)
    _restore(network, keeper.state)


class _KeepState(keras.callbacks.Callback):
    """Take the state at the end of an epoch, before `fit` puts in the averaged weights."""

    def on_epoch_end(self, epoch, logs=None):
        variables = [*self.model.weights, *self.model.optimizer.variables]
        self.state = [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def _validate(network, config, training, validation):
    """Balanced accuracy of the averaged weights under the balanced prior."""
    images = CentredImages(validation, config.image_size, config.batch_size)
    logits = network.predict(images, verbose=0) - np.log(class_prior(training))
    return float(balanced_accuracy_score(_labels(validation), logits.argmax(1)))


def class_prior(table: pd.DataFrame) -> np.ndarray:
    """Return the share of each diagnosis among the images, float64 in ISIC order.

    A diagnosis without an image counts as if it had one, so that no share is zero.
    """
    counts = np.maximum(np.bincount(_labels(table), minlength=len(dataset.codes(table))), 1)
    return counts / counts.sum()


def _labels(table):
    codes = [diagnosis.code for diagnosis in ISIC_2019]
    return table["diagnosis"].map(codes.index).to_numpy()


def _one_hot(table):
    return np.eye(len(dataset.codes(table)), dtype="float32")[_labels(table)]


def _compiled_network(config, training):
    network = start_network(config, len(dataset.codes(training)))
    if config.start_weights in START_WEIGHTS:
        # The head starts at the class frequencies (Lin et al. 2017, "Focal Loss", section 3.3).
        network.get_layer("head").bias.assign(np.log(class_prior(training)))
    steps = len(TrainingImages(training, config, 0))
    warm_up = round(WARM_UP_EPOCHS * steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        warmup_target=config.learning_rate,
        warmup_steps=warm_up,
        decay_steps=config.epochs * steps - warm_up,
    )
    optimizer = keras.optimizers.AdamW(
        schedule, weight_decay=config.weight_decay, use_ema=True, ema_momentum=config.averaging
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=config.label_smoothing
    )
    network.compile(optimizer, loss, metrics=["accuracy"])
    optimizer.build(network.trainable_variables)
    return network


def start_network(config: TrainingConfig, classes: int):
    """Build the network for so many classes with the start weights that the config names.

    Raises:
        BundleError: the bundle to start from is damaged.
        TrainingError: there are no such start weights, they have seen the validation fold, or
            there is no such backbone.
    """
    path = Path(config.start_weights) / bundle.KERAS_MODEL
    if config.start_weights not in START_WEIGHTS:
        _check_start(config, path)
    try:
        network = build_network(config.backbone, classes, START_WEIGHTS.get(config.start_weights))
        if config.start_weights not in START_WEIGHTS:
            network.set_weights(keras.models.load_model(path, compile=False).get_weights())
    except ValueError as error:
        raise TrainingError(f"The network cannot start: {error}") from error
    return network


def _check_start(config, path):
    if not path.is_file():
        raise TrainingError(
            f"start_weights={config.start_weights!r} is neither 'imagenet', 'random' nor the "
            "folder of a bundle."
        )
    fold = bundle.read(path.parent).training["recipe"]["fold"]
    if config.fold not in (None, fold):
        raise TrainingError(
            f"start_weights={config.start_weights!r} was trained on fold {config.fold}, so it "
            f"cannot be validated there. Take fold={fold}, or other start weights."
        )


def _provenance(training):
    """Return what the weights come from, for the bundle."""
    packages = ("keras", keras.backend.backend(), "numpy", "opencv-python-headless")
    return {
        "dataset": dataset.title(training),
        "data_sha256": dataset.fingerprint(training),
        "labels_sha256": dataset.label_fingerprint(training),
        "images": len(training),
        "lesions": int(training["lesion_id"].nunique()),
        "picture_size": dataset.read_image(training["path"][0]).shape[1::-1],
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
    }


def _git_commit():
    """Return the commit of this file's repository, marked if files differ from it, or None."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        run = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return run.stdout.strip()


def _make_folder(output):
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"The output folder {output} cannot be made: {error}.") from error


def _save(output, state, record):
    """Write the checkpoint aside and rename it: at any time there is one, and it is whole."""
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


def _load(config, network, expected):
    """Put the checkpoint into network and optimizer; return its record."""
    path = Path(config.output) / CHECKPOINT
    try:
        with np.load(path, allow_pickle=False) as file:
            record = json.loads(str(file["record"]))
            state = [file[f"arr_{i}"] for i in range(len(file.files) - 1)]
            held, provenance = record["recipe"], record["provenance"]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise TrainingError(f"{path} is damaged: {error}. Remove it to start anew.") from error
    other = [f"{k}={held.get(k)!r}" for k, value in config.recipe.items() if held.get(k) != value]
    if other:
        raise TrainingError(
            f"{config.output} holds a run with {', '.join(other)}. Name another output folder, or "
            "give the same parameters to go on with it."
        )
    if provenance["data_sha256"] != expected["provenance"]["data_sha256"]:
        raise TrainingError(
            f"{config.output} holds a run on other data. Name another output folder, or the data "
            "of that run to go on with it."
        )
    unfinished = len(record["history"]) < config.epochs
    if unfinished and provenance["versions"] != expected["provenance"]["versions"]:
        raise TrainingError(
            f"{config.output} holds an unfinished run with {provenance['versions']}. Go on with "
            "these versions, or name another output folder."
        )
    _restore(network, state)
    return record


def _restore(network, state):
    for variable, value in zip(
        [*network.weights, *network.optimizer.variables], state, strict=True
    ):
        variable.assign(value)


def export_bundle(config: TrainingConfig, network, record: dict, training: pd.DataFrame) -> Path:
    """Write a trained network as the bundle `OUTPUT/bundle`; needs TensorFlow.

    The weights are rounded to float16, so that the Keras model compresses to half its size;
    all files of the bundle hold these same weights.

    Args:
        config: of the run.
        network: as `train` returns it.
        record: as `train` returns it.
        training: table of the training images; 200 of them set the ranges of the int8 graph.

    Returns:
        The bundle's folder.

    Raises:
        BundleError: the bundle cannot be written.
    """
    network.set_weights([weight.astype("float16") for weight in network.get_weights()])
    folder = Path(config.output) / "bundle"
    name = Path(config.output).resolve().name
    codes = dataset.codes(training)
    prior = dict(zip(codes, class_prior(training).tolist(), strict=True))
    description = bundle.Description(name, codes, config.image_size, "float", prior, record, {})
    with tempfile.TemporaryDirectory() as scratch:
        files = Path(scratch)
        _save_keras(network, files / bundle.KERAS_MODEL)
        _save_graphs(build_outputs(network, config.image_size), files, training, config)
        bundle.write(folder, description, files)
    return folder


def _save_keras(network, path):
    """Save the model without optimizer, as a compressed archive, which Keras reads as well."""
    plain = path.with_name("plain.keras")
    keras.Model(network.inputs, network.outputs, name=network.name).save(plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    plain.unlink()


def _save_graphs(outputs, folder, training, config):
    """Convert to LiteRT: float32, and int8 with ranges from training images."""
    import tensorflow as tf  # not at the top: training itself runs without it

    sample = training.sample(min(INT8_SAMPLE, len(training)), random_state=config.seed)
    images = CentredImages(sample, config.image_size, batch_size=1)
    builtins = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    outputs.export(
        folder / bundle.GRAPHS["float"], format="litert", verbose=False, target_spec=builtins
    )
    outputs.export(
        folder / bundle.GRAPHS["int8"],
        format="litert",
        verbose=False,
        target_spec=builtins,
        optimizations=[tf.lite.Optimize.DEFAULT],
        representative_dataset=lambda: ([batch] for (batch,) in images),
    )


def config_from_arguments(arguments=None) -> TrainingConfig:
    """Read the config from the shell: one option for each field."""
    parser = argparse.ArgumentParser(
        prog="python -m skin_cancer.training", description=__doc__.split("\n")[0]
    )
    for option in dataclasses.fields(TrainingConfig):
        kind = int if option.name == "fold" else type(option.default)
        name = "--" + option.name.replace("_", "-")
        text = f"{option.metadata['help']} (default: {option.default})"
        parser.add_argument(name, type=kind, default=option.default, help=text)
    return TrainingConfig(**vars(parser.parse_args(arguments)))


def main():
    """Run the training that the shell's arguments describe, to the bundle where TensorFlow is."""
    config = config_from_arguments()
    try:
        network, record, training = train(config)
        if keras.backend.backend() != "tensorflow":
            print(
                f"Trained: {config.output}/{CHECKPOINT}. Run the same command on a machine with "
                "TensorFlow to write the bundle."
            )
            return
        folder = export_bundle(config, network, record, training)
    except SkinCancerError as error:
        raise SystemExit(str(error)) from error
    print(f"Bundle: {folder}. Measure it: python -m skin_cancer.evaluation --bundle {folder}")


if __name__ == "__main__":
    main()
