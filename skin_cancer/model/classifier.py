"""The deployed model: an image in, a `Prediction` out, on LiteRT alone."""

import logging
import os
import threading
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from skin_cancer import priors
from skin_cancer.diagnoses import BY_CODE
from skin_cancer.errors import BundleError, ImageError
from skin_cancer.images import inputs, quality, squares
from skin_cancer.images.inputs import Picture
from skin_cancer.images.quality import SIDE, Square
from skin_cancer.model import bundle, copies
from skin_cancer.model.uncertainty import UNFAMILIAR, Case, Doubt, Origin

MAX_VIEWS = 8
ZOOMS = (1.0, 0.9, 0.8, 0.7)
STRANGE = "This image is unlike the training images: do not rely on the answer."
KNOWN = "This lesion is among the training images: the answer proves nothing."
DISCLAIMER = (
    "This program supports a doctor's decision. It is not a medical device and makes no diagnosis."
)

SENSITIVITY = 0.95  # that a verdict aims at if no other is asked for
DIGITS = 5  # at most, of a percentage
NO_THRESHOLD = "no threshold for this prior"
NO_MALIGNANT = "no verdict: this model knows no malignant diagnosis"
NO_VERDICT = "no verdict: unlike the training images"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdict:
    """How a lesion stands to a threshold of malignancy, under the prediction's own prior.

    A threshold holds for the prior that it was fitted for and for no other.

    Attributes:
        suspicious: whether the malignancy is at or above the threshold; None where there is no
            threshold for the prior, or the image is unlike the training images.
        malignancy: probability of malignant or precursor, in [0, 1].
        threshold: what that is compared with, in [0, 1]; None where there is none.
        sensitivity: the share of malignant lesions that the threshold aims to find.
        words: the verdict in words.
    """

    suspicious: bool | None
    malignancy: float
    threshold: float | None
    sensitivity: float
    words: str

    @property
    def percents(self) -> tuple[str, str]:
        """Malignancy and threshold as text, with as many digits as tell them apart.

        Each is empty where there is none.
        """
        if self.words == NO_MALIGNANT:
            return "", ""
        if self.threshold is None:
            return percent(self.malignancy), ""
        for digits in range(DIGITS):
            shown = percent(self.malignancy, digits), percent(self.threshold, digits)
            if shown[0] != shown[1]:
                break
        return shown


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model says of one image.

    Attributes:
        probabilities: ISIC code to probability, in ISIC order; empty if there is an error.
        maps: float32 (h, w, diagnoses), the evidence for each diagnosis in each part of the
            centre square; its mean over the square is the logit less the head's bias.
        size: side in pixels of the square that the network saw, and of the heatmaps.
        prior: ISIC code to the share of all lesions that the probabilities assume.
        prior_name: the name of that prior in the bundle; `custom` for one given as a dictionary.
        thresholds: sensitivity to threshold of malignancy; empty if none was fitted for the prior.
        error: why the image could not be read, or None.
        prediction_set: the ISIC codes, the most probable first, among which the true diagnosis is
            in nine of ten lesions of each diagnosis; whatever the prior. Empty if the bundle has
            no such sets.
        unfamiliarity: 0 like the training images to 1 unlike any, unfamiliar above 0.5; None if
            the bundle cannot say.
        quality: what makes the image hard to read, as `quality.check` returns it, or what of its
            file was doubtful.
        source: the file that the image is of, as it was given; None if there is none.
    """

    probabilities: dict[str, float]
    maps: np.ndarray = field(repr=False)
    size: int
    prior: dict[str, float]
    prior_name: str
    thresholds: dict[float, float] = field(default_factory=dict)
    error: str | None = None
    prediction_set: tuple[str, ...] = ()
    unfamiliarity: float | None = None
    quality: dict[str, str] = field(default_factory=dict)
    source: str | None = None
    features: np.ndarray | None = field(default=None, repr=False)
    origin: Origin | None = field(default=None, repr=False)
    doubt: Doubt | None = field(default=None, repr=False)

    @property
    def diagnosis(self) -> str:
        """The most probable ISIC code.

        Raises:
            ImageError: the image could not be read.
        """
        if self.error:
            raise ImageError(self.error)
        return max(self.probabilities, key=lambda code: self.probabilities[code])

    @property
    def malignancy(self) -> float:
        """The probability that the lesion is malignant or a precursor, in [0, 1].

        0 where the model knows no such diagnosis.

        Raises:
            ImageError: the image could not be read.
        """
        if self.error:
            raise ImageError(self.error)
        return sum(self.probabilities[code] for code in self._malignant)

    @property
    def _malignant(self):
        return [code for code in self.probabilities if BY_CODE[code].malignant]

    @property
    def unfamiliar(self) -> bool:
        """Whether the image is unlike the training images, so that no answer holds."""
        return self.unfamiliarity is not None and self.unfamiliarity > UNFAMILIAR

    def verdict(self, sensitivity: float = SENSITIVITY) -> Verdict:
        """Compare the malignancy with the threshold that aims at a sensitivity.

        Args:
            sensitivity: one for which the bundle has a threshold under this prior; any where it has
                none.

        Raises:
            ImageError: the image could not be read.
            ValueError: there are thresholds for this prior, but none for that sensitivity.
        """
        malignancy, threshold = self.malignancy, bundle.threshold_at(self.thresholds, sensitivity)
        if threshold is None:
            words = NO_THRESHOLD if self._malignant else NO_MALIGNANT
            return Verdict(None, malignancy, None, sensitivity, words)
        if self.unfamiliar:
            return Verdict(None, malignancy, threshold, sensitivity, NO_VERDICT)
        suspicious = malignancy >= threshold
        words = "above threshold" if suspicious else "below threshold"
        return Verdict(suspicious, malignancy, threshold, sensitivity, words)

    @property
    def warnings(self) -> list[str]:
        """Why the answer should be doubted, each a sentence for the user."""
        known = [KNOWN] if self.known else []
        return [STRANGE] * self.unfamiliar + known + list(self.quality.values())

    @property
    def known(self) -> Case | None:
        """The training image that this one is, or a part of: resized, compressed, turned or not.

        None where there is none, or the bundle cannot say.
        """
        return self.origin.known if self.origin else None

    def similar(self, count: int = 5) -> list[Case]:
        """Return the confirmed lesions among the training images that look most alike.

        A lesion that the image is known to show is not among them.

        Args:
            count: of the lesions, the most similar first; fewer if the bundle has fewer.

        Raises:
            ImageError: the image could not be read.
            BundleError: the bundle has no confirmed cases.
        """
        if self.error:
            raise ImageError(self.error)
        if self.doubt is None or self.features is None:
            raise BundleError(
                "This bundle has no confirmed cases: "
                "python -m skin_cancer.training.calibration adds them."
            )
        own = self.known.lesion_id if self.known else None
        found = self.doubt.similar(self.features, count + 1)
        return [case for case in found if case.lesion_id != own][:count]

    @cached_property
    def heatmaps(self) -> dict[str, np.ndarray]:
        """ISIC code to class activation map over the centre square, float32 in [0, 1].

        Zhou et al. 2016, "Learning Deep Features for Discriminative Localization", section 2.
        1 is the strongest evidence for that diagnosis in this image, 0 is none.
        """
        if self.error:
            return {}
        return dict(zip(self.probabilities, _heatmaps(self.maps, self.size), strict=True))

    def __str__(self) -> str:
        if self.error:
            return f"No prediction: {self.error}"
        found = BY_CODE[self.diagnosis]
        ranked = sorted(self.probabilities.items(), key=lambda item: -item[1])
        members = ", ".join(self.prediction_set)
        lines = [
            f"{found.name} ({found.code}), probability {percent(self.probabilities[found.code])}",
            f"malignant or precancerous ({', '.join(self._malignant)}): {_in_words(self)}"
            if self._malignant
            else NO_MALIGNANT,
            "all diagnoses: " + ", ".join(f"{code} {percent(p)}" for code, p in ranked),
            *([f"prediction set, right for nine in ten lesions: {members}"] if members else []),
            *(f"warning: {sentence}" for sentence in self.warnings),
            f"prior {self.prior_name}: "
            + ", ".join(f"{c} {percent(p)}" for c, p in self.prior.items()),
            DISCLAIMER,
        ]
        return "\n".join(lines)


class Classifier:
    """A loaded bundle. Threads may share it: the network takes their images in turn.

    Attributes:
        description: what the bundle says of itself, a `bundle.Description`.
    """

    def __init__(self, description: bundle.Description, graph_path: Path, threads: int | None):
        self.description = description
        self._doubt = _doubt(description, graph_path.parent)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
        try:
            interpreter = Interpreter(str(graph_path), num_threads=threads or min(4, cores))
        except ValueError as error:
            raise BundleError(f"{graph_path} is no LiteRT graph: {error}") from error
        self._runner = interpreter.get_signature_runner()
        self._free = threading.Lock()

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike | None = None,
        graph: str | None = None,
        threads: int | None = None,
    ) -> "Classifier":
        """Load a bundle.

        Args:
            folder: the bundle's folder; the shipped one if None.
            graph: `float` or `int8`; the bundle's default if None.
            threads: of the network; as many as there are cores, at most four, if None.

        Raises:
            BundleError: the bundle is absent, damaged, of another schema version or no model.
            ValueError: no such graph.
        """
        folder = Path(folder) if folder else bundle.DEFAULT_BUNDLE
        description = bundle.read(folder)
        graph = graph or description.default_graph
        if graph not in bundle.GRAPHS:
            raise ValueError(f"No graph {graph!r}; there are {', '.join(bundle.GRAPHS)}.")
        return cls(description, folder / bundle.GRAPHS[graph], threads)

    def predict(
        self, image: Picture, views: int = 1, prior: str | Mapping[str, float] = priors.DEFAULT
    ) -> Prediction:
        """Classify one image.

        Args:
            image: a path, the bytes of a file, a file opened for bytes, an image of Pillow, or an
                array: grey, RGB or RGBA, of uint8, uint16 or floats in [0, 1], as `inputs.read`
                takes them.
            views: 1 to 8 turned, mirrored and zoomed views whose logits are averaged; heatmaps
                are of those that show the whole square.
            prior: how often each diagnosis is expected: the name of one of the bundle's priors,
                `"clinic"` (a specialist clinic), `"screening"`, `"balanced"` (all alike) or
                `"training"` (as in the training images), or a dictionary of ISIC code to weight.

        Raises:
            ImageError: the image cannot be read.
            ValueError: no such prior, or views out of range.
        """
        return self.examine(image, views, prior)[0]

    def examine(
        self, image: Picture, views: int = 1, prior: str | Mapping[str, float] = priors.DEFAULT
    ) -> tuple[Prediction, Square]:
        """Classify as `predict` does; return the square that was read, with its lesion, as well.

        Raises:
            ImageError, ValueError: as of `predict`.
        """
        if views not in range(1, MAX_VIEWS + 1):
            raise ValueError(f"views={views}: take 1 to {MAX_VIEWS}.")
        start, assumed = time.perf_counter(), self._assumed(prior)
        (pixels, doubts), size = inputs.read(image), self.description.input_size
        square = Square.of(pixels)
        first = square.pixels if size == SIDE else _view(pixels, size, 0)
        outputs = self._run(np.stack([first, *(_view(pixels, size, i) for i in range(1, views))]))
        logits = outputs["logits"].mean(axis=0).astype(float)
        whole = range(0, views, len(ZOOMS))
        maps = np.mean([_unview(outputs["maps"][i], i) for i in whole], axis=0)
        more = {**assumed, "source": inputs.name(image)}
        more["quality"] = doubts | quality.check(square)
        if self._doubt:
            logits = self._doubt.calibrated(logits)
            features = outputs["features"][0]
            balanced = priors.balanced(self.description.diagnoses)
            more["prediction_set"] = self._doubt.set_of(self._weighed(logits, balanced))
            more["unfamiliarity"] = self._doubt.unfamiliarity(features, first)
            more["features"] = self._doubt.reduced(features)
            more["origin"] = Origin(self._doubt, more["features"], copies.patterns(first))
            more["doubt"] = self._doubt
        took = 1000 * (time.perf_counter() - start)
        name, width, height = self.description.name, square.width, square.height
        log.info("%s: %d x %d pixels, %.0f ms", name, width, height, took)
        return Prediction(self._weighed(logits, assumed["prior"]), maps, size, **more), square

    def predict_many(
        self,
        images: str | os.PathLike | Iterable[Picture],
        views: int = 1,
        prior: str | Mapping[str, float] = priors.DEFAULT,
    ) -> Iterator[Prediction]:
        """Classify images one after the other; `Prediction.source` says which file each is of.

        An image that cannot be read gives a `Prediction` with its `error`, and the next follows.

        Args:
            images: a folder, whose files are all taken, or anything that `predict` takes, several.
            views: as in `predict`.
            prior: as in `predict`.

        Raises:
            ImageError: this is a lone image, or a folder without files.
        """
        return self._each(inputs.several(images), views, prior)

    def _each(self, images, views, prior):
        for image in images:
            try:
                yield self.predict(image, views, prior)
            except ImageError as error:
                empty = np.zeros((0, 0, 0), np.float32)
                more = {**self._assumed(prior), "source": inputs.name(image)}
                yield Prediction({}, empty, self.description.input_size, **more, error=str(error))

    def under(self, prediction: Prediction, prior: str | Mapping[str, float]) -> Prediction:
        """Return a prediction under another prior, without running the network again.

        Args:
            prediction: of this classifier.
            prior: as in `predict`.

        Raises:
            ImageError: the image could not be read.
            ValueError: no such prior.
        """
        if prediction.error:
            raise ImageError(prediction.error)
        assumed = self._assumed(prior)
        if assumed["prior"] == prediction.prior:
            return replace(prediction, **assumed)
        before = np.array(list(prediction.probabilities.values()))
        found = priors.reweighted(before, prediction.prior, assumed["prior"]).tolist()
        return replace(
            prediction,
            probabilities=dict(zip(prediction.probabilities, found, strict=True)),
            **assumed,
        )

    def features(self, square: np.ndarray) -> np.ndarray:
        """Return the pooled features of one square: float32 (channels,).

        Args:
            square: uint8 RGB (size, size, 3), of the network's input size.
        """
        return self._run(square[None])["features"][0]

    def _run(self, inputs):
        with self._free:
            return self._runner(image=inputs)

    def _weighed(self, logits, shares):
        """Return ISIC code to probability under a prior, of logits under the training prior."""
        trained = self.description.prior
        found = priors.softmax(logits + priors.shift(trained, shares)).tolist()
        return dict(zip(trained, found, strict=True))

    def _assumed(self, prior):
        """Return the fields of a `Prediction` that follow from its prior."""
        described = self.description
        if isinstance(prior, Mapping):
            given = priors.shares(prior, described.diagnoses)
            return {"prior": given, "prior_name": priors.CUSTOM, "thresholds": {}}
        return {
            "prior": described.named_prior(prior).shares,
            "prior_name": prior,
            "thresholds": described.thresholds(prior),
        }


def _doubt(description, folder):
    """Return the `Doubt` of a bundle, or None if it has none."""
    if not description.doubt:
        return None
    path, patterns = folder / bundle.REFERENCE, folder / bundle.PATTERNS
    try:
        with np.load(path, allow_pickle=False) as kept:
            reference = {name: kept[name] for name in kept}
        if patterns.exists():  # mapped: kernels share it, and hold what they look at alone
            reference["patterns"] = np.load(patterns, mmap_mode="r", allow_pickle=False)
        return Doubt(description.doubt, reference)
    except (EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path} is no reference of doubt: {error}") from error


def _view(image, size, i):
    """Return the i-th of the eight turned, mirrored and zoomed views of an image."""
    square = squares.centre_square(image, size, ZOOMS[i % len(ZOOMS)])
    return np.rot90(square[:, ::-1] if i >= 4 else square, i % 4)


def _unview(maps, i):
    """Turn maps of the i-th view back."""
    maps = np.rot90(maps, -(i % 4))
    return maps[:, ::-1] if i >= 4 else maps


def _heatmaps(maps, size):
    """Scale evidence (h, w, n) as Grad-CAM does and enlarge it: float32 (n, size, size) in [0, 1].

    Selvaraju et al. 2017, "Grad-CAM", equation 2: positive evidence alone; the largest is 1.
    """
    positive = np.maximum(maps.transpose(2, 0, 1), 0)
    scaled = positive / np.maximum(positive.max(axis=(1, 2), keepdims=True), 1e-6)
    rows, columns = (_enlargement(length, size) for length in maps.shape[:2])
    enlarged = rows @ scaled @ columns.T
    return np.clip(enlarged, 0, 1, out=enlarged)


@cache
def _enlargement(length, size):
    """Return the matrix that OpenCV's cubic interpolation multiplies each side with."""
    identity = np.eye(length, dtype=np.float32)
    return cv2.resize(identity, (length, size), interpolation=cv2.INTER_CUBIC)


def _in_words(prediction):
    """Return malignancy and verdict on one line."""
    verdict = prediction.verdict()
    malignancy, threshold = verdict.percents
    if verdict.suspicious is None:
        return f"{malignancy}, {verdict.words}"
    aim = f"set for {percent(verdict.sensitivity)} sensitivity"
    return f"{malignancy}, {verdict.words} ({threshold}, {aim})"


def percent(probability: float, digits: int = 0) -> str:
    """Return a probability in words fit for reading: never 0% or 100% unless it is exactly.

    Args:
        probability: in [0, 1].
        digits: after the decimal point of the percentage.
    """
    least = 10.0 ** -(2 + digits)
    if 0 < probability < least:
        return f"<{least:.{digits}%}"
    if 1 - least < probability < 1:
        return f">{1 - least:.{digits}%}"
    return f"{probability:.{digits}%}"
