import dataclasses
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tiny
from conftest import ROOT, call
from pictures import write_ham10000, write_isic2019
from tiny import checkpoint

from skin_cancer import Classifier, TrainingError, folders, priors
from skin_cancer.data import dataset, splits
from skin_cancer.diagnoses import ISIC_2018, ISIC_2019
from skin_cancer.evaluation import metrics
from skin_cancer.model import bundle, bundle_writer
from skin_cancer.training import start as start_weights
from skin_cancer.training import train, validation
from skin_cancer.training.batches import crop_size
from skin_cancer.training.config import CHECKPOINT, PREDICTIONS, TrainingConfig
from skin_cancer.training.loss import NEVER, AdjustedCrossentropy, accuracy

SEVEN = [diagnosis.code for diagnosis in ISIC_2018]
EIGHT = [diagnosis.code for diagnosis in ISIC_2019]


def test_impossible_parameters_are_named():
    with pytest.raises(TrainingError, match=r"image_size=100, epochs=0, mixup=-1, fold=5"):
        TrainingConfig(image_size=100, first_image_size=64, epochs=0, mixup=-1, fold=5)


@pytest.mark.parametrize(
    "options",
    [
        {"fold": 0, "source": "rosendahl"},
        {"fold": 0, "holdout": "included"},
        {"source": "rosendahl", "holdout": "included"},
    ],
)
def test_only_one_thing_is_left_out(options):
    with pytest.raises(TrainingError, match="a fold, a source or nothing is left out"):
        TrainingConfig(**options)


def test_unknown_option_stops_at_once():
    done = call("training.train", "--epoch-count=3")
    assert done.returncode != 0
    assert "--epoch-count" in done.stderr


def test_unusable_data_is_one_plain_sentence(tmp_path):
    done = call("training.train", f"--data={tmp_path}", f"--output={tmp_path / 'run'}")
    assert done.returncode != 0
    assert "holds none of HAM10000_metadata.csv" in done.stderr


def test_unusable_output_is_said_before_training(ham10000, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="cannot be made"):
        train.train(TrainingConfig(data=str(ham10000), output=str(tmp_path / "file" / "run")))


def test_crops_grow_to_the_full_size():
    config = TrainingConfig(image_size=224, first_image_size=128, epochs=12)
    sizes = [crop_size(config, epoch) for epoch in range(12)]
    assert sizes == sorted(sizes)
    assert sizes[0] == 128
    assert sizes[-3:] == [224] * 3
    assert all(size % 32 == 0 for size in sizes)
    assert crop_size(TrainingConfig(epochs=1), 0) == 128


def test_crops_may_end_smaller_than_the_input():
    config = TrainingConfig(image_size=224, first_image_size=160, last_image_size=192, epochs=4)
    assert [crop_size(config, epoch) for epoch in range(4)] == [160, 160, 192, 192]
    with pytest.raises(TrainingError, match="first_image_size=128"):
        TrainingConfig(first_image_size=128, last_image_size=96)


def test_a_run_ends_with_a_bundle_that_the_classifier_takes(tiny_run, picture):
    prediction = Classifier.load(tiny_run / "bundle").predict(picture)
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    description = bundle.read(tiny_run / "bundle")
    assert [row["epoch"] for row in description.training["history"]] == [1, 2]
    assert description.training["recipe"]["seed"] == 0
    assert len(description.training["provenance"]["data_sha256"]) == 64
    card = (tiny_run / "bundle" / bundle.CARD).read_text()
    assert "Not measured yet" in card
    assert description.training["provenance"]["data_sha256"] in card


def test_eight_diagnoses_of_isic_2019(tmp_path, picture):
    write_isic2019(tmp_path / "data")
    options = [f"--data={tmp_path / 'data'}", f"--output={tmp_path / 'run'}", "--epochs=1"]
    done = tiny.train(*options)
    assert done.returncode == 0, done.stderr
    classifier = Classifier.load(tmp_path / "run" / "bundle")
    assert classifier.description.diagnoses[-1] == "SCC"
    prediction = classifier.predict(picture)
    malignant = sum(prediction.probabilities[code] for code in ("MEL", "BCC", "AKIEC", "SCC"))
    assert prediction.malignancy == pytest.approx(malignant)
    card = (tmp_path / "run" / "bundle" / bundle.CARD).read_text()
    assert "squamous cell carcinoma" in card
    assert "lesions of ISIC 2019" in card


