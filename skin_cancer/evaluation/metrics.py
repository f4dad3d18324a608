"""Measures of predictions: accuracy, ranking, calibration, groups and differences."""

from collections.abc import Collection, Mapping, Sequence
from itertools import chain

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, roc_auc_score

from skin_cancer import priors
from skin_cancer.diagnoses import BY_CODE, TAXONOMY
from skin_cancer.errors import DatasetError

RESAMPLES = 2000
LEVELS = (2.5, 97.5)
GROUP_LESIONS = 20
MALIGNANT_AREA = "ROC AUC, malignant or precursor against benign"
PREVALENCES = (0.02, 0.05, 0.10, 0.20)
SIMULATIONS = 500


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

    Args:
        table: one row an image, with `diagnosis` and `lesion_id`.
        probabilities: float (images, diagnoses) under the balanced prior.
        codes: ISIC codes of the columns.
        prior: ISIC code to share among the training images; malignancy is then ranked under it
            as well.
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
    answers = answers_of(table, probabilities, codes)
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
            **_areas(truth, probabilities, codes, prior, weights),
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


def truth_of(table: pd.DataFrame, codes: Sequence[str]) -> np.ndarray:
    """Return the column of each image's true diagnosis among `codes`: int (images,).

    Raises:
        DatasetError: the table holds a diagnosis that is not among them.
    """
    columns = {code: i for i, code in enumerate(codes)}
    unknown = sorted(set(table["diagnosis"]) - set(columns))
    if unknown:
        raise DatasetError(f"The model does not know {', '.join(unknown)}, which is in the data.")
    return table["diagnosis"].map(columns).to_numpy(int)


def answers_of(table: pd.DataFrame, probabilities: np.ndarray, codes: Sequence[str]) -> np.ndarray:
    """Return the column of each image's most probable diagnosis: int (images,).

    Where the label may mean either of two diagnoses (`alternative`) and the other one is answered,
    the answer is right and counts as the image's `diagnosis`.
    """
    answers = probabilities.argmax(axis=1)
    if "alternative" not in table:
        return answers
    other = table["alternative"].map({code: i for i, code in enumerate(codes)})
    return np.where(answers == other.to_numpy(float), truth_of(table, codes), answers)


def malignant_of(table: pd.DataFrame) -> np.ndarray:
    """Return whether each image shows a malignant lesion or a precursor: bool (images,).

    >>> malignant_of(pd.DataFrame({"diagnosis": ["MEL", "NV", "AKIEC"]}))
    array([ True, False,  True])
    """
    return table["diagnosis"].map(lambda code: BY_CODE[code].malignant).to_numpy(bool)


def malignancy(probabilities: np.ndarray, codes: Sequence[str]) -> np.ndarray:
    """Return the probability that a lesion is malignant or a precursor: float (images,).

    >>> malignancy(np.array([[0.5, 0.3, 0.2]]), ["MEL", "NV", "BCC"])
    array([0.7])
    """
    return probabilities[:, [BY_CODE[code].malignant for code in codes]].sum(axis=1)


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
    truth = truth_of(table, codes)
    weights = _resampled_weights(table, truth, np.random.default_rng(seed))
    weights = np.vstack([np.ones(len(truth)), weights])
    answers = [answers_of(table, p, codes) for p in (probabilities, others)]
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
    truth = truth_of(table, codes)
    weights = _resampled_weights(table, truth, np.random.default_rng(seed))
    weights = np.vstack([np.ones(len(truth)), weights])
    recalls = _mean_recalls(truth, answers_of(table, probabilities, codes), weights)
    return _interval(recalls[0], recalls[1:])


