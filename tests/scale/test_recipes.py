import json
import shutil

import numpy as np
import pandas as pd
import pytest

from skin_cancer.data import dataset, splits
from skin_cancer.errors import TrainingError
from skin_cancer.evaluation import evaluate, metrics
from skin_cancer.model import bundle, bundle_writer, card
from skin_cancer.model.classifier import Classifier
from skin_cancer.scale import recipes
from skin_cancer.training.config import PREDICTIONS, TrainingConfig

SMALL = {"image_size": 64, "first_image_size": 64, "batch_size": 16, "epochs": 1}


@pytest.mark.parametrize("stage", recipes.STAGES)
def test_every_training_of_a_stage_can_be(stage):
    trainings = recipes.STAGES[stage]()
    for options in trainings.values():
        starts = ",".join(options.get("start_weights", ("imagenet",)))
        TrainingConfig(**{**options, "start_weights": starts})
    assert len({recipes.folder("runs", name) for name in trainings}) == len(trainings)


def test_commands_name_what_differs_from_the_defaults():
    command = recipes.command("mixup, fold 0", {"mixup": 0.2, "fold": 0}, "runs/recipe", "DATA")
    assert command[:3] == ["python", "-m", "skin_cancer.training"]
    options = {"--mixup=0.2", "--fold=0", "--data=DATA", "--output=runs/recipe/mixup_fold_0"}
    assert set(command[3:]) == options | {"--no-bundle"}


def predictions(output, name, table, right, seed=0):
    """Write what a training would have said, with so many right answers."""
    rng = np.random.default_rng(seed)
    codes = list(dataset.codes(table))
    scores = rng.random((len(table), 7))
    truth = table["diagnosis"].map(codes.index).to_numpy()
    scores[np.arange(len(table)), truth] += rng.random(len(table)) < right
    scores /= scores.sum(axis=1, keepdims=True)
    found = pd.DataFrame(scores, columns=codes, index=pd.Index(table["image_id"], name="image_id"))
    folder = recipes.folder(output, name)
    folder.mkdir(parents=True)
    found.to_csv(folder / PREDICTIONS)


def test_trainings_are_compared_with_the_first_of_their_kind(ham10000, tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 50)
    table = splits.split(dataset.read(ham10000))
    fold = table[table["fold"] == 0]
    trainings = {
        "base, fold 0": {"fold": 0},
        "base, elsewhere": {"source": "synth_0"},
        "better, fold 0": {"fold": 0, "mixup": 0.2},
        "not finished": {"fold": 0, "mixup": 0.3},
    }
    predictions(tmp_path, "base, fold 0", fold, 0.0)
    predictions(tmp_path, "base, elsewhere", table[table["dataset"] == "synth_0"], 0.5)
    predictions(tmp_path, "better, fold 0", fold, 1.0)
    found = recipes.compare(trainings, tmp_path, table)
    assert list(found.index) == ["base, fold 0", "base, elsewhere", "better, fold 0"]
    assert found.loc["better, fold 0", "mean recall"]["value"] == 1
    gain = found.loc["better, fold 0", "gain"]
    base = found.loc["base, fold 0", "mean recall"]["value"]
    assert gain["value"] == pytest.approx(1 - base)
    assert gain["low"] > 0
    assert found["gain"].isna().tolist() == [True, True, False]
    assert recipes.shown(found, "screening")["gain"].map(card.cell).tolist()[:2] == ["-", "-"]
    assert "gain" not in recipes.shown(found.head(2), "folds")


def test_the_sources_end_in_their_mean(ham10000, tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 50)
    table = splits.split(dataset.read(ham10000)).query("fold >= 0")
    half = [table.iloc[::2], table.iloc[1::2]] * 2
    for (name, _), part in zip(recipes.sources().items(), half, strict=True):
        predictions(tmp_path, name, part, 0.5, seed=len(name))
    found = recipes.compare(recipes.sources(), tmp_path, table)
    shown = recipes.shown(found, "sources")
    mean = found["melanoma against nevus"].map(lambda cell: cell["value"]).mean()
    assert shown.iloc[-1]["melanoma against nevus"] == pytest.approx(mean)
    assert len(recipes.shown(found, "screening")) == len(found)


def test_nothing_finished(ham10000, tmp_path):
    table = splits.split(dataset.read(ham10000))
    with pytest.raises(TrainingError, match="No training of this stage is finished"):
        recipes.compare({"base": {"fold": 0}}, tmp_path, table)


