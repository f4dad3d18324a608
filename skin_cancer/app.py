"""The upload page: ipywidgets over `Classifier`, shown by Voila or in JupyterLab."""

import base64
import html
import logging
import os
from pathlib import Path

import cv2
import ipywidgets as widgets
import numpy as np

from skin_cancer import imaging
from skin_cancer.classifier import DISCLAIMER, Classifier, Prediction, percent
from skin_cancer.diagnoses import BY_CODE
from skin_cancer.doubt import UNFAMILIAR
from skin_cancer.errors import ImageError, SkinCancerError

SHOWN_SIZE = 512
UNUSUAL = UNFAMILIAR / 2
BUNDLE_VARIABLE = "SKIN_CANCER_BUNDLE"
STYLE = Path(__file__).with_name("app.css")
FAILED = "Something went wrong here; the log of the server says what. Try another picture."

log = logging.getLogger(__name__)


def build() -> widgets.Widget:
    """Return the page for the bundle that `SKIN_CANCER_BUNDLE` names, or the shipped one.

    A bundle that cannot be loaded gives a page that says so.
    """
    try:
        return Page(Classifier.load(os.environ.get(BUNDLE_VARIABLE))).root
    except SkinCancerError as error:
        log.exception("no classifier")
        return widgets.VBox([_style(), widgets.HTML(_alert(str(error)))])


class Page:
    """Upload, answer and evidence for one picture at a time.

    Attributes:
        root: the widget to display.
        upload, status, answer, cases, evidence, shown, opacity, picture: the parts of the page.
    """

    def __init__(self, classifier: Classifier):
        self._classifier = classifier
        self._square = None
        self._prediction = None

        self.upload = widgets.FileUpload(
            accept=".jpg,.jpeg,.png,.bmp,.tif,.tiff,.webp",
            description="Choose a picture",
            icon="",
            button_style="primary",
            tooltip="A dermatoscopic picture of one skin lesion",
        )
        self.status = widgets.HTML(_status("No picture yet."))
        self.answer = widgets.HTML().add_class("sc-answers")
        self.cases = widgets.HTML().add_class("sc-alike")
        self.picture = widgets.HTML()
        self.shown = widgets.Dropdown(
            description="Evidence for",
            options=[(BY_CODE[code].name, code) for code in classifier.description.diagnoses],
        )
        self.opacity = widgets.FloatSlider(
            description="Heatmap", value=0.6, min=0, max=1, step=0.05, readout_format=".0%"
        )
        self.evidence = widgets.VBox(
            [self.picture, widgets.HTML(_SCALE), self.shown, self.opacity]
        ).add_class("sc-evidence")
        self.result = widgets.HBox([self.answer, self.evidence, self.cases]).add_class("sc-result")
        self.result.layout.display = "none"

        self.upload.observe(_guarded(self, self._uploaded), "value")
        for control in (self.shown, self.opacity):
            control.observe(_guarded(self, self._draw), "value")
        self.root = widgets.VBox(
            [
                _style(),
                widgets.HTML(_INTRODUCTION),
                self.upload,
                self.status,
                self.result,
                widgets.HTML(_footer(classifier.description)),
            ]
        ).add_class("sc-page")

    def say(self, content: str) -> None:
        """Show HTML in the status line."""
        self.status.value = content

    def _uploaded(self, change):
        if not change["new"]:
            return
        file = change["new"][0]
        self.say(_status(f"Reading {file['name']} …"))
        self.result.layout.display = "none"
        self.upload.disabled = True
        try:
            self._classify(bytes(file["content"]))
            self.say(_status(f"Result for {file['name']}"))
        except ImageError as error:
            self.say(_alert(f"{file['name']}: {error}"))
        finally:
            self.upload.disabled = False
            self.upload.value = ()

    def _classify(self, content):
        image = imaging.decode(content)
        self._prediction = self._classifier.predict(image)
        self._square = imaging.centre_square(image, SHOWN_SIZE)
        self.answer.value = answer_html(self._prediction)
        self.cases.value = cases_html(self._prediction)
        if self.shown.value == self._prediction.diagnosis:
            self._draw()
        self.shown.value = self._prediction.diagnosis  # draws if it is another
        self.result.layout.display = None

    def _draw(self, _change=None):
        heatmap = self._prediction.heatmaps[self.shown.value]
        shown = overlay(self._square, heatmap, self.opacity.value)
        name = html.escape(BY_CODE[self.shown.value].name)
        alt = f"The centre of your picture, coloured where it speaks for {name}"
        self.picture.value = f'<img alt="{alt}" src="{_data_address(shown)}">'


