"""The examples that ship: real lesions in the public domain, which no network here has learnt."""

import csv
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "examples"


@dataclass(frozen=True)
class Example:
    """A dermatoscopic image of the ISIC Archive.

    Attributes:
        image_id: of the archive.
        diagnosis: ISIC code, as the archive publishes it.
        path: of the JPEG, 512 x 512 pixels.
    """

    image_id: str
    diagnosis: str
    path: Path


def read() -> list[Example]:
    """Return the examples in the order in which the page shows them, the diagnoses in turn."""
    with (FOLDER / "examples.csv").open(encoding="utf-8", newline="") as file:
        return [
            Example(row["image"], row["diagnosis"], FOLDER / f"{row['image']}.jpg")
            for row in csv.DictReader(file)
        ]