def test_a_stage_runs_once_goes_on_and_ends_in_a_card(
    ham10000, tiny_run, tmp_path, monkeypatch, capsys
):
    trainings = {"base, fold 0": {**SMALL, "fold": 0}, "frozen": {**SMALL, "source": "synth_0"}}
    trainings["frozen"]["normalisation"] = "frozen"
    monkeypatch.setitem(recipes.STAGES, "screening", lambda: trainings)
    arguments = ["recipe", "screening", f"--data={ham10000}", f"--output={tmp_path}", "--jobs=2"]
    folder = shutil.copytree(tiny_run / "bundle", tmp_path / "bundle")
    monkeypatch.setattr("sys.argv", [*arguments, f"--save={folder}"])
    recipes.main()
    assert "base, fold 0" in capsys.readouterr().out
    validated = json.loads((tmp_path / "frozen.log").read_text().splitlines()[-2])
    found = recipes.compare(trainings, tmp_path, splits.split(dataset.read(ham10000)))
    assert found.loc["frozen", "mean recall"]["value"] == pytest.approx(
        validated["validation_balanced_accuracy"]
    )
    card = (folder / bundle.CARD).read_text()
    assert "By `python -m skin_cancer.scale.recipes screening`" in card
    assert bundle.read(folder).studies

    files = [path for path in tmp_path.rglob("*") if path.is_file() and folder not in path.parents]
    before = {path: path.stat().st_mtime_ns for path in files}
    recipes.main()
    assert {path: path.stat().st_mtime_ns for path in files} == before


def test_a_prepared_copy_has_other_pictures_and_the_same_labels(ham10000, tmp_path):
    recipes.prepare(ham10000, tmp_path / "dark", lambda picture: picture // 2)
    ours, theirs = dataset.read(tmp_path / "dark"), dataset.read(ham10000)
    assert dataset.label_fingerprint(ours) == dataset.label_fingerprint(theirs)
    one, other = (dataset.read_image(table["path"][0]).mean() for table in (ours, theirs))
    assert one == pytest.approx(other / 2, rel=0.05)
    (tmp_path / "dark" / "kept").touch()
    recipes.prepare(ham10000, tmp_path / "dark", lambda picture: picture)
    assert (tmp_path / "dark" / "kept").exists()


def test_trainings_on_prepared_copies_and_with_teachers_find_them_in_the_output():
    shell = recipes.command(
        "x", {"data": "remove_hairs", "targets": "t.csv"}, "runs/recipe", "DATA"
    )
    assert "--data=runs/recipe/remove_hairs" in shell
    assert "--targets=runs/recipe/t.csv" in shell
    assert "--no-bundle" not in shell


def test_out_of_fold_predictions_are_gathered_from_all_folds(ham10000, tmp_path):
    table = splits.split(dataset.read(ham10000))
    with pytest.raises(TrainingError, match="run the stage folds first"):
        recipes.write_out_of_fold(tmp_path)
    for name, options in recipes.folds().items():
        right = 1.0 if name.startswith(recipes.THIRD_STAGE) else 0.5
        predictions(tmp_path, name, table[table["fold"] == options["fold"]], right)
        (recipes.folder(tmp_path, name) / "bundle").mkdir()
        (recipes.folder(tmp_path, name) / "bundle" / bundle.DESCRIPTION).touch()
    taught = pd.read_csv(recipes.write_out_of_fold(tmp_path))
    assert sorted(taught["image_id"]) == sorted(table.query("fold >= 0")["image_id"])
    assert taught[list(dataset.codes(table))].sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-4)


def test_a_training_that_fails_is_named_with_its_log(ham10000, tmp_path):
    trainings = {"moon": {**SMALL, "source": "moon"}}
    with pytest.raises(TrainingError, match=r"1 trainings failed; read .*moon\.log"):
        recipes.run(trainings, tmp_path, ham10000, jobs=1)
    assert "There is no source 'moon'" in (tmp_path / "moon.log").read_text()


def test_a_second_stage_starts_from_the_bundle_of_the_first():
    stages = recipes.measured()
    for name, start in {"second": "first", "measured": "second"}.items():
        shell = recipes.command(name, stages[name], "runs/recipe", "DATA")
        assert f"--start-weights=runs/recipe/{start}/bundle" in shell
    folds = recipes.folds()
    last = {n: recipes.command(n, folds[n], "runs/recipe", "DATA")[-1] for n in folds}
    starts = {start for options in folds.values() for start in options.get("start_weights", ())}
    assert len(starts) == 2 * splits.FOLDS
    assert "--no-bundle" not in {last[start] for start in starts}
    assert last[f"{recipes.THIRD_STAGE}, fold 4"] == "--no-bundle"


