"""Train a network on HAM10000 and write it as a bundle; also from the shell.

    python -m skin_cancer.training --data HAM10000_FOLDER --output runs/NAME

Backend-neutral Keras 3: TensorFlow is needed only for the LiteRT graphs at the end. On a
machine without it (`KERAS_BACKEND=jax`) the run ends after its last epoch; copy the output
folder to one that has it and run the same command to get the bundle.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import itertools
import json
import math
import os
import platform
import subprocess
import tempfile
import time
import zipfile
from importlib.metadata import version
from pathlib import Path
from zipfile import ZIP_BZIP2

import keras
import numpy as np
import pandas as pd

from skin_cancer import priors
from skin_cancer.data import dataset, splits
from skin_cancer.diagnoses import ISIC_2019
from skin_cancer.errors import SkinCancerError, TrainingError
from skin_cancer.model import bundle, bundle_writer
from skin_cancer.training.batches import (
    CentredImages,
    Pictures,
    TrainingImages,
    class_prior,
    label_sets,
)
from skin_cancer.training.config import (
    CHECKPOINT,
    LOGITS,
    PREDICTIONS,
    TrainingConfig,
    divide,
    kept_apart,
    read_divided,
)
from skin_cancer.training.network import build_network, build_outputs

START_WEIGHTS = {"imagenet": "imagenet", "random": None}
WARM_UP_EPOCHS = 0.5
INT8_SAMPLE = 200
PROCESSES = "KERAS_DISTRIBUTION_NUM_PROCESSES"
NEVER = -1e9  # logarithm of no probability
CODES = [diagnosis.code for diagnosis in ISIC_2019]


def train(config: TrainingConfig):
    """Train, or go on with an interrupted run of the same config in the same folder.

    Every epoch starts from the checkpoint that the one before it wrote, so an interrupted run
    ends with the very weights of an undisturbed one on the same machine. All GPUs of the machine
    share each batch.

    Returns:
        The network with its averaged weights, the record of the run (a dictionary: `recipe`,
        `provenance` and `history` with one dictionary an epoch) and the table of the training
        images.

    Raises:
        DatasetError: the dataset, or an image of it, cannot be used.
        TrainingError: the config cannot start, the devices cannot share its batches alike, the
            folder holds another run, the disk is full, or the loss diverged.
    """
    _make_folder(Path(config.output))
    keras.utils.set_random_seed(config.seed)
    table = read_divided(config)
    training, validation = divide(table, config.recipe)
    training = training.reset_index(drop=True)
    for _ in dataset.read_images(validation):
        pass  # a broken one is named now, not at the end of an epoch
    provenance = _provenance(config, table, training)
    with _scope():
        network, record = _trained_network(config, training, validation, provenance)
    return network, record, training


def _trained_network(config, training, validation, provenance):
    network = compiled_network(config, training, provenance["kept"])
    record = {"recipe": config.recipe, "provenance": provenance, "history": []}
    if (Path(config.output) / CHECKPOINT).exists():
        record = _load(config, network, record)
        print(f"{config.output} holds this run up to epoch {len(record['history'])}.", flush=True)
    pictures = Pictures(training)
    while len(record["history"]) < config.epochs:
        _train_epoch(network, config, training, pictures, validation, record)
    if config.epochs:
        network.optimizer.finalize_variable_values(network.trainable_weights)
    if len(validation):
        _write_predictions(network, config, validation)
    return network, record


def _train_epoch(network, config, training, pictures, validation, record):
    """Train one epoch from the state of the last, add it to the record and save both."""
    epoch = len(record["history"])
    process, processes = _process()
    part = slice(process, None, processes)
    images = TrainingImages(training, config, epoch, pictures, part)
    _check_batch(images.batch_size)
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
    if len(validation) and (epoch + 1) % config.validate_every == 0:
        row |= _validate(network, config, validation)
    print(json.dumps(row), flush=True)
    record["history"].append(row)
    if process == 0:
        _save(Path(config.output), keeper.state, record)
    _restore(network, keeper.state)


def _scope():
    """Return the scope in which all devices, if there are several, share each batch."""
    devices = _devices()
    if len(devices) == 1:
        return contextlib.nullcontext()
    if keras.backend.backend() == "jax":
        return keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False).scope()
    import tensorflow as tf  # not at the top: training itself runs without it

    return tf.distribute.MirroredStrategy(devices).scope()


def _devices():
    """Return the names of the devices that share each batch: under PyTorch, of one."""
    if keras.backend.backend() == "torch":
        return ["default"]
    return keras.distribution.list_devices()


def _process():
    """Return the number of this process and how many of them train together."""
    distribution = keras.distribution.distribution()
    return (distribution.data_shard_id, distribution.num_processes) if distribution else (0, 1)


def _shareable(images):
    """Return the next number of images that all devices can share alike."""
    devices = len(_devices())
    return math.ceil(images / devices) * devices


def _check_batch(size):
    if size != _shareable(size):
        raise TrainingError(
            f"Batches of {size} images cannot be shared alike by "
            f"{len(_devices())} devices. Give a batch_size that their "
            "number divides, or make fewer of them visible."
        )


class _KeepState(keras.callbacks.Callback):
    """Take the state at the end of an epoch, before `fit` puts in the averaged weights."""

    def on_epoch_end(self, epoch, logs=None):
        variables = [*self.model.weights, *self.model.optimizer.variables]
        self.state = [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def _validate(network, config, validation):
    """Return the balanced accuracy of the averaged weights; of several archives, each as well.

    It is that under the balanced prior; right is any diagnosis that an image may show.
    """
    called = _logits(network, config, validation).argmax(axis=1)
    right = label_sets(validation)[np.arange(len(called)), called]
    right = pd.Series(right, [validation["archive"], validation["diagnosis"]])
    found = {"validation_balanced_accuracy": float(right.groupby(level=1).mean().mean())}
    of_archives = right.groupby(level=[0, 1]).mean().groupby(level=0).mean()
    if len(of_archives) > 1:
        found["validation_of_archives"] = of_archives.round(4).to_dict()
    return found


def _logits(network, config, table):
    rows = np.arange(_shareable(len(table))) % len(table)
    images = CentredImages(table.iloc[rows], config.image_size, _shareable(config.batch_size))
    with _undistributed():
        return network.predict(images, verbose=0)[: len(table)]


@contextlib.contextmanager
def _undistributed():
    """Under JAX, let each process compute whole batches: `predict` gathers no other's parts."""
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


