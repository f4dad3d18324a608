"""Pictures of a dataset to batches for training and for reading."""

import math
import os
import threading
from collections.abc import Sequence

import numpy as np
import pandas as pd

from skin_cancer import priors
from skin_cancer.data import dataset
from skin_cancer.errors import DatasetError, TrainingError
from skin_cancer.images import augmentation, squares
from skin_cancer.training.config import SIZE_STEP, TrainingConfig
from skin_cancer.training.keras_settings import keras
from skin_cancer.training.loss import NEVER

RESIZED_SHARE = 0.75
LOADER_THREADS = min(8, os.cpu_count() or 1)
CACHE_BYTES = 3_000_000_000


class Pictures:
    """Decoded pictures of a table, kept in memory after the first reading as long as 3 GB last."""

    def __init__(self, table: pd.DataFrame):
        self.paths = table["path"].to_numpy()
        self.levels = table["level"].to_numpy()
        self.room = CACHE_BYTES
        self.kept: dict[int, np.ndarray] = {}
        self.lock = threading.Lock()

    def __getitem__(self, index: int) -> np.ndarray:
        """Return picture number `index`: uint8 RGB (height, width, 3), not to be written to.

        Raises:
            DatasetError: names the file and what is wrong with it.
        """
        if index in self.kept:
            return self.kept[index]
        picture = dataset.read_image(self.paths[index], self.levels[index])
        with self.lock:
            if picture.nbytes <= self.room and index not in self.kept:
                self.kept[index] = picture
                self.room -= picture.nbytes
        return picture


