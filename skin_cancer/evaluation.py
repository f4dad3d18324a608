"""Measure a bundle on lesions that it was not trained on; also from the shell.

    python -m skin_cancer.evaluation --bundle models/NAME --data HAM10000_FOLDER

prints the measures. With `--save` it also writes them into the bundle and its card.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, roc_auc_score
from tqdm import tqdm

from skin_cancer import bundle, card, dataset
from skin_cancer.classifier import MAX_VIEWS, Classifier
from skin_cancer.diagnoses import BY_CODE
from skin_cancer.errors import DatasetError, SkinCancerError

RESAMPLES = 2000
LEVELS = (2.5, 97.5)


def predict_table(classifier: Classifier, table: pd.DataFrame, views: int = 1) -> np.ndarray:
    """Classify the images of a table under the balanced prior.

    Returns:
        float64 (images, diagnoses), each row a probability distribution.

    Raises:
        DatasetError: names an image that cannot be read.
    """
    predictions = classifier.predict_many(table["path"], views)
    rows = []
    for path, prediction in zip(table["path"], tqdm(predictions, total=len(table)), strict=True):
        if prediction.error:
            raise DatasetError(f"{path}: {prediction.error}")
        rows.append(list(prediction.probabilities.values()))
    return np.array(rows)


def measure(table: pd.DataFrame, probabilities: np.ndarray, codes, seed: int = 0) -> dict:
    """Compare probabilities with the true diagnoses.

    Intervals are percentile intervals of a bootstrap over lesions, drawn with replacement within
    each diagnosis (Efron & Tibshirani 1993, chapter 13): images of one lesion stay together.

    Args:
        table: one row an image, with `diagnosis` and `lesion_id`.
        probabilities: float (images, diagnoses) under the balanced prior.
        codes: ISIC codes of the columns.
        seed: of the bootstrap.

    Returns:
        A dictionary fit for JSON: counts, `measures` (balanced accuracy, areas under the ROC
        curve), `classes` (recall, precision) and the `confusion` matrix by code.

    Raises:
        DatasetError: a diagnosis has no image in the table.
    """
    codes = list(codes)
    absent = sorted(set(codes) - set(table["diagnosis"]))
    if absent:
        raise DatasetError(f"No image of {', '.join(absent)} to measure on.")
    truth = table["diagnosis"].map(codes.index).to_numpy()
    answers = probabilities.argmax(axis=1)
    weights = _resampled_weights(table, truth, np.random.default_rng(seed))

    recalls = _recalls(truth, answers, len(codes), np.ones((1, len(truth))))[0]
    drawn = _recalls(truth, answers, len(codes), weights)
    matrix = confusion_matrix(truth, answers, labels=range(len(codes)))
    return {
        "images": len(table),
        "lesions": int(table["lesion_id"].nunique()),
        "resamples": RESAMPLES,
        "measures": {
            "balanced accuracy": _interval(recalls.mean(), drawn.mean(axis=1)),
            **_areas(truth, probabilities, codes, weights),
        },
        "classes": {
            code: {
                "recall": _interval(recalls[i], drawn[:, i]),
                "precision": float(matrix[i, i] / max(1, matrix[:, i].sum())),
                "images": int((truth == i).sum()),
                "lesions": int(table.loc[truth == i, "lesion_id"].nunique()),
            }
            for i, code in enumerate(codes)
        },
        "confusion": {
            code: dict(zip(codes, row, strict=True))
            for code, row in zip(codes, matrix.tolist(), strict=True)
        },
    }


def _areas(truth, probabilities, codes, weights):
    """Areas under the ROC curve of malignancy and of melanoma, with intervals."""
    malignant = np.array([BY_CODE[code].malignant for code in codes])
    melanoma = codes.index("MEL")
    questions = {
        "ROC AUC, malignant or precursor against benign": (
            malignant[truth],
            probabilities[:, malignant].sum(axis=1),
        ),
        "ROC AUC, melanoma against all others": (truth == melanoma, probabilities[:, melanoma]),
    }
    return {
        name: _interval(
            roc_auc_score(positive, score),
            [roc_auc_score(positive, score, sample_weight=weight) for weight in weights],
        )
        for name, (positive, score) in questions.items()
    }


def _resampled_weights(table, truth, rng):
    """Return how often each image is drawn: (resamples, images)."""
    lesion, _ = pd.factorize(table["lesion_id"])
    diagnosis = np.zeros(lesion.max() + 1, int)
    diagnosis[lesion] = truth
    counts = np.zeros((RESAMPLES, len(diagnosis)))
    for code in np.unique(diagnosis):
        members = np.flatnonzero(diagnosis == code)
        chances = np.full(len(members), 1 / len(members))
        counts[:, members] = rng.multinomial(len(members), chances, RESAMPLES)
    return counts[:, lesion]


def _recalls(truth, answers, classes, weights):
    """Recall of each class under each row of image weights: (rows, classes)."""
    belongs = np.eye(classes)[truth]
    right = belongs * (truth == answers)[:, None]
    return (weights @ right) / (weights @ belongs)


def _interval(value, drawn):
    low, high = np.percentile(drawn, LEVELS)
    return {"value": float(value), "low": float(low), "high": float(high)}


def choose_part(table: pd.DataFrame, part: str, training: dict) -> pd.DataFrame:
    """Return the images of `holdout` or of the fold that a network was not trained on.

    Args:
        table: as `dataset.split` returns it.
        part: `holdout` or the number of a fold.
        training: as in the description of the network's bundle.

    Raises:
        DatasetError: no such part, the network was trained on it, or the labels are others than
            those it was trained with, so that its training images may be in the part.
    """
    fold = training["recipe"]["fold"]
    allowed = {"holdout": dataset.HOLDOUT} | ({} if fold is None else {str(fold): fold})
    if part not in allowed:
        raise DatasetError(
            f"part={part!r}: this model can only be measured on {' or '.join(allowed)}."
        )
    trained = table[~table["fold"].isin([dataset.HOLDOUT, fold])]
    if dataset.label_fingerprint(trained) != training["provenance"]["labels_sha256"]:
        raise DatasetError(
            "This folder's images, lesions or diagnoses are not those that the model was trained "
            "with, so the same split would not keep its training images out. Measure it on the "
            "data that it was trained with."
        )
    return table[table["fold"] == allowed[part]]


def evaluate(folder, data, part: str = "holdout", views: int = 1, graph: str | None = None) -> dict:
    """Measure a bundle on a part of HAM10000.

    Args:
        folder: the bundle's folder.
        data: the HAM10000 folder.
        part: `holdout`, or the number of the fold that the bundle was not trained on.
        views: 1 to 8 views an image.
        graph: `float` or `int8`; the bundle's default if None.

    Returns:
        As `measure`, with how it was measured.

    Raises:
        SkinCancerError: bundle or dataset cannot be used.
    """
    classifier = Classifier.load(folder, graph)
    description = classifier.description
    table = dataset.split(dataset.read_ham10000(data))
    chosen = choose_part(table, part, description.training)
    probabilities = predict_table(classifier, chosen, views)
    options = ("" if views == 1 else f" --views {views}") + (f" --graph {graph}" if graph else "")
    return {
        **measure(chosen, probabilities, description.diagnoses),
        "graph": graph or description.default_graph,
        "views": views,
        "command": "python -m skin_cancer.evaluation --bundle BUNDLE_FOLDER "
        f"--data HAM10000_FOLDER --part {part}{options}",
    }


def save(folder, title: str, measured: dict) -> None:
    """Write measures into a bundle and its card, under a title; those of that title are replaced.

    Raises:
        BundleError: the bundle is damaged or cannot be written.
    """
    description = bundle.read(folder)
    metrics = {**description.metrics, title: measured}
    bundle.write(folder, dataclasses.replace(description, metrics=metrics), folder)


def main():
    """Measure from the shell."""
    parser = argparse.ArgumentParser(
        prog="python -m skin_cancer.evaluation", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--bundle", default=bundle.DEFAULT_BUNDLE, type=Path)
    parser.add_argument("--data", type=Path, help="HAM10000 folder; without it ISIC_DATA_DIR")
    parser.add_argument("--part", default="holdout", help="holdout, or the validation fold")
    parser.add_argument("--views", default=1, type=int, choices=range(1, MAX_VIEWS + 1))
    parser.add_argument("--graph", choices=bundle.GRAPHS, help="default: the bundle's own")
    parser.add_argument("--save", action="store_true", help="write into the bundle and its card")
    given = parser.parse_args()
    try:
        data = given.data or dataset.data_folder()
        measured = evaluate(given.bundle, data, given.part, given.views, given.graph)
        title = f"HAM10000, {'holdout' if given.part == 'holdout' else f'fold {given.part}'}"
        title += "" if given.views == 1 else f", {given.views} views"
        title += f", {given.graph} graph" if given.graph else ""
        print(card.result(title, measured))
        if given.save:
            save(given.bundle, title, measured)
    except SkinCancerError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
