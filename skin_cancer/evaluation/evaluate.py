"""Measure a bundle on lesions that it was not trained on; also from the shell.

    python -m skin_cancer.evaluation --bundle models/NAME --data DATASET_FOLDER

prints the measures. With `--save` it also writes them into the bundle and its card.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from tqdm.auto import tqdm

from skin_cancer import priors
from skin_cancer.data import dataset, levelling, splits
from skin_cancer.errors import BundleError, DatasetError, SkinCancerError
from skin_cancer.evaluation import labels, metrics, out_of_distribution, record
from skin_cancer.evaluation.distortions import DISTORTIONS
from skin_cancer.images import artefacts, lesion
from skin_cancer.model import bundle, card
from skin_cancer.model.classifier import MAX_VIEWS, Classifier, Prediction
from skin_cancer.model.uncertainty import UNFAMILIAR
from skin_cancer.training.config import divide, read_as_divided

TEST = "test"
NEIGHBOURS = 20
STRANGERS = 200
AGES, AGE_BANDS = (-1, 30, 50, 70, 200), ("0-30", "31-50", "51-70", "71-")
Data = str | Path | list[Path]
Distortion = Callable[[np.ndarray], np.ndarray]
DATA_HELP = "dataset folder, several with commas between, or sample; without it ISIC_DATA_DIR"
PART_HELP = "holdout, the validation fold, or test for the official test set of ISIC 2018"


def predict(
    classifier: Classifier,
    table: pd.DataFrame,
    views: int = 1,
    distortion: Distortion | None = None,
) -> list[Prediction]:
    """Classify the images of a table under the balanced prior.

    Args:
        classifier: of a loaded bundle.
        table: with the columns `path` and `level`.
        views: 1 to 8 views an image.
        distortion: what is done to each picture first: uint8 RGB (height, width, 3) to the same.

    Raises:
        DatasetError: names an image that cannot be read.
    """
    pictures = tqdm(dataset.read_images(table), total=len(table))
    return [
        classifier.predict(distortion(picture) if distortion else picture, views, priors.BALANCED)
        for picture in pictures
    ]


def as_array(predictions: list[Prediction]) -> np.ndarray:
    """Return the probabilities of predictions: float64 (images, diagnoses)."""
    return np.array([list(prediction.probabilities.values()) for prediction in predictions])


def predict_table(
    classifier: Classifier,
    table: pd.DataFrame,
    views: int = 1,
    distortion: Distortion | None = None,
) -> np.ndarray:
    """Return the probabilities that `predict` gives: float64 (images, diagnoses)."""
    return as_array(predict(classifier, table, views, distortion))


def doubt_of(description: bundle.Description) -> dict:
    """Return what a bundle knows of its own limits, as `calibration.fit` returns it.

    Raises:
        BundleError: that was not fitted; says how to.
    """
    if not description.doubt:
        raise BundleError(
            f"{description.name} knows nothing of its limits yet. Add it: python -m "
            "skin_cancer.training.calibration --bundle BUNDLE --data FOLDER "
            "--predictions PREDICTIONS."
        )
    return description.doubt


def unfamiliar(
    classifier: Classifier, table: pd.DataFrame, predictions: list[Prediction]
) -> pd.DataFrame:
    """Measure how well pictures that show no lesion are told from those of a table.

    Args:
        classifier: of a bundle that knows what is familiar.
        table: one row an image.
        predictions: of these images.

    Returns:
        As `metrics.recognition`, of 200 pictures a kind of `out_of_distribution.pictures`.

    Raises:
        DatasetError: names an image that cannot be read.
    """
    strange = {
        kind: np.array([classifier.predict(picture).unfamiliarity for picture in pictures])
        for kind, pictures in tqdm(out_of_distribution.pictures(table, STRANGERS).items())
    }
    known = np.array([prediction.unfamiliarity for prediction in predictions])
    return metrics.recognition(known, strange, UNFAMILIAR)


def by_similar_cases(predictions: list[Prediction], prior: dict[str, float]) -> np.ndarray:
    """Classify by the 20 most similar confirmed lesions alone, under the balanced prior.

    Args:
        predictions: of a bundle with confirmed cases.
        prior: ISIC code to share among those cases, in the order of the columns.

    Returns:
        float64 (images, diagnoses): each case counts for its diagnosis, the rarer the more.
    """
    rows = []
    for prediction in predictions:
        cases = [case.diagnosis for case in prediction.similar(NEIGHBOURS)]
        rows.append([cases.count(code) / NEIGHBOURS for code in prior])
    return priors.reweighted(np.array(rows), prior, priors.balanced(prior))


def groupings(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Group images by patient, by source, by skin and by what else the picture shows.

    Args:
        table: one row an image, with the columns of `dataset.read`.

    Returns:
        What is grouped by, to the group of each image; missing where it is not known. Skin tone
        and artefacts are estimated from the pictures; groupings of which nothing is known are left
        out.

    Raises:
        DatasetError: names an image that cannot be read.
    """
    ages = pd.cut(table["age"], AGES, labels=AGE_BANDS).astype("string")
    found = {
        "sex": table["sex"],
        "age": ages,
        "site": table["localization"],
        "dx_type": table["dx_type"],
        "source": table["dataset"],
    }
    pictures = list(dataset.read_images(table))
    tones = [
        lesion.tone_name(lesion.skin_tone(picture, lesion.find_lesion(picture)))
        for picture in pictures
    ]
    found["skin tone"] = pd.Series(tones, table.index, dtype="string")
    signs = pd.DataFrame([artefacts.artefacts(picture) for picture in pictures], table.index)
    for name, has in signs.items():
        found[name] = has.map({True: "with", False: "without"}).astype("string")
    return {name: values.rename(name) for name, values in found.items() if values.notna().any()}


