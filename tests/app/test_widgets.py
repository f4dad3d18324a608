import gc
import html
import re
import time
import weakref
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from ipywidgets import HTML
from pictures import encoded, lesion, noise, photograph, png_header, text_page, with_exif
from traitlets import TraitError

from skin_cancer import priors
from skin_cancer.app import answer, page, reading, report, upload
from skin_cancer.app.page import Page
from skin_cancer.app.reading import Reading
from skin_cancer.app.result import Record
from skin_cancer.data import examples
from skin_cancer.diagnoses import BY_CODE
from skin_cancer.images.quality import Square
from skin_cancer.model import bundle, bundle_writer
from skin_cancer.model.classifier import KNOWN, Classifier, Verdict, percent
from skin_cancer.model.uncertainty import UNFAMILIAR, Case

STRANGE_HEADING = f"<h2>{answer.UNKNOWN}</h2>"


@pytest.fixture(scope="module")
def classifier():
    return Classifier.load()


@pytest.fixture
def shown(classifier):
    return Page(classifier)


@pytest.fixture(scope="module")
def familiar(classifier):
    """What is said of the synthetic lesion, as if that were familiar, in the default setting."""
    read = Reading.of(classifier, "lesion.jpg", encoded(lesion()))
    read = replace(read, prediction=replace(read.prediction, unfamiliarity=0.1))
    return reading.opinion(read, classifier)


@pytest.fixture
def bare(tmp_path):
    """A classifier whose bundle knows nothing of doubt."""
    description = replace(bundle.read(bundle.DEFAULT_BUNDLE), doubt={})
    bundle_writer.write(tmp_path / "plain", description, bundle.DEFAULT_BUNDLE)
    return Classifier.load(tmp_path / "plain")


def send(shown, *files):
    """Hand over files that come together, each in one chunk."""
    batch = shown.upload._seen + 1
    for i, (name, content) in enumerate(files):
        message = {"name": name, "size": len(content), "offset": 0, "batch": batch, "number": i}
        message["left"] = len(files) - i - 1
        shown.upload._handle_custom_msg(message, [memoryview(content)])


def changed(opinion, **values):
    return replace(opinion, prediction=replace(opinion.prediction, **values))


def warned(shown):
    """The sentences in the warning box on the page."""
    return re.findall(r"<li>(.*?)</li>", shown.record.answer)


