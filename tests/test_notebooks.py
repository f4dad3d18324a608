"""The notebooks: one shape for all, and papermill runs; nbval compares their outputs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest
from click.testing import CliRunner
from conftest import ROOT
from executed import FEW_RESAMPLES, NOTEBOOKS, run, train
from ipywidgets import HTML
from papermill.cli import papermill as papermill_command
from pictures import write_ham10000, write_isic2019, write_milk10k

from skin_cancer import Classifier, SkinCancerError
from skin_cancer.app.page import Page
from skin_cancer.model import bundle
from skin_cancer.training.config import CHECKPOINT

HEADINGS = ["Imports", "Parameters", "Summary", "What's next"]
TABLE = ["Reads", "Writes", "Takes", "Needs"]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell):
    return cell.metadata.get("tags", [])


def test_they_are_numbered_without_a_gap():
    assert [int(path.stem[:2]) for path in NOTEBOOKS] == list(range(1, len(NOTEBOOKS) + 1))


def test_first_cell_says_what_it_answers_reads_writes_takes_and_needs(notebook):
    first = notebook.cells[0]
    assert first.cell_type == "markdown"
    assert re.match(r"# \d\. \w[\w ]+\n", first.source)
    assert "**Question.**" in first.source
    rows = re.findall(r"^\| \*\*(\w+)\*\* \| (.+) \|$", first.source, re.MULTILINE)
    assert [name for name, _ in rows] == TABLE
    assert re.search(r"on \d CPU cores", dict(rows)["Takes"])
    assert "`" in dict(rows)["Reads"]


def test_sections_come_in_the_same_order(notebook):
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    found = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert [heading for heading in found if heading in HEADINGS] == HEADINGS
    assert found[:2] == HEADINGS[:2]
    assert found[-2:] == HEADINGS[-2:]
    assert len(found) > len(HEADINGS)


def test_imports_and_versions_come_first_then_one_cell_of_parameters(notebook):
    cells = code_cells(notebook)
    assert "notebook.start(" in cells[0].source
    imports = re.compile(r"^(import|from) ", re.MULTILINE)
    assert not [cell.source for cell in cells[1:] if imports.search(cell.source)]
    assert [i for i, cell in enumerate(cells) if "parameters" in tags(cell)] == [1]
    lines = cells[1].source.splitlines()
    assert all(re.match(r"\w+: [\w\[\]]+ = \S+ +# \w", line) for line in lines)
    assert "notebook.parameters(globals()" in cells[2].source


def test_cells_are_short_and_hold_no_logic(notebook):
    for cell in code_cells(notebook):
        lines = [line for line in cell.source.splitlines() if line.strip()]
        assert len(lines) <= (20 if "parameters" in tags(cell) else 15), cell.source
        assert not re.search(r"^\s*class ", cell.source, re.MULTILINE)
        for body in re.findall(r"^def .+:\n((?:    .*\n?|\n)+)", cell.source, re.MULTILINE):
            assert len(body.strip().splitlines()) <= 5, cell.source


def test_nothing_names_a_machine(notebook):
    text = json.dumps(notebook)
    assert not re.search(r"[\" '(=](/home|/Users|/root|/tmp|/work|/opt|[A-Z]:\\\\)", text)


def test_executed_in_order_with_outputs_and_no_other_metadata(notebook):
    cells = code_cells(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert sum(bool(cell.outputs) for cell in cells) >= len(cells) / 2
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}
        assert set(tags(cell)) <= {"parameters", "progress"}
    for cell in cells:
        assert not any(output.output_type == "error" for output in cell.outputs)
    for number, cell in enumerate(cells, 1):
        shown = "progress" not in tags(cell)
        assert cell.execution_count == (number if shown else None)
        assert shown or not cell.outputs


def test_an_output_that_is_not_compared_has_a_reason(notebook):
    for cell in code_cells(notebook):
        if "NBVAL_IGNORE_OUTPUT" in cell.source:
            assert re.match(r"# NBVAL_IGNORE_OUTPUT\n# \(.{10,}\)\n", cell.source)


def test_readme_has_every_notebook_in_its_table():
    readme = (ROOT / "README.md").read_text()
    assert re.findall(r"^\| \[\d\. .+\]\(notebooks/(.+?)\.ipynb\)", readme, re.MULTILINE) == [
        path.stem for path in NOTEBOOKS
    ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The output folder of a training of another size, seed and length than the default."""
    return train(tmp_path_factory.mktemp("trained"))


