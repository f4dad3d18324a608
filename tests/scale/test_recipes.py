"""Recipes: what each stage trains, in which order, and how its trainings are compared."""

import dataclasses
import json
import runpy
from contextlib import redirect_stdout

import numpy as np
import pandas as pd
import pytest

from skin_cancer import priors
from skin_cancer.data import dataset, splits
from skin_cancer.errors import TrainingError
from skin_cancer.evaluation import labels, metrics
from skin_cancer.model import bundle, bundle_writer, card
from skin_cancer.scale import recipes
from skin_cancer.training.config import PREDICTIONS

SMALL = {"image_size": 64, "first_image_size": 64, "batch_size": 16, "epochs": 1}
FOLDS = recipes.STAGES["folds"]


def run_here(command, monkeypatch):
    """Run a command of `python -m MODULE` in this process."""
    assert command[:2] == ["python", "-m"]
    with monkeypatch.context() as patch:
        patch.setattr("sys.argv", command[2:])
        runpy.run_module(command[2], run_name="__main__")


@pytest.fixture
def here(monkeypatch):
    """Let trainings, one at a time, run in this process."""

    def train(place, command, jobs):
        assert jobs == 1
        with place.with_suffix(".log").open("w") as log, redirect_stdout(log):
            run_here(command, monkeypatch)

    monkeypatch.setattr(recipes, "_train", train)


@pytest.fixture
def begun(monkeypatch):
    """Let trainings only end, or fail where a part of the name is `bad`; names of those begun."""
    names = []

    def train(place, _command, **_jobs):
        names.append(place.name)
        if "bad" in place.name:
            raise ValueError(place.name)
        (place / "bundle").mkdir()
        for name in (PREDICTIONS, f"bundle/{bundle.DESCRIPTION}"):
            (place / name).touch()

    monkeypatch.setattr(recipes, "_train", train)
    return names


@pytest.mark.parametrize("stage", recipes.STAGES)
def test_the_command_of_every_training_is_one_that_training_takes(stage, tmp_path, monkeypatch):
    trainings = recipes.STAGES[stage]
    for name, options in trainings.items():
        command = recipes.command(name, options, tmp_path, "nowhere")
        [data] = [word for word in command if word.startswith("--data=")]
        with pytest.raises(SystemExit, match=data.removeprefix("--data=")):
            run_here(command, monkeypatch)  # it takes all options and finds no dataset
    assert len({recipes.folder("runs", name) for name in trainings}) == len(trainings)


@pytest.mark.parametrize("stage", recipes.STAGES)
def test_what_a_training_goes_on_from_is_of_its_stage_and_leaves_out_all_that_it_does(stage):
    trainings = recipes.STAGES[stage]
    for options in trainings.values():
        for start in options.get("start_weights", ()):
            left_out = {name: options[name] for name in ("fold", "source") if name in options}
            assert left_out.items() <= trainings[start].items()


def test_a_row_is_trained_once_for_each_part_left_out_with_the_options_of_its_recipe(tmp_path):
    path = tmp_path / "stages.toml"
    path.write_text("""
        [recipe.one]
        epochs = 3
        seed = 5
        [recipe.other]
        like = "one"
        epochs = 4
        [stage.s]
        folds = [2]
        sources = ["moon"]
        [stage.s.trainings]
        "a" = { like = "other", mixup = 0.5 }
        "b" = { like = "one", start_weights = ["a"], seed = 6 }
        [stage.t.trainings]
        "c" = {}
    """)
    a, b = {"epochs": 4, "seed": 5, "mixup": 0.5}, {"epochs": 3, "seed": 6}
    assert recipes.read_stages(path) == {
        "s": {
            "a, fold 2": {**a, "fold": 2},
            "a, without moon": {**a, "source": "moon"},
            "b, fold 2": {**b, "start_weights": ["a, fold 2"], "fold": 2},
            "b, without moon": {**b, "start_weights": ["a, without moon"], "source": "moon"},
        },
        "t": {"c": {}},
    }


def test_commands_name_what_differs_from_the_defaults():
    command = recipes.command("mixup, fold 0", {"mixup": 0.2, "fold": 0}, "runs/recipe", "DATA")
    assert command[:3] == ["python", "-m", "skin_cancer.training"]
    options = {"--mixup=0.2", "--fold=0", "--data=DATA", "--output=runs/recipe/mixup_fold_0"}
    assert set(command[3:]) == options | {"--no-bundle"}


