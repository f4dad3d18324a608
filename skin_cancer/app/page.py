"""The page: its parts, and what happens between them."""

import itertools
import logging
import os
from contextlib import contextmanager
from pathlib import Path

import ipywidgets as widgets
import numpy as np
from IPython import get_ipython

from skin_cancer import priors
from skin_cancer.app import overview
from skin_cancer.app.answer import footer_html, headline
from skin_cancer.app.live import Live
from skin_cancer.app.overview import Overview
from skin_cancer.app.reading import PREVALENCES, Opinion, Reading, opinion
from skin_cancer.app.report import table, template
from skin_cancer.app.result import Record, Result
from skin_cancer.app.save import Save
from skin_cancer.app.upload import Upload
from skin_cancer.data import examples
from skin_cancer.errors import ImageError, SkinCancerError
from skin_cancer.model.bundle import BUNDLE_VARIABLE
from skin_cancer.model.classifier import SENSITIVITY, Classifier, percent

SERVED = "VOILA_APP_PORT"  # which Voila tells its kernels
STYLE = Path(__file__).with_name("page.css")
FAILED = "Something went wrong here; the log of the server says what. Try another picture."
NO_MODEL = "The model cannot be loaded; the log of the server says why."
LOG_LINE = "%(asctime)s %(levelname)s %(name)s, process %(process)d: %(message)s"

log = logging.getLogger(__name__)


def build() -> widgets.Widget:
    """Return the page for the bundle that `SKIN_CANCER_BUNDLE` names, or the shipped one.

    A bundle that cannot be loaded gives a page that says so. Under Voila a line for each
    prediction, and what goes wrong, go to the server's log and not to the visitor.
    """
    if SERVED in os.environ:
        _tell_the_log()
    try:
        return Page(Classifier.load(os.environ.get(BUNDLE_VARIABLE))).root
    except Exception as error:
        log.exception("no classifier")
        sentence = str(error) if isinstance(error, SkinCancerError) else NO_MODEL
        return widgets.VBox([_style(), Live(role="alert", value=sentence)]).add_class("sc-page")


def _tell_the_log():
    logging.basicConfig(format=LOG_LINE)
    logging.getLogger("skin_cancer").setLevel(logging.INFO)
    logging.getLogger("Comm").setLevel(logging.ERROR)  # each page closes one before it answers
    get_ipython()._showtraceback = lambda _kind, error, _lines: log.error(
        "a message failed", exc_info=error
    )