class TrainingImages(keras.utils.PyDataset):
    """Augmented batches of one epoch: RGB (batch, size, size, 3) in 0 to 255, and labels.

    The images are uint8, or float32 where views are mixed. The labels are float32
    (batch, 2 x diagnoses): first a distribution, or ones for each of several that may be right,
    then the logarithms of the class shares that it is to be seen under. Order and augmentation are
    functions of (seed, epoch, index) alone. `part` is the slice of each batch that it gives, for a
    process that trains with others; views are mixed within it. `codes` are those of the network,
    by default of `dataset.codes`; a diagnosis that the labels never name has the share `NEVER`.

    Raises:
        TrainingError: as of `soft_labels`.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        config: TrainingConfig,
        epoch: int,
        pictures: Pictures | None = None,
        part: slice | None = None,
        codes: Sequence[str] = (),
    ):
        super().__init__(workers=LOADER_THREADS)
        self.pictures = pictures or Pictures(table)
        self.config = config
        labels = soft_labels(table, config, codes)
        log_priors = np.log(seen_priors(table, config, codes)).astype("float32")
        self.labels = np.hstack([labels, np.where(labels.any(axis=0), log_priors, NEVER)])
        self.batch_size = min(config.batch_size, len(table))
        self.part = part or slice(None)
        self.size = crop_size(config, epoch)
        self.key = (config.seed, epoch)
        self.order = _order(table, config, np.random.default_rng(self.key))
        self.problem: DatasetError | None = None

    def __len__(self) -> int:
        return len(self.order) // self.batch_size

    def __getitem__(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        places = range(batch * self.batch_size, (batch + 1) * self.batch_size)[self.part]
        views = np.stack([self._view(place) for place in places])
        labels = self.labels[self.order[places]]
        return self._mixed(views, labels, batch) if self.config.mixup else (views, labels)

    def _view(self, place):
        try:
            picture = self.pictures[self.order[place]]
        except DatasetError as error:
            self.problem = error
            raise
        strength, softening = self.config.augmentation, self.config.softening
        return augmentation.augment(picture, self.size, (*self.key, place), strength, softening)

    def _mixed(self, views, labels, batch):
        """Mix each view with the next one of the batch (Zhang et al. 2018, "mixup", section 2)."""
        rng = np.random.default_rng((*self.key, batch, 2))
        share = rng.beta(self.config.mixup, self.config.mixup, self.batch_size).astype("float32")
        share = share[self.part]
        share = np.maximum(share, 1 - share)[:, None]
        others, their_labels = np.roll(views, 1, axis=0), np.roll(labels, 1, axis=0)
        weight = share[:, :, None, None]
        mixed = weight * views + (1 - weight) * others
        return mixed, share * labels + (1 - share) * their_labels


class CentredImages(keras.utils.PyDataset):
    """Centre squares in the order of the table, as the classifier sees them."""

    def __init__(self, table: pd.DataFrame, size: int, batch_size: int):
        super().__init__(workers=LOADER_THREADS)
        self.files = list(zip(table["path"], table["level"], strict=True))
        self.size = size
        self.batch_size = batch_size

    def __len__(self) -> int:
        return math.ceil(len(self.files) / self.batch_size)

    def __getitem__(self, batch: int) -> tuple[np.ndarray]:
        files = self.files[batch * self.batch_size : (batch + 1) * self.batch_size]
        images = [dataset.read_image(path, level) for path, level in files]
        return (np.stack([squares.centre_square(image, self.size) for image in images]),)


def crop_size(config: TrainingConfig, epoch: int) -> int:
    """Return the side of an epoch's crops: it grows to the last size in steps of 32 pixels.

    Progressive learning of Tan & Le 2021, "EfficientNetV2", section 4.
    """
    progress = min(1.0, epoch / max(1.0, RESIZED_SHARE * (config.epochs - 1)))
    side = config.first_image_size + progress * (config.last_size - config.first_image_size)
    return round(side / SIZE_STEP) * SIZE_STEP


def class_prior(table: pd.DataFrame, codes: Sequence[str] = ()) -> np.ndarray:
    """Return the share of each diagnosis among the images, float64 in ISIC order.

    A diagnosis without an image counts as if it had one, so that no share is zero; an image that
    may show either of two counts as half of each.
    """
    counts = np.maximum(_shared(dataset.label_sets(table, codes)).sum(axis=0), 1)
    return counts / counts.sum()


def assumed_prior(
    table: pd.DataFrame, config: TrainingConfig, codes: Sequence[str] = ()
) -> np.ndarray:
    """Return the share of each diagnosis among the views that training draws.

    The diagnoses are those of `dataset.label_sets`.

    Returns:
        float64 (diagnoses,) of sum 1, none of them zero.
    """
    labels = _shared(dataset.label_sets(table, codes))
    shares = np.maximum(_chances(table, config) @ labels, 1 / len(table))
    return shares / shares.sum()


def seen_priors(
    table: pd.DataFrame, config: TrainingConfig, codes: Sequence[str] = ()
) -> np.ndarray:
    """Return the class shares that each image is seen under.

    They are those of all views drawn, mixed with those of the image's own source by the weight that
    the config names. A diagnosis which a source lacks keeps at least half its share there: else
    nothing would keep the network from giving it to that source's images.

    Returns:
        float64 (images, diagnoses), each row of sum 1, none zero.
    """
    overall, weight = assumed_prior(table, config, codes), config.source_prior
    if not weight:
        return np.tile(overall, (len(table), 1))
    drawn = _chances(table, config)[:, None] * _shared(dataset.label_sets(table, codes))
    of_source = pd.DataFrame(drawn).groupby(_sources(table)).transform("sum").to_numpy()
    of_source = of_source / of_source.sum(axis=1, keepdims=True)
    return (1 - weight) * overall + weight * of_source


def _shared(labels):
    return labels / labels.sum(axis=1, keepdims=True, dtype=float)


def soft_labels(
    table: pd.DataFrame, config: TrainingConfig, codes: Sequence[str] = ()
) -> np.ndarray:
    """Return the labels to learn from: float32 (images, diagnoses).

    Those of `dataset.label_sets`; or, mixed with a teacher's probabilities (Hinton et al. 2015,
    "Distilling the Knowledge in a Neural Network", section 2), distributions: the probabilities are
    brought from the balanced prior to the assumed one.

    Raises:
        TrainingError: the teacher's table cannot be read or misses an image, or there is a teacher
            or a mixing of views where an image may show either of two diagnoses.
    """
    codes = list(codes or dataset.codes(table))
    labels = dataset.label_sets(table, codes)
    if (config.targets or config.mixup) and (labels.sum(axis=1) > 1).any():
        raise TrainingError(
            "Some of the images may show either of two diagnoses (SCC of ISIC 2019), which neither "
            "a teacher's targets nor mixup can be joined with. Leave both out, or that dataset."
        )
    if not config.targets:
        return labels
    try:
        taught = dataset.read_probabilities(config.targets)
        taught = taught.reindex(table["image_id"])[codes].to_numpy()
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(
            f"targets={config.targets!r} is no table of image_id and probabilities: {error}"
        ) from error
    missing = int(np.isnan(taught).any(axis=1).sum())
    if missing:
        raise TrainingError(
            f"targets={config.targets!r} has no probabilities for {missing} of the training images."
        )
    assumed = dict(zip(codes, assumed_prior(table, config, codes), strict=True))
    weighted = priors.reweighted(taught, priors.balanced(codes), assumed)
    mixed = config.distillation * weighted + (1 - config.distillation) * labels
    return mixed.astype("float32")


def _order(table, config, rng):
    """Return which image each view of an epoch shows."""
    views = config.views or len(table)
    if views == len(table) and not any(_exponents(config)):
        return rng.permutation(len(table))
    # Evenly spaced on the chances laid end to end: each image comes up as often as it should.
    places = (np.arange(views) + rng.random()) / views
    shuffled = rng.permutation(len(table))
    ends = np.cumsum(_chances(table, config)[shuffled])
    drawn = shuffled[np.searchsorted(ends, places).clip(max=len(table) - 1)]
    return rng.permutation(drawn)


def _exponents(config):
    return config.lesion_rebalance, config.source_rebalance, config.rebalance


def _chances(table, config):
    """Return how often each image is drawn: float64 (images,), of sum 1.

    The exponents lift lesions with few images, then sources with little of a diagnosis, then rare
    diagnoses.
    """
    by_lesion, by_source, by_diagnosis = _exponents(config)
    diagnosis = table["diagnosis"].to_numpy()
    source = [diagnosis, _sources(table)]
    ones = pd.Series(1.0, range(len(table)))
    chances = ones / _total(ones, table["lesion_id"].to_numpy()) ** by_lesion
    wanted = _total(chances, diagnosis) ** (1 - by_diagnosis)
    chances = chances / _total(chances, source) ** by_source
    chances = chances * wanted / _total(chances, diagnosis)
    return (chances / chances.sum()).to_numpy()


def _sources(table):
    return table["dataset"].fillna("").to_numpy()


def _total(chances, groups):
    """Return for each image the sum over its group."""
    return chances.groupby(groups).transform("sum")