def test_a_killed_run_ends_with_the_same_weights(ham10000, tiny_run, tmp_path):
    options = [f"--data={ham10000}", f"--output={tmp_path}", "--epochs=2"]
    command = [*tiny.COMMAND, *tiny.OPTIONS, *options]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as run:
        while not (tmp_path / CHECKPOINT).exists():
            assert run.poll() is None
            time.sleep(0.01)
        run.kill()
    assert len(checkpoint(tmp_path)[1]["history"]) == 1

    done = tiny.train(*options)
    assert done.returncode == 0, done.stderr
    assert "Epoch 1 of" not in done.stdout
    resumed, undisturbed = checkpoint(tmp_path)[0], checkpoint(tiny_run)[0]
    assert all(np.array_equal(a, b) for a, b in zip(resumed, undisturbed, strict=True))
    for name in bundle.GRAPHS.values():
        ours, theirs = (folder / "bundle" / name for folder in (tmp_path, tiny_run))
        assert ours.read_bytes() == theirs.read_bytes()


def test_a_folder_with_another_run_is_refused(ham10000, tiny_run):
    done = tiny.train(f"--data={ham10000}", f"--output={tiny_run}", "--epochs=2", "--seed=1")
    assert done.returncode != 0
    assert "holds a run with seed=0" in done.stderr


def test_a_run_on_other_data_is_refused(ham10000, tiny_run, tmp_path):
    other = shutil.copytree(ham10000, tmp_path / "other")
    for image in other.glob("HAM10000_images_part_1/*.jpg"):
        shutil.copy(other / "HAM10000_images_part_2" / "ISIC_0000001.jpg", image)
    done = tiny.train(f"--data={other}", f"--output={tiny_run}", "--epochs=2")
    assert done.returncode != 0
    assert "holds a run on other data" in done.stderr


def test_all_broken_images_are_named_before_the_first_epoch(ham10000, tmp_path):
    data = shutil.copytree(ham10000, tmp_path / "data")
    table = splits.split(dataset.read(data))
    broken = [table.loc[table["fold"] == fold, "path"].iloc[-1] for fold in (splits.HOLDOUT, 0, 1)]
    for path in broken:
        path.write_bytes(path.read_bytes()[:1000])
    done = tiny.train(f"--data={data}", f"--output={tmp_path / 'run'}", "--epochs=1", "--fold=0")
    assert done.returncode != 0
    assert f"3 of {len(table)} images cannot be used:\n" in done.stderr
    assert all(f"\n{path}: The image is damaged" in done.stderr for path in broken)
    assert "Epoch" not in done.stdout


def test_one_diagnosis_alone_is_refused_before_any_work(tmp_path):
    write_ham10000(tmp_path / "data", codes=("mel",))
    done = tiny.train(f"--data={tmp_path / 'data'}", f"--output={tmp_path / 'run'}", "--epochs=1")
    assert done.returncode != 0
    assert "The images show MEL alone. " in done.stderr


def test_a_second_run_in_one_folder_is_refused(ham10000, tmp_path):
    with folders.alone(tmp_path, TrainingError):
        done = tiny.train(f"--data={ham10000}", f"--output={tmp_path}", "--epochs=1")
    assert done.returncode != 0
    assert done.stderr == (
        f"Another run is writing to {tmp_path}. Wait for it, or name another output folder.\n"
    )


def test_a_bundle_needs_no_room_among_temporary_files(ham10000, tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    shutil.copy(tiny_run / CHECKPOINT, tmp_path)
    done = tiny.train(f"--data={ham10000}", f"--output={tmp_path}", "--epochs=2")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "bundle", CHECKPOINT]


def test_a_disk_that_is_full_as_the_bundle_is_written_is_said(
    ham10000, tiny_run, tmp_path, monkeypatch
):
    def full(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "save; No space left on device")

    monkeypatch.setattr(keras.Model, "export", full)
    shutil.copy(tiny_run / CHECKPOINT, tmp_path)
    done = tiny.train(f"--data={ham10000}", f"--output={tmp_path}", "--epochs=2")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"The bundle cannot be written to {tmp_path}/bundle: No space left on device. The training "
        "is kept: make room and run the same command again."
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", CHECKPOINT]


