"""How labelled images are read: what their folder does not tell by itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from skin_cancer import diagnoses
from skin_cancer.errors import DatasetError

LESIONS = ("published", "images")
# What can be named in `columns`, and our names for it.
NAMED = {"image": "image_id", "diagnosis": "dx", "lesion": "lesion_id", "patient": "patient_id"}


@dataclass(frozen=True)
class Reading:
    """How labelled images are read.

    Attributes:
        images_as_lesions: take each image as a lesion of its own where nothing tells the lesions.
            Images of one lesion are then on both sides of any split.
        columns: `image`, `diagnosis`, `lesion` or `patient` to what the column is called in the
            table, where it is not one of `own.SYNONYMS`.
        diagnoses: a user's words for diagnoses to the codes that they mean, as of
            `diagnoses.synonyms`.
        missing: share of the table's rows without an image, and of images without a row, that may
            be left out, 0 to 1.
    """

    images_as_lesions: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)
    diagnoses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    missing: float = 0.0


def reading_of(recipe: Mapping[str, Any]) -> Reading:
    """Return how a training read its images, and make its own diagnoses known.

    Args:
        recipe: of a `TrainingConfig`.

    Raises:
        DatasetError: the columns are not named as `image=file,diagnosis=label`, or a malignant
            diagnosis is not among the diagnoses.
    """
    try:
        names = recipe.get("diagnoses", "")
        diagnoses.add(diagnoses.own(names, recipe.get("malignant", "")))
    except ValueError as error:
        raise DatasetError(str(error)) from error
    return Reading(
        recipe.get("lesions") == "images",
        named_columns(recipe.get("columns", "")),
        diagnoses.synonyms(names),
        recipe.get("missing", 0.0),
    )


def named_columns(text: str) -> dict[str, str]:
    """Return the columns that a text names.

    Raises:
        DatasetError: it is not written so.

    >>> named_columns("image=file,diagnosis=what it is")
    {'image': 'file', 'diagnosis': 'what it is'}
    """
    pairs = dict(pair.partition("=")[::2] for pair in text.split(",") if pair)
    if not set(pairs) <= set(NAMED) or not all(pairs.values()):
        raise DatasetError(
            f"columns={text!r}: write which column is which as image=NAME,diagnosis=NAME; "
            f"{', '.join(NAMED)} can be named."
        )
    return pairs
