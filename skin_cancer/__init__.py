"""Skin lesion diagnosis from dermatoscopic images: supports a doctor, is no medical device.

    >>> from skin_cancer import Classifier
    >>> from skin_cancer.data import sample

The shipped model answers for any image; here for a drawing of a melanoma, in place of a path.

    >>> prediction = Classifier.load().predict(sample.draw("MEL", 38, artefacts=()).image)
    >>> prediction.diagnosis
    'MEL'
    >>> prediction.verdict().words
    'above threshold'
    >>> prediction.prediction_set
    ('MEL', 'BKL')
    >>> prediction.unfamiliar, prediction.warnings
    (False, [])
    >>> prediction.heatmaps["MEL"].shape
    (224, 224)
    >>> [case.diagnosis for case in prediction.similar(2)]
    ['MEL', 'MEL']
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from skin_cancer.errors import (
    ArchiveError,
    BundleError,
    ClusterError,
    DatasetError,
    ImageError,
    ParameterError,
    SkinCancerError,
    TrainingError,
)

if TYPE_CHECKING:
    from skin_cancer.model.classifier import Classifier, Prediction

__all__ = [
    "ArchiveError",
    "BundleError",
    "Classifier",
    "ClusterError",
    "DatasetError",
    "ImageError",
    "ParameterError",
    "Prediction",
    "SkinCancerError",
    "TrainingError",
]

# Jupyter and Dask do not start where neither HOME nor an account names a home.
NO_HOME = "/nonexistent"  # as accounts without one have it


def _name_a_home():
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = NO_HOME


_name_a_home()


def __getattr__(name: str) -> object:
    """Import the classifier on first use: a machine that only trains needs no LiteRT."""
    if name in ("Classifier", "Prediction"):
        from skin_cancer.model import classifier

        return getattr(classifier, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
