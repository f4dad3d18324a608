"""What the page shows of one lesion, and keeps of each in the browser."""

import dataclasses

import anywidget
import cv2
import numpy as np
import traitlets
from ipywidgets import Widget, widget_serialization

from skin_cancer.app.answer import answer_html, cases_html, measures_html, named
from skin_cancer.app.reading import Opinion, Reading
from skin_cancer.app.script import script
from skin_cancer.diagnoses import BY_CODE
from skin_cancer.model.classifier import percent

SIDE = 112  # of the heatmaps that are sent; they are smooth


class Record(Widget):
    """What the browser keeps of a lesion, to show and to report it without the server.

    Attributes:
        picture: a JPEG of the square.
        heat: uint8 (diagnoses, side, side) as bytes.
        side: in pixels, of a heatmap.
        names: of the diagnoses.
        outlines: as of `Reading`.
        measures, cases: HTML.
        answer: HTML; it and what follows change with the setting.
        probabilities: of the diagnoses, in words.
        named: the places of the diagnoses that the answer names, the most probable first; empty
            for an image that is unlike the training images.
        evident: the place of the diagnosis whose evidence is shown first: the most probable
            malignant one above the threshold, otherwise the most probable one.

    Args:
        opinion: what is said of the lesion.
    """

    picture = traitlets.Bytes().tag(sync=True)
    heat = traitlets.Bytes().tag(sync=True)
    side = traitlets.Int(SIDE).tag(sync=True)
    names: traitlets.List[str] = traitlets.List().tag(sync=True)
    outlines: traitlets.List[list] = traitlets.List().tag(sync=True)
    measures = traitlets.Unicode().tag(sync=True)
    cases = traitlets.Unicode().tag(sync=True)
    answer = traitlets.Unicode().tag(sync=True)
    probabilities: traitlets.List[str] = traitlets.List().tag(sync=True)
    named: traitlets.List[int] = traitlets.List().tag(sync=True)
    evident = traitlets.Int().tag(sync=True)

    def __init__(self, opinion: Opinion):
        super().__init__(**_lasting(opinion.reading), **_changing(opinion))

    def tell(self, opinion: Opinion) -> None:
        """Keep what is said in another setting; what the setting does not change is not sent."""
        with self.hold_sync():
            for name, value in _changing(opinion).items():
                setattr(self, name, value)


def _lasting(reading: Reading) -> dict:
    prediction = dataclasses.replace(reading.prediction)  # whose heatmaps are not kept
    heatmaps = [
        (255 * cv2.resize(heatmap, (SIDE, SIDE), interpolation=cv2.INTER_AREA)).astype(np.uint8)
        for heatmap in prediction.heatmaps.values()
    ]
    return {
        "picture": reading.picture,
        "heat": np.stack(heatmaps).tobytes(),
        "names": [BY_CODE[code].name for code in prediction.probabilities],
        "outlines": reading.outlines,
        "measures": measures_html(reading),
        "cases": cases_html(reading),
    }


def _changing(opinion: Opinion) -> dict:
    prediction = opinion.prediction
    places = list(prediction.probabilities)
    codes = () if prediction.unfamiliar else named(prediction)
    return {
        "answer": answer_html(opinion),
        "probabilities": [percent(chance) for chance in prediction.probabilities.values()],
        "named": [places.index(code) for code in codes],
        "evident": places.index(_evident(opinion)),
    }


def _evident(opinion):
    chances = opinion.prediction.probabilities
    if not opinion.verdict.suspicious:
        return opinion.prediction.diagnosis
    return max((code for code in chances if BY_CODE[code].malignant), key=chances.__getitem__)


def palette() -> np.ndarray:
    """Return the colours of evidence from none to the strongest: uint8 RGB (256, 3)."""
    return cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_VIRIDIS)[0, :, ::-1]


class Result(anywidget.AnyWidget):
    """Shows the answer for one lesion with its evidence, and saves reports.

    The browser does both alone, so that each lesion that was read can be opened and reported when
    the server is gone.

    Attributes:
        records: number of a lesion to what the browser keeps of it.
        ranked: the numbers in the order of the table.
        opened: the number of the lesion that is shown, 0 for none.
        template: of the report, as `report.template` returns it.
        palette: uint8 RGB (256, 3) as bytes.
    """

    _esm = script("download.js", "evidence.js", "report.js", "result.js")
    records: "traitlets.Dict[int, Record]" = traitlets.Dict().tag(  # type: ignore[assignment]
        sync=True, **widget_serialization
    )
    ranked: traitlets.List[int] = traitlets.List().tag(sync=True)
    opened = traitlets.Int(0).tag(sync=True)
    template = traitlets.Unicode().tag(sync=True)
    palette = traitlets.Bytes(palette().tobytes()).tag(sync=True)

    @traitlets.validate("opened")
    def _known(self, proposal):
        number = proposal["value"]
        if number and number not in self.records:
            raise traitlets.TraitError(f"there is no lesion {number}")
        return number

    def show(self, opinions: dict[int, Opinion], opened: int) -> None:
        """Keep what is said of lesions, drop what was kept of others, and open one.

        Args:
            opinions: number of a lesion to what is said of it, in the order of the table.
            opened: the number of the one to be shown, 0 for none.
        """
        before = self.records
        kept = {number: before.get(number) or Record(told) for number, told in opinions.items()}
        for number in before.keys() & kept.keys():
            kept[number].tell(opinions[number])
        with self.hold_sync():
            self.records, self.ranked, self.opened = kept, list(opinions), opened
        for number in before.keys() - kept.keys():
            before[number].close()
