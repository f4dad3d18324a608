"""A picture that was read, and what is said of it in one setting."""

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from skin_cancer import priors
from skin_cancer.images import decoding, lesion, quality, squares
from skin_cancer.model.classifier import SENSITIVITY, Classifier, Prediction, Verdict
from skin_cancer.priors import Prior

SHOWN_SIZE = 768
THUMBNAIL_SIZE = 72

# What a visitor may assume of how frequent the diagnoses are, in words.
PREVALENCES = {
    priors.CLINIC: "Specialist clinic",
    priors.SCREENING: "Screening",
    priors.BALANCED: "Balanced",
}


@dataclass(frozen=True, eq=False)
class Reading:
    """A picture and what the classifier says of it, whatever the setting.

    Attributes:
        name: the file's name, as the visitor's device gave it.
        prediction: under the default prior.
        square: uint8 RGB (side, side, 3), side at most 768, the part that was read; nothing else of
            the file is kept.
    """

    name: str
    prediction: Prediction
    square: np.ndarray

    @classmethod
    def of(cls, classifier: Classifier, name: str, content: bytes) -> "Reading":
        """Read the bytes of an image file and draw and measure all that is shown of it.

        Raises:
            ImageError: it cannot be read as a picture.
        """
        image = decoding.decode(content)
        size = min(SHOWN_SIZE, *image.shape[:2])
        reading = cls(name, classifier.predict(image), squares.centre_square(image, size))
        for part in ("picture", "thumbnail", "outlines", "measures", "colours"):
            getattr(reading, part)  # what fails does so before the reading is among the others
        return reading

    @functools.cached_property
    def picture(self) -> bytes:
        """The square as a JPEG without any metadata."""
        return jpeg(self.square)

    @functools.cached_property
    def thumbnail(self) -> bytes:
        """The square as a small JPEG."""
        return jpeg(squares.centre_square(self.square, THUMBNAIL_SIZE))

    @functools.cached_property
    def outlines(self) -> list[list[list[float]]]:
        """The lesion's outlines as polygons of x and y, each a share of the square.

        None where no lesion is found, and in a picture that is unlike the training images.
        """
        found, _ = cv2.findContours(
            self._mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_TC89_L1
        )
        return [((line[:, 0] + 0.5) / quality.SIDE).round(4).tolist() for line in found]

    @functools.cached_property
    def measures(self) -> dict[str, float]:
        """`area`, the lesion's share of the square, 0 to 1, and those of `lesion.measures`."""
        return {"area": float(self._mask.mean()), **lesion.measures(self._small, self._mask)}

    @functools.cached_property
    def colours(self) -> list[str]:
        """The names of the lesion's colours."""
        return lesion.colours(self._small, self._mask) if self._mask.any() else []

    @functools.cached_property
    def _small(self):
        """The square at the size at which `quality.check` looks for the lesion."""
        return squares.centre_square(self.square, quality.SIDE)

    @functools.cached_property
    def _mask(self):
        if self.prediction.unfamiliar:
            return np.zeros(self._small.shape[:2], bool)
        return lesion.find_lesion(self._small)


@dataclass(frozen=True, eq=False)
class Opinion:
    """What is said of a reading in one setting.

    Attributes:
        reading: the picture.
        prediction: under the setting's prior.
        verdict: of that prediction, at the setting's sensitivity.
        prior: what the setting assumes.
        found: what the threshold found on the test images, as `Description.found_at` returns it.
    """

    reading: Reading
    prediction: Prediction
    verdict: Verdict
    prior: Prior
    found: dict | None


def opinion(
    reading: Reading,
    classifier: Classifier,
    prior: str = priors.DEFAULT,
    sensitivity: float = SENSITIVITY,
) -> Opinion:
    """Say what a reading means in a setting; the network does not run again.

    Args:
        reading: the picture.
        classifier: the one that read it.
        prior: the name of one of the bundle's priors.
        sensitivity: as for `Prediction.verdict`.
    """
    described = classifier.description
    prediction = classifier.under(reading.prediction, prior)
    verdict, found = prediction.verdict(sensitivity), described.found_at(prior, sensitivity)
    return Opinion(reading, prediction, verdict, described.named_prior(prior), found)


def jpeg(image: np.ndarray) -> bytes:
    """Encode uint8 RGB (height, width, 3) as a JPEG without metadata."""
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    return data.tobytes()
