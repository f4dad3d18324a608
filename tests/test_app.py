import re
from dataclasses import replace
from datetime import UTC, datetime

import cv2
import numpy as np
import pytest
from ipywidgets import HTML
from pictures import encoded, lesion, noise, photograph, png_header, text_page

from skin_cancer import app, bundle
from skin_cancer.app import Page, answer_html, cases_html, overlay
from skin_cancer.classifier import STRANGE, Classifier, percent
from skin_cancer.doubt import Case

STRANGE_HEADING = "<h2>Unlike anything the model has learnt</h2>"


@pytest.fixture
def page():
    return Page(Classifier.load())


def upload(page, name, content):
    file = {"name": name, "type": "", "size": len(content), "content": memoryview(content)}
    page.upload.value = ({**file, "last_modified": datetime.now(UTC)},)


@pytest.fixture(scope="module")
def prediction():
    """What the shipped bundle says of the synthetic lesion, as if that were familiar."""
    return replace(Classifier.load().predict(lesion()), unfamiliarity=0.1)


def warned(page):
    """The sentences in the warning box on the page."""
    return re.findall(r"<li>(.*?)</li>", page.answer.value)


def words(content):
    """The text of some HTML."""
    return " ".join(re.sub(r"<[^>]*>", " ", content).split())


def shown_image(page):
    return page.picture.value.split("base64,")[1]


def is_shown(page):
    return page.result.layout.display != "none"


def test_upload_shows_diagnosis_bars_and_picture(page, picture):
    upload(page, "lesion.jpg", picture)
    found = Classifier.load().predict(picture)
    name = app.BY_CODE[found.diagnosis].name
    assert is_shown(page)
    assert f"<h2>{name}</h2>" in page.answer.value
    assert f"{percent(found.probabilities[found.diagnosis])} probability" in page.answer.value
    assert page.answer.value.count("<tr") == 7
    assert "Malignant or a precursor" in page.answer.value
    assert page.shown.value == found.diagnosis
    assert f"speaks for {name}" in page.picture.value
    assert "data:image/jpeg;base64," in page.picture.value
    assert "Result for lesion.jpg" in page.status.value


@pytest.mark.parametrize("draw", [photograph, text_page, noise])
def test_a_picture_of_something_else_gets_a_warning_before_any_diagnosis(page, draw):
    content = encoded(draw())
    upload(page, "other.jpg", content)
    answer, found = page.answer.value, Classifier.load().predict(content)
    name = app.BY_CODE[found.diagnosis].name
    assert STRANGE in warned(page)
    assert 'role="alert"' in answer
    assert answer.index(STRANGE) < answer.index(STRANGE_HEADING) < answer.index(name)
    assert answer.count("<h2>") == 1
    assert (
        f"If it is a dermatoscopic picture of a lesion: {name}, "
        f"{percent(found.probabilities[found.diagnosis])} probability." in words(answer)
    )
    assert "Unlike the pictures the model learnt from" in answer
    assert "nine of ten" not in answer
    assert is_shown(page)


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (cv2.GaussianBlur(lesion(), (0, 0), 12), "The picture is blurred."),
        (lesion(60, 60), "The picture is small (60 x 60 pixels)"),
    ],
    ids=["blurred", "tiny"],
)
def test_a_poor_picture_gets_its_sentence_and_the_next_one_none(page, picture, image, sentence):
    upload(page, "poor.jpg", encoded(image))
    assert any(said.startswith(sentence) for said in warned(page))
    upload(page, "lesion.jpg", picture)
    assert warned(page) == []
    assert 'role="alert"' not in page.answer.value


def test_a_poor_picture_of_a_familiar_kind_keeps_its_diagnosis(prediction):
    poor = replace(prediction, unfamiliarity=0.1, quality={"dark": "The picture is <too> dark."})
    answer = answer_html(poor)
    assert "The picture is &lt;too&gt; dark." in answer
    assert f"<h2>{app.BY_CODE[poor.diagnosis].name}</h2>" in answer


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        (("MEL", "BKL"), "Could be: melanoma or benign keratosis In nine of ten lesions the true"),
        (("NV", "MEL", "BKL"), "Could be: melanocytic nevus, melanoma or benign keratosis In nine"),
        (("MEL",), "No other diagnosis is likely enough to be named. In nine of ten lesions"),
    ],
)
def test_the_prediction_set_in_words(prediction, codes, said):
    assert said in words(answer_html(replace(prediction, prediction_set=codes)))


@pytest.mark.parametrize(
    ("unfamiliarity", "said"),
    [
        (
            0.02,
            "Looks like the pictures the model learnt from unfamiliarity 2 %; mark: limit, 50 %",
        ),
        (
            0.3,
            "Somewhat unusual for this model unfamiliarity 30 %;",
        ),
        (0.9, "Unlike the pictures the model learnt from unfamiliarity 90 %; mark: limit, 50 %"),
    ],
)
def test_unfamiliarity_in_words(prediction, unfamiliarity, said):
    answer = answer_html(replace(prediction, unfamiliarity=unfamiliarity))
    assert said in words(answer)
    assert (STRANGE_HEADING in answer) == (unfamiliarity > app.UNFAMILIAR)
    assert f"width:{unfamiliarity:.1%}" in answer


