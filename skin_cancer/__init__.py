"""Skin lesion diagnosis from dermatoscopic images: supports a doctor, is no medical device."""

from skin_cancer.classifier import Classifier, Prediction
from skin_cancer.errors import (
    BundleError,
    DatasetError,
    ImageError,
    SkinCancerError,
    TrainingError,
)

__all__ = [
    "BundleError",
    "Classifier",
    "DatasetError",
    "ImageError",
    "Prediction",
    "SkinCancerError",
    "TrainingError",
]