def test_predictions_that_cannot_be_written_whole_are_not_there(tmp_path):
    (tmp_path / PREDICTIONS).mkdir()
    table = pd.DataFrame({"MEL": [0.5]})
    with pytest.raises(TrainingError, match=r"Is a directory\. The training is kept: make room"):
        validation._write(table, tmp_path / PREDICTIONS)
    assert [path.name for path in tmp_path.iterdir()] == [PREDICTIONS]


def test_an_unfinished_run_of_other_versions_is_refused(ham10000, tiny_run, tmp_path):
    arrays, record = checkpoint(tiny_run)
    record["history"].pop()
    record["provenance"]["versions"]["keras"] = "0.1"
    np.savez(tmp_path / CHECKPOINT, *arrays, record=np.array(json.dumps(record)))
    done = tiny.train(f"--data={ham10000}", f"--output={tmp_path}", "--epochs=2")
    assert done.returncode != 0
    assert "unfinished run with {'keras': '0.1'" in done.stderr


@pytest.mark.parametrize("size", [0, 1_000_000])
def test_a_damaged_checkpoint_is_refused(ham10000, tiny_run, tmp_path, size):
    path = shutil.copy(tiny_run / CHECKPOINT, tmp_path)
    os.truncate(path, size)
    done = tiny.train(f"--data={ham10000}", f"--output={tmp_path}", "--epochs=2")
    assert done.returncode != 0
    assert "is damaged" in done.stderr


@pytest.mark.usefixtures("tiny_network")
def test_a_loss_that_is_no_number_stops_with_advice(ham10000, tmp_path, monkeypatch):
    def spoilt(*arguments):
        network = build_network(*arguments)
        kernel = network.get_layer("head").kernel
        kernel.assign(np.full(kernel.shape, np.nan))
        return network

    build_network = start_weights.build_network
    monkeypatch.setattr(start_weights, "build_network", spoilt)
    small = {"image_size": 32, "first_image_size": 32, "epochs": 1, "start_weights": "random"}
    config = TrainingConfig(data=str(ham10000), output=str(tmp_path), **small)
    with pytest.raises(TrainingError, match="lower learning rate"):
        train.train(config)
    assert not (tmp_path / CHECKPOINT).exists()


def test_a_fold_is_validated_and_can_be_measured(ham10000, tmp_path, monkeypatch):
    """From the data to a card with measures, with nothing tiny but the images."""
    monkeypatch.setattr(metrics, "RESAMPLES", 50)
    options = [*tiny.OPTIONS, "--start-weights=imagenet", "--epochs=1", "--fold=3"]
    done = call("training.train", f"--data={ham10000}", f"--output={tmp_path}", *options)
    assert done.returncode == 0, done.stderr
    _, record = checkpoint(tmp_path)
    assert 0 <= record["history"][0]["validation_balanced_accuracy"] <= 1

    measure = ["evaluation.evaluate", f"--bundle={tmp_path / 'bundle'}", f"--data={ham10000}"]
    assert "balanced accuracy" in call(*measure, "--part=3", "--save").stdout
    assert "HAM10000, fold 3" in bundle.read(tmp_path / "bundle").metrics
    assert "### HAM10000, fold 3" in (tmp_path / "bundle" / bundle.CARD).read_text()
    kept = (tmp_path / "bundle" / bundle.LOGITS).read_text()
    assert kept == (tmp_path / bundle.LOGITS).read_text()
    assert "can only be measured on test or holdout or 3" in call(*measure, "--part=2").stderr


def test_a_model_is_not_measured_where_its_training_images_may_be(ham10000):
    done = call("evaluation.evaluate", f"--data={ham10000}")
    assert done.returncode != 0
    assert "not those that the model was trained with" in done.stderr


