"""Whoever asks, and however: one number and one verdict for one image, when no prior is named."""

import json
import re

import nbformat
import papermill
import pytest
from conftest import ROOT
from pictures import encoded, photograph

from skin_cancer import Classifier
from skin_cancer.app import answer
from skin_cancer.app.page import Page
from skin_cancer.data import sample
from skin_cancer.scale import scoring


@pytest.fixture(scope="module")
def images():
    """Drawn lesions, some above the threshold and some below, and a photograph."""
    codes = ("MEL", "NV", "BKL", "BCC", "DF", "VASC")
    drawn = {f"{c}.png": encoded(sample.draw(c, 38, artefacts=()).image, ".png") for c in codes}
    return {**drawn, "house.png": encoded(photograph(), ".png")}


@pytest.fixture(scope="module")
def expected(images):
    classifier = Classifier.load(threads=1)
    return {name: classifier.predict(content).verdict() for name, content in images.items()}


@pytest.fixture(scope="module")
def page(images):
    shown = Page(Classifier.load(threads=1))
    for i, (name, content) in enumerate(images.items()):
        message = {"name": name, "size": len(content), "offset": 0, "batch": 1, "number": i}
        shown.upload._handle_custom_msg(message, [memoryview(content)])
    return shown


@pytest.fixture(scope="module")
def scored(images, tmp_path_factory):
    """The folder that notebook 7 wrote to, run with its defaults but for the archive."""
    folder = tmp_path_factory.mktemp("scored")
    archive = folder / "archive"
    archive.mkdir()
    for name, content in images.items():
        (archive / name).write_bytes(content)
    papermill.execute_notebook(
        ROOT / "notebooks" / "07_batch_classification.ipynb",
        folder / "07.ipynb",
        {"source": str(archive), "output": str(folder / "scores"), "workers": 1},
        progress_bar=False,
    )
    return folder


def same(number, verdict):
    return float(number) == pytest.approx(verdict.malignancy, abs=1e-6)


def test_all_three_verdicts_occur(expected):
    assert {verdict.suspicious for verdict in expected.values()} == {True, False, None}


def test_a_printed_prediction(images, expected):
    for name, content in images.items():
        verdict = expected[name]
        said = str(Classifier.load(threads=1).predict(content))
        assert f"{verdict.percents[0]}, {verdict.words}" in said


def test_the_page_its_table_and_the_order_of_it(page, expected):
    for row in page.overview.rows:
        verdict = expected[row["name"]]
        told = page.opinion(row["number"])
        assert told.verdict == verdict
        if verdict.suspicious is None:
            assert (row["malignancy"], row["verdict"]) == ("", "no answer")
            assert "threshold" not in answer.answer_html(told)
        else:
            assert row["malignancy"] == verdict.percents[0]
            assert row["verdict"].endswith(verdict.words)
            said = answer.answer_html(told).lower()
            assert verdict.words in said
            assert verdict.percents[1] in said
    order = [expected[row["name"]] for row in page.overview.rows]
    answered = [verdict for verdict in order if verdict.suspicious is not None]
    assert order[: len(answered)] == answered == sorted(answered, key=lambda v: -v.malignancy)


def test_the_report(page):
    """The browser puts the answer that it holds of each lesion into the report, as it is."""
    for number, record in page.result.records.items():
        assert record.answer == answer.answer_html(page.opinion(number))


def test_the_table_to_save(page, expected):
    columns, *lines = page.table.lines
    rows = [dict(zip(columns, line, strict=True)) for line in lines]
    assert [row["file"] for row in rows] == [row["name"] for row in page.overview.rows]
    for row in rows:
        verdict = expected[row["file"]]
        assert row["verdict"] == verdict.words
        if verdict.suspicious is not None:
            assert same(row["malignancy"], verdict)


def test_the_shards_of_an_archive(scored, expected):
    table = scoring.read(str(scored / "scores"))
    assert len(table) == len(expected)
    for row in table.to_dict("records"):
        verdict = expected[row["address"].rpartition("/")[2]]
        assert same(row["malignancy"], verdict)
        assert row["suspicious"] == verdict.suspicious
        assert row["verdict"] == verdict.words
        assert row["threshold"] == pytest.approx(verdict.threshold)


def test_notebook_7(scored, expected):
    metrics = json.loads((scored / "scores" / "metrics.json").read_text())
    assert metrics["suspicious"] == sum(bool(v.suspicious) for v in expected.values())
    notebook = nbformat.read(scored / "07.ipynb", as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    tables = [o["data"]["text/html"] for o in outputs if "text/html" in o.get("data", {})]
    (listed,) = (table for table in tables if "<th>verdict</th>" in table)
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in listed.split("<tr>")]
    told = {row[0]: row[1:3] for row in rows if row}
    answered = {name: v for name, v in expected.items() if v.suspicious is not None}
    assert set(told) == set(answered)
    for name, verdict in answered.items():
        assert float(told[name][0]) == pytest.approx(verdict.malignancy, abs=0.005)
        assert told[name][1] == verdict.words
