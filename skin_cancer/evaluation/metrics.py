"""Measures of predictions: accuracy, ranking, calibration, groups and differences."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, roc_auc_score

from skin_cancer import priors
from skin_cancer.diagnoses import BY_CODE
from skin_cancer.errors import DatasetError
from skin_cancer.evaluation import labels

RESAMPLES = 2000
LEVELS = (2.5, 97.5)
GROUP_LESIONS = 20
MALIGNANT_AREA = "ROC AUC, malignant or precursor against benign"
MELANOMA_AREA = "ROC AUC, melanoma against nevus"
PREVALENCES = (0.02, 0.05, 0.10, 0.20)


def measure(
    table: pd.DataFrame,
    probabilities: np.ndarray,
    codes: Sequence[str],
    prior: Mapping[str, float] | None = None,
    seed: int = 0,
) -> dict:
    """Compare probabilities with the true diagnoses.

    Intervals are percentile intervals of a bootstrap over lesions, drawn with replacement within
    each diagnosis (Efron & Tibshirani 1993, chapter 13): images of one lesion stay together.

    Diagnoses that the labels do not tell apart are one, as of `labels.answers_of`.

    Args:
        table: one row an image, with `diagnosis`, `lesion_id` and `archive`.
        probabilities: float (images, diagnoses) under the balanced prior.
        codes: ISIC codes of the columns.
        prior: ISIC code to share among the training images; malignancy is then ranked under it
            as well.
        seed: of the bootstrap.

    Returns:
        A dictionary fit for JSON: counts, `measures` (balanced accuracy, also of the diagnoses
        with 20 lesions or more where some have fewer; areas under the ROC curve), `classes`
        (recall, precision) and the `confusion` matrix by code.

    Raises:
        DatasetError: a diagnosis has no image in the table.
    """
    truth = labels.truth_of(table, codes)
    answers = labels.answers_of(table, probabilities, codes)
    weights = _resampled_weights(table, truth, np.random.default_rng(seed))
    known, codes = list(codes), labels.told_of(table, codes)
    absent = sorted(set(codes) - set(table["diagnosis"]))
    if absent:
        raise DatasetError(f"No image of {', '.join(absent)} to measure on.")

    lesions = table.groupby("diagnosis")["lesion_id"].nunique()[codes].to_numpy()
    recalls = _recalls(truth, answers, len(codes), np.ones((1, len(truth))))[0]
    drawn = _recalls(truth, answers, len(codes), weights)
    matrix = confusion_matrix(truth, answers, labels=range(len(codes)))
    return {
        "images": len(table),
        "lesions": int(table["lesion_id"].nunique()),
        "resamples": RESAMPLES,
        "measures": {
            "balanced accuracy": _interval(recalls.mean(), drawn.mean(axis=1)),
            **_of_frequent(recalls, drawn, lesions >= GROUP_LESIONS),
            **_areas(truth, probabilities, known, prior, weights),
            **_of_melanoma(table, probabilities, known, seed),
        },
        "classes": {
            code: {
                "recall": _interval(recalls[i], drawn[:, i]),
                "precision": float(matrix[i, i] / max(1, matrix[:, i].sum())),
                "images": int((truth == i).sum()),
                "lesions": int(lesions[i]),
            }
            for i, code in enumerate(codes)
        },
        "confusion": {
            code: dict(zip(codes, row, strict=True))
            for code, row in zip(codes, matrix.tolist(), strict=True)
        },
    }


def _of_melanoma(table, probabilities, codes, seed):
    """Areas under the ROC curve of melanoma against nevus, where both are known."""
    if not {"MEL", "NV"} <= set(codes):
        return {}
    ways = {"P(MEL)": melanoma_by_probability, "P(MEL) / P(NV)": melanoma_against_nevus}
    return {
        f"{MELANOMA_AREA}, by {way}": area(table, probabilities, codes, seed)
        for way, area in ways.items()
    }


def _of_frequent(recalls, drawn, frequent):
    if frequent.all() or not frequent.any():
        return {}
    name = f"balanced accuracy, diagnoses of {GROUP_LESIONS} lesions or more"
    return {name: _interval(recalls[frequent].mean(), drawn[:, frequent].mean(axis=1))}


def difference(
    table: pd.DataFrame,
    probabilities: np.ndarray,
    others: np.ndarray,
    codes: Sequence[str],
    seed: int = 0,
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
    truth = labels.truth_of(table, codes)
    weights = _resampled_weights(table, truth, np.random.default_rng(seed))
    weights = np.vstack([np.ones(len(truth)), weights])
    answers = [labels.answers_of(table, p, codes) for p in (probabilities, others)]
    ours, theirs = (_mean_recalls(truth, answer, weights) for answer in answers)
    gains = ours - theirs
    agreement = float((probabilities.argmax(axis=1) == others.argmax(axis=1)).mean())
    return {**_interval(gains[0], gains[1:]), "agreement": agreement}


def mean_recall(
    table: pd.DataFrame, probabilities: np.ndarray, codes: Sequence[str], seed: int = 0
) -> dict:
    """Return the mean recall of the diagnoses that occur: the balanced accuracy, if all do.

    Args:
        table: one row an image, with `diagnosis` and `lesion_id`.
        probabilities: float (images, diagnoses) under the balanced prior.
        codes: ISIC codes of the columns.
        seed: of the bootstrap.

    Returns:
        `value`, and its interval `low` to `high` as in `measure`.

    >>> table = pd.DataFrame({"diagnosis": ["MEL", "MEL", "NV", "NV"], "lesion_id": [*"abcd"]})
    >>> probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])
    >>> mean_recall(table, probabilities, ["MEL", "NV"])
    {'value': 0.75, 'low': 0.5, 'high': 1.0}
    """
    truth = labels.truth_of(table, codes)
    weights = _resampled_weights(table, truth, np.random.default_rng(seed))
    weights = np.vstack([np.ones(len(truth)), weights])
    recalls = _mean_recalls(truth, labels.answers_of(table, probabilities, codes), weights)
    return _interval(recalls[0], recalls[1:])


def melanoma_against_nevus(
    table: pd.DataFrame, probabilities: np.ndarray, codes: Sequence[str], seed: int = 0
) -> dict:
    """Return the area under the ROC curve among melanomas and nevi alone, ranked by their odds.

    Args:
        table: one row an image, with `diagnosis` and `lesion_id`.
        probabilities: float (images, diagnoses), under any prior: the odds rank alike.
        codes: ISIC codes of the columns.
        seed: of the bootstrap.

    Returns:
        `value`, and its interval `low` to `high` as in `measure`.
    """
    found = np.log(np.maximum(probabilities, 1e-12))
    melanoma, nevus = (found[:, list(codes).index(code)] for code in ("MEL", "NV"))
    return _melanoma_area(table, melanoma - nevus, seed)


def melanoma_by_probability(
    table: pd.DataFrame, probabilities: np.ndarray, codes: Sequence[str], seed: int = 0
) -> dict:
    """Return what `melanoma_against_nevus` does, ranked by the probability of melanoma."""
    return _melanoma_area(table, probabilities[:, list(codes).index("MEL")], seed)


def _melanoma_area(table, score, seed):
    chosen = table["diagnosis"].isin(["MEL", "NV"]).to_numpy()
    part = table[chosen]
    positive = (part["diagnosis"] == "MEL").to_numpy()
    weights = _resampled_weights(part, positive.astype(int), np.random.default_rng(seed))
    return _area(positive, score[chosen], weights)


def _mean_recalls(truth, answers, weights):
    """Mean recall of the diagnoses that occur, under each row of image weights: (rows,)."""
    occurring, local = np.unique(truth, return_inverse=True)
    right = np.where(answers == truth, local, -1)
    return _recalls(local, right, len(occurring), weights).mean(axis=1)


def _area(positive, score, weights):
    whole, *drawn = _areas_under(positive, score, np.vstack([np.ones(len(score)), weights]))
    return _interval(whole, drawn)


def _areas_under(positive, score, weights):
    """Area under the ROC curve under each row of image weights: (rows,)."""
    order = np.argsort(score)
    ties = np.flatnonzero(np.diff(score[order], prepend=-np.inf))
    above, below = (
        np.add.reduceat(weights[:, order] * kind[order], ties, axis=1)
        for kind in (positive, ~positive)
    )
    lower = below.cumsum(axis=1) - below / 2  # a tie counts half
    return (above * lower).sum(axis=1) / (above.sum(axis=1) * below.sum(axis=1))


def _areas(truth, probabilities, codes, prior, weights):
    """Areas under the ROC curve of malignancy and of melanoma, where they occur, with intervals."""
    malignant = np.array([BY_CODE[code].malignant for code in codes])[truth]
    questions = {MALIGNANT_AREA: (malignant, labels.malignancy(probabilities, codes))}
    if "MEL" in codes:
        melanoma = codes.index("MEL")
        questions["ROC AUC, melanoma against all others"] = (
            truth == melanoma,
            probabilities[:, melanoma],
        )
    if prior:
        trained = priors.reweighted(probabilities, priors.balanced(codes), prior)
        score = labels.malignancy(trained, codes)
        questions[f"{MALIGNANT_AREA}, training prior"] = (malignant, score)
    return {
        name: _area(positive, score, weights)
        for name, (positive, score) in questions.items()
        if positive.any() and not positive.all()
    }


def coverage(
    table: pd.DataFrame, sets: Sequence[Collection[str]], codes: Sequence[str]
) -> pd.DataFrame:
    """Measure how often prediction sets hold the true diagnosis, or one that the label may mean.

    Args:
        table: one row an image, with `diagnosis` and `lesion_id`.
        sets: ISIC codes of each image's set.
        codes: ISIC codes, in the order of the rows.

    Returns:
        One row a diagnosis that occurs, and `all`: `images`, `lesions`, `coverage`, its 95 %
        interval `low` to `high` (Wilson 1927, with as many trials as there are lesions), mean
        `set size`, and the share of `sets of one` diagnosis.

    >>> table = pd.DataFrame({"diagnosis": ["MEL", "MEL", "NV"], "lesion_id": [*"abc"]})
    >>> found = coverage(table, [("MEL", "NV"), ("NV",), ("NV",)], ["MEL", "NV"])
    >>> found[["lesions", "coverage", "set size"]].round(2).to_dict("list")
    {'lesions': [2, 1, 3], 'coverage': [0.5, 1.0, 0.67], 'set size': [1.5, 1.0, 1.33]}
    """
    size = np.array([len(members) for members in sets])
    said = np.array([[code in members for code in codes] for members in sets])
    said = labels.as_told(table, said, codes)
    held = said[np.arange(len(said)), labels.truth_of(table, codes)]
    if "alternative" in table:
        others = zip(table["alternative"].fillna(""), sets, strict=True)
        held = held | np.array([other in members for other, members in others])
    rows = {}
    for code in [*codes, "all"]:
        rows_of = (table["diagnosis"] == code).to_numpy() | (code == "all")
        if rows_of.any():
            lesions = table.loc[rows_of, "lesion_id"].nunique()
            rows[code] = {
                "images": rows_of.sum(),
                "lesions": lesions,
                "coverage": held[rows_of].mean(),
                **_wilson(held[rows_of].mean(), lesions),
                "set size": size[rows_of].mean(),
                "sets of one": (size[rows_of] == 1).mean(),
            }
    found = pd.DataFrame(rows).T.rename_axis("diagnosis")
    return found.astype({"images": int, "lesions": int})


def _wilson(share, trials, z=1.959964):
    """Return the score interval of a share (Wilson 1927, "Probable inference")."""
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2)) / (1 + z**2 / trials)
    return {"low": centre - half, "high": centre + half}


def at_thresholds(
    table: pd.DataFrame, score: np.ndarray, thresholds: list[dict], seed: int = 0
) -> pd.DataFrame:
    """Measure thresholds of malignancy that were set on other images; intervals as in `measure`.

    Args:
        table: one row an image, with `diagnosis` and `lesion_id`.
        score: float (images,), probability of malignant or precursor under the prior that the
            thresholds hold for.
        thresholds: rows of `sensitivity` (that was aimed at) and `threshold`.
        seed: of the bootstrap.

    Returns:
        One row an aimed-at sensitivity: `threshold`, `sensitivity` and `specificity` found, each
        with its interval, and for each of `PREVALENCES` the `missed` and the `false alarms` among
        100 lesions.
    """
    malignant = labels.malignant_of(table)
    truth = pd.factorize(table["diagnosis"])[0]
    weights = _resampled_weights(table, truth, np.random.default_rng(seed))
    weights = np.vstack([np.ones(len(truth)), weights])
    rows = {}
    for row in thresholds:
        called = score >= row["threshold"]
        found = (weights @ (called & malignant)) / (weights @ malignant)
        left = (weights @ (~called & ~malignant)) / (weights @ ~malignant)
        rows[row["sensitivity"]] = {
            "threshold": row["threshold"],
            **_named("sensitivity", found),
            **_named("specificity", left),
            **{f"missed of 100 at {p:.0%}": 100 * p * (1 - found[0]) for p in PREVALENCES},
            **{
                f"false alarms of 100 at {p:.0%}": 100 * (1 - p) * (1 - left[0])
                for p in PREVALENCES
            },
        }
    return pd.DataFrame(rows).T.rename_axis("aimed at")


def _named(name, values):
    found = _interval(values[0], values[1:])
    return {name: found["value"], f"{name}, low": found["low"], f"{name}, high": found["high"]}


def recognition(known: np.ndarray, strange: dict[str, np.ndarray], limit: float) -> pd.DataFrame:
    """Measure how well unfamiliar pictures are told from held-out ones.

    Args:
        known: float (images,), unfamiliarity of held-out images of the dataset.
        strange: kind to the same of pictures that show no lesion through a dermatoscope.
        limit: above which a picture is called unfamiliar.

    Returns:
        One row a kind, then `all of these` and `held-out images`: number of `pictures`, `ROC AUC`
        against the held-out images, and the share `called unfamiliar`.
    """
    kinds = {**strange, "all of these": np.concatenate(list(strange.values()))}
    rows = {
        kind: {
            "pictures": len(values),
            "ROC AUC": roc_auc_score([0] * len(known) + [1] * len(values), [*known, *values]),
            "called unfamiliar": (values > limit).mean(),
        }
        for kind, values in kinds.items()
    }
    rows["held-out images"] = {"pictures": len(known), "called unfamiliar": (known > limit).mean()}
    return pd.DataFrame(rows).T.astype({"pictures": int}).rename_axis("kind")


def by_group(
    table: pd.DataFrame,
    probabilities: np.ndarray,
    codes: Sequence[str],
    groups: pd.Series,
    seed: int = 0,
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
    truth, answers = labels.truth_of(table, codes), labels.answers_of(table, probabilities, codes)
    malignant, score = labels.malignant_of(table), labels.malignancy(probabilities, codes)
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
    table: pd.DataFrame, probabilities: np.ndarray, codes: Sequence[str], count: int = 12
) -> pd.DataFrame:
    """Return the wrong answers that gave the true diagnosis the least, missed malignant first.

    Returns:
        Rows of the table with `answer` (ISIC code), `probability` (of the answer) and
        `probability of the truth`.
    """
    truth, answers = labels.truth_of(table, codes), labels.answers_of(table, probabilities, codes)
    rows = np.arange(len(table))
    answer = np.array(codes)[answers]
    missed = labels.malignant_of(table) & ~np.array([BY_CODE[code].malignant for code in answer])
    wrong = table.assign(
        answer=answer,
        probability=probabilities[rows, answers],
        missed=missed,
        **{"probability of the truth": probabilities[rows, truth]},
    )[answers != truth]
    ranked = wrong.sort_values(["missed", "probability of the truth"], ascending=[False, True])
    return ranked.drop(columns="missed").head(count)


def first_cases(
    table: pd.DataFrame,
    probabilities: np.ndarray,
    codes: Sequence[str],
    code: str,
    count: int,
) -> pd.DataFrame:
    """Return what the first images of a diagnosis are called, right or wrong, by their ids.

    Returns:
        `archive`, `answer` (ISIC code), `probability` (of the answer) and `probability of the
        truth` by `image_id`.
    """
    told = labels.as_told(table, probabilities, codes)
    found = table.assign(
        answer=np.array(codes)[told.argmax(axis=1)],
        probability=told.max(axis=1),
        **{"probability of the truth": told[np.arange(len(told)), labels.truth_of(table, codes)]},
    )
    columns = ["archive", "answer", "probability", "probability of the truth"]
    chosen = found[found["diagnosis"] == code].set_index("image_id").sort_index()
    return chosen[columns].head(count)


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


def balanced_weights(table: pd.DataFrame) -> np.ndarray:
    """Return weights of sum 1 under which all diagnoses that occur count alike: float (images,)."""
    weights = 1 / table.groupby("diagnosis")["diagnosis"].transform("size").to_numpy()
    return weights / weights.sum()


def balanced_log_loss(
    table: pd.DataFrame, probabilities: np.ndarray, codes: Sequence[str], seed: int = 0
) -> dict:
    """Return the mean over the diagnoses that occur of the mean negative log probability.

    The probability is that of all diagnoses that an image's label may mean.

    Args:
        table: one row an image, as `dataset.read` returns it.
        probabilities: float (images, diagnoses) under the balanced prior.
        codes: ISIC codes of the columns.
        seed: of the bootstrap.

    Returns:
        `value`, and its interval `low` to `high` as in `measure`.

    >>> table = pd.DataFrame({"diagnosis": ["MEL", "NV", "NV"], "lesion_id": [*"abc"]})
    >>> table = table.assign(alternative=None, archive="HAM10000")
    >>> probabilities = np.array([[0.5, 0.5], [0.75, 0.25], [0, 1]])
    >>> round(balanced_log_loss(table, probabilities, ["MEL", "NV"])["value"], 3)
    0.693
    """
    return _balanced_mean(table, _log_losses(table, probabilities, codes), seed)


def log_loss_gain(
    table: pd.DataFrame,
    probabilities: np.ndarray,
    others: np.ndarray,
    codes: Sequence[str],
    seed: int = 0,
) -> dict:
    """Return by how much `probabilities` lower the balanced log-loss of `others`, paired.

    Arguments and result are as of `balanced_log_loss`; what is lower is better, and gains are
    above zero.
    """
    losses = (_log_losses(table, given, codes) for given in (others, probabilities))
    return _balanced_mean(table, np.subtract(*losses), seed)


def _log_losses(table, probabilities, codes):
    right = (labels.meant_by(table, codes) * probabilities).sum(axis=1)
    return -np.log(np.maximum(right, 1e-12))


def _balanced_mean(table, values, seed):
    """Mean over the diagnoses of the mean of an image's values, with its interval."""
    truth = pd.factorize(table["diagnosis"])[0]
    weights = _resampled_weights(table, truth, np.random.default_rng(seed))
    weights = np.vstack([np.ones(len(truth)), weights])
    belongs = np.eye(truth.max() + 1)[truth]
    means = (weights @ (belongs * values[:, None]) / (weights @ belongs)).mean(axis=1)
    return _interval(means[0], means[1:])
