"""How well a bundle knows its own training images; from the shell.

    python -m skin_cancer.evaluation.known --bundle BUNDLE --data DATA --part 0

prints how many training images it knows again once they are changed, and how many images of the
part it takes for one of them: false alarms, but for lesions that stand in both unnoticed.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from skin_cancer.data import dataset
from skin_cancer.errors import SkinCancerError
from skin_cancer.evaluation import evaluate
from skin_cancer.images.squares import compress
from skin_cancer.model import bundle
from skin_cancer.model.classifier import Classifier
from skin_cancer.training.config import divide, read_as_divided

SAMPLE = 200  # training images that are changed


def _part(top: float, left: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return what cuts out 90 % of each side, from 0 (top, left) to 1 (bottom, right)."""

    def cut(image):
        height, width = (round(0.9 * length) for length in image.shape[:2])
        y, x = round(top * (len(image) - height)), round(left * (image.shape[1] - width))
        return np.ascontiguousarray(image[y : y + height, x : x + width])

    return cut


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as it is": lambda image: image,
    "half as large": lambda image: cv2.resize(
        image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA
    ),
    "twice as large": lambda image: cv2.resize(
        image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC
    ),
    "JPEG of quality 50": lambda image: compress(image, 50),
    "a quarter turn": lambda image: np.ascontiguousarray(np.rot90(image)),
    "half a turn": lambda image: np.ascontiguousarray(np.rot90(image, 2)),
    "90 %, the centre": _part(0.5, 0.5),
    "90 %, a corner": _part(0, 0),
    "90 %, a side": _part(0.3, 1),
}


def recognised(classifier: Classifier, table: pd.DataFrame) -> pd.Series:
    """Return for each of `CHANGES` the share of changed images that are known.

    Args:
        classifier: of a bundle with confirmed cases.
        table: images that its network was trained on.

    Raises:
        DatasetError: names an image that cannot be read.
    """
    known = [
        [classifier.predict(change(image)).known is not None for change in CHANGES.values()]
        for image in tqdm(dataset.read_images(table), total=len(table))
    ]
    return pd.DataFrame(known, columns=list(CHANGES)).mean()


def main() -> None:
    """Measure from the shell."""
    parser = argparse.ArgumentParser(
        prog="python -m skin_cancer.evaluation.known", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--bundle", default=bundle.MEASURED_BUNDLE, type=Path)
    parser.add_argument("--data", default="", help=evaluate.DATA_HELP)
    parser.add_argument("--part", default="holdout", help=evaluate.PART_HELP)
    given = parser.parse_args()
    try:
        classifier, data = Classifier.load(given.bundle), dataset.data_folder(given.data)
        training = classifier.description.training
        table, _ = divide(read_as_divided(data, training), training["recipe"])
        found = recognised(classifier, table.sample(min(SAMPLE, len(table)), random_state=0))
        unseen = evaluate.read_part(data, given.part, training)
        taken = [p for p in evaluate.predict(classifier, unseen) if p.known]
    except SkinCancerError as error:
        raise SystemExit(str(error)) from error
    print(found.to_string(float_format="{:.3f}".format))
    print(f"{given.part}: {len(taken)} of {len(unseen)} images taken for a training image")


if __name__ == "__main__":
    main()