def overlay(square: np.ndarray, heatmap: np.ndarray, opacity: float) -> np.ndarray:
    """Lay a heatmap over a picture: the stronger the evidence, the more colour.

    Args:
        square: uint8 RGB (size, size, 3).
        heatmap: float32 (h, w) in [0, 1], resized to the picture.
        opacity: of the strongest evidence, 0 to 1.

    Returns:
        uint8 RGB (size, size, 3).
    """
    size = square.shape[1], square.shape[0]
    heat = np.clip(cv2.resize(heatmap, size, interpolation=cv2.INTER_CUBIC), 0, 1)
    colour = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    weight = (opacity * heat)[..., None]
    return (square * (1 - weight) + colour * weight).round().astype(np.uint8)


def answer_html(prediction: Prediction) -> str:
    """Return warnings, diagnosis, prediction set, doubt, malignancy and bars as HTML."""
    strange = prediction.unfamiliarity is not None and prediction.unfamiliarity > UNFAMILIAR
    heading = _strange_heading if strange else _heading
    return f"""
<section class="sc-answer{" sc-strange" if strange else ""}" aria-label="Result">
  {_warnings(prediction.warnings)}
  {heading(prediction)}
  {_set(prediction.prediction_set, strange)}
  <p><strong>Malignant or a precursor: {percent(prediction.malignancy)}</strong></p>
  {_familiarity(prediction.unfamiliarity)}
  {"" if strange else _meaning(prediction)}
  {_bars(prediction)}
  <p class="sc-small">All figures hold if the {len(prediction.probabilities)} diagnoses were equally
  frequent. Most lesions that people have are nevi: the risk of one picked at random is lower.</p>
  <p class="sc-note">A probability is not certainty: show any lesion that worries you, or that
  changes, to a doctor.</p>
</section>"""


def cases_html(prediction: Prediction) -> str:
    """Return the most similar confirmed cases as HTML, nothing if the bundle has none."""
    if prediction.doubt is None:
        return ""
    return f"""
<table class="sc-cases">
  <caption>Most similar confirmed cases</caption>
  <thead><tr><th scope="col">Diagnosis</th><th scope="col">ISIC id</th>
  <th scope="col">Similarity</th></tr></thead>
  <tbody>{"".join(_case(case) for case in prediction.similar())}</tbody>
</table>
<p class="sc-small">To be looked up in the public ISIC archive by their ids: this page fetches no
picture.</p>"""


def _case(case):
    return (
        f'<tr><th scope="row">{html.escape(BY_CODE[case.diagnosis].name)}</th>'
        f"<td>{html.escape(case.image_id)}</td><td>{percent(max(0.0, case.similarity))}</td></tr>"
    )


def _warnings(sentences):
    if not sentences:
        return ""
    items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences)
    return f"""<div class="sc-warning" role="alert">
  <p><span aria-hidden="true">⚠</span> Doubtful answer</p><ul>{items}</ul>
</div>"""


def _heading(prediction):
    found = BY_CODE[prediction.diagnosis]
    return f"""<p class="sc-small">Most likely</p>
  <h2>{html.escape(found.name)}</h2>
  <p class="sc-large">{percent(prediction.probabilities[found.code])} probability</p>"""


