"""All lesions of a visit in one table."""

from collections.abc import Mapping
from pathlib import Path

import anywidget
import traitlets
from ipywidgets import widget_serialization

from skin_cancer.app.reading import Opinion
from skin_cancer.app.result import Result
from skin_cancer.diagnoses import BY_CODE


class Overview(anywidget.AnyWidget):
    """A table of lesions, the most malignant first, each to be opened by a click.

    Attributes:
        rows: what is displayed, as `rows` of this module returns it.
        result: where a lesion is opened.
    """

    _esm = Path(__file__).with_name("overview.js")
    rows: traitlets.List[dict] = traitlets.List().tag(sync=True)
    result = traitlets.Instance(Result).tag(sync=True, **widget_serialization)


def ranked(opinions: Mapping[int, Opinion]) -> list[int]:
    """Return the numbers of lesions, the most malignant first, those of an unknown kind last."""

    def place(number):
        told = opinions[number]
        return told.prediction.unfamiliar, -told.verdict.malignancy

    return sorted(opinions, key=place)


def rows(opinions: Mapping[int, Opinion]) -> list[dict]:
    """Return what the table shows.

    Args:
        opinions: number of a lesion to what is said of it.

    Returns:
        One dictionary of words a lesion, with its `number` and its `thumbnail` as JPEG.
    """
    return [_row(number, opinions[number]) for number in ranked(opinions)]


def _row(number, opinion):
    prediction, verdict = opinion.prediction, opinion.verdict
    strange = prediction.unfamiliar
    doubts = ["unlike the training images"] * strange + list(prediction.quality)
    sign = {True: "▲ ", False: "▽ ", None: ""}[verdict.suspicious]
    return {
        "number": number,
        "thumbnail": opinion.reading.thumbnail,
        "name": opinion.reading.name,
        "diagnosis": "unknown kind" if strange else BY_CODE[prediction.diagnosis].name,
        "malignancy": "" if strange else verdict.percents[0],
        "verdict": "" if strange else sign + verdict.words,
        "doubt": ", ".join(doubts),
    }