@pytest.mark.usefixtures("tiny_network")
def test_training_can_start_from_a_bundle(tiny_run):
    folder = tiny_run / "bundle"
    network = start_weights.start_network(TrainingConfig(start_weights=str(folder)), SEVEN)
    saved = keras.models.load_model(folder / bundle.KERAS_MODEL, compile=False)
    *ours, bias = network.get_weights()
    *theirs, their_bias = saved.get_weights()
    assert all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))
    prior = bundle.read(folder).prior
    expected = their_bias + priors.shift(prior, priors.balanced(prior))
    assert bias == pytest.approx(expected, abs=1e-5)


@pytest.mark.usefixtures("tiny_network")
def test_a_bundle_of_other_diagnoses_gives_its_trunk_and_those_that_both_know(tiny_run):
    folder = tiny_run / "bundle"
    config, kept = TrainingConfig(start_weights=str(folder), fold=3), {"own images": ["L1"]}
    network = start_weights.start_network(config, ["BKL", "wart", "MEL"], kept)
    same = start_weights.start_network(TrainingConfig(start_weights=str(folder)), SEVEN)
    *ours, kernel, bias = network.get_weights()
    *theirs, their_kernel, their_bias = same.get_weights()
    assert all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))
    for place, code in {0: "BKL", 2: "MEL"}.items():
        assert np.array_equal(kernel[:, place], their_kernel[:, SEVEN.index(code)])
        assert bias[place] == their_bias[SEVEN.index(code)]
    assert not any(np.array_equal(kernel[:, 1], column) for column in their_kernel.T)
    assert kernel[:, 1].any()


@pytest.mark.usefixtures("tiny_network")
def test_training_can_start_from_the_mean_of_bundles(tiny_run, tmp_path):
    folders = tiny_run / "bundle", shutil.copytree(tiny_run / "bundle", tmp_path / "other")
    saved = keras.models.load_model(folders[1] / bundle.KERAS_MODEL, compile=False)
    saved.set_weights([weight + 1 for weight in saved.get_weights()])
    saved.save(folders[1] / bundle.KERAS_MODEL)
    bundle_writer.write(folders[1], bundle.read(folders[0]), folders[1])
    one, mean = (
        start_weights.start_network(TrainingConfig(start_weights=start), SEVEN).get_weights()
        for start in (str(folders[0]), ",".join(map(str, folders)))
    )
    for ours, theirs in zip(mean, one, strict=True):
        assert ours == pytest.approx(theirs + 0.5, abs=1e-5)


@pytest.mark.parametrize("start", ["imagenet", "one/bundle"])
def test_nothing_to_train_is_only_for_a_mean(start):
    with pytest.raises(TrainingError, match="epochs=0"):
        TrainingConfig(start_weights=start, epochs=0)
    assert TrainingConfig(start_weights="one/bundle,another/bundle", epochs=0).epochs == 0


def test_start_weights_that_have_seen_the_validation_fold(tiny_run):
    config = TrainingConfig(start_weights=str(tiny_run / "bundle"), fold=3)
    with pytest.raises(TrainingError, match="has seen what"):
        start_weights.start_network(config, SEVEN)


@pytest.fixture
def joined(archives, tmp_path):
    """A short training on three archives, two lesions of which are linked."""
    table = splits.split(dataset.read(archives))
    held, other = (
        table[(table["archive"] == archive) & (table["fold"] == fold)].iloc[0]
        for archive, fold in (("HAM10000", splits.HOLDOUT), ("MILK10k", 1))
    )
    pairs = pd.DataFrame([[held["image_id"], other["image_id"], 30]])
    pairs.columns = ["image_a", "image_b", "inliers"]
    pairs.to_csv(tmp_path / "pairs.csv", index=False)
    small = {"image_size": 32, "first_image_size": 32, "batch_size": 8, "views": 64}
    small["start_weights"] = "random"
    drawn = {"lesion_rebalance": 1.0, "source_rebalance": 0.5, "softening": 0.5}
    config = TrainingConfig(
        data=archives,
        links=str(tmp_path / "pairs.csv"),
        output=str(tmp_path / "run"),
        epochs=2,
        validate_every=2,
        fold=0,
        **small,
        **drawn,
    )
    return config, (held["lesion_id"], other["lesion_id"])


