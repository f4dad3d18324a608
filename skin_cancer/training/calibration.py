r"""Fit what a bundle knows of its limits, on pictures not learnt; also from the shell.

    python -m skin_cancer.training.calibration --bundle BUNDLE --data FOLDER \
        --predictions PREDICTIONS

writes calibration, prediction sets, thresholds, the reference of what is familiar and the
confirmed cases into the bundle.
"""

import argparse
import dataclasses
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression
from tqdm.auto import tqdm

from skin_cancer import priors
from skin_cancer.data import checked, dataset
from skin_cancer.diagnoses import BY_CODE
from skin_cancer.errors import BundleError, SkinCancerError, TrainingError
from skin_cancer.images import lesion, squares
from skin_cancer.model import bundle, bundle_writer, copies, uncertainty
from skin_cancer.model.classifier import Classifier
from skin_cancer.training.config import divide, read_as_divided

COVERAGE = 0.90
SENSITIVITIES = (0.90, 0.95, 0.98)
COMPONENTS = 128
FAMILIAR_SHARE = 0.99
SKIN_IMAGES = 1000


def add(folder: Path | str, data: Path | str | list[Path], predictions: Path | str) -> None:
    """Fit what a bundle knows of its limits and write it into the bundle.

    Args:
        folder: the bundle's folder.
        data: folder of the dataset that its network was trained on.
        predictions: table as `dataset.read_probabilities` reads it, of images that the
            network, or others of the same recipe, had not learnt: of the validation fold, or of
            all folds together.

    Raises:
        BundleError: the bundle is damaged or cannot be written.
        DatasetError: the dataset, or an image of it, cannot be used.
        TrainingError: the predictions are no such table or of other images.
    """
    classifier = Classifier.load(folder)
    description = classifier.description
    table = read_as_divided(data, description.training)
    predicted, probabilities = _matched(predictions, table, description.diagnoses)
    fitted = fit(predicted, probabilities, description.priors)
    training, _ = divide(table, description.training["recipe"])
    reference, familiar = refer(classifier, training.reset_index(drop=True))
    described = dataclasses.replace(description, doubt={**fitted, "unfamiliarity": familiar})
    beside = Path(folder).resolve().parent  # where there is room for a bundle
    try:
        with tempfile.TemporaryDirectory(prefix=".fit-", dir=beside) as scratch:
            shutil.copytree(folder, scratch, dirs_exist_ok=True)
            save_reference(Path(scratch), reference)
            bundle_writer.write(folder, described, scratch)
    except OSError as error:
        raise BundleError(f"The bundle cannot be written to {folder}: {error}.") from error


def _matched(predictions, table, codes):
    """Return the images of a table that were predicted, and their probabilities."""
    try:
        found = dataset.read_probabilities(predictions)[list(codes)]
        return table.set_index("image_id", drop=False).loc[found.index], found.to_numpy()
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(
            f"{predictions} is no table of image_id and probabilities of this dataset: {error}"
        ) from error


def fit(
    table: pd.DataFrame, probabilities: np.ndarray, assumed: Mapping[str, priors.Prior]
) -> dict:
    """Fit calibration, prediction sets and thresholds of malignancy.

    Lesions count alike, however many images they have; for what holds under a prior, those of a
    diagnosis count together as that prior says.

    Args:
        table: images not learnt, with `diagnosis`, `alternative` and `lesion_id`.
        probabilities: float (images, diagnoses), under the balanced prior.
        assumed: the named priors of the bundle; their codes are in the order of the columns.

    Returns:
        Dictionary fit for JSON. `temperature`: of the log probabilities under the training prior,
        by which those under the clinic prior fit best. `sets`: `coverage`, and by code the least
        probability under the balanced prior, `thresholds`, of a member; images that may show
        either of two diagnoses say nothing here. `thresholds`: by the name of the prior that they
        hold for, rows of `sensitivity` and `threshold`, the least probability of malignant or
        precursor under that prior to be called suspicious. `images`: how many.
    """
    training, balanced, clinic = (
        assumed[name].shares for name in (priors.TRAINING, priors.BALANCED, priors.CLINIC)
    )
    logits = np.log(np.maximum(probabilities, 1e-12)) + priors.shift(balanced, training)
    right, weights = dataset.label_sets(table, tuple(training)), _weights(table, clinic)
    temperature = _temperature(logits, priors.shift(training, clinic), right, weights)
    found = priors.softmax(logits / temperature)
    return {
        "temperature": temperature,
        "sets": {
            "coverage": COVERAGE,
            "thresholds": _least_members(
                table, priors.reweighted(found, training, balanced), tuple(training)
            ),
        },
        "thresholds": {
            name: _thresholds(table, priors.reweighted(found, training, prior.shares), prior.shares)
            for name, prior in assumed.items()
        },
        "images": len(table),
    }


