"""What ships: its default graph, what it knows of its limits, and the figures of its twin."""

import dataclasses

import pandas as pd
import pytest

from skin_cancer.errors import TrainingError
from skin_cancer.evaluation import evaluate, record
from skin_cancer.model import bundle, bundle_writer
from skin_cancer.model.classifier import Classifier
from skin_cancer.scale import publish
from skin_cancer.training import calibration


@pytest.fixture
def networks(tmp_path):
    """Bundles without figures: of a network that never saw the holdout, and of one that did."""
    folders = []
    for holdout, fold in {"apart": 3, "included": None}.items():
        described = bundle.read(bundle.DEFAULT_BUNDLE)
        described.training["recipe"] |= {"holdout": holdout, "fold": fold}
        bare = dataclasses.replace(described, metrics={}, studies={})
        folders.append(tmp_path / holdout)
        bundle_writer.write(folders[-1], bare, bundle.DEFAULT_BUNDLE)
    return folders


@pytest.mark.parametrize(
    ("change", "agreement", "graph"),
    [(0.013, 0.984, "int8"), (-0.004, 0.98, "int8"), (-0.006, 0.99, "float"), (0, 0.97, "float")],
)
def test_int8_is_the_default_where_it_answers_as_float_does(
    networks, monkeypatch, change, agreement, graph
):
    against = {"against float": {"value": change, "agreement": agreement}}
    alike = {"against float": {"value": 0, "agreement": 1}}
    asked = []
    monkeypatch.setattr(
        evaluate, "evaluate", lambda *given, graph: asked.append(given) or [alike, against]
    )  # two archives
    assert publish.choose_graph(*networks, "DATA") == graph
    assert asked == [(networks[0], "DATA", "3")]
    assert [bundle.read(folder).default_graph for folder in networks] == [graph, graph]


def test_the_graph_is_chosen_on_a_fold_or_not_at_all(networks):
    with pytest.raises(TrainingError, match="left out no fold to choose its graph on"):
        publish.choose_graph(networks[1], networks[0], "DATA")


@pytest.mark.parametrize(("graph", "times"), [("float", 1), ("int8", 2)])
def test_doubt_is_fitted_for_the_graph_that_becomes_the_default(monkeypatch, graph, times):
    fitted = []
    monkeypatch.setattr(calibration, "add", lambda *given: fitted.append(given))
    monkeypatch.setattr(publish, "choose_graph", lambda *_: graph)
    assert publish.add_doubt("measured", "shipped", "DATA", "TABLE") == graph
    both = [("measured", "DATA", "TABLE"), ("shipped", "DATA", "TABLE")]
    assert fitted == times * both


def test_what_ships_carries_the_figures_of_its_twin(networks, tmp_path):
    measures = bundle.read(bundle.DEFAULT_BUNDLE).metrics["HAM10000, holdout"]
    plain = {k: v for k, v in measures.items() if k not in ("network", "tables", "figures")}
    twin, _ = networks
    record.save(twin, {**plain, "title": "a part"})
    record.illustrate(twin, "a part", "COMMAND", {}, {"a curve": b"png"})
    record.add_study(twin, "Stage x", pd.DataFrame({"a": [1]}), "COMMAND")

    publish.publish(*networks, tmp_path / "models")
    ours, theirs = (
        bundle.read(tmp_path / "models" / path.name)
        for path in (bundle.DEFAULT_BUNDLE, bundle.MEASURED_BUNDLE)
    )
    assert ours.studies == theirs.studies != {}
    assert ours.figures != []
    assert theirs.figures == []
    assert ours.metrics["a part"]["network"] == theirs.name
    card = (tmp_path / "models" / ours.name / bundle.CARD).read_text()
    assert f"Of `{theirs.name}`, which was not trained on these lesions." in card
    assert "None is set aside" in card
    assert "None is set aside" not in (tmp_path / "models" / theirs.name / bundle.CARD).read_text()
    files = {path.name for path in (tmp_path / "models" / theirs.name).iterdir()}
    assert bundle.KERAS_MODEL in files
    assert Classifier.load(tmp_path / "models" / theirs.name).description == theirs
