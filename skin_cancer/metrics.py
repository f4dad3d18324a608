"""Measures of predictions: accuracy, ranking, calibration, groups and differences."""

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, roc_auc_score

from skin_cancer.diagnoses import BY_CODE
from skin_cancer.errors import DatasetError

RESAMPLES = 2000
LEVELS = (2.5, 97.5)
GROUP_LESIONS = 20


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


def difference(
    table: pd.DataFrame, probabilities: np.ndarray, others: np.ndarray, codes, seed: int = 0
) -> dict:
    """Compare two predictions of the same images, paired; intervals as in `measure`.

    Args:
        table: one row an image, with `diagnosis` and `lesion_id`.
        probabilities: float (images, diagnoses) under the balanced prior.
        others: of the other network, likewise.
        codes: ISIC codes of the columns.
        seed: of the bootstrap.

    Returns:
        What `probabilities` gains in mean recall of the diagnoses that occur: `value`, `low`,
        `high`; and `agreement`, the share of images with the same answer.
    """
    truth = truth_of(table, codes)
    weights = _resampled_weights(table, truth, np.random.default_rng(seed))
    weights = np.vstack([np.ones(len(truth)), weights])
    ours, theirs = (
        _mean_recalls(truth, p.argmax(axis=1), weights) for p in (probabilities, others)
    )
    gains = ours - theirs
    agreement = float((probabilities.argmax(axis=1) == others.argmax(axis=1)).mean())
    return {**_interval(gains[0], gains[1:]), "agreement": agreement}


def mean_recall(table: pd.DataFrame, probabilities: np.ndarray, codes, seed: int = 0) -> dict:
    """Return the mean recall of the diagnoses that occur: the balanced accuracy, if all do.

    Args:
        table: one row an image, with `diagnosis` and `lesion_id`.
        probabilities: float (images, diagnoses) under the balanced prior.
        codes: ISIC codes of the columns.
        seed: of the bootstrap.

    Returns:
        `value`, and its interval `low` to `high` as in `measure`.
    """
    truth = truth_of(table, codes)
    weights = _resampled_weights(table, truth, np.random.default_rng(seed))
    weights = np.vstack([np.ones(len(truth)), weights])
    recalls = _mean_recalls(truth, probabilities.argmax(axis=1), weights)
    return _interval(recalls[0], recalls[1:])


def melanoma_against_nevus(
    table: pd.DataFrame, probabilities: np.ndarray, codes, seed: int = 0
) -> dict:
    """Return the area under the ROC curve among melanomas and nevi alone, ranked by their odds.

    Args:
        table: one row an image, with `diagnosis` and `lesion_id`.
        probabilities: float (images, diagnoses), under any prior.
        codes: ISIC codes of the columns.
        seed: of the bootstrap.

    Returns:
        `value`, and its interval `low` to `high` as in `measure`.
    """
    chosen = table["diagnosis"].isin(["MEL", "NV"]).to_numpy()
    part = table[chosen]
    melanoma, nevus = (probabilities[chosen, list(codes).index(code)] for code in ("MEL", "NV"))
    score = np.log(np.maximum(melanoma, 1e-12)) - np.log(np.maximum(nevus, 1e-12))
    positive = (part["diagnosis"] == "MEL").to_numpy()
    weights = _resampled_weights(part, positive.astype(int), np.random.default_rng(seed))
    return _area(positive, score, weights)


def _mean_recalls(truth, answers, weights):
    """Mean recall of the diagnoses that occur, under each row of image weights: (rows,)."""
    occurring, local = np.unique(truth, return_inverse=True)
    right = np.where(answers == truth, local, -1)
    return _recalls(local, right, len(occurring), weights).mean(axis=1)


def _area(positive, score, weights):
    return _interval(
        roc_auc_score(positive, score),
        [roc_auc_score(positive, score, sample_weight=weight) for weight in weights],
    )


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
    return {name: _area(positive, score, weights) for name, (positive, score) in questions.items()}


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
        weights = _resampled_weights(part, truth[mask], np.random.default_rng(seed))
        weights = np.vstack([np.ones(len(part)), weights])
        recalls = _mean_recalls(truth[mask], answers[mask], weights)
        both = len(np.unique(malignant[mask])) == 2
        rows[group] = {
            "images": len(part),
            "lesions": part["lesion_id"].nunique(),
            "diagnoses": part["diagnosis"].nunique(),
            **_interval(recalls[0], recalls[1:]),
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