def _weights(table, shares):
    """Return what each image counts so that lesions of a diagnosis count together as its share."""
    of_lesion = 1 / table.groupby("lesion_id")["lesion_id"].transform("size")
    of_diagnosis = of_lesion.groupby(table["diagnosis"]).transform("sum")
    return (table["diagnosis"].map(shares).astype(float) * of_lesion / of_diagnosis).to_numpy()


def _temperature(logits, shift, right, weights):
    """Return the temperature of least cross-entropy after a shift to another prior."""

    def loss(log_temperature):
        chances = priors.softmax(logits / np.exp(log_temperature) + shift)
        return -weights @ np.log(np.maximum((right * chances).sum(axis=1), 1e-12))

    return float(np.exp(minimize_scalar(loss, bounds=(-2, 2), method="bounded").x))


def _least_members(table, balanced, codes):
    """Return by code the probability that it has at least in most of its lesions."""
    found = {}
    for column, code in enumerate(codes):
        rows = ((table["diagnosis"] == code) & table["alternative"].isna()).to_numpy()
        weights = _weights(table[rows], {code: 1.0})
        found[code] = _least(balanced[rows, column], weights, COVERAGE)
    return found


def _thresholds(table, probabilities, shares):
    malignant = np.array([BY_CODE[code].malignant for code in shares])
    rows = table["diagnosis"].map(lambda code: BY_CODE[code].malignant).to_numpy(bool)
    if not rows.any() or rows.all():
        return []  # nothing to tell apart
    score = probabilities[rows][:, malignant].sum(axis=1)
    weights = _weights(table[rows], shares)
    return [
        {"sensitivity": share, "threshold": _least(score, weights, share)}
        for share in SENSITIVITIES
    ]


def _least(values, weights, share):
    """Return the value that a new one is below of with a chance of at most 1 - share.

    The new one counts as those that are there do on average (Tibshirani et al. 2019, "Conformal
    Prediction Under Covariate Shift", section 2, with weights of their own).
    """
    if not len(values):
        return 0.0
    order = np.argsort(values)
    below = np.cumsum(weights[order]) / (weights.sum() + weights.mean())
    place = int((below <= 1 - share + 1e-9).sum())
    return float(values[order][place - 1]) if place else 0.0