def test_a_trained_bundle_is_taken_by_classifier_and_app(trained, picture):
    classifier = Classifier.load(trained / "bundle")
    assert classifier.description.input_size == 64
    assert classifier.predict(picture).diagnosis in classifier.description.diagnoses
    said = [part.value for part in Page(classifier).root.children if isinstance(part, HTML)]
    assert any(trained.name in words for words in said)
    card = (trained / "bundle" / bundle.CARD).read_text()
    assert "the synthetic sample" in card
    assert "HAM10000" not in card


def test_a_training_leaves_its_metrics_for_a_sweep(trained):
    names = {"accuracy", "loss", "validation_balanced_accuracy"}
    assert set(json.loads((trained / "metrics.json").read_text())) == names


def test_an_archive_is_scored_by_papermill(tmp_path, picture):
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "one.jpg").write_bytes(picture)
    (archive / "two.jpg").write_bytes(picture[:3000])
    found = run("batch_classification", tmp_path / "out", source=str(archive), workers=1)
    metrics = json.loads((found / "metrics.json").read_text())
    assert (metrics["pictures"], metrics["refused"]) == (2, 1)
    (refused,) = pd.read_parquet(found / "scores")["error"].dropna()
    assert refused in (found / "07_batch_classification.ipynb").read_text()  # whole


def test_two_runs_of_one_seed_give_the_same_weights(trained, tmp_path):
    again = train(tmp_path)
    for name in bundle.GRAPHS.values():
        ours, theirs = (folder / "bundle" / name for folder in (again, trained))
        assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize("part", [0, "test"])
def test_a_trained_bundle_can_be_measured(trained, tmp_path, part):
    given = {"bundle": str(trained / "bundle"), "part": part, "distorted": 2, "save": True}
    output = run("evaluation", tmp_path, FEW_RESAMPLES, **given)
    metrics = json.loads((output / "metrics.json").read_text())
    words = "fold 0" if part == 0 else part
    assert metrics["title"] == f"synthetic sample, {words}"
    assert 0 <= metrics["measures"]["balanced accuracy"]["value"] <= 1
    assert ({"sex", "hair", "dark corners"} <= set(metrics["groups"])) == (part == "test")
    saved = bundle.read(trained / "bundle")
    assert metrics["title"] in saved.metrics
    assert all((trained / "bundle" / figure).is_file() for figure in saved.figures)


def test_a_part_that_was_trained_on_stops_the_run(trained, tmp_path):
    with pytest.raises(papermill.PapermillExecutionError, match="can only be measured on test or"):
        run("evaluation", tmp_path, bundle=str(trained / "bundle"), part=3)


@pytest.mark.parametrize("name", ["data_exploration", "preprocessing"])
def test_data_without_masks_and_with_eight_diagnoses_is_explored(tmp_path, name):
    write_isic2019(tmp_path / "data")
    (source,) = (path for path in NOTEBOOKS if path.stem.endswith(name))
    parameters = {"data": str(tmp_path / "data"), "images": 20}
    papermill.execute_notebook(source, tmp_path / "out.ipynb", parameters, progress_bar=False)
    assert "no mask is known" in (tmp_path / "out.ipynb").read_text()