def test_links_reach_every_training(tmp_path, monkeypatch, capsys):
    words = ["recipe", "archives", "--data=HAM,ISIC", "--links=L.csv", f"--output={tmp_path}"]
    monkeypatch.setattr("sys.argv", [*words, "--list"])
    recipes.main()
    commands = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert commands.keys() == recipes.STAGES["archives"].keys()
    assert all("--links=L.csv" in line.split() for line in commands.values())
    assert all("--data=HAM,ISIC" in line.split() for line in commands.values())
    assert "--learn-from=HAM10000,MSK" in commands["with MSK, fold 1"].split()

    begun = []
    monkeypatch.setattr(recipes, "_train", lambda _, command, **_jobs: begun.append(command))
    recipes.run({"a": {}, "b": {"fold": 0}}, tmp_path, "HAM", jobs=1, links="L.csv")
    assert all("--links=L.csv" in command for command in begun)
    assert len(begun) == 2


def test_archives_are_compared_on_two_folds_and_left_out_in_turn():
    parts = {"archives": 4, "archives_levers": 6, "archives_left_out": 2}
    for stage, rows in parts.items():
        trainings = recipes.STAGES[stage].values()
        left_out = [options.get("source", options.get("fold")) for options in trainings]
        assert all(left_out.count(part) == rows for part in left_out)
        assert {options["views"] * options["epochs"] for options in trainings} == {24000}
    assert set(left_out) == {"HAM10000", "BCN_20000", "MSK", "MILK10k"}


def test_trainings_of_one_name_are_one_training():
    """They have one folder, in which the first that is finished is not repeated."""
    options = {}
    for trainings in recipes.STAGES.values():
        for name in trainings:
            assert options.setdefault(name, trainings[name]) == trainings[name]


def predictions(output, name, table, right, seed=0, codes=()):
    """Write what a training would have said, with so many right answers."""
    rng = np.random.default_rng(seed)
    codes = list(codes or dataset.codes(table))
    scores = rng.random((len(table), len(codes)))
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
    for (name, _), part in zip(recipes.STAGES["sources"].items(), half, strict=True):
        predictions(tmp_path, name, part, 0.5, seed=len(name))
    found = recipes.compare(recipes.STAGES["sources"], tmp_path, table)
    shown = recipes.shown(found, "sources")
    mean = found["melanoma against nevus"].map(lambda cell: cell["value"]).mean()
    assert shown.iloc[-1]["melanoma against nevus"] == pytest.approx(mean)
    assert len(recipes.shown(found, "screening")) == len(found)


@pytest.fixture
def on_two_folds(archives, tmp_path, monkeypatch):
    """Images of three archives, and two rows of a stage that leaves out two folds, predicted."""
    monkeypatch.setattr(metrics, "RESAMPLES", 50)
    table = splits.split(dataset.read(archives))
    trainings = {f"{row}, fold {fold}": {"fold": fold} for row in "ab" for fold in (0, 1)}
    for name, options in trainings.items():
        part = table[table["fold"] == options["fold"]]
        predictions(tmp_path, name, part, 0.5 if name[0] == "a" else 0.9, seed=options["fold"])
    return trainings, table


def test_the_folds_of_a_stage_are_pooled(on_two_folds, tmp_path):
    trainings, table = on_two_folds
    found = recipes.compare(trainings, tmp_path, table)
    assert list(found.index) == [*trainings, "a, folds 0 and 1", "b, folds 0 and 1"]
    first, second = (
        pd.concat(
            [
                dataset.read_probabilities(
                    recipes.folder(tmp_path, f"{row}, fold {fold}") / PREDICTIONS
                )
                for fold in (0, 1)
            ]
        )
        for row in "ab"
    )
    part, codes = table.set_index("image_id").loc[first.index], dataset.codes(table)
    losses = [metrics.balanced_log_loss(part, given.to_numpy(), codes) for given in (first, second)]
    pooled = found.tail(2)
    assert pooled["balanced log-loss"].tolist() == losses
    assert pooled["gain in log-loss"].isna().tolist() == [True, False]
    gain = pooled["gain in log-loss"].iloc[1]
    assert gain["value"] == pytest.approx(losses[0]["value"] - losses[1]["value"])
    assert gain["low"] > 0
    areas = [
        measure(part, second.to_numpy(), codes)
        for measure in (metrics.melanoma_against_nevus, metrics.melanoma_by_probability)
    ]
    assert pooled.iloc[1][["melanoma against nevus", "by P(MEL)"]].tolist() == areas
    recipes.folder(tmp_path, "b, fold 1").rename(tmp_path / "aside")
    assert "b, folds 0 and 1" not in recipes.compare(trainings, tmp_path, table).index


def test_linked_lesions_are_drawn_as_one(on_two_folds, tmp_path):
    trainings, table = on_two_folds
    plain = recipes.compare(trainings, tmp_path, table)["mean recall"].iloc[0]
    linked = table.assign(group=table["diagnosis"])  # one lesion each: nothing is left to chance
    found = recipes.compare(trainings, tmp_path, linked)["mean recall"].iloc[0]
    assert plain["low"] < plain["value"] == found["value"] == found["low"] == found["high"]