@pytest.mark.usefixtures("tiny_network")
def test_training_on_several_archives(joined):
    config, (held, other) = joined
    network, record, table = train.train(config)
    assert network.output_shape == (None, 8)
    assert set(table["archive"]) == {"HAM10000", "ISIC 2019", "MILK10k"}
    assert not {held, other} & set(table["lesion_id"])
    provenance = record["provenance"]
    assert provenance["links"] == [(held, other)]
    assert held in provenance["kept"]["HAM10000"]
    assert other in provenance["kept"]["MILK10k"]
    assert not set().union(*provenance["kept"].values()) & set(table["lesion_id"])
    first, second = record["history"]
    assert "validation_balanced_accuracy" not in first
    assert set(second["validation_of_archives"]) == set(table["archive"])
    whole = splits.split(dataset.read(config.data), links=[(held, other)])
    logits = pd.read_csv(Path(config.output) / bundle.LOGITS, index_col="image_id")
    assert set(logits.index) == set(whole.loc[whole["fold"] == 0, "image_id"])
    assert list(logits.columns) == list(dataset.codes(table))
    chances = dataset.read_probabilities(Path(config.output) / PREDICTIONS)
    assert priors.softmax(logits.to_numpy()) == pytest.approx(chances.to_numpy(), abs=1e-4)


@pytest.mark.usefixtures("tiny_network")
@pytest.mark.parametrize(
    ("options", "validated"),
    [
        ({"learn_from": "HAM10000"}, {"HAM10000", "ISIC 2019", "MILK10k"}),
        ({"learn_from": "HAM10000,MILK10k", "fold": None, "source": "ISIC 2019"}, {"ISIC 2019"}),
    ],
)
def test_a_network_of_one_archive_has_the_diagnoses_of_all(joined, options, validated):
    config = dataclasses.replace(joined[0], **options)
    network, _, table = train.train(config)
    assert network.output_shape == (None, 8)
    assert set(table["archive"]) == set(options["learn_from"].split(","))
    whole = splits.split(dataset.read(config.data), links=[joined[1]]).set_index("image_id")
    chances = dataset.read_probabilities(Path(config.output) / PREDICTIONS)
    assert list(chances) == list(dataset.codes(whole))
    assert set(whole.loc[chances.index, "archive"]) == validated


@pytest.mark.usefixtures("tiny_network")
def test_right_in_validation_is_what_the_label_names_also_without_scc(archives):
    table = dataset.read(archives)
    table = table[table["archive"] == "HAM10000"]
    network = start_weights.start_network(TrainingConfig(start_weights="random"), EIGHT)
    network.get_layer("head").bias.assign([0.0] * 7 + [1e6])  # all is SCC
    small = TrainingConfig(image_size=32, first_image_size=32)
    found = validation.validate(network, small, table, EIGHT)
    assert found == {"validation_balanced_accuracy": 0}


@pytest.mark.usefixtures("tiny_network")
def test_a_resumed_training_on_several_archives_ends_with_the_same_weights(joined, monkeypatch):
    config, _ = joined
    network, _, _ = train.train(config)
    monkeypatch.setattr(train, "_train_epoch", cut_after_one(train._train_epoch))
    cut = dataclasses.replace(config, output=f"{config.output}_cut")
    with pytest.raises(KeyboardInterrupt):
        train.train(cut)
    resumed, _, _ = train.train(cut)
    for ours, theirs in zip(resumed.get_weights(), network.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)