def refer(classifier: Classifier, table: pd.DataFrame) -> tuple[dict, dict]:
    """Describe what is familiar to a network, and keep the confirmed cases that it learnt from.

    Args:
        classifier: of the network's bundle.
        table: its training images.

    Returns:
        Arrays for the bundle's reference file, and a dictionary fit for JSON with which
        `doubt.Doubt` turns distances into `unfamiliarity`: one in a hundred of the training images
        is above 0.5.

    Raises:
        DatasetError: an image cannot be read.
        TrainingError: no bare skin is found beside the lesions.
    """
    size = classifier.description.input_size
    cut = (squares.centre_square(image, size) for image in dataset.read_images(table))
    described = [
        (
            classifier.features(square),
            squares.appearance(square),
            copies.packed(copies.patterns(square)[0]),
        )
        for square in tqdm(cut, total=len(table), desc="familiar", unit="image")
    ]
    features, looks, patterns = (np.array(part) for part in zip(*described, strict=True))
    mean, basis = _subspace(uncertainty.root(features))
    within = (uncertainty.root(features) - mean) @ basis.astype(np.float32)
    spread = LedoitWolf().fit(looks)
    reference = {
        "mean": mean,
        "basis": basis,
        "appearance_mean": spread.location_.astype(np.float32),
        "appearance_precision": spread.precision_.astype(np.float32),
        **_skin(classifier, table, mean, basis, within),
        "patterns": patterns,
        "cases": uncertainty.reduce(uncertainty.root(features) - mean, basis),
        "image_id": checked.archive_ids(table).to_numpy(str),
        **{name: table[name].to_numpy(str) for name in ("lesion_id", "diagnosis")},
    }
    reference = uncertainty.compact(reference)
    known = uncertainty.Doubt({}, reference)
    rows = [known.distances(f, a) for f, a in zip(features, looks, strict=True)]
    return reference, _scale(pd.DataFrame(rows))


def save_reference(folder: Path, reference: dict) -> None:
    """Write what `refer` returns to a folder; what is seldom read is apart, to be mapped."""
    kept = dict(reference)
    np.save(folder / bundle.PATTERNS, kept.pop("patterns"))
    np.savez_compressed(folder / bundle.REFERENCE, **kept)


def _subspace(features):
    """Return mean and main directions: float32 (channels,), float16 (channels, components)."""
    mean = features.mean(axis=0)
    _, directions = np.linalg.eigh(np.cov((features - mean).T))
    components = min(COMPONENTS, len(features) // 4)
    return mean.astype(np.float32), directions[:, ::-1][:, :components].astype(np.float16)


def _skin(classifier, table, mean, basis, within):
    """Tell lesions from the bare skin beside them, by logistic regression."""
    size = classifier.description.input_size
    sample = table.sample(min(SKIN_IMAGES, len(table)), random_state=0)
    patches = [patch for image in dataset.read_images(sample) for patch in lesion.bare_skin(image)]
    if not patches:
        raise TrainingError("No bare skin was found beside the lesions of the training images.")
    features = np.array(
        [
            classifier.features(squares.centre_square(patch, size))
            for patch in tqdm(patches, desc="bare skin", unit="image")
        ]
    )
    skin = (uncertainty.root(features) - mean) @ basis.astype(np.float32)
    spread = within.std(axis=0) + 1e-6
    model = LogisticRegression(C=0.01, class_weight="balanced", max_iter=2000)
    model.fit(np.vstack([within, skin]) / spread, [0] * len(within) + [1] * len(skin))
    return {
        "skin_weights": (model.coef_[0] / spread).astype(np.float32),
        "skin_bias": model.intercept_[0].astype(np.float32),
    }


def _scale(distances):
    low, centre, high = (distances.quantile(q) for q in (0.16, 0.5, 0.84))
    spread = (high - low) / 2 + 1e-6
    score = uncertainty.combined((distances - centre) / spread)
    threshold = float(np.quantile(score, FAMILIAR_SHARE))
    return {
        "scale": pd.DataFrame({"centre": centre, "spread": spread}).to_dict("index"),
        "threshold": threshold,
        "step": (threshold - float(np.median(score))) / np.log(49),  # the middle image has 0.02
    }


def main() -> None:
    """Fit from the shell."""
    parser = argparse.ArgumentParser(
        prog="python -m skin_cancer.training.calibration",
        description="Fit what a bundle knows of its own limits.",
    )
    parser.add_argument("--bundle", required=True, type=Path)
    parser.add_argument("--data", default="", help="dataset folder; without it ISIC_DATA_DIR")
    parser.add_argument("--predictions", required=True, help="of images that were not learnt")
    given = parser.parse_args()
    try:
        add(given.bundle, dataset.data_folder(given.data), given.predictions)
    except SkinCancerError as error:
        raise SystemExit(str(error)) from error
    print(f"Written: {given.bundle}")


if __name__ == "__main__":
    main()
