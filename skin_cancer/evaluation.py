"""Measure a bundle on lesions that it was not trained on; also from the shell.

    python -m skin_cancer.evaluation --bundle models/NAME --data DATASET_FOLDER

prints the measures. With `--save` it also writes them into the bundle and its card.
"""

import argparse
import dataclasses
import re
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, roc_auc_score
from tqdm.auto import tqdm

from skin_cancer import bundle, card, dataset
from skin_cancer.classifier import MAX_VIEWS, Classifier
from skin_cancer.config import divide
from skin_cancer.diagnoses import BY_CODE
from skin_cancer.errors import BundleError, DatasetError, SkinCancerError

RESAMPLES = 2000
LEVELS = (2.5, 97.5)
GROUP_LESIONS = 20
TEST = "test"
DATA_HELP = "dataset folder, or sample; without it ISIC_DATA_DIR"
PART_HELP = "holdout, the validation fold, or test for the official test set of ISIC 2018"


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
    truth = truth_of(table, codes)
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


def truth_of(table: pd.DataFrame, codes) -> np.ndarray:
    """Return the column of each image's true diagnosis among `codes`: int (images,).

    Raises:
        DatasetError: the table holds a diagnosis that is not among them.
    """
    columns = {code: i for i, code in enumerate(codes)}
    unknown = sorted(set(table["diagnosis"]) - set(columns))
    if unknown:
        raise DatasetError(f"The model does not know {', '.join(unknown)}, which is in the data.")
    return table["diagnosis"].map(columns).to_numpy()


def malignant_of(table: pd.DataFrame) -> np.ndarray:
    """Return whether each image shows a malignant lesion or a precursor: bool (images,)."""
    return table["diagnosis"].map(lambda code: BY_CODE[code].malignant).to_numpy(bool)


def malignancy(probabilities: np.ndarray, codes) -> np.ndarray:
    """Return the probability that a lesion is malignant or a precursor: float (images,)."""
    return probabilities[:, [BY_CODE[code].malignant for code in codes]].sum(axis=1)