def cut_after_one(train_epoch):
    """Train as before, but be interrupted once, after the first epoch."""
    calls = []

    def work(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        train_epoch(*arguments)

    return work


KEPT = {"HAM10000": ["HAM_1", "HAM_2"], "MILK10k": ["IL_1"]}


@pytest.mark.parametrize(
    ("theirs", "ours", "words"),
    [
        (KEPT, KEPT, None),
        (KEPT, {"HAM10000": ["HAM_2"]}, None),
        ({"HAM10000": ["HAM_1", "HAM_2"]}, KEPT, None),  # has seen nothing of the other archive
        (None, {"HAM10000": ["HAM_1"]}, None),  # of the time of one archive
        (None, KEPT, "does not say which lesions it has not seen"),
        ({**KEPT, "MILK10k": []}, KEPT, r"may have seen 1 lesions.*\(IL_1 \.\.\.\)"),
        (KEPT, {"HAM10000": ["HAM_0", "HAM_1", "HAM_3"]}, r"seen 2 lesions.*\(HAM_0, HAM_3 "),
    ],
)
def test_start_weights_that_have_seen_a_lesion_kept_apart(
    monkeypatch, tmp_path, theirs, ours, words
):
    record = {"recipe": {"fold": 0}, "provenance": {"kept": theirs} if theirs else {}}
    monkeypatch.setattr(
        bundle, "read", lambda folder: bundle.Description("", (), 32, "float", {}, record, {})
    )
    (tmp_path / bundle.KERAS_MODEL).touch()
    config = TrainingConfig(start_weights=str(tmp_path), fold=0)
    if words is None:
        start_weights._check_start(config, tmp_path, ours)
    else:
        with pytest.raises(TrainingError, match=words):
            start_weights._check_start(config, tmp_path, ours)
    everything = TrainingConfig(start_weights=str(tmp_path), holdout="included")
    start_weights._check_start(everything, tmp_path, ours)


def loss(truth, logits, prior, smoothing=0.0):
    labels = np.hstack([truth, np.log([prior] * len(truth))]).astype("float32")
    return np.array(AdjustedCrossentropy(smoothing).call(labels, np.array(logits, "float32")))


def test_the_loss_of_one_diagnosis_or_a_distribution_is_cross_entropy():
    prior = np.array([0.5, 0.3, 0.2])
    logits = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])
    truth = np.array([[0, 1, 0], [0.2, 0.3, 0.5]])
    chances = np.exp(logits) * prior
    chances /= chances.sum(axis=1, keepdims=True)
    assert loss(truth, logits, prior) == pytest.approx(-(truth * np.log(chances)).sum(axis=1))
    smooth = 0.9 * truth + 0.1 / 3
    expected = -(smooth * np.log(chances)).sum(axis=1)
    assert loss(truth, logits, prior, 0.1) == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_either_of_two_adds_their_probabilities():
    prior, logits = np.array([0.5, 0.3, 0.2]), np.array([[1.0, -2.0, 0.5]])
    chances = np.exp(logits[0]) * prior
    chances /= chances.sum()
    either = np.array([[1, 0, 1]])
    expected = -np.log(chances[0] + chances[2])
    assert loss(either, logits, prior) == pytest.approx(expected, rel=1e-4)
    expected = -0.9 * np.log(chances[0] + chances[2]) - 0.1 * np.log(chances).mean()
    assert loss(either, logits, prior, 0.1) == pytest.approx(expected, rel=1e-5)
    sure = loss(either, [[-50.0, -50.0, 50.0]], prior)
    assert sure == pytest.approx(0, abs=1e-5)


def test_a_diagnosis_that_no_image_shows_takes_no_part_in_the_loss():
    prior, logits = np.array([0.5, 0.5, 0.0]), np.array([[1.0, -2.0, 0.5], [1.0, -2.0, 9.0]])
    with np.errstate(divide="ignore"):
        logs = np.maximum(np.log(prior), NEVER)
    labels = np.hstack([[[0, 1, 0], [0, 1, 0]], [logs] * 2]).astype("float32")
    found = np.array(AdjustedCrossentropy(0.1).call(labels, np.array(logits, "float32")))
    chances = np.exp(logits[0, :2]) / np.exp(logits[0, :2]).sum()
    expected = -(np.array([0.05, 0.95]) * np.log(chances)).sum()
    assert found == pytest.approx(expected, rel=1e-5)


def test_either_of_two_is_right_if_one_of_them_is_called():
    prior = np.log([[0.2, 0.2, 0.6]] * 3)
    labels = np.hstack([[[1, 0, 1], [1, 0, 1], [0, 1, 0]], prior])
    logits = [[2.0, 0, 0], [0, 5.0, 0], [0, 5.0, 0]]
    found = accuracy(labels.astype("float32"), np.array(logits, "float32"))
    assert np.array(found).tolist() == [1, 0, 1]