def at_thresholds(
    description: bundle.Description, table: pd.DataFrame, probabilities: np.ndarray
) -> dict[str, pd.DataFrame]:
    """Measure the thresholds of malignancy of a bundle, each under the prior that it holds for.

    Args:
        description: of a bundle that knows its limits.
        table: one row an image.
        probabilities: of these images under the balanced prior.

    Returns:
        Name of the prior to what `metrics.at_thresholds` returns, for those with thresholds.
    """
    codes, found = description.diagnoses, {}
    for name, thresholds in doubt_of(description)["thresholds"].items():
        wanted = description.named_prior(name).shares
        expected = priors.reweighted(probabilities, priors.balanced(codes), wanted)
        found[name] = metrics.at_thresholds(table, labels.malignancy(expected, codes), thresholds)
    return found


def robustness(
    classifier: Classifier, table: pd.DataFrame, probabilities: np.ndarray
) -> pd.DataFrame:
    """Measure on pictures distorted as those of other cameras and other hands may be.

    Args:
        classifier: of a loaded bundle.
        table: one row an image, with `path`, `level`, `diagnosis` and `lesion_id`.
        probabilities: of the images as they are, under the balanced prior.

    Returns:
        One row a distortion of `DISTORTIONS`: `mean recall` of the diagnoses that
        occur, its `change` with the paired interval `low` to `high`, and the `agreement`, the share
        of images whose answer stays.

    Raises:
        DatasetError: names an image that cannot be read.
    """
    codes, rows = classifier.description.diagnoses, {}
    for name, distort in DISTORTIONS.items():
        distorted = predict_table(classifier, table, distortion=distort)
        change = metrics.difference(table, distorted, probabilities, codes)
        recall = metrics.mean_recall(table, distorted, codes)
        rows[name] = {"mean recall": recall["value"], "change": change.pop("value"), **change}
    return pd.DataFrame(rows).T.rename_axis("distortion")


def read_part(data: Data, part: str, training: dict) -> pd.DataFrame:
    """Return the images of a dataset that a network may be measured on.

    Args:
        data: the dataset's folder, or those of several that are one.
        part: `test` for the official test set of ISIC 2018 Task 3, `holdout`, or the number of
            the fold that the network was not trained on.
        training: as in the description of the network's bundle.

    Raises:
        DatasetError: the folder cannot be read, there is no such part, or the network was
            trained on it.
    """
    table = read_all(data, part, training)
    return table if part == TEST else choose_part(table, part, training)


def read_all(data: Data, part: str, training: dict) -> pd.DataFrame:
    """Return all images of which a part is measured: the official test set, or all with folds.

    Raises:
        DatasetError: the folder cannot be read.
    """
    if part != TEST:
        return read_as_divided(data, training)
    if isinstance(data, list):
        raise DatasetError("The official test set lies in one folder. Name that folder alone.")
    return dataset.read_test(data)


def of_archive(table: pd.DataFrame, archive: str) -> pd.DataFrame:
    """Return the images of one archive, or all if none is named.

    Raises:
        DatasetError: the table has no image of it; names those it has.
    """
    if not archive:
        return table
    chosen = table[table["archive"] == archive]
    if chosen.empty:
        raise DatasetError(f"archive={archive!r}: the images are of {dataset.title(table)}.")
    return chosen


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
    apart = training["recipe"].get("holdout") != "included"
    parts = {"holdout": table[table["fold"] == splits.HOLDOUT]} if apart else {}
    if len(validation):
        parts[training["recipe"].get("source") or str(training["recipe"]["fold"])] = validation
    if part not in parts:
        known = "" if parts else " It has seen all others; its card says which network did not."
        raise DatasetError(
            f"part={part!r}: this model can only be measured on {' or '.join([TEST, *parts])}."
            f"{known}"
        )
    if dataset.label_fingerprint(trained) != training["provenance"]["labels_sha256"]:
        raise DatasetError(
            "This folder's images, lesions or diagnoses are not those that the model was trained "
            "with, so the same split would not keep its training images out. Measure it on the "
            "data that it was trained with."
        )
    return parts[part]