def test_two_diagnoses_are_explored(tmp_path):
    write_ham10000(tmp_path / "data", codes=("mel", "nv"))
    (source,) = (path for path in NOTEBOOKS if path.stem.endswith("data_exploration"))
    parameters = {"data": str(tmp_path / "data"), "images": 4, "features": str(tmp_path / "some")}
    papermill.execute_notebook(source, tmp_path / "out.ipynb", parameters, progress_bar=False)


def test_two_archives_are_explored_and_their_overlap_is_found(tmp_path):
    """The two hold drawings of the same seeds: some of them must be found to be one lesion."""
    write_ham10000(tmp_path / "ham")
    write_milk10k(tmp_path / "milk")
    (source,) = (path for path in NOTEBOOKS if path.stem.endswith("data_exploration"))
    parameters = {
        "data": f"{tmp_path / 'ham'},{tmp_path / 'milk'}",
        "images": 20,
        "features": str(tmp_path / "features"),
    }
    papermill.execute_notebook(source, tmp_path / "out.ipynb", parameters, progress_bar=False)
    cells = code_cells(nbformat.read(tmp_path / "out.ipynb", as_version=4))

    def shown(start):
        (cell,) = (cell for cell in cells if cell.source.startswith(start))
        texts = [output.get("text") or output["data"]["text/plain"] for output in cell.outputs]
        return "\n".join(texts)

    assert "HAM10000, MILK10k: 163 images of 144 lesions" in shown("options =")
    assert re.search(r"MILK10k +MILK10k +88 +88", shown("inventory.sources"))
    assert re.search(r"HAM10000 +MILK10k +\d+", shown("overlap.summary(pairs)"))
    assert re.search(r"\b(True|False)\b", shown('pairs.sort_values(["agree"'))
    assert "Figure" in shown("figures.gallery(**overlap.side_by_side(pairs, ")
    counts = re.search(r"144 lesion ids, (\d+) lesions\.", shown("links ="))
    assert int(counts.group(1)) < 144
    assert "0 lesions are both in the holdout and in the folds." in shown("links =")
    assert list((tmp_path / "features").glob("*.npy"))


def begin(path, **parameters):
    """Run the imports, the parameters and what checks them, as papermill does, in this process."""
    imports, declared, checks = code_cells(nbformat.read(path, as_version=4))[:3]
    injected = "# Parameters\n" + "".join(f"{n} = {v!r}\n" for n, v in parameters.items())
    namespace = {"In": ["", injected]}
    for source in (imports.source, declared.source, injected, checks.source):
        exec(source, namespace)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("epoch", 3, "epoch is unknown"),
        ("epochs", "three", "epochs='three' is not of type int"),
        ("epochs", 0, "Impossible training parameters: epochs=0"),
    ],
)
def test_a_wrong_parameter_is_named(monkeypatch, name, value, words):
    monkeypatch.chdir(ROOT)  # where the notebook goes
    (training,) = (path for path in NOTEBOOKS if path.stem.endswith("training"))
    begin(training, epochs=1)
    with pytest.raises(SkinCancerError, match=words):
        begin(training, **{name: value})


def test_a_wrong_parameter_stops_the_training(tmp_path):
    command = [Path(sys.executable).with_name("papermill"), "notebooks/03_training.ipynb"]
    options = ["-p", "output", str(tmp_path / "run"), "-p", "backbone", "NoSuchNet"]
    done = subprocess.run(
        [*command, tmp_path / "out.ipynb", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "No backbone 'NoSuchNet'" in done.stderr
    assert not (tmp_path / "run" / CHECKPOINT).exists()


def test_help_shows_type_and_meaning_of_each_parameter():
    for path in NOTEBOOKS:
        shown = CliRunner().invoke(papermill_command, ["--help-notebook", str(path)]).output
        parameters = code_cells(nbformat.read(path, as_version=4))[1].source.splitlines()
        for line in parameters:
            name, kind, meaning = re.match(r"(\w+): (\S+) = .+?# (.+)", line).groups()
            assert f"{name}: {kind} (default" in shown
            assert meaning.split()[0] in shown
