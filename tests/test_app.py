from datetime import UTC, datetime

import numpy as np
import pytest
from ipywidgets import HTML
from pictures import encoded, lesion, png_header

from skin_cancer import app, bundle
from skin_cancer.app import Page, overlay
from skin_cancer.classifier import Classifier


@pytest.fixture
def page():
    return Page(Classifier.load())


def upload(page, name, content):
    file = {"name": name, "type": "", "size": len(content), "content": memoryview(content)}
    page.upload.value = ({**file, "last_modified": datetime.now(UTC)},)


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
    assert page.answer.value.count("<tr") == 7
    assert "Malignant or a precursor" in page.answer.value
    assert page.shown.value == found.diagnosis
    assert f"speaks for {name}" in page.picture.value
    assert "data:image/jpeg;base64," in page.picture.value
    assert "Result for lesion.jpg" in page.status.value


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
    ("name", "content", "words"),
    [
        ("text.jpg", b"only text", "cannot be read as a picture"),
        ("cut.jpg", encoded(lesion())[:5000], "damaged or incomplete"),
        ("empty.jpg", b"", "empty"),
        ("large.jpg", bytes(60_000_000), "60 MB"),
        ("huge.png", png_header(20_000, 20_000), "megapixels"),
    ],
)
def test_a_wrong_file_gets_a_plain_sentence_and_the_next_one_works(
    page, picture, name, content, words
):
    upload(page, name, content)
    assert words in page.status.value
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