def test_five_confirmed_cases_are_listed_and_no_picture_is_asked_for(page, picture):
    upload(page, "lesion.jpg", picture)
    cases = Classifier.load().predict(picture).similar()
    said = words(page.cases.value)
    assert "Most similar confirmed cases" in said
    assert len(cases) == 5
    for case in cases:
        name = app.BY_CODE[case.diagnosis].name
        assert f"{name} {case.image_id} {percent(case.similarity)}" in said
    for word in ("<img", "<a ", "http", "src=", "url("):
        assert word not in page.cases.value


def test_confirmed_cases_are_escaped_and_never_less_than_nothing_alike(prediction):
    class Stub:
        def similar(self, _features, _count):
            return [Case("<b>id</b>", "lesion", "VASC", -0.2)]

    said = cases_html(replace(prediction, doubt=Stub()))
    assert "<td>&lt;b&gt;id&lt;/b&gt;</td><td>0 %</td>" in said


def test_a_bundle_without_doubt_shows_neither_set_nor_cases(tmp_path, picture):
    description = replace(bundle.read(bundle.DEFAULT_BUNDLE), doubt={})
    bundle.write(tmp_path / "plain", description, bundle.DEFAULT_BUNDLE)
    page = Page(Classifier.load(tmp_path / "plain"))
    upload(page, "lesion.jpg", picture)
    assert is_shown(page)
    assert page.cases.value == ""
    assert page.answer.value.count("<tr") == 7
    for absent in ("nine of ten", "learnt from", "alert"):
        assert absent not in page.answer.value


def test_the_page_says_what_it_is_not_and_where_pictures_go(page):
    text = " ".join(child.value for child in page.root.children if isinstance(child, HTML))
    assert "not a medical device" in text
    assert "nothing is written" in text


def test_upload_is_ready_for_the_same_file_again(page, picture):
    upload(page, "lesion.jpg", picture)
    assert page.upload.value == ()
    assert not page.upload.disabled


def test_a_working_state_is_shown_while_it_computes(page, picture):
    seen = []
    page.status.observe(lambda change: seen.append((change["new"], page.upload.disabled)), "value")
    upload(page, "lesion.jpg", picture)
    assert "Reading lesion.jpg" in seen[0][0]
    assert any(disabled for _, disabled in seen)


def test_heatmap_and_opacity_change_the_picture(page, picture):
    upload(page, "lesion.jpg", picture)
    first = shown_image(page)
    page.opacity.value = 0
    plain = shown_image(page)
    assert plain != first
    for name, code in page.shown.options:
        page.shown.value = code
        assert shown_image(page) == plain
        assert f"speaks for {name}" in page.picture.value


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("text.jpg", b"only text", "cannot be read as a picture"),
        ("cut.jpg", encoded(lesion())[:5000], "damaged or incomplete"),
        ("empty.jpg", b"", "empty"),
        ("large.jpg", bytes(60_000_000), "60 MB"),
        ("huge.png", png_header(20_000, 20_000), "megapixels"),
    ],
)
def test_a_wrong_file_gets_a_plain_sentence_and_the_next_one_works(
    page, picture, name, content, sentence
):
    upload(page, name, content)
    assert sentence in page.status.value
    assert name in page.status.value
    assert not is_shown(page)
    upload(page, "lesion.jpg", picture)
    assert is_shown(page)
    assert 'role="alert"' not in page.status.value


def test_a_result_disappears_when_the_next_file_is_wrong(page, picture):
    upload(page, "lesion.jpg", picture)
    upload(page, "text.jpg", b"only text")
    assert not is_shown(page)


def test_file_names_are_text(page, picture):
    for content in (picture, b"no picture"):
        upload(page, "<img src=x onerror=alert(1)>.jpg", content)
        assert "<img" not in page.status.value
        assert "&lt;img" in page.status.value


def test_an_unexpected_error_is_logged_and_said_plainly(page, picture, monkeypatch, caplog):
    def fail(_image):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(page._classifier, "predict", fail)
    upload(page, "lesion.jpg", picture)
    assert app.FAILED in page.status.value
    assert "secret detail" not in page.status.value
    assert "secret detail" in caplog.text
    assert not page.upload.disabled


def test_a_bundle_that_cannot_be_loaded_is_said_on_the_page(tmp_path, monkeypatch):
    monkeypatch.setenv(app.BUNDLE_VARIABLE, str(tmp_path))
    root = app.build()
    assert "There is no model bundle" in root.children[-1].value


def test_another_bundle_by_its_folder(monkeypatch):
    monkeypatch.setenv(app.BUNDLE_VARIABLE, str(bundle.DEFAULT_BUNDLE))
    assert bundle.read(bundle.DEFAULT_BUNDLE).name in app.build().children[-1].value


def test_overlay_colours_only_where_there_is_evidence():
    square = lesion(64, 64)
    heatmap = np.zeros((64, 64), np.float32)
    assert (overlay(square, heatmap, 1.0) == square).all()
    heatmap[:, 32:] = 1
    half = overlay(square, heatmap, 1.0)
    assert (half[:, :30] == square[:, :30]).all()
    assert (half[:, 34:] == half[0, 63]).all()
    assert (overlay(square, heatmap, 0.0) == square).all()
