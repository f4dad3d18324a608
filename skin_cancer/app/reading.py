"""An image that was read, and what is said of it in one setting."""

import functools
import hashlib
from dataclasses import dataclass
from datetime import datetime

import cv2
import numpy as np

from skin_cancer import priors
from skin_cancer.data import credits
from skin_cancer.images import decoding, lesion, squares
from skin_cancer.images.quality import SIDE, Square
from skin_cancer.model.bundle import Description
from skin_cancer.model.classifier import SENSITIVITY, Classifier, Prediction, Verdict
from skin_cancer.priors import Prior

SHOWN_SIZE = 768
THUMBNAIL_SIZE = 72

# What a visitor may assume of how frequent the diagnoses are, in words.
PREVALENCES = {
    priors.CLINIC: "Specialist clinic",
    priors.SCREENING: "Screening",
    priors.BALANCED: "All diagnoses equally frequent",
}


@dataclass(frozen=True, eq=False)
class Reading:
    """An image and what the classifier says of it, whatever the setting.

    Attributes:
        name: the file's name, as the visitor's device gave it, or the id of an example.
        prediction: under the default prior.
        square: the part that was read, and the lesion found in it.
        picture: that part as a JPEG of at most 768 pixels a side, without any metadata; nothing
            else of the file is kept.
        thumbnail: the same, as a small JPEG.
        digest: of the file's bytes, by which the same file is known again.
        time: when it was read, in ISO 8601 with the offset from UTC.
        confirmed: ISIC code of an example's confirmed diagnosis, None for a visitor's image.
    """

    name: str
    prediction: Prediction
    square: Square
    picture: bytes
    thumbnail: bytes
    digest: str
    time: str
    confirmed: str | None = None

    @classmethod
    def of(
        cls, classifier: Classifier, name: str, content: bytes, confirmed: str | None = None
    ) -> "Reading":
        """Read the bytes of an image file and draw and measure all that is shown of it.

        Raises:
            ImageError: it cannot be read as an image.
        """
        image = decoding.read(content)
        size = min(SHOWN_SIZE, *image.pixels.shape[:2])
        shown = squares.centre_square(image.pixels, size)
        drawn = jpeg(shown), jpeg(squares.centre_square(shown, THUMBNAIL_SIZE))
        told = classifier.examine(image)
        reading = cls(name, *told, *drawn, digest(content), now(), confirmed)
        for part in ("outlines", "measures", "colours"):
            getattr(reading, part)  # what fails does so before the reading is among the others
        return reading

    @functools.cached_property
    def outlines(self) -> list[list[list[float]]]:
        """The lesion's outlines as polygons of x and y, each a share of the square.

        None where no lesion is found, and in an image that is unlike the training images.
        """
        found, _ = cv2.findContours(
            self._mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_TC89_L1
        )
        return [((line[:, 0] + 0.5) / SIDE).round(4).tolist() for line in found]

    @functools.cached_property
    def measures(self) -> dict[str, float]:
        """`area`, the lesion's share of the square, 0 to 1, and those of `lesion.measures`."""
        found = lesion.measures(self.square.pixels, self._mask)
        return {"area": float(self._mask.mean()), **found}

    @functools.cached_property
    def colours(self) -> list[str]:
        """The names of the lesion's colours."""
        return lesion.colours(self.square.pixels, self._mask) if self._mask.any() else []

    @property
    def _mask(self):
        """The lesion; nothing in an image that is unlike the training images."""
        return self.square.lesion & (not self.prediction.unfamiliar)


@dataclass(frozen=True)
class Refusal:
    """A file that could not be read.

    Attributes:
        name: as of `Reading`.
        reason: a sentence for the visitor.
        time: as of `Reading`.
    """

    name: str
    reason: str
    time: str


@dataclass(frozen=True, eq=False)
class Opinion:
    """What is said of a reading in one setting.

    Attributes:
        reading: the image.
        prediction: under the setting's prior.
        verdict: of that prediction, at the setting's sensitivity.
        prior: what the setting assumes.
        found: what the threshold found on the test images, as `Description.found_at` returns it.
        terms: on which the model's weights may be used.
    """

    reading: Reading
    prediction: Prediction
    verdict: Verdict
    prior: Prior
    found: list[dict]
    terms: str


def opinion(
    reading: Reading,
    classifier: Classifier,
    prior: str = priors.DEFAULT,
    sensitivity: float = SENSITIVITY,
) -> Opinion:
    """Say what a reading means in a setting; the network does not run again.

    Args:
        reading: the image.
        classifier: the one that read it.
        prior: the name of one of the bundle's priors.
        sensitivity: as for `Prediction.verdict`.
    """
    described = classifier.description
    prediction = classifier.under(reading.prediction, prior)
    return Opinion(
        reading,
        prediction,
        prediction.verdict(sensitivity),
        described.named_prior(prior),
        described.found_at(prior, sensitivity),
        terms(described),
    )


def terms(description: Description) -> str:
    """Return on which terms a bundle's weights may be used: those of what they learned from."""
    datasets = description.training["provenance"]["dataset"]
    return credits.joined(datasets.split(", ")).terms


def now() -> str:
    """Return the time of this computer in ISO 8601, with the offset from UTC."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def digest(content: bytes) -> str:
    """Return what tells a file's bytes from any others."""
    return hashlib.sha256(content).hexdigest()


def jpeg(image: np.ndarray) -> bytes:
    """Encode uint8 RGB (height, width, 3) as a JPEG without metadata."""
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    return data.tobytes()