def _strange_heading(prediction):
    found = BY_CODE[prediction.diagnosis]
    return f"""<h2>Unlike anything the model has learnt</h2>
  <p>If it is a dermatoscopic picture of a lesion: {html.escape(found.name)},
  {percent(prediction.probabilities[found.code])} probability.</p>"""


def _meaning(prediction):
    return f"<p>{html.escape(BY_CODE[prediction.diagnosis].meaning)}</p>"


def _familiarity(unfamiliarity):
    if unfamiliarity is None:
        return ""
    return f"""<div class="sc-familiarity">
  <span class="sc-meter" aria-hidden="true"><span style="width:{unfamiliarity:.1%}"></span></span>
  <span>{_in_words(unfamiliarity)}
  <span class="sc-kind">unfamiliarity {percent(unfamiliarity)}; mark: limit, {percent(UNFAMILIAR)}
  </span></span>
</div>"""


def _in_words(unfamiliarity):
    if unfamiliarity > UNFAMILIAR:
        return "Unlike the pictures the model learnt from"
    if unfamiliarity > UNUSUAL:
        return "Somewhat unusual for this model"
    return "Looks like the pictures the model learnt from"


def _set(codes, strange):
    if not codes:
        return ""
    names = [html.escape(BY_CODE[code].name) for code in codes]
    said = f"Could be: <strong>{', '.join(names[:-1])} or {names[-1]}</strong>"
    held = "In nine of ten lesions the true diagnosis is among these."
    if len(codes) == 1:
        said = "No other diagnosis is likely enough to be named."
        held = "In nine of ten lesions the true diagnosis is among those that are."
    if strange:
        held = ""  # it was measured on familiar pictures
    return f'<p class="sc-set">{said} <span class="sc-kind">{held}</span></p>'


def _bars(prediction):
    first = prediction.diagnosis
    rows = "".join(_bar(code, p, code == first) for code, p in prediction.probabilities.items())
    return f"""<table class="sc-bars">
    <caption>All diagnoses</caption>
    {rows}
  </table>"""


def _bar(code, probability, first):
    diagnosis = BY_CODE[code]
    kind = "counts as malignant" if diagnosis.malignant else "benign"
    return (
        f"<tr{' class=sc-first' if first else ''}>"
        f'<th scope="row">{html.escape(diagnosis.name)} <span class="sc-kind">{kind}</span></th>'
        f'<td class="sc-track"><div style="width:{probability:.1%};background:{diagnosis.colour}">'
        f"</div></td><td>{percent(probability)}</td></tr>"
    )


def _data_address(image):
    quality = [cv2.IMWRITE_JPEG_QUALITY, 92]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def _guarded(page, callback):
    """Wrap a callback: an error goes to the log, a plain sentence to the page."""

    def run(change):
        try:
            callback(change)
        except Exception:
            log.exception("callback failed")
            page.say(_alert(FAILED))

    return run


def _status(text):
    return f'<p class="sc-status" role="status">{html.escape(text)}</p>'


def _alert(text):
    return f'<p class="sc-alert" role="alert">{html.escape(text)}</p>'


def _style():
    return widgets.HTML(f"<style>{STYLE.read_text(encoding='utf-8')}</style>")


def _footer(description):
    return f"""
<footer class="sc-note">
  <p><strong>Not a medical device.</strong> {html.escape(DISCLAIMER)}</p>
  <p>Your picture stays in the memory of the computer that serves this page: nothing is written
  to disk, nothing is sent on, and it is gone when you close the page.</p>
  <p>Model {html.escape(description.name)}: trained on HAM10000, {len(description.diagnoses)}
  diagnoses; it has no answer for any other.</p>
</footer>"""


_INTRODUCTION = """
<header>
  <h1>Skin lesion classifier</h1>
  <p>Choose a dermatoscopic picture of one skin lesion (JPEG, PNG, BMP, TIFF or WebP, at most
  50 MB). The square in its centre is read.</p>
</header>"""

_SCALE = """
<div class="sc-scale"><span>weak</span><div></div><span>strongest evidence</span></div>"""