def words(content):
    """The text of some HTML."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", content)).split())


def is_shown(part):
    return part.layout.display != "none"


def test_a_picture_gets_diagnosis_verdict_bars_and_evidence(shown, picture, classifier):
    send(shown, ("lesion.jpg", picture))
    found = classifier.predict(picture)
    said = words(shown.record.answer)
    assert is_shown(shown.result)
    assert f"Most likely {BY_CODE[found.diagnosis].name}" in said
    assert f"{found.verdict().percents[0]} {answer.RISK}" in said
    assert f"{found.verdict().words} {found.verdict().percents[0]}" in said.lower()
    bars = shown.record.answer.split("<details")[0]
    assert bars.count("<tr") == len(classifier.description.diagnoses)
    assert shown.record.picture.startswith(b"\xff\xd8")
    assert shown.record.names[shown.record.named[0]] == BY_CODE[found.diagnosis].name
    verdict = found.verdict()
    headline = f"lesion.jpg: {verdict.words.capitalize()}, {verdict.percents[0]}. Most likely:"
    assert shown.status.value.startswith(headline)


@pytest.mark.parametrize("draw", [photograph, text_page, noise])
def test_an_image_of_something_else_gets_a_reason_and_no_answer(shown, draw):
    send(shown, ("other.jpg", encoded(draw())))
    said = words(shown.record.answer)
    assert STRANGE_HEADING in shown.record.answer
    assert shown.record.answer.count("<h2>") == 1
    assert answer.WHAT_TO_DO in said
    assert "Unlike the training images." in said
    assert shown.record.named == []
    for absent in ("nine of ten", "threshold", "Most likely", "<tr", 'role="img"'):
        assert absent not in shown.record.answer
    assert shown.status.value.startswith(f"other.jpg: {answer.UNKNOWN}.")


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (cv2.GaussianBlur(lesion(), (0, 0), 12), "The image is blurred."),
        (lesion(60, 60), "The image is small (60 x 60 pixels)"),
    ],
    ids=["blurred", "tiny"],
)
def test_a_poor_picture_gets_its_sentence_and_the_next_one_none(shown, picture, image, sentence):
    send(shown, ("poor.jpg", encoded(image)))
    assert any(said.startswith(sentence) for said in warned(shown))
    assert "Reasons for doubt:" in shown.status.value
    send(shown, ("lesion.jpg", picture))
    assert warned(shown) == []


def test_a_picture_of_another_kind_is_like_no_confirmed_case(shown):
    send(shown, ("house.jpg", encoded(photograph())))
    assert shown.record.cases == ""


def test_another_prevalence_may_name_a_diagnosis_outside_the_prediction_set(familiar):
    probabilities = dict.fromkeys(familiar.prediction.probabilities, 0.04) | {"NV": 0.76}
    told = changed(familiar, probabilities=probabilities, prediction_set=("MEL",))
    said = "Most likely: melanocytic nevus. Cannot be excluded: melanoma"
    assert answer.headline(told).endswith(said)
    assert "Cannot be excluded melanoma 4%" in words(answer.answer_html(told))
    record = Record(told)
    assert [record.names[place] for place in record.named] == ["melanocytic nevus", "melanoma"]


def test_an_unknown_kind_is_never_given_a_diagnosis_in_words(shown, picture):
    send(shown, ("lesion.jpg", picture), ("house.jpg", encoded(photograph())))
    last = shown.overview.rows[-1]
    told = [last[column] for column in ("name", "diagnosis", "malignancy", "verdict")]
    assert told == ["house.jpg", "", "", "no answer"]


def test_reasons_for_doubt_come_before_the_diagnosis_and_are_text(familiar):
    said = answer.answer_html(changed(familiar, quality={"dark": "The image is <too> dark."}))
    assert said.index("The image is &lt;too&gt; dark.") < said.index("<h2>")


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        (("BKL", "MEL"), "Most likely: benign keratosis. Cannot be excluded: melanoma"),
        (
            ("NV", "MEL", "BCC", "BKL"),
            "Most likely: melanocytic nevus. Cannot be excluded: melanoma and basal cell "
            "carcinoma. Also possible: benign keratosis",
        ),
        (
            ("MEL", "BKL", "NV"),
            "Most likely: melanoma. Also possible: benign keratosis and melanocytic nevus",
        ),
        (("MEL",), "Most likely: melanoma"),
    ],
)
def test_the_conclusion_names_what_cannot_be_excluded(familiar, codes, said):
    probabilities = dict.fromkeys(familiar.prediction.probabilities, 0.01)
    probabilities |= {code: 0.04 - i / 1000 for i, code in enumerate(codes)} | {codes[0]: 0.4}
    told = changed(familiar, prediction_set=codes, probabilities=probabilities)
    assert answer.conclusion(told.prediction) == said
    assert all(BY_CODE[code].name in words(answer.answer_html(told)) for code in codes)


@pytest.mark.parametrize(
    ("unfamiliarity", "said"),
    [
        (0.02, "Like the training images. Unfamiliarity 2%; above 50% there is no answer."),
        (0.3, "Somewhat unlike the training images. Unfamiliarity 30%;"),
        (0.9, "Unlike the training images. Unfamiliarity 90%;"),
    ],
)
def test_unfamiliarity_in_words(familiar, unfamiliarity, said):
    told = changed(familiar, unfamiliarity=unfamiliarity)
    told = replace(told, reading=replace(told.reading, prediction=told.prediction))
    content = answer.answer_html(told)
    assert said in words(content)
    assert (STRANGE_HEADING in content) == (unfamiliarity > UNFAMILIAR)
    assert f"width:{unfamiliarity:.1%}" in content


def test_five_confirmed_cases_are_linked_and_nothing_of_them_is_fetched(shown, picture, classifier):
    send(shown, ("lesion.jpg", picture))
    cases = classifier.predict(picture).similar()
    said = words(shown.record.cases)
    assert len(cases) == 5
    for case in cases:
        name = BY_CODE[case.diagnosis].name
        assert f"{name} {case.image_id} {1 - case.similarity:.2f}" in said
        assert f'href="https://api.isic-archive.com/images/{case.image_id}/"' in shown.record.cases
    assert shown.record.cases.count('target="_blank" rel="noopener noreferrer"') == 5
    for word in ("<img", "src=", "url("):
        assert word not in shown.record.cases


def test_confirmed_cases_are_escaped(familiar):
    class Stub:
        def similar(self, _features, _count):
            return [Case('"><b>id</b>', "lesion", "VASC", -0.2)]

    read = replace(familiar.reading, prediction=replace(familiar.prediction, doubt=Stub()))
    said = answer.cases_html(read)
    assert "<b>" not in said
    assert "<td>1.20</td>" in said


def test_a_bundle_without_doubt_shows_neither_verdict_nor_cases(bare, picture):
    shown = Page(bare)
    send(shown, ("lesion.jpg", picture))
    assert is_shown(shown.result)
    assert not is_shown(shown.sensitivity)
    assert shown.record.cases == ""
    assert shown.record.answer.count("<tr") == len(bare.description.diagnoses)
    for absent in ("nine of ten", "training images", "sensitivity", "above", "below"):
        assert absent not in words(shown.record.answer)
    assert "No threshold for this prior" in words(shown.record.answer)
    assert [row[0] for row in shown.table.lines] == ["file", "lesion.jpg"]


def test_the_page_says_what_it_is_not_and_where_pictures_go(shown):
    text = " ".join(child.value for child in shown.root.children if isinstance(child, HTML))
    assert "not a medical device" in text
    assert "Nothing is written" in text
    assert answer.CAUTION in text


def test_the_prevalence_changes_the_odds_and_each_has_its_threshold(shown, picture, classifier):
    send(shown, ("lesion.jpg", picture))
    malignancies = {}
    for name in (priors.BALANCED, priors.CLINIC, priors.SCREENING):
        shown.prevalence.value = name
        told = shown.opinion(shown.opened)
        malignancies[name] = told.verdict.malignancy
        said = words(shown.record.answer)
        assert told.verdict.percents[0] in said
        assert shown.opinion(shown.opened).prior.source in said
        thresholds = classifier.description.thresholds(name)
        assert told.verdict.threshold == thresholds[shown.sensitivity.value]
        assert f"Threshold {told.verdict.percents[1]}" in said
    assert list(malignancies.values()) == sorted(malignancies.values(), reverse=True)


def test_a_prevalence_without_a_threshold_says_so(shown, picture, classifier, monkeypatch):
    monkeypatch.delitem(classifier.description.doubt["thresholds"], priors.SCREENING)
    send(shown, ("lesion.jpg", picture))
    assert is_shown(shown.sensitivity)
    shown.prevalence.value = priors.SCREENING
    assert "No threshold for this prior" in words(shown.record.answer)
    assert not is_shown(shown.sensitivity)


def test_what_the_page_offers_python_offers_by_the_same_name(shown, picture, classifier):
    send(shown, ("lesion.jpg", picture))
    assert shown.prevalence.value == priors.DEFAULT
    for _, name in shown.prevalence.options:
        shown.prevalence.value = name
        told = shown.opinion(shown.opened).prediction.probabilities
        assert told == pytest.approx(classifier.predict(picture, prior=name).probabilities)


def test_a_higher_sensitivity_calls_more_suspicious(shown, familiar, classifier):
    found = [value for _, value in shown.sensitivity.options]
    assert found == [0.90, 0.95, 0.98]
    told = [reading.opinion(familiar.reading, classifier, sensitivity=aim) for aim in found]
    thresholds = [each.verdict.threshold for each in told]
    assert thresholds == sorted(thresholds, reverse=True)
    for each in told:
        verdict = each.verdict
        assert verdict.suspicious == (verdict.malignancy >= verdict.threshold)
        archives = [measured["title"].removesuffix(", holdout") for measured in each.found]
        assert archives == ["HAM10000", "ISIC 2019", "MILK10k"]
        assert each.found[0]["images"] == 1490
    reached = [[each.found[i]["sensitivity"]["value"] for each in told] for i in range(3)]
    assert all(values == sorted(values) for values in reached)


@pytest.mark.parametrize("suspicious", [True, False])
def test_the_verdict_in_words_and_on_a_scale(familiar, suspicious):
    kind = "above threshold" if suspicious else "below threshold"
    verdict = Verdict(suspicious, 0.5, 0.2, 0.95, kind)
    content = answer.verdict_html(replace(familiar, verdict=verdict))
    start = "▲ Above threshold" if suspicious else "▽ Below threshold"
    assert words(content).startswith(f"{start} 50% {answer.RISK}")
    assert "Threshold 20%, set so that 95% of malignant lesions lie above it" in words(content)
    assert 'role="img" aria-label="50% on a scale from 0% to 100%; threshold 20%"' in content
    places = [float(place) for place in re.findall(r"left:([\d.]+)%", content)]
    assert places[:2] == [44.7, 70.7]  # the mark and the number, on a root scale
    assert "left:clamp(2.2rem, 44.7%, 100% - 2.2rem)" in content  # the label, never cut off


@pytest.mark.parametrize(
    ("suspicious", "codes", "doubt", "look", "reason"),
    [
        (True, ("NV",), {}, "above", ""),
        (False, ("NV", "BKL"), {}, "below", ""),
        (False, ("NV", "MEL"), {}, "none", "melanoma cannot be excluded"),
        (
            False,
            ("NV",),
            {"quality": {"dark": "It is dark."}},
            "none",
            "there are reasons for doubt",
        ),
        (False, ("NV",), {"unfamiliarity": 0.4}, "none", "the image is somewhat unlike"),
        (None, ("NV",), {}, "none", ""),
    ],
)
def test_a_verdict_looks_reassuring_only_where_nothing_speaks_against_it(
    familiar, suspicious, codes, doubt, look, reason
):
    probabilities = dict.fromkeys(familiar.prediction.probabilities, 0.01) | {"NV": 0.9}
    told = changed(familiar, probabilities=probabilities, prediction_set=codes, **doubt)
    verdict = replace(told.verdict, suspicious=suspicious, malignancy=0.04, threshold=0.2)
    content = answer.answer_html(replace(told, verdict=verdict))
    assert f'class="sc-verdict sc-{look}"' in content
    assert ("Not an all-clear" in content) == bool(reason)
    assert reason in words(content)
    harmless = BY_CODE["NV"].meaning in words(content)
    assert harmless == (not suspicious)


@pytest.mark.parametrize(
    ("malignancy", "suspicious", "said"),
    [
        (0.07, True, "Suspicious, but close to the threshold."),
        (0.05, False, "Not an all-clear: close to the threshold."),
        (0.2, True, ""),
        (0.02, False, ""),
    ],
)
def test_a_number_close_to_the_threshold_is_called_so(familiar, malignancy, suspicious, said):
    verdict = Verdict(suspicious, malignancy, 0.06, 0.95, "")
    told = changed(familiar, prediction_set=("NV",), probabilities={"NV": 0.98, "BCC": 0.02})
    content = words(answer.verdict_html(replace(told, verdict=replace(verdict, words="x"))))
    assert ("close to the threshold" in content) == bool(said)
    assert said in content


def test_a_tie_is_shown_as_one(familiar):
    chances = dict.fromkeys(familiar.prediction.probabilities, 0.01)
    told = changed(familiar, probabilities={**chances, "BKL": 0.323, "NV": 0.318, "MEL": 0.2})
    assert answer.conclusion(told.prediction).startswith(
        "Most likely: benign keratosis and melanocytic nevus. Cannot be excluded: melanoma"
    )


def test_above_the_threshold_the_evidence_is_first_that_for_what_is_feared_most(familiar):
    chances = dict.fromkeys(familiar.prediction.probabilities, 0.01)
    told = changed(familiar, probabilities={**chances, "NV": 0.5, "BCC": 0.3, "MEL": 0.2})
    for suspicious, name in ((True, "basal cell carcinoma"), (False, "melanocytic nevus")):
        record = Record(replace(told, verdict=replace(told.verdict, suspicious=suspicious)))
        assert record.names[record.evident] == name


def test_what_is_not_improbable_is_named_though_it_is_not_in_the_prediction_set(familiar):
    chances = dict.fromkeys(familiar.prediction.probabilities, 0.01)
    chances |= {"BKL": 0.40, "NV": 0.32, "MEL": 0.2, "DF": 0.044, "BCC": 0.046}
    told = changed(familiar, probabilities=chances, prediction_set=("BKL",))
    assert answer.conclusion(told.prediction) == (
        "Most likely: benign keratosis. Cannot be excluded: melanoma and basal cell carcinoma. "
        "Also possible: melanocytic nevus"
    )
    told = replace(told, verdict=replace(told.verdict, suspicious=False))
    shown = "Most likely benign keratosis 40% A harmless change"
    assert shown in words(answer.answer_html(told))


def test_what_the_sensitivity_means_is_told_with_what_was_measured(familiar):
    found = {"value": 0.915, "low": 0.88, "high": 0.941}
    passed = {"value": 0.768, "low": 0.75, "high": 0.79}
    measured = {"images": 1490, "sensitivity": found, "specificity": passed}
    both = [{"title": f"{name}, holdout", **measured} for name in ("HAM10000", "MILK10k")]
    said = words(answer.answer_html(replace(familiar, found=both)))
    assert (
        "set to find 95% of malignant lesions. What it did on test images, with 95% intervals: "
        "Archive Images Malignant above it Benign below it "
        "HAM10000 1,490 91.5% 88.0 to 94.1% 76.8% 75.0 to 79.0% "
        "MILK10k 1,490 91.5% 88.0 to 94.1%" in said
    )


def test_a_training_image_is_called_one(familiar):
    own = familiar.prediction.similar(1)[0]
    told = changed(familiar, origin=SimpleNamespace(known=own))
    assert KNOWN in told.prediction.warnings
    assert KNOWN in words(answer.answer_html(told))
    assert own.image_id not in answer.cases_html(replace(told.reading, prediction=told.prediction))


def test_a_number_beside_its_threshold_has_the_digits_that_tell_them_apart():
    assert Verdict(False, 0.0659, 0.0661, 0.95, "").percents == ("6.59%", "6.61%")
    assert Verdict(True, 0.4, 0.0661, 0.95, "").percents == ("40%", "7%")
    assert Verdict(False, 0.0004, 0.0032, 0.95, "").percents == ("<0.1%", "0.3%")


def test_several_files_give_a_table_the_most_malignant_first(shown):
    files = [(f"{i}.jpg", encoded(lesion(seed=i))) for i in range(4)]
    send(shown, *files[:2], ("broken.jpg", b"no picture"), *files[2:])
    rows = shown.overview.rows
    assert sorted(row["name"] for row in rows) == [name for name, _ in files]
    order = [shown.opinion(row["number"]).verdict.malignancy for row in rows]
    assert order == sorted(order, reverse=True)
    assert all(row["thumbnail"].startswith(b"\xff\xd8") for row in rows)
    assert "broken.jpg" in shown.refused.value
    assert is_shown(shown.overview)
    assert shown.opened == rows[0]["number"]
    above = sum(row["verdict"] == "▲ above threshold" for row in rows)
    strange = sum(row["verdict"] == "no answer" for row in rows)
    assert shown.overview.summary == ", ".join(
        ["4 read", f"{above} above the threshold"]
        + [f"{strange} without an answer"] * bool(strange)
        + ["1 refused"]
    )
    assert shown.status.value.startswith(f"{shown.overview.summary}. {rows[0]['name']}: ")


def test_what_the_visitor_opens_stays_open_while_more_files_come(shown):
    files = [(f"{i}.jpg", encoded(lesion(seed=i))) for i in range(4)]
    batch = {"offset": 0, "batch": 1, "number": 1}
    for left, (name, content) in enumerate(reversed(files)):
        message = {"name": name, "size": len(content), "left": 3 - left, **batch}
        shown.upload._handle_custom_msg(message, [memoryview(content)])
        if left == 1:
            assert shown.status.value == "2 of 4 images."
            lowest = shown.overview.rows[-1]["number"]
            shown.result.set_state({"opened": lowest})
    assert shown.opened == lowest


def test_the_same_file_twice_is_one_row(shown, picture):
    send(shown, ("a.jpg", picture), ("b.jpg", encoded(lesion(seed=5))))
    send(shown, ("copy of a.jpg", picture))
    assert {row["name"] for row in shown.overview.rows} == {"a.jpg", "b.jpg"}
    assert "a.jpg" in shown.record.answer


def test_one_lesion_is_removed_and_brought_back(shown):
    send(shown, *[(f"{i}.jpg", encoded(lesion(seed=i))) for i in range(3)])
    rows = shown.overview.rows
    shown.overview._handle_custom_msg({"remove": rows[0]["number"]}, [])
    assert [row["name"] for row in shown.overview.rows] == [row["name"] for row in rows[1:]]
    assert shown.opened == rows[1]["number"]
    assert is_shown(shown.undo)
    assert shown.undo.description == "Undo: 1 image removed"
    shown.undo.click()
    assert shown.overview.rows == rows
    assert not is_shown(shown.undo)
    for message in ({"remove": 99}, {"remove": None}, {}, [], None):  # no page sends these
        shown.overview._handle_custom_msg(message, [])
    assert shown.overview.rows == rows


def test_what_was_removed_can_be_brought_back_for_a_while_and_is_then_gone(
    shown, picture, monkeypatch
):
    send(shown, ("lesion.jpg", picture), ("broken.jpg", b"no image"))
    monkeypatch.setattr(page, "UNDO_SECONDS", 3600)
    shown.clear.click()
    assert not is_shown(shown.result)
    shown.undo.click()
    assert shown.opinion(shown.opened).reading.name == "lesion.jpg"
    assert [refusal.name for refusal in shown.refusals] == ["broken.jpg"]
    gone = weakref.ref(shown.readings[shown.opened])
    monkeypatch.setattr(page, "UNDO_SECONDS", 0.01)
    shown.clear.click()
    deadline = time.monotonic() + 10
    while is_shown(shown.undo) and time.monotonic() < deadline:
        time.sleep(0.01)
    gc.collect()
    assert gone() is None
    shown.undo.click()  # a page that has not heard yet
    assert shown.readings == {}


def test_a_lesion_of_the_table_is_opened(shown):
    send(shown, *[(f"{i}.jpg", encoded(lesion(seed=i))) for i in range(3)])
    last = shown.overview.rows[-1]
    assert last["name"] not in shown.record.answer
    shown.result.set_state({"opened": last["number"]})
    assert last["name"] in shown.record.answer
    assert shown.status.value.startswith(f"{last['name']}: ")
    for wrong in (99, None, "x"):  # no page sends these
        with pytest.raises(TraitError):
            shown.result.set_state({"opened": wrong})
        assert last["name"] in shown.record.answer


def test_the_browser_keeps_each_lesion_and_its_texts_follow_the_setting(shown):
    send(shown, *[(f"{i}.jpg", encoded(lesion(seed=i))) for i in range(3)])
    shown.prevalence.value = list(reading.PREVALENCES)[-1]
    assert shown.result.records.keys() == shown.readings.keys()
    for number, record in shown.result.records.items():
        told = shown.opinion(number)
        assert record.picture == told.reading.picture
        assert record.answer == answer.answer_html(told)
        assert record.measures == answer.measures_html(told.reading)
        assert record.cases == answer.cases_html(told.reading)


def test_one_lesion_needs_no_table_and_a_second_upload_joins_the_first(shown, picture):
    send(shown, ("one.jpg", picture))
    assert not is_shown(shown.overview)
    send(shown, ("two.jpg", encoded(lesion(seed=5))))
    assert is_shown(shown.overview)
    assert "two.jpg" in shown.record.answer
    assert len(shown.readings) == 2


def test_doubts_stand_in_the_table(shown):
    send(shown, ("house.jpg", encoded(photograph())), ("tiny.jpg", encoded(lesion(60, 60))))
    doubts = {row["name"]: row["doubt"] for row in shown.overview.rows}
    verdicts = {row["name"]: row["verdict"] for row in shown.overview.rows}
    assert "unlike the training images" in doubts["house.jpg"]
    assert verdicts["house.jpg"] == "no answer"
    assert "small" in doubts["tiny.jpg"]


def ask_for_an_example(shown):
    shown.upload._handle_custom_msg({"event": "example"}, [])


def revealed(text):
    return re.findall(r"Confirmed diagnosis of this example:\s*<strong>(.*?)</strong>", text)


def test_the_examples_come_in_turn_each_with_its_confirmed_diagnosis(shown):
    published = examples.read()
    for example in (*published, published[0]):
        ask_for_an_example(shown)
        assert shown.opinion(shown.opened).reading.name == example.image_id
        assert revealed(shown.record.answer) == [BY_CODE[example.diagnosis].name]


def test_the_confirmed_diagnosis_is_shown_whatever_the_answer(familiar):
    example = replace(familiar, reading=replace(familiar.reading, confirmed="MEL"))
    probabilities = familiar.prediction.probabilities
    told = [
        changed(example, probabilities={**dict.fromkeys(probabilities, 0.01), code: 0.94})
        for code in probabilities
    ]
    assert {each.prediction.diagnosis for each in told} == probabilities.keys()
    for each in (*told, changed(example, unfamiliarity=0.9)):
        said = answer.answer_html(each)
        assert revealed(said) == ["melanoma"]
        right = not each.prediction.unfamiliar and each.prediction.diagnosis == "MEL"
        assert ("the model is right" in said) == right
        assert ("the model is wrong" in said) == (not right and not each.prediction.unfamiliar)
    assert revealed(answer.answer_html(familiar)) == []


def test_only_an_example_has_a_confirmed_diagnosis_in_the_table(shown, picture):
    send(shown, ("lesion.jpg", picture))
    ask_for_an_example(shown)
    rows = table_of(shown)
    first = examples.read()[0]
    assert {row["file"]: row["confirmed diagnosis"] for row in rows} == {
        "lesion.jpg": "",
        first.image_id: first.diagnosis,
    }


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("text.jpg", b"only text", "cannot be read as an image"),
        ("cut.jpg", encoded(lesion())[:5000], "damaged or incomplete"),
        ("empty.jpg", b"", "empty"),
        ("large.jpg", bytes(60_000_000), "60 MB"),
        ("huge.png", png_header(20_000, 20_000), "megapixels"),
    ],
)
def test_a_wrong_file_gets_a_plain_sentence_and_the_next_one_works(
    shown, picture, name, content, sentence
):
    send(shown, (name, content))
    assert sentence in shown.refused.value
    assert name in shown.refused.value
    assert not is_shown(shown.result)
    send(shown, ("lesion.jpg", picture))
    assert is_shown(shown.result)
    assert shown.refused.value == ""


def test_an_answer_stays_when_the_next_file_is_wrong(shown, picture):
    send(shown, ("lesion.jpg", picture))
    send(shown, ("text.jpg", b"only text"))
    assert "text.jpg" in shown.refused.value
    assert "lesion.jpg" in shown.record.answer


def test_file_names_are_text(shown, picture):
    name = "<img src=x onerror=alert(1)>.jpg"
    for content in (picture, b"no picture"):
        send(shown, (name, content))
    assert "<img" not in shown.record.answer  # status and refusals are set as text by the page
    assert "&lt;img" in shown.record.answer


def test_everything_can_be_removed(shown, picture):
    send(shown, ("lesion.jpg", picture), ("broken.jpg", b"no picture"))
    record = shown.record
    shown.clear.click()
    assert shown.readings == shown.result.records == {}
    assert shown.opened == 0
    assert shown.refused.value == ""
    assert record.comm is None  # nor does the browser keep anything of it
    assert not is_shown(shown.result)
    send(shown, ("lesion.jpg", picture))
    assert is_shown(shown.result)


def test_an_unexpected_error_is_logged_and_said_plainly(shown, picture, monkeypatch, caplog):
    def fail(_image):
        raise RuntimeError("secret detail")

    with monkeypatch.context() as patch:
        patch.setattr(shown._classifier, "examine", fail)
        send(shown, ("lesion.jpg", picture))
    assert shown.refused.value == f"lesion.jpg: {page.FAILED}"
    assert "secret detail" not in shown.refused.value
    assert "secret detail" in caplog.text
    send(shown, ("lesion.jpg", picture))
    assert is_shown(shown.result)


def test_what_cannot_be_drawn_is_refused_and_the_others_stay(shown, picture, monkeypatch):
    def fail(_mask):
        raise RuntimeError("secret detail")

    send(shown, ("text.jpg", b"only text"))
    with monkeypatch.context() as patch:
        patch.setattr(reading.lesion, "measures", fail)
        send(shown, ("a.jpg", b"only text"), ("lesion.jpg", picture))
    assert [line.split(":")[0] for line in shown.refused.value.splitlines()] == [
        "a.jpg",
        "lesion.jpg",
    ]
    assert shown.readings == {}
    send(shown, ("lesion.jpg", picture))
    assert is_shown(shown.result)


def test_a_setting_changes_what_is_said_and_sends_no_picture_again(shown, picture):
    send(shown, ("lesion.jpg", picture))
    sent = []
    shown.record.observe(lambda change: sent.append(change["name"]))
    shown.prevalence.value = priors.SCREENING
    told = shown.opinion(shown.opened)
    assert set(sent) - {"named", "evident"} == {"answer", "probabilities"}
    name = shown.record.names[shown.record.named[0]]
    assert name == BY_CODE[told.prediction.diagnosis].name
    assert shown.status.value.startswith(f"lesion.jpg: {answer.headline(told)}")


def test_an_unexpected_failure_to_load_is_said_plainly(monkeypatch, caplog):
    def fail(_folder):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(page.Classifier, "load", fail)
    assert page.build().children[-1].value == page.NO_MODEL
    assert "secret detail" in caplog.text


def test_a_bundle_that_cannot_be_loaded_is_said_on_the_page(tmp_path, monkeypatch):
    monkeypatch.setenv(bundle.BUNDLE_VARIABLE, str(tmp_path))
    root = page.build()
    assert "There is no model bundle" in root.children[-1].value


def test_another_bundle_by_its_folder(monkeypatch):
    monkeypatch.setenv(bundle.BUNDLE_VARIABLE, str(bundle.MEASURED_BUNDLE))
    footer = page.build().children[-2].value
    assert bundle.read(bundle.MEASURED_BUNDLE).name in footer
    assert "for non-commercial use only; the code is under the MIT licence." in footer


def test_the_evidence_holds_a_heatmap_for_each_diagnosis(familiar):
    record = Record(familiar)
    side = record.side
    heat = np.frombuffer(record.heat, np.uint8).reshape(-1, side, side)
    assert len(heat) == len(record.names) == len(familiar.prediction.probabilities)
    for sent, heatmap in zip(heat, familiar.prediction.heatmaps.values(), strict=True):
        small = cv2.resize(heatmap, (side, side), interpolation=cv2.INTER_AREA)
        assert np.abs(sent / 255 - small).max() < 0.01


def test_the_outline_and_its_measures_are_those_of_the_lesion(familiar):
    points = np.array(familiar.reading.outlines[0])
    assert len(familiar.reading.outlines) == 1
    assert 0.15 < points.min() < 0.35
    assert 0.65 < points.max() < 0.85
    area = cv2.contourArea(points.astype(np.float32))
    assert area == pytest.approx(familiar.reading.measures["area"], rel=0.1)
    said = words(answer.measures_html(familiar.reading))
    assert f"Area {percent(familiar.reading.measures['area'])} of the square" in said
    assert ", ".join(familiar.reading.colours) in said


def test_a_picture_without_a_lesion_has_no_outline(familiar):
    square = Square.of(np.full((768, 768, 3), 200, np.uint8))
    skin = replace(familiar.reading, square=square)
    assert skin.outlines == []
    assert "No lesion was found" in answer.measures_html(skin)


def test_a_picture_of_another_kind_has_no_outline(familiar):
    strange = replace(familiar.prediction, unfamiliarity=0.9)
    told = replace(familiar.reading, prediction=strange)
    assert told.outlines == []
    assert "unlike the training images" in answer.measures_html(told)


def test_what_is_kept_of_a_file_has_no_metadata(classifier):
    secret = b"SECRET NAME"
    told = Reading.of(classifier, "lesion.jpg", with_exif(encoded(lesion()), secret))
    for kept in (told.picture, told.thumbnail):
        assert secret not in kept
        assert b"Exif" not in kept


def test_the_report_says_what_answered_and_asks_no_host(classifier):
    text = report.template(classifier.description)
    said = words(text)
    assert f"Model {bundle.DEFAULT_BUNDLE.name} (trained at" in said
    assert "program 0.2.0" in said
    assert "Not a medical device" in said
    assert "default-src 'none'" in text
    assert not re.search(r"(src|href)=|<script", text)


def table_of(shown):
    """The rows that the page saves, by their columns."""
    columns, *rows = shown.table.lines
    assert len(set(columns)) == len(columns)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def test_the_table_says_what_the_page_says(shown, picture):
    files = ("=1+1.jpg", picture), ("house, old.jpg", encoded(photograph())), ("a.txt", b"text")
    send(shown, *files)
    *rows, refused = table_of(shown)
    assert {row["file"] for row in rows} == {"'=1+1.jpg", "house, old.jpg"}
    for row, number in zip(rows, (each["number"] for each in shown.overview.rows), strict=True):
        told = shown.opinion(number)
        if told.prediction.unfamiliar:
            assert row["diagnosis"] == row["malignancy"] == row["threshold"] == ""
            assert "unlike" in row["reasons for doubt"]
        else:
            assert row["diagnosis"] == told.prediction.diagnosis
            assert row["malignancy"] == pytest.approx(told.verdict.malignancy, abs=1e-6)
            assert row["threshold"] == pytest.approx(told.verdict.threshold, abs=1e-6)
            assert row["sensitivity aimed at"] == 0.95
        assert row["prior"] == priors.CLINIC
        assert row["verdict"] == told.verdict.words
        assert row["refused because"] == ""
        chances = [row[code] for code in told.prediction.probabilities]
        assert sum(chances) == pytest.approx(1, abs=1e-3)
    assert (refused["file"], refused["verdict"]) == ("a.txt", "")
    assert refused["refused because"].startswith("This is a text file, which cannot be read")
    for row in (*rows, refused):
        assert row["model"].startswith(f"Model {bundle.DEFAULT_BUNDLE.name} (trained at")
        age = datetime.now().astimezone() - datetime.fromisoformat(row["read at"])
        assert timedelta(seconds=-1) < age < timedelta(minutes=5)


class Stream:
    """What an `Upload` hands over and answers."""

    def __init__(self, monkeypatch):
        self.received, self.refused, self.more, self.events = [], [], [], []
        self.upload = upload.Upload(
            lambda *file: self.received.append(file),
            lambda *file: self.refused.append(file),
            lambda: self.events.append("example"),
            lambda: self.events.append("ready"),
        )
        monkeypatch.setattr(self.upload, "send", lambda sent: self.more.append(sent.get("more")))

    def chunk(self, content, offset, size, **values):
        message = {"name": "a", "size": size, "offset": offset, "batch": 1, "number": 1, "left": 2}
        self.upload._handle_custom_msg({**message, **values}, [memoryview(content)])


@pytest.fixture
def stream(monkeypatch):
    return Stream(monkeypatch)


def test_chunks_become_the_file(stream):
    content = bytes(range(256)) * 10
    for offset in range(0, len(content), 1000):
        stream.chunk(content[offset : offset + 1000], offset, len(content))
    assert stream.received == [("a", content, True, 2)]
    assert stream.more == [True, True, False]


def test_a_file_that_is_too_large_is_refused_before_its_bytes(stream):
    stream.chunk(b"", 0, 60_000_000)
    assert stream.more == [False]
    assert "60 MB" in stream.refused[0][1]


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"abc", 0, 9), (b"def", 4, 9)],
        [(b"abc", 0, 9), (b"", 3, 9)],
        [(b"abcdef", 0, 3)],
        [(b"abc", 3, 9)],
        [(b"abc", -1, 9)],
    ],
    ids=["gap", "nothing", "too much", "no beginning", "negative"],
)
def test_a_file_that_does_not_arrive_whole_is_refused_and_the_next_is_taken(stream, chunks):
    for chunk in chunks:
        stream.chunk(*chunk)
    assert upload.INCOMPLETE in stream.refused[-1]
    stream.chunk(b"whole", 0, 5, batch=2)
    assert stream.received == [("a", b"whole", True, 2)]


def test_what_is_on_its_way_is_forgotten_and_what_comes_later_is_taken(stream):
    stream.chunk(b"abc", 0, 9)
    stream.upload.forget()
    stream.chunk(b"defghi", 3, 9)
    stream.chunk(b"next", 0, 4)
    assert stream.received == stream.refused == []
    stream.chunk(b"whole", 0, 5, batch=2)
    assert stream.received == [("a", b"whole", True, 2)]


def test_only_the_first_of_a_batch_begins_anew(stream):
    for batch in (1, 1, 2):
        stream.chunk(b"whole", 0, 5, batch=batch)
    assert [first for *_, first, _left in stream.received] == [True, False, True]


def test_a_new_file_replaces_one_that_broke_off(stream):
    stream.chunk(b"abc", 0, 9)
    stream.chunk(b"whole", 0, 5)
    assert stream.received == [("a", b"whole", True, 2)]
    assert stream.refused == []


@pytest.mark.parametrize(
    "message", [{}, {"name": "a"}, {"event": "x"}, {"event": []}, [], "text", None]
)
def test_messages_that_no_page_sends_are_ignored(stream, message):
    stream.upload._handle_custom_msg(message, [])
    assert stream.received == stream.refused == stream.events == []


def test_the_page_says_when_it_is_there_and_when_an_example_is_asked_for(stream):
    for event in ("ready", "alive", "example"):
        stream.upload._handle_custom_msg({"event": event}, [])
    assert stream.events == ["ready", "example"]


def test_a_page_that_is_there_leaves_no_trace(shown):
    shown.upload._handle_custom_msg({"event": "ready"}, [])
    assert shown.readings == {}
    assert shown.refused.value == ""
