"""Priors: how frequent each diagnosis is assumed to be.

The one place where probabilities are brought from one prior to another. A network's logits assume
the shares of its training images; what it says of a lesion elsewhere depends on the shares there
(Saerens et al. 2002, "Adjusting the outputs of a classifier to new a priori probabilities", section
2.2).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Real

import numpy as np

TRAINING, CLINIC, SCREENING, BALANCED = NAMES = ("training", "clinic", "screening", "balanced")
CUSTOM = "custom"  # the name of a prior that is given as a dictionary
DEFAULT = CLINIC

_CLINIC_WEIGHTS = {
    "MEL": 614,
    "NV": 5403,
    "BCC": 327,
    "AKIEC": 228,
    "BKL": 727,
    "DF": 73,
    "VASC": 98,
    "SCC": 64,
}
_CLINIC_SOURCE = (
    "a specialist clinic, with the shares of HAM10000's 7,470 lesions; squamous cell carcinoma, "
    "which HAM10000 lacks, in MILK10k's proportion to basal cell carcinoma (393 to 2,012)"
)
_SCREENING_WEIGHTS = {
    "MEL": 0.5,
    "NV": 80,
    "BCC": 1,
    "AKIEC": 2,
    "BKL": 14,
    "DF": 1.2,
    "VASC": 1,
    "SCC": 0.3,
}
_SCREENING_SOURCE = (
    "people without complaints: mostly nevi, one melanoma in 200 lesions; round numbers assumed by "
    "this project"
)


@dataclass(frozen=True)
class Prior:
    """A named assumption.

    Attributes:
        shares: ISIC code to the share of all lesions, each above 0, of sum 1.
        source: where the shares come from, in words.
    """

    shares: dict[str, float]
    source: str


def of_training(weights: Mapping[str, float], dataset: str) -> dict[str, Prior]:
    """Return the named priors of a network: `training`, `clinic`, `screening` and `balanced`.

    Of diagnoses of one's own nobody knows the shares in screening: that prior is then left out.

    Args:
        weights: ISIC code to weight among the training images.
        dataset: name of what it was trained on. Its shares stand for a specialist clinic where it
            has seven diagnoses; one with eight is chosen for its carcinomas or made of several.

    Raises:
        ValueError: a weight is not above zero.
    """
    codes = tuple(weights)
    trained = shares(weights, codes)
    clinic = Prior(trained, f"a specialist clinic, with the shares of {dataset}")
    if set(codes) == set(_CLINIC_WEIGHTS):
        clinic = Prior(shares(_CLINIC_WEIGHTS, codes), _CLINIC_SOURCE)
    named = {
        TRAINING: Prior(trained, f"the shares among the training images ({dataset})"),
        CLINIC: clinic,
        BALANCED: Prior(balanced(codes), "all diagnoses equally frequent"),
    }
    if set(codes) <= set(_SCREENING_WEIGHTS):
        screening = {code: _SCREENING_WEIGHTS[code] for code in codes}
        named[SCREENING] = Prior(shares(screening, codes), _SCREENING_SOURCE)
    return {name: named[name] for name in NAMES if name in named}


def balanced(codes: Iterable[str]) -> dict[str, float]:
    """Return the prior under which all diagnoses are equally frequent: ISIC code to share."""
    codes = tuple(codes)
    return dict.fromkeys(codes, 1 / len(codes))


def shares(weights: Mapping[str, float], codes: Iterable[str]) -> dict[str, float]:
    """Return the share of each diagnosis, of sum 1, in the order of `codes`.

    Args:
        weights: ISIC code to weight; exactly these codes, each weight finite and above zero.
        codes: ISIC codes.

    Raises:
        ValueError: a weight is missing, superfluous or not above zero.

    >>> shares({"NV": 3, "MEL": 1}, ["MEL", "NV"])
    {'MEL': 0.25, 'NV': 0.75}
    """
    codes = tuple(codes)
    if set(weights) != set(codes) or not all(_is_weight(w) for w in weights.values()):
        raise ValueError(f"A prior gives each of {', '.join(codes)} a weight above zero.")
    total = sum(weights.values())
    return {code: weights[code] / total for code in codes}


def shift(assumed: Mapping[str, float], wanted: Mapping[str, float]) -> np.ndarray:
    """Return what is added to logits that assume one prior so that they assume another.

    Args:
        assumed: ISIC code to share, in the order of the logits.
        wanted: ISIC code to share.

    Returns:
        float64 (diagnoses,).

    >>> shift({"MEL": 0.5, "NV": 0.5}, {"MEL": 0.1, "NV": 0.9}).round(2)
    array([-1.61,  0.59])
    """
    return np.array([math.log(wanted[code] / share) for code, share in assumed.items()])


def reweighted(
    probabilities: np.ndarray, assumed: Mapping[str, float], wanted: Mapping[str, float]
) -> np.ndarray:
    """Bring probabilities from one prior to another.

    Args:
        probabilities: float (..., diagnoses), in proportion to those under the prior `assumed`.
        assumed: ISIC code to share, in the order of the last axis.
        wanted: ISIC code to share.

    Returns:
        float64 (..., diagnoses), of sum 1, under the prior `wanted`.

    >>> reweighted(np.array([0.6, 0.4]), {"MEL": 0.5, "NV": 0.5}, {"MEL": 0.1, "NV": 0.9}).round(2)
    array([0.14, 0.86])
    """
    weighted = probabilities * np.exp(shift(assumed, wanted))
    return weighted / weighted.sum(axis=-1, keepdims=True)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities of logits: float (..., diagnoses), of sum 1 along the last axis.

    >>> softmax(np.array([2.0, 1.0, 0.0])).round(2)
    array([0.67, 0.24, 0.09])
    """
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def _is_weight(value):
    return isinstance(value, Real) and 0 < value < math.inf  # type: ignore[operator]  # of typeshed