def _write_predictions(network, config, validation):
    """Write logits and probabilities of the validation images under the balanced prior."""
    logits = _logits(network, config, validation).astype(float)
    if _process()[0] != 0:
        return
    ids = pd.Index(validation["image_id"], name="image_id")
    for name, values in ((LOGITS, logits), (PREDICTIONS, priors.softmax(logits))):
        table = pd.DataFrame(values, ids, CODES[: logits.shape[1]])
        table.to_csv(Path(config.output) / name, float_format="%.6g")


def compiled_network(config: TrainingConfig, training: pd.DataFrame, kept=None):
    """Return the network that a config starts from, ready to be trained on a table of images.

    `kept` is as for `start_network`.

    Raises:
        BundleError, TrainingError: as of `start_network`.
    """
    network = start_network(config, len(dataset.codes(training)), kept)
    if config.normalisation == "frozen":
        for layer in network.layers:
            layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    steps = len(TrainingImages(training, config, 0))
    warm_up = round(WARM_UP_EPOCHS * steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        warmup_target=config.learning_rate,
        warmup_steps=warm_up,
        decay_steps=max(1, config.epochs * steps - warm_up),
    )
    optimizer = keras.optimizers.AdamW(
        schedule, weight_decay=config.weight_decay, use_ema=True, ema_momentum=config.averaging
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    network.compile(optimizer, AdjustedCrossentropy(config.label_smoothing), metrics=[accuracy])
    optimizer.build(network.trainable_variables)
    return network


class AdjustedCrossentropy(keras.losses.Loss):
    """Cross-entropy of logits to which the logarithms of the class shares are added.

    So the logits themselves mean all diagnoses to be equally frequent (Menon et al. 2021,
    "Long-tail learning via logit adjustment", section 4.2). Labels come as from `TrainingImages`:
    where several diagnoses may be right, their probabilities are added.
    """

    def __init__(self, label_smoothing: float):
        super().__init__(name="adjusted_crossentropy")
        self.label_smoothing = label_smoothing

    def call(self, labels, logits):
        """Return the loss of each image: (batch,)."""
        labels, log_prior = keras.ops.split(labels, 2, axis=1)
        logits, kept = logits + log_prior, 1 - self.label_smoothing
        several = keras.ops.sum(labels, axis=1) > 1.5  # a distribution's sum is 1
        truth = labels / keras.ops.sum(labels, axis=1, keepdims=True)
        smoothed = kept * truth + self.label_smoothing / logits.shape[1]
        plain = keras.losses.categorical_crossentropy(smoothed, logits, from_logits=True)
        log_chances = keras.ops.log_softmax(logits)
        either = keras.ops.logsumexp(keras.ops.where(labels > 0, log_chances, NEVER), axis=1)
        gain = either - keras.ops.sum(truth * log_chances, axis=1)
        return plain - keras.ops.where(several, kept * gain, 0.0)


def accuracy(labels, logits):
    """Return whether each image's most probable diagnosis is right, under its class shares."""
    truth, log_prior = keras.ops.split(labels, 2, axis=1)
    called = keras.ops.argmax(logits + log_prior, axis=1)
    chosen = keras.ops.sum(truth * keras.ops.one_hot(called, truth.shape[1]), axis=1)
    return keras.ops.cast(chosen >= keras.ops.max(truth, axis=1), "float32")


def start_network(config: TrainingConfig, classes: int, kept: dict | None = None):
    """Build the network for so many classes with the start weights that the config names.

    Its logits mean all diagnoses to be equally frequent. Of several bundles, trained on from the
    same weights, it has the mean (Wortsman et al. 2022, "Model soups", section 2).

    Args:
        config: of the run.
        classes: number of diagnoses.
        kept: what the run keeps apart, as `config.kept_apart` returns it.

    Raises:
        BundleError: a bundle to start from is damaged.
        TrainingError: there are no such start weights, they have seen what the run keeps apart,
            or there is no such backbone.
    """
    from_bundles = config.start_weights not in START_WEIGHTS
    folders = [Path(start) for start in config.starts] if from_bundles else []
    for folder in folders:
        _check_start(config, folder, kept)
    try:
        network = build_network(config.backbone, classes, START_WEIGHTS.get(config.start_weights))
        if folders:
            weights = [_weights(network, folder) for folder in folders]
            network.set_weights([np.mean(parts, axis=0) for parts in zip(*weights, strict=True)])
    except ValueError as error:
        raise TrainingError(f"The network cannot start: {error}") from error
    return network


def _weights(network, folder):
    """Return the weights of a bundle whose logits are to mean all diagnoses equally frequent."""
    path = folder / bundle.KERAS_MODEL
    saved = keras.models.load_model(path, compile=False, safe_mode=True)
    network.set_weights(saved.get_weights())
    trained = bundle.read(folder).prior
    _add_to_bias(network, priors.shift(trained, priors.balanced(trained)))
    return network.get_weights()


def _check_start(config, folder, kept):
    if not (folder / bundle.KERAS_MODEL).is_file():
        raise TrainingError(
            f"start_weights={str(folder)!r} is neither 'imagenet', 'random' nor the folder of a "
            "bundle with a Keras model."
        )
    held_out = ("fold", "source", "holdout")
    record = bundle.read(folder).training
    theirs = record["recipe"]
    theirs = {name: theirs.get(name, getattr(TrainingConfig, name)) for name in held_out}
    ours = {name: getattr(config, name) for name in held_out}
    trained_on_all = {"fold": None, "source": "", "holdout": "included"}
    if ours not in (theirs, trained_on_all, {**theirs, "fold": None, "source": ""}):
        raise TrainingError(
            f"start_weights={str(folder)!r} has seen what {ours} keeps apart; its own "
            f"training kept {theirs}. Take the same, or other start weights."
        )
    if ours != trained_on_all and kept:
        _check_kept(folder, record["provenance"].get("kept"), kept)


def _check_kept(folder, theirs, ours):
    """Refuse weights that may have seen a lesion which this run keeps apart."""
    if theirs is None and len(ours) == 1:
        return  # of the time when a dataset was one archive, always divided alike
    if theirs is None:
        raise TrainingError(
            f"start_weights={str(folder)!r} does not say which lesions it has not seen. Take other "
            "start weights."
        )
    seen = sorted(
        {i for archive in theirs for i in ours.get(archive, [])}.difference(*theirs.values())
    )
    if seen:
        raise TrainingError(
            f"start_weights={str(folder)!r} may have seen {len(seen)} lesions that this run keeps "
            f"apart ({', '.join(seen[:3])} ...). Name the same data and links, or take other start "
            "weights."
        )


def _provenance(config, table, training):
    """Return what the weights come from, for the bundle."""
    apart = kept_apart(table, training)
    packages = ("keras", keras.backend.backend(), "numpy", "opencv-python-headless")
    return {
        "dataset": dataset.title(training),
        "data_sha256": dataset.fingerprint(training),
        "labels_sha256": dataset.label_fingerprint(training),
        "images": len(training),
        "lesions": int(training["lesion_id"].nunique()),
        "lesions_unnamed": int((training["lesion_id"] == training["image_id"]).sum()),
        "images_of_sources": _counts(training, ["archive", "dataset"]),
        "images_levelled": _counts(training[training["level"] > 0], ["dataset", "level"]),
        "images_apart": _counts(table[table["fold"] < 0], ["archive", "fold"]),
        "links_sha256": _digest(config.links),
        "links": splits.read_links(config.links, table) if config.links else [],
        "kept_sha256": _hash_of(apart),
        "kept": apart,
        "picture_size": dataset.read_image(training["path"][0]).shape[1::-1],
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "targets_sha256": _digest(config.targets),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
    }


def _counts(table, columns):
    """Return how many images there are of each combination, by its name."""
    counts = table.groupby(columns, dropna=False).size()
    return {", ".join(map(str, key)): int(count) for key, count in counts.items()}


def _hash_of(lesions):
    text = "\n".join(sorted(itertools.chain(*lesions.values())))
    return hashlib.sha256(text.encode()).hexdigest()


def _digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else None


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

    The logits of a bundle assume the class shares of the training images. The weights are rounded
    to float16, so that the Keras model compresses to half its size;
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
    codes = dataset.codes(training)
    prior = dict(zip(codes, class_prior(training).tolist(), strict=True))
    _add_to_bias(network, priors.shift(priors.balanced(codes), prior))
    network.set_weights([weight.astype("float16") for weight in network.get_weights()])
    folder = Path(config.output) / "bundle"
    name = Path(config.output).resolve().name
    named = priors.of_training(prior, dataset.title(training))
    trained = record | _trainings_before(config)
    description = bundle.Description(name, codes, config.image_size, "float", named, trained, {})
    with tempfile.TemporaryDirectory() as scratch:
        files = Path(scratch)
        _save_keras(network, files / bundle.KERAS_MODEL)
        _save_graphs(build_outputs(network, config.image_size), files, training, config)
        bundle_writer.write(folder, description, files)
    return folder


def _trainings_before(config):
    """Return how the bundles that the training went on from were trained, if it did."""
    if config.start_weights in START_WEIGHTS:
        return {}
    return {"starts": [bundle.read(start).training for start in config.starts]}


def _add_to_bias(network, values):
    bias = network.get_layer("head").bias
    bias.assign(bias + values)


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
        outputs.export(saved, format="tf_saved_model", verbose=False)
        for graph, name in bundle.GRAPHS.items():
            converter = tf.lite.TFLiteConverter.from_saved_model(saved)
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if graph == "float":
                converter.target_spec.supported_types = [tf.float16]
            else:
                converter.representative_dataset = lambda: ([batch] for (batch,) in images)
            (folder / name).write_bytes(converter.convert())


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


def _join_processes():
    """Join the other processes of the run, where the environment names them.

    Raises:
        TrainingError: the backend is not JAX.
    """
    if PROCESSES not in os.environ:
        return
    if keras.backend.backend() != "jax":
        raise TrainingError(f"{PROCESSES} is set: several hosts train under KERAS_BACKEND=jax.")
    keras.distribution.initialize()


def main():
    """Run the training that the shell's arguments describe, to the bundle where TensorFlow is."""
    options = vars(_parser().parse_args())
    train_only = options.pop("no_bundle") or keras.backend.backend() != "tensorflow"
    try:
        config = TrainingConfig(**options)
        _join_processes()
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