def test_biases_are_refitted_on_the_other_fold(on_two_folds, tmp_path):
    trainings, table = on_two_folds
    shift = np.array([2.0, -1, 0, 0, 0, 0, 0, -1])
    for name in trainings:
        place = recipes.folder(tmp_path, name)
        chances = dataset.read_probabilities(place / PREDICTIONS)
        logits = np.log(chances) + (shift if name[0] == "b" else 0)
        logits.to_csv(place / bundle.LOGITS)
        logits.apply(priors.softmax, axis=1, raw=True).to_csv(place / PREDICTIONS)
    found = recipes.compare(trainings, tmp_path, table)["balanced log-loss"]
    assert list(found.index[4:]) == [
        f"{row}, folds 0 and 1{end}" for row in "ab" for end in ("", ", biases refitted")
    ]
    shifted, refitted = (cell["value"] for cell in found[-2:])
    assert refitted < shifted

    logits = {
        fold: dataset.read_probabilities(
            recipes.folder(tmp_path, f"b, fold {fold}") / bundle.LOGITS
        )
        for fold in (0, 1)
    }
    images, codes = table.set_index("image_id", drop=False), dataset.codes(table)
    parts = [
        priors.softmax(
            logits[fold].to_numpy()
            + recipes.fit_biases(
                images.loc[logits[1 - fold].index], logits[1 - fold].to_numpy(), codes
            )
        )
        for fold in (0, 1)
    ]
    both = images.loc[[*logits[0].index, *logits[1].index]]
    assert refitted == metrics.balanced_log_loss(both, np.vstack(parts), codes)["value"]


def test_biases_that_were_added_are_taken_away(archives):
    """What labels may mean counts: SCC of ISIC 2019 and AKIEC of HAM10000 are either of two."""
    table, rng = dataset.read(archives), np.random.default_rng(0)
    table = table[table["apart"].isna()]
    codes = dataset.codes(table)
    logits = 2 * labels.meant_by(table, codes) + rng.normal(size=(len(table), len(codes)))
    shift = np.array([1.0, -2, 0, 0.5, 0, 0, 0, 0.5])
    one, other = (recipes.fit_biases(table, given, codes) for given in (logits, logits + shift))
    assert one - other == pytest.approx(shift, abs=1e-3)
    assert one.mean() == pytest.approx(0)
    for step in 0.2 * np.eye(len(codes)):
        nudged, fitted = (
            metrics.balanced_log_loss(table, priors.softmax(logits + biases), codes)["value"]
            for biases in (one + step, one)
        )
        assert fitted < nudged


def test_predictions_of_other_data_are_refused(on_two_folds, ham10000, tmp_path):
    trainings, table = on_two_folds
    with pytest.raises(TrainingError, match=r"is of other images or diagnoses\. Name the data"):
        recipes.compare(trainings, tmp_path, splits.split(dataset.read(ham10000)))
    path = recipes.folder(tmp_path, "b, fold 1") / PREDICTIONS
    dataset.read_probabilities(path).iloc[1:].to_csv(path)
    with pytest.raises(TrainingError, match="b, fold 1 has predicted other images than the first"):
        recipes.compare(trainings, tmp_path, table)


def test_archives_left_out_end_in_the_mean_of_those_that_have_both(archives, tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 50)
    table = splits.split(dataset.read(archives)).query("fold >= 0")
    stage = {
        f"{row}, without {source}": {"source": source}
        for row in "ab"
        for source in ("HAM10000", "MSK", "MILK10k")
    }
    monkeypatch.setitem(recipes.STAGES, "archives_left_out", stage)
    for name, options in stage.items():
        origin = table[["archive", "dataset"]].isin([options["source"]]).any(axis=1)
        part = table[origin & ~((table["dataset"] == "MSK") & (table["diagnosis"] == "MEL"))]
        predictions(tmp_path, name, part, 0.5, len(name), dataset.codes(table))
    found = recipes.compare(stage, tmp_path, table)
    shown = recipes.shown(found, "archives_left_out")
    assert list(shown.index[6:]) == ["a, mean of the sources", "b, mean of the sources"]
    areas = found["by P(MEL)"]
    assert areas.isna().tolist() == [False, True, False] * 2
    for row, mean in zip("ab", shown["by P(MEL)"].iloc[6:], strict=True):
        ours = [areas[f"{row}, without {source}"]["value"] for source in ("HAM10000", "MILK10k")]
        assert mean == pytest.approx(np.mean(ours))
    assert card.cell(shown["gain"].iloc[6]) == "-"


def test_nothing_finished(ham10000, tmp_path):
    table = splits.split(dataset.read(ham10000))
    with pytest.raises(TrainingError, match="No training of this stage is finished"):
        recipes.compare({"base": {"fold": 0}}, tmp_path, table)


