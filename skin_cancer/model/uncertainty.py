"""How far an answer can be trusted: calibration, prediction sets, unfamiliar pictures, cases.

What is applied here was fitted by `training.calibration`, on pictures that the network
had not learnt.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skin_cancer.images import squares
from skin_cancer.model import copies

REDUCED = 64  # numbers kept of each confirmed case
STEPS = 127  # in which a number of a case, at most 1, is kept
BLOCK = 2048  # cases that are compared at once
EXPONENT = 0.5  # of the features before distances are taken: a few large ones rule otherwise
SKIN_WEIGHT = 1.5
UNFAMILIAR = 0.5
CANDIDATES = 300  # nearest training images, of which an image may be a copy
COPY = 1.6  # least sum of both likenesses; `evaluation.known` says how many copies reach it


@dataclass(frozen=True)
class Case:
    """A confirmed case from the training images.

    Attributes:
        image_id, lesion_id: of the archive that it is in.
        diagnosis: confirmed ISIC code.
        similarity: cosine of the reduced features, -1 to 1.
    """

    image_id: str
    lesion_id: str
    diagnosis: str
    similarity: float


class Doubt:
    """What a bundle knows of the limits of its network.

    Args:
        fitted: `doubt` of the bundle's description, as `calibration.fit` returns it.
        reference: arrays of the bundle's reference file, as `calibration.refer` returns them.
    """

    def __init__(self, fitted: dict, reference: Mapping[str, np.ndarray]):
        self._fitted = fitted
        self._reference = compact(reference)
        self._basis = self._reference["basis"].astype(np.float32)

    def set_of(self, probabilities: dict[str, float]) -> tuple[str, ...]:
        """Return the ISIC codes of the prediction set, the most probable first.

        Class-conditional conformal sets (Vovk 2012, "Conditional validity of inductive conformal
        predictors", section 4; Sadinle, Lei, Wasserman 2019, "Least ambiguous set-valued
        classifiers with bounded error levels"): whatever the true diagnosis, nine in ten sets hold
        it. The most probable diagnosis is always a member.

        Args:
            probabilities: ISIC code to calibrated probability under the balanced prior.
        """
        ranked = sorted(probabilities, key=lambda code: probabilities[code], reverse=True)
        least = self._fitted["sets"]["thresholds"]
        return tuple(c for c in ranked if c == ranked[0] or probabilities[c] >= least[c])

    def unfamiliarity(self, features: np.ndarray, square: np.ndarray) -> float:
        """Return how unlike the training images a picture is, 0 to 1; above 0.5 it is unfamiliar.

        Args:
            features: float (channels,), pooled, of the centre square.
            square: uint8 RGB (size, size, 3), the centre square.
        """
        distances = self.distances(features, squares.appearance(square))
        scale = self._fitted["unfamiliarity"]["scale"]
        standard = {
            name: (value - scale[name]["centre"]) / scale[name]["spread"]
            for name, value in distances.items()
        }
        score = float(combined(standard))
        fitted = self._fitted["unfamiliarity"]
        steps = (score - fitted["threshold"]) / fitted["step"]
        return 1 / (1 + math.exp(-max(-700.0, min(700.0, steps))))

    def distances(self, features: np.ndarray, looks: np.ndarray) -> dict[str, float]:
        """Return what `unfamiliarity` is made of.

        Args:
            features: float (channels,), pooled, of the centre square.
            looks: float (63,), its `squares.appearance`.

        Returns:
            `features`: log of the squared distance from the subspace of the training images'
            features (Wang et al. 2022, "ViM: Out-of-distribution with virtual-logit matching",
            section 3.2). `appearance`: log of the squared Mahalanobis distance of colours and
            texture (Lee et al. 2018, "A simple unified framework for detecting out-of-distribution
            samples", section 2.1, for one class). `skin`: log odds of skin without a lesion.
        """
        r = self._reference
        offset = root(features) - r["mean"]
        within = offset @ self._basis
        looks = looks - r["appearance_mean"]
        return {
            "features": math.log(max(offset @ offset - within @ within, 1e-9)),
            "appearance": math.log(max(looks @ r["appearance_precision"] @ looks, 1e-9)),
            "skin": float(within @ r["skin_weights"] + r["skin_bias"]),
        }

    def reduced(self, features: np.ndarray) -> np.ndarray:
        """Return features reduced for `similar`: float32 (64,), of length 1.

        Args:
            features: float (channels,), pooled.
        """
        return reduce(root(features) - self._reference["mean"], self._basis)

    def similar(self, reduced: np.ndarray, count: int) -> list[Case]:
        """Return the nearest confirmed lesions, each by its nearest image, the nearest first.

        Args:
            reduced: float (64,), as `reduced` returns it.
            count: of the lesions.
        """
        likeness = self._likeness(reduced)
        found: dict[str, Case] = {}
        for i in np.argsort(-likeness, kind="stable"):
            if len(found) == count:
                break
            case = self._case(i, likeness[i])
            found.setdefault(case.lesion_id, case)
        return list(found.values())

    def known(self, reduced: np.ndarray, patterns: list[np.ndarray]) -> Case | None:
        """Return the training image that an image is a copy or a part of, if there is one.

        It is one of the `CANDIDATES` with the most similar features, and these and its pattern
        together are alike enough (`COPY`). None for a bundle that was fitted without patterns.

        Args:
            reduced: float (64,), as `reduced` returns it.
            patterns: as `copies.patterns` returns them.
        """
        r, likeness = self._reference, self._likeness(reduced)
        near = np.argsort(-likeness, kind="stable")[:CANDIDATES]
        near = near[likeness[near] >= COPY - 1]  # no pattern is more alike than 1
        if "patterns" not in r or not len(near):
            return None
        row, alike = copies.find(patterns, r["patterns"][near])
        found = self._case(near[row], likeness[near[row]])
        return found if alike + found.similarity >= COPY else None

    def _likeness(self, reduced):
        """Return the cosine of each case, a block at a time: a visitor's memory is dear."""
        cases = self._reference["cases"]
        starts = range(0, len(cases), BLOCK)
        blocks = [cases[start : start + BLOCK].astype(np.float32) @ reduced for start in starts]
        return np.concatenate(blocks) / STEPS

    def _case(self, row, likeness):
        image, lesion, code = (
            self._reference[name][row].decode() for name in ("image_id", "lesion_id", "diagnosis")
        )
        return Case(image, lesion, code, similarity=float(likeness))

    def calibrated(self, logits: np.ndarray) -> np.ndarray:
        """Return log probabilities, up to a constant, under the training prior.

        Temperature scaling (Guo et al. 2017, "On calibration of modern neural networks", section
        4.2).

        Args:
            logits: float (diagnoses,), as the graph gives them: they assume the training prior.
        """
        return logits / self._fitted["temperature"]


@dataclass(frozen=True)
class Origin:
    """Where an image comes from, as far as the training images tell: sought once, when asked.

    Attributes:
        doubt: what a bundle knows of its training images.
        reduced: float (64,), of the image, as `Doubt.reduced` returns it.
        patterns: of the image, as `copies.patterns` returns them.
    """

    doubt: Doubt
    reduced: np.ndarray
    patterns: list[np.ndarray]

    @cached_property
    def known(self) -> Case | None:
        """The training image that the image is a copy or a part of, if there is one."""
        return self.doubt.known(self.reduced, self.patterns)


def root(features: np.ndarray) -> np.ndarray:
    """Return the square roots of pooled features, which are at least 0 with ReLU6."""
    return np.maximum(features, 0) ** EXPONENT


def reduce(offsets: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Project offsets from the mean feature and bring them to length 1: float (..., 64)."""
    projected = offsets @ basis[:, :REDUCED]
    return projected / np.maximum(np.linalg.norm(projected, axis=-1, keepdims=True), 1e-9)


def compact(reference: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return a reference in little room, as bundles keep it; older ones are larger.

    Args:
        reference: arrays, of which `cases` may be float (cases, 64), and ids text.

    Returns:
        The same with `cases` int8, in `STEPS` from 0 to 1, and text as bytes of UTF-8.
    """
    kept = {name: reference[name] for name in reference}
    if kept["cases"].dtype != np.int8:
        kept["cases"] = np.round(STEPS * kept["cases"].astype(np.float32)).astype(np.int8)
    text = {name: array for name, array in kept.items() if array.dtype.kind == "U"}
    return kept | {name: np.char.encode(array, "utf-8") for name, array in text.items()}


def combined(standard: Mapping[str, float | np.ndarray]) -> np.ndarray:
    """Return one score of standardised distances: unlike on both counts, or bare skin."""
    return np.maximum(standard["features"] + standard["appearance"], SKIN_WEIGHT * standard["skin"])
