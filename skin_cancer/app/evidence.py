"""The picture, what in it speaks for each diagnosis, and the lesion's outline."""

from pathlib import Path

import anywidget
import cv2
import numpy as np
import traitlets

from skin_cancer.app.reading import Opinion, Reading
from skin_cancer.app.report import palette
from skin_cancer.classifier import percent
from skin_cancer.diagnoses import BY_CODE

SIDE = 112  # of the heatmaps that are sent; they are smooth


class Evidence(anywidget.AnyWidget):
    """Shows the picture beside its heatmap; all is sent at once, so that switching is instant.

    Attributes:
        shown: what is displayed, as `content` returns it; empty for nothing.
        probabilities: of its diagnoses, in words; they change with the setting.
        first: which diagnosis is the most probable in the setting, its place among them.
        palette: uint8 RGB (256, 3) as bytes.
    """

    _esm = Path(__file__).with_name("evidence.js")
    shown = traitlets.Dict().tag(sync=True)
    probabilities = traitlets.List().tag(sync=True)
    first = traitlets.Int(0).tag(sync=True)
    palette = traitlets.Bytes(palette().tobytes()).tag(sync=True)

    def show(self, number: int, opinion: Opinion) -> None:
        """Show what is said of a reading; what the setting does not change is not sent again."""
        chances = opinion.prediction.probabilities
        with self.hold_sync():
            self.shown = content(number, opinion.reading)
            self.probabilities = [percent(chance) for chance in chances.values()]
            self.first = list(chances).index(opinion.prediction.diagnosis)


def content(number: int, reading: Reading) -> dict:
    """Return what `Evidence` shows of a reading, whatever the setting.

    Args:
        number: of the reading on the page.
        reading: the picture.

    Returns:
        `number`. `picture`: a JPEG. `heat`: uint8 (diagnoses, side, side) as bytes. `side`. `names`
        of the diagnoses. `outlines`: as of `Reading`.
    """
    prediction = reading.prediction
    heatmaps = [
        (255 * cv2.resize(heatmap, (SIDE, SIDE), interpolation=cv2.INTER_AREA)).astype(np.uint8)
        for heatmap in prediction.heatmaps.values()
    ]
    return {
        "number": number,
        "picture": reading.picture,
        "heat": np.stack(heatmaps).tobytes(),
        "side": SIDE,
        "names": [BY_CODE[code].name for code in prediction.probabilities],
        "outlines": reading.outlines,
    }