def melanoma_against_nevus(
    table: pd.DataFrame, probabilities: np.ndarray, codes: Sequence[str], seed: int = 0
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
    whole, *drawn = _areas_under(positive, score, np.vstack([np.ones(len(score)), weights]))
    return _interval(whole, drawn)


def _areas(truth, probabilities, codes, prior, weights):
    """Areas under the ROC curve of malignancy and of melanoma, with intervals."""
    malignant = np.array([BY_CODE[code].malignant for code in codes])[truth]
    melanoma = codes.index("MEL")
    questions = {
        MALIGNANT_AREA: (malignant, malignancy(probabilities, codes)),
        "ROC AUC, melanoma against all others": (truth == melanoma, probabilities[:, melanoma]),
    }
    if prior:
        trained = priors.reweighted(probabilities, priors.balanced(codes), prior)
        score = malignancy(trained, codes)
        questions[f"{MALIGNANT_AREA}, training prior"] = (malignant, score)
    return {name: _area(positive, score, weights) for name, (positive, score) in questions.items()}


def reliability(
    truth: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None, bins: int = 15
) -> pd.DataFrame:
    """Compare how sure the answers are with how often they are right.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2.

    Args:
        truth: int (images,), columns of the true diagnoses.
        probabilities: float (images, diagnoses), under the prior of the weighted images.
        weights: float (images,), what each image counts; all alike if None.
        bins: number of equal parts of 0 to 1.

    Returns:
        One row a bin that holds images: mean `confidence`, `accuracy`, number of `images`, and
        `share` of all weight.
    """
    weights = np.ones(len(truth)) if weights is None else weights
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    part = np.minimum((confidence * bins).astype(int), bins - 1)
    sums = pd.DataFrame(
        {
            "confidence": weights * confidence,
            "accuracy": weights * right,
            "images": 1,
            "share": weights / weights.sum(),
        }
    )
    table = sums.groupby(part).sum().rename_axis("bin")
    total = table["share"] * weights.sum()
    return table.assign(confidence=table["confidence"] / total, accuracy=table["accuracy"] / total)


def calibration_error(bins: pd.DataFrame) -> float:
    """Return the expected calibration error of `reliability`, 0 to 1 (Guo et al. 2017).

    >>> sure = np.array([[0.8, 0.2]] * 4)
    >>> round(calibration_error(reliability(np.array([0, 0, 0, 1]), sure)), 3)
    0.05
    """
    return float(((bins["confidence"] - bins["accuracy"]).abs() * bins["share"]).sum())


def class_weights(truth: np.ndarray) -> np.ndarray:
    """Return weights with which all diagnoses that occur count alike: float (images,).

    >>> class_weights(np.array([0, 0, 1]))
    array([0.5, 0.5, 1. ])
    """
    return 1 / np.bincount(truth)[truth]


def calibration(
    truth: np.ndarray, probabilities: np.ndarray, prior: Mapping[str, float], seed: int = 0
) -> pd.DataFrame:
    """Measure calibration under the training and under the balanced prior, with its floor.

    The floor is what a perfectly calibrated model with these very probabilities would show: its
    diagnoses are drawn from them (Vaicenavicius et al. 2019, "Evaluating model calibration in
    classification", section 5, consistency resampling).

    Args:
        truth: int (images,), columns of the true diagnoses.
        probabilities: float (images, diagnoses), under the balanced prior.
        prior: ISIC code to share among the training images, in the order of the columns.
        seed: of the simulation.

    Returns:
        One row a prior: `expected calibration error`, 15 bins; `floor`, the mean of as many
        simulations as `SIMULATIONS`; `floor, 95 %`, which one in twenty of them exceeds. Under the
        balanced prior all diagnoses count alike.
    """
    rng = np.random.default_rng(seed)
    natural = priors.reweighted(probabilities, priors.balanced(prior), prior)
    drawn = (natural.cumsum(axis=1)[None] < rng.random((SIMULATIONS, len(truth), 1))).sum(axis=2)
    drawn = np.minimum(drawn, probabilities.shape[1] - 1)
    rows = {}
    for name, shown in {"training": natural, "balanced": probabilities}.items():
        errors = [
            calibration_error(
                reliability(t, shown, class_weights(t) if name == "balanced" else None)
            )
            for t in (truth, *drawn)
        ]
        rows[name] = {
            "expected calibration error": errors[0],
            "floor": float(np.mean(errors[1:])),
            "floor, 95 %": float(np.quantile(errors[1:], 0.95)),
        }
    return pd.DataFrame(rows).T.rename_axis("prior")


def coverage(
    table: pd.DataFrame, sets: Sequence[Collection[str]], codes: Sequence[str]
) -> pd.DataFrame:
    """Measure how often prediction sets hold the true diagnosis.

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
    held = np.array([d in members for d, members in zip(table["diagnosis"], sets, strict=True)])
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
    malignant = malignant_of(table)
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
    truth, answers = truth_of(table, codes), answers_of(table, probabilities, codes)
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
    table: pd.DataFrame, probabilities: np.ndarray, codes: Sequence[str], count: int = 12
) -> pd.DataFrame:
    """Return the wrong answers that gave the true diagnosis the least, missed malignant first.

    Returns:
        Rows of the table with `answer` (ISIC code), `probability` (of the answer) and
        `probability of the truth`.
    """
    truth, answers = truth_of(table, codes), answers_of(table, probabilities, codes)
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


# What recipes are chosen by: losses and ranks of each image, where labels mean several diagnoses.

KNOWING_SCC = {name for name, words in TAXONOMY.items() if "SCC" in chain(*words.values())}


def meant_by(table: pd.DataFrame, codes: Sequence[str]) -> np.ndarray:
    """Return whether each diagnosis is right for an image: bool (images, diagnoses).

    Right are the image's `diagnosis` and its `alternative`, and for the AKIEC of an archive whose
    labels do not know SCC that as well.

    Args:
        table: one row an image, as `dataset.read` returns it.
        codes: ISIC codes of the columns.
    """
    merged = (table["diagnosis"] == "AKIEC") & ~table["archive"].isin(KNOWING_SCC)
    labels = table["diagnosis"], table["alternative"].fillna(""), np.where(merged, "SCC", "")
    return np.array([[code in right for code in codes] for right in zip(*labels, strict=True)])


def balanced_weights(table: pd.DataFrame) -> np.ndarray:
    """Return weights of sum 1 under which all diagnoses that occur count alike: float (images,)."""
    weights = class_weights(pd.factorize(table["diagnosis"])[0])
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


def melanoma_by_probability(
    table: pd.DataFrame, probabilities: np.ndarray, codes: Sequence[str], seed: int = 0
) -> dict:
    """Return what `melanoma_against_nevus` does, ranked by the probability of melanoma."""
    chosen = table["diagnosis"].isin(["MEL", "NV"]).to_numpy()
    part, score = table[chosen], probabilities[chosen, list(codes).index("MEL")]
    positive = (part["diagnosis"] == "MEL").to_numpy()
    weights = _resampled_weights(part, positive.astype(int), np.random.default_rng(seed))
    return _area(positive, score, weights)


def _log_losses(table, probabilities, codes):
    right = (meant_by(table, codes) * probabilities).sum(axis=1)
    return -np.log(np.maximum(right, 1e-12))


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


def _balanced_mean(table, values, seed):
    """Mean over the diagnoses of the mean of an image's values, with its interval."""
    truth = pd.factorize(table["diagnosis"])[0]
    weights = _resampled_weights(table, truth, np.random.default_rng(seed))
    weights = np.vstack([np.ones(len(truth)), weights])
    belongs = np.eye(truth.max() + 1)[truth]
    means = (weights @ (belongs * values[:, None]) / (weights @ belongs)).mean(axis=1)
    return _interval(means[0], means[1:])
