"""How sure the answers are beside how often they are right."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from skin_cancer import priors
from skin_cancer.evaluation import labels

SIMULATIONS = 500


def prior_weights(table: pd.DataFrame, prior: Mapping[str, float]) -> np.ndarray:
    """Return weights with which the diagnoses of a table are as frequent as a prior says.

    Args:
        table: one row an image, with `diagnosis` and `archive`.
        prior: ISIC code to share.

    Returns:
        float (images,), of mean 1.

    >>> table = pd.DataFrame({"diagnosis": ["MEL", "MEL", "NV"]})
    >>> prior_weights(table, {"MEL": 0.5, "NV": 0.5})
    array([0.75, 0.75, 1.5 ])
    """
    codes = list(prior)
    shares = labels.as_told(table, np.tile(list(prior.values()), (len(table), 1)), codes)
    truth = labels.truth_of(table, codes)
    weights = shares[np.arange(len(truth)), truth] / np.bincount(truth)[truth]
    return weights / weights.mean()


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


def reliability_under(
    table: pd.DataFrame, probabilities: np.ndarray, prior: Mapping[str, float]
) -> pd.DataFrame:
    """Return the `reliability` of a table's images under a prior, weighted by it.

    Args:
        table: one row an image, with `diagnosis`, `alternative` and `archive`.
        probabilities: float (images, diagnoses), under the balanced prior.
        prior: ISIC code to share, in the order of the columns.
    """
    shown = _under(table, probabilities, prior)
    return reliability(
        labels.as_right(table, shown, list(prior)), shown, prior_weights(table, prior)
    )


def calibration_error(bins: pd.DataFrame) -> float:
    """Return the expected calibration error of `reliability`, 0 to 1 (Guo et al. 2017).

    >>> sure = np.array([[0.8, 0.2]] * 4)
    >>> round(calibration_error(reliability(np.array([0, 0, 0, 1]), sure)), 3)
    0.05
    """
    return float(((bins["confidence"] - bins["accuracy"]).abs() * bins["share"]).sum())


def calibration(
    table: pd.DataFrame,
    probabilities: np.ndarray,
    assumed: Mapping[str, Mapping[str, float]],
    seed: int = 0,
) -> pd.DataFrame:
    """Measure calibration under some priors, images weighted by each, with its floor.

    The floor is what a perfectly calibrated model with these very probabilities would show: its
    diagnoses are drawn from them (Vaicenavicius et al. 2019, "Evaluating model calibration in
    classification", section 5, consistency resampling), as frequent as they are in the table.
    Slope and intercept are those of the logistic regression of malignant or precursor on the
    logarithm of its odds (Cox 1958, "Two further applications of a model for binary regression"):
    1 and 0 where they are right.

    Args:
        table: one row an image, with `diagnosis`, `alternative` and `archive`.
        probabilities: float (images, diagnoses), under the balanced prior.
        assumed: name to prior, ISIC code to share in the order of the columns.
        seed: of the simulation.

    Returns:
        One row a prior: `expected calibration error`, 15 bins; `floor`, the mean of as many
        simulations as `SIMULATIONS`; `floor, 95 %`, which one in twenty of them exceeds; `slope`
        and `intercept` of malignancy, where the table has both malignant and benign lesions.
    """
    rng, codes = np.random.default_rng(seed), list(next(iter(assumed.values())))
    drawn = _drawn(table, probabilities, codes, rng)
    rows = {}
    for name, prior in assumed.items():
        shown = _under(table, probabilities, prior)
        errors = [
            calibration_error(reliability(right, shown, prior_weights(each, prior)))
            for each, right in drawn
        ]
        rows[name] = {
            "expected calibration error": calibration_error(
                reliability_under(table, probabilities, prior)
            ),
            "floor": float(np.mean(errors)),
            "floor, 95 %": float(np.quantile(errors, 0.95)),
            **_recalibration(table, labels.malignancy(shown, codes), prior_weights(table, prior)),
        }
    return pd.DataFrame(rows).T.rename_axis("prior")


def _under(table, probabilities, prior):
    """Return the probabilities of what the labels tell apart, under a prior."""
    under = priors.reweighted(probabilities, priors.balanced(prior), prior)
    return labels.as_told(table, under, list(prior))


def _drawn(table, probabilities, codes, rng):
    """Draw diagnoses from probabilities; return tables with them, and their columns."""
    counts = table["diagnosis"].value_counts().reindex(codes, fill_value=0)
    own = (counts.astype(float).clip(lower=1e-6) / counts.sum()).to_dict()
    chances = _under(table, probabilities, own).cumsum(axis=1)
    draws = (chances[None] < rng.random((SIMULATIONS, len(table), 1))).sum(axis=2)
    names = np.array(codes)[np.minimum(draws, len(codes) - 1)]
    archive = table.reindex(columns=["archive"] if "archive" in table else [])
    return [
        (archive.assign(diagnosis=row), column) for row, column in zip(names, draws, strict=True)
    ]


def _recalibration(table, malignant, weights):
    truth = labels.malignant_of(table)
    if truth.all() or not truth.any():
        return {}
    odds = np.log(malignant.clip(1e-9, 1 - 1e-9) / (1 - malignant).clip(1e-9))[:, None]
    model = LogisticRegression(C=np.inf).fit(odds, truth, weights)
    return {"slope": float(model.coef_[0, 0]), "intercept": float(model.intercept_[0])}
