"""All lesions of a visit in one table."""

from collections.abc import Callable, Mapping
from pathlib import Path

import anywidget
import traitlets
from ipywidgets import widget_serialization

from skin_cancer.app.answer import SIGNS
from skin_cancer.app.reading import Opinion
from skin_cancer.app.result import Result
from skin_cancer.diagnoses import BY_CODE


class Overview(anywidget.AnyWidget):
    """A table of lesions, the most malignant first, each to be opened or removed.

    Attributes:
        summary: what is in the table, in words.
        rows: what is displayed, as `rows` of this module returns it.
        result: where a lesion is opened.

    Args:
        result: as above.
        remove: is given the number of a lesion that the visitor removes.
    """

    _esm = Path(__file__).with_name("overview.js")
    summary = traitlets.Unicode().tag(sync=True)
    rows: traitlets.List[dict] = traitlets.List().tag(sync=True)
    result = traitlets.Instance(Result).tag(sync=True, **widget_serialization)

    def __init__(self, result: Result, remove: Callable[[int], None]):
        super().__init__(result=result)
        self._remove = remove
        self.on_msg(self._asked)

    def _asked(self, _widget, message, _buffers):
        asked = message.get("remove") if isinstance(message, dict) else None
        for number in [row["number"] for row in self.rows if row["number"] == asked]:
            self._remove(number)


def ranked(opinions: Mapping[int, Opinion]) -> list[int]:
    """Return the numbers of lesions, the most malignant first, those without an answer last."""

    def place(number):
        told = opinions[number]
        return told.prediction.unfamiliar, -told.verdict.malignancy

    return sorted(opinions, key=place)


def summary(opinions: Mapping[int, Opinion], refused: int) -> str:
    """Return how many images were read, how they stand to the threshold, and how many were refused.

    Args:
        opinions: number of a lesion to what is said of it.
        refused: the number of files that could not be read.
    """
    verdicts = [told.verdict.suspicious for told in opinions.values()]
    counts = {
        "read": len(opinions),
        "above the threshold": verdicts.count(True),
        "without an answer": sum(told.prediction.unfamiliar for told in opinions.values()),
        "refused": refused,
    }
    if verdicts.count(None) == len(verdicts):
        del counts["above the threshold"]
    always = ("read", "above the threshold")
    return ", ".join(f"{n} {words}" for words, n in counts.items() if n or words in always)


def rows(opinions: Mapping[int, Opinion]) -> list[dict]:
    """Return what the table shows.

    Args:
        opinions: number of a lesion to what is said of it, in the order of the table.

    Returns:
        One dictionary of words a lesion, with its `number` and its `thumbnail` as JPEG.
    """
    return [_row(number, told) for number, told in opinions.items()]


def _row(number, opinion):
    prediction, verdict = opinion.prediction, opinion.verdict
    strange = prediction.unfamiliar
    words = f"{SIGNS[verdict.suspicious]} {verdict.words}".strip()
    return {
        "number": number,
        "thumbnail": opinion.reading.thumbnail,
        "name": opinion.reading.name,
        "diagnosis": "" if strange else BY_CODE[prediction.diagnosis].name,
        "malignancy": "" if strange else verdict.percents[0],
        "verdict": "no answer" if strange else words,
        "doubt": ", ".join(["unlike the training images"] * strange + list(prediction.quality)),
    }