@pytest.mark.usefixtures("tiny_network")
def test_frozen_statistics_stay_those_of_the_start_weights(ham10000, tiny_run, tmp_path):
    small = {"image_size": 64, "first_image_size": 64, "batch_size": 16, "epochs": 1}
    common = {"data": str(ham10000), "start_weights": str(tiny_run / "bundle"), **small}
    start = start_weights.start_network(TrainingConfig(**common), SEVEN)
    for normalisation in ("frozen", "trained"):
        output = str(tmp_path / normalisation)
        config = TrainingConfig(output=output, normalisation=normalisation, **common)
        network, _, _ = train.train(config)
        same = [
            np.array_equal(ours.moving_mean, theirs.moving_mean)
            for ours, theirs in zip(network.layers, start.layers, strict=True)
            if isinstance(ours, keras.layers.BatchNormalization)
        ]
        assert all(same) == (normalisation == "frozen")


def test_a_bundle_undoes_the_drawing_of_rare_diagnoses(ham10000, tmp_path):
    options = [f"--data={ham10000}", f"--output={tmp_path}", "--epochs=1", "--rebalance=1"]
    done = tiny.train(*options, "--fold=0")
    assert done.returncode == 0, done.stderr
    written = pd.read_csv(tmp_path / PREDICTIONS, index_col="image_id")
    table = splits.split(dataset.read(ham10000))
    classifier = Classifier.load(tmp_path / "bundle")
    for row in table[table["fold"] == 0].head(5).itertuples():
        served = classifier.predict(row.path, prior="balanced").probabilities
        assert served == pytest.approx(written.loc[row.image_id].to_dict(), abs=0.01)


@pytest.mark.usefixtures("tiny_network")
def test_the_first_stages_keep_their_weights_and_the_others_learn(ham10000, tiny_run, tmp_path):
    small = {"image_size": 64, "first_image_size": 64, "batch_size": 16, "epochs": 1}
    start = {"start_weights": str(tiny_run / "bundle"), "frozen_stages": 1}
    config = TrainingConfig(data=str(ham10000), output=str(tmp_path), **small, **start)
    before = start_weights.start_network(config, SEVEN)
    network, *_ = train.train(config)
    for layer, old in zip(network.layers, before.layers, strict=True):
        if layer.get_weights():
            pairs = zip(layer.get_weights(), old.get_weights(), strict=True)
            same = all(np.array_equal(*pair) for pair in pairs)
            assert same == layer.name.startswith(("stem", "block1")), layer.name


def test_a_backbone_without_stages_cannot_keep_them():
    options = {"backbone": "MobileNetV3Small", "start_weights": "random", "frozen_stages": 2}
    with pytest.raises(TrainingError, match=r"frozen_stages=2: MobileNetV3Small has no 2 first"):
        train.compiled_network(TrainingConfig(**options), pd.DataFrame({"diagnosis": ["MEL"]}))


def test_a_backbone_that_is_not_there():
    with pytest.raises(TrainingError, match="No backbone 'NoSuchNet'"):
        start_weights.start_network(TrainingConfig(backbone="NoSuchNet"), SEVEN)


def test_start_weights_of_another_backbone():
    start = {"start_weights": str(bundle.DEFAULT_BUNDLE), "holdout": "included"}
    config = TrainingConfig(backbone="MobileNetV3Small", **start)
    with pytest.raises(TrainingError, match="cannot start"):
        start_weights.start_network(config, SEVEN)


def test_start_weights_that_are_not_there():
    with pytest.raises(TrainingError, match="start_weights='nowhere'"):
        start_weights.start_network(TrainingConfig(start_weights="nowhere"), SEVEN)


def test_a_run_without_tensorflow_becomes_a_bundle_with_it(ham10000, tmp_path, picture):
    options = [f"--data={ham10000}", f"--output={tmp_path}", "--epochs=1"]
    trained = subprocess.run(
        [*tiny.COMMAND, *tiny.OPTIONS, *options],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "on a machine with TensorFlow" in trained.stdout, trained.stderr
    exported = tiny.train(*options)
    assert "Epoch" not in exported.stdout
    versions = bundle.read(tmp_path / "bundle").training["provenance"]["versions"]
    assert "jax" in versions
    assert "tensorflow" not in versions
    assert Classifier.load(tmp_path / "bundle").predict(picture).probabilities