def _areas(truth, probabilities, codes, weights):
    """Areas under the ROC curve of malignancy and of melanoma, with intervals."""
    malignant = np.array([BY_CODE[code].malignant for code in codes])
    melanoma = codes.index("MEL")
    questions = {
        "ROC AUC, malignant or precursor against benign": (
            malignant[truth],
            malignancy(probabilities, codes),
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


def reweighted(probabilities: np.ndarray, prior: dict[str, float]) -> np.ndarray:
    """Return probabilities of the balanced prior under another one.

    Args:
        probabilities: float (images, diagnoses), each row a distribution.
        prior: ISIC code to share, in the order of the columns.
    """
    weighted = probabilities * np.array(list(prior.values()))
    return weighted / weighted.sum(axis=1, keepdims=True)


def reliability(truth: np.ndarray, probabilities: np.ndarray, bins: int = 15) -> pd.DataFrame:
    """Compare how sure the answers are with how often they are right.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2.

    Args:
        truth: int (images,), columns of the true diagnoses.
        probabilities: float (images, diagnoses), under the prior of the images.
        bins: number of equal parts of 0 to 1.

    Returns:
        One row a bin that holds images: mean `confidence`, `accuracy`, number of `images`.
    """
    confidence = probabilities.max(axis=1)
    answers = pd.DataFrame(
        {"confidence": confidence, "accuracy": probabilities.argmax(axis=1) == truth}
    )
    part = np.minimum((confidence * bins).astype(int), bins - 1)
    table = answers.groupby(part).mean()
    return table.assign(images=answers.groupby(part).size()).rename_axis("bin")


def calibration_error(bins: pd.DataFrame) -> float:
    """Return the expected calibration error of `reliability`, 0 to 1 (Guo et al. 2017)."""
    gaps = (bins["confidence"] - bins["accuracy"]).abs()
    return float(np.average(gaps, weights=bins["images"]))


def operating_points(
    table: pd.DataFrame,
    probabilities: np.ndarray,
    codes,
    sensitivities=(0.90, 0.95, 0.98),
    seed: int = 0,
) -> pd.DataFrame:
    """Find the thresholds of malignancy that reach given sensitivities on these very images.

    Intervals as in `measure`, with the threshold found anew in each resample.

    Args:
        table: one row an image, with `diagnosis` and `lesion_id`.
        probabilities: float (images, diagnoses).
        codes: ISIC codes of the columns.
        sensitivities: shares of the malignant images to be found, 0 to 1.
        seed: of the bootstrap.

    Returns:
        One row a sensitivity: `threshold`, `specificity`, its interval `low` to `high`.
    """
    malignant, score = malignant_of(table), malignancy(probabilities, codes)
    weights = _resampled_weights(table, truth_of(table, codes), np.random.default_rng(seed))
    order = np.argsort(-score)
    score, found = score[order], malignant[order]
    last = np.searchsorted(-score, -score, side="right") - 1  # of those with an equal score
    rows = []
    for wanted in sensitivities:
        once, drawn = (
            _specificity(found, w, wanted, last)
            for w in (np.ones((1, len(score))), weights[:, order])
        )
        position, specificity = once[0][0], _interval(once[1][0], drawn[1])
        rows.append({"sensitivity": wanted, "threshold": float(score[position]), **specificity})
    return pd.DataFrame(rows).rename(columns={"value": "specificity"}).set_index("sensitivity")


def _specificity(malignant, weights, sensitivity, last):
    """Walk down from the highest score until enough is found: position, share left benign."""
    hit = np.cumsum(weights * malignant, axis=1)
    false_alarm = np.cumsum(weights * ~malignant, axis=1)
    position = last[(hit < sensitivity * hit[:, -1:] - 1e-9).sum(axis=1)]
    rows = np.arange(len(weights))
    return position, 1 - false_alarm[rows, position] / false_alarm[:, -1]


def by_group(
    table: pd.DataFrame, probabilities: np.ndarray, codes, groups: pd.Series, seed: int = 0
) -> pd.DataFrame:
    """Measure each group of images by itself; intervals as in `measure`.

    Args:
        table: one row an image, with `diagnosis` and `lesion_id`.
        probabilities: float (images, diagnoses) under the balanced prior.
        codes: ISIC codes of the columns.
        groups: the group of each image, in the order of the table; missing ones are left out.
        seed: of the bootstrap.

    Returns:
        One row a group of `GROUP_LESIONS` lesions or more: `images`, `lesions`, `diagnoses` (how
        many occur), `mean recall` of those, its interval `low` to `high`, and the `ROC AUC` of
        malignant or precursor against benign, missing where only one of them occurs.
    """
    truth, answers = truth_of(table, codes), probabilities.argmax(axis=1)
    malignant, score = malignant_of(table), malignancy(probabilities, codes)
    rows = {}
    for group in groups.dropna().unique():
        mask = (groups == group).fillna(False).to_numpy(bool)
        part = table[mask]
        if part["lesion_id"].nunique() < GROUP_LESIONS:
            continue
        occurring, local = np.unique(truth[mask], return_inverse=True)
        right = np.where(answers[mask] == truth[mask], local, -1)
        weights = _resampled_weights(part, truth[mask], np.random.default_rng(seed))
        drawn = _recalls(local, right, len(occurring), weights).mean(axis=1)
        value = _recalls(local, right, len(occurring), np.ones((1, len(part)))).mean()
        both = len(np.unique(malignant[mask])) == 2
        rows[group] = {
            "images": len(part),
            "lesions": part["lesion_id"].nunique(),
            "diagnoses": len(occurring),
            **_interval(value, drawn),
            "ROC AUC": roc_auc_score(malignant[mask], score[mask]) if both else np.nan,
        }
    columns = ["images", "lesions", "diagnoses", "value", "low", "high", "ROC AUC"]
    found = pd.DataFrame(rows.values(), index=list(rows), columns=columns).rename_axis(groups.name)
    return found.rename(columns={"value": "mean recall"}).sort_index()


def worst_mistakes(
    table: pd.DataFrame, probabilities: np.ndarray, codes, count: int = 12
) -> pd.DataFrame:
    """Return the wrong answers that gave the true diagnosis the least, missed malignant first.

    Returns:
        Rows of the table with `answer` (ISIC code), `probability` (of the answer) and
        `probability of the truth`.
    """
    truth, answers = truth_of(table, codes), probabilities.argmax(axis=1)
    rows = np.arange(len(table))
    answer = np.array(codes)[answers]
    missed = malignant_of(table) & ~np.array([BY_CODE[code].malignant for code in answer])
    wrong = table.assign(
        answer=answer,
        probability=probabilities[rows, answers],
        missed=missed,
        **{"probability of the truth": probabilities[rows, truth]},
    )[answers != truth]
    ranked = wrong.sort_values(["missed", "probability of the truth"], ascending=[False, True])
    return ranked.drop(columns="missed").head(count)


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


def read_part(data, part: str, training: dict) -> pd.DataFrame:
    """Return the images of a dataset that a network may be measured on.

    Args:
        data: the dataset's folder.
        part: `test` for the official test set of ISIC 2018 Task 3, `holdout`, or the number of
            the fold that the network was not trained on.
        training: as in the description of the network's bundle.

    Raises:
        DatasetError: the folder cannot be read, there is no such part, or the network was
            trained on it.
    """
    if part == TEST:
        return dataset.read_test(data)
    return choose_part(dataset.split(dataset.read(data)), part, training)


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
    trained, validation = divide(table, training["recipe"])
    parts = (
        {"holdout": table[table["fold"] == dataset.HOLDOUT]} if len(trained) < len(table) else {}
    )
    if len(validation):
        parts[training["recipe"].get("source") or str(training["recipe"]["fold"])] = validation
    if part not in parts:
        raise DatasetError(
            f"part={part!r}: this model can only be measured on {' or '.join([TEST, *parts])}."
        )
    if dataset.label_fingerprint(trained) != training["provenance"]["labels_sha256"]:
        raise DatasetError(
            "This folder's images, lesions or diagnoses are not those that the model was trained "
            "with, so the same split would not keep its training images out. Measure it on the "
            "data that it was trained with."
        )
    return parts[part]


def evaluate(folder, data, part: str = "holdout", views: int = 1, graph: str | None = None) -> dict:
    """Measure a bundle on images that it was not trained on.

    Args:
        folder: the bundle's folder.
        data: the dataset's folder.
        part: as in `read_part`.
        views: 1 to 8 views an image.
        graph: `float` or `int8`; the bundle's default if None.

    Returns:
        As `measure`, with how it was measured.

    Raises:
        SkinCancerError: bundle or dataset cannot be used.
    """
    classifier = Classifier.load(folder, graph)
    description = classifier.description
    table = read_part(data, part, description.training)
    probabilities = predict_table(classifier, table, views)
    measured = measure(table, probabilities, description.diagnoses)
    return {**measured, **how_measured(table, part, views, graph or description.default_graph)}


def how_measured(table: pd.DataFrame, part: str, views: int, graph: str) -> dict:
    """Return title and command of a measurement, for `measure`'s result and the model card."""
    title = f"{dataset.title(table)}, {f'fold {part}' if part.isdigit() else part}"
    title += "" if views == 1 else f", {views} views"
    title += "" if graph == "float" else f", {graph} graph"
    command = f"python -m skin_cancer.evaluation --bundle BUNDLE --data DATA --part {part}"
    command += "" if views == 1 else f" --views {views}"
    command += "" if graph == "float" else f" --graph {graph}"
    return {"title": title, "command": command, "views": views, "graph": graph}


def save(folder, measured: dict) -> None:
    """Write measures into a bundle and its card; those of the same title are replaced.

    Args:
        folder: the bundle's folder.
        measured: as `evaluate` returns it.

    Raises:
        BundleError: the bundle is damaged or cannot be written.
    """
    description = bundle.read(folder)
    kept = description.metrics.get(measured["title"], {})
    more = {name: kept.get(name, {}) for name in ("tables", "figures")}
    _write_metrics(folder, description, measured["title"], measured | more)


def illustrate(
    folder,
    title: str,
    command: str,
    tables: dict[str, pd.DataFrame],
    figures: dict[str, bytes],
) -> None:
    """Add tables and figures to the measures of a title in a bundle and its card.

    Args:
        folder: the bundle's folder.
        title: of the measures, as `how_measured` gives it.
        command: what made them.
        tables: caption to table; those of the same caption are replaced.
        figures: caption to PNG file, likewise; none may show an image of a dataset.

    Raises:
        BundleError: the bundle is damaged, cannot be written, or has no measures of that title.
    """
    description = bundle.read(folder)
    if title not in description.metrics:
        raise BundleError(
            f"{folder} has no measures of {title}. Save them first: -p save True in notebook 4."
        )
    kept = description.metrics[title]
    files = {_file_name(title, caption): caption for caption in figures}
    measured = {
        **kept,
        "tables": kept.get("tables", {})
        | {caption: _plain(table, command) for caption, table in tables.items()},
        "figures": kept.get("figures", {})
        | {name: {"caption": caption, "command": command} for name, caption in files.items()},
    }
    drawn = {name: figures[caption] for name, caption in files.items()}
    _write_metrics(folder, description, title, measured, drawn)


def _write_metrics(folder, description, title, measured, figures=None):
    metrics = {**description.metrics, title: measured}
    bundle.write(folder, dataclasses.replace(description, metrics=metrics), folder, figures)


def _plain(table, command):
    """Return a table as text, fit for JSON and the card."""
    table = table.reset_index().map(_cell)
    return {"columns": list(table), "rows": table.to_numpy().tolist(), "command": command}


def _cell(value):
    if isinstance(value, float):
        return "-" if np.isnan(value) else f"{value:.2f}"
    return str(value)


def _file_name(title, caption):
    return re.sub(r"\W+", "_", f"{title} {caption}").lower() + ".png"


def main():
    """Measure from the shell."""
    parser = argparse.ArgumentParser(
        prog="python -m skin_cancer.evaluation", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--bundle", default=bundle.DEFAULT_BUNDLE, type=Path)
    parser.add_argument("--data", default="", help=DATA_HELP)
    parser.add_argument("--part", default="holdout", help=PART_HELP)
    parser.add_argument("--views", default=1, type=int, choices=range(1, MAX_VIEWS + 1))
    parser.add_argument("--graph", choices=bundle.GRAPHS, help="default: the bundle's own")
    parser.add_argument("--save", action="store_true", help="write into the bundle and its card")
    given = parser.parse_args()
    try:
        data = dataset.data_folder(given.data)
        measured = evaluate(given.bundle, data, given.part, given.views, given.graph)
        print(card.result(measured["title"], measured))
        if given.save:
            save(given.bundle, measured)
    except SkinCancerError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
