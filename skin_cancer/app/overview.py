"""All lesions of a visit in one table."""

from collections.abc import Callable, Mapping
from pathlib import Path

import anywidget
import traitlets

from skin_cancer.app.reading import Opinion
from skin_cancer.diagnoses import BY_CODE


class Overview(anywidget.AnyWidget):
    """A table of lesions, the most malignant first, each to be opened by a click.

    Attributes:
        rows: what is displayed, as `rows` of this module returns it.
        opened: the number of the lesion whose answer is on the page.

    Args:
        open_lesion: is given the number of the lesion that the visitor opens.
    """

    _esm = Path(__file__).with_name("overview.js")
    rows = traitlets.List().tag(sync=True)
    opened = traitlets.Int(-1).tag(sync=True)

    def __init__(self, open_lesion: Callable[[int], None]):
        super().__init__()
        self.on_msg(lambda _widget, message, _buffers: open_lesion(message.get("open")))


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