class Page:
    """Pictures in; for each an answer with its evidence and doubt.

    Attributes:
        root: the widget to display.
        upload, status, refused, overview, prevalence, sensitivity, result, table, clear: the
            parts of the page.
        readings: number to what was read, in the order of arrival.
    """

    def __init__(self, classifier: Classifier):
        self._classifier = classifier
        self.readings: dict[int, Reading] = {}
        self._count = 0
        self._examples = itertools.cycle(examples.read())
        self._opens_next = True
        self._make_parts()
        self.root = widgets.VBox(self._arranged()).add_class("sc-page")
        self._show(0)

    def _make_parts(self):
        aims = self._classifier.description.thresholds(priors.CLINIC) or [SENSITIVITY]
        safe = self._guarded
        self.upload = Upload(
            *map(safe, (self._received, self._refuse, self._show_example, self._warm_up))
        )
        self.status = Live(role="status", value="No picture yet.")
        self.refused = Live(role="alert")
        self.result = Result(template=template(self._classifier.description))
        self.result.observe(safe(lambda change: self._say(change.new)), "opened")
        self.overview = Overview(result=self.result)
        self.prevalence = widgets.Dropdown(
            description="Prevalence",
            options=[(words, name) for name, words in PREVALENCES.items()],
        )
        self.sensitivity = widgets.Dropdown(
            description="Threshold",
            options=[(f"to find {percent(value)} of malignant", value) for value in aims],
            value=SENSITIVITY,
        )
        self.table = Save(words="Save the table (CSV)", name="skin lesions.csv", kind="text/csv")
        self.clear = _button("Remove all pictures", safe(self._clear)).add_class("sc-clear")
        for control in (self.prevalence, self.sensitivity):
            control.observe(safe(self._set), "value")

    def _arranged(self):
        settings = widgets.HBox([self.prevalence, self.sensitivity]).add_class("sc-settings")
        self.actions = widgets.HBox([self.table, self.clear]).add_class("sc-actions")
        self._settings = settings
        return [
            _style(),
            widgets.HTML(_INTRODUCTION),
            self.upload,
            self.status,
            self.refused,
            self.overview,
            settings,
            self.result,
            self.actions,
            widgets.HTML(footer_html(self._classifier.description)),
        ]

    @property
    def opened(self) -> int:
        """The number of the reading whose answer is shown, 0 for none."""
        return self.result.opened

    @property
    def record(self) -> Record:
        """What the browser keeps of the reading whose answer is shown."""
        return self.result.records[self.opened]

    def opinion(self, number: int) -> Opinion:
        """Return what is said of a reading in the setting that the page is at."""
        setting = self.prevalence.value, self.sensitivity.value
        return opinion(self.readings[number], self._classifier, *setting)

    def _received(self, name, content, first, confirmed=None):
        if first:
            self._begin()
        self.status.value = f"Reading {name} …"
        try:
            reading = Reading.of(self._classifier, name, content, confirmed)
        except ImageError as error:
            self._refuse(name, str(error), False)
            return
        except Exception:
            log.exception("a picture could not be read")
            self._refuse(name, FAILED, False)
            return
        self._count += 1
        self.readings[self._count] = reading
        opened = self._count if self._opens_next else self.opened
        self._opens_next = False
        self._show(opened)
        self._say(self._count)

    def _refuse(self, name, sentence, first):
        if first:
            self._begin()
        self._alert(f"{name}: {sentence}")
        self.status.value = f"{name} was not read."

    def _alert(self, sentence):
        self.refused.value = "\n".join(filter(None, [self.refused.value, sentence]))

    def _begin(self):
        """Forget what was said of files that came before."""
        self._opens_next, self.refused.value = True, ""

    def _set(self, _change):
        self._show(self.opened)
        self._say(self.opened)

    def _say(self, number):
        if number not in self.readings:
            return
        told = self.opinion(number)
        doubt = "; doubtful" if told.prediction.warnings else ""
        self.status.value = f"{told.reading.name}: {headline(told)}{doubt}."

    def _warm_up(self):
        """Let the network run once, so that the first picture need not wait for its set-up."""
        with _unheard():
            self._classifier.predict(np.zeros((64, 64, 3), np.uint8))

    def _show_example(self):
        example = next(self._examples)
        self._received(example.image_id, example.path.read_bytes(), True, example.diagnosis)

    def _clear(self, _button):
        self.readings = {}
        self._begin()
        self._show(0)
        self.upload.forget()
        self.status.value = "All pictures are removed."

    def _show(self, opened):
        opinions = {number: self.opinion(number) for number in self.readings}
        fitted = self._classifier.description.thresholds(self.prevalence.value)
        self.sensitivity.layout.display = None if fitted else "none"
        ranked = [opinions[number] for number in overview.ranked(opinions)]
        self.result.show(opinions, opened)
        self.overview.rows = overview.rows(opinions)
        self.table.text = table(ranked, self._classifier.description)
        for part, shown in {
            self.overview: len(opinions) > 1,
            self._settings: opinions,
            self.result: opinions,
            self.actions: opinions,
        }.items():
            part.layout.display = None if shown else "none"

    def _guarded(self, callback):
        """Wrap a callback: an error goes to the log, a plain sentence to the page."""

        def run(*arguments):
            try:
                return callback(*arguments)
            except Exception:
                log.exception("callback failed")
                self.status.value = ""
                self._alert(FAILED)

        return run


@contextmanager
def _unheard():
    """Keep from the log what libraries say of their set-up, some of them from C++."""
    log_of_server = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(log_of_server, 2)
        os.close(log_of_server)
        os.close(nowhere)


def _button(words, pressed):
    button = widgets.Button(description=words).add_class("sc-plain")
    button.on_click(pressed)
    return button


def _style():
    return widgets.HTML(f"<style>{STYLE.read_text(encoding='utf-8')}</style>")


_INTRODUCTION = """
<header>
  <h1>Skin lesion classifier</h1>
  <p>For dermatoscopic pictures of one skin lesion each: JPEG, PNG, BMP, TIFF or WebP, at most
  50 MB. The square in the centre is read.</p>
</header>"""
