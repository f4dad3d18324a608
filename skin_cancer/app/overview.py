"""All lesions of a visit in one table."""

from collections.abc import Callable, Mapping
from pathlib import Path

import anywidget
import traitlets

from skin_cancer.app.reading import Opinion
from skin_cancer.classifier import percent
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
    """Return the numbers of lesions, the most malignant first."""
    return sorted(opinions, key=lambda number: -opinions[number].prediction.malignancy)


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
    doubts = ["unlike the training images"] * opinion.reading.strange + list(prediction.quality)
    said = ""
    if verdict and not opinion.reading.strange:
        said = "▲ suspicious" if verdict.above else "▽ below it"
    return {
        "number": number,
        "thumbnail": opinion.reading.thumbnail,
        "name": opinion.reading.name,
        "diagnosis": BY_CODE[prediction.diagnosis].name,
        "malignancy": percent(prediction.malignancy),
        "verdict": said,
        "doubt": ", ".join(doubts),
    }
