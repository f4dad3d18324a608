"""A picture that was read, and what is said of it in one setting."""

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from skin_cancer import imaging, lesion, quality
from skin_cancer.bundle import Description
from skin_cancer.classifier import Classifier, Prediction
from skin_cancer.doubt import UNFAMILIAR

SHOWN_SIZE = 768
THUMBNAIL_SIZE = 72

# What is assumed of the lesions that are looked at: name to sentence and prior. The shares of
# screening are round numbers of this project, for a crowd without complaints; weights as percent.
PREVALENCES = {
    "Balanced": ("all diagnoses equally frequent", "balanced"),
    "Specialist clinic": (
        "as in the training images, from two such clinics",
        "training",
    ),
    "Screening": (
        "people without complaints: mostly nevi, a melanoma among two hundred",
        {
            "MEL": 0.5,
            "NV": 80,
            "BCC": 1,
            "AKIEC": 2,
            "BKL": 14,
            "DF": 1.2,
            "VASC": 1,
            "SCC": 0.3,
        },
    ),
}
SENSITIVITY = 0.95  # of the threshold that a visitor meets first


@dataclass(frozen=True, eq=False)
class Reading:
    """A picture and what the classifier says of it, whatever the setting.

    Attributes:
        name: the file's name, as the visitor's device gave it.
        prediction: under the balanced prior.
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
        image = imaging.decode(content)
        size = min(SHOWN_SIZE, *image.shape[:2])
        reading = cls(name, classifier.predict(image), imaging.centre_square(image, size))
        for part in ("picture", "thumbnail", "outlines", "measures", "colours"):
            getattr(reading, part)  # what fails does so before the reading is among the others
        return reading

    @property
    def strange(self) -> bool:
        """Whether the picture is unlike the training images."""
        unfamiliarity = self.prediction.unfamiliarity
        return unfamiliarity is not None and unfamiliarity > UNFAMILIAR

    @functools.cached_property
    def picture(self) -> bytes:
        """The square as a JPEG without any metadata."""
        return jpeg(self.square)

    @functools.cached_property
    def thumbnail(self) -> bytes:
        """The square as a small JPEG."""
        return jpeg(imaging.centre_square(self.square, THUMBNAIL_SIZE))

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
        return imaging.centre_square(self.square, quality.SIDE)

    @functools.cached_property
    def _mask(self):
        if self.strange:
            return np.zeros(self._small.shape[:2], bool)
        return lesion.find_lesion(self._small)


@dataclass(frozen=True)
class Verdict:
    """How a lesion stands to a threshold of malignancy.

    The threshold was fitted under the training prior and is compared there, so that the verdict
    does not depend on the prevalence.

    Attributes:
        above: whether the lesion is called suspicious.
        malignancy: its probability of malignant or precursor under the training prior.
        threshold: what that is compared with.
        sensitivity: the share of malignant lesions that the threshold was set to find.
        measured: images, sensitivity and specificity found on the test images; None if unknown.
    """

    above: bool
    malignancy: float
    threshold: float
    sensitivity: float
    measured: tuple[int, float, float] | None


@dataclass(frozen=True, eq=False)
class Opinion:
    """What is said of a reading in one setting.

    Attributes:
        reading: the picture.
        prediction: under the setting's prior.
        prevalence: a name of `PREVALENCES`.
        verdict: None if the bundle has no thresholds.
    """

    reading: Reading
    prediction: Prediction
    prevalence: str
    verdict: Verdict | None


def opinion(
    reading: Reading, classifier: Classifier, prevalence: str, sensitivity: float | None
) -> Opinion:
    """Say what a reading means in a setting; the network does not run again.

    Args:
        reading: the picture.
        classifier: the one that read it.
        prevalence: a name of `PREVALENCES`.
        sensitivity: one of `sensitivities`, or None if the bundle has none.
    """
    described = classifier.description
    prediction = classifier.under(reading.prediction, prior_of(prevalence, described))
    if sensitivity is None:
        return Opinion(reading, prediction, prevalence, None)
    malignancy = classifier.under(reading.prediction, "training").malignancy
    threshold = _thresholds(described)[sensitivity]
    measured = _measured(described, sensitivity)
    verdict = Verdict(malignancy >= threshold, malignancy, threshold, sensitivity, measured)
    return Opinion(reading, prediction, prevalence, verdict)


def prior_of(prevalence: str, described: Description) -> str | dict[str, float]:
    """Return a prevalence as a prior of `Classifier.predict`."""
    prior = PREVALENCES[prevalence][1]
    return prior if isinstance(prior, str) else {code: prior[code] for code in described.diagnoses}


def sensitivities(described: Description) -> list[float]:
    """Return for which sensitivities a bundle has thresholds; empty if for none."""
    return list(_thresholds(described))


def _thresholds(described):
    fitted = described.doubt.get("malignancy", [])
    return {each["sensitivity"]: each["threshold"] for each in fitted}


def _measured(described, sensitivity):
    """Return images, sensitivity and specificity of a threshold where the bundle tells them."""
    for measured in described.metrics.values():
        for caption, table in measured.get("tables", {}).items():
            if not caption.startswith("Malignant or precursor, thresholds"):
                continue
            for row in (dict(zip(table["columns"], cells, strict=True)) for cells in table["rows"]):
                if float(row["aimed at"]) == sensitivity:
                    return measured["images"], float(row["sensitivity"]), float(row["specificity"])
    return None


def jpeg(image: np.ndarray) -> bytes:
    """Encode uint8 RGB (height, width, 3) as a JPEG without metadata."""
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    return data.tobytes()