@pytest.mark.usefixtures("tiny_network", "here")
def test_a_stage_runs_once_goes_on_and_ends_in_a_card(ham10000, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(metrics, "RESAMPLES", 50)
    trainings = {"base, fold 0": {**SMALL, "fold": 0}, "frozen": {**SMALL, "source": "synth_0"}}
    trainings["frozen"]["normalisation"] = "frozen"
    monkeypatch.setitem(recipes.STAGES, "screening", trainings)
    folder, bare = tmp_path / "bundle", bundle.read(bundle.DEFAULT_BUNDLE)
    bare = dataclasses.replace(bare, metrics={}, studies={})
    bundle_writer.write(folder, bare, bundle.DEFAULT_BUNDLE)
    arguments = ["recipe", "screening", f"--data={ham10000}", f"--output={tmp_path}"]
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
    assert list(bundle.read(folder).studies) == ["Stage screening"]

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
    for name, options in FOLDS.items():
        right = 1.0 if name.startswith(recipes.LAST_STAGE) else 0.5
        predictions(tmp_path, name, table[table["fold"] == options["fold"]], right)
        (recipes.folder(tmp_path, name) / "bundle").mkdir()
        (recipes.folder(tmp_path, name) / "bundle" / bundle.DESCRIPTION).touch()
    taught = pd.read_csv(recipes.write_out_of_fold(tmp_path))
    assert sorted(taught["image_id"]) == sorted(table.query("fold >= 0")["image_id"])
    assert taught[list(dataset.codes(table))].sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-4)


def test_a_training_that_fails_is_named_with_its_log(ham10000, tmp_path):
    trainings = {"moon": {**SMALL, "source": "moon"}}
    with pytest.raises(TrainingError, match=r"1 of 1 trainings failed; read .*moon\.log"):
        recipes.run(trainings, tmp_path, ham10000, jobs=1)
    assert "There is no source 'moon'" in (tmp_path / "moon.log").read_text()


def test_a_second_stage_starts_from_the_bundle_of_the_first():
    stage = recipes.STAGES["shipped"]
    for name, start in {"measured": "first", "shipped": "measured"}.items():
        shell = recipes.command(name, stage[name], "runs/recipe", "DATA")
        assert f"--start-weights=runs/recipe/{start}/bundle" in shell
    last = {n: recipes.command(n, FOLDS[n], "runs/recipe", "DATA")[-1] for n in FOLDS}
    starts = {start for options in FOLDS.values() for start in options.get("start_weights", ())}
    assert len(starts) == 2 * splits.FOLDS
    assert "--no-bundle" not in {last[start] for start in starts}
    assert last[f"{recipes.LAST_STAGE}, fold 4"] == "--no-bundle"


def test_folds_are_compared_one_by_one_and_together(ham10000, tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 50)
    table = splits.split(dataset.read(ham10000))
    for name, options in FOLDS.items():
        right = 1.0 if name.startswith(recipes.LAST_STAGE) else 0.0
        predictions(tmp_path, name, table[table["fold"] == options["fold"]], right)
    found = recipes.compare(FOLDS, tmp_path, table)
    assert len(found) == 18
    together = found.loc[f"{recipes.LAST_STAGE}, all folds"]
    assert together["mean recall"]["value"] == 1
    base = found.loc["base, all folds", "mean recall"]["value"]
    assert together["gain"]["value"] == pytest.approx(1 - base)


def test_a_training_that_fails_holds_back_only_what_goes_on_from_it(tmp_path, begun):
    trainings = {
        "last": {"start_weights": ("second",)},
        "second": {"start_weights": ("first", "bad")},
        "third": {"start_weights": ("first",)},
        "bad": {},
        "first": {},
    }
    with pytest.raises(TrainingError, match=r"1 of 5 trainings failed; read .*/bad\.log\. "):
        recipes.run(trainings, tmp_path, "DATA", jobs=1)
    assert sorted(begun[:2]) == ["bad", "first"]
    assert begun[2:] == ["third"]

    (tmp_path / "bad").rename(tmp_path / "aside")
    trainings = {name.replace("bad", "good"): options for name, options in trainings.items()}
    trainings["second"] = {"start_weights": ("first", "good")}
    recipes.run(trainings, tmp_path, "DATA", jobs=1)
    assert begun[3:] == ["good", "second", "last"]


@pytest.mark.usefixtures("tiny_network", "here")
def test_stages_of_one_network_run_one_after_the_other(ham10000, tmp_path):
    trainings = {
        "mean": {**SMALL, "start_weights": ("first", "second"), "epochs": 0},
        "second": {**SMALL, "start_weights": ("first",), "normalisation": "frozen"},
        "first": SMALL,
    }
    recipes.run(trainings, tmp_path, ham10000, jobs=1)
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
