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
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression
from tqdm.auto import tqdm

from skin_cancer import priors
from skin_cancer.data import dataset
from skin_cancer.diagnoses import BY_CODE
from skin_cancer.errors import SkinCancerError, TrainingError
from skin_cancer.images import lesion, squares
from skin_cancer.model import bundle, bundle_writer, uncertainty
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
    found, truth = _matched(predictions, table, description.diagnoses)
    fitted = fit(found, truth, description.priors)
    training, _ = divide(table, description.training["recipe"])
    reference, familiar = refer(classifier, training.reset_index(drop=True))
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copytree(folder, scratch, dirs_exist_ok=True)
        np.savez_compressed(Path(scratch) / bundle.REFERENCE, **reference)
        described = dataclasses.replace(description, doubt={**fitted, "unfamiliarity": familiar})
        bundle_writer.write(folder, described, scratch)


def _matched(predictions, table, codes):
    """Return probabilities and columns of the true diagnoses of the images in a table."""
    try:
        found = dataset.read_probabilities(predictions)[list(codes)]
        rows = table.set_index("image_id").loc[found.index]
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(
            f"{predictions} is no table of image_id and probabilities of this dataset: {error}"
        ) from error
    return found.to_numpy(), rows["diagnosis"].map(list(codes).index).to_numpy(int)


def fit(probabilities: np.ndarray, truth: np.ndarray, assumed: dict[str, priors.Prior]) -> dict:
    """Fit calibration, prediction sets and thresholds of malignancy.

    Args:
        probabilities: float (images, diagnoses), of images not learnt, under the balanced prior.
        truth: int (images,), columns of the true diagnoses.
        assumed: the named priors of the bundle; their codes are in the order of the columns.

    Returns:
        Dictionary fit for JSON. `temperature`: of the log probabilities under the training prior.
        `sets`: `coverage`, and by code the least probability under the balanced prior,
        `thresholds`, of a member. `thresholds`: by the name of the prior that they hold for, rows
        of `sensitivity` and `threshold`, the least probability of malignant or precursor under
        that prior to be called suspicious. `images`: how many.
    """
    training, balanced, clinic = (
        assumed[name].shares for name in (priors.TRAINING, priors.BALANCED, priors.CLINIC)
    )
    codes = tuple(training)
    logits = np.log(np.maximum(probabilities, 1e-12)) + priors.shift(balanced, training)
    temperature = _temperature(logits, truth)
    found = priors.softmax(logits / temperature)
    own = priors.reweighted(found, training, balanced)[np.arange(len(truth)), truth]
    malignant = np.array([BY_CODE[code].malignant for code in codes])
    suspicion = priors.reweighted(found, training, clinic)[:, malignant].sum(axis=1)
    score = suspicion[malignant[truth]]
    return {
        "temperature": temperature,
        "sets": {
            "coverage": COVERAGE,
            "thresholds": {code: _least(own[truth == i], COVERAGE) for i, code in enumerate(codes)},
        },
        "thresholds": {
            priors.CLINIC: [
                {"sensitivity": share, "threshold": _least(score, share)} for share in SENSITIVITIES
            ]
        },
        "images": len(truth),
    }


def _temperature(logits, truth):
    """Return the temperature of least cross-entropy."""

    def loss(log_temperature):
        chances = priors.softmax(logits / np.exp(log_temperature))
        return -np.log(np.maximum(chances[np.arange(len(truth)), truth], 1e-12)).mean()

    return float(np.exp(minimize_scalar(loss, bounds=(-2, 2), method="bounded").x))


def _least(values, share):
    """Return the value that a new one is below of with a chance of at most 1 - share."""
    place = int((1 - share) * (len(values) + 1) + 1e-9)
    return float(np.sort(values)[place - 1]) if place else 0.0


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
        (classifier.features(square), squares.appearance(square))
        for square in tqdm(cut, total=len(table), desc="familiar", unit="image")
    ]
    features, looks = (np.array(part) for part in zip(*described, strict=True))
    mean, basis = _subspace(uncertainty.root(features))
    within = (uncertainty.root(features) - mean) @ basis.astype(np.float32)
    spread = LedoitWolf().fit(looks)
    reference = {
        "mean": mean,
        "basis": basis,
        "appearance_mean": spread.location_.astype(np.float32),
        "appearance_precision": spread.precision_.astype(np.float32),
        **_skin(classifier, table, mean, basis, within),
        "cases": uncertainty.reduce(uncertainty.root(features) - mean, basis).astype(np.float16),
        **{name: table[name].to_numpy(str) for name in ("image_id", "lesion_id", "diagnosis")},
    }
    known = uncertainty.Doubt({}, reference)
    rows = [known.distances(f, a) for f, a in zip(features, looks, strict=True)]
    return reference, _scale(pd.DataFrame(rows))


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