def test_folds_are_compared_one_by_one_and_together(ham10000, tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 50)
    table = splits.split(dataset.read(ham10000))
    for name, options in recipes.folds().items():
        right = 1.0 if name.startswith(recipes.THIRD_STAGE) else 0.0
        predictions(tmp_path, name, table[table["fold"] == options["fold"]], right)
    found = recipes.compare(recipes.folds(), tmp_path, table)
    assert len(found) == 18
    together = found.loc[f"{recipes.THIRD_STAGE}, all folds"]
    assert together["mean recall"]["value"] == 1
    base = found.loc["base, all folds", "mean recall"]["value"]
    assert together["gain"]["value"] == pytest.approx(1 - base)


def test_stages_of_one_network_run_one_after_the_other(ham10000, tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "STARTS", ("first", "second"))
    trainings = {
        "mean": {**SMALL, "start_weights": ("first", "second"), "epochs": 0},
        "second": {**SMALL, "start_weights": ("first",), "normalisation": "frozen"},
        "first": SMALL,
    }
    recipes.run(trainings, tmp_path, ham10000, jobs=2)
    first, second, mean = (
        bundle.read(tmp_path / name / "bundle").training for name in ("first", "second", "mean")
    )
    assert second["starts"] == [first]
    assert mean["starts"] == [first, second]
    card = (tmp_path / "second" / "bundle" / bundle.CARD).read_text()
    assert "It went on from weights of this recipe: backbone efficientnet_lite0" in card
    card = (tmp_path / "mean" / "bundle" / bundle.CARD).read_text()
    assert "It went on from the mean of the weights of 2 networks." in card
    assert "Nothing was trained after the mean was taken" in card


@pytest.mark.parametrize(
    ("change", "agreement", "graph"),
    [(0.013, 0.984, "int8"), (-0.004, 0.98, "int8"), (-0.006, 0.99, "float"), (0, 0.97, "float")],
)
def test_int8_is_the_default_where_it_answers_as_float_does(
    tiny_run, tmp_path, monkeypatch, change, agreement, graph
):
    folders = [tmp_path / name / "bundle" for name in ("measured", "shipped")]
    for folder in folders:
        shutil.copytree(tiny_run / "bundle", folder)
    against = {"against float": {"value": change, "agreement": agreement}}
    monkeypatch.setattr(evaluate, "evaluate", lambda *_, **__: against)
    assert recipes.choose_graph(tmp_path, "DATA") == graph
    assert [bundle.read(folder).default_graph for folder in folders] == [graph, graph]


def test_what_ships_carries_the_figures_of_its_twin(tiny_run, tmp_path):
    for name, holdout in {"measured": "apart", "shipped": "included"}.items():
        folder = shutil.copytree(tiny_run / "bundle", tmp_path / name / "bundle")
        described = bundle.read(folder)
        described.training["recipe"]["holdout"] = holdout
        bundle_writer.write(folder, described, folder)
    twin = tmp_path / "measured" / "bundle"
    measures = bundle.read(bundle.DEFAULT_BUNDLE).metrics[evaluate.HOLDOUT]
    plain = {k: v for k, v in measures.items() if k not in ("network", "tables", "figures")}
    evaluate.save(twin, {**plain, "title": "a part"})
    evaluate.illustrate(twin, "a part", "COMMAND", {}, {"a curve": b"png"})
    evaluate.add_study(twin, "Stage x", pd.DataFrame({"a": [1]}), "COMMAND")

    recipes.publish(tmp_path, tmp_path / "models")
    ours, theirs = (
        bundle.read(tmp_path / "models" / path.name)
        for path in (bundle.DEFAULT_BUNDLE, bundle.MEASURED_BUNDLE)
    )
    assert ours.studies == theirs.studies != {}
    assert ours.figures != []
    assert theirs.figures == []
    assert ours.metrics["a part"]["network"] == theirs.name
    card = (tmp_path / "models" / ours.name / bundle.CARD).read_text()
    assert f"Of `{theirs.name}`, the same recipe trained without these lesions." in card
    assert "None is set aside" in card
    assert "None is set aside" not in (tmp_path / "models" / theirs.name / bundle.CARD).read_text()
    files = {path.name for path in (tmp_path / "models" / theirs.name).iterdir()}
    assert bundle.KERAS_MODEL not in files
    assert Classifier.load(tmp_path / "models" / theirs.name).description == theirs
