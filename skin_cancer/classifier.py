"""The deployed model: a picture in, a `Prediction` out, on LiteRT alone."""

import logging
import math
import os
import threading
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Real
from pathlib import Path

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from skin_cancer import bundle, imaging, quality
from skin_cancer.diagnoses import BY_CODE
from skin_cancer.doubt import UNFAMILIAR, Case, Doubt
from skin_cancer.errors import BundleError, ImageError

MAX_VIEWS = 8
ZOOMS = (1.0, 0.9, 0.8, 0.7)
STRANGE = (
    "This picture is unlike the dermatoscopic pictures that the model has learnt from: do not rely "
    "on the answer."
)
DISCLAIMER = (
    "This program supports a doctor's decision. It is not a medical device and makes no diagnosis."
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model says of one picture.

    Attributes:
        probabilities: ISIC code to probability, in ISIC order; empty if there is an error.
        maps: float32 (h, w, diagnoses), the evidence for each diagnosis in each part of the
            centre square; its mean over the square is the logit less the head's bias.
        size: side in pixels of the square that the network saw, and of the heatmaps.
        prior: ISIC code to the share of all lesions that the probabilities assume.
        error: why the picture could not be read, or None.
        prediction_set: the ISIC codes, the most probable first, among which the true diagnosis is
            in nine of ten lesions of each diagnosis; whatever the prior. Empty if the bundle has
            no such sets.
        unfamiliarity: 0 like the training images to 1 unlike any, unfamiliar above 0.5; None if
            the bundle cannot say.
        quality: what makes the picture hard to read, as `quality.check` returns it.
    """

    probabilities: dict[str, float]
    maps: np.ndarray = field(repr=False)
    size: int
    prior: dict[str, float]
    error: str | None = None
    prediction_set: tuple[str, ...] = ()
    unfamiliarity: float | None = None
    quality: dict[str, str] = field(default_factory=dict)
    features: np.ndarray | None = field(default=None, repr=False)
    doubt: Doubt | None = field(default=None, repr=False)

    @property
    def diagnosis(self) -> str:
        """The most probable ISIC code.

        Raises:
            ImageError: the picture could not be read.
        """
        if self.error:
            raise ImageError(self.error)
        return max(self.probabilities, key=self.probabilities.get)

    @property
    def malignancy(self) -> float:
        """The probability that the lesion is malignant or a precursor, in [0, 1].

        Raises:
            ImageError: the picture could not be read.
        """
        if self.error:
            raise ImageError(self.error)
        return sum(p for code, p in self.probabilities.items() if BY_CODE[code].malignant)

    @property
    def warnings(self) -> list[str]:
        """Why the answer should be doubted, each a sentence for the user."""
        strange = self.unfamiliarity is not None and self.unfamiliarity > UNFAMILIAR
        return [STRANGE] * strange + list(self.quality.values())

    def similar(self, count: int = 5) -> list[Case]:
        """Return the confirmed lesions among the training images that look most alike.

        Args:
            count: of the lesions, the most similar first; fewer if the bundle has fewer.

        Raises:
            ImageError: the picture could not be read.
            BundleError: the bundle has no confirmed cases.
        """
        if self.error:
            raise ImageError(self.error)
        if self.doubt is None:
            raise BundleError(
                "This bundle has no confirmed cases: python -m skin_cancer.calibration adds them."
            )
        return self.doubt.similar(self.features, count)

    @cached_property
    def heatmaps(self) -> dict[str, np.ndarray]:
        """ISIC code to class activation map over the centre square, float32 in [0, 1].

        Zhou et al. 2016, "Learning Deep Features for Discriminative Localization", section 2.
        1 is the strongest evidence for that diagnosis in this picture, 0 is none.
        """
        return {
            code: _heatmap(self.maps[..., i], self.size)
            for i, code in enumerate(self.probabilities)
        }

    def __str__(self):
        if self.error:
            return f"No prediction: {self.error}"
        found = BY_CODE[self.diagnosis]
        ranked = sorted(self.probabilities.items(), key=lambda item: -item[1])
        malignant = [code for code in self.probabilities if BY_CODE[code].malignant]
        members = ", ".join(self.prediction_set)
        lines = [
            f"{found.name} ({found.code}), probability {percent(self.probabilities[found.code])}",
            f"malignant or a precursor ({', '.join(malignant)}): {percent(self.malignancy)}",
            "all diagnoses: " + ", ".join(f"{code} {percent(p)}" for code, p in ranked),
            *([f"in nine of ten such cases one of: {members}"] if members else []),
            *(f"warning: {sentence}" for sentence in self.warnings),
            "assumed frequency: " + ", ".join(f"{c} {percent(p)}" for c, p in self.prior.items()),
            DISCLAIMER,
        ]
        return "\n".join(lines)


class Classifier:
    """A loaded bundle. Threads may share it: the network takes their pictures in turn.

    Attributes:
        description: what the bundle says of itself, a `bundle.Description`.
    """

    def __init__(self, description: bundle.Description, graph_path: Path, threads: int | None):
        self.description = description
        self._doubt = _doubt(description, graph_path.with_name(bundle.REFERENCE))
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
        try:
            interpreter = Interpreter(str(graph_path), num_threads=threads or min(4, cores))
        except ValueError as error:
            raise BundleError(f"{graph_path} is no LiteRT graph: {error}") from error
        self._runner = interpreter.get_signature_runner()
        self._free = threading.Lock()

    @classmethod
    def load(
        cls, folder=None, graph: str | None = None, threads: int | None = None
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

    def predict(self, image, views: int = 1, prior="balanced") -> Prediction:
        """Classify one picture.

        Args:
            image: path, bytes of an image file, or uint8 RGB array (height, width, 3).
            views: 1 to 8 turned, mirrored and zoomed views whose logits are averaged; heatmaps
                are of those that show the whole square.
            prior: how often each diagnosis is expected: `"balanced"` for all alike,
                `"training"` as in the training images, or a dictionary of ISIC code to weight.

        Raises:
            ImageError: the picture cannot be read.
            ValueError: no such prior, or views out of range.
        """
        if views not in range(1, MAX_VIEWS + 1):
            raise ValueError(f"views={views}: take 1 to {MAX_VIEWS}.")
        start, assumed = time.perf_counter(), self._shares(prior)
        pixels, size = _pixels(image), self.description.input_size
        squares = np.stack([_view(pixels, size, i) for i in range(views)])
        outputs = self._run(squares)
        logits = outputs["logits"].mean(axis=0).astype(float)
        whole = range(0, views, len(ZOOMS))
        maps = np.mean([_unview(outputs["maps"][i], i) for i in whole], axis=0)
        more = {"quality": quality.check(pixels)}
        if self._doubt:
            logits = self._doubt.calibrated(logits)
            features = outputs["features"][0]
            more["prediction_set"] = self._doubt.set_of(self._weighed(logits, "balanced"))
            more["unfamiliarity"] = self._doubt.unfamiliarity(features, squares[0])
            more["features"] = self._doubt.reduced(features)
            more["doubt"] = self._doubt
        height, width = pixels.shape[:2]
        took = 1000 * (time.perf_counter() - start)
        log.info("%s: %d x %d pixels, %.0f ms", self.description.name, width, height, took)
        return Prediction(self._weighed(logits, prior), maps, size, assumed, **more)

    def predict_many(
        self, images: Iterable, views: int = 1, prior="balanced"
    ) -> Iterator[Prediction]:
        """Classify pictures one after the other.

        A picture that cannot be read gives a `Prediction` with its `error`, and the next follows.

        Args:
            images: anything that `predict` takes.
            views: as in `predict`.
            prior: as in `predict`.
        """
        for image in images:
            try:
                yield self.predict(image, views, prior)
            except ImageError as error:
                empty = np.zeros((0, 0, 0), np.float32)
                size = self.description.input_size
                yield Prediction({}, empty, size, self._shares(prior), error=str(error))

    def under(self, prediction: Prediction, prior) -> Prediction:
        """Return a prediction under another prior, without running the network again.

        Args:
            prediction: of this classifier.
            prior: as in `predict`.

        Raises:
            ImageError: the picture could not be read.
            ValueError: no such prior.
        """
        if prediction.error:
            raise ImageError(prediction.error)
        assumed = self._shares(prior)
        odds = {
            c: p * assumed[c] / prediction.prior[c] for c, p in prediction.probabilities.items()
        }
        total = sum(odds.values())
        shares = {code: value / total for code, value in odds.items()}
        return replace(prediction, probabilities=shares, prior=assumed)

    def features(self, square: np.ndarray) -> np.ndarray:
        """Return the pooled features of one square: float32 (channels,).

        Args:
            square: uint8 RGB (size, size, 3), of the network's input size.
        """
        return self._run(square[None])["features"][0]

    def _run(self, squares):
        with self._free:
            return self._runner(image=squares)

    def _weighed(self, logits, prior):
        """Return ISIC code to probability under a prior, of logits under the training prior."""
        assumed, trained = self._shares(prior), self._shares("training")
        shift = [math.log(assumed[code] / trained[code]) for code in assumed]
        return dict(zip(assumed, _softmax(logits + shift), strict=True))

    def _shares(self, prior):
        """Return the share of each diagnosis, in the order of the network's outputs."""
        codes = self.description.diagnoses
        named = {"balanced": dict.fromkeys(codes, 1.0), "training": self.description.prior}
        weights = named.get(prior) if isinstance(prior, str) else prior
        if not isinstance(weights, Mapping):
            raise ValueError(f"prior={prior!r}: take 'balanced', 'training' or a dictionary.")
        if set(weights) != set(codes) or not all(_is_weight(w) for w in weights.values()):
            raise ValueError(f"A prior gives each of {', '.join(codes)} a weight above zero.")
        total = sum(weights.values())
        return {code: weights[code] / total for code in codes}


def _doubt(description, path):
    """Return the `Doubt` of a bundle, or None if it has none."""
    if not description.doubt:
        return None
    try:
        with np.load(path, allow_pickle=False) as reference:
            return Doubt(description.doubt, reference)
    except (EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path} is no reference of doubt: {error}") from error


def _is_weight(value):
    return isinstance(value, Real) and 0 < value < math.inf


def _pixels(image):
    if isinstance(image, (str, os.PathLike)):
        try:
            return imaging.decode(Path(image).read_bytes())
        except (OSError, ValueError) as error:
            raise ImageError(f"{image} cannot be opened: {error}.") from error
    if isinstance(image, (bytes, bytearray, memoryview)):
        return imaging.decode(bytes(image))
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape[2:] == (3,):
        imaging.check_size(image.shape[1], image.shape[0])
        return image
    raise ImageError("A picture is a path, the bytes of a file, or an RGB uint8 array (H, W, 3).")


def _view(image, size, i):
    """Return the i-th of the eight turned, mirrored and zoomed views of a picture."""
    square = imaging.centre_square(image, size, ZOOMS[i % len(ZOOMS)])
    return np.rot90(square[:, ::-1] if i >= 4 else square, i % 4)


def _unview(maps, i):
    """Turn maps of the i-th view back."""
    maps = np.rot90(maps, -(i % 4))
    return maps[:, ::-1] if i >= 4 else maps


def _heatmap(evidence, size):
    """Grad-CAM's scaling (Selvaraju et al. 2017, equation 2): positive evidence, largest is 1."""
    positive = np.maximum(evidence, 0)
    scaled = positive / max(positive.max(), 1e-6)
    return np.clip(cv2.resize(scaled, (size, size), interpolation=cv2.INTER_CUBIC), 0, 1)


def _softmax(logits):
    weights = np.exp(logits - logits.max())
    return (weights / weights.sum()).tolist()


def percent(probability: float) -> str:
    """Return a probability in words fit for reading: never 0 % or 100 % unless it is exactly."""
    if 0 < probability < 0.01:
        return "<1 %"
    if 0.99 < probability < 1:
        return ">99 %"
    return f"{probability:.0%}".replace("%", " %")
