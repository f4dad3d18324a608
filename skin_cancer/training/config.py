"""All that decides a training run."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from skin_cancer.data import dataset, splits
from skin_cancer.data.reading import LESIONS, reading_of
from skin_cancer.errors import DatasetError, TrainingError

SIZE_STEP = 32
CHECKPOINT, PREDICTIONS = "checkpoint.npz", "predictions.csv"
NORMALISATIONS = ("frozen", "trained")
FOLDERS = ("data", "output", "links")
ALL = "all"


def _option(default, meaning):
    return field(default=default, metadata={"help": meaning})


@dataclass(frozen=True)
class TrainingConfig:
    """All that decides a training run.

    On one machine, with the same versions, the same config and data give the same weights.
    """

    data: str = _option(
        "", "dataset folder, several with commas between, or sample; without it ISIC_DATA_DIR"
    )
    output: str = _option("runs/training", "folder for checkpoint and bundle")
    backbone: str = _option("efficientnet_lite0", "EfficientNet-Lite or keras.applications name")
    start_weights: str = _option(
        "imagenet",
        "imagenet, random, or a bundle to go on from; several with commas between: their mean",
    )
    image_size: int = _option(224, "side in pixels of the network's input")
    first_image_size: int = _option(128, "side in pixels of the first epoch's crops")
    last_image_size: int = _option(0, "side of the last epochs' crops; 0 for that of the input")
    epochs: int = _option(12, "how many; 0 for the mean of bundles alone")
    views: int = _option(0, "views an epoch; 0 for as many as there are training images")
    validate_every: int = _option(1, "epochs from one validation to the next")
    batch_size: int = _option(32, "images a step")
    learning_rate: float = _option(7e-4, "highest learning rate of AdamW")
    weight_decay: float = _option(0.02, "decoupled weight decay of AdamW")
    label_smoothing: float = _option(0.03, "share of each label spread over all diagnoses")
    averaging: float = _option(0.995, "momentum of the running average of the weights")
    normalisation: str = _option("trained", "statistics of batch normalisation: frozen or trained")
    frozen_stages: int = _option(
        0, "first stages of an EfficientNet-Lite that keep their weights, the stem with them"
    )
    augmentation: float = _option(1.0, "strength of augmentation, 0 to 3")
    softening: float = _option(
        0.0, "chance that a view loses resolution, and that it is blurred or sharpened sideways"
    )
    mixup: float = _option(
        0.0, "share of two views mixed: alpha of a beta distribution, 0 for none"
    )
    rebalance: float = _option(0.0, "0 draws all images alike, 1 all diagnoses, between is between")
    source_rebalance: float = _option(0.0, "the same for the sources within each diagnosis")
    lesion_rebalance: float = _option(0.0, "the same for lesions, of which some have many images")
    source_prior: float = _option(
        0.0, "weight of its own source in the class shares that an image is seen under, 0 to 0.5"
    )
    targets: str = _option("", "table of a teacher's probabilities to learn from as well")
    distillation: float = _option(0.5, "weight of the teacher's probabilities, 0 to 1")
    fold: int | None = _option(None, "fold to validate on, 0 to 4; without it train on all five")
    source: str = _option("", "source or archive to leave out and validate on")
    learn_from: str = _option(ALL, "all, or sources and archives with commas between")
    lesions: str = _option(
        "published", "or images: each is a lesion of its own where the archive's table is missing"
    )
    columns: str = _option(
        "", "what a table of your own calls its columns: image=NAME,diagnosis=NAME,lesion=NAME"
    )
    diagnoses: str = _option(
        "", "names of diagnoses of your own, and word=diagnosis, with commas between"
    )
    malignant: str = _option("", "which of them are malignant, with commas between")
    missing: float = _option(
        0.0, "share of images without a row, and of rows without an image, that may be left out"
    )
    links: str = _option("", "table of the images found to show one lesion")
    holdout: str = _option("apart", "apart, or included for a network that is not to be measured")
    seed: int = _option(0, "decides start weights, order and augmentation")

    def __post_init__(self) -> None:
        """Refuse impossible values before anything is computed.

        Raises:
            TrainingError: names every impossible value.
        """
        checks = {
            "image_size": self.image_size >= SIZE_STEP and self.image_size % SIZE_STEP == 0,
            "first_image_size": SIZE_STEP <= self.first_image_size <= self.last_size,
            "last_image_size": self.last_image_size % SIZE_STEP == 0,
            "epochs": self.epochs >= 1 or (self.epochs == 0 and len(self.starts) > 1),
            "views": self.views == 0 or self.views >= self.batch_size,
            "validate_every": self.validate_every >= 1,
            "lesions": self.lesions in LESIONS,
            "missing": 0 <= self.missing < 1,
            "batch_size": self.batch_size >= 2,
            "learning_rate": 0 < self.learning_rate < 1,
            "weight_decay": 0 <= self.weight_decay < 1,
            "label_smoothing": 0 <= self.label_smoothing < 1,
            "averaging": 0 <= self.averaging < 1,
            "normalisation": self.normalisation in NORMALISATIONS,
            "frozen_stages": 0 <= self.frozen_stages <= 7,
            "augmentation": 0 <= self.augmentation <= 3,
            "softening": 0 <= self.softening <= 1,
            "mixup": self.mixup >= 0,
            "rebalance": 0 <= self.rebalance <= 1,
            "source_rebalance": 0 <= self.source_rebalance <= 1,
            "lesion_rebalance": 0 <= self.lesion_rebalance <= 1,
            "source_prior": 0 <= self.source_prior <= (0 if self.targets else 0.5),
            "distillation": 0 <= self.distillation <= 1,
            "fold": self.fold is None or self.fold in range(splits.FOLDS),
            "source": not self.source or self.fold is None,
            "holdout": self.holdout == "apart"
            or (self.holdout == "included" and self.fold is None and not self.source),
            "seed": self.seed >= 0,
        }
        wrong = [f"{name}={getattr(self, name)!r}" for name, good in checks.items() if not good]
        if wrong:
            raise TrainingError(
                f"Impossible training parameters: {', '.join(wrong)}. Sizes are multiples of "
                f"{SIZE_STEP} pixels, folds 0 to {splits.FOLDS - 1}, rates and shares 0 to 1; a "
                "source's own class shares weigh at most half, nothing beside a teacher; a fold, a "
                "source or nothing is left out; the holdout is apart, or included where nothing "
                "else is left out."
            )

    @property
    def starts(self) -> list[str]:
        """The start weights, one by one."""
        return self.start_weights.split(",")

    @property
    def last_size(self) -> int:
        """Side in pixels of the last epochs' crops.

        A random crop shows a lesion larger than the whole picture does, so that crops somewhat
        smaller than the input match it (Touvron et al. 2019, "Fixing the train-test resolution
        discrepancy", section 3), and are quicker.
        """
        return self.last_image_size or self.image_size

    @property
    def recipe(self) -> dict:
        """What decides the weights, without the names of folders."""
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in FOLDERS}


def read_divided(config: TrainingConfig) -> pd.DataFrame:
    """Read the images that a config names, with their folds.

    Returns:
        As `dataset.split`.

    Raises:
        DatasetError: as of `dataset.read`, `dataset.read_links` and `dataset.split`; or the
            images show fewer than two diagnoses.
    """
    table = dataset.read(dataset.data_folder(config.data), reading_of(config.recipe))
    _check_diagnoses(table)
    links = splits.read_links(config.links, table) if config.links else ()
    return splits.split(table, links=links)


def _check_diagnoses(table):
    """Refuse images with nothing to tell apart."""
    codes = dataset.codes(table)
    if len(codes) < 2:
        raise DatasetError(
            f"The images show {', '.join(codes) or 'none of our diagnoses'} alone. A network tells "
            "diagnoses apart: add images of another one."
        )


def read_as_divided(data: Path | str | list[Path], training: dict) -> pd.DataFrame:
    """Read the images of a dataset with the folds that a training divided them into.

    Args:
        data: as for `dataset.read`.
        training: as in the description of the network's bundle.

    Returns:
        As `dataset.split`.

    Raises:
        DatasetError: as of `dataset.read` and `dataset.split`.
    """
    table = dataset.read(data, reading_of(training["recipe"]))
    return splits.split(table, links=training["provenance"].get("links", ()))


def kept_apart(table: pd.DataFrame, training: pd.DataFrame) -> dict[str, list[str]]:
    """Return the sorted ids of the lesions that a training does not see, for each archive.

    Args:
        table: as `dataset.split` returns it.
        training: what of it is trained on.
    """
    apart = ~table["lesion_id"].isin(training["lesion_id"])
    return {
        archive: sorted(set(table["lesion_id"][apart & (table["archive"] == archive)]))
        for archive in sorted(set(table["archive"]))
    }


def divide(table: pd.DataFrame, recipe: dict) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Divide the images into those that a recipe trains on and those that it validates on.

    Args:
        table: as `dataset.split` returns it.
        recipe: of a `TrainingConfig`.

    Returns:
        Two parts of the table; no lesion of the second is in the first. The holdout is in
        neither, or in the first where the recipe says so; what no network may learn is in neither.
        Where the recipe learns from some sources or archives, the first has images of these alone;
        the second is of all, so that such recipes can be compared.

    Raises:
        TrainingError: the table has no images of a source or archive that the recipe names.
    """
    training, validation = _divided(table, recipe)
    names = recipe.get("learn_from", ALL)
    if names == ALL:
        return training, validation
    return training[_is_of(training, names.split(","), "learn from")], validation


def _divided(table, recipe):
    if recipe.get("holdout") == "included":
        return table[table["fold"] != splits.APART], table.head(0)
    rest = table[table["fold"] >= 0]
    source = recipe.get("source")
    if not source:
        chosen = rest["fold"] == recipe["fold"]
        return rest[~chosen], rest[chosen]
    validation = rest[_is_of(rest, [source], "leave out")]
    return rest[~rest["group"].isin(validation["group"])], validation


def _is_of(table, names, purpose):
    """Return which images are of some sources or archives: bool (images,)."""
    origins = table[["archive", "dataset"]]
    known = sorted({*origins["archive"], *origins["dataset"].dropna()})
    unknown = [name for name in names if name not in known]
    if unknown:
        raise TrainingError(
            f"There is no source {', '.join(map(repr, unknown))} to {purpose}. The images come "
            f"from: {', '.join(known)}."
        )
    return origins.isin(names).any(axis=1)