def evaluate(
    folder: str | Path,
    data: Data,
    part: str = "holdout",
    views: int = 1,
    graph: str | None = None,
) -> list[dict]:
    """Measure a bundle on images that it was not trained on, each archive by itself.

    Args:
        folder: the bundle's folder.
        data: the dataset's folder, or those of several that are one.
        part: as in `read_part`.
        views: 1 to 8 views an image.
        graph: `float` or `int8`; the bundle's default if None.

    Returns:
        Of each archive what `metrics.measure` returns, with how it was measured; for the int8
        graph also `against float`, the paired difference to the float graph as
        `metrics.difference` gives it.

    Raises:
        SkinCancerError: bundle or dataset cannot be used.
    """
    classifier = Classifier.load(folder, graph)
    description = classifier.description
    plain = None
    if (graph or description.default_graph) != "float":
        plain = Classifier.load(folder, "float")
    measured = []
    for _, table in read_part(data, part, description.training).groupby("archive"):
        how = how_measured(description, table, part, views, graph)
        measured.append(_measured(classifier, plain, table, views) | how)
    return measured


def _measured(classifier, plain, table, views):
    description, probabilities = classifier.description, predict_table(classifier, table, views)
    codes = description.diagnoses
    found = metrics.measure(table, probabilities, codes, description.prior)
    if plain:
        others = predict_table(plain, table, views)
        found["against float"] = metrics.difference(table, probabilities, others, codes)
    return found


def control(classifier: Classifier, table: pd.DataFrame) -> pd.DataFrame:
    """Ask whether the network reads the size in which images of BCN_20000 came (`levelling`).

    No network learns the few whose size speaks against their diagnosis. If size says nothing to
    it, it calls as many of them melanoma as of the holdout's of the same kind.

    Args:
        classifier: of the network's bundle.
        table: all images, as `splits.split` returns them.

    Returns:
        One row for melanomas and one for all else: `images` of the control, the share `called
        melanoma` of it and of the `holdout`, and the `ROC AUC` of P(MEL) between the two, one half
        where nothing tells them apart. No row where there is no such image.

    Raises:
        DatasetError: names an image that cannot be read.
    """
    codes = list(classifier.description.diagnoses)
    of_source = table[table["dataset"] == levelling.BCN]
    rows = {}
    for kind, part in of_source.groupby(of_source["diagnosis"] == "MEL"):
        apart = part[part["apart"] == levelling.CONTROL]
        held = part[part["fold"] == splits.HOLDOUT]
        if apart.empty or held.empty:
            continue
        found = predict_table(classifier, pd.concat([apart, held]))
        called = found.argmax(axis=1) == codes.index("MEL")
        of_control = np.arange(len(found)) < len(apart)
        rows["melanoma" if kind else "no melanoma"] = {
            "images": len(apart),
            "called melanoma": called[of_control].mean(),
            "holdout": called[~of_control].mean(),
            "ROC AUC": roc_auc_score(of_control, found[:, codes.index("MEL")]),
        }
    return pd.DataFrame(rows).T.rename_axis("diagnosis")


def how_measured(
    description: bundle.Description,
    table: pd.DataFrame,
    part: str,
    views: int = 1,
    graph: str | None = None,
) -> dict:
    """Return title and command of a measurement, for the measures and the model card."""
    title = f"{dataset.title(table)}, {f'fold {part}' if part.isdigit() else part}"
    title += "" if views == 1 else f", {views} views"
    title += f", {graph} graph" if graph else ""
    command = f"python -m skin_cancer.evaluation --bundle BUNDLE --data DATA --part {part}"
    command += "" if views == 1 else f" --views {views}"
    command += f" --graph {graph}" if graph else ""
    graph = graph or description.default_graph
    return {"title": title, "command": command, "views": views, "graph": graph}


def main() -> None:
    """Measure from the shell."""
    parser = argparse.ArgumentParser(
        prog="python -m skin_cancer.evaluation", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--bundle", default=bundle.MEASURED_BUNDLE, type=Path)
    parser.add_argument("--data", default="", help=DATA_HELP)
    parser.add_argument("--part", default="holdout", help=PART_HELP)
    parser.add_argument("--views", default=1, type=int, choices=range(1, MAX_VIEWS + 1))
    parser.add_argument("--graph", choices=bundle.GRAPHS, help="default: the bundle's own")
    parser.add_argument("--save", action="store_true", help="write into the bundle and its card")
    given = parser.parse_args()
    try:
        data = dataset.data_folder(given.data)
        for measured in evaluate(given.bundle, data, given.part, given.views, given.graph):
            print(card.result(measured["title"], measured))
            if given.save:
                record.save(given.bundle, measured)
    except SkinCancerError as error:
        raise SystemExit(str(error)) from error
