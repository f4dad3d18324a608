"""The page: its parts, and what happens between them."""

import itertools
import logging
import os
import threading
from contextlib import contextmanager
from pathlib import Path

import ipywidgets as widgets
import numpy as np
from IPython import get_ipython

from skin_cancer import priors
from skin_cancer.app import overview
from skin_cancer.app.answer import CAUTION, footer_html, headline
from skin_cancer.app.live import Live
from skin_cancer.app.overview import Overview
from skin_cancer.app.reading import (
    PREVALENCES,
    Opinion,
    Reading,
    Refusal,
    digest,
    now,
    opinion,
)
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
FAILED = "Something went wrong; the server's log says what. Try another image."
NO_MODEL = "The model cannot be loaded; the server's log says why."
UNDO_SECONDS = 60
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
    """Images in; for each an answer with its evidence and doubt.

    Attributes:
        root: the widget to display.
        upload, status, refused, undo, overview, prevalence, sensitivity, result, table, clear: the
            parts of the page.
        readings: number to what was read, in the order of arrival.
        refusals: the files that could not be read.
    """

    def __init__(self, classifier: Classifier):
        self._classifier = classifier
        self.readings: dict[int, Reading] = {}
        self.refusals: list[Refusal] = []
        self._removed: tuple[dict[int, Reading], list[Refusal]] = ({}, [])
        self._forgetting = threading.Timer(UNDO_SECONDS, self._forget)
        self._count = self._shown = 0
        self._examples = itertools.cycle(examples.read())
        self._begin_batch()
        self._make_parts()
        self.root = widgets.VBox(self._arranged()).add_class("sc-page")
        self._show(0)

    def _make_parts(self):
        aims = self._classifier.description.thresholds(priors.CLINIC) or [SENSITIVITY]
        safe = self._guarded
        self.upload = Upload(
            *map(safe, (self._received, self._refuse, self._show_example, self._warm_up))
        )
        self.status = Live(role="status", value="No image yet.").add_class("sc-heard")
        self.refused = Live(role="alert")
        self.result = Result(template=template(self._classifier.description))
        self.result.observe(safe(self._opened_by_visitor), "opened")
        self.overview = Overview(self.result, safe(lambda number: self._remove([number])))
        self.prevalence = widgets.Dropdown(
            description="Prevalence",
            options=[
                (words, name)
                for name, words in PREVALENCES.items()
                if name in self._classifier.description.priors
            ],
        )
        self.sensitivity = widgets.Dropdown(
            description="Sensitivity",
            options=[(percent(value), value) for value in aims],
            value=SENSITIVITY,
        )
        self.table = Save(words="Save table (CSV)", name="skin lesions.csv")
        self.clear = _button("Remove all", safe(self._clear)).add_class("sc-clear")
        self.undo = _button("Undo", safe(self._bring_back)).add_class("sc-undo")
        for control in (self.prevalence, self.sensitivity):
            control.observe(safe(self._set), "value")

    def _arranged(self):
        self._settings = widgets.HBox([self.prevalence, self.sensitivity]).add_class("sc-settings")
        self.actions = widgets.HBox([self.table, self.clear]).add_class("sc-actions")
        return [
            _style(),
            widgets.HTML(_INTRODUCTION),
            self.upload,
            self.status,
            self.refused,
            self.undo,
            self.overview,
            self._settings,
            self.result,
            self.actions,
            widgets.HTML(footer_html(self._classifier.description)),
            widgets.HTML(f"<p>{CAUTION}</p>").add_class("sc-caution"),
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

    def _received(self, name, content, first, left, confirmed=None):
        if first:
            self._begin()
        same = digest(content)
        twins = [number for number, kept in self.readings.items() if kept.digest == same]
        number = twins[0] if twins else self._read(name, content, confirmed)
        if number:
            self._batch.append(number)
        self._show(self._first_of_batch() if self._follows else self.opened)
        self._tell_batch(left)

    def _read(self, name, content, confirmed):
        """Read a file; return its number, or None if it cannot be read."""
        try:
            reading = Reading.of(self._classifier, name, content, confirmed)
        except ImageError as error:
            return self._note(name, str(error))
        except Exception:
            log.exception("an image could not be read")
            return self._note(name, FAILED)
        self._count += 1
        self.readings[self._count] = reading
        return self._count

    def _refuse(self, name, sentence, first, left):
        if first:
            self._begin()
        self._note(name, sentence)
        self._show(self.opened)
        self._tell_batch(left)

    def _note(self, name, reason):
        self.refusals.append(Refusal(name, reason, now()))
        self._refused_of_batch.append(name)
        self._alert(f"{name}: {reason}")

    def _alert(self, sentence):
        self.refused.value = "\n".join(filter(None, [self.refused.value, sentence]))

    def _begin(self):
        """Forget what was said of files that came before."""
        self._begin_batch()
        self.refused.value = ""

    def _begin_batch(self):
        self._batch: list[int] = []
        self._refused_of_batch: list[str] = []
        self._follows = True  # what is opened, until the visitor opens another

    def _first_of_batch(self):
        """Return the most malignant of the lesions that came together."""
        came = {number: self.opinion(number) for number in self._batch if number in self.readings}
        return overview.ranked(came)[0] if came else self.opened

    def _opened_by_visitor(self, change):
        if change.new != self._shown:
            self._follows, self._shown = False, change.new
            self._say(change.new)

    def _set(self, _change):
        self._show(self.opened)
        self._say(self.opened)

    def _tell_batch(self, left):
        """Say how far a batch is, or once it is through, what came of it."""
        came, refused = len(self._batch), len(self._refused_of_batch)
        if left:
            self.status.value = f"{came + refused} of {came + refused + left} images."
        elif came + refused == 1 and refused:
            self.status.value = f"{self._refused_of_batch[0]} was not read."
        elif came + refused == 1:
            self._say(self._batch[0])
        else:
            opened = self._headline(self.opened) if self.opened else ""
            self.status.value = f"{self.overview.summary}. {opened}".strip()

    def _say(self, number):
        if number in self.readings:
            self.status.value = self._headline(number)

    def _headline(self, number):
        told = self.opinion(number)
        doubts = [*told.prediction.quality]
        doubt = f" Reasons for doubt: {', '.join(doubts)}." if doubts else ""
        return f"{told.reading.name}: {headline(told)}.{doubt}"

    def _warm_up(self):
        """Let the network run once, so that the first image need not wait for its set-up."""
        with _unheard():
            self._classifier.predict(np.zeros((64, 64, 3), np.uint8))

    def _show_example(self):
        example = next(self._examples)
        self._received(example.image_id, example.path.read_bytes(), True, 0, example.diagnosis)

    def _clear(self, _button):
        self._begin()
        self._remove(list(self.readings))
        self.upload.forget()

    def _remove(self, numbers):
        """Remove lesions, and with the last one the refusals, for a while to be brought back."""
        lesions = {number: self.readings.pop(number) for number in numbers}
        refusals, self.refusals = ([], self.refusals) if self.readings else (self.refusals, [])
        self._keep_for_a_while(lesions, refusals)
        words = f"{_counted(lesions)} removed"
        self.undo.description = f"Undo: {words}"
        self.status.value = f"{words}. Undo is possible for a minute."
        self._show(self.opened if self.opened in self.readings else 0)

    def _keep_for_a_while(self, lesions, refusals):
        self._forgetting.cancel()
        self._removed = lesions, refusals
        self._forgetting = threading.Timer(UNDO_SECONDS, self._forget)
        self._forgetting.daemon = True
        self._forgetting.start()

    def _bring_back(self, _button):
        lesions, refusals = self._removed
        self._forgetting.cancel()
        self._forget()
        self.readings = dict(sorted({**lesions, **self.readings}.items()))
        self.refusals = [*refusals, *self.refusals]
        self.status.value = f"{_counted(lesions)} brought back."
        self._show(self.opened or next(iter(lesions), 0))

    def _forget(self):
        """Let go of what was removed."""
        self._removed = ({}, [])
        self.undo.layout.display = "none"

    def _show(self, opened):
        told = {number: self.opinion(number) for number in self.readings}
        opinions = {number: told[number] for number in overview.ranked(told)}
        self._shown = opened or next(iter(opinions), 0)
        fitted = self._classifier.description.thresholds(self.prevalence.value)
        self.result.show(opinions, self._shown)
        self.overview.summary = overview.summary(opinions, len(self.refusals))
        self.overview.rows = overview.rows(opinions)
        self.table.lines = table(opinions.values(), self.refusals, self._classifier.description)
        for part, shown in {
            self.overview: len(opinions) > 1,
            self.sensitivity: fitted,
            self.undo: self._removed[0],
            self._settings: opinions,
            self.result: opinions,
            self.actions: opinions or self.refusals,
        }.items():
            part.layout.display = None if shown else "none"
        change = self.root.add_class if opinions else self.root.remove_class
        change("sc-started")

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


def _counted(lesions):
    return "1 image" if len(lesions) == 1 else f"{len(lesions)} images"


def _button(words, pressed):
    button = widgets.Button(description=words).add_class("sc-plain")
    button.on_click(pressed)
    return button


def _style():
    return widgets.HTML(f"<style>{STYLE.read_text(encoding='utf-8')}</style>")


_INTRODUCTION = """
<header>
  <h1>Skin lesion classifier</h1>
  <p>For dermatoscopic images, one lesion per image: JPEG, PNG, TIFF, WebP, DICOM and others, up to
  50 MB. Only the centre square is analysed.</p>
</header>"""
